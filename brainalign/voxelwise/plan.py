"""A ridge problem factored once, through which any number of targets stream.

`plan_ridge` decomposes the design and the training part of each fold; `RidgePlan.fit` then takes targets, from
memory or from disk, in blocks under a byte budget, chooses a penalty for each and returns the refit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from brainalign.arrays import check_finite, row_blocks
from brainalign.errors import DataError
from brainalign.voxelwise.backend import cast, namespace, to_like, to_numpy
from brainalign.voxelwise.heldout import FoldFactor, factor_fold, fold_moments, gcv_scores, loo_moments
from brainalign.voxelwise.solvers import Decomposition, auto_alphas, check_alphas, decompose

__all__ = ["RidgeFit", "RidgePlan", "plan_ridge"]

SCORINGS = ("r2", "correlation")
TARGET_BYTES = 32 * 2**20
"""Default budget for the work arrays of one block of targets."""

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class RidgeFit:
    """Ridge coefficients with a penalty per target.

    Parameters
    ----------
    coef : array (n_features, n_targets)
    x_mean : array (n_features,), float64
    y_mean : array (n_targets,), float64
        Predictions are ``(X - x_mean) @ coef + y_mean``.
    best_alphas : array (n_targets,)
    cv_scores : array (n_targets,)
        Score at the best alpha, mean over folds; NaN for a constant target and where nothing was cross-validated.
    held_out_mean, held_out_std : array (n_targets,)
        Of the predictions of samples that were left out, at the best alpha; NaN for "gcv" and without cross-validation.
    """

    coef: np.ndarray
    x_mean: np.ndarray
    y_mean: np.ndarray
    best_alphas: np.ndarray
    cv_scores: np.ndarray
    held_out_mean: np.ndarray
    held_out_std: np.ndarray

    @property
    def intercept(self) -> np.ndarray:
        """(n_targets,), float64."""
        shift = np.empty_like(self.y_mean)
        for columns in row_blocks(len(shift), 8 * len(self.x_mean), budget=2**24):
            shift[columns] = self.x_mean @ self.coef[:, columns].astype(np.float64, copy=False)
        return self.y_mean - shift

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predictions (n_samples, n_targets) in the precision of X, read in blocks; exact far from the origin too."""
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        coef, out = self.coef.astype(dtype, copy=False), np.empty((len(X), len(self.y_mean)), dtype=dtype)
        for rows in row_blocks(len(X), 16 * X.shape[1]):
            out[rows] = (X[rows] - self.x_mean).astype(dtype, copy=False) @ coef
            out[rows] += self.y_mean
        return out


def plan_ridge(
    X: Any,
    alphas: Any = "auto",
    folds: Folds | str | None = "loo",
    *,
    fit_intercept: bool = True,
    dtype: str | None = None,
) -> RidgePlan:
    """Factor a design, and the training part of every fold, once for all targets.

    Parameters
    ----------
    X : array (n_samples, n_features)
        Finite numbers; numpy (memory maps are read in blocks) or a torch tensor, which decides where the work is done.
    alphas : "auto", float or sequence of float
        Penalties to choose from.
    folds : sequence of (train, test), "loo", "gcv" or None
        Row numbers; leave-one-out in closed form; generalised cross-validation; or no choice, with a single alpha.
    fit_intercept : bool
        Centre inside every fold.
    dtype : {"float32", "float64"}, optional
        Precision of the products; that of X by default.

    Raises
    ------
    DataError
        When an alpha is not positive, or a fold trains on nothing or tests on a single sample.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((50, 3))
    >>> fit = plan_ridge(X, [0.1, 1.0, 1e4]).fit(X @ np.ones((3, 2)) + 0.1 * rng.standard_normal((50, 2)))
    >>> fit.coef.shape, bool((fit.best_alphas < 1e4).all())
    ((3, 2), True)
    """
    if len(X) < 2:
        raise DataError("ridge needs samples to learn from", expected="at least 2", found=f"n_samples = {len(X)}")
    made = decompose(X, centre=fit_intercept, dtype=dtype)
    grid = auto_alphas(made.eigenvalues) if isinstance(alphas, str) and alphas == "auto" else check_alphas(alphas)
    if folds is None and len(grid) > 1:
        raise DataError("several alphas but nothing to choose by", expected="one alpha, or folds", found=grid.tolist())
    if folds is None or isinstance(folds, str):
        if folds not in (None, "loo", "gcv"):
            raise DataError(f"no cross-validation {folds!r}", expected="folds, 'loo', 'gcv' or None")
        return RidgePlan(made, made.left, grid, folds)
    _check_folds(folds, len(X))
    design = made.left
    if fit_intercept:
        xp = namespace(design)
        design = xp.concatenate([design, xp.ones((len(X), 1), dtype=design.dtype, device=design.device)], axis=1)
        made = replace(made, left=design[:, : len(made.eigenvalues)])
    factors = tuple(
        factor_fold(made.left, made.eigenvalues, train, test, centred=fit_intercept, n_alphas=len(grid))
        for train, test in folds
    )
    return RidgePlan(made, design, grid, "folds", factors)


def _check_folds(folds: Folds, n_samples: int) -> None:
    for number, (train, test) in enumerate(folds):
        if len(train) < 2 or len(test) < 2:
            raise DataError(
                f"fold {number} is too small to score",
                expected="at least 2 train and 2 test samples",
                found=f"{len(train)} train and {len(test)} test of n_samples={n_samples}",
                fix="take fewer folds, or cv='loo' (leave-one-out in closed form)",
            )


@dataclass(frozen=True, eq=False)
class RidgePlan:
    """A factored design; see `plan_ridge`.

    Parameters
    ----------
    decomposition : Decomposition
        Of the whole design.
    design : array (n_samples, n_columns)
        Its left vectors, with a column of ones where folds are centred.
    alphas : array (n_alphas,)
    method : {"folds", "loo", "gcv", None}
    factors : tuple of FoldFactor
    """

    decomposition: Decomposition
    design: Any
    alphas: np.ndarray
    method: str | None
    factors: tuple[FoldFactor, ...] = ()

    def fit(
        self, Y: np.ndarray, *, scoring: str = "r2", per_target: bool = True, block_bytes: int = TARGET_BYTES
    ) -> RidgeFit:
        """Choose penalties for targets and refit on all samples.

        Parameters
        ----------
        Y : array (n_samples, n_targets)
            Numbers of any dtype; a memory map is read in blocks of targets.
        scoring : {"r2", "correlation"}
            What the best penalty has most of, on average over the folds.
        per_target : bool
            A penalty for each target, or the one that is best on average (then Y is read twice).
        block_bytes : int
            Budget of the work arrays; changes results only by rounding.

        Raises
        ------
        DataError
            When Y has another number of samples than the design, or holds NaN or infinity.
        """
        if scoring not in SCORINGS or (self.method == "gcv" and scoring != "r2"):
            raise DataError(f"no scoring {scoring!r} here", expected="'r2' or 'correlation'; with cv='gcv' only 'r2'")
        targets = Targets.of(Y, self, block_bytes)
        shared = None if per_target else self._shared_choice(targets, scoring)
        fit = _empty_fit(self.decomposition, targets)
        for columns, block in targets:
            held, products = self._products(block)
            scored = self._score(block, held, products, scoring)
            best = _best(scored[0]) if shared is None else np.full(block.shape[1], shared)
            fit.best_alphas[columns] = self.alphas[best]
            each = np.arange(len(best))
            for kept, values in zip((fit.cv_scores, fit.held_out_mean, fit.held_out_std), scored, strict=True):
                kept[columns] = values[best, each]
            self._refit(products, fit.best_alphas[columns], out=fit.coef[:, columns])
        fit.cv_scores[targets.constant] = np.nan
        return replace(fit, held_out_mean=fit.held_out_mean + targets.mean)

    def _shared_choice(self, targets: Targets, scoring: str) -> int:
        """Position of the alpha with the best mean score over targets."""
        total = np.zeros(len(self.alphas))
        for columns, block in targets:
            scores = self._score(block, *self._products(block), scoring)[0]
            total += np.nansum(scores[:, ~targets.constant[columns]], axis=1)
        return int(total.argmax())

    def _products(self, block: Any) -> tuple[list[Any], Any]:
        """Products of the design and the targets: over the test rows of each fold, and over all rows."""
        held: list[Any] = [
            None if fold.rotation is None else self.design[fold.test].T @ block[fold.test] for fold in self.factors
        ]
        tested = np.concatenate([fold.test for fold in self.factors]) if self.factors else np.empty(0)
        partition = np.array_equal(np.sort(tested), np.arange(len(block)))
        if partition and all(part is not None for part in held):
            return held, sum(held[1:], start=held[0])
        return held, self.design.T @ block

    def _score(self, block: Any, held: list[Any], products: Any, scoring: str) -> tuple[np.ndarray, ...]:
        """Scores, and mean and SD of held-out predictions, each (n_alphas, n_targets)."""
        alphas, made = to_like(self.alphas, self.design), self.decomposition
        nothing = np.full((len(self.alphas), block.shape[1]), np.nan)
        if self.method is None:
            return nothing, nothing, nothing
        if self.method == "gcv":
            return gcv_scores(made, block, products, alphas), nothing, nothing
        if self.method == "loo":
            moments = [loo_moments(made, block, products, alphas)]
        else:
            moments = [
                fold_moments(fold, block, part, self._kept(fold, block, part, products), alphas)
                for fold, part in zip(self.factors, held, strict=True)
            ]
        sums = [one.prediction_sums() for one in moments]
        n_samples = sum(one.n_samples for one in moments)
        mean = np.sum([one for one, _ in sums], axis=0) / n_samples
        variance = np.sum([one for _, one in sums], axis=0) / n_samples - mean**2
        return _nan_mean([one.score(scoring) for one in moments]), mean, np.sqrt(np.maximum(variance, 0.0))

    def _kept(self, fold: FoldFactor, block: Any, part: Any, products: Any) -> Any:
        """Products over the training rows of a fold: the whole less what is left out."""
        if part is None:
            return None
        if len(fold.excluded) > len(fold.test):
            part = self.design[fold.excluded].T @ block[fold.excluded]
        return products - part

    def _refit(self, products: Any, alphas: np.ndarray, *, out: np.ndarray) -> None:
        made = self.decomposition
        weights = cast(made.eigenvalues[:, None] + to_like(alphas, self.design)[None, :], made.dtype)
        made.lift(products[: len(made.eigenvalues)] / weights, out)


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets about their mean, handed out in blocks of columns."""

    Y: np.ndarray
    like: Any
    dtype: str
    mean: np.ndarray
    constant: np.ndarray
    n_together: int

    @classmethod
    def of(cls, Y: np.ndarray, plan: RidgePlan, block_bytes: int) -> Targets:
        """Check targets against the design, and take their means, in one pass over the rows."""
        n_samples, n_columns = plan.design.shape
        if Y.ndim != 2 or len(Y) != n_samples or not Y.shape[1]:
            raise DataError(
                "targets and design differ in samples",
                expected=f"Y of shape ({n_samples}, n_targets)",
                found=Y.shape,
                fix="join by stimulus_id: brainalign.trials.join(trials, latents)",
            )
        mean, constant = _mean_and_constant(Y)
        made = plan.decomposition
        item = 4 if made.dtype == "float32" else 8
        each = item * (n_samples + (len(plan.factors) + 4) * n_columns) + 8 * (5 * n_columns + n_samples)
        mean = mean if made.centred else mean * 0.0
        return cls(Y, plan.design, made.dtype, mean, constant, max(1, int(block_bytes // each)))

    def __iter__(self) -> Iterator[tuple[slice, Any]]:
        """Yield (columns, block); a constant target is zero in its block when the model has an intercept."""
        for columns in row_blocks(self.Y.shape[1], 1, budget=self.n_together):
            block = np.empty((len(self.Y), columns.stop - columns.start), dtype=self.dtype)
            for rows in row_blocks(len(block), 8 * block.shape[1], budget=2**22):
                block[rows] = self.Y[rows, columns] - self.mean[columns]
            block[:, self.constant[columns] & (self.mean[columns] != 0)] = 0.0
            yield columns, to_like(block, self.like)


def _mean_and_constant(Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each column in float64, and whether it holds a single value; `DataError` where not finite."""
    total, low, high = np.zeros(Y.shape[1]), np.full(Y.shape[1], np.inf), np.full(Y.shape[1], -np.inf)
    for rows in row_blocks(len(Y), Y.shape[1] * 8, budget=2**24):
        block = Y[rows]
        total += block.sum(axis=0, dtype=np.float64)
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
    if not np.isfinite(total).all():
        check_finite(Y, name="Y")
    return total / len(Y), high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))


def _empty_fit(made: Decomposition, targets: Targets) -> RidgeFit:
    n_features, n_targets = len(made.mean), len(targets.mean)
    per_target = [np.empty(n_targets) for _ in range(4)]
    return RidgeFit(np.empty((n_features, n_targets), made.dtype), to_numpy(made.mean), targets.mean, *per_target)


def _nan_mean(scores: list[np.ndarray]) -> np.ndarray:
    """Mean over folds of the scores that exist."""
    stacked = np.stack(scores)
    present = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(present, stacked, 0.0).sum(axis=0) / present.sum(axis=0)


def _best(scores: np.ndarray) -> np.ndarray:
    """Position of the best alpha of each target; the last one, which shrinks most, where none has a score."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    return np.where(np.isnan(scores).all(axis=0), len(scores) - 1, filled.argmax(axis=0))
