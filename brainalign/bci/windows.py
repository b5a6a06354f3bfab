"""Overlapping windows of continuous recordings, labelled by the task that fills most of each.

A run is a train of tasks: each event starts one, which lasts `duration`; all else is idle. A window takes the label
that most of its samples carry; on a tie the later one, as in Carrara & Papadopoulo (2024), "Pseudo-online framework
for BCI evaluation: a MOABB perspective using various MI and SSVEP datasets", J. Neural Eng. 21.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import DataError

__all__ = ["IDLE", "label_samples", "label_windows"]

IDLE = "idle"


def label_samples(
    onsets: ArrayLike, labels: ArrayLike, n_samples: int, duration: int
) -> tuple[NDArray[np.int64], list[str]]:
    """Class of every sample of a run: 0 for idle, else 1 + the position in the sorted names.

    Parameters
    ----------
    onsets : array of int (n_events,)
        Samples at which tasks start, ascending.
    labels : array of str (n_events,)
    n_samples : int
    duration : int
        Samples that a task lasts; a new event ends the task before it.

    Returns
    -------
    codes : array of int (n_samples,)
    names : list of str
        Names of the codes, idle first.

    Raises
    ------
    DataError
        When events lie outside the run or are out of order.

    Examples
    --------
    >>> label_samples([1, 4], ["left", "right"], 7, 2)
    (array([0, 1, 1, 0, 2, 2, 0]), ['idle', 'left', 'right'])
    """
    starts, classes = np.asarray(onsets, dtype=np.int64), np.asarray(labels).astype(str)
    if starts.ndim != 1 or starts.shape != classes.shape:
        raise DataError("each event needs an onset and a label", found=f"{starts.shape} and {classes.shape}")
    if len(starts) and (starts.min() < 0 or starts.max() >= n_samples):
        raise DataError(
            "events lie outside the recording",
            expected=f"samples 0 to {n_samples - 1}",
            found=f"{starts.min()} to {starts.max()}",
            fix="onsets count from the first sample of the run (take off raw.first_samp)",
        )
    if duration < 1 or (np.diff(starts) <= 0).any():
        raise DataError("events must follow each other, each with a duration", expected="ascending, duration >= 1")
    names = [IDLE, *sorted(set(classes.tolist()) - {IDLE})]
    codes = np.zeros(n_samples, dtype=np.int64)
    for start, label in zip(starts, classes):
        codes[start : start + duration] = names.index(label)
    return codes, names


def label_windows(codes: ArrayLike, *, width: int, step: int) -> pd.DataFrame:
    """Windows over the samples of a run.

    Parameters
    ----------
    codes : array of int (n_samples,)
        Class of each sample.
    width, step : int
        Samples of a window, and between the starts of two.

    Returns
    -------
    DataFrame
        One row per whole window: ``start``, ``stop`` (samples, end excluded), ``code`` of the majority (on a tie the
        class whose last sample in the window is later), ``purity`` (share of its samples with that code).

    Examples
    --------
    >>> label_windows([0, 0, 1, 1, 1], width=4, step=1)
       start  stop  code  purity
    0      0     4     1    0.50
    1      1     5     1    0.75
    """
    codes = np.asarray(codes, dtype=np.int64)
    if codes.ndim != 1 or width < 1 or step < 1:
        raise DataError("windows need a line of codes, a width and a step of at least one sample", found=codes.shape)
    if width > len(codes):
        raise DataError("the window is longer than the recording", expected=f"at most {len(codes)}", found=width)
    starts = np.arange(0, len(codes) - width + 1, step)
    n_classes = int(codes.max()) + 1
    counts, last = np.empty((n_classes, len(starts))), np.empty((n_classes, len(starts)))
    for code in range(n_classes):
        mine = codes == code
        total = np.concatenate([[0], np.cumsum(mine)])
        seen = np.maximum.accumulate(np.where(mine, np.arange(len(codes)), -1))
        counts[code], last[code] = total[starts + width] - total[starts], seen[starts + width - 1]
    # A later last sample breaks a tie; it adds less than one vote.
    winner = (counts + last / (len(codes) + 1)).argmax(axis=0)
    purity = counts[winner, np.arange(len(starts))] / width
    return pd.DataFrame({"start": starts, "stop": starts + width, "code": winner, "purity": purity})
