"""A recording that is cut anywhere is refused at the door, with one error; a whole one passes."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import mne
import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.loaders.ephys import load_ephys
from brainalign.loaders.recordings import check_recording_file
from tests.conftest import real_data

FRACTIONS = [0.0, 0.01, 0.1, 0.5, 0.99, 0.999]
N_CHANNELS, SFREQ, SECONDS = 4, 100.0, 20


def _raw() -> mne.io.RawArray:
    rng = np.random.default_rng(0)
    info = mne.create_info([f"E{number}" for number in range(N_CHANNELS)], SFREQ, "eeg")
    raw = mne.io.RawArray(1e-5 * rng.standard_normal((N_CHANNELS, int(SFREQ * SECONDS))), info, verbose="error")
    onsets = np.arange(1.0, SECONDS, 1.5)
    raw.set_annotations(mne.Annotations([*onsets, SECONDS - 0.02], 0.0, ["a"] * len(onsets) + ["end"]))
    return raw


def _fif(folder: Path) -> Path:
    _raw().save(folder / "x_raw.fif", verbose="error", buffer_size_sec=1.0)
    return folder / "x_raw.fif"


def _fif_gz(folder: Path) -> Path:
    _raw().save(folder / "x_raw.fif.gz", verbose="error")
    return folder / "x_raw.fif.gz"


def _epochs_fif(folder: Path) -> Path:
    epochs = mne.Epochs(_raw(), event_id={"a": 1}, tmin=0, tmax=0.5, baseline=None, verbose="error")
    epochs.save(folder / "x-epo.fif", verbose="error")
    return folder / "x-epo.fif"


def _edf(folder: Path) -> Path:
    mne.export.export_raw(folder / "x.edf", _raw(), verbose="error")
    return folder / "x.edf"


def _bdf(folder: Path) -> Path:
    mne.export.export_raw(folder / "x.bdf", _raw(), verbose="error")
    return folder / "x.bdf"


def _brainvision(folder: Path) -> Path:
    mne.export.export_raw(folder / "x.vhdr", _raw(), verbose="error")
    return folder / "x.vhdr"


def _eeglab(folder: Path) -> Path:
    mne.export.export_raw(folder / "x.set", _raw(), verbose="error")
    return folder / "x.set"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "fif": _fif,
    "fif.gz": _fif_gz,
    "epochs": _epochs_fif,
    "edf": _edf,
    "bdf": _bdf,
    "vhdr": _brainvision,
    "eeg": _brainvision,
    "set": _eeglab,
}


def _load(path: Path) -> None:
    load_ephys(path, tmin=0.0, tmax=0.1, edges="drop")


def _refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        _load(path)
    return str(caught.value)


def _cut(path: Path, fraction: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])


@pytest.mark.parametrize("kind", list(WRITERS))
def test_whole_files_pass(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path)
    check_recording_file(path)
    _load(path)


# The end of a BrainVision header is free comment, which nothing needs.
@pytest.mark.parametrize(
    ("kind", "fraction"), [(k, f) for k in WRITERS for f in FRACTIONS if not (k == "vhdr" and f > 0.95)]
)
def test_cut_files_are_refused(tmp_path: Path, kind: str, fraction: float) -> None:
    path = WRITERS[kind](tmp_path)
    cut = path.with_suffix(".eeg") if kind == "eeg" else path
    _cut(cut, fraction)
    message = _refused(path)
    assert cut.name in message and "mend: " in message


@pytest.mark.parametrize("kind", ["fif", "epochs", "edf", "bdf", "vhdr", "set"])
def test_cuts_every_few_bytes_are_refused(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path)
    whole = path.read_bytes()
    # The tail of a BrainVision header is free text, whose end no header declares.
    last = whole.rindex(b",") if kind == "vhdr" else len(whole)
    for length in np.unique(np.linspace(1, last - 1, 60).astype(int)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            check_recording_file(path)


def test_mne_alone_opens_half_a_fif_and_half_an_edf(tmp_path: Path) -> None:
    """Why this module exists; if MNE begins to refuse, it can shrink."""
    for write in (_fif, _edf):
        path = write(tmp_path)
        _cut(path, 0.5)
        assert 0 < mne.io.read_raw(path, verbose="error").n_times < SFREQ * SECONDS


@pytest.mark.parametrize("kind", ["raw", "epochs"])
def test_later_parts_of_a_split_fif(tmp_path: Path, kind: str) -> None:
    raw = mne.concatenate_raws([_raw().resample(1000.0, verbose="error") for _ in range(8)], verbose="error")
    path = tmp_path / f"x-{'raw' if kind == 'raw' else 'epo'}.fif"
    whole = raw if kind == "raw" else mne.make_fixed_length_epochs(raw, 1.0, verbose="error")
    whole.save(path, split_size="2MB", verbose="error")
    part = tmp_path / f"{path.stem}-1.fif"
    load_ephys(path, tmin=0.0, tmax=0.1, edges="drop")
    _cut(part, 0.5)
    assert part.name in _refused(path)
    part.unlink()
    assert path.name in _refused(path)


@pytest.mark.parametrize("edit", ["count", "records", "longer", "unclosed"])
def test_edf_headers_that_lie(tmp_path: Path, edit: str) -> None:
    path = _edf(tmp_path)
    raw = bytearray(path.read_bytes())
    if edit == "count":
        raw[252:256] = b"9   "
    elif edit == "records":
        raw[236:244] = b"999     "
    elif edit == "unclosed":
        raw[236:244] = b"-1      "
    else:
        raw += b"\0" * 10
    path.write_bytes(bytes(raw))
    assert "x.edf" in _refused(path)


def test_brainvision_parts_and_paths(tmp_path: Path) -> None:
    path = _brainvision(tmp_path)
    text = path.read_text(encoding="utf-8")
    for hostile in ("../x.eeg", "/etc/passwd", "..\\x.eeg", ".."):
        path.write_text(text.replace("DataFile=x.eeg", f"DataFile={hostile}"), encoding="utf-8")
        assert re.search("leaves its folder|absolute|backslash|missing|cut|MNE", _refused(path)), hostile
    path.write_text(text.replace("DataFile=x.eeg", "DataFile=y.eeg"), encoding="utf-8")
    assert "missing" in _refused(path)
    path.write_text(text.replace("[Common Infos]", "[Common Infos]\nDataPoints=1999"), encoding="utf-8")
    assert "1999 samples" in _refused(path)
    path.write_text(text, encoding="utf-8")
    markers = tmp_path / "x.vmrk"
    whole = markers.read_bytes()
    markers.write_bytes(whole[: whole.rindex(b",")])
    assert "x.vmrk" in _refused(path)


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("cut", ["eeglab_data.set", "eeglab_data.fdt", "eeglab_data_epochs_ica.fdt"])
def test_real_eeglab_files_cut(tmp_path: Path, cut: str, fraction: float) -> None:
    folder = real_data("eeglab_sample")
    stem = Path(cut).stem
    for name in (f"{stem}.set", f"{stem}.fdt"):
        shutil.copyfile(folder / name, tmp_path / name)
    _cut(tmp_path / cut, fraction)
    assert stem in _refused(tmp_path / f"{stem}.set")


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("source", ["eegmmidb_s001/S001R03.edf", "ieeg_bids/sub-01/ieeg/*_ieeg.vhdr"])
def test_real_edf_and_brainvision_cut(tmp_path: Path, source: str, fraction: float) -> None:
    folder, _, pattern = source.partition("/")
    original = next(real_data(folder).glob(pattern))
    for one in original.parent.glob(f"{original.stem}.*"):
        shutil.copyfile(one, tmp_path / one.name)
    path = tmp_path / original.name
    _cut(path.with_suffix(".eeg") if path.suffix == ".vhdr" else path, fraction)
    assert original.stem in _refused(path)


def test_real_recordings_are_whole() -> None:
    for name, pattern in {
        "meg_sample": "*.fif",
        "ssvep_exo": "*/*.fif",
        "eegmmidb_s001": "*.edf",
        "eeglab_sample": "*.set",
        "ieeg_bids": "**/*.vhdr",
    }.items():
        paths = list(real_data(name).glob(pattern))
        assert paths
        for path in paths:
            check_recording_file(path)


def test_matlab_7_3_and_other_files(tmp_path: Path) -> None:
    path = tmp_path / "x.set"
    with h5py.File(path, "w") as file:
        file["EEG"] = np.zeros(1000)
    check_recording_file(path)
    _cut(path, 0.5)
    assert "HDF5" in _refused(path)
    path.write_text("plain text that is no recording at all")
    assert "not a MATLAB file" in _refused(path)
    assert "no such file" in _refused(tmp_path / "absent.fif")
    other = tmp_path / "x.xyz"
    other.write_text("nothing")
    assert "MNE cannot read" in _refused(other)
    broken = tmp_path / "y_raw.fif.gz"
    broken.write_bytes(gzip.compress(b"\0" * 100))
    assert "MNE cannot read" in _refused(broken)
