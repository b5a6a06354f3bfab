"""Share of each functional network in decoding by WAVE and BrainMAE, in every way of taking one away; and imagery."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brainalign.analysis import ablate, decode_imagery, retrain_without
from brainalign.encoders import WAVE, BrainMAE
from tests.encoders.planted_parcels import NETWORKS, latents, watched

TRAINING = {"n_epochs": 25, "batch_size": 32, "learning_rate": 5e-3}
ENCODERS: dict[str, Any] = {
    "WAVE": WAVE({"width": 32, "depth": 1, "n_heads": 2, "dropout": 0.0}, unseen="shared", training=TRAINING),
    "BrainMAE": BrainMAE(2, 32, n_guided=1, depth=1, n_heads=2, dropout=0.0, pretraining="none", training=TRAINING),
}
IMAGES = latents(160)["image"]
"""Carried by the parcels of `Vis` alone."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_the_network_that_carries_the_pictures_has_the_share(name):
    from sklearn.base import clone

    train, test = watched(0, 120), watched(120, 160)
    encoder = clone(ENCODERS[name]).fit(train, IMAGES)
    results = {mode: ablate(encoder, test, IMAGES, mode=mode) for mode in ("zero", "mean", "permute")}
    results["retrain"] = retrain_without(ENCODERS[name], train, test, IMAGES)
    for mode, result in results.items():
        table = result.table
        assert result.low > 0.7 and set(table.index) == set(NETWORKS) and result.mode == mode
        assert table["share"].idxmax() == "Vis" and table.loc["Vis", "share_low"] > 0.5, mode
        assert table.loc[["Default", "SomMot"], "share_high"].max() < 0.4, mode
    order = np.random.default_rng(0).permutation(len(test))
    shuffled = ablate(encoder, test.with_responses(test.responses[order]), IMAGES)
    assert shuffled.low < 0.5 < shuffled.high and shuffled.table["share"].isna().all()
    imagined = watched(130, 145, subject="3", gain=0.6)
    read = decode_imagery(encoder, imagined, IMAGES, n_permutations=500)
    assert read.score.value > 0.65 and read.p_value < 0.01
    mixed = imagined.with_responses(np.roll(imagined.responses, 4, axis=0))
    assert decode_imagery(encoder, mixed, IMAGES, n_permutations=500).p_value > 0.05
