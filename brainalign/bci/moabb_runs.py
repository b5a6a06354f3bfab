"""Runs as MOABB reads them: an `mne.io.Raw` annotated with its events; from recordings, trials, BIDS or specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.errors import DataError, closest
from brainalign.loaders.datasets.bci_runs import RUN_LOADERS, recordings_of
from brainalign.loaders.ephys.bids import bids_events, find_bids_recordings, open_bids_recording
from brainalign.loaders.ephys.onsets import bad_stretches, find_onsets
from brainalign.loaders.ephys.recording import Recording, open_recording
from brainalign.loaders.registry import load, spec_folder
from brainalign.specs import DatasetSpec
from brainalign.trials import Trials

__all__ = ["bids_runs", "opened_run", "runs_of_trials", "spec_runs"]

_PAD = 1.0
"""Seconds of itself, mirrored, on both sides of a trial that comes without what was around it."""


def opened_run(run: Any, event_id: Mapping[str, int]) -> Any:
    """Open a run and annotate the events that are classes; triggers are taken out, so that MOABB reads these only.

    Parameters
    ----------
    run : Raw or (recording, events, names of integer events)
    event_id : mapping of str to int
        The classes of the dataset.

    Returns
    -------
    mne.io.Raw
        A copy, loaded. Stretches annotated ``BAD`` keep their annotation.
    """
    import mne

    if not isinstance(run, tuple):
        return run
    source, events, names = run if len(run) == 3 else (*run, None)
    recording = source if isinstance(source, Recording) else open_recording(source)
    table = find_onsets(recording, events, names)
    labels = table["trial_type" if "trial_type" in table else "stimulus_id"].astype(str)
    kept = labels.isin(list(event_id)).to_numpy()
    if not kept.any():
        raise DataError(
            "a run holds no event of any class",
            path=recording.path,
            expected=list(event_id),
            found=sorted(set(labels))[:12],
        )
    dated = recording.data.info["meas_date"]
    # Without a date annotations count from the first sample that is there, with one from the first that was recorded.
    first = recording.data.first_time if dated else 0.0
    bad = bad_stretches(recording)
    annotations = mne.Annotations(
        np.concatenate([table["onset"].to_numpy()[kept], bad[:, 0]]) + first,
        np.concatenate([np.zeros(int(kept.sum())), bad[:, 1] - bad[:, 0]]),
        [*labels[kept], *["BAD"] * len(bad)],
        orig_time=dated,
    )
    raw = recording.data.copy().load_data(verbose="error")
    triggers = mne.pick_types(raw.info, meg=False, stim=True)
    return raw.drop_channels([raw.ch_names[at] for at in triggers]).set_annotations(annotations, verbose="error")


def runs_of_trials(trials: Trials, label: str | None) -> dict[str, Any]:
    """Trials as runs: trial after trial, each between mirrored copies of itself so that filters find no edge there."""
    if trials.times is None:
        raise DataError("trials have no time axis", expected="(n_trials, n_channels, n_times)", found=trials.shape)
    table = trials.trials
    label = label or ("trial_type" if "trial_type" in table else "stimulus_id")
    if label not in table:
        raise DataError(f"trials have no column '{label}'.{closest(label, table)}", expected=list(table.columns))
    spacing = np.diff(trials.times)
    if np.ptp(spacing) > 1e-6 * spacing[0]:
        raise DataError("times are not evenly spaced", expected="one sampling rate", found=np.unique(spacing)[:3])
    subjects = {_whole(name): name for name in table["subject"].unique()}

    def runs_of(subject: Any) -> dict[Any, dict[Any, Any]]:
        mine = table[table["subject"] == subjects[subject]]
        return {
            session: {run: _one_run(trials, rows.index.to_numpy(), label) for run, rows in part.groupby("run")}
            for session, part in mine.groupby("session")
        }

    return {
        "subjects": list(subjects),
        "n_sessions": int(table.groupby("subject")["session"].nunique().min()),
        "runs_of": runs_of,
        "modality": _modality(_types(trials)),
        "events": sorted(table[label].astype(str).unique()),
        "interval": (float(trials.times[0]), float(trials.times[-1])),
    }


def _one_run(trials: Trials, rows: np.ndarray, label: str) -> Any:
    """A Raw with one annotation a trial, at its time zero."""
    import mne

    assert trials.times is not None
    sfreq = 1 / float(np.median(np.diff(trials.times)))
    n_times = len(trials.times)
    pad = min(round(_PAD * sfreq), n_times - 1)
    data = trials.responses[rows].astype(np.float64)
    padded = np.pad(data, [(0, 0), (0, 0), (pad, pad)], mode="reflect", reflect_type="odd")
    info = mne.create_info(trials.units["name"].tolist(), sfreq, _types(trials))
    # Time zero may lie before the first trial or behind the last: MOABB's interval leads from there to the window.
    zero = round(float(trials.times[0]) * sfreq)
    lead, tail = max(0, zero - pad), max(0, -zero - n_times - pad + 1)
    flat = np.pad(padded.swapaxes(0, 1).reshape(len(info.ch_names), -1), [(0, 0), (lead, tail)], mode="edge")
    raw = mne.io.RawArray(flat, info, verbose="error")
    onset = (lead + np.arange(len(rows)) * (n_times + 2 * pad) + pad - zero) / sfreq
    names = trials.trials.loc[rows, label].astype(str).tolist()
    return raw.set_annotations(mne.Annotations(onset, 0.0, names), verbose="error")


def bids_runs(root: str | PathLike[str], *, task: str | None, datatype: str | None) -> dict[str, Any]:
    """Subjects of a BIDS folder; recordings are read when they are asked for."""
    folder = Path(root)
    names = sorted(one.name[4:] for one in folder.glob("sub-*") if one.is_dir())
    if not names:
        raise DataError("no subject in this folder", path=folder, expected="sub-... folders", found="none")
    subjects = {_whole(name): name for name in names}

    def listed(subject: Any) -> list[Any]:
        wanted = {"subject": subjects[subject], "task": task, "datatype": datatype}
        return find_bids_recordings(folder, {name: value for name, value in wanted.items() if value is not None})

    def runs_of(subject: Any) -> dict[Any, dict[Any, Any]]:
        made: dict[Any, dict[Any, Any]] = {}
        for path in listed(subject):
            run = (open_bids_recording(folder, path), bids_events(folder, path), None)
            made.setdefault(path.session or "1", {})[path.run or "1"] = run
        return made

    paths = {subject: listed(subject) for subject in subjects}
    return {
        "subjects": list(subjects),
        "n_sessions": min(len({path.session for path in some}) for some in paths.values()),
        "runs_of": runs_of,
        "modality": next(iter(paths.values()))[0].datatype,
    }


def spec_runs(name: str, *, root: str | PathLike[str] | None, subjects: Sequence[Any] | None) -> dict[str, Any]:
    """Subjects of a data spec: whole recordings where its files are such, else the trials that its loader makes."""
    spec = DatasetSpec.load(name)
    if spec.loader == "ephys_bids":
        return bids_runs(spec_folder(spec, root), task=None, datatype=None)
    chosen = {_whole(one): spec.subject(one) for one in subjects or spec.subjects}
    facts = spec.facts
    known: dict[str, Any] = {"subjects": list(chosen), "modality": spec.modality}
    known["n_sessions"] = int(spec.fact("sessions")) if "sessions" in facts else 1
    if "tmin" in facts and "tmax" in facts:
        known["interval"] = (float(spec.fact("tmin")), float(spec.fact("tmax")))
    if "classes" in facts:
        known["events"] = [str(one).replace(" ", "_") for one in spec.fact("classes")]
    if spec.loader in RUN_LOADERS:
        folder = spec_folder(spec, root)
        return known | {"runs_of": lambda subject: recordings_of(spec, folder, chosen[subject])}

    def runs_of(subject: Any) -> dict[Any, dict[Any, Any]]:
        trials = load(name, root=root, subject=chosen[subject])
        if not isinstance(trials, Trials) or trials.times is None:
            raise DataError(f"'{name}' holds no trials over time", expected="EEG, MEG or sEEG", found=spec.modality)
        made = runs_of_trials(trials, None)
        return made["runs_of"](made["subjects"][0])

    return known | {"runs_of": runs_of}


def _whole(name: Any) -> Any:
    """A subject as MOABB has them: a number where the name is one."""
    return int(name) if str(name).isdigit() else str(name)


def _types(trials: Trials) -> list[str]:
    return trials.units["type"].tolist() if "type" in trials.units else ["eeg"] * trials.n_units


def _modality(types: Sequence[str]) -> str:
    return "ieeg" if {"seeg", "ecog", "dbs"} & set(types) else "meg" if {"mag", "grad"} & set(types) else "eeg"
