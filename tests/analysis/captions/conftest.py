"""A subject with category-selective regions over a made-up joint space of pictures and texts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import brainalign as ba
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import preferred_directions
from brainalign.stimuli import Stimuli
from brainalign.voxelwise import Ridge

CATEGORIES = ("face", "house", "food", "tool")
PLANTED = {"FFA": "face", "PPA": "house", "V4": "food"}


class Joint:
    """Embeddings of pictures around their category's; embeddings of texts: the mean of those of their words."""

    space = "joint"

    def __init__(self):
        rng = np.random.default_rng(0)
        self.words = {}
        for word in [*CATEGORIES, "red", "blue"]:
            self.words[word] = rng.standard_normal(24)
        self.common = 3 * rng.standard_normal(24)

    def pictures(self, n, *, prefix, seed):
        rng = np.random.default_rng(seed)
        ids = [f"{prefix}{row}" for row in range(n)]
        table = pd.DataFrame({"category": np.resize(CATEGORIES, n), "colour": rng.choice(["red", "blue"], n)}, ids)
        captions = {one: f"a {row.colour} {row.category}" for one, row in table.iterrows()}
        values = self.embed(list(captions.values())) + 0.4 * rng.standard_normal((n, 24))
        values *= rng.uniform(5, 10, (n, 1))
        pixels = rng.integers(0, 255, (n, 4, 4, 3), dtype=np.uint8)
        return Stimuli.from_arrays(pixels, ids, captions=captions, table=table), Latents(values, ids, space=self.space)

    def embed(self, texts):
        rows = [sum(self.words[word] for word in text.split() if word in self.words) for text in texts]
        return np.stack([row + self.common for row in rows])


@pytest.fixture(scope="session")
def joint():
    return Joint()


@pytest.fixture(scope="session")
def subject(joint):
    """(model, train, test, latents): a fitted voxelwise model, and trials of other pictures."""
    stimuli, latents = joint.pictures(240, prefix="s", seed=1)
    directions = preferred_directions(latents, stimuli, {roi: f"category == '{c}'" for roi, c in PLANTED.items()})
    trials, _ = ba.simulate_subject(
        latents, stimuli=stimuli, rois=dict.fromkeys(PLANTED, 20), directions=directions, n_dimensions=2, seed=2
    )
    train, test = ba.split(trials, by="stimulus_id", test_size=0.25, seed=0)
    return Ridge().fit(latents, train), train, test, latents
