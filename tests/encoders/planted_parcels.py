"""Made whole-brain sequences: visual parcels carry image latents, default-mode parcels text latents, others nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainalign.latents.base import Latents
from brainalign.trials import Trials

N_IMAGE, N_TEXT = 6, 4
NETWORKS = {"Vis": 10, "Default": 8, "SomMot": 8}
COURSE = np.array([0.2, 0.8, 1.0, 0.5])


def latents(n_stimuli: int) -> dict[str, Latents]:
    """Image and text latents of stimuli; those of few are the first of many."""
    rng = np.random.default_rng(0)
    ids = [f"s{number:03d}" for number in range(n_stimuli)]
    values = np.stack([rng.standard_normal(N_IMAGE + N_TEXT) for _ in ids])
    return {
        "image": Latents(values[:, :N_IMAGE], ids, space="image"),
        "text": Latents(values[:, N_IMAGE:], ids, space="text"),
    }


def watched(first: int, last: int, *, subject: str = "1", noise: float = 0.8, gain: float = 1.0) -> Trials:
    """Trials (n, 26, 4) of stimuli `first` to `last`; all subjects share the couplings, each has noise of its own."""
    known, rng = latents(last), np.random.default_rng(4)
    carried = {"Vis": known["image"].values, "Default": known["text"].values, "SomMot": np.zeros((last, 1))}
    clean = np.concatenate(
        [carried[name] @ rng.standard_normal((carried[name].shape[1], n)) for name, n in NETWORKS.items()], axis=1
    )[first:, :, None]
    responses = gain * clean * COURSE
    responses = responses + noise * np.random.default_rng([int(subject), first]).standard_normal(responses.shape)
    units = pd.DataFrame({"network": np.repeat(list(NETWORKS), list(NETWORKS.values()))})
    units["name"] = [f"p{number}" for number in range(len(units))]
    table = pd.DataFrame({"stimulus_id": list(known["image"].ids)[first:], "subject": subject})
    return Trials(responses, table, units, times=4.0 + 2.0 * np.arange(len(COURSE)))


def resting(n_trials: int, seed: int, *, noise: float = 0.5, n_times: int = 24) -> Trials:
    """Trials (n_trials, 26, n_times) of slow waves, one for all parcels of a network.

    In state "rest" the waves of the networks are independent; in state "task" `Default` follows `Vis`.
    """
    rng = np.random.default_rng(seed)
    state = rng.permutation(np.resize(["rest", "task"], n_trials))
    phase = rng.uniform(0, 2 * np.pi, (n_trials, len(NETWORKS), 1))
    waves = np.sin(2 * np.pi * np.arange(n_times) / 12 + phase)
    waves[state == "task", 1] = waves[state == "task", 0]
    owner = np.repeat(np.arange(len(NETWORKS)), list(NETWORKS.values()))
    responses = waves[:, owner] + noise * rng.standard_normal((n_trials, len(owner), n_times))
    units = pd.DataFrame({"network": np.array(list(NETWORKS))[owner], "name": [f"p{i}" for i in range(len(owner))]})
    table = pd.DataFrame({"stimulus_id": [f"t{seed}-{number}" for number in range(n_trials)], "label": state})
    return Trials(responses, table, units, times=2.0 * np.arange(n_times))
