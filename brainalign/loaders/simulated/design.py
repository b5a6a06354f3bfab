"""What a simulated experiment looks like, and the truth that is returned beside its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.loaders.options import Options

SECONDS_PER_TRIAL = {"fmri": 4.0, "eeg": 1.5, "seeg": 1.5}


@dataclass(frozen=True)
class Design(Options):
    """Options of `simulate_subject`.

    Parameters
    ----------
    n_repetitions : int
        Trials per stimulus.
    n_sessions, n_runs : int
        Trials are dealt at random over `n_sessions` sessions of `n_runs` runs.
    test_share : float
        Share of the stimuli marked "test" in a `split` column; 0 makes no such column.
    n_test_repetitions : int, optional
        Trials per test stimulus, where they differ from the others'.
    ceiling : (float, float), optional
        Single-trial noise ceilings are drawn between these. For EEG and sEEG: of the best channel of a source at its
        peak.
    silent_share : float
        Share of the units of each ROI that carry no signal (fMRI).
    n_dimensions : int
        Dimensions of the latent space that a ROI or source listens to.
    drift : float
        Strength of the sessions' offsets, gains and slow trends, in SD of a unit's response; 0 for none.
    rois : mapping or sequence of str, optional
        fMRI: voxels of each ROI, ``{"V1": 60}``. sEEG: contacts of each shaft. EEG: names of the active sources.
    directions : mapping, optional
        The latent direction that a ROI prefers, ``{"FFA": (n_features,)}``; others are drawn.
    sfreq, tmin, tmax : float
        Sampling rate in hertz and span in seconds of EEG and sEEG epochs.
    line_noise : float
        Amplitude of a 50 Hz sine on all channels, in SD of the noise.
    """

    n_repetitions: int = 3
    n_sessions: int = 2
    n_runs: int = 4
    test_share: float = 0.0
    n_test_repetitions: int | None = None
    ceiling: tuple[float, float] | None = None
    silent_share: float = 0.1
    n_dimensions: int = 4
    drift: float = 0.1
    rois: Mapping[str, int] | Sequence[str] | None = None
    directions: Mapping[str, np.ndarray] = field(default_factory=dict)
    sfreq: float = 100.0
    tmin: float = -0.2
    tmax: float = 0.6
    line_noise: float = 0.0

    def __post_init__(self) -> None:
        counts = (self.n_repetitions, self.n_sessions, self.n_runs, self.n_dimensions, self.n_test_repetitions or 1)
        low, high = self.ceiling or (0.0, 0.5)
        rules = {
            "counts of repetitions, sessions, runs and dimensions are integers from 1": all(
                isinstance(count, int | np.integer) and count >= 1 for count in counts
            ),
            "0 <= ceiling[0] <= ceiling[1] < 1": 0 <= low <= high < 1,
            "0 <= test_share < 1 and 0 <= silent_share <= 1": 0 <= self.test_share < 1 and 0 <= self.silent_share <= 1,
            "drift >= 0 and line_noise >= 0": self.drift >= 0 and self.line_noise >= 0,
            "sfreq > 0 and tmin < 0 < tmax": self.sfreq > 0 and self.tmin < 0 < self.tmax,
        }
        for rule, holds in rules.items():
            if not holds:
                raise DataError(
                    "a simulated experiment cannot be made like this",
                    expected=rule,
                    found=self,
                    fix="change the options that the rule names",
                )

    @property
    def times(self) -> np.ndarray:
        """Sample times of an epoch in seconds; 0 is stimulus onset."""
        first, last = round(self.tmin * self.sfreq), round(self.tmax * self.sfreq)
        return np.arange(first, last + 1) / self.sfreq


@dataclass(frozen=True, eq=False)
class Truth:
    """What a simulated subject is made of.

    Attributes
    ----------
    signal : Latents
        Noiseless response to each stimulus, (n_stimuli, n_units[, n_times]); ``signal.at(trials.stimulus_ids)`` lines
        up with the trials.
    weights : dict
        ROI or source → (n_features, n_units of the ROI), for EEG and sEEG (n_features, n_channels) at the peak. The
        signal is ``(latents - latents.mean(axis=0)) @ weights``.
    subspaces : dict
        ROI or source → orthonormal columns (n_features, n_dimensions); the first is the preferred direction.
    ncsnr, noise_ceiling : ndarray, shape (n_units,) or (n_channels, n_times)
        Signal SD over noise SD, and the share of single-trial variance that is signal, both without drift.
    onsets : dict
        Source → seconds at which its response begins (EEG and sEEG).
    drift : dict
        "offset", "gain" and "slope", each (n_sessions, n_units).
    """

    signal: Latents
    weights: dict[str, np.ndarray]
    subspaces: dict[str, np.ndarray]
    ncsnr: np.ndarray
    onsets: dict[str, float]
    drift: dict[str, np.ndarray]

    @property
    def noise_ceiling(self) -> np.ndarray:
        """Share of single-trial variance that is signal."""
        return self.ncsnr**2 / (1 + self.ncsnr**2)

    @property
    def directions(self) -> dict[str, np.ndarray]:
        """The latent direction each ROI or source prefers, (n_features,) of unit length."""
        return {name: basis[:, 0] for name, basis in self.subspaces.items()}


def seed_for(seed: int, *work: str) -> np.random.SeedSequence:
    """The seed of a named unit of work: adding a ROI or a session leaves the others as they were."""
    return np.random.SeedSequence(seed, spawn_key=tuple(crc32(part.encode()) for part in work))


@dataclass(frozen=True, eq=False)
class Plan:
    """Which stimulus each trial shows: the trials table, the stimulus ids, and the row in them of each trial."""

    table: pd.DataFrame
    ids: tuple[str, ...]
    order: np.ndarray

    @property
    def sessions(self) -> np.ndarray:
        """The session of each trial."""
        return self.table["session"].to_numpy()


def plan_trials(ids: Sequence[str], design: Design, *, modality: str, seed: int) -> Plan:
    """Show every stimulus as often as the design says, dealt at random over sessions and runs."""
    n_stimuli = len(ids)
    chosen = np.random.default_rng(seed_for(seed, "test stimuli")).permutation(n_stimuli)
    is_test = np.zeros(n_stimuli, dtype=bool)
    is_test[chosen[: round(design.test_share * n_stimuli)]] = True
    repetitions = np.where(is_test, design.n_test_repetitions or design.n_repetitions, design.n_repetitions)
    order = np.random.default_rng(seed_for(seed, "order")).permutation(np.repeat(np.arange(n_stimuli), repetitions))
    n_blocks = design.n_sessions * design.n_runs
    if len(order) < n_blocks:
        raise DataError(
            "fewer trials than runs",
            expected=f"at least {n_blocks} trials",
            found=len(order),
            fix="more stimuli or repetitions, or fewer runs",
        )
    block = np.arange(len(order)) * n_blocks // len(order)
    within = np.arange(len(order)) - np.searchsorted(block, block)
    table = pd.DataFrame(
        {
            "stimulus_id": np.asarray(ids, dtype=object)[order],
            "subject": "1",
            "session": block // design.n_runs + 1,
            "run": block % design.n_runs + 1,
            "onset": within * SECONDS_PER_TRIAL[modality],
        }
    )
    if design.test_share:
        table["split"] = np.where(is_test[order], "test", "train")
    return Plan(table, tuple(ids), order)
