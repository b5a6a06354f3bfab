"""`BandedRidge`: several feature spaces to responses, a penalty for each space and target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from brainalign.errors import DataError
from brainalign.voxelwise.backend import common_dtype, on_device, to_numpy
from brainalign.voxelwise.banded_gradient import plan_gradient
from brainalign.voxelwise.banded_search import BandedPlan, Choice, PreparedTargets, draw_weights, plan_banded
from brainalign.voxelwise.banded_variance import subset_choices
from brainalign.voxelwise.bands import BandLatents, Bands, join_bands, split_columns
from brainalign.voxelwise.ridge import Ridge, _why_unscored
from brainalign.voxelwise.samples import as_features, as_targets, is_latents, is_trials, resolve_folds, stimulus_rows
from brainalign.voxelwise.scores import UnitScores
from brainalign.voxelwise.variance import VarianceShares, variance_by_band, variance_by_subset

__all__ = ["BandedRidge"]


class BandedRidge(Ridge):
    """Ridge regression from several feature spaces ("bands"), each with its own penalty for every target.

    Minimises ``|Y - sum_b X_b coef_b|^2 + alpha sum_b |coef_b|^2 / weight_b``; weights lie on the simplex, and a weight
    of zero leaves a band out. Candidate weights are drawn at random, and each is factored once for all targets
    and penalties; the gradient then refines the weights of every target on its own. Bands whose features differ in
    scale differ in prior variance: standardise features first.

    Parameters
    ----------
    alphas : "auto", float or sequence of float
        Penalties to choose from; "auto" spans nine decades around the mean eigenvalue of X'X at equal weights.
    cv : int, splitter or iterable of (train, test)
        How weights and penalties are chosen. A number makes contiguous folds of arrays, and folds that keep the
        repetitions of a stimulus together where groups or Trials are given.
    bands : int, sequence of int, mapping of str to int, or None
        How a plain matrix divides into bands of adjacent columns: that many of about equal size; or of these sizes.
        None takes it as one band. Not read where X comes as a dict or list.
    n_iter : int or array (n_candidates, n_bands)
        Candidates to try: all bands alike, each band alone, then draws (`brainalign.voxelwise.banded_search`), of which
        more keep those there were; or the weights themselves.
    search : {"random", "gradient"}
        "gradient" starts from the best candidate of each target.
    n_steps : int
        Steps of the gradient.
    fit_intercept : bool
        Centre inside every fold; exact also far from the origin.
    scoring : {"r2", "correlation"}
        What the chosen weights have most of, on average over folds; the gradient takes "r2" only.
    seed : int
    device : {"cpu", "auto", "cuda", ...}
        "cpu" computes with numpy, a GPU with torch.
    scoring_dtype : {"auto", "bfloat16", None}
        For R² with fewer samples than features, screen by predictions formed in bfloat16 (torch), and score again
        in full precision those that could win: the choice and its score stay the same. "auto" does so for large
        problems in float32 where the processor has instructions for it.

    Attributes
    ----------
    band_weights_ : ndarray, shape (n_bands, n_targets)
        Sum to one over bands when candidates do.
    best_alphas_ : ndarray, shape (n_targets,)
    band_alphas_ : ndarray, shape (n_bands, n_targets)
        ``best_alphas_ / band_weights_``, the penalty of each band; infinite where its weight is zero.
    cv_scores_ : ndarray, shape (n_targets,)
        Mean held-out score at the choice; NaN for a constant target.
    coef_ : ndarray, shape (n_features, n_targets), or (n_features,) for a one-dimensional target
        Bands one after the other; `band_slices_` says where.
    intercept_ : ndarray, shape (n_targets,), or float
    band_names_ : tuple of str
    band_slices_ : tuple of slice
    alphas_ : ndarray
        The grid.
    stimulus_ids_ : tuple of str or None
        Stimuli fitted on, when fitted on Latents and Trials; they cannot be scored on.

    References
    ----------
    Nunez-Elizalde, Huth & Gallant 2019, NeuroImage 197; Dupré la Tour, Eickenberg, Nunez-Elizalde & Gallant 2022,
    NeuroImage 264.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = {"layer1": rng.standard_normal((100, 4)), "layer2": rng.standard_normal((100, 4))}
    >>> Y = X["layer1"] @ np.eye(4, 3) + 0.5 * rng.standard_normal((100, 3))
    >>> model = BandedRidge().fit(X, Y)
    >>> bool((model.band_weights_[0] > 0.9).all()), model.predict(X).shape
    (True, (100, 3))
    """

    def __init__(
        self,
        alphas: Any = "auto",
        cv: Any = 5,
        *,
        bands: Any = None,
        n_iter: Any = 20,
        search: str = "random",
        n_steps: int = 20,
        fit_intercept: bool = True,
        scoring: str = "r2",
        seed: int = 0,
        device: str = "cpu",
        scoring_dtype: str | None = "auto",
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.bands = bands
        self.n_iter = n_iter
        self.search = search
        self.n_steps = n_steps
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.seed = seed
        self.device = device
        self.scoring_dtype = scoring_dtype

    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> BandedRidge:
        """Choose weights and penalties, and fit.

        Parameters
        ----------
        X : dict or list of arrays (n_samples, n_features) or of Latents; or one array, divided by `bands`
        y : array (n_samples, n_targets), or Trials when X holds Latents
            Trials are joined with their latents by `stimulus_id`; times of a channel count as targets.
        groups : array (n_samples,), optional
            Samples that stay together in cross-validation. The `stimulus_id` of Trials by default.
        sample_weight : float or array (n_samples,), optional
            Weights of the squared errors, in the fit and in the scores of folds: a weight of two is the row twice.

        Raises
        ------
        DataError
            When X or y holds NaN, bands are empty or differ in samples, X and y do not pair, an alpha is not positive,
            a weight is negative, or folds are too small.
        LeakageError
            When a fold given as `cv` has a group on both sides.
        """
        self._check_parameters()
        plan, targets = self._plan(X, y, groups, sample_weight)
        weights = self._candidates(plan.n_bands)
        choice = plan.search(targets, weights, scoring=self.scoring, scoring_dtype=self.scoring_dtype)
        if self.search == "gradient" and plan.n_bands > 1:
            choice, coef = self._refine(plan, targets, choice)
        else:
            coef = plan.refit(targets, choice.weights, choice.alphas)
        self._store(plan, targets, choice, coef)
        return self

    def _store(self, plan: BandedPlan, targets: PreparedTargets, choice: Choice, coef: np.ndarray) -> None:
        self.alphas_, self.band_weights_ = plan.alphas, choice.weights
        with np.errstate(divide="ignore"):
            self.band_alphas_ = choice.alphas / choice.weights
        self._fit = plan.fit(targets, coef, choice)
        self.intercept_ = self._fit.intercept[self._first]
        self.best_alphas_, self.cv_scores_ = choice.alphas, choice.scores
        self.unscored_ = _why_unscored(targets.source.Y, self.cv_scores_)

    def _check_parameters(self) -> None:
        if self.search not in ("random", "gradient"):
            raise DataError(f"no search {self.search!r}", expected="'random' or 'gradient'")
        if self.search == "gradient" and self.scoring != "r2":
            raise DataError("the gradient is that of the squared error", expected="scoring='r2'", found=self.scoring)
        if self.cv is None or isinstance(self.cv, str):
            raise DataError(
                "band weights are chosen by folds", expected="a number of folds, a splitter, or folds", found=self.cv
            )

    def _plan(
        self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None
    ) -> tuple[BandedPlan, PreparedTargets]:
        """Pair and check what was handed in, and take its Gram matrices."""
        joined = join_bands(X)
        named = joined.bands if isinstance(joined, BandLatents) else joined
        X, y, groups = self._pair(joined.design if isinstance(joined, Bands) else joined, y, groups)
        self._one_dimensional = (y if hasattr(y, "ndim") else np.asarray(y)).ndim == 1
        X = as_features(self, X, reset=True)
        self._given_apart = isinstance(named, Bands)
        named = named if isinstance(named, Bands) else split_columns(X.shape[1], self.bands)
        self.band_names_, self.band_slices_ = named.names, named.slices
        Y = as_targets(y, n_samples=len(X))
        folds = resolve_folds(self.cv, len(X), groups)
        dtype, X = common_dtype(X, Y), on_device(X, self.device)
        more: dict[str, Any] = {"fit_intercept": self.fit_intercept, "dtype": dtype, "sample_weight": sample_weight}
        plan = plan_banded(X, named.slices, folds, self.alphas, **more)
        return plan, plan.targets(Y)

    _HOW_TO_PAIR = "fit({'a': latents_a, 'b': latents_b}, trials), or arrays with rows that match"

    def _candidates(self, n_bands: int) -> np.ndarray:
        if not isinstance(self.n_iter, (int, np.integer)):
            return np.asarray(self.n_iter)
        if self.n_iter < 1:
            raise DataError("candidates are needed to choose from", expected="n_iter >= 1", found=self.n_iter)
        return draw_weights(n_bands, int(self.n_iter), seed=self.seed)

    def _refine(self, plan: BandedPlan, targets: PreparedTargets, choice: Choice) -> tuple[Choice, np.ndarray]:
        """Refine by gradient, keep what is better, and refit."""
        source, fine = targets.source, plan_gradient(plan.problem)
        weights, alphas, scores = choice.weights.copy(), choice.alphas.copy(), choice.scores.copy()
        coef = np.empty((len(plan.form.mean), len(alphas)), dtype=source.dtype)
        for columns, block in replace(source, n_together=max(1, source.n_together // 8)):
            made = fine.refine(block, weights[:, columns], alphas[columns], n_steps=self.n_steps)
            better = made[2] > scores[columns]
            for kept, found in zip((weights, alphas, scores), made, strict=True):
                kept[..., columns] = np.where(better, found, kept[..., columns])
            coef[:, columns] = fine.refit(block, weights[:, columns], alphas[columns])
        return replace(choice, weights=weights, alphas=alphas, scores=scores), coef

    def predict(self, X: Any) -> np.ndarray:
        """Responses to stimuli.

        Parameters
        ----------
        X : dict or list of bands, as fitted on; or one array of all columns

        Returns
        -------
        ndarray, shape (n_samples, n_targets)
            In the precision of X.
        """
        joined = self._joined(X)
        return super().predict(joined.design if isinstance(joined, Bands) else joined)

    def score(self, X: Any, y: Any) -> float:
        """Mean of `scoring` over the targets that vary, on other samples than those fitted on; see `Ridge.score`."""
        joined = self._joined(X)
        return super().score(joined.design if isinstance(joined, Bands) else joined, y)

    def score_units(self, latents: Any, trials: Any, *, n_permutations: int = 1000, seed: int = 0) -> UnitScores:
        """Score each unit on stimuli that were not fitted on; see `Ridge.score_units`."""
        return super().score_units(self._joined(latents), trials, n_permutations=n_permutations, seed=seed)

    def predict_bands(self, X: Any) -> np.ndarray:
        """What each band adds to the prediction, (n_bands, n_samples, n_targets); they sum to it.

        The mean of the targets is divided evenly.
        """
        joined = self._joined(X)
        if is_latents(joined):
            self._check_space(joined)
        values = getattr(joined, "design" if isinstance(joined, Bands) else "values", joined)
        return self._parts(as_features(self, np.reshape(to_numpy(values), (len(values), -1)), reset=False))

    def _parts(self, X: np.ndarray) -> np.ndarray:
        fit, own = self._fit, self.band_slices_
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        centred, coef = (X - fit.x_mean).astype(dtype, copy=False), fit.coef.astype(dtype, copy=False)
        share = (fit.y_mean / len(own)).astype(dtype)
        return np.stack([centred[:, band] @ coef[band] + share for band in own])

    def product_measure(self, X: Any, y: Any, *, n_draws: int = 1000, seed: int = 0) -> VarianceShares:
        """Divide R² on held-out samples between the bands; see `brainalign.voxelwise.variance`.

        Parameters
        ----------
        X, y
            As in `fit`, of samples that were not fitted on; repetitions in Trials are averaged by stimulus.
        n_draws, seed : int
            Of the bootstrap over stimuli.

        Raises
        ------
        LeakageError
            When Latents and Trials are given and a stimulus was fitted on.
        """
        rows, Y = self._held_out(self._joined(X), y)
        return variance_by_band(Y, self._parts(rows), self.band_names_, n_draws=n_draws, seed=seed)

    def partition_variance(
        self, X: Any, y: Any, X_test: Any, y_test: Any, *, n_draws: int = 1000, seed: int = 0
    ) -> VarianceShares:
        """Fit every subset of bands, and divide R² on held-out samples into what each explains alone and in common.

        The fit of all bands is this estimator's afterwards; the gradient is not used, and `n_iter` counts the
        candidates of each subset.

        Parameters
        ----------
        X, y, X_test, y_test
            Samples to fit on and samples held out, as in `fit`.
        n_draws, seed : int
            Of the bootstrap over stimuli.

        Raises
        ------
        DataError
            When there are more than six bands.
        LeakageError
            When Latents and Trials are given and a stimulus is on both sides.
        """
        self._check_parameters()
        plan, targets = self._plan(X, y)
        n_iter = len(self._candidates(plan.n_bands))
        predictions: list[np.ndarray] = []
        for choice in subset_choices(plan, targets, n_iter=n_iter, seed=self.seed, scoring=self.scoring):
            self._store(plan, targets, choice, plan.refit(targets, choice.weights, choice.alphas))
            if not predictions:
                rows, Y = self._held_out(self._joined(X_test), y_test)
            predictions.append(self._fit.predict(rows))
        return variance_by_subset(Y, predictions, self.band_names_, n_draws=n_draws, seed=seed)

    def _held_out(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Features and targets of samples that were not fitted on, one row per stimulus."""
        if is_latents(X) and is_trials(y):
            measured = super().score_units(X, y, n_permutations=0).measured  # which checks that all is as fitted
            return stimulus_rows(X, y.average("stimulus_id").stimulus_ids), measured
        rows = to_numpy(as_features(self, X.design if isinstance(X, Bands) else X, reset=False))
        return rows, to_numpy(as_targets(y, n_samples=len(rows)))

    def _joined(self, X: Any) -> Any:
        """Bands side by side, the same as those fitted on."""
        check_is_fitted(self)
        joined = join_bands(X, names=self.band_names_ if self._given_apart else None)
        named = joined.bands if isinstance(joined, BandLatents) else joined
        if isinstance(named, Bands) and named.slices != self.band_slices_:
            raise DataError(
                "bands have other features than those fitted on",
                expected=dict(zip(self.band_names_, map(_width, self.band_slices_), strict=True)),
                found=dict(zip(named.names, map(_width, named.slices), strict=True)),
            )
        return joined


def _width(band: slice) -> int:
    return band.stop - band.start
