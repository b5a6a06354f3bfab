"""Correlation, rank correlation and R2, each against scipy or scikit-learn target by target."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import r2_score

from brainalign.errors import DataError
from brainalign.scoring.correlation import mean_over_targets, pearson, r2, spearman


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(30, 4, 3))
    return true, true + rng.normal(size=true.shape)


@pytest.mark.parametrize(("ours", "oracle"), [(pearson, stats.pearsonr), (spearman, stats.spearmanr)])
def test_equals_scipy_target_by_target(pair, ours, oracle) -> None:
    true, pred = pair
    expected = [[oracle(true[:, i, j], pred[:, i, j])[0] for j in range(3)] for i in range(4)]
    np.testing.assert_allclose(ours(true, pred), expected, atol=1e-12)


def test_r2_equals_sklearn(pair) -> None:
    true, pred = (side.reshape(30, -1) for side in pair)
    np.testing.assert_allclose(r2(true, pred), r2_score(true, pred, multioutput="raw_values"), atol=1e-12)


def test_spearman_shares_ranks_of_ties() -> None:
    rng = np.random.default_rng(1)
    true, pred = rng.integers(0, 4, (2, 50))
    assert spearman(true, pred) == pytest.approx(stats.spearmanr(true, pred)[0], abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axis_of_samples(pair, axis) -> None:
    true, pred = pair
    moved = pearson(np.moveaxis(true, 0, axis), np.moveaxis(pred, 0, axis), axis=axis)
    np.testing.assert_array_equal(moved, pearson(true, pred))


@pytest.mark.parametrize("score", [pearson, spearman, r2])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e8])
def test_constant_target_is_nan_without_a_warning(score, constant) -> None:
    true = np.column_stack([np.full(7, constant), np.arange(7.0)])
    pred = np.column_stack([np.arange(7.0), np.arange(7.0) ** 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(true, pred)
    assert np.isnan(scores[0])
    assert np.isfinite(scores[1])
    assert mean_over_targets(scores) == (scores[1], 1)


def test_float32_with_a_large_offset_keeps_its_correlation() -> None:
    rng = np.random.default_rng(2)
    true = (1e4 + rng.normal(size=(500, 2))).astype(np.float32)
    pred = (1e4 + rng.normal(size=(500, 2))).astype(np.float32)
    expected = [np.corrcoef(true[:, j].astype(float), pred[:, j].astype(float))[0, 1] for j in range(2)]
    np.testing.assert_allclose(pearson(true, pred), expected, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (8, 2), elements=st.floats(-100, 100)), st.floats(0.1, 10), st.floats(-50, 50))
def test_pearson_ignores_scale_and_shift(y, scale, shift) -> None:
    other = np.arange(16.0).reshape(8, 2) % 5
    spread = np.ptp(y, axis=0) > 1e-3
    first, second = pearson(other, y)[spread], pearson(other, scale * y + shift)[spread]
    np.testing.assert_allclose(first, second, atol=1e-7)
    assert np.all(np.abs(first) <= 1)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"same shape[\s\S]*\(3, 2\)[\s\S]*\(3,\)"):
        pearson(np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(DataError, match="y_pred contains NaN"):
        pearson([1.0, 2.0, 3.0], [1.0, np.nan, 2.0])
    with pytest.raises(DataError, match="at least 2"):
        r2([[1.0]], [[1.0]])
