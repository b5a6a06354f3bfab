"""`AugmentedSVC`: augmented covariances, tangent space and a support vector machine, with order and lag by grid.

The published search (Carrara & Papadopoulo 2024) fits every cell of (order, lag) x (C, kernel) anew in every fold.
Here a cell's covariances are made once, from lagged products that the orders of a lag share, and indexed by fold; its
mean and tangent vectors are made once a fold and shared by all settings of the machine, through one Gram matrix; and
a mean starts where that of the neighbouring fold ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

from brainalign.bci.augmented import AugmentedCovariance, as_epochs, common_subspace, conditioned, refuse_flat
from brainalign.bci.geometry import riemannian_mean, tangent_vectors
from brainalign.bci.lagged import augmented_grid
from brainalign.errors import DataError
from brainalign.parallel import parallel_map

__all__ = ["AugmentedSVC"]

_ONE_TO_TEN = tuple(range(1, 11))


class AugmentedSVC(ClassifierMixin, BaseEstimator):
    """Classifier of trials whose embedding and machine are chosen by cross-validation on the training trials.

    Parameters
    ----------
    orders, lags : sequence of int
        Grid of the embedding, see `AugmentedCovariance`.
    C : sequence of float
    kernels : sequence of {"linear", "rbf"}
        Of the support vector machine on tangent vectors; "rbf" has scikit-learn's ``gamma="scale"``.
    cv : int or splitter
        Inner folds; a number means stratified and shuffled by `seed`, as published. Give a splitter of blocks for
        trials that overlap.
    scoring : {"accuracy", "roc_auc"}
        "roc_auc" for two classes. The first of equally good settings wins, smaller orders and lags first.
    retain, shrinkage
        As in `AugmentedCovariance`; learnt in each fold on its training trials.
    tolerance : float
        Of the Riemannian means, see `brainalign.bci.riemannian_mean`: at 1e-3 features are off by about a thousandth
        of their spread.
    n_jobs : int
        Lags side by side.
    seed : int

    Attributes
    ----------
    classes_ : ndarray
    cv_results_ : DataFrame
        order, lag, C, kernel, score: the mean over inner folds.
    best_params_ : dict
    transformer_ : AugmentedCovariance
    mean_ : ndarray
        Riemannian mean of the training trials.
    machine_ : SVC

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 20)
    >>> X = rng.standard_normal((40, 3, 120))
    >>> X[y == 1, :, 3:] += 0.8 * X[y == 1, :, :-3]
    >>> X /= X.std(axis=2, keepdims=True)
    >>> model = AugmentedSVC(orders=[1, 2], lags=[1, 3], C=[1.0], kernels=["linear"]).fit(X, y)
    >>> model.best_params_["order"], model.best_params_["lag"]
    (2, 3)
    """

    def __init__(
        self,
        orders: Sequence[int] = _ONE_TO_TEN,
        lags: Sequence[int] = _ONE_TO_TEN,
        *,
        C: Sequence[float] = (0.5, 1.0, 1.5),
        kernels: Sequence[str] = ("linear", "rbf"),
        cv: Any = 3,
        scoring: str = "accuracy",
        retain: float | None = 0.999,
        shrinkage: float = 0.0,
        tolerance: float = 1e-3,
        n_jobs: int = 1,
        seed: int = 0,
    ) -> None:
        self.orders = orders
        self.lags = lags
        self.C = C
        self.kernels = kernels
        self.cv = cv
        self.scoring = scoring
        self.retain = retain
        self.shrinkage = shrinkage
        self.tolerance = tolerance
        self.n_jobs = n_jobs
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Choose embedding and machine, then fit them on all trials.

        Parameters
        ----------
        X : array (n_trials, n_channels, n_times)
        y : array (n_trials,)

        Raises
        ------
        DataError
            When trials are bad, an inner fold lacks a class, or a parameter makes no sense.
        """
        X, y = as_epochs(X), np.asarray(y)
        refuse_flat(X)
        self._check(X, y)
        self.classes_ = np.unique(y)
        splitter = self.cv
        if isinstance(splitter, int):
            splitter = StratifiedKFold(splitter, shuffle=True, random_state=self.seed)
        folds = list(check_cv(splitter, y, classifier=True).split(X, y))
        for number, (train, _) in enumerate(folds):
            if len(np.unique(y[train])) < len(self.classes_):
                raise DataError(f"inner fold {number} lacks a class", expected=self.classes_, found=np.unique(y[train]))
        lags = [int(lag) for lag in self.lags]
        # Order 1 does not depend on the lag: it goes with the first one.
        jobs = [(lag, [p for p in self.orders if p > 1 or lag == lags[0]]) for lag in lags]
        tables = parallel_map(partial(_score_lag, self, X, y, folds), jobs, n_jobs=self.n_jobs)
        self.cv_results_ = pd.concat([pd.DataFrame(rows) for rows in tables], ignore_index=True).sort_values(
            ["order", "lag", "C", "kernel"], ignore_index=True
        )
        best = self.cv_results_.iloc[int(self.cv_results_["score"].to_numpy().argmax())]
        self.best_params_: dict[str, Any] = {
            "order": int(best["order"]),
            "lag": int(best["lag"]),
            "C": float(best["C"]),
            "kernel": str(best["kernel"]),
        }
        self._refit(X, y)
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Class of each trial."""
        return self.machine_.predict(self._features(X))

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """As of the support vector machine."""
        return self.machine_.decision_function(self._features(X))

    def _features(self, X: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self, "machine_")
        return tangent_vectors(self.transformer_.transform(X), self.mean_)

    def _refit(self, X: NDArray, y: NDArray) -> None:
        chosen = self.best_params_
        self.transformer_ = AugmentedCovariance(
            chosen["order"], chosen["lag"], retain=self.retain, shrinkage=self.shrinkage
        )
        covariances = self.transformer_.fit_transform(X)
        self.mean_ = riemannian_mean(covariances, tolerance=self.tolerance)
        self.machine_ = SVC(C=chosen["C"], kernel=chosen["kernel"]).fit(tangent_vectors(covariances, self.mean_), y)

    def _check(self, X: NDArray, y: NDArray) -> None:
        if y.shape != (len(X),) or len(np.unique(y)) < 2:
            raise DataError("y must name one of several classes for each trial", expected=(len(X),), found=y.shape)
        if self.scoring not in ("accuracy", "roc_auc") or not set(self.kernels) <= {"linear", "rbf"}:
            raise DataError(
                "unknown scoring or kernel",
                expected="scoring 'accuracy' or 'roc_auc', kernels 'linear' and 'rbf'",
                found=f"{self.scoring}, {list(self.kernels)}",
            )
        if self.scoring == "roc_auc" and len(np.unique(y)) > 2:
            raise DataError("roc_auc takes two classes", found=len(np.unique(y)), fix="scoring='accuracy'")
        if not len(self.orders) or not len(self.lags) or not len(self.C) or not len(self.kernels):
            raise DataError("the grid is empty", expected="at least one order, lag, C and kernel")


def _score_lag(
    model: AugmentedSVC, X: NDArray, y: NDArray, folds: list[Any], job: tuple[int, Iterable[int]]
) -> list[dict[str, Any]]:
    """Scores of all settings at one lag."""
    lag, orders = job
    rows: list[dict[str, Any]] = []
    for order, _, covariances in augmented_grid(X, orders, [lag]):
        scores = np.mean(list(_score_folds(model, covariances, y, folds)), axis=0)
        rows += [
            {"order": order, "lag": lag, "C": float(C), "kernel": kernel, "score": scores[i, j]}
            for i, kernel in enumerate(model.kernels)
            for j, C in enumerate(model.C)
        ]
    return rows


def _score_folds(
    model: AugmentedSVC, covariances: NDArray, y: NDArray, folds: list[Any]
) -> Iterable[NDArray[np.float64]]:
    """For each inner fold, scores (n_kernels, n_C)."""
    before: tuple[NDArray | None, NDArray] | None = None
    for train, test in folds:
        basis = None if model.retain is None else common_subspace(covariances[train], model.retain)
        matrices = conditioned(covariances, basis, model.shrinkage)
        start = None if before is None else _carried(*before, basis)
        mean = riemannian_mean(matrices[train], start=start, tolerance=model.tolerance)
        before = basis, mean
        vectors = tangent_vectors(matrices, mean)
        yield np.array(
            [[_score(model, one, C, y, train, test) for C in model.C] for one in _grams(model, vectors, train)]
        )


def _carried(old: NDArray | None, mean: NDArray, new: NDArray | None) -> NDArray | None:
    """The mean of the neighbouring fold in the subspace of this one; None where the subspaces differ in size."""
    if old is None or new is None:
        return mean
    if old.shape != new.shape:
        return None
    turn = new.T @ old
    return turn @ mean @ turn.T


def _grams(model: AugmentedSVC, vectors: NDArray, train: NDArray) -> Iterable[NDArray[np.float64]]:
    """Gram matrix of all trials for each kernel."""
    linear = vectors @ vectors.T
    for kernel in model.kernels:
        if kernel == "linear":
            yield linear
        else:
            squares = np.diag(linear)
            gamma = 1.0 / (vectors.shape[1] * vectors[train].var())
            yield np.exp(-gamma * np.maximum(squares[:, None] + squares - 2 * linear, 0.0))


def _score(model: AugmentedSVC, gram: NDArray, C: float, y: NDArray, train: NDArray, test: NDArray) -> float:
    machine = SVC(C=C, kernel="precomputed").fit(gram[np.ix_(train, train)], y[train])
    across = gram[np.ix_(test, train)]
    if model.scoring == "accuracy":
        return float(accuracy_score(y[test], machine.predict(across)))
    return float(roc_auc_score(y[test], machine.decision_function(across)))
