"""Bands of the EEG before volumes: their power as features of lagged ridge, and what a network loses without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.scoring.correlation import pearson
from brainalign.trials import Trials

__all__ = ["BANDS", "band_occlusion", "band_power"]

BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0)}
"""Hertz; a band holds its lower edge and not its upper one."""

Bands = Mapping[str, tuple[float, float]]


def band_power(trials: Trials, *, bands: Bands = BANDS, step: float = 2.0) -> Latents:
    """Log power of each band and channel in steps of the window before each volume.

    Ridge on them is the linear model that `NeuroBOLT` is held against: steps are the lags of a haemodynamic response.

    Parameters
    ----------
    trials : Trials
        Of `brainalign.loaders.ephys.bold.pair_bold`.
    bands : mapping of name to (low, high)
        Hertz.
    step : float
        Seconds. The window must be a whole number of steps.

    Returns
    -------
    Latents
        (n_volumes, n_steps * n_channels * n_bands), the earliest step first. `brainalign.voxelwise.split_delays` takes
        the coefficients of a model apart by step.

    Raises
    ------
    DataError
        When steps do not fill the window, or a band holds no frequency of a step.

    Examples
    --------
    >>> import pandas as pd
    >>> times = np.arange(-200, 0) / 50
    >>> waves = np.stack([np.sin(2 * np.pi * 10 * times), np.sin(2 * np.pi * 5 * times)])[None]
    >>> trials = Trials(waves, pd.DataFrame({"stimulus_id": ["a"]}), times=times)
    >>> power = band_power(trials, bands={"theta": (4, 8), "alpha": (8, 13)}).values.reshape(2, 2, 2)
    >>> (power[0] == power[0].max(axis=1, keepdims=True)).tolist()
    [[False, True], [True, False]]
    """
    n_times, sfreq = len(_times(trials)), _rate(trials)
    length = round(step * sfreq)
    if length < 1 or n_times % length:
        raise DataError(
            "steps do not fill the window",
            expected=f"a part of {n_times / sfreq:g} s",
            found=f"{step:g} s at {sfreq:g} Hz",
            fix="another step",
        )
    masks = _masks(bands, length, sfreq)
    made = [
        np.log(
            np.square(np.abs(np.fft.rfft(block.reshape(*block.shape[:2], -1, length)))) @ masks.T / length**2 + 1e-30
        )
        for block in _blocks(trials)
    ]
    values = np.concatenate(made).transpose(0, 2, 1, 3).reshape(len(trials), -1)
    meta = {"bands": {name: list(one) for name, one in bands.items()}, "step": step, "n_steps": n_times // length}
    return Latents(values, trials.stimulus_ids, space="log band power", meta=meta)


def band_occlusion(encoder: Any, trials: Trials, bold: Latents, *, bands: Bands = BANDS) -> dict[str, np.ndarray]:
    """How much less a fitted encoder predicts of each region when a band is taken out of the EEG.

    Parameters
    ----------
    encoder : NeuroBOLT
    trials : Trials
        Volumes of one subject that were not fitted on.
    bold : Latents
        (n_volumes, n_rois).
    bands : mapping of name to (low, high)
        Hertz. The frequencies of a band are set to zero in the spectrum of the whole window.

    Returns
    -------
    dict of str to ndarray (n_rois,)
        r of the untouched EEG less r without the band.
    """
    n_times = len(_times(trials))
    masks = _masks(bands, n_times, _rate(trials))
    true = bold.at(trials.stimulus_ids)
    whole = pearson(true, encoder.predict(trials).at(trials.stimulus_ids))
    lost = {}
    for name, mask in zip(bands, masks, strict=True):
        parts = [np.fft.irfft(np.fft.rfft(block) * (1 - mask), n_times) for block in _blocks(trials)]
        without = trials.with_responses(np.concatenate(parts).astype(trials.responses.dtype))
        lost[name] = whole - pearson(true, encoder.predict(without).at(trials.stimulus_ids))
    return lost


def _times(trials: Trials) -> np.ndarray:
    if trials.times is None or len(trials.times) < 2:
        raise DataError("bands need windows of EEG", expected="trials with times", fix="pair_bold makes them")
    return trials.times


def _rate(trials: Trials) -> float:
    times = _times(trials)
    return float((len(times) - 1) / (times[-1] - times[0]))


def _masks(bands: Bands, length: int, sfreq: float) -> np.ndarray:
    """Which frequencies of a stretch each band holds, (n_bands, length // 2 + 1) of 0 and 1."""
    frequency = np.fft.rfftfreq(length, 1 / sfreq)
    masks = np.array([(frequency >= low - 1e-9) & (frequency < high - 1e-9) for low, high in bands.values()])
    if not len(masks) or not masks.any(axis=1).all():
        empty = [name for name, mask in zip(bands, masks, strict=True) if not mask.any()]
        raise DataError(
            "a band holds no frequency",
            expected=f"bands of more than {sfreq / length:g} Hz, up to {sfreq / 2:g} Hz",
            found=empty or "no bands",
            fix="wider bands, or longer steps",
        )
    return masks.astype(np.float64)


def _blocks(trials: Trials) -> Iterator[np.ndarray]:
    n_bytes = 40 * int(np.prod(trials.shape[1:]))
    return (trials.responses[rows] for rows in row_blocks(len(trials), n_bytes, budget=2**26))
