"""GIFTI and FreeSurfer files of values per vertex, checked against their own headers before use."""

from __future__ import annotations

import re
import struct
import zlib
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders.damage import AGAIN, absent
from brainalign.loaders.mgh import map_mgh, mgh_header
from brainalign.loaders.nifti import memory_budget
from brainalign.loaders.regions import NO_ROI

__all__ = ["read_series", "read_vertex_labels", "series_header", "wrong_vertices"]

_FAULTS = (OSError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, struct.error)


def series_header(path: str | PathLike[str], max_bytes: int | None = None) -> tuple[int, int, float | None]:
    """Vertices, volumes and TR in seconds (None where the file does not tell) of a surface series.

    Parameters
    ----------
    path : path-like
        ``.gii``, ``.mgh`` or ``.mgz``.
    max_bytes : int, optional
        The most that its values may take; half of the memory by default.

    Raises
    ------
    DataError
        When the file is absent, damaged, of another kind, or claims to be huge.
    """
    path = _existing(Path(path))
    if path.suffix == ".gii":
        shapes = _gifti_shapes(path)
        n_vertices, n_volumes = shapes[0][0], sum(prod(shape[1:]) for shape in shapes)
        if any(shape[0] != n_vertices for shape in shapes):
            raise DataError(
                "maps differ in vertices", path=path, expected=n_vertices, found=[one[0] for one in shapes], fix=AGAIN
            )
        tr = None
    else:
        header = mgh_header(path)
        n_vertices, n_volumes, tr = header.n_vertices, header.n_volumes, header.tr
    limit = memory_budget() if max_bytes is None else max_bytes
    if n_vertices * n_volumes * 4 > limit:
        raise DataError(
            "the file asks for too much memory",
            path=path,
            expected=f"at most {limit} bytes",
            found=f"{n_vertices} vertices x {n_volumes} volumes",
            fix="raise max_bytes if it really is that large; otherwise it is damaged",
        )
    return n_vertices, n_volumes, tr


def read_series(path: str | PathLike[str], keep: np.ndarray | None = None) -> np.ndarray:
    """Values of a surface file, float32 (n_volumes, n_vertices).

    Parameters
    ----------
    path : path-like
    keep : ndarray of bool, shape (n_vertices,), optional
        Vertices to read; of an ``.mgh`` nothing else comes into memory.

    Raises
    ------
    DataError
        As `series_header`, and when the content is not what the header says.
    """
    path = _existing(Path(path))
    n_vertices, n_volumes, _ = series_header(path)
    if path.suffix == ".gii":
        arrays = [np.asarray(one.data, dtype=np.float32) for one in _gifti(path).darrays]
        values = np.concatenate([array.reshape(len(array), -1).T for array in arrays])
    else:
        values = map_mgh(path)
    if values.shape != (n_volumes, n_vertices):
        raise DataError(
            "content and header differ", path=path, expected=(n_volumes, n_vertices), found=values.shape, fix=AGAIN
        )
    if keep is None:
        return np.ascontiguousarray(values, dtype=np.float32)
    if keep.shape != (n_vertices,):
        raise wrong_vertices(path, len(keep), n_vertices)
    chosen = np.empty((n_volumes, int(keep.sum())), dtype=np.float32)
    for number, volume in enumerate(values):
        chosen[number] = volume[keep]
    return chosen


def wrong_vertices(path: str | PathLike[str], expected: int, found: int, *, what: str = "files") -> DataError:
    """The error for a file of another surface."""
    fix = "take the files of one surface"
    return DataError(f"{what} differ in vertices", path=path, expected=expected, found=found, fix=fix)


def read_vertex_labels(path: str | PathLike[str], n_vertices: int) -> np.ndarray:
    """Name of each vertex's region, (n_vertices,) of str, from a ``.label.gii`` or FreeSurfer ``.annot``.

    Vertices without a label, and those called ``???``, belong to no region.

    Raises
    ------
    DataError
        When the file is damaged, of another kind, or of another surface.
    """
    path = _existing(Path(path))
    keys, names = _annotation(path) if path.suffix == ".annot" else _gifti_labels(path)
    if len(keys) != n_vertices:
        raise wrong_vertices(path, n_vertices, len(keys), what="labels and data")
    unknown = sorted(set(keys.tolist()) - set(names))
    if unknown:
        raise DataError(
            "vertices hold codes without a name", path=path, expected=sorted(names)[:10], found=unknown[:5], fix=AGAIN
        )
    rois = np.array([names[key] for key in keys.tolist()], dtype=object)
    rois[rois == "???"] = NO_ROI
    return rois


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise absent(path, "a GIFTI or FreeSurfer file")
    if path.suffix not in (".gii", ".mgh", ".mgz", ".annot"):
        raise DataError(
            "not a surface file",
            path=path,
            expected=".gii, .mgh, .mgz or .annot",
            found=path.name,
            fix="give GIFTI or FreeSurfer files",
        )
    return path


def _gifti_shapes(path: Path) -> list[tuple[int, ...]]:
    """Shape of each array as its tag says; files that keep their data in other files are refused unread."""
    tags = re.findall(rb"<DataArray\b[^>]*>", path.read_bytes())
    shapes = []
    for tag in tags:
        fields = dict(re.findall(rb"(\w+)\s*=\s*\"([^\"]*)\"", tag))
        if fields.get(b"ExternalFileName") or fields.get(b"Encoding", b"").startswith(b"External"):
            raise DataError(
                "this GIFTI keeps its data in another file",
                path=path,
                expected="data within",
                found=fields.get(b"ExternalFileName", b"").decode(errors="replace"),
                fix="save it again with GZipBase64Binary encoding",
            )
        try:
            shapes.append(tuple(int(fields[b"Dim%d" % axis]) for axis in range(int(fields[b"Dimensionality"]))))
        except (KeyError, ValueError) as error:
            raise _damaged(path, f"an array without dimensions ({error})") from error
    if not shapes or any(not shape or min(shape) < 1 for shape in shapes):
        raise _damaged(path, f"{len(shapes)} arrays of shapes {shapes[:3]}")
    return shapes


def _gifti(path: Path) -> Any:
    from xml.parsers.expat import ExpatError

    import nibabel

    shapes = _gifti_shapes(path)
    try:
        image = nibabel.GiftiImage.from_bytes(path.read_bytes())
    except (*_FAULTS, ExpatError, zlib.error, AssertionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    geometry = {1008, 1009} & {int(one.intent) for one in image.darrays}
    if geometry or [one.data.shape for one in image.darrays] != shapes:
        found = "coordinates or triangles" if geometry else "other shapes than the tags say"
        raise DataError(
            "not a GIFTI of values per vertex",
            path=path,
            expected="one array per map",
            found=found,
            fix="give a .func.gii or .shape.gii",
        )
    return image


def _gifti_labels(path: Path) -> tuple[np.ndarray, dict[int, str]]:
    image = _gifti(path)
    names = {int(key): str(name) for key, name in image.labeltable.get_labels_as_dict().items()}
    keys = np.asarray(image.darrays[0].data)
    if len(image.darrays) != 1 or keys.ndim != 1 or not names:
        found = f"{len(image.darrays)} arrays, {len(names)} names"
        raise DataError(
            "not a label file",
            path=path,
            expected="one array of codes and a table of names",
            found=found,
            fix="give a .label.gii or .annot",
        )
    return keys.astype(int), names


def _annotation(path: Path) -> tuple[np.ndarray, dict[int, str]]:
    from nibabel.freesurfer import read_annot

    try:
        keys, _, names = read_annot(path)
    except (*_FAULTS, MemoryError, ZeroDivisionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    return np.asarray(keys, dtype=int), {-1: "???"} | {code: name.decode() for code, name in enumerate(names)}


def _damaged(path: Path, found: str) -> DataError:
    return DataError("file is truncated or damaged", path=path, expected="a whole file", found=found, fix=AGAIN)
