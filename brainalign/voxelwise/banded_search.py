"""The search for band weights: candidates on the simplex, each factored once for all targets.

`plan_banded` chooses between Gram matrices of samples and of features; `BandedPlan` searches and refits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from brainalign.arrays import BLOCK_BYTES
from brainalign.errors import DataError
from brainalign.parallel import progress, spawn_seeds
from brainalign.voxelwise.backend import block_bytes as budget_of
from brainalign.voxelwise.backend import to_numpy
from brainalign.voxelwise.banded_grams import BandedProblem
from brainalign.voxelwise.banded_kernel import KernelForm
from brainalign.voxelwise.banded_primal import PrimalForm
from brainalign.voxelwise.banded_scores import is_screened
from brainalign.voxelwise.fits import RidgeFit
from brainalign.voxelwise.plan import SCORINGS, Folds, _check_folds
from brainalign.voxelwise.solvers import as_weights, auto_alphas, check_alphas
from brainalign.voxelwise.targets import Targets, _mean_and_constant

__all__ = ["BandedPlan", "Choice", "PreparedTargets", "check_weights", "choose", "draw_weights", "plan_banded"]


def draw_weights(n_bands: int, n_iter: int, *, seed: int | None = 0) -> np.ndarray:
    """Candidate weights on the simplex: all bands alike, each band alone, then draws.

    Draws go in turn to the inside of the simplex, to its faces (some bands at exactly zero), and near its corners.
    Each comes from its own child of the seed: more iterations keep the candidates there were.

    Parameters
    ----------
    n_bands, n_iter : int
    seed : int, optional

    Returns
    -------
    array (n_iter, n_bands)
        Rows sum to one; a single row where there is one band.

    Examples
    --------
    >>> draw_weights(2, 3)
    array([[0.5, 0.5],
           [1. , 0. ],
           [0. , 1. ]])
    """
    if n_bands == 1:
        return np.ones((1, 1))
    fixed = np.vstack([np.full(n_bands, 1.0 / n_bands), np.eye(n_bands)])
    drawn = [_draw(n_bands, number, child) for number, child in enumerate(spawn_seeds(seed, n_iter))]
    return np.vstack([fixed, *drawn])[:n_iter]


def _draw(n_bands: int, number: int, seed: np.random.SeedSequence) -> np.ndarray:
    rng = np.random.default_rng(seed)
    used = np.arange(n_bands)
    if number % 3 == 1 and n_bands > 2:
        used = rng.permutation(n_bands)[: rng.integers(2, n_bands)]
    weights = np.zeros(n_bands)
    weights[used] = rng.dirichlet(np.full(len(used), 0.2 if number % 3 == 2 else 1.0))
    return weights


def check_weights(weights: Any, n_bands: int) -> np.ndarray:
    """Candidate weights as float64 (n_candidates, n_bands), not negative and not all zero, or `DataError`."""
    table = np.asarray(weights, dtype=np.float64)
    good = table.ndim == 2 and table.shape[1] == n_bands and len(table) > 0
    if not good or not np.isfinite(table).all() or table.min() < 0 or (table.sum(axis=1) <= 0).any():
        raise DataError(
            "candidate weights do not fit the bands",
            expected=f"shape (n_candidates, {n_bands}), no weight below zero, one above zero in every row",
            found=f"shape {table.shape}" if not good else table.tolist(),
        )
    return table


def plan_banded(
    X: Any,
    bands: tuple[slice, ...],
    folds: Folds,
    alphas: Any = "auto",
    *,
    fit_intercept: bool = True,
    dtype: str | None = None,
    sample_weight: Any = None,
) -> BandedPlan:
    """Take the Gram matrices from which any weighting of the bands is factored.

    Parameters
    ----------
    X : array (n_samples, n_features)
        Finite numbers; numpy, or a torch tensor, which decides where the work is done.
    bands : tuple of slice
        Columns of each band, one after the other.
    folds : sequence of (train, test)
    alphas : "auto", float or sequence of float
        "auto" spans nine decades around the mean eigenvalue at equal weights.
    fit_intercept : bool
        Centre inside every fold.
    dtype : {"float32", "float64"}, optional
        Precision of the products; that of X by default.
    sample_weight : array (n_samples,), optional
        Weights of the squared errors, in fits and in scores: a weight of two is the row twice.

    Raises
    ------
    DataError
        When an alpha is not positive, a weight is negative, or a fold trains on nothing or tests on a single sample.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, rows = rng.standard_normal((60, 6)), np.arange(60)
    >>> plan = plan_banded(X, (slice(0, 3), slice(3, 6)), [(rows[20:], rows[:20]), (rows[:40], rows[40:])])
    >>> choice = plan.search(X[:, :3].sum(1, keepdims=True) + rng.standard_normal((60, 1)), draw_weights(2, 8))
    >>> bool(choice.weights[0, 0] > choice.weights[1, 0])
    True
    """
    if len(X) < 2:
        raise DataError("ridge needs samples to learn from", expected="at least 2", found=f"n_samples = {len(X)}")
    sample_weight = as_weights(sample_weight, len(X))
    folds = _check_folds(folds, len(X), sample_weight)
    dtype = dtype or ("float32" if str(X.dtype).endswith("float32") else "float64")
    problem = BandedProblem(X, bands, folds, centred=fit_intercept, dtype=dtype, sample_weight=sample_weight)
    n_axes = sum(min(band.stop - band.start, len(X)) for band in bands)
    n_alphas = 19 if isinstance(alphas, str) else np.size(alphas)
    form = _cheaper(len(X), n_axes, len(folds), n_alphas).of(problem)
    grid = auto_alphas(form.eigenvalues()) if isinstance(alphas, str) and alphas == "auto" else check_alphas(alphas)
    return BandedPlan(problem, form, grid)


def _cheaper(n_samples: int, n_axes: int, n_folds: int, n_alphas: int) -> type[KernelForm] | type[PrimalForm]:
    """Compare what a candidate costs: products for each target count as if there were as many as samples."""
    kernel = n_alphas * (1.5 + 2.0) * n_samples**3
    primal = n_folds * (25.0 * n_axes**3 + 8.0 * n_axes**2 * n_samples)
    return KernelForm if kernel < primal else PrimalForm


@dataclass(frozen=True, eq=False)
class Choice:
    """What the search found for each target.

    Parameters
    ----------
    weights : array (n_bands, n_targets)
    alphas : array (n_targets,)
    scores : array (n_targets,)
        Mean score over folds at the choice; NaN for a constant target.
    by_candidate : array (n_candidates, n_targets)
        Best score of each candidate over penalties.
    alphas_by_candidate : array (n_candidates, n_targets)
        Where it was.
    """

    weights: np.ndarray
    alphas: np.ndarray
    scores: np.ndarray
    by_candidate: np.ndarray
    alphas_by_candidate: np.ndarray


@dataclass(frozen=True, eq=False)
class BandedPlan:
    """Gram matrices of bands; see `plan_banded`.

    Parameters
    ----------
    problem : BandedProblem
    form : KernelForm or PrimalForm
    alphas : array (n_alphas,)
    """

    problem: BandedProblem
    form: Any
    alphas: np.ndarray

    @property
    def n_bands(self) -> int:
        """How many feature spaces there are."""
        return len(self.problem.bands)

    def targets(self, Y: Any, *, block_bytes: int | None = None) -> PreparedTargets:
        """Check targets against the design and prepare to hand them out in blocks."""
        design = self.form.design
        if Y.ndim != 2 or len(Y) != len(design) or not Y.shape[1]:
            raise DataError(
                "targets and design differ in samples",
                expected=f"Y of shape ({len(design)}, n_targets)",
                found=Y.shape,
                fix="join by stimulus_id: brainalign.trials.join(trials, latents)",
            )
        root = self.form.root_weights
        mean, constant = _mean_and_constant(Y, root, like=design)
        mean = mean if self.form.centred else mean * 0.0
        block_bytes = block_bytes or budget_of(design, BLOCK_BYTES)
        together = max(1, int(block_bytes // self.form.bytes_per_target))
        return PreparedTargets(self.form, Targets(Y, design, self.form.dtype, mean, constant, together, root))

    def search(
        self,
        Y: np.ndarray | PreparedTargets,
        weights: np.ndarray,
        *,
        scoring: str = "r2",
        scoring_dtype: str | None = None,
        description: str | None = None,
    ) -> Choice:
        """Score every candidate at every penalty, and choose for each target.

        Parameters
        ----------
        Y : array (n_samples, n_targets), or what `targets` made of it
        weights : array (n_candidates, n_bands)
        scoring : {"r2", "correlation"}
        scoring_dtype : {"auto", "bfloat16", None}
            Form predictions in bfloat16 (torch) first, and again in full precision where they could win: the choice
            stays the same, and `by_candidate` is rough for what lost. "auto" does so where it is the faster way. Only
            for R² and with fewer samples than features; otherwise no prediction is formed.
        description : str, optional
            Label of the progress bar.
        """
        if scoring not in SCORINGS:
            raise DataError(f"no scoring {scoring!r}", expected="'r2' or 'correlation'")
        weights = check_weights(weights, self.n_bands)
        targets = Y if isinstance(Y, PreparedTargets) else self.targets(Y)
        form = self.form
        if isinstance(form, KernelForm):
            work = 2.0 * len(form.design) ** 2 * len(targets.mean) * len(weights) * len(self.alphas)
            screened = scoring == "r2" and is_screened(scoring_dtype, form.design, work)
            form = replace(form, in_half=screened, mixes=scoring == "r2")
            targets = replace(targets, form=form, _kept=[])
        best = np.full((len(weights), len(targets.constant)), -np.inf)
        where = np.full(best.shape, self.alphas.argmax())
        for row, weight in enumerate(progress(weights, description=description)):
            weighed = form.weigh(weight)
            for step in form.steps(weighed, self.alphas, streamed=targets.streamed):
                grid = self.alphas[step.solved]
                factor = form.factor(weighed, grid)
                for columns, prepared in targets:
                    ahead = best[:, columns].max(axis=0)
                    scores = form.scores(factor, prepared, grid, scoring=scoring, mixture=step, to_beat=ahead)
                    _keep_best(best[row, columns], where[row, columns], scores, step.order)
                del factor  # before the next is made
            del weighed
        best[:, targets.constant] = np.nan
        return choose(weights, best, self.alphas[where])

    def refit(self, Y: np.ndarray | PreparedTargets, weights: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        """Coefficients (n_features, n_targets) on all samples at the weights and penalty of each target."""
        targets = Y if isinstance(Y, PreparedTargets) else self.targets(Y)
        coef = np.empty((len(self.form.mean), len(alphas)), dtype=self.form.dtype)
        for columns, prepared in targets:
            self.form.refit(prepared, weights[:, columns], alphas[columns], out=coef[:, columns])
        return coef

    def fit(self, targets: PreparedTargets, coef: np.ndarray, choice: Choice) -> RidgeFit:
        """The coefficients with what prediction needs."""
        nothing = np.full(len(choice.alphas), np.nan)
        mean = to_numpy(self.form.mean)
        return RidgeFit(coef, mean, targets.mean, choice.alphas, choice.scores, nothing, nothing)


@dataclass(frozen=True, eq=False)
class PreparedTargets:
    """Blocks of targets as a form wants them, kept from one candidate to the next where one block holds all."""

    form: Any
    source: Targets
    _kept: list[tuple[slice, Any]] = field(default_factory=list)

    @property
    def mean(self) -> np.ndarray:
        """(n_targets,), float64."""
        return self.source.mean

    @property
    def constant(self) -> np.ndarray:
        """(n_targets,), whether a target holds a single value."""
        return self.source.constant

    @property
    def streamed(self) -> bool:
        """Whether targets go through in several blocks."""
        return self.source.n_together < len(self.mean)

    def __iter__(self) -> Iterator[tuple[slice, Any]]:
        if self._kept:
            return iter(self._kept)
        made = ((columns, self.form.prepare(block)) for columns, block in self.source)
        if self.streamed:
            return made
        self._kept.extend(made)
        return iter(self._kept)


def _keep_best(best: np.ndarray, where: np.ndarray, scores: np.ndarray, positions: np.ndarray) -> None:
    """Note in place where a penalty beats those so far; a score that does not exist beats none."""
    scores = np.where(np.isnan(scores), -np.inf, scores)
    top = scores.argmax(axis=0)
    value = np.take_along_axis(scores, top[None], axis=0)[0]
    better = value > best
    best[better], where[better] = value[better], positions[top[better]]


def choose(weights: np.ndarray, scores: np.ndarray, alphas: np.ndarray) -> Choice:
    """The best candidate of each target; the first, at its largest penalty, where none has a score.

    Parameters
    ----------
    weights : array (n_candidates, n_bands)
    scores, alphas : array (n_candidates, n_targets)
        Best score of each candidate, and the penalty it was reached at.
    """
    scored = np.where(np.isnan(scores), -np.inf, scores)
    top, each = scored.argmax(axis=0), np.arange(scores.shape[1])
    value = scored[top, each]
    found = np.isfinite(value)
    alpha = np.where(found, alphas[top, each], alphas.max(axis=0))
    return Choice(weights[top].T.copy(), alpha, np.where(found, value, np.nan), scores, alphas)
