"""What a simulated subject saw, in words: captions of a bank from embeddings predicted by MindEye."""

from __future__ import annotations

import numpy as np
import pytest

import brainalign as ba
from brainalign.analysis.captions import TextBank, caption_pictures
from brainalign.encoders import MindEye
from brainalign.errors import DataError


def test_a_brain_is_put_into_words():
    scenes = ba.draw_scenes(120, seed=3)
    given = {"cache": False, "device": "cpu"}
    pictures = ba.extract(scenes, "mini", **given)
    trials, _ = ba.simulate_subject(pictures, rois={"LOC": 120}, ceiling=(0.7, 0.9), n_repetitions=1, seed=0)
    test_ids = scenes.ids[90:]
    held = np.isin(trials.stimulus_ids, test_ids)
    encoder = MindEye(64, 1, dropout=0.1, prior_depth=0, projector=32, training={"n_epochs": 15})
    predicted = encoder.fit(trials.select(~held), pictures).predict(trials.select(held))
    captions = {one: scenes.caption(one) for one in test_ids}
    bank = TextBank(ba.extract_text(captions, "mini", **given), captions)
    said = caption_pictures(predicted, bank)
    assert set(said) == set(test_ids) and set(said.values()) <= set(captions.values())
    right = np.mean([said[one] == captions[one] for one in test_ids])
    category = scenes.table["category"]
    of_text = {captions[one]: category[one] for one in test_ids}
    alike = np.mean([of_text[said[one]] == category[one] for one in test_ids])
    assert right > 0.06 and alike > 0.3, (right, alike)  # chance is 0.03 and about 0.125


def test_captions_of_another_space_are_refused():
    bank = TextBank(ba.Latents(np.eye(2), ["a", "b"], space="joint"))
    predicted = ba.Latents(np.eye(2), ["x", "y"], space="other")
    with pytest.raises(DataError, match="another space than was predicted"):
        caption_pictures(predicted, bank)
    with pytest.raises(DataError, match="one kind of latents"):
        caption_pictures({"clip": predicted}, bank)
    with pytest.raises(DataError, match="one sentence an embedding"):
        caption_pictures(predicted, lambda embeddings: ["a"])
