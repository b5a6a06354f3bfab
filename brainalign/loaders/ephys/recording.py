"""One recording: opened whole or not at all, its channels by clean names, its data in SI units."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders.events import read_table
from brainalign.loaders.recordings import check_recording_file, check_samples_on_disk
from brainalign.loaders.sidecars import read_json

__all__ = ["Recording", "check_sidecars", "labels_of", "open_recording", "read_quietly"]

_READ_ERRORS = (OSError, EOFError, ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
_IDLE_WARNINGS = ("naming conventions", "Did not find any", "Unable to map the following column")
_ENTITY = re.compile(r"(?:^|_)(sub|ses|run)-([A-Za-z0-9]+)")
_MEASURED = re.compile("MEG|EEG|ECOG|SEEG|DBS", flags=re.IGNORECASE)
_LABELS = {"sub": "subject", "ses": "session", "run": "run"}


@dataclass(frozen=True)
class Recording:
    """An opened `mne.io.Raw` or `mne.Epochs`, with where it came from.

    Parameters
    ----------
    data : mne.io.BaseRaw or mne.BaseEpochs
    path : Path, optional
    labels : dict
        subject, session and run, as far as the file name says them.
    """

    data: Any
    path: Path | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def is_epochs(self) -> bool:
        """Whether it has been cut into trials already."""
        return hasattr(self.data, "events") and hasattr(self.data, "drop_log")

    @property
    def sfreq(self) -> float:
        """Sampling rate in hertz."""
        return float(self.data.info["sfreq"])

    @property
    def duration(self) -> float:
        """Seconds; of a continuous recording."""
        return float(self.data.n_times / self.sfreq)


def open_recording(source: Any) -> Recording:
    """Open a path, or take an opened MNE object as it is (it is never changed).

    Raises
    ------
    DataError
        When the file is absent, cut, not a recording, has repeated channel names, or disagrees with its sidecar.
    """
    if hasattr(source, "info") and hasattr(source, "get_data"):
        return Recording(source)
    path = Path(source)
    check_recording_file(path)
    recording = Recording(read_quietly(_read, path), path, labels_of(path.name))
    _check_parts(recording)
    check_sidecars(recording)
    return recording


def labels_of(name: str) -> dict[str, str]:
    """Subject, session and run in a BIDS file name.

    Examples
    --------
    >>> labels_of("sub-01_ses-b_task-x_run-02_eeg.edf")
    {'subject': '01', 'session': 'b', 'run': '02'}
    """
    return {_LABELS[key]: value for key, value in _ENTITY.findall(name)}


def read_quietly(read: Any, *arguments: Any, path: Path | None = None, **keywords: Any) -> Any:
    """Call a reader of MNE: its errors become `DataError`, and so does a repair of repeated channel names."""
    path = path or next((one for one in arguments if isinstance(one, Path)), None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            opened = read(*arguments, **keywords)
        except DataError:
            raise
        except _READ_ERRORS as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            fix = "check that it is a format that mne.io.read_raw reads, and that the file is whole"
            raise DataError(
                f"MNE cannot read the recording: {reason}", path=path, fix=fix, expected="a recording", found=reason
            ) from error
    for warning in caught:
        text = str(warning.message)
        if "Channel names are not unique" in text:
            fix = "rename the channels in the recording's header"
            raise DataError("channel names repeat", path=path, expected="unique names", found=text, fix=fix)
        if not issubclass(warning.category, DeprecationWarning) and not any(one in text for one in _IDLE_WARNINGS):
            warnings.warn(text, warning.category, stacklevel=3)
    return opened


def _read(path: Path) -> Any:
    import mne

    if path.name.endswith((".fif", ".fif.gz")) and mne.what(path) == "epochs":
        return mne.read_epochs(path, preload=False, verbose="warning")
    if path.suffix != ".set":
        return mne.io.read_raw(path, preload=False, verbose="warning")
    try:
        return mne.io.read_raw_eeglab(path, preload=False, verbose="warning")
    except TypeError:  # how MNE says that it holds several trials
        return mne.read_epochs_eeglab(path, verbose="warning")


def _check_parts(recording: Recording) -> None:
    """The files that a header led to: the further parts of a split FIF, the .fdt of EEGLAB."""
    names = [] if recording.is_epochs else recording.data.filenames
    for part in (Path(name) for name in names if name is not None):
        if part.suffix == ".fdt":
            n_channels = len(recording.data.ch_names)
            check_samples_on_disk(part, n_channels=n_channels, n_times=recording.data.n_times)
        elif part != recording.path and part.name.endswith((".fif", ".fif.gz")):
            check_recording_file(part)


def check_sidecars(recording: Recording, sidecar: Path | None = None, channels: Path | None = None) -> None:
    """Hold a recording against its JSON sidecar and channels.tsv, by default those beside it.

    Raises
    ------
    DataError
        When the sampling rate differs, or the recording is more than 5 % shorter than the sidecar says.
    """
    if recording.path is None:
        return
    stem = recording.path.name.partition(".")[0]
    sidecar = sidecar or recording.path.with_name(f"{stem}.json")
    channels = channels or recording.path.with_name(f"{stem.rpartition('_')[0]}_channels.tsv")
    if sidecar.is_file():
        content = read_json(sidecar)
        _check_rate(recording, content.get("SamplingFrequency"), sidecar)
        declared = content.get("RecordingDuration")
        if isinstance(declared, int | float) and not recording.is_epochs and recording.duration < 0.95 * declared:
            expected = f"{declared:g} s, as {sidecar.name} says"
            fix = "copy the recording again, or correct RecordingDuration"
            found = f"{recording.duration:g} s"
            raise DataError("the recording is cut", path=recording.path, expected=expected, found=found, fix=fix)
    if channels.is_file():
        table = read_table(channels)
        if "sampling_frequency" in table and "type" in table:
            measured = table["type"].astype(str).str.match(_MEASURED)
            for rate in table.loc[measured, "sampling_frequency"].dropna().unique():
                _check_rate(recording, rate, channels)


def _check_rate(recording: Recording, rate: Any, path: Path) -> None:
    """Refuse a sidecar whose sampling rate is not the header's (to a thousandth)."""
    if isinstance(rate, int | float | np.number) and abs(float(rate) - recording.sfreq) > 1e-3 * recording.sfreq:
        raise DataError(
            "sidecar and recording disagree on the sampling rate",
            path=path,
            expected=f"{recording.sfreq:g} Hz, as in the header of {recording.path or 'the recording'}",
            found=f"{float(rate):g} Hz",
            fix="correct the wrong one of the two",
        )
