"""Parts that every simulated recording shares: tuning to latents, drift of sessions, noise with a 1/f spectrum."""

from __future__ import annotations

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders.simulated.design import Design, seed_for

FOCUS = 2.0
"""How much more a unit weighs its ROI's preferred direction than a typical one of the other dimensions."""


def draw_subspace(features: np.ndarray, roi: str, design: Design, seed: int) -> np.ndarray:
    """Orthonormal latent dimensions a ROI listens to, (n_features, n_dimensions); the preferred one first."""
    n_features = features.shape[1]
    rng = np.random.default_rng(seed_for(seed, roi, "subspace"))
    raw = rng.standard_normal((n_features, min(design.n_dimensions, n_features)))
    if roi in design.directions:
        preferred = np.asarray(design.directions[roi], dtype=np.float64)
        if preferred.shape != (n_features,) or not np.linalg.norm(preferred) > 0:
            raise DataError(
                f"the direction of '{roi}' does not fit its latents",
                expected=f"{n_features} numbers, not all 0",
                found=preferred.shape,
                fix="give one number per feature of the latents",
            )
        raw[:, 0] = preferred
    basis, triangle = np.linalg.qr(raw)
    return basis * np.sign(np.diag(triangle))


def standardised(features: np.ndarray, weights: np.ndarray, *, roi: str) -> np.ndarray:
    """`weights` scaled so that each column's response has unit variance over the stimuli."""
    spread = (features @ weights).std(axis=0)
    if not np.all(spread > 1e-12):
        raise DataError(
            f"the latents of '{roi}' do not vary along the direction that it prefers",
            expected="latents that differ between stimuli",
            fix="give more stimuli, or another direction",
            found="no variance",
        )
    return weights / spread


def draw_tuning(features: np.ndarray, n_units: int, roi: str, design: Design, seed: int) -> tuple[np.ndarray, ...]:
    """Weights (n_features, n_units) of unit response variance inside the ROI's subspace, and the subspace."""
    basis = draw_subspace(features, roi, design, seed)
    rng = np.random.default_rng(seed_for(seed, roi, "weights"))
    share = rng.standard_normal((basis.shape[1], n_units))
    share[0] += FOCUS
    return standardised(features, basis @ share, roi=roi), basis


def add_drift(
    responses: np.ndarray, sessions: np.ndarray, roi: str, design: Design, seed: int
) -> dict[str, np.ndarray]:
    """Give each session of `responses` (n_trials, n_units[, n_times]) its offset, gain and slow trend, in place.

    Offset and slope are in units of the responses' SD; the trend is half a cosine over the session.
    """
    n_units = responses.shape[1]
    names = np.unique(sessions)
    drift = {part: np.zeros((len(names), n_units)) for part in ("offset", "gain", "slope")}
    shape = (1, n_units, *[1] * (responses.ndim - 2))
    scale = responses.std() if design.drift else 1.0
    for row, session in enumerate(names):
        rng = np.random.default_rng(seed_for(seed, roi, "drift", str(session)))
        offset, slope, gain = design.drift * rng.standard_normal((3, n_units))
        drift["offset"][row], drift["slope"][row], drift["gain"][row] = scale * offset, scale * slope, np.exp(gain)
        trials = np.flatnonzero(sessions == session)
        trend = np.cos(np.pi * (np.arange(len(trials)) + 0.5) / len(trials)).reshape(-1, *[1] * (responses.ndim - 1))
        changed = responses[trials] * np.exp(gain).reshape(shape) + scale * offset.reshape(shape)
        responses[trials] = changed + scale * slope.reshape(shape) * trend
    return drift


def coloured_noise(
    rng: np.random.Generator, n_trials: int, n_times: int, *, sfreq: float, exponent: float
) -> np.ndarray:
    """Noise with power ``1 / f**exponent`` above 1 Hz and unit variance, (n_trials, n_times) float32.

    Segments of twice the length are made and cut, since those of a discrete Fourier transform join end to end.
    """
    from scipy.fft import irfft, rfftfreq

    length = 2 * n_times
    frequency = rfftfreq(length, 1 / sfreq)
    amplitude = np.maximum(frequency, 1.0) ** (-exponent / 2)
    amplitude[0] = amplitude[-1] = 0.0
    amplitude *= length / np.sqrt(4 * np.sum(amplitude**2))
    spectrum = rng.standard_normal((n_trials, len(frequency), 2), dtype=np.float32)
    complex_spectrum = spectrum.view(np.complex64)[..., 0] * amplitude.astype(np.float32)
    return irfft(complex_spectrum, n=length, axis=1)[:, :n_times]
