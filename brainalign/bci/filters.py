"""The pass band of a run that is judged as it would run online: forward only, or with a look into the future."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.loaders.ephys.signals import band_limit

__all__ = ["pass_band"]


def pass_band(
    data: NDArray, sfreq: float, band: tuple[float, float] | None, *, causal: bool = True
) -> NDArray[np.float64]:
    """Filter a whole run along time.

    Parameters
    ----------
    data : array (n_channels, n_times)
    sfreq : float
        Hertz.
    band : (float, float), optional
        Hertz; None leaves the data as they are.
    causal : bool
        A Butterworth filter of order 4 that runs forward only; False takes MNE's zero-phase filter.

    Raises
    ------
    DataError
        When the band is empty or leaves 0 to half the sampling rate, or samples are not finite (a filter would
        spread them).

    Examples
    --------
    >>> impulse = np.zeros((1, 400))
    >>> impulse[0, 200] = 1.0
    >>> [bool(np.abs(pass_band(impulse, 100.0, (8.0, 30.0), causal=c)[0, :200]).max() > 0) for c in (True, False)]
    [False, True]
    """
    check_finite(np.asarray(data).T, name="the recording (columns are channels)")
    if band is None:
        return np.asarray(data, dtype=np.float64)
    low, high = band
    if not causal:
        return band_limit(data, sfreq, l_freq=low, h_freq=high)
    if not 0 < low < high < sfreq / 2:
        raise DataError("the band is out of range", expected=f"0 < low < high < {sfreq / 2:g} Hz", found=band)
    from scipy.signal import butter, sosfilt

    return sosfilt(butter(4, (low, high), "bandpass", fs=sfreq, output="sos"), data, axis=1)
