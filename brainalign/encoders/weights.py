"""Weights of encoders as safetensors files: written array by array, read as memory maps where they are large.

The package of that name writes and reads a file as one piece of memory, twice its size at the peak. The format is a
JSON header (its length first, eight bytes) and the arrays one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from brainalign.arrays import BLOCK_BYTES, row_blocks, sha256_file
from brainalign.errors import DataError

__all__ = ["read_weights", "write_weights"]

MAPPED_BYTES = BLOCK_BYTES
"""Arrays from this size on stay on disk when read."""

_NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16",
          "int8": "I8", "uint8": "U8", "bool": "BOOL"}  # fmt: skip
_DTYPES = {name: np.dtype(dtype) for dtype, name in _NAMES.items()}


def write_weights(path: str | PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays, in blocks of rows.

    Raises
    ------
    DataError
        When an array is of a kind that the format does not hold.

    Examples
    --------
    >>> import tempfile
    >>> from safetensors.numpy import load_file
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> write_weights(path, {"coef": np.ones((2, 3), np.float32)})
    >>> load_file(path)["coef"].shape
    (2, 3)
    """
    header, start = {}, 0
    for name, array in arrays.items():
        if array.dtype.name not in _NAMES:
            raise DataError(f"array '{name}' cannot be saved", expected=sorted(_NAMES), found=array.dtype)
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            rows = np.atleast_1d(array)
            for some in row_blocks(len(rows), rows.nbytes // max(1, len(rows)), budget=2**26):
                file.write(np.ascontiguousarray(rows[some]).astype(array.dtype.newbyteorder("<"), copy=False).data)


def read_weights(path: str | PathLike[str], digest: str) -> dict[str, np.ndarray]:
    """Arrays of a file whose sha256 is as expected; large ones as memory maps.

    Raises
    ------
    DataError
        When the file is missing, altered or not in this format; nothing in it is executed.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            "the weights of this encoder are missing",
            path=path,
            expected=path.name,
            found="no such file",
            fix="copy the whole folder again, or fit and save again",
        )
    if (found := sha256_file(path)) != digest:
        raise DataError(
            "the weights are not those that were saved",
            path=path,
            expected=f"sha256 {str(digest)[:12]}",
            found=found[:12],
            fix="copy the folder again, or fit and save again",
        )
    try:
        with safe_open(path, framework="np") as file:  # checks the header: lengths, overlaps, names
            names = list(file.keys())
            large = {name: place for name, place in _places(path).items() if place[2] >= MAPPED_BYTES}
            return {name: _mapped(path, *large[name]) if name in large else file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise DataError(
            "not a safetensors file",
            path=path,
            expected="safetensors; pickled checkpoints are never opened",
            found=str(error),
            fix="copy the whole folder again, or fit and save again",
        ) from error


def _places(path: Path) -> dict[str, tuple[np.dtype, tuple[int, ...], int, int]]:
    """Dtype, shape, bytes and position of each array, from a header that was checked."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    made = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in _DTYPES:
            start, stop = entry["data_offsets"]
            made[name] = (_DTYPES[entry["dtype"]], tuple(entry["shape"]), stop - start, 8 + length + start)
    return made


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...], n_bytes: int, position: int) -> np.ndarray:
    return np.memmap(path, dtype.newbyteorder("<"), mode="r", offset=position, shape=shape)
