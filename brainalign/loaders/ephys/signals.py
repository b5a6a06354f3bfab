"""What is done to voltages: filters, high-gamma envelope, baseline, resampling. Plain functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from brainalign.arrays import row_blocks
from brainalign.errors import DataError, unknown

__all__ = ["Resampler", "band_limit", "correct_baseline", "high_gamma_envelope"]

Band = tuple[float, float]
Interval = tuple[float | None, float | None]

ENVELOPES = ("log", "amplitude", "ratio")
SUB_BAND_HZ = 10.0


def band_limit(
    data: np.ndarray,
    sfreq: float,
    *,
    l_freq: float | None = None,
    h_freq: float | None = None,
    notch: float | Sequence[float] | None = None,
) -> np.ndarray:
    """Filter along time with MNE's zero-phase FIR filters; a zero-phase filter looks into the future too.

    MNE warns where the filter is longer than the signal, as a high-pass on short epochs is.

    Parameters
    ----------
    data : ndarray, shape (..., n_times)
        Finite: a single NaN would spread over the whole channel.
    sfreq : float
        Hertz.
    l_freq, h_freq : float, optional
        Pass band edges in hertz; ``l_freq`` alone is a high-pass, ``h_freq`` alone a low-pass.
    notch : float or sequence, optional
        Frequencies to take out, such as ``[50, 100, 150]``.

    Raises
    ------
    DataError
        When a frequency is not between 0 and half the sampling rate, or ``l_freq >= h_freq``.
    """
    from mne.filter import filter_data, notch_filter

    notches = [] if notch is None else np.atleast_1d(notch).astype(float).tolist()
    for name, value in [("l_freq", l_freq), ("h_freq", h_freq), *(("notch", one) for one in notches)]:
        if value is not None and not 0 < value < sfreq / 2:
            expected = f"between 0 and {sfreq / 2:g} Hz, half the sampling rate"
            raise DataError(
                f"{name} is out of range", expected=expected, found=value, fix="choose a frequency in that range"
            )
    if l_freq is not None and h_freq is not None and l_freq >= h_freq:
        raise DataError(
            "the pass band is empty", expected="l_freq below h_freq", found=(l_freq, h_freq), fix="exchange the two"
        )
    filtered = np.array(data, dtype=np.float64, order="C")
    if notches:
        filtered = notch_filter(filtered, sfreq, notches, copy=False, verbose="warning")
    if l_freq is not None or h_freq is not None:
        filtered = filter_data(filtered, sfreq, l_freq, h_freq, copy=False, verbose="warning")
    return filtered


def high_gamma_envelope(
    data: np.ndarray, sfreq: float, band: Band = (70.0, 150.0), *, envelope: str = "log", width: float = SUB_BAND_HZ
) -> np.ndarray:
    """Amplitude in the high-gamma band, a proxy of local population activity (Crone et al. 1998; Ray & Maunsell 2011).

    The band is cut into sub-bands of about `width` hertz, since power falls with frequency and a single band would
    hear its lower end alone. Each is filtered (zero phase) and its Hilbert amplitude taken.

    Parameters
    ----------
    data : ndarray, shape (..., n_channels, n_times)
        Volts.
    sfreq : float
        Hertz.
    band : (float, float)
        Hertz.
    envelope : str
        "log": mean over sub-bands of 20 log10 amplitude, in decibels re 1 V. Every sub-band counts the same, nothing
        is estimated from the data, and a baseline subtracted later makes it decibels of change.
        "amplitude" and "ratio": mean amplitude in volts ("ratio" is later divided by its baseline).
    width : float
        Hertz.

    Returns
    -------
    ndarray, same shape

    Raises
    ------
    DataError
        When the band does not fit under half the sampling rate, or `envelope` is unknown.
    """
    from mne.filter import filter_data
    from scipy.fft import next_fast_len
    from scipy.signal import hilbert

    low, high = band
    half = min(width, high - low) / 2
    if envelope not in ENVELOPES:
        raise unknown("envelope", envelope, ENVELOPES)
    if not half < low < high or high + half >= sfreq / 2:
        fix = "choose a lower band, or load the recording at its original rate"
        expected = f"a band below {sfreq / 2 - half:g} Hz (half the sampling rate less {half:g} Hz)"
        raise DataError("the high-gamma band does not fit", expected=expected, found=band, fix=fix)
    edges = np.linspace(low, high, max(1, round((high - low) / width)) + 1)
    n_times = data.shape[-1]
    made = np.zeros(data.shape)
    channels, rows_out = data.reshape(-1, n_times), made.reshape(-1, n_times)
    for rows in row_blocks(len(channels), 48 * n_times):
        for lowest, highest in pairwise(edges.tolist()):
            part = channels[rows].astype(np.float64)
            part = filter_data(
                part, sfreq, lowest, highest, l_trans_bandwidth=half, h_trans_bandwidth=half, verbose="error"
            )
            amplitude = np.abs(hilbert(part, next_fast_len(n_times), axis=-1)[..., :n_times])
            if envelope == "log":
                amplitude = 20 * np.log10(np.maximum(amplitude, np.finfo(np.float64).tiny))
            rows_out[rows] += amplitude / (len(edges) - 1)
    return made


def correct_baseline(trials: np.ndarray, times: np.ndarray, interval: Interval, *, divide: bool = False) -> np.ndarray:
    """Subtract (or divide by) each trial's and channel's mean over `interval`.

    Parameters
    ----------
    trials : ndarray, shape (n_trials, n_channels, n_times)
    times : ndarray, shape (n_times,)
        Seconds.
    interval : (float or None, float or None)
        Seconds, both ends included; None is the first or last time.
    divide : bool

    Examples
    --------
    >>> correct_baseline(np.array([[[1.0, 3.0, 6.0]]]), np.array([-0.2, -0.1, 0.0]), (None, -0.1)).tolist()
    [[[-1.0, 1.0, 4.0]]]
    """
    first = times[0] if interval[0] is None else interval[0]
    last = times[-1] if interval[1] is None else interval[1]
    slack = 1e-6
    inside = (times >= first - slack) & (times <= last + slack)
    if not inside.any() or first < times[0] - slack or last > times[-1] + slack:
        expected = f"within {times[0]:.3f} to {times[-1]:.3f} s"
        raise DataError("the baseline lies outside the trial", expected=expected, found=interval, fix="lower tmin")
    mean = trials[..., inside].mean(axis=-1, keepdims=True)
    return trials / mean if divide else trials - mean


class Resampler:
    """Brings trials to another sampling rate, their first time kept exactly.

    Every new sample is a weighted mean of the old ones around its own instant (a sinc low-pass under a Kaiser
    window), so onsets are not moved to a coarser grid, as they are when the continuous recording is resampled, nor
    shifted by a fraction of a sample, as they are by Fourier resampling of a padded epoch.

    Parameters
    ----------
    times : ndarray, shape (n_times,)
        Of the trials, seconds.
    sfreq : float
        Hertz.
    new_sfreq : float or None
        Content above 0.39 times the lower of the two rates fades out and is gone at half of it. None changes nothing.

    Attributes
    ----------
    margin : int
        Old samples that `apply` wants on both sides of the trial.
    times : ndarray, shape (n_new_times,)

    Examples
    --------
    >>> resampler = Resampler(np.arange(101) / 100, 100.0, 50.0)
    >>> resampler.apply(np.ones((1, 1, 101 + 2 * resampler.margin))).shape
    (1, 1, 51)
    """

    LOBES, CUTOFF, BETA = 16, 0.45, 6.0

    def __init__(self, times: np.ndarray, sfreq: float, new_sfreq: float | None) -> None:
        self.margin, self.times = 0, times
        self.weights: np.ndarray | None = None
        if new_sfreq is None:
            return
        if new_sfreq <= 0:
            raise DataError(
                "the new sampling rate must be positive",
                expected="hertz above 0",
                found=new_sfreq,
                fix="give hertz, or None",
            )
        lower = min(sfreq, new_sfreq)
        reach = self.LOBES / lower
        self.margin = int(np.ceil(reach * sfreq))
        n_new = int(np.floor((times[-1] - times[0]) * new_sfreq + 1e-6)) + 1
        self.times = times[0] + np.arange(n_new) / new_sfreq
        old = times[0] + np.arange(-self.margin, len(times) + self.margin) / sfreq
        lag = self.times - old[:, None]
        window = np.i0(self.BETA * np.sqrt(np.clip(1 - (lag / reach) ** 2, 0, None))) * (np.abs(lag) <= reach)
        weights = np.sinc(2 * self.CUTOFF * lower * lag) * window
        self.weights = weights / weights.sum(axis=0)  # a constant stays what it is

    def apply(self, trials: np.ndarray) -> np.ndarray:
        """Resample trials (..., n_times + 2 * margin) to (..., n_new_times)."""
        return trials if self.weights is None else trials @ self.weights
