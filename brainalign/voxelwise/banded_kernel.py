"""Banded ridge with fewer samples than features: weighted sums of one Gram matrix per band.

With ``K = sum_b weight_b X_b X_b'`` (centred) and ``G = (K + alpha)^-1``, the residuals of the whole fit are ``B y``
with ``B = alpha G - 11'/n``, and those of a fold E that was left out follow without refitting: ``B_EE^-1 (B y)_E``. So
one inverse of all samples serves every fold, and the prediction of E from the other samples T is
``-B_EE^-1 B_ET y_T``. A Cholesky inverse for each penalty is cheaper than an eigendecomposition for all of them (below
some 30 penalties). Samples with weights are rows times the roots of their weights, which then stand for the ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from brainalign.arrays import BLOCK_BYTES, row_blocks
from brainalign.voxelwise.backend import cast, is_tensor, namespace, to_like, to_numpy
from brainalign.voxelwise.banded_grams import BandedProblem, HalfGrams, half_grams
from brainalign.voxelwise.banded_mix import Mixture, spanning
from brainalign.voxelwise.banded_scores import FoldTargets, exact_scores, row_runs, screened_scores
from brainalign.voxelwise.solvers import eigh_without_null
from brainalign.voxelwise.spd import factorise, invert, shifted, solve

__all__ = ["KernelForm", "same_columns"]

_SINGLE = 3e3
"""Largest eigenvalue over penalty up to which float32 inverts well enough: scores are good to about 1e-4."""
_INVERTIBLE = 1e10
"""Above this, folds are decomposed one by one, which needs no inverse."""

_FACTOR_BYTES = 2**26
"""Predictors of several penalties are kept together up to this size."""

_SOLVED_TOGETHER = 64
"""Targets solved for at once in the refit."""

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]


@dataclass(frozen=True, eq=False)
class KernelForm:
    """Gram matrices of the bands, ready for any weights.

    Parameters
    ----------
    design : array (n_samples, n_features)
        Centred where the model has an intercept, in the precision of the products.
    mean : array (n_features,), float64
    bands : tuple of slice
        Columns of each band.
    grams : HalfGrams
    largest : array (n_bands,)
        Their largest eigenvalues, roughly.
    folds : tuple of (train, test, excluded, tested)
        Rows; `excluded` are those not in train, and ``excluded[tested]`` are the test rows (None: just these).
    centred : bool
    root_weights : array (n_samples,), float64, or None
        Square roots of the sample weights; None where all are one.
    in_half : bool
        Form predictions in bfloat16 first, see `brainalign.voxelwise.banded_scores`.
    mixes : bool
        In float32, mix predictions at large penalties from others, see `brainalign.voxelwise.banded_mix`: good for R²,
        not for correlations, to which a prediction is as good however small.
    """

    design: Any
    mean: Any
    bands: tuple[slice, ...]
    grams: HalfGrams
    largest: np.ndarray
    folds: tuple[Rows, ...]
    centred: bool
    root_weights: np.ndarray | None = None
    in_half: bool = False
    mixes: bool = False

    @classmethod
    def of(cls, problem: BandedProblem) -> KernelForm:
        """Take the Gram matrix of each band."""
        grams, design, mean = half_grams(problem)
        rows = tuple(_rows(len(design), train, test) for train, test in problem.folds)
        largest = np.array([_largest(grams.weighted(alone)) for alone in np.eye(len(problem.bands))])
        return cls(design, mean, problem.bands, grams, largest, rows, problem.centred, problem.root_weights)

    @property
    def dtype(self) -> str:
        """Precision of the products."""
        return str(self.design.dtype).rpartition(".")[2]

    @property
    def bytes_per_target(self) -> int:
        """Of the work arrays."""
        return 8 * (6 * len(self.design) + self.design.shape[1])

    def eigenvalues(self) -> np.ndarray:
        """Non-zero ones of the equally weighted whole."""
        gram = self.grams.weighted(np.full(len(self.bands), 1.0 / len(self.bands)))
        return to_numpy(eigh_without_null(gram, max(self.design.shape))[0])

    def weigh(self, weights: np.ndarray) -> tuple[Any, float]:
        """What `factor` starts from at any penalty: the weighted Gram matrix, and about its largest eigenvalue."""
        return self.grams.weighted(weights), float(weights @ self.largest)

    def steps(self, weighed: tuple[Any, float], alphas: np.ndarray, *, streamed: bool) -> list[Mixture]:
        """Which penalties to factor together, and which follow from them.

        Their predictors are kept until all targets have passed: several spare passes where targets are `streamed`, in
        blocks, and calls on a GPU; otherwise one at a time takes the least memory.
        """
        item = 4 if self.dtype == "float32" else 8
        budget = 2 * BLOCK_BYTES if streamed else _FACTOR_BYTES
        several = streamed or self.in_half or _inverts_together(self.design)
        together = max(1, budget // (item * len(self.design) ** 2)) if several else 1
        if self.in_half or not self.mixes or self.dtype == "float64" or len(alphas) < 3:
            return Mixture.of_itself(np.arange(len(alphas))).parts(together)
        return spanning(alphas, weighed[1], centred=self.centred).parts(together)

    def prepare(self, block: Any) -> KernelTargets:
        """Targets, whose folds are taken when they are first asked for."""
        return KernelTargets(block, self)

    def factor(self, weighed: tuple[Any, float], alphas: np.ndarray) -> list[list[Any]]:
        """Matrices (n_test, n_train) that predict the test samples of each fold from its training samples,
        [fold][alpha]."""
        gram, largest = weighed
        regular = largest <= _INVERTIBLE * alphas
        single = (largest <= _SINGLE * alphas) & (self.dtype == "float32")
        found: list[list[Any]] = [[None] * len(alphas) for _ in self.folds]
        for dtype, chosen in (("float32", single), ("float64", regular & ~single)):
            columns = np.flatnonzero(chosen)
            at_once = len(columns) if _inverts_together(gram) else 1
            for some in row_blocks(len(columns), 1, budget=at_once):
                for fold, stack in enumerate(self._predictors(gram, alphas[columns[some]], dtype)):
                    for column, predictor in zip(columns[some], stack, strict=True):
                        found[fold][column] = predictor
        if not regular.all():
            hard = np.flatnonzero(~regular)
            for fold, (train, test, _, _) in enumerate(self.folds):
                made = _decomposed(gram, train, test, alphas[hard], ones=self._ones(gram))
                for column, predictor in zip(hard, made, strict=True):
                    found[fold][column] = cast(predictor, self.dtype)
        return found

    def _predictors(self, gram: Any, alphas: np.ndarray, dtype: str) -> Iterator[Any]:
        """Predictors (n_alphas, n_test, n_train) of each fold, by inverses in `dtype`."""
        residual = invert(shifted(gram, alphas, dtype))
        residual *= cast(to_like(alphas[:, None, None], gram), dtype)
        if self.centred and self.root_weights is None:
            residual -= 1.0 / len(gram)
        elif self.centred:
            ones = cast(self._ones(gram), dtype)
            residual -= ones[:, None] * (ones / (ones @ ones))
        for train, _, excluded, tested in self.folds:
            left_out = _as_slice(excluded)
            rows = residual[:, left_out]
            inverse = invert(rows[:, :, left_out])
            inverse *= -1.0
            if tested is not None:
                inverse = inverse[:, tested]
            runs = row_runs(train)
            if len(runs) > 1 and all(isinstance(run, slice) for run in runs):
                shape = (*inverse.shape[:2], len(train))
                made = namespace(rows).empty(shape, dtype=rows.dtype, device=rows.device)
                for run, columns in zip(runs, _side_by_side(runs), strict=True):
                    made[:, :, columns] = inverse @ rows[:, :, run]
            else:
                made = inverse @ rows[:, :, runs[0]]
            yield cast(made, self.dtype)

    def _ones(self, gram: Any) -> Any:
        """The intercept's column: ones, or roots of the weights; zeros without an intercept."""
        if not self.centred:
            return gram[0] * 0.0
        return gram[0] * 0.0 + 1.0 if self.root_weights is None else to_like(self.root_weights, gram)

    def scores(
        self,
        factor: list[list[Any]],
        prepared: KernelTargets,
        alphas: np.ndarray,
        *,
        scoring: str,
        mixture: Mixture,
        to_beat: np.ndarray,
    ) -> np.ndarray:
        """Mean score over folds, (n_alphas, n_targets), of penalties in the order of `mixture`; with `in_half` rough
        where it is below `to_beat` or another."""
        if self.in_half:
            return screened_scores(factor, prepared.folds, to_beat=to_beat)
        return exact_scores(factor, prepared.folds, scoring=scoring, mixture=mixture)

    def refit(self, prepared: KernelTargets, weights: np.ndarray, alphas: np.ndarray, *, out: np.ndarray) -> None:
        """Coefficients (n_features, n_targets) at the weights (n_bands, n_targets) and penalty of each target."""
        block = prepared.block
        for columns in same_columns(weights):
            weight = weights[:, columns[0]]
            gram, largest = self.weigh(weight)
            dual = block[:, columns]  # a copy
            for own in same_columns(alphas[None, columns]):
                solve_for = _solver(gram, float(alphas[columns[own[0]]]), largest, self.dtype)
                for some in row_blocks(len(own), 1, budget=_SOLVED_TOGETHER):
                    dual[:, own[some]] = cast(solve_for(cast(dual[:, own[some]], "float64")), self.dtype)
            for number, band in enumerate(self.bands):
                out[band, columns] = to_numpy(self.design[:, band].T @ dual) * weight[number]


class KernelTargets:
    """A block of targets about their mean, and its rows of each fold."""

    def __init__(self, block: Any, form: KernelForm) -> None:
        self.block, self._form = block, form

    @cached_property
    def folds(self) -> list[FoldTargets]:
        """What predictions are made from and compared with."""
        form = self._form
        return [
            FoldTargets.of(self.block, train, test, root_weights=form.root_weights, in_half=form.in_half)
            for train, test, _, _ in form.folds
        ]


def _rows(n_samples: int, train: np.ndarray, test: np.ndarray) -> Rows:
    excluded = np.setdiff1d(np.arange(n_samples), train)
    return train, test, excluded, None if np.array_equal(excluded, test) else np.searchsorted(excluded, test)


def same_columns(table: np.ndarray) -> Iterator[np.ndarray]:
    """Column numbers of `table`, those of equal columns together."""
    group = np.unique(table, axis=1, return_inverse=True)[1].ravel()
    order = np.argsort(group, kind="stable")
    return iter(np.split(order, np.flatnonzero(np.diff(group[order])) + 1))


def _inverts_together(like: Any) -> bool:
    """Whether matrices are inverted as a stack: on a GPU, which small ones one by one leave idle."""
    return is_tensor(like) and like.device.type == "cuda"


def _largest(gram: Any) -> float:
    """Largest eigenvalue by a few power iterations: enough to choose a precision."""
    vector = gram[:, 0] + gram[:, -1] * 0.5
    norm = 0.0
    for _ in range(20):
        length = float((vector * vector).sum()) ** 0.5
        if length == 0.0:
            return norm
        vector = gram @ (vector / length)
        norm = float((vector * vector).sum()) ** 0.5
    return norm


def _solver(gram: Any, alpha: float, largest: float, dtype: str) -> Callable[[Any], Any]:
    """What takes Y to ``(gram + alpha)^-1 Y``, both in float64; on the column space of the Gram matrix where that is
    all there is."""
    if largest > _INVERTIBLE * alpha:
        values, vectors = eigh_without_null(gram, len(gram))
        return lambda Y: (vectors / (values + alpha)) @ (vectors.T @ Y)
    single = dtype == "float32" and largest <= _SINGLE * alpha
    factor = factorise(shifted(gram, alpha, "float32" if single else "float64"))
    if not single:
        return lambda Y: solve(factor, Y * 1.0)

    def refined(Y: Any) -> Any:
        """By the factor in float32, and what that misses solved for once more."""
        solved = cast(solve(factor, cast(Y, dtype)), "float64")
        missing = Y - gram @ solved - alpha * solved
        return solved + cast(solve(factor, cast(missing, dtype)), "float64")

    return refined


def _decomposed(gram: Any, train: np.ndarray, test: np.ndarray, alphas: np.ndarray, *, ones: Any) -> Iterator[Any]:
    """Predictors of one fold from the eigenvectors of its own training samples, null space left out.

    `ones` is the intercept's column, whose products over the training samples leave the kernel about their mean.
    """
    inner, across, known, tested = gram[train][:, train], gram[test][:, train], ones[train], ones[test]
    total = (known @ known) + (known @ known == 0.0)
    mean = inner @ known / total
    spread = known @ mean / total
    across = across - tested[:, None] * mean - (across @ known / total)[:, None] * known
    across += spread * tested[:, None] * known
    inner = inner - known[:, None] * mean - mean[:, None] * known + spread * known[:, None] * known
    values, vectors = eigh_without_null(inner, len(gram))
    rotated = across @ vectors
    for alpha in alphas:
        yield (rotated / (values + alpha)) @ vectors.T + tested[:, None] * (known / total)


def _as_slice(rows: np.ndarray) -> Any:
    """Rows as a slice where they are one run, so that they are not copied."""
    runs = row_runs(rows)
    return runs[0] if len(runs) == 1 else rows


def _side_by_side(runs: list[Any]) -> list[slice]:
    """Where the rows of each run lie when runs follow one another."""
    edges = np.cumsum([0, *(run.stop - run.start for run in runs)])
    return [slice(a, b) for a, b in pairwise(edges.tolist())]
