"""`Ridge`: latents to responses (or any features to any targets), one penalty per target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.scoring.correlation import mean_over_targets, pearson, r2
from brainalign.voxelwise.backend import common_dtype, on_device, to_numpy
from brainalign.voxelwise.plan import plan_ridge
from brainalign.voxelwise.samples import (
    as_features,
    as_targets,
    check_new_stimuli,
    is_latents,
    is_trials,
    resolve_folds,
    stimulus_rows,
    subjects,
    unit_names,
)
from brainalign.voxelwise.scores import UnitScores, score_predictions

if TYPE_CHECKING:
    from brainalign.latents.base import Latents
    from brainalign.trials import Trials

__all__ = ["Ridge"]


class Ridge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression of many targets, each with its own cross-validated penalty.

    The design is decomposed once per fold, training products come by subtracting the held-out part from the whole,
    and a grid of any length costs about two products a fold (see `brainalign.voxelwise.heldout`).

    Parameters
    ----------
    alphas : "auto", float, sequence of float, "search" or ("search", low, high)
        Penalties to choose from; "auto" spans nine decades around the mean eigenvalue of X'X. A search finds the best
        penalty of each target between `low` and `high` (the same nine decades by default) to a few per cent, at about
        the cost of a grid with two penalties a decade.
    cv : int, splitter, iterable of (train, test), "loo", "gcv" or None
        How penalties are chosen. A number makes contiguous folds of arrays, and folds that keep the repetitions of a
        stimulus together where groups or Trials are given. None needs a single alpha.
    fit_intercept : bool
        Centre inside every fold; exact also far from the origin.
    scoring : {"r2", "correlation"}
        What the chosen penalty has most of, on average over folds.
    alpha_per_target : bool
        False takes the one penalty that is best on average over targets.
    device : {"cpu", "auto", "cuda", ...}
        "cpu" computes with numpy, a GPU with torch.
    keep_coef : {"auto", True, False}
        With more features than samples, False predicts through weights of the training samples, and X is kept by
        reference: n_features x n_targets is never formed. "auto" does so where that would pass 1 GiB.
    scoring_dtype : {None, "bfloat16"}
        Choose penalties by predictions formed in bfloat16 (torch); the refit is not touched, and ``cv_scores_`` are
        good to about 1e-3. When it pays: see `brainalign.voxelwise.plan_ridge`.

    Attributes
    ----------
    coef_ : ndarray, shape (n_features, n_targets), or (n_features,) for a one-dimensional target
        Formed on access where it was not kept.
    intercept_ : ndarray, shape (n_targets,), or float
    best_alphas_ : ndarray, shape (n_targets,)
    cv_scores_ : ndarray, shape (n_targets,)
        Mean held-out score at the best alpha; NaN where there is none, for the reason in ``unscored_``.
    unscored_ : dict of int to str
        Why a target has no score.
    alphas_ : ndarray
        The grid, or the coarse grid that a search starts from.
    stimulus_ids_ : tuple of str or None
        Stimuli fitted on, when fitted on Latents and Trials; they cannot be scored on.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 4))
    >>> Y = X @ np.eye(4, 3) + 0.1 * rng.standard_normal((100, 3))
    >>> model = Ridge().fit(X, Y)
    >>> model.predict(X[:2]).shape, bool((model.cv_scores_ > 0.95).all())
    ((2, 3), True)
    """

    def __init__(
        self,
        alphas: Any = "auto",
        cv: Any = 5,
        *,
        fit_intercept: bool = True,
        scoring: str = "r2",
        alpha_per_target: bool = True,
        device: str = "cpu",
        keep_coef: Any = "auto",
        scoring_dtype: str | None = None,
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.alpha_per_target = alpha_per_target
        self.device = device
        self.keep_coef = keep_coef
        self.scoring_dtype = scoring_dtype

    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Ridge:
        """Choose penalties and fit.

        Parameters
        ----------
        X : array (n_samples, n_features) or Latents
            A torch tensor is worked on where it is; what is learnt and predicted are numpy arrays.
        y : array (n_samples, n_targets), or Trials when X is Latents
            Trials are joined with their latents by `stimulus_id`; times of a channel count as targets.
        groups : array (n_samples,), optional
            Samples that stay together in cross-validation. The `stimulus_id` of Trials by default.
        sample_weight : float or array (n_samples,), optional
            Weights of the squared errors, in the fit and in the scores of folds: a weight of two is the row twice.

        Raises
        ------
        DataError
            When X or y holds NaN, they do not pair, an alpha is not positive, a weight is negative, or folds are too
            small.
        LeakageError
            When a fold given as `cv` has a group on both sides.
        """
        X, y, groups = self._pair(X, y, groups)
        self._one_dimensional = (y if hasattr(y, "ndim") else np.asarray(y)).ndim == 1
        X = as_features(self, X, reset=True)
        Y = as_targets(y, n_samples=len(X))
        plan = plan_ridge(
            on_device(X, self.device),
            self.alphas,
            resolve_folds(self.cv, len(X), groups),
            fit_intercept=self.fit_intercept,
            dtype=common_dtype(X, Y),
            scoring_dtype=self.scoring_dtype,
            sample_weight=sample_weight,
        )
        self.alphas_ = plan.alphas
        self._fit = plan.fit(Y, scoring=self.scoring, per_target=self.alpha_per_target, keep_coef=self.keep_coef)
        self.intercept_ = self._fit.intercept[self._first]
        self.best_alphas_ = self._fit.best_alphas
        self.cv_scores_ = self._fit.cv_scores
        self.unscored_ = {} if plan.method is None else _why_unscored(Y, self.cv_scores_)
        return self

    _HOW_TO_PAIR = "fit(latents, trials), or fit(latents.at(ids), responses) with rows that match"

    def _pair(self, X: Any, y: Any, groups: Any) -> tuple[Any, Any, Any]:
        """Latents and Trials as rows that belong together, and what is remembered of them; arrays as they are."""
        self.stimulus_ids_, self.latent_space_, self.subjects_ = None, None, None
        self._units: tuple[str, ...] = ()
        if is_latents(X) and is_trials(y):
            self.stimulus_ids_ = tuple(sorted(set(y.stimulus_ids)))
            self.latent_space_ = X.space
            self.subjects_, self._units = subjects(y), unit_names(y)
            return stimulus_rows(X, y.stimulus_ids), y.matrix(), y.stimulus_ids if groups is None else groups
        if any(is_trials(one) or is_latents(one) for one in (X, y)):
            raise DataError(
                f"{type(self).__name__} pairs Latents with Trials, or arrays with arrays",
                found=f"X {type(X).__name__}, y {type(y).__name__}",
                fix=self._HOW_TO_PAIR,
            )
        return X, y, groups

    @property
    def _first(self) -> Any:
        return 0 if self._one_dimensional else slice(None)

    @property
    def coef_(self) -> np.ndarray:
        """Coefficients of the features; `DataError` where they were not kept and are too many to form unasked."""
        check_is_fitted(self)
        return self._fit.coef[:, self._first]

    def predict(self, X: Any) -> np.ndarray:
        """Responses to stimuli.

        Parameters
        ----------
        X : array (n_samples, n_features) or Latents

        Returns
        -------
        ndarray, shape (n_samples, n_targets)
            In the precision of X.
        """
        check_is_fitted(self)
        if is_latents(X):
            self._check_space(X)
            X = X.values.reshape(len(X), -1)
        predicted = self._fit.predict(to_numpy(as_features(self, X, reset=False)))
        return predicted[:, 0] if self._one_dimensional else predicted

    def score(self, X: Any, y: Any) -> float:
        """Mean of `scoring` over the targets that vary, on other samples than those fitted on.

        Raises
        ------
        LeakageError
            When Latents and Trials are given and a stimulus was fitted on.
        """
        if is_latents(X) and is_trials(y):
            measured = self.score_units(X, y, n_permutations=0)
            return mean_over_targets(measured.r2 if self.scoring == "r2" else measured.r)[0]
        predicted = self.predict(X)
        Y = to_numpy(as_targets(y, n_samples=len(predicted)))
        measure = r2 if self.scoring == "r2" else pearson
        return mean_over_targets(measure(Y, predicted.reshape(Y.shape)))[0]

    def score_units(self, latents: Latents, trials: Trials, *, n_permutations: int = 1000, seed: int = 0) -> UnitScores:
        """Score each unit on stimuli that were not fitted on.

        Repetitions are averaged per stimulus; the ceiling comes from the spread of the repetitions and their number.

        Parameters
        ----------
        latents : Latents
        trials : Trials
            Test trials of the subject and units fitted on.
        n_permutations : int
            Shuffles of stimuli behind the p-values of r; 0 leaves p and q out.
        seed : int

        Returns
        -------
        UnitScores
            r, R², ceilings, ceiling-normalised r, p, and q (false discovery rate over units), per unit.

        Raises
        ------
        LeakageError
            When a test stimulus was fitted on.
        DataError
            When the model was fitted on bare arrays, or units, subject or latent space differ.
        """
        check_is_fitted(self)
        check_new_stimuli(trials, self.stimulus_ids_, self._units, self.subjects_)
        self._check_space(latents)
        average = trials.average("stimulus_id")
        predicted = self._fit.predict(stimulus_rows(latents, average.stimulus_ids))
        return score_predictions(predicted, trials, average, n_permutations=n_permutations, seed=seed)

    def _check_space(self, latents: Any) -> None:
        if self.latent_space_ is not None and latents.space != self.latent_space_:
            raise DataError(
                "these latents are of another space than those fitted on",
                expected=self.latent_space_,
                found=latents.space,
            )


def _why_unscored(Y: Any, scores: np.ndarray) -> dict[int, str]:
    """For each target without a score, the reason."""
    missing, why = np.flatnonzero(np.isnan(scores)), {}
    for block in row_blocks(len(missing), 8 * len(Y)):
        values = to_numpy(Y[:, missing[block]])
        for target, constant in zip(missing[block].tolist(), (values == values[0]).all(axis=0), strict=True):
            varies = "neither it nor its prediction varies enough within a fold to be scored"
            why[target] = "constant over the samples fitted on" if constant else varies
    return why
