"""What a file's header promises, and whether the file keeps it: sizes, checksums, shapes. Nothing in it is run."""

from __future__ import annotations

import gzip
import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders.containers import find_dataset, open_hdf5
from brainalign.loaders.damage import AGAIN, absent, damaged, wrong_size
from brainalign.loaders.mgh import map_mgh
from brainalign.loaders.nifti import open_nifti
from brainalign.loaders.recordings import check_recording_file

__all__ = ["Content", "read_contents"]

_CHUNK = 1 << 20
_MAX_TEXT_BYTES = 1 << 28
_MAX_ZIP_RATIO = 2000
_OTHER_FILE = "take the file that the spec means, or download it again"


@dataclass(frozen=True)
class Content:
    """One array of a file as its header describes it: `shape` in Python's axis order, NumPy `dtype` name."""

    shape: tuple[int, ...]
    dtype: str


def read_contents(path: str | Path, kind: str, *, keys: Sequence[str] = (), deep: bool = True) -> dict[str, Content]:
    """Inspect a file without loading it.

    Parameters
    ----------
    path : path-like
        The file (a folder for ``ctf`` and ``folder``).
    kind : str
        A file format of a dataset spec.
    keys : sequence of str
        Arrays wanted from an HDF5 file; other containers tell all they hold.
    deep : bool
        Read compressed files to their end, so that their checksums count.

    Returns
    -------
    dict of Content
        By key; ``""`` for a file of one array. Tables count rows and give their columns as keys.

    Raises
    ------
    DataError
        If the file is empty, truncated, damaged, or not of that format.
    """
    path = Path(path)
    reader = _READERS[kind]
    if kind not in ("ctf", "folder"):
        if not path.is_file():
            raise absent(path, f"a {kind} file")
        if path.stat().st_size == 0:
            raise DataError("file is empty", path=path, expected=f"{kind} file", found="0 bytes", fix=AGAIN)
    # What the parsers below raise on bytes that are not what they should be.
    faults = (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError, struct.error)
    try:
        return reader(path, keys, deep)
    except DataError:
        raise
    except (*faults, zlib.error, zipfile.BadZipFile, SyntaxError, NotImplementedError, RuntimeError) as error:
        raise damaged(path, f"a whole {kind} file", error) from error


def _nifti(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    image = open_nifti(path, max_bytes=sys.maxsize, verify=deep)
    return {"": Content(tuple(int(n) for n in image.shape), image.get_data_dtype().name)}


def _mgh(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    values = map_mgh(path)
    return {"": Content(values.shape, values.dtype.name)}


def _npy_header(stream: IO[bytes]) -> Content:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return Content(tuple(shape), dtype.name)


def _npy(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    with path.open("rb") as stream:
        content, start = _npy_header(stream), stream.tell()
    if content.dtype == "object":
        fix = "save plain arrays; a pickled array can run code when it is opened"
        raise DataError("file holds pickled objects", path=path, expected="numbers", found="dtype object", fix=fix)
    expected = start + prod(content.shape) * np.dtype(content.dtype).itemsize
    if path.stat().st_size != expected:
        raise wrong_size(path, expected, path.stat().st_size)
    return {"": content}


def _npy_dict(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    """A pickled dictionary: the header and the pickle's last byte are looked at, nothing more."""
    with path.open("rb") as stream:
        content = _npy_header(stream)
        if content.dtype != "object" or content.shape != ():
            raise _other(path, "a pickled dictionary", content)
        stream.seek(-1, 2)
        last = stream.read(1)
    if last != b".":
        raise DataError(
            "file is truncated", path=path, expected="a closed pickle", found=f"{last!r} at the end", fix=AGAIN
        )
    return {}


def _npz(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            ratio = member.file_size // max(member.compress_size, 1)
            if ratio > _MAX_ZIP_RATIO:
                raise _other(
                    path, f"an archive that unpacks to less than {_MAX_ZIP_RATIO} times its size", f"{ratio} times"
                )
            with archive.open(member) as stream:
                found[member.filename.removesuffix(".npy")] = _npy_header(stream)
                while deep and stream.read(_CHUNK):  # to the end: zipfile compares the checksum there
                    pass
    return found


def _hdf5(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    with open_hdf5(path) as file:
        nodes = {key: find_dataset(file, key, path) for key in keys}
        found = {key: Content(tuple(one.shape or ()), one.dtype.name) for key, one in nodes.items() if one is not None}
        return found or {name: Content((), "group") for name in list(file)[:20] if name not in keys}


def _mat(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    from scipy.io import whosmat
    from scipy.io.matlab import MatReadError

    with path.open("rb") as stream:
        head = stream.read(128)
        if head.startswith(b"MATLAB 7.3"):
            raise _other(path, "a classic MAT file", "MATLAB 7.3, which is HDF5")
        size, position = path.stat().st_size, 128
        order = "<" if head[126:128] == b"IM" else ">"
        while position < size:
            stream.seek(position)
            kind, length = struct.unpack(order + "II", stream.read(8).ljust(8, b"\0"))
            position += 8 + length
            if position > size:
                raise wrong_size(path, position, size)
            if deep and kind == 15:
                _inflate(stream.read, length)
    names = {"double": "float64", "single": "float32", "logical": "bool", "char": "str"}
    try:
        listed = whosmat(str(path))
    except MatReadError as error:
        raise ValueError(error) from error
    return {name: Content(tuple(shape), names.get(kind, kind)) for name, shape, kind in listed}


def _inflate(read: Callable[[int], bytes], length: int) -> None:
    """Unpack a compressed MAT element chunk by chunk: zlib compares its checksum at the end."""
    unpacker = zlib.decompressobj()
    while length > 0:
        unpacker.decompress(read(min(_CHUNK, length)))
        length -= _CHUNK
    if not unpacker.eof:
        raise EOFError("compressed element ends early")


def _table(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    separator = "\t" if path.suffix == ".tsv" else ","
    lines = _lines(path)
    columns = [name.strip().strip('"') for name in lines[0].split(separator)] if lines else []
    rows = (max(len(lines) - 1, 0),)
    return {"": Content(rows, "table"), **{name: Content(rows, "column") for name in columns}}


def _text(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    lines = _lines(path)
    has_header = bool(keys) and bool(lines) and set(keys) <= set(lines[0].split())
    rows = (len(lines) - has_header,)
    return {"": Content(rows, "table"), **{name: Content(rows, "column") for name in keys if has_header}}


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > _MAX_TEXT_BYTES:
        raise _other(path, f"a text file of at most {_MAX_TEXT_BYTES} bytes", f"{path.stat().st_size} bytes")
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            raw = stream.read(_MAX_TEXT_BYTES + 1)
        if len(raw) > _MAX_TEXT_BYTES:
            raise _other(path, f"a text file of at most {_MAX_TEXT_BYTES} bytes", "more")
        text = raw.decode("utf-8-sig")
    else:
        text = path.read_text(encoding="utf-8-sig")
    if "\0" in text:
        raise _other(path, "a text file", "null bytes")
    return [line for line in text.splitlines() if line.strip()]


def _json(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    content = json.loads("\n".join(_lines(path)))
    if not isinstance(content, dict):
        raise _other(path, "a JSON object", type(content).__name__)
    return {name: Content((len(value),) if isinstance(value, list) else (), "json") for name, value in content.items()}


def _image(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if deep:
                image.load()
            return {"": Content((image.height, image.width), "uint8")}
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(error) from error


def _folder(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    if not path.is_dir() or not any(path.iterdir()):
        raise _other(path, "a folder with files", "nothing in it")
    return {}


def _opaque(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    return {}


def _recording(path: Path, keys: Sequence[str], deep: bool, *, suffix: str) -> dict[str, Content]:
    check_recording_file(path, suffix)
    return {}


def _other(path: Path, expected: str, found: Any) -> DataError:
    return DataError(f"not {expected}", path=path, expected=expected, found=found, fix=_OTHER_FILE)


_READERS: dict[str, Callable[[Path, Sequence[str], bool], dict[str, Content]]] = {
    "nifti": _nifti, "mgh": _mgh, "npy": _npy, "npy_dict": _npy_dict, "npz": _npz, "hdf5": _hdf5, "mat": _mat,
    "csv": _table, "tsv": _table, "text": _text, "json": _json, "image": _image,
    "folder": _folder, "ctf": _folder, "pickle": _opaque,
    "fif": partial(_recording, suffix=".fif"), "edf": partial(_recording, suffix=".edf"),
    "gdf": partial(_recording, suffix=".gdf"), "brainvision": partial(_recording, suffix=".vhdr"),
}  # fmt: skip
