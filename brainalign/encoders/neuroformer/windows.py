"""Windows of spike trains, from spike times or from a recording in bins, and which stretches of it they cover."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite
from brainalign.errors import DataError, LeakageError
from brainalign.trials import Trials

__all__ = ["bin_spikes", "check_apart", "check_counts", "covered", "spike_windows"]

_EDGE = 1e-9
"""Bins by which a time may fall short of an edge by rounding."""


def bin_spikes(
    times: ArrayLike, units: ArrayLike, starts: ArrayLike, *, n_units: int, n_bins: int, bin_width: float
) -> NDArray[np.float32]:
    """Spike counts of windows that begin at given times.

    Parameters
    ----------
    times, units : array (n_spikes,)
        Seconds, in order, and the unit of each spike, 0 to n_units - 1.
    starts : array (n_windows,)
        Seconds; windows may overlap, and may hold no spike.
    n_units, n_bins : int
    bin_width : float
        Seconds. A bin holds its first edge, not its last.

    Returns
    -------
    array (n_windows, n_units, n_bins)

    Raises
    ------
    DataError
        When times are not finite or not in order, a unit is unknown, or windows have no length.

    Examples
    --------
    >>> bin_spikes([0.1, 0.25, 0.3], [0, 1, 0], [0.0, 0.2], n_units=2, n_bins=2, bin_width=0.1).tolist()
    [[[0.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]
    """
    times, starts, units = np.asarray(times, dtype=float), np.asarray(starts, dtype=float), np.asarray(units)
    if times.ndim != 1 or times.shape != units.shape or starts.ndim != 1 or not starts.size:
        raise DataError(
            "spikes are a time and a unit each, windows a start each",
            expected="times and units of one length, at least one start",
            found=f"{times.shape} times, {units.shape} units, {starts.shape} starts",
        )
    if n_bins < 1 or n_units < 1 or not 0 < bin_width < np.inf:
        raise DataError(
            "these windows are empty",
            expected="n_bins >= 1, n_units >= 1, bin_width > 0 s",
            found=f"n_bins={n_bins}, n_units={n_units}, bin_width={bin_width}",
        )
    check_finite(times, name="times")
    check_finite(starts, name="starts")
    if (late := np.flatnonzero(np.diff(times) < 0)).size:
        raise DataError(
            "spike times are not in order",
            expected="times that never fall",
            found=f"spike {int(late[0]) + 1} comes before spike {int(late[0])}",
            fix="order = np.argsort(times, kind='stable'), for times and units alike",
        )
    if units.size and (units.dtype.kind not in "iu" or units.min() < 0 or units.max() >= n_units):
        raise DataError(
            "a spike of an unknown unit", expected=f"whole numbers from 0 to {n_units - 1}", found=np.unique(units)[-5:]
        )
    counts = np.zeros((len(starts), n_units, n_bins), dtype=np.float32)
    first = np.searchsorted(times, starts - bin_width * _EDGE)
    last = np.searchsorted(times, starts + bin_width * (n_bins - _EDGE))
    row = np.repeat(np.arange(len(starts)), last - first)
    spike = np.arange(len(row)) - np.repeat(np.cumsum(last - first) - last, last - first)
    place = np.floor((times[spike] - starts[row]) / bin_width + _EDGE).astype(int)
    np.add.at(counts, (row, units[spike], np.clip(place, 0, n_bins - 1)), 1)
    return counts


def spike_windows(trials: Trials, n_bins: int, step: int = 1) -> Trials:
    """A recording in bins, a row each, as windows of the last `n_bins` bins before and with a row.

    Parameters
    ----------
    trials : Trials
        (n_bins, n_units), evenly spaced by ``onset`` within each session and run, such as `spikes_reaching` gives.
    n_bins : int
        Of a window: its history and its present.
    step : int
        Bins from a window to the next. Windows with a smaller step than `n_bins` overlap: keep those of training and
        test apart by `brainalign.splits.contiguous_folds` with a gap.

    Returns
    -------
    Trials
        (n_windows, n_units, n_bins) with the table of each window's last bin; times end at 0.

    Raises
    ------
    DataError
        When bins have no onset or are missing, or the recording is shorter than a window.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"stimulus_id": [f"bin-{n}" for n in range(9)], "onset": np.arange(9) * 0.05})
    >>> spike_windows(Trials(np.zeros((9, 3)), table), 4).shape
    (6, 3, 4)
    """
    if trials.times is not None or "onset" not in trials.trials:
        raise DataError(
            "windows are cut from a recording in bins", expected="(n_bins, n_units) with an onset", found=trials.shape
        )
    if n_bins < 1 or step < 1:
        raise DataError("these windows are empty", expected="n_bins >= 1, step >= 1", found=f"{n_bins}, {step}")
    onset, rows = trials.trials["onset"].to_numpy(dtype=float), []
    widths = []
    for run in trials.trials.groupby(["subject", "session", "run"], sort=False, dropna=False).indices.values():
        gaps = np.diff(onset[run])
        if (len(gaps) and not np.allclose(gaps, gaps[0], rtol=1e-3, atol=0)) or np.any(gaps <= 0):
            raise DataError(
                "bins are missing, or out of order",
                expected=f"onsets {np.median(gaps):.4g} s apart",
                found=f"{gaps.min():.4g} to {gaps.max():.4g} s",
                fix="give the stretches runs of their own: trials.with_trials(run=...)",
            )
        widths += [float(np.median(gaps))] if len(gaps) else []
        rows += [run[last - n_bins + 1 : last + 1] for last in range(n_bins - 1, len(run), step)]
    if not rows or not widths:
        raise DataError("the recording is shorter than a window", expected=f"{n_bins} bins", found=f"{len(onset)} bins")
    index = np.stack(rows)
    counts = np.ascontiguousarray(trials.responses[index].transpose(0, 2, 1))
    times = (np.arange(n_bins) - n_bins + 1) * widths[0]
    history = [*trials.history, {"step": "windows", "n_bins": n_bins, "every": step}]
    table = trials.trials.iloc[index[:, -1]].reset_index(drop=True)
    return Trials(counts, table, trials.units, times=times, info={"bin_width": widths[0]}, history=history)


def check_counts(values: np.ndarray, n_units: int) -> None:
    """Refuse what is no spike count among the first channels of (n, n_channels, n_times)."""
    counts = values[:, :n_units]
    if counts.size and (counts.min() < 0 or np.any(counts != np.rint(counts))):
        wrong = counts[(counts < 0) | (counts != np.rint(counts))]
        raise DataError(
            "X holds something else than spike counts",
            expected="whole numbers of at least 0",
            found=float(wrong[0]),
            fix="bin_spikes makes counts of spike times; channels that are no units come last, with n_context",
        )


def covered(trials: Any) -> list[list[Any]]:
    """Stretches of a recording that windows cover: [session, run, start, stop] in seconds; none without onsets."""
    if trials is None or trials.times is None or "onset" not in trials.trials or len(trials.times) < 2:
        return []
    width = float(trials.times[1] - trials.times[0])
    made: list[list[Any]] = []
    for (session, run), rows in trials.trials.groupby(["session", "run"], sort=False, dropna=False).indices.items():
        onset = np.sort(trials.trials["onset"].to_numpy(dtype=float)[rows])
        if len(np.unique(onset)) < len(onset) or not np.isfinite(onset).all():
            continue  # the column does not tell when they were
        first, last = onset + float(trials.times[0]), onset + float(trials.times[-1]) + width
        breaks = np.flatnonzero(first[1:] > last[:-1] + _EDGE) + 1
        for part in np.split(np.arange(len(onset)), breaks):
            made.append([str(session), str(run), float(first[part[0]]), float(last[part[-1]])])
    return made


def check_apart(train: list[list[Any]], test: list[list[Any]]) -> None:
    """Raise `LeakageError` where stretches of training and test (see `covered`) share a bin."""
    for session, run, start, stop in test:
        for other_session, other_run, first, last in train:
            shared = min(stop, last) - max(start, first)
            if (session, run) == (other_session, other_run) and shared > 1e-6:
                raise LeakageError(
                    f"windows of run {run} overlap those fitted on: they share spikes",
                    expected="windows apart",
                    found=f"{shared:.3g} s shared, from {max(start, first):.3g} s on",
                    fix="contiguous folds with a gap of at least a window, or the hyper-parameter gap",
                )
