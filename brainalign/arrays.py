"""Array, hash and device helpers on which everything else stands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np

from brainalign.errors import DataError

__all__ = ["as_matrix", "check_finite", "resolve_device", "row_blocks", "sha256_array", "sha256_file"]

BLOCK_BYTES = 256 * 2**20
"""Default budget of one block when a big array is walked through."""


def check_finite(x: np.ndarray, *, name: str, path: str | PathLike[str] | None = None) -> None:
    """Raise `DataError` when `x` holds NaN or infinity, saying how many and in which columns."""
    flat = x if x.ndim == 2 else x.reshape(len(x), -1) if x.ndim > 1 else x.reshape(-1, 1)
    bad_columns: list[int] = []
    n_bad = 0
    for rows in row_blocks(len(flat), max(1, flat.shape[1] * 8)):
        bad = ~np.isfinite(flat[rows])
        if bad.any():
            n_bad += int(bad.sum())
            bad_columns = sorted({*bad_columns, *np.flatnonzero(bad.any(axis=0))[:5].tolist()})[:5]
    if n_bad:
        raise DataError(
            f"{name} contains NaN or infinity",
            path=path,
            expected="finite numbers",
            found=f"{n_bad} non-finite of {flat.size} values, first in columns {bad_columns}",
            fix="drop or impute the trials or units concerned before fitting (loaders take nan='drop' or 'impute')",
        )


def as_matrix(x: Any, *, name: str = "X", dtype: Any = None, min_rows: int = 1) -> np.ndarray:
    """Validate a 2-D array of finite numbers: float32 stays, all else becomes float64.

    Parameters
    ----------
    x : array-like, shape (n_samples, n_features)
    name : str
        What to call it in an error.
    dtype : numpy dtype, optional
        Force a dtype.
    min_rows : int
        Fewest samples accepted.

    Raises
    ------
    DataError
        When it is not two-dimensional, not numeric, empty, or holds NaN or infinity.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{name} is not numeric: {error}", expected="numbers", found=array.dtype) from error
    if array.ndim != 2:
        raise DataError(
            f"{name} must be two-dimensional (n_samples, n_features)",
            expected="2 dimensions",
            found=f"shape {array.shape}",
            fix="reshape(-1, 1) for a single feature, reshape(len(x), -1) to flatten",
        )
    if array.shape[0] < min_rows or array.shape[1] < 1:
        raise DataError(
            f"{name} is too small", expected=f"at least {min_rows} rows and 1 column", found=f"shape {array.shape}"
        )
    if dtype is None:
        dtype = np.float32 if array.dtype in (np.float32, np.float16) else np.float64
    array = array.astype(dtype, copy=False)
    check_finite(array, name=name)
    return array


def row_blocks(n_rows: int, bytes_per_row: int, *, budget: int = BLOCK_BYTES) -> Iterator[slice]:
    """Cut `n_rows` into slices that each hold at most `budget` bytes (and at least one row).

    Examples
    --------
    >>> list(row_blocks(5, 10, budget=20))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, int(budget // max(1, bytes_per_row)))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def resolve_device(device: str = "auto") -> str:
    """Turn ``"auto"`` into the best device present: CUDA, then MPS, then CPU.

    Raises
    ------
    DataError
        When a device is asked for by name that this machine does not have.
    """
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in present.items() if there)
    kind = str(device).split(":")[0]
    if not present.get(kind, False):
        there = [name for name, is_there in present.items() if is_there]
        raise DataError(f"device '{device}' is not available here", expected=f"one of {there}", fix="device='auto'")
    return str(device)


def sha256_array(x: np.ndarray) -> str:
    """Hash dtype, shape and content of an array (memory maps are read in blocks)."""
    array = np.asarray(x)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    if array.ndim == 0:
        digest.update(array.tobytes())
        return digest.hexdigest()
    row_bytes = int(array.itemsize * np.prod(array.shape[1:], dtype=np.int64))
    for rows in row_blocks(len(array), row_bytes):
        digest.update(np.ascontiguousarray(array[rows]).tobytes())
    return digest.hexdigest()


def sha256_file(path: str | PathLike[str]) -> str:
    """Hash a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
