"""Pure noise scores nothing under the default split, and a naive split is shown to be fooled by the same data.

The responses are reliable: every stimulus has a pattern of its own that its repetitions share. The latents are noise
that has nothing to do with them. Whoever lets repetitions of a stimulus stand on both sides of the split can look the
stimulus up, and "predicts" its noise.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sklearn.linear_model import Ridge as PeerRidge
from sklearn.model_selection import KFold

from brainalign.encoders import LinearEncoder
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import simulate_subject
from brainalign.scoring import mean_ci, two_way_identification
from brainalign.splits import folds, split
from brainalign.voxelwise import Ridge

N_STIMULI, N_LATENTS = 60, 80


@cache
def make_experiment(seed: int):
    """Trials of 60 stimuli with six repetitions, and latents of the same stimuli that are pure noise."""
    rng = np.random.default_rng(seed)
    unrelated = rng.standard_normal((N_STIMULI, N_STIMULI))
    trials, _ = simulate_subject(
        unrelated, seed=seed, n_repetitions=6, rois={"V1": 400}, n_dimensions=N_STIMULI, ceiling=(0.6, 0.8)
    )
    noise = Latents(rng.standard_normal((N_STIMULI, N_LATENTS)), sorted(set(trials.stimulus_ids)), space="noise")
    return trials, noise


def divide(trials, how: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """ "stimulus": the default folds of the library. "trial": any trial may be held out, repetitions or not."""
    if how == "stimulus":
        return [(fold.train, fold.test) for fold in folds(trials)]
    return list(KFold(5, shuffle=True, random_state=0).split(np.empty(trials.n_trials)))


@cache
def predict(seed: int, direction: str, how: str) -> tuple[np.ndarray, ...]:
    """Predictions of each trial while it was held out; the truth, the mean of the train trials, and the fold."""
    trials, noise = make_experiment(seed)
    X, Y = trials.matrix().astype(np.float64), noise.at(trials.stimulus_ids)
    X, Y = (X, Y) if direction == "decode" else (Y, X)
    predicted, guess, fold_of = np.empty_like(Y), np.empty_like(Y), np.empty(len(Y), dtype=int)
    for number, (train, test) in enumerate(divide(trials, how)):
        # The penalty is chosen the way the score is taken.
        groups = trials.stimulus_ids[train] if how == "stimulus" else None
        predicted[test] = Ridge().fit(X[train], Y[train], groups=groups).predict(X[test])
        guess[test], fold_of[test] = Y[train].mean(axis=0), number
    return predicted, Y, guess, fold_of


def explained(predicted: np.ndarray, true: np.ndarray, guess: np.ndarray, stimulus_ids) -> tuple[float, float, float]:
    """Share of variance explained over all trials and targets, with its interval over stimuli."""
    variance = ((true - guess) ** 2).sum(axis=1)
    gain = (variance - ((true - predicted) ** 2).sum(axis=1)) / variance.mean()
    low, high = mean_ci(gain, clusters=stimulus_ids)
    return float(gain.mean()), float(low), float(high)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("direction", ["decode", "encode"])
def test_noise_explains_nothing_by_stimulus_and_much_by_trial(direction: str, seed: int) -> None:
    ids = make_experiment(seed)[0].stimulus_ids
    value, low, _ = explained(*predict(seed, direction, "stimulus")[:3], ids)
    assert low <= 0.0
    assert -0.05 < value < 0.01  # shrinking towards the mean costs a little on new stimuli
    naive, naive_low, _ = explained(*predict(seed, direction, "trial")[:3], ids)
    assert naive > 0.5
    assert naive_low > 0.4


@pytest.mark.parametrize("direction", ["decode", "encode"])
def test_identification_is_at_chance_by_stimulus_and_near_perfect_by_trial(direction: str) -> None:
    """Over eight experiments the interval of the mean holds chance; the naive split identifies nearly every pair.

    Pairs are taken within a fold: across folds, the mean of the others gives a held-out stimulus away from below.
    """
    scores = {how: [identification(seed, direction, how) for seed in range(8)] for how in ("stimulus", "trial")}
    interval = ttest_1samp(scores["stimulus"], 0.5).confidence_interval(0.95)
    assert interval.low <= 0.5 <= interval.high
    assert interval.high - interval.low < 0.12
    assert min(scores["trial"]) > 0.9


def identification(seed: int, direction: str, how: str) -> float:
    predicted, true, _, fold_of = predict(seed, direction, how)
    ids = make_experiment(seed)[0].stimulus_ids
    return two_way_identification(predicted, true, group=ids, within=fold_of).value


@pytest.mark.parametrize("seed", range(3))
def test_default_split_scores_noise_at_chance(seed: int) -> None:
    trials, noise = make_experiment(seed)
    train, test = split(trials, test_size=0.4)
    model = Ridge().fit(train.matrix(), noise.at(train.stimulus_ids), groups=train.stimulus_ids)
    score = two_way_identification(model.predict(test.matrix()), noise.at(test.stimulus_ids), group=test.stimulus_ids)
    assert score.low <= score.chance <= score.high


@pytest.mark.parametrize("seed", range(3))
def test_no_unit_is_found_significant_on_the_default_split(seed: int) -> None:
    trials, noise = make_experiment(seed)
    train, test = split(trials, test_size=0.4)
    scores = Ridge().fit(noise, train).score_units(noise, test, n_permutations=200)
    assert np.mean(scores.q < 0.05) < 0.02


def test_the_split_fools_another_library_just_as_much() -> None:
    """The inflation is the split's, not our solver's."""
    trials, noise = make_experiment(0)
    X, Y = trials.matrix(), noise.at(trials.stimulus_ids)
    r2 = {}
    for how in ("stimulus", "trial"):
        predicted, guess = np.empty_like(Y), np.empty_like(Y)
        for train, test in divide(trials, how):
            predicted[test] = PeerRidge(alpha=300.0).fit(X[train], Y[train]).predict(X[test])
            guess[test] = Y[train].mean(axis=0)
        r2[how] = 1 - ((Y - predicted) ** 2).sum() / ((Y - guess) ** 2).sum()
    assert r2["stimulus"] < 0.02
    assert r2["trial"] > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_an_encoder_trained_on_noise_identifies_nothing(seed: int) -> None:
    trials, noise = make_experiment(seed)
    train, test = split(trials, test_size=0.4)
    predicted = LinearEncoder().fit(train, noise).predict(test)
    score = two_way_identification(predicted, noise.select(predicted.ids))
    assert score.low <= score.chance <= score.high
