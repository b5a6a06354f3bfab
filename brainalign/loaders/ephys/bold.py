"""EEG and BOLD recorded together: the window of EEG before each volume, beside the BOLD of regions at that volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.loaders.ephys.recording import open_recording
from brainalign.trials import Trials

__all__ = ["pair_bold"]

_EDGE = 1e-6
"""A volume may come so many samples after one and still be that sample's: clocks are written with few digits."""


def pair_bold(
    recording: Any,
    bold: ArrayLike | pd.DataFrame,
    *,
    onsets: ArrayLike,
    window: float = 16.0,
    channels: Sequence[str] | None = None,
    labels: Mapping[str, Any] | None = None,
) -> tuple[Trials, Latents]:
    """Cut the EEG before each volume, and name the BOLD of that volume.

    A window ends with the last sample before its volume: nothing of the EEG from the volume on is in it, unless a
    filter of zero phase has brought it there. Where volumes are equally many samples apart, windows are a view of the
    recording; else each is copied.

    Parameters
    ----------
    recording : path, mne.io.Raw, or (array, float)
        Continuous EEG, as a file, or as numbers (n_channels, n_samples) with their rate in hertz.
    bold : array (n_volumes, n_rois) or DataFrame
        Columns of a table name the regions.
    onsets : array (n_volumes,)
        Seconds of each volume from the first sample of the recording, ascending.
    window : float
        Seconds.
    channels : sequence of str, optional
        Which to take, in this order, so that recordings of other montages agree; all by default. They name the rows of
        an array.
    labels : mapping, optional
        subject, session and run, each 1 by default; volumes of different runs get different ids by them.

    Returns
    -------
    trials : Trials
        (n_volumes, n_channels, n_times) of float32, with ``onset``; times end just before 0.
    bold : Latents
        (n_volumes, n_rois), names of the regions in ``meta["rois"]``.

    Raises
    ------
    DataError
        When a window begins before the recording or ends after it, a channel is missing, onsets and BOLD do not
        match, or something is not finite.

    Examples
    --------
    >>> eeg, bold = np.arange(12.0).reshape(2, 6), [[0.1], [0.2]]
    >>> trials, latents = pair_bold((eeg, 1.0), bold, onsets=[3, 5], window=3, channels=["Cz", "Oz"])
    >>> trials.responses[:, 0].tolist(), trials.times.tolist()
    ([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]], [-3.0, -2.0, -1.0])
    """
    signal, names, sfreq = _signal(recording, channels)
    values, rois, when = _volumes(bold, onsets)
    n_times = round(window * sfreq)
    if n_times < 1 or abs(n_times - window * sfreq) > 1e-3:
        raise DataError(
            "the window is no whole number of samples",
            expected=f"a multiple of {1 / sfreq:g} s",
            found=f"{window:g} s at {sfreq:g} Hz",
            fix="another window, or resample the recording",
        )
    stops = np.ceil(when * sfreq - _EDGE).astype(int)
    _check_inside(stops, n_times, signal.shape[1], sfreq)
    named = {"subject": "1", "session": "1", "run": "1", **{key: str(one) for key, one in (labels or {}).items()}}
    prefix = "/".join(named[key] for key in ("subject", "session", "run"))
    table = pd.DataFrame({"stimulus_id": [f"{prefix}/volume-{number:05d}" for number in range(len(when))], **named})
    trials = Trials(
        _windows(signal, stops, n_times),
        table.assign(onset=when),
        pd.DataFrame({"name": names}),
        times=np.arange(-n_times, 0) / sfreq,
        info={"modality": "eeg", "sfreq": sfreq},
        history=[{"step": "window before each volume", "window": window}],
    )
    return trials, Latents(values, table["stimulus_id"], space="bold", meta={"rois": rois})


def _signal(recording: Any, channels: Sequence[str] | None) -> tuple[np.ndarray, list[str], float]:
    """Signals (n_channels, n_samples) of float32, names of the channels, and hertz."""
    wanted = None if channels is None else [str(one) for one in channels]
    if wanted is not None and (len(set(wanted)) < len(wanted) or not wanted):
        raise DataError(
            "channels must be named, each once",
            expected="at least one, all different",
            found=wanted[:40],
            fix="leave out what repeats, or leave channels out for all",
        )
    if isinstance(recording, tuple) and len(recording) == 2:
        array, sfreq = np.asarray(recording[0]), float(recording[1])
        if array.ndim != 2 or array.dtype.kind not in "fiu" or not sfreq > 0:
            raise DataError(
                "not a continuous recording",
                expected="numbers (n_channels, n_samples), and hertz above 0",
                found=f"{array.dtype} {array.shape}, {sfreq:g} Hz",
                fix="give channels as rows: (array, hertz)",
            )
        names = wanted or [f"channel {number}" for number in range(len(array))]
        if len(names) != len(array):
            raise DataError(
                "channels must name every row", expected=len(array), found=len(names), fix="one name a row of the array"
            )
        return _finite(array, "the EEG"), names, sfreq
    opened = open_recording(recording)
    if opened.is_epochs:
        raise DataError(
            "EEG and BOLD are paired before anything is cut",
            path=opened.path,
            expected="a continuous recording",
            found="epochs",
            fix="give the raw recording",
        )
    names = list(opened.data.ch_names) if wanted is None else wanted
    if missing := [one for one in names if one not in opened.data.ch_names]:
        raise DataError(
            f"the recording lacks {len(missing)} channel(s): {missing[:8]}",
            path=opened.path,
            expected=names[:40],
            found=opened.data.ch_names[:40],
            fix="channels= those that all recordings have, or interpolate the others by raw.interpolate_bads()",
        )
    return _finite(opened.data.get_data(picks=names), "the EEG", opened.path), names, opened.sfreq


def _finite(array: np.ndarray, name: str, path: Path | None = None) -> np.ndarray:
    check_finite(array.T, name=name, path=path)
    return np.ascontiguousarray(array, dtype=np.float32)


def _volumes(bold: ArrayLike | pd.DataFrame, onsets: ArrayLike) -> tuple[np.ndarray, list[str], np.ndarray]:
    """BOLD (n_volumes, n_rois), names of the regions, and seconds."""
    values, when = np.asarray(bold), np.asarray(onsets, dtype=np.float64)
    if values.ndim != 2 or values.dtype.kind not in "fiu" or when.shape != values.shape[:1] or not len(values):
        raise DataError(
            "BOLD needs a row a volume, and each volume an onset",
            expected="numbers (n_volumes, n_rois), onsets (n_volumes,)",
            found=f"{values.dtype} {values.shape}, onsets {when.shape}",
            fix="one row and one onset a volume",
        )
    check_finite(values, name="bold")
    check_finite(when, name="onsets")
    if (np.diff(when) <= 0).any():
        raise DataError(
            "volumes must follow each other",
            expected="ascending onsets, in seconds",
            found=f"{int((np.diff(when) <= 0).sum())} steps back or of zero",
            fix="sort volumes by time, one run at a time",
        )
    named = bold.columns if isinstance(bold, pd.DataFrame) else [f"roi {number}" for number in range(values.shape[1])]
    return values, [str(one) for one in named], when


def _check_inside(stops: np.ndarray, n_times: int, n_samples: int, sfreq: float) -> None:
    if early := int((stops < n_times).sum()):
        raise DataError(
            f"the window of the first {early} volume(s) would begin before the recording",
            expected=f"onsets from {n_times / sfreq:g} s on",
            found=f"first onset {stops[0] / sfreq:g} s",
            fix=f"leave them out: bold[{early}:], onsets[{early}:]",
        )
    if late := int((stops > n_samples).sum()):
        raise DataError(
            f"the last {late} volume(s) come after the end of the recording",
            expected=f"onsets up to {n_samples / sfreq:g} s",
            found=f"{stops[-1] / sfreq:g} s",
            fix="onsets count seconds from the first sample; leave out volumes without EEG",
        )


def _windows(signal: np.ndarray, stops: np.ndarray, n_times: int) -> np.ndarray:
    """(n_volumes, n_channels, n_times): a view where steps are equal."""
    every = np.lib.stride_tricks.sliding_window_view(signal, n_times, axis=1).transpose(1, 0, 2)
    starts = stops - n_times
    steps = np.diff(starts)
    if len(steps) and (steps == steps[0]).all() and steps[0] > 0:
        return every[starts[0] : starts[-1] + 1 : steps[0]]
    return every[starts]
