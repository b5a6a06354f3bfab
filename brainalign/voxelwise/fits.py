"""What a ridge fit leaves behind: coefficients of the features, or, for very wide designs, weights of the samples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.arrays import BLOCK_BYTES, row_blocks
from brainalign.cache import Cache
from brainalign.errors import DataError
from brainalign.voxelwise.backend import to_like, to_numpy
from brainalign.voxelwise.solvers import combine_rows, kernel

__all__ = ["COEF_BYTES", "DualRidgeFit", "RidgeFit", "WeightStore"]

COEF_BYTES = 2**30
"""Coefficients of a wide design above this size are formed only when asked for; weights of samples lie on disk."""


class WeightStore:
    """Weights (n_rows, n_targets) written block of targets by block, in order.

    Parameters
    ----------
    n_rows, n_targets : int
    dtype : str
    may_spill : bool
        Beyond `COEF_BYTES`, write to an unnamed file of the cache, target by target; the system frees it with the
        memory map that `weights` returns.
    """

    def __init__(self, n_rows: int, n_targets: int, dtype: str, *, may_spill: bool = False) -> None:
        self.shape, self.dtype = (n_rows, n_targets), np.dtype(dtype)
        self._file: Any = None
        if may_spill and n_rows * n_targets * self.dtype.itemsize > COEF_BYTES:
            self._file = tempfile.TemporaryFile(prefix="brainalign-", dir=Cache().root)  # noqa: SIM115 (lives with the map)
        else:
            self._array = np.empty(self.shape, self.dtype)

    def block(self, columns: slice) -> np.ndarray:
        """Where the weights of some targets are put."""
        if self._file is None:
            return self._array[:, columns]
        return np.empty((self.shape[0], columns.stop - columns.start), self.dtype)

    def put(self, columns: slice, block: np.ndarray) -> None:
        """Take what `block` gave, filled."""
        if self._file is not None:
            for some in row_blocks(block.shape[1], block.shape[0] * self.dtype.itemsize, budget=2**24):
                self._file.write(np.ascontiguousarray(block[:, some].T))

    def weights(self) -> np.ndarray:
        """All of them; a memory map where they are on disk."""
        if self._file is None:
            return self._array
        self._file.flush()
        return np.memmap(self._file, self.dtype, mode="r", shape=self.shape[::-1]).T


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


@dataclass(frozen=True, eq=False)
class DualRidgeFit:
    """Ridge of more features than samples, kept as weights of the samples: nothing of n_features x n_targets is formed.

    Parameters
    ----------
    X : array (n_samples, n_features)
        The design fitted on, by reference; a memory map stays on disk.
    dual : array (n_samples, n_targets)
        A memory map where it is large.
        Predictions are ``(new X - x_mean) (X - x_mean)' dual + y_mean``.
    x_mean, y_mean, best_alphas, cv_scores, held_out_mean, held_out_std
        As in `RidgeFit`.
    """

    X: Any
    dual: np.ndarray
    x_mean: np.ndarray
    y_mean: np.ndarray
    best_alphas: np.ndarray
    cv_scores: np.ndarray
    held_out_mean: np.ndarray
    held_out_std: np.ndarray

    @property
    def coef(self) -> np.ndarray:
        """(n_features, n_targets), formed on every access; `DataError` above `COEF_BYTES`."""
        n_bytes = self.X.shape[1] * self.dual.shape[1] * self.dual.itemsize
        if n_bytes > COEF_BYTES:
            raise DataError(
                "the coefficients of this fit are too many to form unasked",
                expected=f"at most {COEF_BYTES / 2**30:.3g} GiB",
                found=f"{self.X.shape[1]} features x {self.dual.shape[1]} targets, {n_bytes / 2**30:.3g} GiB",
                fix="predict() does without them; coef_of(slice(0, 100)) gives those of some targets; "
                "keep_coef=True forms all at the fit",
            )
        return self.coef_of(slice(None))

    def coef_of(self, targets: Any) -> np.ndarray:
        """Coefficients (n_features, n_chosen) of some targets, given as a slice, numbers or a mask."""
        chosen = self.dual[:, targets]
        out = np.empty((self.X.shape[1], chosen.shape[1]), dtype=self.dual.dtype)
        return write_combined(self.X, self.x_mean, chosen, out)

    @property
    def intercept(self) -> np.ndarray:
        """(n_targets,), float64."""
        out = np.empty((1, len(self.y_mean)))
        self._apply(self._kernel(np.zeros((1, len(self.x_mean))), "float64"), out)
        return out[0]

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predictions (n_samples, n_targets) in the precision of X, read in blocks; the weights are read once for many
        samples."""
        dtype = "float32" if X.dtype == np.float32 else "float64"
        out = np.empty((len(X), len(self.y_mean)), dtype=dtype)
        for rows in row_blocks(len(X), 16 * len(self.dual)):
            self._apply(self._kernel(X[rows], dtype), out[rows])
        return out

    def _apply(self, products: np.ndarray, out: np.ndarray) -> None:
        """``products @ dual + y_mean`` into `out`, some targets at a time."""
        for columns in row_blocks(len(self.y_mean), 8 * len(self.dual), budget=BLOCK_BYTES // 4):
            out[:, columns] = products @ self.dual[:, columns].astype(products.dtype, copy=False)
            out[:, columns] += self.y_mean[columns]

    def _kernel(self, X: np.ndarray, dtype: str) -> np.ndarray:
        """Products of the rows of X and of the design, both about the mean."""
        return to_numpy(kernel(to_like(X, self.X), self.X, to_like(self.x_mean, self.X), dtype))


def write_combined(X: Any, x_mean: np.ndarray, dual: np.ndarray, out: np.ndarray) -> np.ndarray:
    """``(X - x_mean)' dual`` into `out`, some targets at a time where X is not in main memory."""
    together = dual.shape[1] if isinstance(X, np.ndarray) else max(1, BLOCK_BYTES // (8 * X.shape[1]))
    for columns in _blocks(dual.shape[1], together):
        part = np.ascontiguousarray(dual[:, columns])
        if isinstance(X, np.ndarray):
            combine_rows(X, x_mean, part, out[:, columns])
        else:
            out[:, columns] = to_numpy(combine_rows(X, to_like(x_mean, X), to_like(part, X)))
    return out


def _blocks(n: int, together: int) -> Iterator[slice]:
    return row_blocks(n, 1, budget=together)
