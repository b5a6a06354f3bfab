"""Zero-shot galleries against brute force, and contributions that find the planted times and places."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis.decoding import (
    as_evoked,
    concept_centres,
    decode_latents_over_time,
    haufe_patterns,
    occlusion,
    score_subjects,
    zero_shot_pictures,
)
from brainalign.encoders import LinearEncoder, TSConv
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import simulate_subject
from brainalign.splits import split

LATENTS = Latents(np.random.default_rng(0).standard_normal((120, 4)), [f"p{n:03d}" for n in range(120)], space="toy")


def subject(seed: int, *, shuffled: bool = False, **options):
    trials, truth = simulate_subject(
        LATENTS, modality="eeg", seed=seed, n_repetitions=1, sfreq=50.0, ceiling=(0.85, 0.9), drift=0.0, **options
    )
    if shuffled:
        order = np.random.default_rng(9).permutation(len(trials))
        trials = trials.with_responses(trials.responses[order])
    return split(trials, test_size=0.3, seed=0), truth


def test_galleries_by_brute_force():
    rng = np.random.default_rng(1)
    pictures = Latents(rng.standard_normal((200, 30)), [f"q{n}" for n in range(200)], space="toy")
    chance = zero_shot_pictures(Latents(rng.standard_normal((200, 30)), pictures.ids, space="toy"), pictures)
    assert [one.chance for one in chance.values()] == pytest.approx([0.5, 0.25, 0.1, 0.005, 0.025])
    assert all(
        abs(one.value - one.chance) < 3.5 * np.sqrt(one.chance * (1 - one.chance) / 200) for one in chance.values()
    )
    noisy = Latents(pictures.values + 1.5 * rng.standard_normal((200, 30)), pictures.ids, space="toy")
    scores = zero_shot_pictures(noisy, pictures)
    unit = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (noisy.values, pictures.values)]
    cosine = unit[0] @ unit[1].T
    place = (cosine > cosine.diagonal()[:, None]).sum(axis=1)
    assert scores["200-way top-1"].value == pytest.approx(np.mean(place == 0))
    assert scores["200-way top-5"].value == pytest.approx(np.mean(place < 5))
    assert scores["2-way top-1"].value == pytest.approx(np.mean(1 - place / 199))
    order = rng.permutation(200)
    scaled = Latents(7 * noisy.values[order], [noisy.ids[row] for row in order], space="toy")
    again = zero_shot_pictures(scaled, pictures)
    assert {name: one.value for name, one in again.items()} == pytest.approx({n: s.value for n, s in scores.items()})


def test_concept_centres_are_of_other_pictures():
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((12, 6))
    ids = [f"c{concept}_{number}" for concept in range(12) for number in range(4)]
    concepts = {one: one.split("_")[0] for one in ids}
    pictures = Latents(np.repeat(centres, 4, axis=0) + 0.3 * rng.standard_normal((48, 6)), ids, space="toy")
    test = pictures.select([f"c{concept}_0" for concept in range(12)])
    scores = zero_shot_pictures(test, pictures, concepts=concepts)
    assert "concept centres" in scores["12-way top-1"].protocol and scores["12-way top-1"].value > 0.9
    assert "exact pictures" in zero_shot_pictures(test, pictures)["12-way top-1"].protocol
    others = [one for one in ids if one.startswith("c3_") and one != "c3_0"]
    made = concept_centres(pictures, concepts, leave_out=test.ids)
    np.testing.assert_allclose(made.at(["c3"])[0], pictures.at(others).mean(axis=0))
    with pytest.raises(LeakageError, match="concept in both"):
        zero_shot_pictures(test, pictures, concepts=concepts, trained_on=["c3"])
    with pytest.raises(DataError, match="has no concept"):
        zero_shot_pictures(test, pictures, concepts={})


def test_planted_latencies_and_topographies_are_found_and_nothing_in_a_shuffled_copy():
    (train, test), truth = subject(0, rois=["temporal"])
    times, values = decode_latents_over_time(
        LinearEncoder(100.0, None, rescale=False), train, test, LATENTS, window=0.08, step=0.08
    )
    before = times + 0.04 < truth.onsets["temporal"]
    assert values[before].max() < 0.62 and values.max() > 0.7 and 0.12 < times[values.argmax()] < 0.3
    encoder = LinearEncoder(100.0, None, rescale=False).fit(train, LATENTS)
    mean = train.average("stimulus_id")
    pattern = haufe_patterns(mean, encoder.predict(train))
    peak = np.argmin(np.abs(mean.times - 0.17))
    # The source answers to a mixture of latents: patterns and weights span the same topographies.
    own, planted = pattern[:, :, peak], truth.weights["temporal"]
    basis = np.linalg.svd(planted, full_matrices=False)[2]
    inside = np.linalg.norm(own @ basis.T) / np.linalg.norm(own)
    raw = encoder.fits_["latents"].coef.reshape(32, len(mean.times), 4)[:, peak].T
    assert inside > 0.8 and inside > np.linalg.norm(raw @ basis.T) / np.linalg.norm(raw)
    lost = occlusion(encoder, test, LATENTS, by="times", window=0.1)
    best = max(lost, key=lambda name: lost[name])
    assert 0.1 < float(best) < 0.3 and lost[best] > 0.03 and abs(lost[next(iter(lost))]) < lost[best] / 2
    regions = occlusion(encoder, test, LATENTS, by="regions", mode="mean")
    assert max(regions, key=lambda name: regions[name]) in ("temporal", "parietal", "occipital")
    evoked = as_evoked(test, occlusion(encoder, test, LATENTS))
    assert evoked.data.shape == (32, 1) and as_evoked(mean, pattern[0]).data.shape == pattern[0].shape
    (train, test), _ = subject(0, rois=["temporal"], shuffled=True)
    values = decode_latents_over_time(
        LinearEncoder(100.0, None, rescale=False), train, test, LATENTS, window=0.08, step=0.16
    )[1]
    assert values.max() < 0.65
    with pytest.raises(LeakageError):
        decode_latents_over_time(encoder, train, train, LATENTS)
    with pytest.raises(DataError, match="make no patterns"):
        haufe_patterns(mean.responses[:3], np.zeros((3, 4)))


@pytest.mark.slow
def test_within_subject_beats_another_subjects_brain():
    sizes = {"n_filters": 4, "kernel": 5, "pool": 9, "dropout": 0.1}
    network = TSConv(sizes, unseen="shared", training={"n_epochs": 25, "batch_size": 32, "learning_rate": 0.01})
    halves = {str(seed): subject(seed)[0] for seed in (1, 2, 3)}
    train, test = ({name: half[side].with_trials(subject=name) for name, half in halves.items()} for side in (0, 1))
    within = score_subjects(network, train, test, LATENTS)
    loso = score_subjects(network, train, test, LATENTS, protocol="loso")
    means = [np.mean([one["2-way top-1"].value for one in scores.values()]) for scores in (within, loso)]
    assert means[0] > means[1] + 0.05 and means[0] > 0.7
    assert within["1"]["2-way top-1"].protocol.startswith("within subject; zero-shot, 2-way top-1")
    with pytest.raises(LeakageError):
        score_subjects(network, train, {**test, "1": train["2"]}, LATENTS)
