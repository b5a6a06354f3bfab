"""Made recordings whose truth is known: words spelt in a few sounds, on the contacts of one region."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainalign.trials import Trials

WORDS = {"ma": (0, 1, 2), "na": (3, 2, 1), "pa": (1, 0, 3), "ta": (2, 3, 0)}
SEGMENT = 15


def spoken(
    n_trials: int, seed: int, *, subject: str = "1", n_speech: int = 4, n_other: int = 6, noise: float = 0.7
) -> tuple[Trials, np.ndarray]:
    """Trials (n_trials, n_speech + n_other, 45) and the sound of each segment, (n_trials, 3).

    Each of four sounds is one course of two sources, which the contacts in region "speech" mix, in each subject in
    its own way.
    """
    sounds = np.random.default_rng(99).standard_normal((4, 2, SEGMENT)).cumsum(axis=2)
    sounds = (sounds - sounds.mean(axis=2, keepdims=True)) / sounds.std(axis=2, keepdims=True)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.resize(list(WORDS), n_trials))
    spelt = np.array([WORDS[word] for word in labels])
    sources = sounds[spelt].transpose(0, 2, 1, 3).reshape(n_trials, 2, -1)
    mixing = np.random.default_rng(7 + int(subject)).standard_normal((n_speech, 2))
    responses = noise * rng.standard_normal((n_trials, n_speech + n_other, 3 * SEGMENT))
    responses[:, :n_speech] += np.einsum("cs,nst->nct", mixing, sources)
    names = [f"S{number}" for number in range(n_speech)] + [f"O{number}" for number in range(n_other)]
    units = pd.DataFrame({"name": names, "region": ["speech"] * n_speech + ["other"] * n_other})
    table = pd.DataFrame({"stimulus_id": labels, "label": labels, "subject": subject})
    return Trials(responses, table, units, times=np.arange(3 * SEGMENT) / 100), spelt
