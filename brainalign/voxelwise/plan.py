"""A ridge problem factored once, through which any number of targets stream.

`plan_ridge` decomposes the design and the training part of each fold; `RidgePlan.fit` then takes targets, from
memory or from disk, in blocks under a byte budget, chooses a penalty for each and returns the refit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.splits import check_disjoint
from brainalign.voxelwise.backend import block_bytes as budget_of
from brainalign.voxelwise.backend import cast, namespace, to_like, to_numpy
from brainalign.voxelwise.direct import SharedPenalty, shared_penalty
from brainalign.voxelwise.factors import FoldFactor, LooFactor, factor_fold, factor_loo
from brainalign.voxelwise.fits import COEF_BYTES, DualRidgeFit, RidgeFit, WeightStore, write_combined
from brainalign.voxelwise.heldout import Moments, project_fold, project_gcv, project_loo
from brainalign.voxelwise.search import best_rows, line_search, search_grid
from brainalign.voxelwise.solvers import Decomposition, as_weights, auto_alphas, check_alphas, decompose
from brainalign.voxelwise.targets import Targets
from brainalign.voxelwise.targets import _mean_and_constant as _mean_and_constant

__all__ = ["DualRidgeFit", "RidgeFit", "RidgePlan", "plan_ridge"]

SCORINGS = ("r2", "correlation")
TARGET_BYTES = 32 * 2**20
"""Default budget for the work arrays of one block of targets on a CPU; a GPU takes what keeps it busy."""

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


def plan_ridge(
    X: Any,
    alphas: Any = "auto",
    folds: Folds | str | None = "loo",
    *,
    fit_intercept: bool = True,
    dtype: str | None = None,
    scoring_dtype: str | None = None,
    sample_weight: Any = None,
) -> RidgePlan:
    """Factor a design, and the training part of every fold, once for all targets.

    Parameters
    ----------
    X : array (n_samples, n_features)
        Finite numbers; numpy (memory maps are read in blocks) or a torch tensor, which decides where the work is done.
    alphas : "auto", float, sequence of float, "search" or ("search", low, high)
        Penalties to choose from; or the range in which each target's own is searched for: nine decades around the
        mean eigenvalue of X'X, as in "auto", or those given.
    folds : sequence of (train, test), "loo", "gcv" or None
        Row numbers; leave-one-out in closed form; generalised cross-validation; or no choice, with a single alpha.
    fit_intercept : bool
        Centre inside every fold.
    dtype : {"float32", "float64"}, optional
        Precision of the products; that of X by default.
    scoring_dtype : {"bfloat16"}, optional
        Form the predictions that are scored in bfloat16 (torch), one product for each penalty; the refit is not
        touched, and scores are good to about 1e-3. It pays where bfloat16 is much the faster: with "loo", and for
        "folds" on GPUs that are slow in float64, as the default forms no predictions of folds at all.
    sample_weight : array (n_samples,), optional
        Weights of the squared errors, in fits and in scores: a weight of two is the row twice. Leave-one-out leaves
        out a row with all its weight, and "gcv" takes weights as precisions.

    Raises
    ------
    DataError
        When X is not finite or has no features, an alpha is not positive, or a fold trains on nothing, tests on a
        single sample, or names rows that are not there or the same row twice.
    LeakageError
        When a fold trains on a row that it tests.

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
    if scoring_dtype not in (None, "bfloat16"):
        raise DataError(f"no scoring_dtype {scoring_dtype!r}", expected="'bfloat16' or None")
    weights = as_weights(sample_weight, len(X))
    made = decompose(X, centre=fit_intercept, dtype=dtype, sample_weight=weights)
    grid, search = _grid(alphas, made, choosing=folds is not None)
    if folds is None or isinstance(folds, str):
        if folds not in (None, "loo", "gcv"):
            raise DataError(f"no cross-validation {folds!r}", expected="folds, 'loo', 'gcv' or None")
        loo = factor_loo(made, in_half=scoring_dtype is not None) if folds == "loo" else None
        return RidgePlan(made, made.left, grid, folds, loo=loo, search=search)
    pairs = _check_folds(folds, len(X), weights)
    design = made.left
    if fit_intercept:
        xp = namespace(design)
        design = xp.concatenate([design, cast(made.root_weights, made.dtype)[:, None]], axis=1)
        made = replace(made, left=design[:, : len(made.eigenvalues)])
    n_scored = len(grid) if not search else 2 * len(grid)
    factors = tuple(factor_fold(made, *pair, n_alphas=n_scored, in_half=scoring_dtype is not None) for pair in pairs)
    return RidgePlan(made, design, grid, "folds", factors, search=search)


def _grid(alphas: Any, made: Decomposition, *, choosing: bool) -> tuple[np.ndarray, bool]:
    """The penalties that every target tries, ascending where they are to be searched between; and whether they are."""
    eigenvalues = to_numpy(made.eigenvalues)
    coarse = search_grid(alphas, eigenvalues)
    if coarse is not None:
        grid = coarse
    else:
        grid = auto_alphas(eigenvalues) if isinstance(alphas, str) and alphas == "auto" else check_alphas(alphas)
    if not choosing and len(grid) > 1:
        raise DataError("several alphas but nothing to choose by", expected="one alpha, or folds", found=grid.tolist())
    return grid, coarse is not None


def _check_folds(
    folds: Folds, n_samples: int, weights: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds as row numbers that exist, each once, on one side only, and enough of them with weight."""
    pairs = []
    for number, (train, test) in enumerate(folds):
        pair = np.asarray(train), np.asarray(test)
        for rows in pair:
            if rows.dtype.kind not in "iu" and rows.size:
                raise DataError(f"fold {number} is not made of row numbers", expected="integers", found=rows.dtype)
            if rows.size and (rows.min() < 0 or rows.max() >= n_samples):
                raise DataError(
                    f"fold {number} names rows that are not there",
                    expected=f"numbers from 0 to {n_samples - 1}",
                    found=f"{rows.min()} to {rows.max()}",
                )
            if len(np.unique(rows)) < len(rows):
                raise DataError(
                    f"fold {number} names a row twice", expected="each row once", fix="count rows by sample_weight"
                )
        if len(np.intersect1d(*pair)):
            check_disjoint(*pair, what="sample")
        n_train, n_test = (
            len(rows) if weights is None else int((weights[rows.astype(int)] > 0).sum()) for rows in pair
        )
        if n_train < 2 or n_test < 2:
            raise DataError(
                f"fold {number} is too small to score",
                expected="at least 2 train and 2 test samples",
                found=f"{n_train} train and {n_test} test of n_samples={n_samples}",
                fix="take fewer folds, or cv='loo' (leave-one-out in closed form)",
            )
        pairs.append(pair)
    if not pairs:
        raise DataError("no folds to choose penalties by", expected="at least one (train, test)", found="none")
    return pairs


@dataclass(frozen=True, eq=False)
class RidgePlan:
    """A factored design; see `plan_ridge`.

    Parameters
    ----------
    decomposition : Decomposition
        Of the whole design.
    design : array (n_samples, n_columns)
        Its left vectors, with a column of ones (or roots of the weights) where folds are centred.
    alphas : array (n_alphas,)
        The grid, or the coarse grid from which a search starts.
    method : {"folds", "loo", "gcv", None}
    factors : tuple of FoldFactor
    loo : LooFactor or None
    search : bool
    """

    decomposition: Decomposition
    design: Any
    alphas: np.ndarray
    method: str | None
    factors: tuple[FoldFactor, ...] = ()
    loo: LooFactor | None = None
    search: bool = False

    def with_alphas(self, alphas: Any) -> RidgePlan:
        """The same factors with other penalties to choose from, as `plan_ridge` takes them."""
        grid, search = _grid(alphas, self.decomposition, choosing=self.method is not None)
        return replace(self, alphas=grid, search=search)

    def fit(
        self,
        Y: Any,
        *,
        scoring: str = "r2",
        per_target: bool = True,
        block_bytes: int | None = None,
        keep_coef: Any = True,
    ) -> Any:
        """Choose penalties for targets and refit on all samples.

        Parameters
        ----------
        Y : array (n_samples, n_targets)
            Numbers of any dtype; a memory map is read in blocks of targets, a tensor is not taken off its device.
        scoring : {"r2", "correlation"}
            What the best penalty has most of, on average over the folds.
        per_target : bool
            A penalty for each target, or the one that is best on average (then Y is read twice, or, with a search,
            three times).
        block_bytes : int, optional
            Budget of the work arrays; changes results only by rounding. 32 MiB on a CPU by default.
        keep_coef : True, False or "auto"
            With more features than samples, False keeps weights of the samples and never forms n_features x
            n_targets; "auto" does so where the coefficients would pass 1 GiB. Otherwise they are the smaller form.
            Weights that pass 1 GiB themselves lie in an unnamed file of the cache, which goes with them.

        Returns
        -------
        RidgeFit or DualRidgeFit

        Raises
        ------
        DataError
            When Y has another number of samples than the design, or holds NaN or infinity.
        """
        if scoring not in SCORINGS or (self.method == "gcv" and scoring != "r2"):
            raise DataError(f"no scoring {scoring!r} here", expected="'r2' or 'correlation'; with cv='gcv' only 'r2'")
        if not (isinstance(keep_coef, (bool, np.bool_)) or keep_coef == "auto"):
            raise DataError(f"no keep_coef {keep_coef!r}", expected="True, False or 'auto'")
        targets = Targets.of(Y, self, block_bytes or budget_of(self.design, TARGET_BYTES))
        shared = None if per_target else self._shared_choice(targets, scoring)
        made, n_targets = self.decomposition, len(targets.mean)
        direct = self._direct(shared, n_targets)
        n_bytes = n_targets * len(made.mean) * (4 if made.dtype == "float32" else 8)
        dual = made.wide and (not keep_coef or (keep_coef == "auto" and n_bytes > COEF_BYTES))
        store = WeightStore(len(self.design) if made.wide else len(made.mean), n_targets, made.dtype, may_spill=dual)
        figures = [np.empty(n_targets) for _ in range(4)]
        for columns, block in targets:
            out = store.block(columns)
            if direct is None:
                projections, products = self._project(block)
                chosen, values = self._choose(projections, scoring, block.shape[1], shared)
                self._refit(products, chosen, out=out)
            else:
                chosen, values = self._fit_directly(*direct, block, scoring, out=out)
            for kept, found in zip(figures, (chosen, *values), strict=True):
                kept[columns] = found
            store.put(columns, out)
        figures[1][targets.constant] = np.nan
        figures[2] += targets.mean
        weights, x_mean = store.weights(), to_numpy(made.mean)
        if not made.wide:
            return RidgeFit(weights, x_mean, targets.mean, *figures)
        if dual:
            return DualRidgeFit(made.X, weights, x_mean, targets.mean, *figures)
        coef = write_combined(made.X, x_mean, weights, np.empty((len(x_mean), n_targets), weights.dtype))
        return RidgeFit(coef, x_mean, targets.mean, *figures)

    def _direct(self, shared: float | None, n_targets: int) -> tuple[SharedPenalty, float] | None:
        """The inverse at the one penalty of all targets, where there is one and it pays to form it."""
        made = self.decomposition
        alpha = shared if shared is not None else float(self.alphas[0]) if len(self.alphas) == 1 else None
        exact = self.method is None or (self.loo is not None and self.loo.full and self.loo.left_half is None)
        if alpha is None or not exact or not made.wide or made.weighted or n_targets <= len(self.design):
            return None
        return shared_penalty(made, alpha), alpha

    def _fit_directly(
        self, direct: SharedPenalty, alpha: float, block: Any, scoring: str, *, out: np.ndarray
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """What `_choose` returns, with the weights of the samples written on the way."""
        weights, n_targets = direct.weights(block), block.shape[1]
        out[...] = to_numpy(weights)
        if self.method is None:
            return np.full(n_targets, alpha), (np.full(n_targets, np.nan),) * 3
        values = _summary([direct.moments(block, weights)], scoring)
        return np.full(n_targets, alpha), tuple(one[0] for one in values)

    def _choose(
        self, projections: Iterable[Any], scoring: str, n_targets: int, shared: float | None
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Penalty of each target, and the score, mean and SD of held-out predictions there."""
        if shared is not None or self.method is None:
            alpha = self.alphas[0] if shared is None else shared
            values = self._evaluate(projections, np.array([alpha]), scoring, n_targets)
            return np.full(n_targets, alpha), tuple(one[0] for one in values)
        if self.search:
            projections = list(projections)
        values = self._evaluate(projections, self.alphas, scoring, n_targets)
        if not self.search:
            best, each = best_rows(values[0]), np.arange(n_targets)
            return self.alphas[best], tuple(one[best, each] for one in values)

        def at_each(alphas: np.ndarray) -> tuple[np.ndarray, ...]:
            return tuple(one[0] for one in self._evaluate(projections, alphas[None], scoring, n_targets))

        return line_search(at_each, self.alphas, values)

    def _shared_choice(self, targets: Targets, scoring: str) -> float:
        """The alpha with the best mean score over targets; a search then looks closer between its neighbours."""

        def best_of(grid: np.ndarray) -> int:
            total = np.zeros(len(grid))
            for columns, block in targets:
                scores = self._evaluate(self._project(block)[0], grid, scoring, block.shape[1])[0]
                total += np.nansum(scores[:, ~targets.constant[columns]], axis=1)
            return int(total.argmax())

        grid, best = self.alphas, best_of(self.alphas)
        if self.search:
            grid = np.geomspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 17)
            best = best_of(grid)
        return float(grid[best])

    def _project(self, block: Any) -> tuple[Iterable[Any], Any]:
        """What penalties are scored from, fold by fold, and the products of the whole design and the targets."""
        if self.method != "folds":
            products = self.design.T @ block
            if self.loo is not None:
                return [project_loo(self.loo, block, products)], products
            return ([project_gcv(self.decomposition, block, products)] if self.method else []), products
        held, products = self._products(block)
        projected = (
            project_fold(fold, block, part, self._kept(fold, block, part, products))
            for fold, part in zip(self.factors, held, strict=True)
        )
        return projected, products

    def _products(self, block: Any) -> tuple[list[Any], Any]:
        """Products of the design and the targets: over the test rows of each fold, and over all rows."""
        held: list[Any] = [
            None if fold.rotation is None else self.design[fold.test].T @ block[fold.test] for fold in self.factors
        ]
        tested = np.concatenate([fold.test for fold in self.factors])
        partition = np.array_equal(np.sort(tested), np.arange(len(block)))
        if partition and all(part is not None for part in held):
            return held, sum(held[1:], start=held[0])
        return held, self.design.T @ block

    def _kept(self, fold: FoldFactor, block: Any, part: Any, products: Any) -> Any:
        """Products over the training rows of a fold: the whole less what is left out."""
        if part is None:
            return None
        if len(fold.excluded) > len(fold.test):
            part = self.design[fold.excluded].T @ block[fold.excluded]
        return products - part

    def _evaluate(
        self, projections: Iterable[Any], alphas: np.ndarray, scoring: str, n_targets: int
    ) -> tuple[np.ndarray, ...]:
        """Scores, and mean and SD of held-out predictions, each (n_alphas, n_targets), or (1, n_targets) of one
        penalty per target."""
        nothing = np.full((len(alphas), n_targets), np.nan)
        if self.method is None:
            return nothing, nothing, nothing
        penalties = to_like(alphas, self.design)
        if self.method == "gcv":
            (only,) = projections
            return to_numpy(only.scores(penalties)), nothing, nothing
        return _summary([one.moments(penalties) for one in projections], scoring)

    def _refit(self, products: Any, alphas: np.ndarray, *, out: np.ndarray) -> None:
        """Coefficients, or weights of the samples where the design is wide."""
        made = self.decomposition
        weights = cast(made.eigenvalues[:, None] + to_like(alphas, self.design)[None, :], made.dtype)
        rotated = products[: len(made.eigenvalues)] / weights
        if made.wide:
            out[...] = to_numpy(made.dual(rotated))
        else:
            made.lift(rotated, out)


def _summary(moments: list[Moments], scoring: str) -> tuple[np.ndarray, ...]:
    """Score, and mean and SD of the held-out predictions, over all folds."""
    sums, weight = [one.prediction_sums() for one in moments], sum(one.weight for one in moments)
    mean = sum(one for one, _ in sums) / weight
    spread = (sum(one for _, one in sums) / weight - mean**2).clip(0.0) ** 0.5
    return to_numpy(_nan_mean([one.score(scoring) for one in moments])), to_numpy(mean), to_numpy(spread)


def _nan_mean(scores: list[Any]) -> Any:
    """Mean over folds of the scores that exist."""
    xp = namespace(scores[0])
    stacked = xp.stack(scores)
    present = ~xp.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return xp.where(present, stacked, 0.0).sum(0) / present.sum(0)
