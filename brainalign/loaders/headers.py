"""What a file's header promises, and whether the file keeps it: sizes, checksums, shapes. Nothing in it is run."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders import recordings

__all__ = ["Content", "read_contents"]

_CHUNK = 1 << 20
_MAX_TEXT_BYTES = 1 << 28
_MAX_ZIP_RATIO = 2000
_ANOTHER_COPY = "download or copy the file again"


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
            raise DataError(
                "not a file", path=path, expected=f"{kind} file", found="folder" if path.is_dir() else "none"
            )
        if path.stat().st_size == 0:
            raise DataError("file is empty", path=path, expected=f"{kind} file", found="0 bytes", fix=_ANOTHER_COPY)
    # What the parsers below raise on bytes that are not what they should be.
    faults = (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError, struct.error)
    try:
        return reader(path, keys, deep)
    except DataError:
        raise
    except (*faults, zlib.error, zipfile.BadZipFile, SyntaxError, NotImplementedError, RuntimeError) as error:
        text = str(error).splitlines()[0] if str(error) else ""
        found = f"{type(error).__name__}: {text}"
        raise DataError("cannot be read", path=path, expected=f"{kind} file", found=found, fix=_ANOTHER_COPY) from error


def _truncated(path: Path, expected: int, found: int) -> DataError:
    what = "file is truncated" if found < expected else "file is longer than its header says"
    return DataError(what, path=path, expected=f"{expected} bytes", found=f"{found} bytes", fix=_ANOTHER_COPY)


def _nifti(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        header = nibabel.load(path).header  # type: ignore[attr-defined]
    except (ImageFileError, HeaderDataError) as error:
        raise ValueError(error) from error
    shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
    if any(n < 1 for n in shape):
        raise DataError("impossible shape in the header", path=path, found=shape, fix=_ANOTHER_COPY)
    expected = int(header.get("vox_offset", 352) or 352) + prod(shape) * dtype.itemsize
    size = _gzip_size(path, limit=expected + _CHUNK) if path.name.endswith(".gz") and deep else path.stat().st_size
    if size < expected and (deep or not path.name.endswith(".gz")):
        raise _truncated(path, expected, size)
    return {"": Content(shape, dtype.name)}


def _gzip_size(path: Path, *, limit: int) -> int:
    """Size of the unpacked stream; reading to its end is what makes gzip compare its checksum."""
    size = 0
    with gzip.open(path) as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise _truncated(path, limit, size)
    return size


def _npy_header(path: Path) -> tuple[Content, int]:
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        return Content(tuple(shape), dtype.name), stream.tell() + prod(shape) * dtype.itemsize


def _npy(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    content, expected = _npy_header(path)
    if content.dtype == "object":
        fix = "save plain arrays; a pickled array can run code when it is opened"
        raise DataError("file holds pickled objects", path=path, expected="numbers", found="dtype object", fix=fix)
    if path.stat().st_size != expected:
        raise _truncated(path, expected, path.stat().st_size)
    return {"": content}


def _npy_dict(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    """A pickled dictionary: the header and the pickle's last byte are looked at, nothing more."""
    content, _ = _npy_header(path)
    if content.dtype != "object" or content.shape != ():
        raise DataError("not a pickled dictionary", path=path, expected="0-d object array", found=content)
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        if stream.read(1) != b".":
            raise DataError("file is truncated", path=path, expected="a closed pickle", fix=_ANOTHER_COPY)
    return {}


def _npz(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > _MAX_ZIP_RATIO * max(member.compress_size, 1):
                ratio = f"{member.file_size // max(member.compress_size, 1)} times"
                raise DataError(
                    "member unpacks to too much", path=path, expected=f"< {_MAX_ZIP_RATIO} times", found=ratio
                )
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                v1 = version == (1, 0)
                read = np.lib.format.read_array_header_1_0 if v1 else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
                while deep and stream.read(_CHUNK):  # to the end: zipfile compares the checksum there
                    pass
            found[member.filename.removesuffix(".npy")] = Content(tuple(shape), dtype.name)
    return found


def _hdf5(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    import h5py

    found = {}
    with h5py.File(path, "r") as file:
        for key in keys:
            node, parts = file, [part for part in key.split("/") if part]
            for part in parts:
                link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
                if isinstance(link, h5py.ExternalLink):
                    raise DataError("external link refused", path=path, found=f"{key} -> {link.filename}")
                node = node.get(part) if link is not None else None
            if isinstance(node, h5py.Dataset):
                if node.external or node.is_virtual:
                    raise DataError("data kept in other files refused", path=path, found=key)
                found[key] = Content(tuple(node.shape or ()), node.dtype.name)
            elif node is None and not found:
                found |= {name: Content((), "group") for name in list(file)[:20] if name not in keys}
    return found


def _mat(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    from scipy.io import whosmat
    from scipy.io.matlab import MatReadError

    with path.open("rb") as stream:
        head = stream.read(128)
        if head.startswith(b"MATLAB 7.3"):
            raise DataError("MATLAB 7.3 file", path=path, expected="classic MAT file", found="HDF5")
        size, position = path.stat().st_size, 128
        order = "<" if head[126:128] == b"IM" else ">"
        while position < size:
            stream.seek(position)
            kind, length = struct.unpack(order + "II", stream.read(8).ljust(8, b"\0"))
            position += 8 + length
            if position > size:
                raise _truncated(path, position, size)
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
        raise DataError("text file too large", path=path, expected=f"at most {_MAX_TEXT_BYTES} bytes")
    text = path.read_text(encoding="utf-8-sig")
    if "\0" in text:
        raise DataError("not a text file", path=path, expected="text", found="null bytes")
    return [line for line in text.splitlines() if line.strip()]


def _json(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    content = json.loads("\n".join(_lines(path)))
    if not isinstance(content, dict):
        raise DataError("not a JSON object", path=path, expected="{...}", found=type(content).__name__)
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
        raise DataError("folder is absent or empty", path=path, expected="a folder with files", fix=_ANOTHER_COPY)
    return {}


def _opaque(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
    return {}


def _recording(inspect: Callable[[Path], None]) -> Callable[[Path, Sequence[str], bool], dict[str, Content]]:
    def read(path: Path, keys: Sequence[str], deep: bool) -> dict[str, Content]:
        inspect(path)
        return {}

    return read


_READERS: dict[str, Callable[[Path, Sequence[str], bool], dict[str, Content]]] = {
    "nifti": _nifti, "npy": _npy, "npy_dict": _npy_dict, "npz": _npz, "hdf5": _hdf5, "mat": _mat,
    "csv": _table, "tsv": _table, "text": _text, "json": _json, "image": _image,
    "folder": _folder, "ctf": _folder, "pickle": _opaque,
    "fif": _recording(recordings.check_fif), "edf": _recording(recordings.check_edf),
    "gdf": _recording(recordings.check_gdf), "brainvision": _recording(recordings.check_brainvision),
}  # fmt: skip
