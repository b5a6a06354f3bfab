"""Simulated EEG and BOLD recorded together: bursts of known bands drive known regions, by a haemodynamic response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.loaders.ephys.bold import pair_bold
from brainalign.loaders.simulated.design import seed_for
from brainalign.loaders.simulated.signals import coloured_noise
from brainalign.trials import Trials

__all__ = ["PairDesign", "PairTruth", "load_pair", "simulate_eeg_fmri"]

SITES = ("Fz", "F4", "Cz", "C4", "Pz", "P4", "O1", "Oz")
DRIVES = {"thalamus": ("Oz", (8.0, 12.0)), "motor": ("C4", (16.0, 24.0))}
SILENT = ("ventricle",)
SPREAD = 0.35
"""What the neighbour of a site, in the order of `SITES`, hears of its bursts; the next but one hears its square."""


@dataclass(frozen=True)
class PairDesign:
    """How the pair is made.

    Parameters
    ----------
    n_volumes : int
        Of which each has a whole window of EEG before it.
    tr, window, sfreq : float
        Seconds, seconds, hertz.
    drives : mapping of region to (channel, (low, high))
        Whose bursts, in which band (hertz), drive each region.
    silent : sequence of str
        Regions that nothing drives.
    strength : float
        Largest amplitude of a burst, in SD of the background.
    snr : float
        Variance of what is driven in a region over that of its noise.
    """

    n_volumes: int = 240
    tr: float = 2.0
    window: float = 16.0
    sfreq: float = 100.0
    drives: Mapping[str, tuple[str, tuple[float, float]]] = field(default_factory=lambda: dict(DRIVES))
    silent: tuple[str, ...] = SILENT
    strength: float = 2.0
    snr: float = 4.0

    def __post_init__(self) -> None:
        numbers = (self.tr, self.window, self.sfreq, self.strength, self.snr)
        if self.n_volumes < 2 or min(numbers) <= 0:
            raise DataError(
                "an option is out of range",
                expected="n_volumes >= 2, all others above 0",
                found=(self.n_volumes, *numbers),
                fix="look at n_volumes, tr, window, sfreq, strength, snr",
            )
        for region, (site, (low, high)) in self.drives.items():
            if site not in SITES or not 0 < low < high < self.sfreq / 2:
                raise DataError(
                    f"'{region}' cannot be driven so",
                    expected=f"a channel of {list(SITES)}, a band within 0 to {self.sfreq / 2:g} Hz",
                    found=(site, (low, high)),
                    fix="another channel or band",
                )


@dataclass(frozen=True)
class PairTruth:
    """What was planted: the strength of bursts at every sample, and what they make of each region's BOLD."""

    bursts: dict[str, np.ndarray]
    signal: pd.DataFrame
    drives: dict[str, tuple[str, tuple[float, float]]]


def simulate_eeg_fmri(
    design: PairDesign | None = None, *, seed: int = 0, subject: str = "1"
) -> tuple[np.ndarray, pd.DataFrame, PairTruth]:
    """A continuous EEG, the BOLD of regions, and the truth behind them.

    Bursts of each region come and go at random over seconds; the EEG holds them as noise of their band under a
    1/f background, and the BOLD of their region is their strength convolved with Glover's response, plus noise.

    Parameters
    ----------
    design : PairDesign, optional
    seed : int
    subject : str
        Subjects of one seed have the same bands and places, but bursts and noise of their own.

    Returns
    -------
    eeg : ndarray (8, n_samples)
        In SD of the background, by `SITES`.
    bold : DataFrame (n_volumes, n_regions)
        Its index holds onsets in seconds from the first sample.
    truth : PairTruth

    Examples
    --------
    >>> eeg, bold, truth = simulate_eeg_fmri(PairDesign(n_volumes=20))
    >>> eeg.shape, list(bold), float(bold.index[0])
    ((8, 5400), ['thalamus', 'motor', 'ventricle'], 16.0)
    """
    design = design or PairDesign()
    onsets = design.window + design.tr * np.arange(design.n_volumes)
    n_samples = int(np.ceil(onsets[-1] * design.sfreq))
    eeg = np.stack([_noise(site, subject, n_samples, design, seed) for site in SITES])
    bursts, driven = {}, {}
    for region, (site, band) in design.drives.items():
        rng = np.random.default_rng(seed_for(seed, "eeg_fmri", subject, region))
        bursts[region] = _bursts(rng, n_samples, design.sfreq)
        carrier = _band_noise(rng, n_samples, design.sfreq, band)
        reach = SPREAD ** np.abs(np.arange(len(SITES)) - SITES.index(site))
        eeg += design.strength * reach[:, None] * (bursts[region] * carrier)
        driven[region] = _bold(bursts[region], onsets, design.sfreq)
    signal = pd.DataFrame(driven, index=pd.Index(onsets, name="onset"))
    bold = signal.copy()
    for region in (*design.drives, *design.silent):
        rng = np.random.default_rng(seed_for(seed, "eeg_fmri", subject, region, "noise"))
        noise = rng.standard_normal(len(onsets))
        bold[region] = bold[region] + noise / np.sqrt(design.snr) if region in bold else noise
    return eeg, bold, PairTruth(bursts, signal, dict(design.drives))


def load_pair(*, subject: str = "1", seed: int = 0, **options: object) -> tuple[Trials, PairTruth]:
    """The same as trials: a window of EEG before each volume, and a column of the trials table for each region."""
    known = PairDesign.__dataclass_fields__
    if strange := [name for name in options if name not in known]:
        raise unknown("option", strange[0], known)
    design = PairDesign(**options)  # type: ignore[arg-type]
    eeg, bold, truth = simulate_eeg_fmri(design, seed=seed, subject=subject)
    trials, _ = pair_bold(
        (eeg, design.sfreq),
        bold,
        onsets=bold.index.to_numpy(),
        window=design.window,
        channels=SITES,
        labels={"subject": subject},
    )
    return trials.with_trials(**{region: bold[region].to_numpy() for region in bold}), truth


def _noise(site: str, subject: str, n_samples: int, design: PairDesign, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed_for(seed, "eeg_fmri", subject, site, "background"))
    return coloured_noise(rng, 1, n_samples, sfreq=design.sfreq, exponent=1.0)[0].astype(np.float64)


def _bursts(rng: np.random.Generator, n_samples: int, sfreq: float) -> np.ndarray:
    """Strength of bursts from 0 to 1: noise smoothed over about 3 s, of which the upper half shows."""
    from scipy.ndimage import gaussian_filter1d

    course = gaussian_filter1d(rng.standard_normal(n_samples), 1.5 * sfreq)
    return np.clip(course / course.max(), 0.0, None)


def _band_noise(rng: np.random.Generator, n_samples: int, sfreq: float, band: tuple[float, float]) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    frequency = np.fft.rfftfreq(n_samples, 1 / sfreq)
    made = np.fft.irfft(spectrum * ((frequency >= band[0]) & (frequency <= band[1])), n_samples)
    return made / made.std()


def _bold(bursts: np.ndarray, onsets: np.ndarray, sfreq: float) -> np.ndarray:
    """What Glover's response makes of bursts at the onset of each volume, of unit variance."""
    from nilearn.glm.first_level import glover_hrf
    from scipy.signal import fftconvolve

    response = glover_hrf(1 / sfreq, oversampling=1)
    course = fftconvolve(bursts, response)
    made = course[np.ceil(onsets * sfreq - 1e-6).astype(int) - 1]
    return (made - made.mean()) / made.std()
