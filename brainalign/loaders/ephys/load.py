"""From recordings and events to time-resolved `Trials`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.loaders.ephys.channels import Fitness, plan_channels
from brainalign.loaders.ephys.onsets import bad_stretches, epoch_events, find_onsets
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import Recording, open_recording
from brainalign.loaders.ephys.signals import Resampler, correct_baseline
from brainalign.loaders.montage import positions_of_names
from brainalign.spaces import SensorSpace
from brainalign.trials import Trials

__all__ = ["load_ephys", "load_recordings"]

TMIN, TMAX = -0.2, 1.0
Window = tuple[float | None, float | None]


@dataclass(frozen=True)
class _Run:
    """Trials of one recording, before runs are joined."""

    responses: np.ndarray
    table: pd.DataFrame
    units: pd.DataFrame
    times: np.ndarray
    sfreq: float
    frame: str
    asked: list[str]
    dropped: dict[str, Any]


def load_ephys(
    recording: Any,
    *,
    events: Any = None,
    tmin: float | None = None,
    tmax: float | None = None,
    **options: Any,
) -> Trials:
    """Load EEG, MEG or intracranial recordings as time-resolved trials.

    Parameters
    ----------
    recording : path, mne.io.Raw, mne.Epochs, or a sequence of them
        Anything that `mne.io.read_raw` reads (FIF, EDF, BDF, BrainVision, EEGLAB, ...), epochs as FIF or ``.set``.
        A sequence is taken as runs of one subject.
    events : path, DataFrame, ndarray of int, str or None
        ``events.tsv``, an MNE event file or array, ``"annotations"``, ``"stim"``, or a trigger channel's name; a
        list of these, one a run. None takes the annotations; epochs bring their own events.
    tmin, tmax : float, optional
        Window around each event in seconds, both ends included; -0.2 and 1 for continuous recordings, the whole
        epoch for epochs.
    **options
        `EphysOptions`: picks, bads, channel_type, regions, region_column, nan, reference, notch, l_freq, h_freq,
        high_gamma, envelope, event_id, reject_by_annotation, edges, resample, baseline; applied in this order.

    Returns
    -------
    Trials
        Responses (n_trials, n_channels, n_times), float32, in SI units (volts, tesla); units with name, type,
        region and x, y, z in metres; the `SensorSpace` leads back to MNE (``trials.to_evoked()``). What was dropped
        stands in the history. One run at a time is held in memory.

    Raises
    ------
    DataError
        For a recording that is cut, holds NaN or flat channels, has repeated or unknown channels, disagrees with its
        sidecar on the sampling rate; for events outside it, in milliseconds, or with a window over its edge.

    Examples
    --------
    >>> import mne
    >>> info = mne.create_info(["O1", "O2"], sfreq=100.0, ch_types="eeg")
    >>> raw = mne.io.RawArray(np.random.default_rng(0).standard_normal((2, 1000)) * 1e-6, info, verbose="error")
    >>> table = pd.DataFrame({"onset": [2.0, 5.0], "stimulus_id": ["cat", "dog"]})
    >>> load_ephys(raw, events=table, tmin=0.0, tmax=0.5).shape
    (2, 2, 51)
    """
    several = isinstance(recording, Sequence) and not isinstance(recording, str)
    sources = list(recording) if several else [recording]
    chosen = EphysOptions.of(options)
    per_run = _events_per_run(events, len(sources))
    opened = (open_recording(source) for source in sources)
    return load_recordings(opened, per_run, window=(tmin, tmax), options=chosen)


def _events_per_run(events: Any, n_runs: int) -> list[Any]:
    if isinstance(events, list | tuple):
        if len(events) != n_runs or not n_runs:
            raise DataError(
                "recordings and events differ in number",
                expected=n_runs,
                found=len(events),
                fix="give a list of events, one for each recording",
            )
        return list(events)
    from_recording = events is None or (isinstance(events, str) and not Path(events).suffix)
    if n_runs != 1 and not from_recording:
        what, fix = "one set of events for several runs", "events=[one for each run]"
        raise DataError(what, expected=f"{n_runs} sets", found=1, fix=fix)
    return [events] * n_runs


def load_recordings(
    recordings: Iterable[Recording], events: Sequence[Any], *, window: Window, options: EphysOptions
) -> Trials:
    """The same from opened `Recording`s and one events source each."""
    runs = []
    for number, (recording, source) in enumerate(zip(recordings, events, strict=True), start=1):
        load = _load_epochs if recording.is_epochs else _load_continuous
        run = load(recording, source, window, options)
        labels = {"subject": "1", "session": "1", "run": str(number), **recording.labels}
        new = {name: value for name, value in labels.items() if name not in run.table}
        runs.append(replace(run, table=run.table.assign(**new)))
    return _join(runs, options)


def _load_continuous(recording: Recording, events: Any, window: Window, options: EphysOptions) -> _Run:
    table = find_onsets(recording, events, options.event_id)
    first = TMIN if window[0] is None else window[0]
    last = TMAX if window[1] is None else window[1]
    offsets = _sample_offsets(first, last, recording.sfreq)
    table, dropped = _inside(recording, table, offsets, options)
    channels = plan_channels(recording, options)
    data = recording.data.get_data(picks=channels.rows)
    fitness = Fitness(len(channels.rows))
    fitness.look_at(data)
    names = channels.units["name"].tolist()
    good = fitness.good(names, options.nan, recording.path)
    data, units = channels.prepare(data, good, recording.sfreq, options)
    resampler = Resampler(offsets / recording.sfreq, recording.sfreq, options.resample)
    starts = np.round(table["onset"].to_numpy() * recording.sfreq).astype(int) + offsets[0]
    n_samples = len(offsets) + 2 * resampler.margin
    windows = np.lib.stride_tricks.sliding_window_view(_mirrored(data, resampler.margin), n_samples, axis=-1)
    shape = (len(table), len(units), n_samples)
    responses = _collect(lambda rows: windows[:, starts[rows]].swapaxes(0, 1), shape, resampler, options)
    if not good.all():
        dropped["channels"] = [name for name, fit in zip(names, good, strict=True) if not fit]
    sfreq = options.resample or recording.sfreq
    return _Run(responses, table, units, resampler.times, sfreq, channels.frame, channels.wanted, dropped)


def _load_epochs(recording: Recording, events: Any, window: Window, options: EphysOptions) -> _Run:
    if events is not None:
        raise DataError(
            "epochs bring their own events",
            path=recording.path,
            found="events=",
            fix="leave events out",
            expected="no events",
        )
    if not recording.data.preload:  # MNE applies rejection limits only now
        recording = replace(recording, data=recording.data.copy().drop_bad(verbose="error"))
    table = epoch_events(recording, options.event_id)
    kept = table.pop("row").to_numpy()
    inside = _window_inside(recording, window)
    channels = plan_channels(recording, options)
    sfreq, names = recording.sfreq, channels.units["name"].tolist()

    def read(rows: slice) -> np.ndarray:
        return recording.data[kept[rows]].get_data(picks=channels.rows, verbose="error")

    fitness = Fitness(len(names))
    for rows in row_blocks(len(kept), 8 * len(names) * len(recording.data.times)):
        fitness.look_at(read(rows))
    good = fitness.good(names, options.nan, recording.path)
    resampler = Resampler(np.asarray(recording.data.times)[inside], sfreq, options.resample)
    first, last = np.flatnonzero(inside)[[0, -1]] + [0, 1 + 2 * resampler.margin]

    def take(rows: slice) -> np.ndarray:
        data = channels.prepare(read(rows), good, sfreq, options)[0]
        return _mirrored(data, resampler.margin)[..., first:last]

    units = channels.prepare(read(slice(0, 1)), good, sfreq, options)[1]
    responses = _collect(take, (len(kept), len(units), last - first), resampler, options)
    dropped = {} if good.all() else {"channels": [name for name, fit in zip(names, good, strict=True) if not fit]}
    new_sfreq = options.resample or sfreq
    return _Run(responses, table, units, resampler.times, new_sfreq, channels.frame, channels.wanted, dropped)


def _window_inside(recording: Recording, window: Window) -> np.ndarray:
    """Which times of the epochs lie in the window."""
    times = np.asarray(recording.data.times)
    slack = 0.5 / recording.sfreq
    first, last = (times[0] if window[0] is None else window[0], times[-1] if window[1] is None else window[1])
    if first < times[0] - slack or last > times[-1] + slack or last < first:
        expected = f"within {times[0]:.3f} to {times[-1]:.3f} s"
        raise DataError(
            "the window leaves the epochs",
            path=recording.path,
            expected=expected,
            found=(first, last),
            fix="choose tmin and tmax within them",
        )
    return (times >= first - slack) & (times <= last + slack)


def _sample_offsets(first: float, last: float, sfreq: float) -> np.ndarray:
    """Samples of the window relative to the event, both ends included."""
    if not first < last:
        raise DataError(
            "the window is empty", expected="tmin below tmax", found=(first, last), fix="raise tmax or lower tmin"
        )
    return np.arange(round(first * sfreq), round(last * sfreq) + 1)


def _inside(
    recording: Recording, table: pd.DataFrame, offsets: np.ndarray, options: EphysOptions
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Trials whose window lies within the recording and outside bad stretches; counts of the others."""
    onset = table["onset"].to_numpy()
    samples = np.round(onset * recording.sfreq)
    over = (samples + offsets[0] < 0) | (samples + offsets[-1] >= recording.data.n_times)
    if over.any() and options.edges == "raise":
        raise DataError(
            f"the window of {int(over.sum())} of {len(table)} trials leaves the recording",
            path=recording.path,
            expected=f"onset + window within 0 to {recording.duration:.3f} s",
            found=f"onset {onset[over][0]:.3f} s with window {offsets[[0, -1]] / recording.sfreq} s",
            fix="shorten tmin and tmax, or pass edges='drop'",
        )
    first, last = onset + offsets[0] / recording.sfreq, onset + offsets[-1] / recording.sfreq
    spoilt = np.zeros(len(table), dtype=bool)
    if options.reject_by_annotation:
        for start, stop in bad_stretches(recording):
            spoilt |= (first <= stop) & (last >= start)
    kept = ~over & ~spoilt
    if not kept.any():
        found = f"{int(over.sum())} over the edge, {int(spoilt.sum())} in bad stretches"
        raise DataError(
            "no trial is left",
            path=recording.path,
            expected="at least one",
            found=found,
            fix="shorten tmin and tmax, or pass reject_by_annotation=False",
        )
    counts = {"trials_over_edge": int(over.sum()), "trials_in_bad_stretches": int((spoilt & ~over).sum())}
    return table[kept].reset_index(drop=True), {name: count for name, count in counts.items() if count}


def _mirrored(data: np.ndarray, margin: int) -> np.ndarray:
    """Data with `margin` samples of itself mirrored at both ends of time."""
    if not margin:
        return data
    return np.pad(data, [(0, 0)] * (data.ndim - 1) + [(margin, margin)], mode="reflect")


def _collect(
    take: Callable[[slice], np.ndarray], shape: tuple[int, int, int], resampler: Resampler, options: EphysOptions
) -> np.ndarray:
    """Cut, resample and correct trials block by block, so that only the float32 result is held whole.

    `take(rows)` gives trials (n_rows, n_channels, n_times), of all of which `shape` speaks.
    """
    n_trials, n_channels, n_times = shape
    made = np.empty((n_trials, n_channels, len(resampler.times)), dtype=np.float32)
    divide = options.high_gamma is not None and options.envelope == "ratio"
    for rows in row_blocks(n_trials, 32 * n_channels * n_times):
        block = resampler.apply(np.asarray(take(rows), dtype=np.float64))
        if options.baseline is not None:
            block = correct_baseline(block, resampler.times, options.baseline, divide=divide)
        made[rows] = block
    return made


def _join(runs: list[_Run], options: EphysOptions) -> Trials:
    """One Trials of all runs; channels dropped in one run are dropped in all."""
    first = runs[0]
    for number, run in enumerate(runs, start=1):
        _same_grid(first, run, number)
    here = set.intersection(*(set(run.units["name"]) for run in runs))
    names = [name for name in first.units["name"] if name in here]
    if not names:
        raise DataError(
            "no channel is fit in all runs",
            found=[run.dropped for run in runs],
            fix="leave a run out",
            expected="at least one",
        )
    parts = [_in_order(run, names) for run in runs]
    step: dict[str, Any] = {"step": "load_ephys", **options.record()}
    dropped = [{"run": number, **run.dropped} for number, run in enumerate(runs, start=1) if run.dropped]
    units = first.units.set_index("name", drop=False).loc[names].reset_index(drop=True)
    return Trials(
        parts[0] if len(parts) == 1 else np.concatenate(parts),
        pd.concat([run.table for run in runs], ignore_index=True),
        units,
        times=first.times,
        space=SensorSpace(first.sfreq, first.frame),
        history=[{**step, "dropped": dropped} if dropped else step],
        info={"modality": "+".join(sorted(set(units["type"])))},
    )


def _in_order(run: _Run, names: list[str]) -> np.ndarray:
    known = run.units["name"].tolist()
    return run.responses if known == names else run.responses[:, positions_of_names(names, known)]


def _same_grid(first: _Run, run: _Run, number: int) -> None:
    if differing := sorted(set(first.asked) ^ set(run.asked)):
        what, fix = f"run {number} has other channels", "picks=[the channels that all runs have]"
        raise DataError(what, expected=first.asked[:5], found=f"in one of them only: {differing[:5]}", fix=fix)
    if len(run.times) != len(first.times) or np.abs(run.times - first.times).max() > 0.5 / first.sfreq:
        raise DataError(
            f"run {number} has another sampling rate or window",
            expected=f"{len(first.times)} times at {first.sfreq:g} Hz",
            found=f"{len(run.times)} times at {run.sfreq:g} Hz",
            fix="resample=... brings runs to one rate",
        )
