"""Is a recording's file whole? Sizes are held against headers before a sample is read.

MNE opens a FIF cut in half and warns only about a cut EDF; these walks through FIF, EDF, BDF, GDF, BrainVision and
EEGLAB files refuse both.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brainalign.errors import DataError
from brainalign.loaders.containers import open_hdf5
from brainalign.loaders.damage import absent, first_line
from brainalign.specs import resolve_inside

__all__ = ["check_recording_file", "check_samples_on_disk"]

_MEND = "copy or download the file again; if it was recorded so, save it anew from its recording software"
_FIF_FILE_ID, _FIF_BLOCK_START, _FIF_BLOCK_END = 100, 104, 105
_VISION_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}


def check_recording_file(path: Path, suffix: str | None = None) -> None:
    """Refuse a recording whose size disagrees with its header (FIF, EDF, BDF, GDF, BrainVision, EEGLAB).

    Other formats pass: MNE is their only judge.

    Parameters
    ----------
    path : Path
    suffix : str, optional
        Of the format that it must be, such as ``.fif``; by default its own.

    Raises
    ------
    DataError
        When the file is absent, empty, cut, or longer than its header says.
    """
    if not path.exists():
        raise absent(path, "a recording")
    if path.is_dir():  # CTF and KIT recordings are folders
        return
    if path.stat().st_size == 0:
        raise DataError("the recording is empty", path=path, expected="a file with content", found="0 bytes", fix=_MEND)
    own = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    check = _CHECKS.get((suffix or own).lower())
    if check is not None:
        check(path)


def check_samples_on_disk(path: Path, *, n_channels: int, n_times: int) -> None:
    """Refuse an EEGLAB data file (.fdt, float32) that does not hold ``n_channels * n_times`` samples."""
    expected, found = 4 * n_channels * n_times, path.stat().st_size
    if found != expected:
        raise _cut(path, f"{expected} bytes ({n_channels} channels x {n_times} samples)", f"{found} bytes")


def _cut(path: Path, expected: Any, found: Any) -> DataError:
    return DataError("the recording is cut or damaged", path=path, expected=expected, found=found, fix=_MEND)


def _foreign(path: Path, expected: str, found: Any) -> DataError:
    return DataError(f"not {expected}", path=path, expected=expected, found=found, fix=_MEND)


# -- FIF ----------------------------------------------------------------------------------------------------------


def _check_fif_and_parts(path: Path) -> None:
    """A large FIF goes on in ``name-1.fif``, ``name-2.fif``, ..."""
    check = _check_gzip if path.suffix == ".gz" else _check_fif
    check(path)
    stem, extension = path.name.split(".", 1)
    number = 1
    while (part := path.with_name(f"{stem}-{number}.{extension}")).is_file():
        check(part)
        number += 1


def _check_fif(path: Path) -> None:
    """Walk the tags: they must fill the file, and every block opened must be closed (or the cut fell between tags)."""
    size, position, depth = path.stat().st_size, 0, 0
    with path.open("rb") as stream:
        while position < size:
            stream.seek(position)
            head = stream.read(16)
            if len(head) < 16:
                raise _cut(path, f"a tag of 16 bytes at {position}", f"{len(head)} bytes")
            kind, _, length, following = struct.unpack(">iiii", head)
            if position == 0 and kind != _FIF_FILE_ID:
                raise _foreign(path, "a FIF file", f"tag {kind} first, not {_FIF_FILE_ID}")
            if length < 0 or position + 16 + length > size:
                raise _cut(path, f"{position + 16 + length} bytes", f"{size} bytes")
            depth += (kind == _FIF_BLOCK_START) - (kind == _FIF_BLOCK_END)
            if following == -1:
                break
            # A pointer may jump ahead or back to the directory; only the plain sequence fills the file.
            position = following if following > position else position + 16 + length
    if depth != 0:
        raise _cut(path, "every block closed", f"{depth} blocks left open")


def _check_gzip(path: Path) -> None:
    """Read to the end, where gzip keeps its length and checksum."""
    try:
        with gzip.open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise _cut(path, "a complete gzip stream", first_line(error)) from error


# -- EDF, BDF, GDF ------------------------------------------------------------------------------------------------


def _check_edf(path: Path) -> None:
    """EDF and BDF must be as long as their header says; a record count of -1 (still open) is refused."""
    with path.open("rb") as stream:
        head = stream.read(256)
        try:
            n_header, n_records, n_channels = int(head[184:192]), int(head[236:244]), int(head[252:256])
            if not 0 < n_channels < 10000 or n_header != 256 * (n_channels + 1):
                raise ValueError(f"{n_channels} channels, header of {n_header} bytes")
            stream.seek(256 + 216 * n_channels)
            n_samples = sum(int(stream.read(8)) for _ in range(n_channels))
        except ValueError as error:
            raise _foreign(path, "a whole EDF header", str(error)) from error
    if n_records == -1:
        raise DataError("recording was never closed", path=path, expected="a record count", found=-1, fix=_MEND)
    width = 3 if head[:1] == b"\xff" else 2  # BDF keeps 24-bit samples
    expected, size = n_header + n_records * n_samples * width, path.stat().st_size
    if size != expected:
        raise _cut(path, f"{expected} bytes", f"{size} bytes")


def _check_gdf(path: Path) -> None:
    """The magic alone: a GDF's events may follow its records, so that its size proves nothing."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GDF ":
        raise _foreign(path, "a GDF file", repr(magic))


# -- BrainVision: a text header beside raw samples and a text file of markers ----------------------------------------


def _check_brainvision(path: Path) -> None:
    """A whole header, a data file beside it as long as it says, a line per channel, no marker beyond the data.

    Headers often state no length; the markers then are what shows that data were cut.
    """
    text = _text(path)
    if not re.match(r"Brain ?Vision", text):
        raise _foreign(path, "a BrainVision header", text[:40])
    common = _section(text, "Common Infos")
    form = _section(text, "Binary Infos").get("BinaryFormat", "INT_16").upper()
    try:
        n_channels, points = int(common["NumberOfChannels"]), int(common.get("DataPoints") or 0)
        frame, named = n_channels * _VISION_BYTES[form], common["DataFile"]
    except (KeyError, ValueError) as error:
        raise _foreign(path, "a complete BrainVision header", first_line(error)) from error
    data = _beside(path, named)
    size = data.stat().st_size
    if size == 0 or size % frame or (points and size != points * frame):
        raise _cut(data, f"{points or 'whole'} samples of {n_channels} channels", f"{size / frame:.2f} samples")
    channels = _section(text, "Channel Infos")
    last_title = re.findall(r"^\[([^\]]+)\]", text, flags=re.MULTILINE)[-1]
    cut_line = last_title == "Channel Infos" and not text.rstrip(" ").endswith(("\r", "\n"))
    if len(channels) != n_channels or cut_line:
        found = f"{len(channels)} lines" + (", the last one cut" if cut_line else "")
        raise _cut(path, f"{n_channels} whole lines under [Channel Infos]", found)
    if "MarkerFile" in common and common.get("DataFormat", "BINARY").upper() == "BINARY":
        markers = _beside(path, common["MarkerFile"])
        if (last := _last_marker(markers)) > size // frame:
            raise _cut(data, f"at least the {last} samples that {markers.name} reaches", f"{size // frame} samples")


def _beside(path: Path, name: str) -> Path:
    """The file that a header names, which must lie beside it."""
    file = resolve_inside(path.parent, name.replace("$b", path.stem))
    if not file.is_file():
        fix = "copy it beside the header"
        raise DataError("a file that the header names is missing", path=path, expected=name, found="none", fix=fix)
    return file


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


# -- EEGLAB: a MATLAB file, of version 5 (a row of elements) or 7.3 (HDF5) --------------------------------------------


def _check_eeglab(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(128)
        if head[:4] == b"\x89HDF" or head[:10] == b"MATLAB 7.3":
            open_hdf5(path).close()
            return
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if order is None:
            raise _foreign(path, "a MATLAB file of version 5 or 7.3", head[:16])
        size, position = path.stat().st_size, 128
        while position < size:
            file.seek(position)
            tag = file.read(8)
            position += 8 + struct.unpack(order + "I", tag[4:])[0] if len(tag) == 8 else size + 1
    if position != size or size == 128:
        raise _cut(path, f"{position} bytes", f"{size} bytes")


_CHECKS: dict[str, Callable[[Path], None]] = {
    ".fif": _check_fif_and_parts,
    ".fif.gz": _check_fif_and_parts,
    ".edf": _check_edf,
    ".bdf": _check_edf,
    ".gdf": _check_gdf,
    ".vhdr": _check_brainvision,
    ".set": _check_eeglab,
}
