"""Is a recording whole? FIF, EDF, GDF and BrainVision files against what their own headers say.

MNE opens a FIF cut in half and warns only about a cut EDF; these walks refuse both before a sample is read.
"""

from __future__ import annotations

import configparser
import struct
from pathlib import Path

from brainalign.errors import DataError
from brainalign.specs import resolve_inside

__all__ = ["check_brainvision", "check_edf", "check_fif", "check_gdf", "edf_summary"]

_ANOTHER_COPY = "download or copy the file again"
_FIF_FILE_ID, _FIF_BLOCK_START, _FIF_BLOCK_END = 100, 104, 105
_VISION_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}


def check_fif(path: Path) -> None:
    """Walk the tags of a FIF file: they must fill it exactly, and every block opened must be closed.

    Raises
    ------
    DataError
        If the file does not begin as FIF, a tag runs past its end, or a block stays open (a cut at a tag's edge).
    """
    size, position, depth = path.stat().st_size, 0, 0
    with path.open("rb") as stream:
        while position < size:
            stream.seek(position)
            head = stream.read(16)
            if len(head) < 16:
                raise _cut(path, f"a tag of 16 bytes at {position}", f"{len(head)} bytes")
            kind, _, length, following = struct.unpack(">iiii", head)
            if position == 0 and kind != _FIF_FILE_ID:
                raise DataError("not a FIF file", path=path, expected=f"tag {_FIF_FILE_ID} first", found=f"tag {kind}")
            if length < 0 or position + 16 + length > size:
                raise _cut(path, f"{position + 16 + length} bytes", f"{size} bytes")
            depth += (kind == _FIF_BLOCK_START) - (kind == _FIF_BLOCK_END)
            if following == -1:
                break
            # A pointer may jump ahead or back to the directory; only the plain sequence fills the file.
            position = following if following > position else position + 16 + length
    if depth != 0:
        raise _cut(path, "every block closed", f"{depth} blocks left open")


def _cut(path: Path, expected: str, found: str) -> DataError:
    return DataError("file is truncated", path=path, expected=expected, found=found, fix=_ANOTHER_COPY)


def edf_summary(path: Path) -> dict[str, float | int | list[str]]:
    """Channel names, sampling rate of the first channel, number of records and expected size of an EDF file.

    Raises
    ------
    DataError
        If the header is not EDF.
    """
    with path.open("rb") as stream:
        head = stream.read(256)
        try:
            n_header, n_records = int(head[184:192]), int(head[236:244])
            seconds, n_channels = float(head[244:252]), int(head[252:256])
            if not 0 < n_channels < 10000 or n_header != 256 * (n_channels + 1):
                raise ValueError(f"{n_channels} channels, header of {n_header} bytes")
            names = [stream.read(16).decode("latin-1").strip() for _ in range(n_channels)]
            stream.seek(256 + 216 * n_channels)
            n_samples = [int(stream.read(8)) for _ in range(n_channels)]
        except ValueError as error:
            raise DataError("not an EDF header", path=path, expected="EDF or EDF+", found=str(error)) from error
    width = 3 if head[:1] == b"\xff" else 2  # BDF keeps 24-bit samples
    expected = n_header + n_records * sum(n_samples) * width
    rate = n_samples[0] / seconds if seconds else 0.0
    return {"channels": names, "sfreq": rate, "n_records": n_records, "bytes": expected}


def check_edf(path: Path) -> None:
    """Require an EDF or BDF file to be as long as its header says; a record count of -1 (still open) is refused."""
    summary = edf_summary(path)
    size = path.stat().st_size
    if summary["n_records"] == -1:
        raise DataError("recording was never closed", path=path, expected="a record count", found=-1)
    if size != summary["bytes"]:
        raise _cut(path, f"{summary['bytes']} bytes", f"{size} bytes")


def check_gdf(path: Path) -> None:
    """Require the magic of a GDF file; its events may follow the records, so that its size proves nothing."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GDF ":
        raise DataError("not a GDF file", path=path, expected="GDF", found=repr(magic))


def check_brainvision(path: Path) -> None:
    """Require the data file of a BrainVision header beside it, as long as the header says.

    Headers without ``DataPoints`` state no length: then a whole number of samples must do.

    Raises
    ------
    DataError
        If the header is not BrainVision, names a file elsewhere, or the file is absent or cut.
    """
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    first, _, body = text.partition("\n")
    if "Brain Vision" not in first and "BrainVision" not in first:
        raise DataError("not a BrainVision header", path=path, expected="Brain Vision ... Header", found=first[:40])
    body = body.partition("[Comment]")[0]
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        parser.read_string(body)
        common = dict(parser["Common Infos"])
        n_channels = int(common["numberofchannels"])
        width = _VISION_BYTES[parser.get("Binary Infos", "BinaryFormat", fallback="INT_16").strip().upper()]
        data_name = common["datafile"].replace("$b", path.stem)
    except (configparser.Error, KeyError, ValueError) as error:
        raise DataError(
            "BrainVision header is incomplete", path=path, found=f"{type(error).__name__}: {error}"
        ) from error
    data = resolve_inside(path.parent, data_name)
    if not data.is_file():
        raise DataError("data file is missing", path=path, expected=data_name, found="no such file", fix=_ANOTHER_COPY)
    size, points = data.stat().st_size, int(common.get("datapoints") or 0)
    expected = points * n_channels * width
    if size % (n_channels * width) or (points and size != expected) or size == 0:
        samples = f"{points or 'whole'} samples of {n_channels} channels"
        raise _cut(data, samples, f"{size / (n_channels * width):.2f} samples")
