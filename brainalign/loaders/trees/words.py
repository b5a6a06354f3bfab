"""The tree of SingleWordProductionDutch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainalign.loaders.trees.planting import Planting

__all__ = ["plant_single_word_production"]

_WORDS = ("boom", "huis", "maan", "vis")
_SHOWN, _EVERY = 1.0, 1.5


def plant_single_word_production(plan: Planting) -> None:
    """Words shown for a second and a half apart; contacts answer 150 ms after each word, in microvolts.

    Truth: ``features`` per word; ``labels[subject]`` word row per trial; ``weights[subject]``; ``onsets``.
    """
    sfreq, seconds = plan.fact("sfreq"), plan.fact("seconds")
    n_channels, n_samples = plan.fact("n_contacts") // len(plan.spec.subjects), int(seconds * sfreq)
    onsets = np.arange(1.0, seconds - _EVERY, _EVERY)
    features, times = plan.features(len(_WORDS)), np.arange(n_samples) / sfreq
    plan.truth |= {"labels": {}, "onsets": onsets}
    for subject in plan.spec.subjects:
        weights, rng = plan.weights(subject, n_channels), plan.rng("words", subject)
        labels = rng.permutation(np.resize(np.arange(len(_WORDS)), len(onsets)))
        bumps = np.exp(-0.5 * ((times - onsets[:, None] - 0.15) / 0.04) ** 2)
        signals = bumps.T @ (features[labels] @ weights.T) + 0.1 * rng.standard_normal((n_samples, n_channels))
        shown = np.full(n_samples, "", dtype=object)
        for onset, label in zip(onsets, labels, strict=True):
            shown[round(onset * sfreq) : round((onset + _SHOWN) * sfreq)] = _WORDS[label]
        audio = 0.01 * rng.standard_normal(int(seconds * plan.fact("sfreq_audio")))
        content = {
            "acquisition/iEEG/data": signals,
            "acquisition/Stimulus/data": np.array([one.encode() for one in shown]),
            "acquisition/Audio/data": audio,
        }
        names = [f"{'LR'[channel % 2]}{channel // 2 + 1}" for channel in range(n_channels)]
        table = pd.DataFrame({"name": names, "type": "SEEG", "units": "uV"})
        places = pd.DataFrame({"name": names, "location": ["STG" if name[0] == "L" else "insula" for name in names]})
        plan.write("recording", content, subject=subject)
        plan.write("channels", table, subject=subject)
        plan.write("electrodes", places, subject=subject)
        plan.truth["labels"][subject] = labels
