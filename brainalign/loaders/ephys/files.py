"""Is a recording's file whole? Sizes are held against headers before anything is read.

MNE reads half a FIF without a word and half an EDF with a warning; here a file that is shorter or longer than its
header says is refused.
"""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from brainalign.errors import DataError

__all__ = ["check_recording_file", "check_samples_on_disk"]

_MEND = "copy or download the file again; if it was recorded so, save it anew from its recording software"
_FIF_BLOCK_START, _FIF_BLOCK_END = 104, 105
_BRAINVISION_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4, "IEEE_FLOAT_64": 8}


def check_recording_file(path: Path) -> None:
    """Refuse a recording whose size disagrees with its header (FIF, EDF, BDF, BrainVision, EEGLAB).

    Other formats pass: MNE is their only judge.

    Raises
    ------
    DataError
        When the file is absent, empty, cut, or longer than its header says.
    """
    if not path.exists():
        raise DataError("no such recording", path=path, fix="check the path")
    if path.is_dir():  # CTF and KIT recordings are folders
        return
    if path.stat().st_size == 0:
        raise DataError("the recording is empty", path=path, expected="a file with content", found="0 bytes", fix=_MEND)
    check = _CHECKS.get("".join(path.suffixes[-2:]).lower() if path.suffix == ".gz" else path.suffix.lower())
    if check is not None:
        check(path)


def check_samples_on_disk(path: Path, *, n_channels: int, n_times: int) -> None:
    """Refuse an EEGLAB data file (.fdt, float32) that does not hold ``n_channels * n_times`` samples."""
    expected, found = 4 * n_channels * n_times, path.stat().st_size
    if found != expected:
        raise _cut(path, f"{expected} bytes ({n_channels} channels x {n_times} samples)", f"{found} bytes")


def _cut(path: Path, expected: Any, found: Any) -> DataError:
    return DataError("the recording is cut or damaged", path=path, expected=expected, found=found, fix=_MEND)


# -- FIF: a chain of tags, each with kind, type, size and where the next one lies ------------------------------------


def _check_fif_and_parts(path: Path) -> None:
    """A large FIF goes on in ``name-1.fif``, ``name-2.fif``, ..."""
    _check_fif(path)
    stem, extension = path.name.split(".", 1)
    number = 1
    while (part := path.with_name(f"{stem}-{number}.{extension}")).is_file():
        _check_fif(part)
        number += 1


def _check_fif(path: Path) -> None:
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                end = _walk_fif(file, path)
                while file.read(1 << 20):  # to the end, where gzip keeps its checksum
                    pass
        else:
            with path.open("rb") as file:
                end = _walk_fif(file, path)
    except (EOFError, OSError) as error:
        raise _cut(path, "a complete gzip stream", str(error)) from error
    size = path.stat().st_size
    if path.suffix != ".gz" and end > size:
        raise _cut(path, f"{end} bytes", f"{size} bytes")


def _walk_fif(file: BinaryIO | gzip.GzipFile, path: Path) -> int:
    """Follow the tags to the last; the number of bytes they need."""
    position, depth, end = 0, 0, 0
    while True:
        file.seek(position)
        header = file.read(16)
        if len(header) < 16:
            raise _cut(path, "a chain of FIF tags that ends in its last tag", f"end of file at byte {position}")
        kind, _, size, following = struct.unpack(">4i", header)
        depth += (kind == _FIF_BLOCK_START) - (kind == _FIF_BLOCK_END)
        end = max(end, position + 16 + size)
        if (position == 0 and kind != 100) or size < 0:
            raise DataError("not a FIF file", path=path, expected="FIF tags", found=f"tag {kind} of {size} bytes")
        if following == -1:
            break
        if 0 < following <= position:
            raise _cut(path, "FIF tags in ascending order", f"byte {position} points back to {following}")
        position = following if following > 0 else position + 16 + size
    if depth:
        raise _cut(path, "every block of the file closed", f"{depth} blocks still open")
    return end


# -- EDF and BDF: a text header with the number and size of data records ----------------------------------------------


def _check_edf(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        fixed = file.read(256)
        try:
            n_header, n_records, n_signals = (int(fixed[a:b]) for a, b in ((184, 192), (236, 244), (252, 256)))
            rest = file.read(256 * n_signals)
            samples = rest[216 * n_signals : 224 * n_signals]
            per_record = sum(int(samples[8 * one : 8 * one + 8]) for one in range(n_signals))
        except ValueError as error:
            found = f"{size} bytes; {error}"
            raise _cut(path, "an EDF header of 256 bytes and 256 more a signal", found) from error
    if len(rest) != 256 * n_signals or n_header != 256 * (n_signals + 1):
        raise _cut(path, f"a header of {256 * (n_signals + 1)} bytes", f"{n_header} declared, {256 + len(rest)} there")
    if n_records < 0:
        fix = "close the file in its recording software, which writes the number of records"
        raise DataError("the EDF was never closed", path=path, expected="a record count", found=n_records, fix=fix)
    sample_bytes = 3 if fixed[:1] == b"\xff" else 2
    expected = n_header + n_records * per_record * sample_bytes
    if size != expected:
        raise _cut(path, f"{expected} bytes ({n_records} records)", f"{size} bytes")


# -- BrainVision: a text header beside raw samples and a text file of markers ----------------------------------------


def _check_brainvision(path: Path) -> None:
    text = _text(path)
    common, binary = _section(text, "Common Infos"), _section(text, "Binary Infos")
    channels = _section(text, "Channel Infos")
    try:
        n_channels, data_name = int(common["NumberOfChannels"]), common["DataFile"]
    except (KeyError, ValueError) as error:
        raise _cut(path, "NumberOfChannels and DataFile under [Common Infos]", f"no usable {error}") from error
    cut_line = not text.rstrip(" ").endswith(("\r", "\n")) and _last_section(text) == "Channel Infos"
    if len(channels) != n_channels or cut_line:
        found = f"{len(channels)} lines" + (", the last one cut" if cut_line else "")
        raise _cut(path, f"{n_channels} whole lines under [Channel Infos]", found)
    data = _beside(path, data_name)
    n_samples = _brainvision_samples(data, common, binary, n_channels)
    if n_samples is None or "MarkerFile" not in common:
        return
    last = _last_marker(_beside(path, common["MarkerFile"]))
    if last > n_samples:
        raise _cut(data, f"at least the {last} samples that {common['MarkerFile']} reaches", f"{n_samples} samples")


def _brainvision_samples(data: Path, common: dict[str, str], binary: dict[str, str], n_channels: int) -> int | None:
    size = data.stat().st_size
    if common.get("DataFormat", "BINARY").upper() != "BINARY":
        return None
    form = binary.get("BinaryFormat", "INT_16").upper()
    if form not in _BRAINVISION_BYTES:
        raise DataError("unknown BinaryFormat", path=data, expected=list(_BRAINVISION_BYTES), found=form)
    row = n_channels * _BRAINVISION_BYTES[form]
    if size == 0 or size % row:
        raise _cut(data, f"a multiple of {row} bytes ({n_channels} channels, {form})", f"{size} bytes")
    declared = common.get("DataPoints", "")
    if declared.isdigit() and int(declared) not in (0, size // row):
        raise _cut(data, f"{int(declared)} samples", f"{size // row} samples")
    return size // row


def _last_marker(path: Path) -> int:
    """Sample of the last marker, counted from 1."""
    last = 0
    for name, marker in _section(_text(path), "Marker Infos").items():
        fields = marker.split(",")
        if len(fields) < 5 or not fields[2].strip().isdigit():
            raise _cut(path, "type, description, position, size and channel of each marker", f"{name}={marker}")
        last = max(last, int(fields[2]))
    return last


def _beside(header: Path, name: str) -> Path:
    """A file that a header names; only beside it, for a header must not reach into other folders."""
    name = name.replace("$b", header.stem)
    if re.search(r"[/\\\0]", name) or name in ("", ".", ".."):
        raise DataError("the header points to another folder", path=header, expected="a bare file name", found=name)
    path = header.with_name(name)
    if not path.is_file():
        raise DataError(
            "a file of the recording is missing", path=header, expected=name, fix="copy it beside the header"
        )
    return path


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _section(text: str, title: str) -> dict[str, str]:
    """The ``key=value`` lines under ``[title]``."""
    match = re.search(rf"^\[{re.escape(title)}\][^\n]*$(.*?)(?=^\[|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    lines = match[1].splitlines() if match else []
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith(";"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _last_section(text: str) -> str:
    titles = re.findall(r"^\[([^\]]+)\]", text, flags=re.MULTILINE)
    return titles[-1] if titles else ""


# -- EEGLAB: a MATLAB file, of version 5 (a row of elements) or 7.3 (HDF5) --------------------------------------------


def _check_eeglab(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(128)
        if head[:4] == b"\x89HDF" or head[:10] == b"MATLAB 7.3":
            _check_hdf5(path)
            return
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if order is None:
            raise DataError("not a MATLAB file", path=path, expected="a .set of MATLAB 5 or 7.3", found=head[:16])
        size, position = path.stat().st_size, 128
        while position < size:
            file.seek(position)
            tag = file.read(8)
            position += 8 + struct.unpack(order + "I", tag[4:])[0] if len(tag) == 8 else size + 1
    if position != size or size == 128:
        raise _cut(path, f"{position} bytes", f"{size} bytes")


def _check_hdf5(path: Path) -> None:
    try:
        with h5py.File(path, "r"):
            pass
    except OSError as error:
        raise _cut(path, "a complete HDF5 file", str(error)) from error


_CHECKS: dict[str, Callable[[Path], None]] = {
    ".fif": _check_fif_and_parts,
    ".fif.gz": _check_fif_and_parts,
    ".edf": _check_edf,
    ".bdf": _check_edf,
    ".vhdr": _check_brainvision,
    ".set": _check_eeglab,
}
