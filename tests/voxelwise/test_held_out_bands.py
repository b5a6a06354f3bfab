"""Banded ridge across folds: parts that sum, the planted band found, the fold's own model as oracle."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.scoring.resampling import bootstrap_weights
from brainalign.splits import contiguous_folds, folds
from brainalign.trials import Trials
from brainalign.voxelwise.held_out_bands import predict_bands, shares_by_region

N_STIMULI = 80
IDS = [f"s{number:02d}" for number in range(N_STIMULI)]


@pytest.fixture(scope="module")
def planted():
    """Ten units of region A follow the small band, ten of region B the large one, whose scale is a thousandfold."""
    rng = np.random.default_rng(0)
    small, large = rng.standard_normal((N_STIMULI, 4)), 1000 * rng.standard_normal((N_STIMULI, 120))
    bands = {"small": Latents(small, IDS, space="small"), "large": Latents(large, IDS, space="large")}
    low_rank = large[:, :3] / 1000
    clean = np.hstack([small @ rng.standard_normal((4, 10)), low_rank @ rng.standard_normal((3, 10))])
    trials = Trials(clean + 0.5 * rng.standard_normal(clean.shape), pd.DataFrame({"stimulus_id": IDS}))
    return trials, bands, np.repeat(["A", "B"], 10)


@pytest.fixture(scope="module")
def parts(planted):
    trials, bands, _ = planted
    return predict_bands(trials, bands, folds(trials, n_splits=4))


def test_shares_sum_to_the_r2_of_scikit_learn(planted, parts):
    trials, _, regions = planted
    weights = np.concatenate(list(bootstrap_weights(100, N_STIMULI)))
    by_unit, by_region = shares_by_region(trials.matrix(), parts, regions, weights=weights)
    expected = r2_score(trials.matrix(), parts.sum(axis=0), multioutput="raw_values")
    np.testing.assert_allclose(by_unit.sum(axis=0), expected, atol=1e-9)
    for name, found in by_region.items():
        np.testing.assert_allclose(found.values[-1], expected[regions == name].mean())
        np.testing.assert_allclose(found.values[:-1], by_unit[:, regions == name].mean(axis=1))
        assert (found.low <= found.values).all() and (found.values <= found.high).all() and found.n_units == 10


def test_variance_goes_to_the_band_it_came_from_whatever_its_scale(planted, parts):
    trials, _, regions = planted
    by_unit, _ = shares_by_region(trials.matrix(), parts, regions, weights=np.ones((1, N_STIMULI)))
    assert by_unit[0, :10].mean() > 0.6 and abs(by_unit[1, :10].mean()) < 0.1
    assert by_unit[1, 10:].mean() > 0.1 and abs(by_unit[0, 10:].mean()) < 0.1


def test_scale_and_offset_of_a_band_change_nothing(planted, parts):
    trials, bands, _ = planted
    moved = {**bands, "small": Latents(1e-3 * bands["small"].values + 7.0, IDS, space="small")}
    again = predict_bands(trials, moved, folds(trials, n_splits=4))
    np.testing.assert_allclose(again, parts, atol=1e-6)


def test_test_stimuli_have_no_say(planted):
    """Responses of held-out stimuli may be anything: the model that predicts them never saw them."""
    trials, bands, _ = planted
    division = folds(trials, n_splits=4)
    spoilt = trials.responses.copy()
    spoilt[division[0].test] = 1e3
    other = predict_bands(Trials(spoilt, trials.trials, trials.units), bands, division)
    expected = predict_bands(trials, bands, division)
    np.testing.assert_array_equal(other[:, division[0].test], expected[:, division[0].test])
    assert np.abs(other[:, division[1].test] - expected[:, division[1].test]).max() > 1


def test_pure_noise_has_no_share(planted):
    _, bands, regions = planted
    noise = Trials(np.random.default_rng(9).standard_normal((N_STIMULI, 20)), pd.DataFrame({"stimulus_id": IDS}))
    made = predict_bands(noise, bands, contiguous_folds(N_STIMULI, n_splits=4, gap=2))
    by_unit, _ = shares_by_region(noise.matrix(), made, regions, weights=np.ones((1, N_STIMULI)))
    assert by_unit.sum(axis=0).mean() < 0.02


def test_a_constant_unit_is_left_out(planted, parts):
    trials, _, regions = planted
    measured = trials.matrix().copy()
    measured[:, 2] = 1.0
    by_unit, by_region = shares_by_region(measured, parts, regions, weights=np.ones((2, N_STIMULI)))
    assert np.isnan(by_unit[:, 2]).all() and by_region["A"].n_units == 9 and np.isfinite(by_region["A"].values).all()


def test_bad_input_is_refused(planted):
    trials, bands, _ = planted
    with pytest.raises(DataError, match="no bands"):
        predict_bands(trials, {}, folds(trials))
    with pytest.raises(DataError, match="held out by no fold"):
        predict_bands(trials, bands, folds(trials)[1:])
    twice = trials.select(np.repeat(np.arange(N_STIMULI), 2))
    with pytest.raises(LeakageError, match="both train and test"):
        predict_bands(twice, bands, folds(np.arange(2 * N_STIMULI)))
