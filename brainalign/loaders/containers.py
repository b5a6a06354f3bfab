"""Foreign array containers read as data: MATLAB, NPZ and HDF5, each refused whole when damaged."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from brainalign.errors import DataError, closest
from brainalign.loaders.damage import AGAIN, absent, damaged, first_line

__all__ = ["open_hdf5", "open_npy", "read_mat", "read_npz"]


def read_mat(path: str | PathLike[str], keys: Sequence[str], **options: Any) -> dict[str, Any]:
    """Variables of a classic (up to version 7.2) MATLAB file; `options` go to `scipy.io.loadmat`.

    Raises
    ------
    DataError
        When the file is absent, damaged, or lacks a variable.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, **options)
    except FileNotFoundError as error:
        raise absent(path, "a MATLAB file") from error
    except (MatReadError, OSError, ValueError, TypeError, LookupError, zlib.error, NotImplementedError) as error:
        raise damaged(path, "a readable MATLAB file", error) from error
    _need(content, keys, path)
    return {key: content[key] for key in keys}


def open_npy(path: str | PathLike[str]) -> np.ndarray:
    """Memory map of a ``.npy`` file of plain numbers or text; pickled objects are refused.

    Raises
    ------
    DataError
        When the file is absent, damaged or pickled.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise absent(path, "a .npy file") from error
    except (OSError, EOFError, ValueError) as error:
        expected, fix = "a whole .npy of numbers", f"{AGAIN}; a pickled array must be saved anew as plain numbers"
        raise DataError(
            "cannot open the array", path=path, expected=expected, found=first_line(error), fix=fix
        ) from error


def read_npz(path: str | PathLike[str], keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an NPZ file, never unpickled.

    Raises
    ------
    DataError
        When the file is absent, damaged, pickled, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            _need(content, keys, path)
            return {key: content[key] for key in keys}
    except FileNotFoundError as error:
        raise absent(path, "an NPZ file") from error
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(path, "a readable NPZ file", error) from error


def open_hdf5(path: str | PathLike[str]) -> Any:
    """Open an HDF5 file for reading; use it in a ``with`` block.

    Raises
    ------
    DataError
        When the file is absent, truncated, not HDF5, or links to another file.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except FileNotFoundError as error:
        raise absent(path, "an HDF5 file") from error
    except OSError as error:
        raise damaged(path, "a readable HDF5 file", error) from error
    foreign = [name for name in file if isinstance(file.get(name, getlink=True), h5py.ExternalLink)]
    if foreign:
        file.close()
        fix = "copy the data into this file"
        what = "this HDF5 file links to another file"
        raise DataError(what, path=path, expected="data within", found=foreign[:5], fix=fix)
    return file


def _need(content: Any, keys: Sequence[str], path: str | PathLike[str]) -> None:
    missing = [key for key in keys if key not in content]
    if missing:
        known = [key for key in content if not key.startswith("__")]
        raise DataError(
            f"no variable '{missing[0]}' in this file.{closest(missing[0], known)}",
            path=path,
            expected=list(keys),
            found=known,
            fix="take the file of the release that the loader reads, or rename the variable",
        )
