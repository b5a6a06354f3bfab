"""Captions recover what was planted, say nothing true of shuffled weights, and refuse what does not fit."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from brainalign.analysis.captions import (
    TextBank,
    caption,
    category_names,
    category_scores,
    content_words,
    region_profiles,
    score_captions,
    word_counts,
)
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import preferred_directions
from tests.analysis.captions.conftest import CATEGORIES, PLANTED


@pytest.fixture(scope="module")
def banks(joint):
    _, pictures = joint.pictures(600, prefix="b", seed=3)
    sentences = [f"a {colour} {one}" for colour in ("red", "blue") for one in CATEGORIES]
    return pictures, Latents(joint.embed(sentences), sentences, space=joint.space)


@pytest.fixture(scope="module")
def said(subject, banks):
    model, _, test, _ = subject
    return caption(model, *banks, units=test)


def planted_of(captions):
    return captions.units["roi"].map(PLANTED).to_numpy()


def test_captions_name_the_planted_category(subject, said):
    model, _, test, latents = subject
    reliable = model.score_units(latents, test, n_permutations=200).q < 0.05
    named = np.array([text.split()[-1] for text in said.texts])
    assert reliable.mean() > 0.7
    assert (named == planted_of(said))[reliable].mean() >= 0.9


def test_shuffled_weights_name_it_at_chance(subject, said, banks):
    model, _, test, _ = subject
    weights = model.coef_.T
    shuffled = np.random.default_rng(0).permuted(weights, axis=1)
    named = np.array([text.split()[-1] for text in caption(shuffled, *banks, units=test).texts])
    assert (named == planted_of(said)).mean() < 0.45


def test_scores_beat_their_control(subject, said, joint):
    scores = score_captions(said, subject[2], joint.embed, n_permutations=300)
    assert scores.summary.low > scores.summary.chance + 0.1
    assert (scores.q < 0.05).mean() > 0.6
    assert len(scores.table()) == len(said)


def test_scores_equal_a_plain_loop(subject, said, joint):
    from scipy.stats import spearmanr

    test = subject[2]
    scores = score_captions(said, test, joint.embed, n_permutations=0)
    mean = test.average("stimulus_id")
    for unit in (0, 25, 59):
        # Each caption in turn stands for this unit: its own is the score, the mean over all is the control.
        every = []
        for text in said.texts:
            left = joint.embed([text])[0]
            right = joint.embed([test.stimuli.caption(one) for one in mean.stimulus_ids])
            guess = right @ left / np.linalg.norm(left) / np.linalg.norm(right, axis=1)
            every.append(spearmanr(np.round(guess, 12), mean.responses[:, unit])[0])
        assert scores.r[unit] == pytest.approx(every[unit], abs=1e-6)
        assert scores.shuffled[unit] == pytest.approx(np.mean(every), abs=1e-6)


def test_scoring_on_fitted_pictures_is_refused(subject, said, joint):
    with pytest.raises(LeakageError):
        score_captions(said, subject[1], joint.embed)


def test_regions_and_words(subject, said, joint):
    categories = Latents(joint.embed(CATEGORIES), CATEGORIES, space="joint")
    scores = category_scores(said.embeddings, categories)
    by_text = category_scores(said.embeddings, {one: [one] for one in CATEGORIES}, joint.embed)
    assert np.allclose(scores, by_text)
    assert (category_names(scores) == planted_of(said)).mean() > 0.8
    profiles = region_profiles(said, scores, n_draws=200).set_index(["region", "category"])
    for region, planted in PLANTED.items():
        assert profiles["score"][region].idxmax() == planted
        assert profiles.loc[(region, planted), "q"] < 0.05
        assert profiles["share"][region].idxmax() == planted
    mixed = scores.sample(frac=1, random_state=0)
    assert (region_profiles(said, mixed, n_draws=200)["q"] > 0.05).all()
    counts = word_counts(said)
    assert counts.loc["house", "PPA"] > counts.loc["house"].drop("PPA").max()
    assert int(word_counts(said, by=None).loc["face"].iloc[0]) == counts.loc["face"].sum()
    image = said.to_nifti(scores.to_numpy().T)
    assert np.isfinite(image.get_fdata()).sum() == len(said) * len(CATEGORIES)


def test_a_region_alone_and_any_captioner(subject, banks):
    model, _, test, _ = subject

    def captioner(embeddings):
        return [f"{len(row)} numbers" for row in embeddings]

    some = caption(model, banks[0], captioner, units=test, where="roi == 'PPA'")
    assert set(some.texts) == {"24 numbers"} and set(some.units["roi"]) == {"PPA"}
    assert some.table()["caption"].tolist() == list(some.texts)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m, b, t: (m, Latents(b.values, b.ids, space="other"), t), "another space than the model"),
        (lambda m, b, t: (m, b, Latents(t.values, t.ids, space="other")), "different spaces"),
        (lambda m, b, t: (np.full((60, 24), np.nan), b, t), "NaN"),
        (lambda m, b, t: (SimpleNamespace(coef_=1), b, t), "no weights to caption"),
        (lambda m, b, t: (m, b, lambda rows: ["one"]), "one sentence a unit"),
        (lambda m, b, t: (m, b, TextBank(Latents(t.values[:, :5], t.ids, space="joint"))), "does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(subject, banks, change, message):
    model, bank, texts = change(subject[0], *banks)
    with pytest.raises(DataError, match=message):
        caption(model, bank, texts, units=subject[2])


def test_other_bad_input(subject, banks, said, joint):
    model, _, test, _ = subject
    with pytest.raises(DataError, match="is empty"):
        caption(model, *banks, units=test, where="roi == 'LOC'")
    with pytest.raises(DataError, match="must be unique"):
        Latents(np.eye(2), ["a", "a"], space="joint")
    with pytest.raises(DataError, match="without their text"):
        TextBank(banks[1], {"a": "b"})
    with pytest.raises(DataError, match="units captioned are not"):
        score_captions(caption(model, *banks), test, joint.embed)
    with pytest.raises(DataError, match="without a caption"):
        score_captions(said, test, joint.embed, pictures={"s0": "a face"})
    with pytest.raises(DataError, match="no column 'network'"):
        word_counts(said, by="network")
    with pytest.raises(DataError, match="needs a text"):
        category_scores(said.embeddings, {"face": []}, joint.embed)


def test_preferred_directions_are_those_of_the_means(joint):
    stimuli, latents = joint.pictures(40, prefix="s", seed=1)
    found = preferred_directions(latents, stimuli, {"FFA": "category == 'face'"})["FFA"]
    faces = (stimuli.table["category"] == "face").to_numpy()
    assert np.allclose(found, latents.flat()[faces].mean(0) - latents.flat()[~faces].mean(0))
    with pytest.raises(DataError, match="prefers every"):
        preferred_directions(latents, stimuli, {"FFA": "category != 'x'"})
    with pytest.raises(DataError, match="empty"):
        preferred_directions(latents, stimuli, {"FFA": "category == 'x'"})
    assert content_words("The dog and a Dog's bone") == ["dog", "dog's", "bone"]
