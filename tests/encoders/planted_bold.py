"""EEG whose bursts drive known regions, at a size that tests can afford."""

from __future__ import annotations

import numpy as np

from brainalign.loaders.ephys.bold import pair_bold
from brainalign.loaders.simulated.eeg_fmri import SITES, PairDesign, simulate_eeg_fmri

DESIGN = PairDesign(n_volumes=400, tr=1.0, window=8.0, sfreq=50.0, strength=4.0)
GAP = 9
SIZES = {
    **{"width": 16, "patch": 50, "depth": 1, "n_heads": 2, "shortest": 50, "n_scales": 2},
    **{"spectral_depth": 1, "spectral_heads": 2, "dropout": 0.2},
}
TRAINING = {"n_epochs": 15, "learning_rate": 3e-3}


def recorded(subject="1", design=DESIGN, *, gain=1.0, seed=0):
    """Windows and BOLD of one subject."""
    eeg, bold, _ = simulate_eeg_fmri(design, seed=seed, subject=subject)
    return pair_bold(
        (gain * eeg, design.sfreq),
        bold,
        onsets=bold.index.to_numpy(),
        window=design.window,
        channels=SITES,
        labels={"subject": subject},
    )


def in_time(trials, share=0.75, gap=GAP):
    """The first volumes, and the last ones after a gap."""
    stop = int(share * len(trials))
    return trials.select(np.arange(stop)), trials.select(np.arange(stop + gap, len(trials)))
