"""One writer per file format: ``write(path, content)``. EDF and BrainVision are written by hand, to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["AFFINE", "WRITERS", "write_brainvision", "write_edf"]

AFFINE = np.array([[-2.0, 0, 0, 8], [0, 2.0, 0, -6], [0, 0, 2.5, -4], [0, 0, 0, 1]])
"""Affine of every synthetic volume: left-handed, anisotropic, off-centre, so that a mix-up of axes shows."""


def write_nifti(path: Path, content: dict[str, Any]) -> None:
    """One volume or series; ``content[""]`` is the array, ``content["tr"]`` its repetition time in seconds."""
    import nibabel

    array = np.asarray(content[""])
    array = array.astype(np.float32) if array.dtype == np.float64 else array
    array = array.astype(np.int32) if array.dtype == np.int64 else array
    image = nibabel.Nifti1Image(array, AFFINE)
    if "tr" in content:
        image.header.set_zooms((*image.header.get_zooms()[:3], content["tr"]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)


def write_mgh(path: Path, content: dict[str, Any]) -> None:
    """Values per vertex, (n_volumes, n_vertices)."""
    import nibabel

    values = np.asarray(content[""])
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    volumes = values.T[:, None, None]  # a single one loses its axis, as nibabel wants it
    nibabel.save(nibabel.MGHImage(volumes if len(values) > 1 else volumes[..., 0], np.eye(4)), path)


def write_hdf5(path: Path, content: dict[str, Any]) -> None:
    """Datasets by key. ``content["@matlab"]`` true writes the 512 bytes that make it a MATLAB 7.3 file;
    ``content["@chunks"]`` is the chunk shape of the first dataset."""
    import h5py

    matlab, chunks = content.pop("@matlab", False), content.pop("@chunks", None)
    with h5py.File(path, "w", userblock_size=512 if matlab else 0) as file:
        for key, array in content.items():
            file.create_dataset(key, data=array, chunks=chunks)
            chunks = None
    if matlab:
        with path.open("r+b") as stream:
            text = b"MATLAB 7.3 MAT-file, Platform: synthetic, HDF5 schema 1.00 ."
            stream.write(text.ljust(116) + b"\0" * 8 + b"\x00\x02IM")


def write_mat(path: Path, content: dict[str, Any]) -> None:
    """A classic MAT file."""
    from scipy.io import savemat

    savemat(path, content, do_compression=True)


def write_npy(path: Path, content: dict[str, Any]) -> None:
    """A plain array."""
    np.save(path, content[""], allow_pickle=False)


def write_npz(path: Path, content: dict[str, Any]) -> None:
    """Plain arrays by name."""
    np.savez(path, **content)


def write_csv(path: Path, content: Any) -> None:
    """A DataFrame, comma- or tab-separated by the file's suffix."""
    content.to_csv(
        path,
        sep="\t" if path.suffix == ".tsv" else ",",
        index=False,
        encoding=content.attrs.get("encoding"),
        compression="infer",
    )


def write_text(path: Path, content: list[str]) -> None:
    """Lines."""
    path.write_text("\n".join(content) + "\n", encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A JSON object."""
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_image(path: Path, content: dict[str, Any]) -> None:
    """A picture, (height, width, 3) uint8."""
    from PIL import Image

    Image.fromarray(content[""]).save(path, quality=95)


def write_fif(path: Path, content: Any) -> None:
    """An MNE Raw or Epochs object."""
    content.save(path, overwrite=True, verbose="error")


def write_edf(path: Path, content: dict[str, Any]) -> None:
    """EDF with one-second records; EDF+ where there are events.

    Parameters
    ----------
    path : Path
    content : dict
        ``data`` (n_channels, n_samples) in microvolts, ``ch_names``, ``sfreq`` (an integer rate; a part of a last
        second is dropped); ``events`` (onset and duration in seconds, text), at most two a second, if any.
    """
    data, rate, events = content["data"], int(content["sfreq"]), content.get("events", ())
    n_channels, n_records = len(data), data.shape[1] // rate
    limit, plus = float(np.ceil(np.abs(data).max() + 1)), ["EDF Annotations"] if len(events) else []
    names, n_signals = [*content["ch_names"], *plus], n_channels + len(plus)
    head = ["0".ljust(8), "X".ljust(80), "X".ljust(80), "01.01.00", "00.00.00", str(256 * (n_signals + 1)).ljust(8)]
    head += [
        "EDF+C".ljust(44) if plus else "".ljust(44),
        str(n_records).ljust(8),
        "1".ljust(8),
        str(n_signals).ljust(4),
    ]
    columns = [
        (names, 16), ([""] * n_signals, 80), (["uV"] * n_channels + [""] * len(plus), 8),
        ([f"{-limit:g}"] * n_channels + ["-1"] * len(plus), 8), ([f"{limit:g}"] * n_channels + ["1"] * len(plus), 8),
        (["-32768"] * n_signals, 8), (["32767"] * n_signals, 8), ([""] * n_signals, 80),
        ([str(rate)] * n_channels + [str(_ANNOTATION_BYTES // 2)] * len(plus), 8), ([""] * n_signals, 32),
    ]  # fmt: skip
    head += [text.ljust(width) for texts, width in columns for text in texts]
    stored = np.rint((data + limit) * (65535 / (2 * limit)) - 32768).astype("<i2")
    records = stored[:, : n_records * rate].reshape(n_channels, n_records, rate).transpose(1, 0, 2)
    notes = [_annotations(second, events) if plus else b"" for second in range(n_records)]
    body = b"".join(record.tobytes() + note for record, note in zip(records, notes, strict=True))
    path.write_bytes("".join(head).encode("ascii") + body)


_ANNOTATION_BYTES = 128


def _annotations(second: int, events: Sequence[tuple[float, float, str]]) -> bytes:
    """The annotation signal of one record: when it begins, and the events of that second (EDF+)."""
    mine = [f"+{onset:g}\x15{duration:g}\x14{text}\x14\0" for onset, duration, text in events if int(onset) == second]
    return "".join([f"+{second}\x14\x14\0", *mine]).encode().ljust(_ANNOTATION_BYTES, b"\0")


def write_brainvision(path: Path, content: dict[str, Any]) -> None:
    """A BrainVision header with its data and marker file beside it, float32 in microvolts.

    Parameters
    ----------
    path : Path
        Of the ``.vhdr``.
    content : dict
        ``data`` (n_channels, n_samples) in microvolts, ``ch_names``, ``sfreq``.
    """
    data, names = content["data"], content["ch_names"]
    channels = "\n".join(f"Ch{i}={name},,1,µV" for i, name in enumerate(names, start=1))
    eeg, markers = path.with_suffix(".eeg").name, path.with_suffix(".vmrk").name
    text = (
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={eeg}\nMarkerFile={markers}\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels={len(names)}\nDataPoints={data.shape[1]}\nSamplingInterval={1e6 / content['sfreq']:g}\n\n"
        f"[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n\n[Channel Infos]\n{channels}\n"
    )
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".eeg").write_bytes(np.ascontiguousarray(data.T, dtype="<f4").tobytes())
    marker_text = (
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={eeg}\n\n[Marker Infos]\nMk1=New Segment,,1,1,0,20000101000000000000\n"
    )
    path.with_suffix(".vmrk").write_text(marker_text, encoding="utf-8")


WRITERS: dict[str, Callable[[Path, Any], None]] = {
    "nifti": write_nifti, "mgh": write_mgh, "hdf5": write_hdf5, "mat": write_mat, "npy": write_npy, "npz": write_npz,
    "csv": write_csv, "tsv": write_csv, "text": write_text, "json": write_json, "image": write_image,
    "fif": write_fif, "edf": write_edf, "brainvision": write_brainvision,
}  # fmt: skip
