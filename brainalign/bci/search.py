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
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

from brainalign.bci.augmented import AugmentedCovariance, as_epochs, common_subspace, conditioned, refuse_flat
from brainalign.bci.embedding import CRITERIA, choose_embedding
from brainalign.bci.geometry import as_vectors, mean_and_logarithms, tangent_vectors
from brainalign.bci.lagged import augmented_grid
from brainalign.errors import DataError, unknown
from brainalign.parallel import parallel_map

__all__ = ["AugmentedSVC", "nested_search"]

_ONE_TO_TEN = tuple(range(1, 11))


class AugmentedSVC(ClassifierMixin, BaseEstimator):
    """Classifier of trials whose embedding and machine are chosen by cross-validation on the training trials.

    Parameters
    ----------
    orders, lags : sequence of int
        Grid of the embedding, see `AugmentedCovariance`. ``orders="mdop"`` or ``"cao"`` takes the one that this
        criterion chooses on the training trials, without their labels; `lags` is then not used.
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
        orders: Sequence[int] | str = _ONE_TO_TEN,
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
        return self._choose(X, y, _grid_scores(self, X, y, [np.arange(len(X))])[0])

    def _choose(self, X: NDArray, y: NDArray, results: pd.DataFrame) -> Self:
        """Take the best setting, and fit it on all trials."""
        self.classes_ = np.unique(y)
        self.cv_results_ = results
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
        features = self._features(X)
        return self.machine_.predict(features)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """As of the support vector machine."""
        features = self._features(X)
        return self.machine_.decision_function(features)

    def _features(self, X: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self, "machine_")
        return tangent_vectors(self.transformer_.transform(X), self.mean_)

    def _refit(self, X: NDArray, y: NDArray) -> None:
        chosen = self.best_params_
        self.transformer_ = AugmentedCovariance(
            chosen["order"], chosen["lag"], retain=self.retain, shrinkage=self.shrinkage
        )
        self.mean_, logs = mean_and_logarithms(self.transformer_.fit_transform(X), tolerance=self.tolerance)
        self.machine_ = SVC(C=chosen["C"], kernel=chosen["kernel"]).fit(as_vectors(logs), y)

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
        if isinstance(self.orders, str) and self.orders not in CRITERIA:
            raise unknown("criterion", self.orders, CRITERIA)
        if not len(self.orders) or not len(self.lags) or not len(self.C) or not len(self.kernels):
            raise DataError("the grid is empty", expected="at least one order, lag, C and kernel")


def nested_search(model: AugmentedSVC, X: ArrayLike, y: ArrayLike, *, cv: Any = 5) -> list[AugmentedSVC]:
    """Fit a search on the training trials of each outer fold, the covariances of a cell made once for all folds.

    Parameters
    ----------
    model : AugmentedSVC
    X : array (n_trials, n_channels, n_times)
    y : array (n_trials,)
    cv : int or splitter
        Outer folds, as `AugmentedSVC.cv`.

    Returns
    -------
    list of AugmentedSVC
        The same, fold by fold, as ``clone(model).fit(X[train], y[train])``, with `test_rows_` beside: the trials that
        it has not seen.

    Raises
    ------
    DataError
        As `AugmentedSVC.fit`.

    Examples
    --------
    >>> rng, y = np.random.default_rng(0), np.tile([0, 1], 20)
    >>> X = rng.standard_normal((40, 2, 60)) * np.where(y, 2.0, 1.0)[:, None, None]
    >>> models = nested_search(AugmentedSVC([1, 2], [1], C=[1.0]), X, y, cv=4)
    >>> np.mean([one.score(X[one.test_rows_], y[one.test_rows_]) for one in models])
    np.float64(1.0)
    """
    X, y = as_epochs(X), np.asarray(y)
    refuse_flat(X)
    model._check(X, y)
    outer = _folds(cv, X, y, model.seed, "outer")
    tables = _grid_scores(model, X, y, [train for train, _ in outer])
    made = []
    for (train, test), table in zip(outer, tables, strict=True):
        one = clone(model)._choose(X[train], y[train], table)
        one.test_rows_ = test
        made.append(one)
    return made


def _folds(cv: Any, X: NDArray, y: NDArray, seed: int, which: str) -> list[tuple[NDArray, NDArray]]:
    """Rows to train and to test on; each class must be in every train part."""
    splitter = StratifiedKFold(cv, shuffle=True, random_state=seed) if isinstance(cv, int) else cv
    made = list(check_cv(splitter, y, classifier=True).split(X, y))
    classes = np.unique(y)
    for number, (train, _) in enumerate(made):
        if len(np.unique(y[train])) < len(classes):
            raise DataError(f"{which} fold {number} lacks a class", expected=classes, found=np.unique(y[train]))
    return made


def _grid_scores(model: AugmentedSVC, X: NDArray, y: NDArray, parts: list[NDArray]) -> list[pd.DataFrame]:
    """For each set of trials to search on, the table of `AugmentedSVC.cv_results_`."""
    if isinstance(model.orders, str):
        chosen = [choose_embedding(X[rows], model.orders) for rows in parts]
        return [
            _grid_scores(clone(model).set_params(orders=(order,), lags=(lag,)), X, y, [rows])[0]
            for (order, lag), rows in zip(chosen, parts, strict=True)
        ]
    inner = []
    for rows in parts:
        folds = _folds(model.cv, X[rows], y[rows], model.seed, "inner")
        inner.append([(rows[train], rows[test]) for train, test in folds])
    lags = [int(lag) for lag in model.lags]
    # Order 1 does not depend on the lag: it goes with the first one.
    jobs = [(lag, [p for p in model.orders if p > 1 or lag == lags[0]]) for lag in lags]
    done = parallel_map(partial(_score_lag, model, X, y, inner), jobs, n_jobs=model.n_jobs)
    return [
        pd.DataFrame([row for tables in done for row in tables[number]]).sort_values(
            ["order", "lag", "C", "kernel"], ignore_index=True
        )
        for number in range(len(parts))
    ]


def _score_lag(
    model: AugmentedSVC, X: NDArray, y: NDArray, inner: list[list[Any]], job: tuple[int, Iterable[int]]
) -> list[list[dict[str, Any]]]:
    """Scores of all settings at one lag, for each set of inner folds."""
    lag, orders = job
    made: list[list[dict[str, Any]]] = [[] for _ in inner]
    for order, _, covariances in augmented_grid(X, orders, [lag]):
        for rows, folds in zip(made, inner, strict=True):
            scores = np.mean(list(_score_folds(model, covariances, y, folds)), axis=0)
            rows += [
                {"order": order, "lag": lag, "C": float(C), "kernel": kernel, "score": scores[i, j]}
                for i, kernel in enumerate(model.kernels)
                for j, C in enumerate(model.C)
            ]
    return made


def _score_folds(
    model: AugmentedSVC, covariances: NDArray, y: NDArray, folds: list[Any]
) -> Iterable[NDArray[np.float64]]:
    """For each inner fold, scores (n_kernels, n_C)."""
    before: tuple[NDArray | None, NDArray] | None = None
    for train, test in folds:
        basis = None if model.retain is None else common_subspace(covariances[train], model.retain)
        matrices = conditioned(covariances[train], basis, model.shrinkage)
        start = None if before is None else _carried(*before, basis, matrices.mean(axis=0))
        mean, logs = mean_and_logarithms(matrices, start=start, tolerance=model.tolerance)
        before = basis, mean
        known = as_vectors(logs)
        new = tangent_vectors(conditioned(covariances[test], basis, model.shrinkage), mean)
        yield np.array(
            [
                [_score(model, within, across, C, y[train], y[test]) for C in model.C]
                for within, across in _grams(model, known, new)
            ]
        )


def _carried(old: NDArray | None, mean: NDArray, new: NDArray | None, level: NDArray) -> NDArray[np.float64]:
    """The mean of the neighbouring fold in the subspace of this one.

    Directions that the other did not have come from `level`, the arithmetic mean here.
    """
    if old is None or new is None:
        return mean
    turn = new.T @ old
    rest = np.eye(len(turn)) - turn @ turn.T
    return turn @ mean @ turn.T + rest @ level @ rest


def _grams(model: AugmentedSVC, known: NDArray, new: NDArray) -> Iterable[tuple[NDArray, NDArray]]:
    """Kernel matrices of the training vectors, and of new vectors with them, for each kernel."""
    within, across = known @ known.T, new @ known.T
    for kernel in model.kernels:
        if kernel == "linear":
            yield within, across
        else:
            gamma = 1.0 / (known.shape[1] * known.var())
            sizes, others = np.square(known).sum(axis=1), np.square(new).sum(axis=1)
            yield tuple(
                np.exp(-gamma * np.maximum(a[:, None] + sizes - 2 * products, 0.0))
                for a, products in ((sizes, within), (others, across))
            )


def _score(model: AugmentedSVC, within: NDArray, across: NDArray, C: float, y: NDArray, y_new: NDArray) -> float:
    machine = SVC(C=C, kernel="precomputed").fit(within, y)
    if model.scoring == "accuracy":
        return float(accuracy_score(y_new, machine.predict(across)))
    return float(roc_auc_score(y_new, machine.decision_function(across)))
