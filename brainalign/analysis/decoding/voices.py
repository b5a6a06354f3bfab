"""What a voice sounds like, where no network of speaker embeddings is at hand: pitch and timbre of a recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite
from brainalign.errors import DataError

__all__ = ["voice_features"]

_N_BANDS, _N_CEPSTRA = 26, 13
_FRAME, _STEP = 0.04, 0.01
_PITCH, _FINER = (60.0, 400.0), 4
_VOICED = 0.5
"""Of a frame whose autocorrelation reaches this share of its power at the pitch period."""


def voice_features(sound: ArrayLike, sfreq: float) -> NDArray[np.float64]:
    """Pitch and timbre of one voice, for clusters of speakers.

    Frames of 40 ms every 10 ms; cepstra are the cosine transform of log energies in bands of the mel scale
    (Davis & Mermelstein 1980); pitch is the first high peak of the autocorrelation between 60 and 400 Hz.

    Parameters
    ----------
    sound : array (n_samples,)
        At least a tenth of a second of one speaker alone.
    sfreq : float
        Hertz, 4000 or more.

    Returns
    -------
    array (27,)
        Log2 of the median pitch in hertz (0 where no frame is voiced); means, then SDs, of 13 cepstra. The first mean
        cepstrum tells loudness, and is taken against the loudest frame.

    Raises
    ------
    DataError
        When the sound is too short, silent, not finite or of too low a rate.

    Examples
    --------
    >>> times = np.arange(8000) / 8000
    >>> voice = sum(np.sin(2 * np.pi * 120 * k * times) / k for k in range(1, 20))
    >>> round(2 ** float(voice_features(voice, 8000)[0]))
    120
    """
    from scipy.fft import dct

    wave = np.asarray(sound, dtype=np.float64)
    if wave.ndim != 1 or sfreq < 4000 or len(wave) < 0.1 * sfreq:
        raise DataError(
            "not the sound of a voice",
            expected="(n_samples,) of a tenth of a second or more, at 4000 Hz or more",
            found=f"{wave.shape} at {sfreq} Hz",
        )
    check_finite(wave, name="sound")
    wave = wave - wave.mean()
    if not np.abs(wave).max() > 0:
        raise DataError("the sound is silent", expected="a voice", found="a constant")
    length, step = int(_FRAME * sfreq), int(_STEP * sfreq)
    frames = np.lib.stride_tricks.sliding_window_view(wave, length)[::step]
    power = np.abs(np.fft.rfft(frames * np.hanning(length), axis=1)) ** 2
    bands = power @ _mel_bands(length, sfreq).T
    cepstra = dct(np.log(bands + 1e-10 * bands.max()), norm="ortho", axis=1)[:, :_N_CEPSTRA]
    means = cepstra.mean(axis=0)
    means[0] -= cepstra[:, 0].max()
    return np.concatenate([[_pitch(frames, sfreq)], means, cepstra.std(axis=0)])


def _mel_bands(length: int, sfreq: float) -> NDArray[np.float64]:
    """Triangles of equal width on the mel scale, (n_bands, n_frequencies)."""
    top = 2595 * np.log10(1 + sfreq / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _N_BANDS + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(length, 1 / sfreq)
    rising = (frequency - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequency) / np.diff(edges)[1:, None]
    return np.clip(np.minimum(rising, falling), 0, None)


def _pitch(frames: NDArray[np.float64], sfreq: float) -> float:
    """Log2 of the median pitch of voiced frames."""
    length = frames.shape[1]
    spectrum = np.abs(np.fft.rfft(frames - frames.mean(axis=1, keepdims=True), 2 * length, axis=1)) ** 2
    # At fractions of a sample: high formants make peaks narrower than one.
    together = np.fft.irfft(spectrum, 2 * length * _FINER, axis=1)[:, : length * _FINER]
    # Fewer products enter at longer lags.
    together *= length / (length - np.arange(length * _FINER) / _FINER)
    shortest, longest = int(sfreq / _PITCH[1] * _FINER), min(int(sfreq / _PITCH[0] + 1), length - 1) * _FINER
    searched = together[:, shortest:longest]
    highest = searched.max(axis=1)
    # The first of several peaks of about one height: the others are whole periods later.
    peak = (searched[:, 1:-1] >= searched[:, :-2]) & (searched[:, 1:-1] >= searched[:, 2:])
    lag = 1 + (peak & (searched[:, 1:-1] >= 0.95 * highest[:, None])).argmax(axis=1) + shortest
    voiced = (highest > _VOICED * together[:, 0]) & (together[:, 0] > 1e-3 * together[:, 0].max())
    return float(np.log2(sfreq * _FINER / np.median(lag[voiced]))) if voiced.any() else 0.0
