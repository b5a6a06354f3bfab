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


def _language(words):
    """A small causal model of random weights over whole words, and its tokenizer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from tests.analysis.captions.test_words import Letters

    torch.manual_seed(0)
    size = {"vocab_size": len(words) + 1, "n_positions": 32, "n_embd": 64, "n_layer": 1, "n_head": 4}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**size, **ends)), Letters(words)


def _said(scenes):
    table = scenes.table
    return {one: f"a {table['colour'][one]} {table['category'][one]}" for one in scenes.ids}


@pytest.mark.slow
def test_a_language_model_says_what_a_brain_saw():
    """Prefix captions of predicted embeddings name the category and the colour; those of a shuffled brain do not."""
    from brainalign.analysis.captions import PrefixCaptioner
    from brainalign.reconstruction.controls import shuffle_pairing
    from brainalign.scoring.classification import clopper_pearson

    given = {"cache": False, "device": "cpu"}
    bank, scenes = ba.draw_scenes(1200, seed=31), ba.draw_scenes(300, seed=32)
    texts, truth = _said(bank), _said(scenes)
    captioner = PrefixCaptioner(
        *_language(sorted({word for text in (*texts.values(), *truth.values()) for word in text.split()})),
        n_prefix=4, train_language=True, n_beams=2, max_tokens=5,
        training={"n_epochs": 12, "learning_rate": 3e-3, "weight_decay": 0.0},
    ).fit(ba.extract(bank, "mini", **given), texts)  # fmt: skip
    pictures = ba.extract(scenes, "mini", **given)
    trials, _ = ba.simulate_subject(pictures, rois={"LOC": 200}, ceiling=(0.7, 0.9), n_repetitions=1, seed=0)
    held = np.isin(trials.stimulus_ids, scenes.ids[200:])
    train, test = trials.select(~held), trials.select(held)

    def named(responses):
        encoder = MindEye(128, 1, dropout=0.2, prior_depth=0, training={"n_epochs": 20})
        said = caption_pictures(encoder.fit(responses, pictures).predict(test), captioner)
        pairs = [(said[one].split()[-2:], truth[one].split()[-2:]) for one in said]
        return [sum(ours[-1:] == true[-1:] for ours, true in pairs), sum(ours[:1] == true[:1] for ours, true in pairs)]

    own, wrong = named(train), named(shuffle_pairing(train))
    chance = [max(list(values).count(one) for one in set(values)) / len(values) for values in
              (scenes.table["category"], scenes.table["colour"])]  # fmt: skip
    for right, lost, top in zip(own, wrong, chance, strict=True):
        assert clopper_pearson(right, 100)[0] > top > clopper_pearson(lost, 100)[0], (own, wrong, chance)
