"""BCI Competition IV, data set 2a: imagined movements, from its MATLAB files or through MOABB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.containers import read_mat
from brainalign.loaders.datasets.shared import one_file
from brainalign.loaders.ephys.load import load_recordings
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import Recording
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_bci_iv_2a"]

_NAMES = [
    "Fz", "FC3", "FC1", "FCz", "FC2", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6",
    "CP3", "CP1", "CPz", "CP2", "CP4", "P1", "Pz", "P2", "POz", "EOG1", "EOG2", "EOG3",
]  # fmt: skip
_CLASSES = {1: "left_hand", 2: "right_hand", 3: "feet", 4: "tongue"}


def load_bci_iv_2a(spec: DatasetSpec, root: Path | None, *, subject: Name, **options: Any) -> Trials:
    """Load BCI Competition IV data set 2a (Tangermann et al. 2012): imagined movement of hands, feet and tongue.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them; a root of None lets MOABB find or download the files.
    **options
        ``tmin`` and ``tmax`` from the start of the trial (the cue comes at 2 s; 2 and 6 s by default), and
        `EphysOptions`; only EEG is picked by default.

    Returns
    -------
    Trials
        stimulus_id and label name the movement; session "0train" or "1test", run as MOABB numbers them. Volts.

    Raises
    ------
    DataError
        When files are missing or not of this data set.
    """
    window = (options.pop("tmin", spec.fact("tmin")), options.pop("tmax", spec.fact("tmax")))
    chosen = EphysOptions.of({"picks": "eeg", **options})
    source = _from_moabb(int(subject)) if root is None else _from_files(spec, root, subject)
    recordings, events = [], []
    for session, run, raw, codes in source:
        recordings.append(Recording(raw, None, {"subject": str(subject), "session": session, "run": run}))
        names = [_CLASSES[code] for code in codes["code"]]
        events.append(codes.drop(columns="code").assign(stimulus_id=names, label=names, duration=4.0))
    return load_recordings(recordings, events, window=window, options=chosen)


def _from_moabb(subject: int) -> Iterator[tuple[str, str, Any, pd.DataFrame]]:
    import mne
    from moabb.datasets import BNCI2014_001

    for session, runs in BNCI2014_001().get_data([subject])[subject].items():
        for run, raw in runs.items():
            codes = mne.find_events(raw, shortest_event=1, verbose="error")
            onset = (codes[:, 0] - raw.first_samp) / raw.info["sfreq"]
            yield session, run, raw, pd.DataFrame({"onset": onset, "code": codes[:, 2]})


def _from_files(spec: DatasetSpec, root: Path, subject: Name) -> Iterator[tuple[str, str, Any, pd.DataFrame]]:
    import mne

    for session, part in {"0train": "T", "1test": "E"}.items():
        pattern = spec.relative("recording", subject=subject, part=part)
        path = one_file(root, pattern, Path(pattern).name)
        counted = [run for run in _read_runs(path) if run[1].size]
        for number, (data, start, y, rate, artifact) in enumerate(counted):
            if data.ndim != 2 or data.shape[1] != len(_NAMES) or not set(y.tolist()) <= set(_CLASSES):
                raise _foreign(
                    path, f"(n_samples, {len(_NAMES)}) and classes 1 to 4", f"{data.shape}, {set(y.tolist())}"
                )
            info = mne.create_info(_NAMES, rate, ["eeg"] * 22 + ["eog"] * 3)
            raw = mne.io.RawArray(1e-6 * data.T, info, verbose="error")  # microvolts to volts
            raw.set_montage("easycap-M1", on_missing="ignore", verbose="error")
            # Samples count from 1 in MATLAB.
            codes = pd.DataFrame({"onset": (start.astype(float) - 1) / rate, "code": y.astype(int)})
            yield session, str(number), raw, codes.assign(artifact=artifact)


def _read_runs(path: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray]]:
    """Samples (n_samples, n_channels), starts of the trials, classes, rate and artefact marks of each run."""
    content = read_mat(path, ["data"], struct_as_record=False, squeeze_me=True)
    try:
        runs = np.atleast_1d(content["data"])
        parts = [(np.asarray(run.X), np.atleast_1d(run.trial), np.atleast_1d(run.y), float(run.fs)) for run in runs]
        flags = [np.atleast_1d(run.artifacts).astype(bool) for run in runs]
    except (AttributeError, TypeError, ValueError) as error:
        raise _foreign(path, "runs with X, trial, y, fs and artifacts", str(error)) from error
    return [(*part, flag) for part, flag in zip(parts, flags, strict=True)]


def _foreign(path: Path, expected: str, found: str) -> DataError:
    fix = "take the files of BNCI Horizon 2020, 001-2014"
    return DataError("not a file of BCI IV 2a", path=path, expected=expected, found=found, fix=fix)
