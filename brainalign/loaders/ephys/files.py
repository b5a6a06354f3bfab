"""Is a recording's file whole? Sizes are held against headers before anything is read.

The walks through FIF, EDF and BrainVision headers are those of `brainalign.loaders.recordings`; here their further
parts and markers are added, and EEGLAB.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from brainalign.errors import DataError
from brainalign.loaders.recordings import check_brainvision, check_edf, check_fif
from brainalign.specs import resolve_inside

__all__ = ["check_recording_file", "check_samples_on_disk"]

_MEND = "copy or download the file again; if it was recorded so, save it anew from its recording software"


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
    if check is None:
        return
    try:
        check(path)
    except DataError as error:
        if error.fix is not None:
            raise
        found, where = error.found, error.path or path
        raise DataError(error.what, path=where, expected=error.expected, found=found, fix=_MEND) from error


def check_samples_on_disk(path: Path, *, n_channels: int, n_times: int) -> None:
    """Refuse an EEGLAB data file (.fdt, float32) that does not hold ``n_channels * n_times`` samples."""
    expected, found = 4 * n_channels * n_times, path.stat().st_size
    if found != expected:
        raise _cut(path, f"{expected} bytes ({n_channels} channels x {n_times} samples)", f"{found} bytes")


def _cut(path: Path, expected: Any, found: Any) -> DataError:
    return DataError("the recording is cut or damaged", path=path, expected=expected, found=found, fix=_MEND)


# -- FIF ----------------------------------------------------------------------------------------------------------


def _check_fif_and_parts(path: Path) -> None:
    """A large FIF goes on in ``name-1.fif``, ``name-2.fif``, ..."""
    check = _check_gzip if path.suffix == ".gz" else check_fif
    check(path)
    stem, extension = path.name.split(".", 1)
    number = 1
    while (part := path.with_name(f"{stem}-{number}.{extension}")).is_file():
        check(part)
        number += 1


def _check_gzip(path: Path) -> None:
    """Read to the end, where gzip keeps its length and checksum."""
    try:
        with gzip.open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise _cut(path, "a complete gzip stream", str(error)) from error


# -- BrainVision: a text header beside raw samples and a text file of markers ----------------------------------------


def _check_brainvision(path: Path) -> None:
    """Besides header and size: every channel has its line, and no marker lies beyond the data.

    Headers often state no length; the markers then are what shows that data were cut.
    """
    check_brainvision(path)
    text = _text(path)
    common, channels = _section(text, "Common Infos"), _section(text, "Channel Infos")
    n_channels = int(common["NumberOfChannels"])
    cut_line = not text.rstrip(" ").endswith(("\r", "\n")) and _last_section(text) == "Channel Infos"
    if len(channels) != n_channels or cut_line:
        found = f"{len(channels)} lines" + (", the last one cut" if cut_line else "")
        raise _cut(path, f"{n_channels} whole lines under [Channel Infos]", found)
    if "MarkerFile" not in common or common.get("DataFormat", "BINARY").upper() != "BINARY":
        return
    data = path.with_name(common["DataFile"].replace("$b", path.stem))
    form = _section(text, "Binary Infos").get("BinaryFormat", "INT_16").upper()
    n_samples = data.stat().st_size // (n_channels * (2 if form.endswith("16") else 4))
    markers = resolve_inside(path.parent, common["MarkerFile"].replace("$b", path.stem))
    if not markers.is_file():
        raise DataError("the marker file is missing", path=path, expected=markers.name, fix="copy it beside the header")
    last = _last_marker(markers)
    if last > n_samples:
        raise _cut(data, f"at least the {last} samples that {markers.name} reaches", f"{n_samples} samples")


def _last_marker(path: Path) -> int:
    """Sample of the last marker, counted from 1."""
    last = 0
    for name, marker in _section(_text(path), "Marker Infos").items():
        fields = marker.split(",")
        if len(fields) < 5 or not fields[2].strip().isdigit():
            raise _cut(path, "type, description, position, size and channel of each marker", f"{name}={marker}")
        last = max(last, int(fields[2]))
    return last


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
    ".edf": check_edf,
    ".bdf": check_edf,
    ".vhdr": _check_brainvision,
    ".set": _check_eeglab,
}
