"""BCI recordings whose runs are whole files: the EEG Motor Movement/Imagery Database and SSVEP for an exoskeleton."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.ephys.load import load_recordings
from brainalign.loaders.ephys.onsets import find_onsets
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import Recording, open_recording
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["RUN_LOADERS", "load_eegmmidb", "load_ssvep_exo", "recordings_of"]

_TASKS = {"hands": {"T1": "left_hand", "T2": "right_hand"}, "fists_feet": {"T1": "hands", "T2": "feet"}}
Runs = dict[str, dict[str, tuple[Recording, pd.DataFrame]]]
"""{session: {run: (recording, events)}}."""


def load_eegmmidb(spec: DatasetSpec, root: Path, *, subject: Name, executed: bool = False, **options: Any) -> Trials:
    """Imagined movement of the left or right fist, both fists or both feet (Schalk et al. 2004).

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    executed : bool
        The runs in which the movement was made instead.
    **options
        ``tmin`` and ``tmax``, and `EphysOptions`.

    Returns
    -------
    Trials
        ``label`` (and stimulus_id) is left_hand, right_hand, hands or feet; ``run`` the number in the file's name.
    """
    return _trials(spec, _eegmmidb(spec, root, subject, executed=executed), options)


def load_ssvep_exo(spec: DatasetSpec, root: Path, *, subject: Name, **options: Any) -> Trials:
    """Flicker at 13, 17 or 21 Hz, or rest, in two sessions (the data of MOABB's ``Kalunga2016``).

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    **options
        ``tmin`` and ``tmax``, and `EphysOptions`.

    Returns
    -------
    Trials
        ``label`` (and stimulus_id) is rest, 13, 17 or 21; session 1 or 2.
    """
    return _trials(spec, _ssvep_exo(spec, root, subject), options)


def recordings_of(spec: DatasetSpec, root: Path, subject: Name) -> Runs:
    """The whole recordings of a subject with their events, for evaluations that run through time."""
    return RUN_LOADERS[spec.loader](spec, root, subject)


def _trials(spec: DatasetSpec, sessions: Runs, options: dict[str, Any]) -> Trials:
    window = (options.pop("tmin", spec.fact("tmin")), options.pop("tmax", spec.fact("tmax")))
    chosen = EphysOptions.of({"picks": "eeg", **options})
    flat = [one for runs in sessions.values() for one in runs.values()]
    tables = [table.assign(label=table["stimulus_id"]) for _, table in flat]
    return load_recordings([one for one, _ in flat], tables, window=window, options=chosen)


def _eegmmidb(spec: DatasetSpec, root: Path, subject: Name, *, executed: bool = False) -> Runs:
    import mne

    known = mne.channels.get_builtin_montages()
    montage = next(name for name in ("colin27_1005", "standard_1005") if name in known)  # the second is its older name
    way = "executed" if executed else "imagined"
    names = {run: _TASKS[task] for task in _TASKS for run in spec.fact(f"{way}_{task}")}
    runs = {}
    for run in sorted(names):
        recording = open_recording(spec.path(root, "recording", subject=subject, run=run))
        clean = {name: _electrode(name) for name in recording.data.ch_names}
        data = recording.data.copy().rename_channels(clean, verbose="error")
        data.set_montage(montage, on_missing="ignore", verbose="error")
        recording = Recording(data, recording.path, {"subject": str(subject), "session": "1", "run": str(run)})
        table = find_onsets(recording, "annotations", ["T1", "T2"])
        label = table["trial_type"].map(names[run])
        runs[str(run)] = (recording, table.assign(trial_type=label, stimulus_id=label))
    return {"1": runs}


def _electrode(name: str) -> str:
    """The 10-05 name of a channel: ``Fc5.`` is FC5, ``Cz..`` is Cz.

    Examples
    --------
    >>> [_electrode(name) for name in ("Fc5.", "Cz..", "Fp1.", "Iz..", "T10.")]
    ['FC5', 'Cz', 'Fp1', 'Iz', 'T10']
    """
    bare = name.rstrip(".").upper()
    return re.sub("^FP", "Fp", re.sub("Z$", "z", bare))


def _ssvep_exo(spec: DatasetSpec, root: Path, subject: Name) -> Runs:
    event_id = dict(zip(spec.fact("classes"), spec.fact("codes"), strict=True))
    paths = sorted(spec.paths(root, "recording", subject=subject))
    if len(paths) != spec.fact("sessions"):
        raise DataError(
            "a subject has another number of sessions",
            path=root / f"subject{int(subject):02d}",
            expected=spec.fact("sessions"),
            found=len(paths),
            fix=AGAIN,
        )
    made: Runs = {}
    for number, path in enumerate(paths, start=1):
        opened = open_recording(path)
        recording = Recording(opened.data, path, {"subject": str(subject), "session": str(number), "run": "1"})
        events = path.with_name(path.name.removesuffix("_raw.fif") + "-eve.fif")
        table = find_onsets(recording, events, event_id)
        if not np.isin(table["value"], spec.fact("codes")).all():
            raise DataError(
                "unknown event codes", path=events, expected=event_id, found=sorted(set(table["value"])), fix=AGAIN
            )
        made[str(number)] = {"1": (recording, table)}
    return made


RUN_LOADERS = {"eegmmidb": _eegmmidb, "ssvep_exo": _ssvep_exo}
