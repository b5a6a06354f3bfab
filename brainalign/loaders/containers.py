"""Foreign array containers read as data: MATLAB, NPY, NPZ and HDF5, each refused whole when damaged."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np

from brainalign.errors import DataError, closest
from brainalign.loaders.damage import AGAIN, absent, damaged, first_line

__all__ = ["find_dataset", "hdf5_dataset", "open_hdf5", "open_npy", "read_mat", "read_npz", "readable"]

_RELEASE = "take the file of the release that the loader reads, or rename the variable"


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
        expected, found = "a whole .npy of plain numbers", first_line(error)
        fix = f"{AGAIN}; a pickled array must be saved anew"
        raise DataError("cannot open the array", path=path, expected=expected, found=found, fix=fix) from error


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
        When the file is absent, truncated or not HDF5.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise absent(path, "an HDF5 file") from error
    except OSError as error:
        raise damaged(path, "a readable HDF5 file", error) from error


def find_dataset(file: Any, key: str, path: str | PathLike[str]) -> Any:
    """The dataset of that name (slashes lead through groups), or None; no other file is opened on the way.

    Raises
    ------
    DataError
        When a link leads to another file, or the data lie in one.
    """
    import h5py

    node = file
    for part in filter(None, key.split("/")):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            raise _elsewhere(path, f"external link {key} -> {link.filename}")
        if isinstance(link, h5py.SoftLink):  # which may lead to an external one
            raise _elsewhere(path, f"soft link {key} -> {link.path}")
        node = None if link is None else node.get(part)
    if not isinstance(node, h5py.Dataset):
        return None
    if node.external or node.is_virtual:
        raise _elsewhere(path, f"'{key}' in external files")
    return node


def _elsewhere(path: str | PathLike[str], found: str) -> DataError:
    what, fix = "data kept in other files are refused", "copy the data into this file"
    return DataError(what, path=path, expected="data within", found=found, fix=fix)


def hdf5_dataset(file: Any, key: str, path: str | PathLike[str]) -> Any:
    """The dataset of that name.

    Raises
    ------
    DataError
        When there is none, naming what there is, or as `find_dataset` says.
    """
    data = find_dataset(file, key, path)
    if data is None:
        known = list(file)[:20]
        what = f"no dataset '{key}' in this file.{closest(key, known)}"
        raise DataError(what, path=path, expected=key, found=known, fix=_RELEASE)
    return data


@contextmanager
def readable(path: str | PathLike[str]) -> Iterator[None]:
    """Turn what HDF5 raises on damaged data inside the ``with`` block into a `DataError` that names the file."""
    try:
        yield
    except DataError:
        raise
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(path, "whole data", error) from error


def _need(content: Any, keys: Sequence[str], path: str | PathLike[str]) -> None:
    missing = [key for key in keys if key not in content]
    if missing:
        known = [key for key in content if not key.startswith("__")]
        what = f"no variable '{missing[0]}' in this file.{closest(missing[0], known)}"
        raise DataError(what, path=path, expected=list(keys), found=known, fix=_RELEASE)
