"""Banded ridge with fewer features than samples: one Gram matrix of all bands, scaled by their weights.

Each band is turned to its principal axes once (ridge does not see a rotation inside a band), kept as orthonormal
columns and eigenvalues, so that products with the targets lose nothing in float32 and are the same for all weights:
a candidate costs an eigenproblem per fold, and rotations of these products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.voxelwise.backend import cast, namespace, to_like, to_numpy
from brainalign.voxelwise.banded_grams import BandedProblem
from brainalign.voxelwise.banded_kernel import same_columns
from brainalign.voxelwise.banded_mix import Mixture
from brainalign.voxelwise.factors import FoldFactor, _norm_kernels
from brainalign.voxelwise.heldout import fold_moments
from brainalign.voxelwise.plan import _nan_mean
from brainalign.voxelwise.solvers import Decomposition, decompose, eigh_without_null

__all__ = ["BandAxes", "PrimalForm"]


@dataclass(frozen=True, eq=False)
class BandAxes:
    """The principal axes of every band.

    Parameters
    ----------
    parts : tuple of Decomposition
        One for each band.
    left : array (n_samples, n_axes)
        Their left vectors side by side.
    root : array (n_axes,), float64
        Roots of their eigenvalues: ``left * root`` is the centred design, turned.
    band : array of int (n_axes,)
        Which band an axis is of.
    """

    parts: tuple[Decomposition, ...]
    left: Any
    root: Any
    band: np.ndarray

    @classmethod
    def of(cls, problem: BandedProblem) -> BandAxes:
        """Decompose each band."""
        xp = namespace(problem.X)
        more: dict[str, Any] = {"centre": problem.centred, "dtype": problem.dtype}
        parts = tuple(
            decompose(problem.X[:, band], sample_weight=problem.sample_weight, **more) for band in problem.bands
        )
        root = xp.concatenate([xp.sqrt(part.eigenvalues) for part in parts])
        band = np.repeat(np.arange(len(parts)), [len(part.eigenvalues) for part in parts])
        return cls(parts, xp.concatenate([part.left for part in parts], axis=1), root, band)

    @property
    def ones(self) -> Any:
        """The intercept's column, (n_samples,), float64: ones, or roots of the sample weights."""
        return self.parts[0].root_weights

    @property
    def mean(self) -> Any:
        """(n_features,), float64."""
        return namespace(self.root).concatenate([part.mean for part in self.parts])

    @property
    def dtype(self) -> str:
        """Precision of the products."""
        return self.parts[0].dtype

    def lift(self, turned: Any) -> np.ndarray:
        """Coefficients of the features from those of the axes, (n_features, n_targets)."""
        lifted = []
        for number, part in enumerate(self.parts):
            own = np.flatnonzero(self.band == number)
            inner = turned[own] / namespace(turned).sqrt(part.eigenvalues)[:, None]
            lifted.append(to_numpy(part.lift(cast(inner, part.dtype))))
        return np.concatenate(lifted)


@dataclass(frozen=True, eq=False)
class _Fold:
    """Gram matrices of `BandAxes.left` over the training and test samples of a fold, about the training mean."""

    train: np.ndarray
    test: np.ndarray
    excluded: np.ndarray
    mean: Any
    gram: Any
    test_gram: Any
    test_sum: Any


@dataclass(frozen=True, eq=False)
class PrimalForm:
    """Gram matrices of all axes, in all and for each fold, ready for any weights.

    Parameters
    ----------
    axes : BandAxes
    design : array (n_samples, n_axes + 1)
        With a column of ones where folds are centred.
    gram : array (n_axes, n_axes), float64
    folds : tuple of _Fold
    centred : bool
    """

    axes: BandAxes
    design: Any
    gram: Any
    folds: tuple[_Fold, ...]
    centred: bool
    root_weights: np.ndarray | None = None

    @classmethod
    def of(cls, problem: BandedProblem) -> PrimalForm:
        """Take Gram matrices; those of training samples by subtracting what is left out."""
        axes, centred = BandAxes.of(problem), problem.centred
        left = cast(axes.left, "float64")
        gram = left.T @ left
        made = tuple(_fold_grams(left, gram, axes.ones, *fold, centred=centred) for fold in problem.folds)
        design = axes.left
        if centred:
            design = namespace(left).concatenate([design, cast(axes.ones, axes.dtype)[:, None]], axis=1)
        return cls(axes, design, gram, made, centred, problem.root_weights)

    @property
    def mean(self) -> Any:
        """(n_features,), float64."""
        return self.axes.mean

    @property
    def dtype(self) -> str:
        """Precision of the products."""
        return self.axes.dtype

    @property
    def bytes_per_target(self) -> int:
        """Of the work arrays."""
        return 8 * (len(self.design) + (2 * len(self.folds) + 6) * self.design.shape[1] + len(self.mean))

    def eigenvalues(self) -> np.ndarray:
        """Non-zero ones of the equally weighted whole."""
        n_bands = len(self.axes.parts)
        scale = self.axes.root / n_bands**0.5
        return to_numpy(eigh_without_null(self.gram * scale * scale[:, None], len(self.design))[0])

    def weigh(self, weights: np.ndarray) -> np.ndarray:
        """What `factor` starts from: the weights, as folds are decomposed one by one."""
        return weights

    def steps(self, weighed: np.ndarray, alphas: np.ndarray, *, streamed: bool) -> list[Mixture]:
        """Every penalty streams through the same factor."""
        return [Mixture.of_itself(np.arange(len(alphas)))]

    def prepare(self, block: Any) -> tuple[Any, list[Any], list[Any], Any]:
        """Products of targets and design over the test and training samples of each fold, and over all."""
        whole = self.design.T @ block
        held = [self.design[fold.test].T @ block[fold.test] for fold in self.folds]
        kept = []
        for fold, part in zip(self.folds, held, strict=True):
            gap = len(fold.excluded) > len(fold.test)
            kept.append(whole - (self.design[fold.excluded].T @ block[fold.excluded] if gap else part))
        return block, held, kept, whole

    def factor(self, weights: np.ndarray, alphas: np.ndarray) -> list[FoldFactor]:
        """Decompose the weighted training samples of each fold."""
        return [self._factor_fold(fold, weights) for fold in self.folds]

    def _decomposed(self, gram: Any, weights: np.ndarray, n_samples: int) -> tuple[Any, Any, Any]:
        """Eigenvalues, what turns products with `left` to the eigenvectors, and the axes of bands with a weight."""
        used = np.flatnonzero(weights[self.axes.band] > 0)
        scale = self.axes.root[used] * to_like(np.sqrt(weights[self.axes.band[used]]), self.axes.root)
        values, vectors = eigh_without_null(gram[used][:, used] * scale * scale[:, None], n_samples)
        return values, (scale[:, None] * vectors).T, used

    def _factor_fold(self, fold: _Fold, weights: np.ndarray) -> FoldFactor:
        values, turned, used = self._decomposed(fold.gram, weights, len(fold.train))
        xp = namespace(turned)
        rotation = xp.zeros((len(values), self.design.shape[1]), dtype=self.design.dtype, device=self.design.device)
        rotation[:, used] = cast(turned, self.dtype)
        if self.centred:
            rotation[:, -1] = cast(-(turned @ fold.mean[used]), self.dtype)
        far, near = _norm_kernels(values, turned @ fold.test_gram[used][:, used] @ turned.T)
        return FoldFactor(
            train=fold.train,
            test=fold.test,
            excluded=fold.excluded,
            eigenvalues=values,
            rotation=rotation,
            train_design=None,
            test_design=None,
            test_sum=turned @ fold.test_sum[used],
            centred=self.centred,
            far=far,
            near=near,
            root_weights=None if self.root_weights is None else self.axes.ones,
        )

    def scores(
        self, factor: list[FoldFactor], prepared: Any, alphas: np.ndarray, *, scoring: str, **unused: Any
    ) -> np.ndarray:
        """Mean score over folds, (n_alphas, n_targets); no prediction is formed that could be mixed or screened."""
        block, held, kept, _ = prepared
        grid = to_like(alphas, self.design)
        parts = zip(factor, held, kept, strict=True)
        scores = [fold_moments(fold, block, out, rest, grid).score(scoring) for fold, out, rest in parts]
        return to_numpy(_nan_mean(scores))

    def refit(self, prepared: Any, weights: np.ndarray, alphas: np.ndarray, *, out: np.ndarray) -> None:
        """Coefficients (n_features, n_targets) at the weights (n_bands, n_targets) and penalty of each target."""
        whole = prepared[-1]
        turned = cast(whole[: len(self.axes.root)] * 0.0, "float64")
        for columns in same_columns(weights):
            values, rotation, used = self._decomposed(self.gram, weights[:, columns[0]], len(self.design))
            penalty = to_like(alphas[columns], rotation)
            rotated = rotation @ cast(whole[used][:, columns], "float64") / (values[:, None] + penalty)
            # `rotation` holds the roots of weights and eigenvalues; coefficients of axes want only the former.
            solved = (rotation.T @ rotated) / self.axes.root[used][:, None]
            turned[used[:, None], columns[None, :]] = solved
        out[...] = self.axes.lift(turned)


def _fold_grams(left: Any, gram: Any, ones: Any, train: np.ndarray, test: np.ndarray, *, centred: bool) -> _Fold:
    excluded = np.setdiff1d(np.arange(len(left)), train)
    gone, tested, weight = left[excluded], left[test], float((ones[train] ** 2).sum())
    # The columns of `left` have a weighted sum of zero where it is centred: the excluded rows give the training mean.
    mean = -(ones[excluded] @ gone) / weight * float(centred)
    kept = gram - gone.T @ gone - weight * mean[:, None] * mean
    tested = tested - ones[test][:, None] * mean
    return _Fold(train, test, excluded, mean, kept, tested.T @ tested, ones[test] @ tested)
