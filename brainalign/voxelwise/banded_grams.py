"""What every form of a banded ridge starts from, and the Gram matrices of its bands at half their memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.arrays import BLOCK_BYTES, row_blocks
from brainalign.voxelwise.backend import cast, namespace, to_like
from brainalign.voxelwise.plan import Folds
from brainalign.voxelwise.solvers import column_means

__all__ = ["BandedProblem", "HalfGrams", "half_grams"]

_N_BLOCKS = 8
"""Blocks of rows of a Gram matrix: what they hold below the diagonal is a sixteenth of it."""


@dataclass(frozen=True, eq=False)
class BandedProblem:
    """A design in bands, and the folds to choose by.

    Parameters
    ----------
    X : array (n_samples, n_features)
        Finite numbers; numpy, or a torch tensor, which decides where the work is done.
    bands : tuple of slice
        Columns of each band, one after the other.
    folds : sequence of (train, test)
    centred : bool
        With an intercept: centred inside every fold.
    dtype : {"float32", "float64"}
        Precision of the products.
    sample_weight : array (n_samples,), optional
        Weights of the squared errors: a weight of two is the row twice.
    """

    X: Any
    bands: tuple[slice, ...]
    folds: Folds
    centred: bool = True
    dtype: str = "float64"
    sample_weight: np.ndarray | None = None

    @property
    def root_weights(self) -> np.ndarray | None:
        """Square roots of the sample weights, (n_samples,), float64; None where all are one."""
        return None if self.sample_weight is None else np.sqrt(self.sample_weight)


@dataclass(frozen=True, eq=False)
class HalfGrams:
    """Symmetric matrices, one per band, of which every block of rows is kept from the diagonal on.

    Parameters
    ----------
    rows : tuple of slice
    parts : list of list of array (n_rows, n_samples - first row), float64
        [block][band].
    """

    rows: tuple[slice, ...]
    parts: list[list[Any]]

    def weighted(self, weights: np.ndarray) -> Any:
        """The weighted sum of the matrices, whole: a new array (n_samples, n_samples), float64."""
        n_samples, first = self.rows[-1].stop, self.parts[0][0]
        total = namespace(first).empty((n_samples, n_samples), dtype=first.dtype, device=first.device)
        for rows, own in zip(self.rows, self.parts, strict=True):
            block = own[0] * float(weights[0])
            for weight, part in zip(weights[1:], own[1:], strict=True):
                if weight > 0:
                    block += float(weight) * part
            total[rows, rows.start :] = block
            total[rows.stop :, rows] = block[:, rows.stop - rows.start :].T
        return total


def half_grams(problem: BandedProblem) -> tuple[HalfGrams, Any, Any]:
    """Gram matrices of the samples, one per band, in float64.

    Returns
    -------
    grams : HalfGrams
    design : array (n_samples, n_features)
        In the precision of the products, about its mean where centred, rows times the roots of their weights; X itself
        where that changes nothing.
    mean : array (n_features,), float64
    """
    X, xp = problem.X, namespace(problem.X)
    root = None if problem.root_weights is None else to_like(problem.root_weights, X)
    mean = column_means(X, None if root is None else to_like(problem.sample_weight, X)) * float(problem.centred)
    same = str(X.dtype).rpartition(".")[2] == problem.dtype and root is None and not problem.centred
    design = X if same else xp.empty_like(X, dtype=getattr(xp, problem.dtype))
    blocks = tuple(row_blocks(len(X), _N_BLOCKS, budget=len(X) + _N_BLOCKS - 1))
    shapes = [(rows.stop - rows.start, len(X) - rows.start) for rows in blocks]
    parts = [[xp.zeros(shape, dtype=xp.float64, device=X.device) for _ in problem.bands] for shape in shapes]
    for number, band in enumerate(problem.bands):
        for some in row_blocks(band.stop - band.start, len(X) * 8, budget=BLOCK_BYTES // 8):
            columns = slice(band.start + some.start, band.start + some.stop)
            block = cast(X[:, columns], "float64") - mean[columns]
            if root is not None:
                block *= root[:, None]
            for rows, own in zip(blocks, parts, strict=True):
                own[number] += block[rows] @ block[rows.start :].T
            if not same:
                design[:, columns] = cast(block, problem.dtype)
    return HalfGrams(blocks, parts), design, mean
