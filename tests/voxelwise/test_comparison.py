"""Comparison of two models against loops that swap and resample, and its error rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from brainalign.errors import DataError
from brainalign.scoring.resampling import bootstrap_weights
from brainalign.trials import Trials
from brainalign.voxelwise import comparison
from brainalign.voxelwise.comparison import compare_models
from brainalign.voxelwise.scores import UnitScores, score_predictions


def two_models(
    n_stimuli: int = 40, n_units: int = 6, *, seed: int = 0, noise: tuple[float, float] = (1.0, 1.0)
) -> tuple[UnitScores, UnitScores, Trials, list[np.ndarray]]:
    """Scores of two predictions that are noisy copies of one signal, the second ten times as large."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n_stimuli, n_units))
    table = pd.DataFrame({"stimulus_id": [f"s{row}" for row in range(n_stimuli)]})
    units = pd.DataFrame({"roi": ["V1", "V2", "V2"] * (n_units // 3)})
    trials = Trials(signal + rng.standard_normal(signal.shape), table, units, info={"split": {"hash": "abc"}})
    guesses = [
        scale * (signal + spread * rng.standard_normal(signal.shape)) + 5.0
        for scale, spread in zip((1.0, 10.0), noise, strict=True)
    ]
    average = trials.average()
    first, second = (score_predictions(guess, trials, average, n_permutations=0) for guess in guesses)
    return first, second, trials, guesses


def test_p_values_are_those_of_a_loop_that_swaps_predictions():
    first, second, trials, guesses = two_models(15, 6, noise=(0.5, 1.5))
    result = compare_models(first, second, n_permutations=150, seed=4)
    one, other = (stats.zscore(guess, axis=0) for guess in guesses)
    true = trials.responses

    def difference(keep: np.ndarray) -> list[float]:
        a, b = np.where(keep[:, None], one, other), np.where(keep[:, None], other, one)
        return [np.corrcoef(true[:, u], a[:, u])[0, 1] - np.corrcoef(true[:, u], b[:, u])[0, 1] for u in range(6)]

    observed = np.array(difference(np.ones(15, dtype=bool)))
    np.testing.assert_allclose(result.difference, observed)
    null = np.array([difference(keep > 0) for keep in comparison._signs(150, 15, 4)])
    reached = np.abs(null) >= np.abs(observed) - 1e-9
    np.testing.assert_allclose(result.p, (1 + reached.sum(axis=0)) / 151)
    highest = np.abs(null).max(axis=1)
    np.testing.assert_allclose(result.p_max, [(1 + (highest >= abs(one) - 1e-9).sum()) / 151 for one in observed])
    np.testing.assert_allclose(result.q, stats.false_discovery_control(result.p))
    regions = result.regions()
    v2 = (trials.units["roi"] == "V2").to_numpy()
    reached = np.abs(null[:, v2].mean(axis=1)) >= abs(observed[v2].mean()) - 1e-9
    assert regions.loc["V2", "p"] == pytest.approx((1 + reached.sum()) / 151)
    assert regions.loc["V2", "difference"] == pytest.approx(observed[v2].mean())
    assert regions.loc["V2", "n_units"] == 4
    np.testing.assert_allclose(regions["q"], stats.false_discovery_control(regions["p"]))


def test_intervals_are_those_of_a_loop_that_resamples_stimuli():
    first, second, trials, guesses = two_models(15, 3)
    result = compare_models(first, second, n_permutations=10, n_draws=120, seed=2)
    weights = np.concatenate(list(bootstrap_weights(120, 15, seed=2))).astype(int)
    draws = []
    for row in weights:
        rows = np.repeat(np.arange(15), row)
        r = [[np.corrcoef(trials.responses[rows, u], one[rows, u])[0, 1] for u in range(3)] for one in guesses]
        draws.append(np.subtract(*r))
    np.testing.assert_allclose([result.low, result.high], np.quantile(draws, [0.025, 0.975], axis=0), atol=1e-9)
    summary = result.summary("roi == 'V2'")
    expected = np.quantile(np.mean(np.array(draws)[:, 1:], axis=1), [0.025, 0.975])
    np.testing.assert_allclose(summary.ci, expected, atol=1e-9)
    assert (summary.n, summary.split, summary.chance) == (15, "abc", 0.0)
    assert summary.why["ceiling"] and "two-sided p = " in summary.how


def test_the_better_model_is_found_on_either_side():
    first, second, *_ = two_models(120, 30, noise=(0.3, 4.0))
    for result, sign in ((compare_models(first, second), 1), (compare_models(second, first), -1)):
        assert (result.p_max < 0.05).mean() > 0.8
        assert (np.sign(result.difference) == sign).all()
        assert result.summary().low * sign > 0
        assert (result.regions()["p"] < 0.01).all()
    assert "the first model is better in 30" in repr(compare_models(first, second))


def test_equally_good_models_differ_as_often_as_chance_allows():
    p, family, covered = [], [], []
    for seed in range(120):
        result = compare_models(*two_models(40, 6, seed=seed)[:2], n_permutations=99, n_draws=100, seed=seed)
        p.append(result.p)
        family.append(result.p_max.min())
        covered.append((result.low <= 0) & (result.high >= 0))
    assert 0.03 < (np.array(p) <= 0.05).mean() < 0.075
    assert stats.binomtest(int((np.array(family) <= 0.05).sum()), 120, 0.05).pvalue > 0.005
    assert np.mean(covered) > 0.9


def test_a_model_does_not_differ_from_itself():
    first, *_ = two_models()
    result = compare_models(first, first, n_permutations=50, n_draws=50)
    assert (result.difference == 0).all() and (result.p == 1).all() and (result.p_max == 1).all()
    assert (result.low == 0).all() and (result.high == 0).all()


def test_stimuli_are_paired_by_id():
    first, second, trials, guesses = two_models()
    order = np.random.default_rng(0).permutation(40)
    other = trials.select(order)
    moved = score_predictions(guesses[1][order], other, other.average(), n_permutations=0)
    np.testing.assert_allclose(compare_models(first, moved).p, compare_models(first, second).p)


def test_constant_predictions_are_left_out():
    first, _, trials, guesses = two_models()
    guesses[1][:, 2] = 1.0
    second = score_predictions(guesses[1], trials, trials.average(), n_permutations=0)
    result = compare_models(first, second, n_permutations=50)
    for values in (result.difference, result.p, result.q, result.p_max, result.low, result.high):
        assert np.isnan(values[2]) and np.isfinite(np.delete(values, 2)).all()
    assert result.regions().loc["V2", "n_units"] == 3
    nothing = result.summary([2])
    assert nothing.value is None and "no unit" in nothing.why["value"]


def test_times_are_kept_apart():
    first, second, trials, guesses = two_models()
    cube = Trials(trials.responses.reshape(40, 3, 2), trials.trials, times=[0.0, 0.1])
    scores = [score_predictions(one, cube, cube.average(), n_permutations=0) for one in guesses]
    result = compare_models(*scores)
    assert result.difference.shape == (3, 2)
    np.testing.assert_array_equal(result.p.ravel(), compare_models(first, second).p)
    assert result.table()["time"].tolist() == [0.0, 0.1] * 3


def test_models_of_different_things_are_not_compared():
    first, second, trials, guesses = two_models()
    fewer = trials.select(np.arange(20))
    elsewhere = Trials(trials.responses + 1.0, trials.trials, trials.units, info=trials.info)
    others = {
        "same stimuli": score_predictions(guesses[1][:20], fewer, fewer.average(), n_permutations=0),
        "same units": replace(second, units=second.units.assign(name=list("abcdef"))),
        "same split": replace(second, split="xyz"),
        "different responses": score_predictions(guesses[1], elsewhere, elsewhere.average(), n_permutations=0),
    }
    for message, scores in others.items():
        with pytest.raises(DataError, match=message):
            compare_models(first, scores)
    with pytest.raises(DataError, match="needs permutations"):
        compare_models(first, second, n_permutations=0)
    with pytest.raises(DataError, match="no units column"):
        compare_models(first, second, n_permutations=5).regions("area")
