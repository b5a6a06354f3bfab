"""Arrays of several subjects as one, row by row, without copying: scaled, padded to the widest, read when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brainalign.errors import DataError

__all__ = ["Scaled", "Stacked", "column_scales"]


def column_scales(array: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD of each column, float64, in blocks of rows; the SD of a constant column is 1.

    Examples
    --------
    >>> [one.tolist() for one in column_scales(np.array([[1.0, 5.0], [3.0, 5.0]]))]
    [[2.0, 5.0], [1.0, 1.0]]
    """
    from brainalign.arrays import row_blocks

    blocks = list(row_blocks(len(array), 8 * int(np.prod(array.shape[1:]))))
    mean = sum(np.asarray(array[rows], dtype=np.float64).sum(axis=0) for rows in blocks) / len(array)
    squares = sum(np.square(np.asarray(array[rows], dtype=np.float64) - mean).sum(axis=0) for rows in blocks)
    scale = np.sqrt(squares / len(array))
    return mean, np.where(scale > 1e-9 * np.abs(mean) + 1e-30, scale, 1.0)


class Scaled:
    """``(array - mean) / scale`` as float32, for the rows that are asked for.

    Examples
    --------
    >>> Scaled(np.arange(4.0)[:, None], 1.0, 2.0)[np.array([3, 1])].tolist()
    [[1.0], [0.0]]
    """

    dtype = np.dtype(np.float32)

    def __init__(self, array: Any, mean: Any, scale: Any) -> None:
        self.array, self.mean, self.scale = array, mean, scale
        self.shape = array.shape

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return ((self.array[rows] - self.mean) / self.scale).astype(np.float32)


class Stacked:
    """Arrays one below the other; those with fewer columns are padded with zeros on the right.

    Examples
    --------
    >>> both = Stacked([np.ones((2, 1)), np.full((3, 2), 7.0)])
    >>> both.shape, both[np.array([4, 0])].tolist(), both.part[[0, 4]].tolist()
    ((5, 2), [[7.0, 7.0], [1.0, 0.0]], [0, 1])
    """

    dtype = np.dtype(np.float32)

    def __init__(self, arrays: Sequence[Any]) -> None:
        if len({len(one.shape) for one in arrays}) != 1:
            raise DataError("stacked arrays must have the same number of dimensions", found=[a.shape for a in arrays])
        self.arrays = list(arrays)
        widest = tuple(max(sizes) for sizes in zip(*(one.shape[1:] for one in arrays), strict=True))
        self.shape = (sum(len(one) for one in arrays), *widest)
        self.part = np.repeat(np.arange(len(arrays)), [len(one) for one in arrays])
        self._row = np.concatenate([np.arange(len(one)) for one in arrays])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        parts, inside = self.part[rows], self._row[rows]
        made = np.zeros((len(inside), *self.shape[1:]), dtype=np.float32)
        for number in np.unique(parts):
            here = np.flatnonzero(parts == number)
            values = np.asarray(self.arrays[number][inside[here]])
            place: Any = (here, *(slice(0, size) for size in values.shape[1:]))
            made[place] = values
        return made
