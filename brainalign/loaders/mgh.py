"""FreeSurfer's MGH and MGZ files of values per vertex, proved whole before use and read no further than needed."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders.damage import damaged, wrong_size

__all__ = ["MghHeader", "map_mgh", "mgh_header"]

_HEADER_BYTES = 284
_FOOTERS = (16, 20)
"""Bytes after the values: MATLAB's writer leaves four numbers (TR, flip angle, TE, TI), all others a fifth."""

_FAULTS = (OSError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, struct.error)


@dataclass(frozen=True)
class MghHeader:
    """What an MGH header says: sizes, TR in seconds (None where unknown), dtype as stored."""

    n_vertices: int
    n_volumes: int
    tr: float | None
    dtype: np.dtype


def mgh_header(path: Path) -> MghHeader:
    """Header of a surface file.

    Raises
    ------
    DataError
        When it is damaged, or that of a volume.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        image = nibabel.MGHImage.from_filename(path)
    except (*_FAULTS, ImageFileError, HeaderDataError, zlib.error) as error:
        raise damaged(path, "a whole MGH file", error) from error
    shape = tuple(int(size) for size in image.shape)
    if len(shape) < 3 or min(shape) < 1 or prod(shape[1:3]) != 1:
        expected, fix = "(n_vertices, 1, 1, n_volumes)", "give the series sampled to the surface"
        raise DataError("not a surface series", path=path, expected=expected, found=shape, fix=fix)
    # FreeSurfer writes milliseconds; 0 and 1 stand for "unknown".
    milliseconds = float(image.header.get_zooms()[3]) if len(shape) == 4 else 0.0
    tr = round(milliseconds / 1000, 6) if milliseconds > 1 else None
    return MghHeader(shape[0], prod(shape[3:]), tr, image.header.get_data_dtype().newbyteorder(">"))


def map_mgh(path: Path) -> np.ndarray:
    """Values as stored, (n_volumes, n_vertices): a memory map of an ``.mgh``, an array of an ``.mgz``.

    Raises
    ------
    DataError
        When the file is truncated or damaged.
    """
    header = mgh_header(path)
    shape = (header.n_volumes, header.n_vertices)
    stop = _HEADER_BYTES + prod(shape) * header.dtype.itemsize
    if path.suffix == ".mgh":
        _check_end(path, stop, path.stat().st_size)
        return np.memmap(path, dtype=header.dtype, mode="r", offset=_HEADER_BYTES, shape=shape)
    try:
        with gzip.open(path, "rb") as stream:
            content = stream.read(stop)
            size = len(content)
            while piece := stream.read(1 << 20):  # tags may follow; at the end gzip compares its checksum
                size += len(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, "a whole MGZ file", error) from error
    _check_end(path, stop, size)
    return np.frombuffer(content, dtype=header.dtype, offset=_HEADER_BYTES).reshape(shape)


def _check_end(path: Path, stop: int, size: int) -> None:
    """A file without its footer was cut, as every writer in use adds one."""
    if size - stop not in _FOOTERS and size - stop < max(_FOOTERS):
        raise wrong_size(path, stop + max(_FOOTERS), size)
