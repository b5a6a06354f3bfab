"""Bootstrap, permutation and corrections against scipy, closed forms and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainalign.errors import DataError
from brainalign.scoring.resampling import (
    bootstrap_weights,
    fdr,
    interval,
    max_statistic_p,
    mean_ci,
    permutation_p,
    permutations,
)


def all_weights(n_draws: int, n: int, **kwargs) -> np.ndarray:
    return np.concatenate(list(bootstrap_weights(n_draws, n, **kwargs)))


def test_weights_are_multiplicities_with_multinomial_moments() -> None:
    weights = all_weights(4000, 20, seed=1)
    np.testing.assert_array_equal(weights.sum(axis=1), 20)
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.08)
    np.testing.assert_allclose(weights.var(axis=0), 0.95, atol=0.1)


def test_first_draws_do_not_depend_on_how_many_follow() -> None:
    np.testing.assert_array_equal(all_weights(130, 7, seed=3), all_weights(1000, 7, seed=3)[:130])
    assert not np.array_equal(all_weights(130, 7, seed=3), all_weights(130, 7, seed=4))


def test_clusters_are_drawn_whole() -> None:
    labels = np.array(["x", "y", "x", "z", "z", "z"])
    weights = all_weights(50, 6, clusters=labels)
    for label in "xyz":
        assert np.all(np.ptp(weights[:, labels == label], axis=1) == 0)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_interval_of_a_mean_equals_scipy(method) -> None:
    values = np.random.default_rng(0).exponential(size=60)
    low, high = mean_ci(values, n_draws=20_000, method=method)
    peer = stats.bootstrap((values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(1))
    width = peer.confidence_interval.high - peer.confidence_interval.low
    np.testing.assert_allclose((low, high), peer.confidence_interval, atol=0.03 * width)


@pytest.mark.parametrize("clustered", [False, True])
def test_interval_covers_only_when_clusters_are_respected(clustered) -> None:
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        values = np.repeat(rng.normal(size=40), 10) + 0.3 * rng.normal(size=400)
        clusters = np.repeat(np.arange(40), 10) if clustered else None
        low, high = mean_ci(values, clusters=clusters, n_draws=400)
        covered += low <= 0 <= high
    assert covered >= 87 if clustered else covered < 75


def test_mean_leaves_out_nan() -> None:
    values = np.random.default_rng(2).normal(size=(50, 3))
    holes = values.copy()
    holes[::5, 1] = np.nan
    low, high = mean_ci(holes)
    assert low[1] < np.nanmean(holes[:, 1]) < high[1]
    np.testing.assert_array_equal(low[[0, 2]], mean_ci(values)[0][[0, 2]])


def test_interval_ignores_nan_draws() -> None:
    low, high = interval(np.r_[np.nan, np.arange(101.0)])
    np.testing.assert_allclose((low, high), (2.5, 97.5))


def test_permutation_p_counts_itself_and_ties() -> None:
    null = np.arange(99.0)
    assert permutation_p(1000.0, null) == 0.01
    assert permutation_p(98.0, null) == pytest.approx(0.02)
    assert permutation_p(-1.0, null) == 1.0
    assert permutation_p(-1.0, null, tail="less") == 0.01
    assert permutation_p(-1000.0, null, tail="two-sided") == 0.01
    np.testing.assert_array_equal(permutation_p([np.nan, 99.0], np.zeros((3, 2))), [np.nan, 0.25])


def test_p_values_of_noise_are_uniform() -> None:
    rng = np.random.default_rng(0)
    p = permutation_p(rng.normal(size=2000), rng.normal(size=(199, 2000)))
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_permutations_stay_inside_groups() -> None:
    groups = np.array([0, 1, 0, 1, 1, 2])
    orders = np.array(list(permutations(6, 200, groups=groups, seed=0)))
    assert np.all(groups[orders] == groups)
    assert len({tuple(order) for order in orders}) == 12
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(6), (200, 1)))


def test_max_statistic_holds_the_family_error() -> None:
    rng = np.random.default_rng(1)
    false_alarms = 0
    for _ in range(200):
        observed, null = rng.normal(size=30), rng.normal(size=(99, 30))
        false_alarms += max_statistic_p(observed, null).min() <= 0.05
    assert 2 <= false_alarms <= 20
    observed[3] = 10.0
    assert max_statistic_p(observed, null)[3] == 0.01


def test_fdr_equals_scipy_and_leaves_out_nan() -> None:
    p = np.random.default_rng(0).random((4, 25)) ** 2
    np.testing.assert_allclose(fdr(p), stats.false_discovery_control(p.ravel()).reshape(p.shape), atol=1e-15)
    p[2, 3] = np.nan
    expected = np.full(p.shape, np.nan)
    expected[~np.isnan(p)] = stats.false_discovery_control(p[~np.isnan(p)])
    np.testing.assert_allclose(fdr(p), expected, atol=1e-15)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="lie between 0 and 1"):
        fdr([0.2, 1.2])
    with pytest.raises(DataError, match="label every sample"):
        all_weights(3, 5, clusters=[1, 2])
    with pytest.raises(DataError, match="percentile or bca"):
        mean_ci([1.0, 2.0], method="normal")
