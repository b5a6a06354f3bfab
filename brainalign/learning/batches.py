"""Batches by row number: any mapping of arrays, on disk or in memory, in an order that depends only on the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from brainalign.errors import DataError

__all__ = ["Batch", "Batches", "Rows"]

RESIDENT_BYTES = 256 * 2**20
"""Data smaller than this move to the device once; larger ones are read batch by batch."""


class Rows:
    """Some rows of an array, in some order, read only when asked for.

    Examples
    --------
    >>> view = Rows(np.arange(10.0), [7, 2, 2])
    >>> len(view), view[np.array([0, 2])].tolist()
    (3, [7.0, 2.0])
    """

    def __init__(self, array: Any, rows: Any) -> None:
        self.array = array
        self.rows = np.asarray(rows)
        self.shape = (len(self.rows), *array.shape[1:])
        self.dtype = array.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Any) -> Any:
        return self.array[self.rows[chosen]]


class Batch(dict[str, torch.Tensor]):
    """Tensors by name; `rows` tells which samples they are, `progress` which share of the training is done (0 to 1)."""

    rows: np.ndarray
    progress: float


class Batches:
    """Named arrays with one row a sample, handed out as batches.

    Parameters
    ----------
    data : mapping of str to array or tensor
        Anything with a length, a shape, a dtype and rows by integer array. Floating numbers become float32.
    batch_size : int
    device : str
    seed : int or None
        None keeps the order of the rows. The order of an epoch follows from seed and epoch alone, so a position
        in the data is two numbers.
    drop_last : bool

    Raises
    ------
    DataError
        When there is nothing, or lengths differ.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        batch_size: int,
        *,
        device: Any = "cpu",
        seed: int | None = None,
        drop_last: bool = False,
    ) -> None:
        lengths = {name: len(array) for name, array in data.items()}
        if len(set(lengths.values())) != 1 or not min(lengths.values()):
            raise DataError("data for training must have the same number of rows, at least one", found=lengths)
        self.n_samples = next(iter(lengths.values()))
        self.batch_size = min(batch_size, self.n_samples)
        self.n_batches = self.n_samples // self.batch_size
        if not drop_last and self.n_samples % self.batch_size:
            self.n_batches += 1
        self._device, self._seed, self._epoch = device, seed, -1
        n_bytes = sum(self.n_samples * int(np.prod(one.shape[1:])) * 4 for one in data.values())
        self._data = dict(data)
        if n_bytes <= RESIDENT_BYTES:
            everything = np.arange(self.n_samples)
            self._data = {name: _as_tensor(array[everything], device) for name, array in data.items()}

    def rows(self, epoch: int, number: int) -> np.ndarray:
        """Row numbers of one batch of one epoch."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.arange(self.n_samples)
            if self._seed is not None:
                self._order = np.random.default_rng([self._seed, epoch]).permutation(self.n_samples)
        return self._order[number * self.batch_size : (number + 1) * self.batch_size]

    def read(self, rows: np.ndarray, progress: float = 0.0) -> Batch:
        """The samples of some rows, on the device."""
        index: Any = rows
        made = Batch()
        for name, array in self._data.items():
            if isinstance(array, torch.Tensor):
                index = torch.as_tensor(rows, device=array.device)
                made[name] = _as_tensor(array[index], self._device)
            else:
                made[name] = _as_tensor(array[rows], self._device)
        made.rows, made.progress = rows, progress
        return made

    def fingerprint(self) -> str:
        """Names, shapes, and a few rows: tells one data set from another without reading all of it."""
        from brainalign.arrays import sha256_array

        few = np.unique(np.linspace(0, self.n_samples - 1, 8).astype(int))
        parts = [
            f"{name}{sha256_array(tensor.cpu().numpy())}{tuple(self._data[name].shape)}"
            for name, tensor in sorted(self.read(few).items())
        ]
        return "".join(parts)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Row numbers of the batches of the first epoch."""
        return (self.rows(0, number) for number in range(self.n_batches))


def _as_tensor(values: Any, device: Any) -> torch.Tensor:
    """Floating numbers as float32, all else as it is; without a copy where that is possible."""
    if not isinstance(values, torch.Tensor):
        values = np.asarray(values)
        if values.dtype.kind == "f":
            values = values.astype(np.float32, copy=False)
        values = torch.from_numpy(np.array(values) if not values.flags.writeable else values)
    dtype = torch.float32 if values.is_floating_point() else values.dtype
    return values.to(device=device, dtype=dtype, non_blocking=True)
