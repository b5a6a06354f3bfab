"""Layer preference: the planted layer wins, by a margin that a plain bootstrap gives too; equal layers do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from brainalign.errors import DataError
from brainalign.scoring.resampling import bootstrap_weights
from brainalign.voxelwise.preference import compare_layers

N_STIMULI, N_UNITS = 120, 40


@pytest.fixture(scope="module")
def planted():
    """Units 0-19 (region A) follow layer 0, units 20-39 (B) follow layer 2; layer 1 is a blend."""
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((3, N_STIMULI, N_UNITS))
    signals[1] = (signals[0] + signals[2]) / np.sqrt(2)
    measured = np.where(np.arange(N_UNITS) < 20, signals[0], signals[2]) + rng.standard_normal((N_STIMULI, N_UNITS))
    return measured, list(signals), np.repeat(["A", "B"], 20)


def test_the_planted_layer_wins_in_unit_and_region(planted):
    measured, layers, regions = planted
    found = compare_layers(measured, layers, regions=regions)
    assert (found.best[:20] == 0).mean() > 0.9 and (found.best[20:] == 2).mean() > 0.9
    assert found.regions["A"].best == 0 and found.regions["B"].best == 2
    for region in found.regions.values():
        assert region.second == 1 and region.difference[1] > 0 and region.p < 0.01 and region.n_units == 20
    assert found.preferred(np.zeros((3, N_UNITS))).tolist() == [-1] * N_UNITS


def test_draws_are_those_of_a_plain_bootstrap(planted):
    measured, layers, regions = planted
    found = compare_layers(measured, layers, regions=regions, n_draws=200, seed=4)
    drawn = []
    for weights in np.concatenate(list(bootstrap_weights(200, N_STIMULI, seed=4))).astype(int):
        rows = np.repeat(np.arange(N_STIMULI), weights)
        drawn.append([[pearsonr(layer[rows, u], measured[rows, u])[0] for u in range(5)] for layer in layers])
    drawn = np.array(drawn)
    r = np.array([[pearsonr(layer[:, u], measured[:, u])[0] for u in range(5)] for layer in layers])
    np.testing.assert_allclose(found.r[:, :5], r)
    order = np.argsort(-r, axis=0)
    for unit in range(5):
        difference = drawn[:, order[0, unit], unit] - drawn[:, order[1, unit], unit]
        np.testing.assert_allclose([found.low[unit], found.high[unit]], np.quantile(difference, [0.025, 0.975]))
        np.testing.assert_allclose(found.margin[unit], r[order[0, unit], unit] - r[order[1, unit], unit])
        assert found.stability[unit] == pytest.approx((drawn[:, :, unit].argmax(axis=1) == order[0, unit]).mean())


def test_blocks_are_drawn_whole(planted):
    measured, layers, _ = planted
    blocks = np.arange(N_STIMULI) // 10
    found = compare_layers(measured[:, :3], [one[:, :3] for one in layers], blocks=blocks, n_draws=100, seed=1)
    drawn = []
    for weights in np.concatenate(list(bootstrap_weights(100, 12, seed=1))).astype(int):
        rows = np.concatenate([np.flatnonzero(blocks == block) for block in np.repeat(np.arange(12), weights)])
        drawn.append(np.mean([pearsonr(layers[0][rows, u], measured[rows, u])[0] for u in range(3)]))
    region = found.regions["all units"]
    np.testing.assert_allclose([region.low[0], region.high[0]], np.quantile(drawn, [0.025, 0.975]))


def test_blocks_widen_what_neighbours_repeat():
    """Every sample stands there ten times: drawn one by one the interval is three times too narrow."""
    rng = np.random.default_rng(2)
    measured = np.repeat(rng.standard_normal((30, 1)), 10, axis=0)
    predicted = np.repeat(measured[::10] + rng.standard_normal((30, 1)), 10, axis=0)
    alone = compare_layers(measured, [predicted]).regions["all units"]
    whole = compare_layers(measured, [predicted], blocks=np.arange(300) // 10).regions["all units"]
    assert 2.2 < (whole.high - whole.low).item() / (alone.high - alone.low).item() < 4.5


def test_equal_layers_are_told_apart_as_often_as_chance_has_it():
    rng = np.random.default_rng(1)
    p = []
    for _ in range(60):
        truth = rng.standard_normal((60, 8))
        measured, *layers = (truth + rng.standard_normal(truth.shape) for _ in range(3))
        p.append(compare_layers(measured, layers, n_draws=200).regions["all units"].p)
    assert np.mean(np.array(p) < 0.05) < 0.15


def test_units_without_a_correlation_have_no_preference(planted):
    measured, layers, regions = planted
    measured = measured.copy()
    measured[:, 3] = 1.0
    found = compare_layers(measured, layers, regions=regions, n_draws=50)
    assert found.best[3] == -1 and np.isnan(found.margin[3]) and np.isnan(found.stability[3])
    assert found.regions["A"].n_units == 19 and np.isfinite(found.regions["A"].r).all()


def test_one_layer_is_best_and_tells_nothing(planted):
    measured, layers, _ = planted
    found = compare_layers(measured, layers[:1], n_draws=50)
    assert (found.best == 0).all() and (found.stability == 1).all() and (found.margin == 0).all()
    assert found.regions["all units"].p == 1.0


def test_bad_input_is_refused(planted):
    measured, layers, _ = planted
    with pytest.raises(DataError, match="every layer predicts"):
        compare_layers(measured, [])
    with pytest.raises(DataError, match="every layer predicts"):
        compare_layers(measured, [layers[0][:-1]])
    with pytest.raises(DataError, match="label every stimulus"):
        compare_layers(measured, layers, blocks=[1, 2])
