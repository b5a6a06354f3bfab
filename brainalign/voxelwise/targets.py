"""Targets in blocks of columns under a byte budget, from memory or from disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainalign.arrays import check_finite, row_blocks
from brainalign.errors import DataError
from brainalign.voxelwise.backend import cast, is_tensor, namespace, to_like, to_numpy

if TYPE_CHECKING:
    from brainalign.voxelwise.plan import RidgePlan

__all__ = ["TargetRows", "Targets"]


class TargetRows:
    """Chosen rows of targets that stay on disk: what is read is what is asked for.

    Parameters
    ----------
    values : array (n_stimuli, n_targets)
        A memory map, say.
    rows : array of int, (n_samples,)
    item_shape : tuple of int, optional
        Shape of a row before it was flattened.

    Examples
    --------
    >>> rows = TargetRows(np.arange(6).reshape(3, 2), np.array([2, 0, 2]))
    >>> rows.shape, rows[:2, 1:].tolist()
    ((3, 2), [[5], [1]])
    """

    ndim = 2

    def __init__(self, values: np.ndarray, rows: np.ndarray, *, item_shape: tuple[int, ...] | None = None) -> None:
        self.values, self.rows = values, np.asarray(rows)
        self.item_shape = values.shape[1:] if item_shape is None else item_shape
        self.shape, self.dtype = (len(self.rows), values.shape[1]), values.dtype
        self.size = self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        return np.asarray(self.values[self.rows[rows], columns])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets about their mean, handed out in blocks of columns."""

    Y: Any
    like: Any
    dtype: str
    mean: np.ndarray
    constant: np.ndarray
    n_together: int
    root_weights: np.ndarray | None = None

    @classmethod
    def of(cls, Y: Any, plan: RidgePlan, block_bytes: int) -> Targets:
        """Check targets against the design, and take their means, in one pass over the rows."""
        n_samples, n_columns = plan.design.shape
        if Y.ndim != 2 or len(Y) != n_samples or not Y.shape[1]:
            raise DataError(
                "targets and design differ in samples",
                expected=f"Y of shape ({n_samples}, n_targets)",
                found=Y.shape,
                fix="join by stimulus_id: brainalign.trials.join(trials, latents)",
            )
        made = plan.decomposition
        root = to_numpy(made.root_weights) if made.weighted else None
        mean, constant = _mean_and_constant(Y, root, like=plan.design)
        item = 4 if made.dtype == "float32" else 8
        each = item * (n_samples + (len(plan.factors) + 4) * n_columns) + 8 * (5 * n_columns + n_samples)
        if plan.search:  # the projections of all folds are held at once
            each += (item + 8 * 3) * n_columns * len(plan.factors)
        mean = mean if made.centred else mean * 0.0
        return cls(Y, plan.design, made.dtype, mean, constant, max(1, int(block_bytes // each)), root)

    def __iter__(self) -> Iterator[tuple[slice, Any]]:
        """Yield (columns, block), rows times the roots of their weights; a constant target is zero in its block when
        the model has an intercept."""
        for columns in row_blocks(self.Y.shape[1], 1, budget=self.n_together):
            if is_tensor(self.like):
                yield columns, self._on_device(columns)
                continue
            block = np.empty((len(self.Y), columns.stop - columns.start), dtype=self.dtype)
            for rows in row_blocks(len(block), 8 * block.shape[1], budget=2**22):
                about = self.Y[rows, columns] - self.mean[columns]
                block[rows] = about if self.root_weights is None else about * self.root_weights[rows, None]
            block[:, self._empty(columns)] = 0.0
            yield columns, block

    def _empty(self, columns: slice) -> np.ndarray:
        return self.constant[columns] & (self.mean[columns] != 0)

    def _on_device(self, columns: slice) -> Any:
        """A block made where the design is."""
        some, xp = self.Y[:, columns], namespace(self.like)
        some = to_like(some if is_tensor(some) else np.ascontiguousarray(some), self.like)
        mean = to_like(self.mean[columns], self.like)
        block = xp.empty(some.shape, dtype=getattr(xp, self.dtype), device=self.like.device)
        for rows in row_blocks(len(block), 8 * block.shape[1], budget=2**24):
            about = some[rows] - mean  # in float64, as the mean is
            if self.root_weights is not None:
                about *= to_like(self.root_weights[rows], self.like)[:, None]
            block[rows] = about
        block[:, self._empty(columns)] = 0.0
        return block


def _mean_and_constant(Y: Any, root: np.ndarray | None = None, *, like: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each column in float64, and whether it holds a single value; `DataError` where not finite.

    Samples without weight count for neither. Sums are taken where `like` is.
    """
    if is_tensor(like):
        return _mean_and_constant_on_device(Y, root, like)
    Y = to_numpy(Y)
    total, low, high = np.zeros(Y.shape[1]), np.full(Y.shape[1], np.inf), np.full(Y.shape[1], -np.inf)
    finite = True
    for rows in row_blocks(len(Y), Y.shape[1] * 8, budget=2**24):
        block = Y[rows]
        if root is None:
            total += block.sum(axis=0, dtype=np.float64)
        else:
            finite &= bool(np.isfinite(block.sum(dtype=np.float64)))
            block = block[root[rows] > 0]
            total += root[rows][root[rows] > 0] ** 2 @ block.astype(np.float64, copy=False)
        if len(block):
            np.minimum(low, block.min(axis=0), out=low)
            np.maximum(high, block.max(axis=0), out=high)
    if not finite or not np.isfinite(total).all():
        check_finite(Y, name="Y")
    weight = len(Y) if root is None else root @ root
    return total / weight, _is_one_value(low, high)


def _mean_and_constant_on_device(Y: Any, root: np.ndarray | None, like: Any) -> tuple[np.ndarray, np.ndarray]:
    """The same by torch, in blocks of columns."""
    n_targets, xp = Y.shape[1], namespace(like)
    mean, low, high = (np.empty(n_targets) for _ in range(3))
    power = xp.ones(len(Y), dtype=xp.float64, device=like.device) if root is None else to_like(root**2, like)
    counted = np.flatnonzero(to_numpy(power) > 0)
    for columns in row_blocks(n_targets, 16 * len(Y), budget=2**26):
        some = Y[:, columns]
        some = cast(to_like(some if is_tensor(some) else np.ascontiguousarray(some), like), "float64")
        mean[columns] = to_numpy(power @ some / power.sum())
        some = some if root is None else some[counted]
        low[columns], high[columns] = to_numpy(some.amin(0)), to_numpy(some.amax(0))
    if not np.isfinite(mean).all():
        check_finite(to_numpy(Y), name="Y")
    return mean, _is_one_value(low, high)


def _is_one_value(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))
