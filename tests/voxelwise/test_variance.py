"""Variance shares against written-out sums and himalaya, on planted truth."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from brainalign.errors import DataError, LeakageError
from brainalign.scoring.resampling import bootstrap_weights
from brainalign.splits import split
from brainalign.voxelwise import BandedRidge
from brainalign.voxelwise.banded_variance import subset_weights
from brainalign.voxelwise.variance import (
    partition_r2,
    product_measure,
    subsets,
    variance_by_band,
    variance_by_subset,
)
from tests.voxelwise.test_banded import recording


def made(n_bands: int = 3, n_samples: int = 40, n_targets: int = 5, *, seed: int = 0):
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((n_bands, n_samples, n_targets)) * 0.4
    return parts.sum(axis=0) + rng.standard_normal((n_samples, n_targets)), parts


def r2_of(Y, f):
    return 1 - ((Y - f) ** 2).sum(axis=0) / ((Y - Y.mean(axis=0)) ** 2).sum(axis=0)


def test_product_measure_sums_to_r2_wherever_the_intercept_is():
    Y, parts = made()
    Y, parts = Y + 5.0, parts + np.array([3.0, 1.0, 1.2])[:, None, None]
    shares = product_measure(Y, parts)
    np.testing.assert_allclose(shares.sum(axis=0), r2_of(Y, parts.sum(axis=0)), atol=1e-12)
    moved = parts + np.array([4.0, -6.0, 2.0])[:, None, None]
    np.testing.assert_allclose(product_measure(Y, moved), shares, atol=1e-12)


def test_product_measure_equals_himalaya_where_all_means_are_zero():
    scoring = pytest.importorskip("himalaya.scoring")
    from himalaya.backend import set_backend

    set_backend("numpy")
    Y, parts = made()
    Y, parts = Y - Y.mean(axis=0), parts - parts.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(product_measure(Y, parts), scoring.r2_score_split(Y, parts), atol=1e-12)


def test_partition_of_two_and_three_bands_by_the_textbook_formulas():
    a, b, ab = 0.3, 0.4, 0.55
    np.testing.assert_allclose(partition_r2([a, b, ab], 2), [ab - b, ab - a, a + b - ab])
    a, b, c, ab, ac, bc, abc = 0.2, 0.3, 0.25, 0.4, 0.35, 0.45, 0.5
    expected = [
        abc - bc,
        abc - ac,
        abc - ab,
        ac + bc - c - abc,
        ab + bc - b - abc,
        ab + ac - a - abc,
        a + b + c - ab - ac - bc + abc,
    ]
    np.testing.assert_allclose(partition_r2([a, b, c, ab, ac, bc, abc], 3), expected)


@pytest.mark.parametrize("n_bands", range(1, 7))
def test_parts_sum_to_the_whole_and_those_that_touch_a_set_to_what_it_explains(n_bands):
    """R² of a model is the sum of all parts that any of its bands has a share in."""
    r2 = np.random.default_rng(n_bands).random((2**n_bands - 1, 4))
    parts, order = partition_r2(r2, n_bands), subsets(n_bands)
    assert len(order) == len(set(order)) == 2**n_bands - 1
    for chosen, value in zip(order, r2, strict=True):
        touching = [set(chosen) & set(one) != set() for one in order]
        np.testing.assert_allclose(parts[touching].sum(axis=0), value, atol=1e-12)


def test_intervals_are_those_of_a_loop_over_resamples():
    Y, parts = made(n_samples=30)
    Y[:, 4] = 2.0
    draws = np.concatenate(list(bootstrap_weights(200, 30, seed=3)))
    rows = [np.repeat(np.arange(30), draw.astype(int)) for draw in draws]
    found = variance_by_band(Y, parts, "abc", n_draws=200, seed=3)
    expected = np.stack([product_measure(Y[row], parts[:, row]) for row in rows])
    for end, share in ((found.low, 0.025), (found.high, 0.975)):
        np.testing.assert_allclose(end[:, :4], np.quantile(expected[..., :4], share, axis=0), atol=1e-10)
    assert np.isnan(found.values[:, 4]).all() and np.isnan(found.low[:, 4]).all()
    np.testing.assert_allclose(found.values[:, :4].sum(axis=0), found.r2[:4])

    models = [parts[list(chosen)].sum(axis=0) for chosen in subsets(3)]
    found = variance_by_subset(Y, models, "abc", n_draws=200, seed=3)
    np.testing.assert_allclose(
        found.values[:, :4], partition_r2([r2_of(Y[:, :4], f[:, :4]) for f in models], 3), atol=1e-12
    )
    expected = np.stack([partition_r2([r2_of(Y[row, :4], f[row, :4]) for f in models], 3) for row in rows])
    np.testing.assert_allclose(found.low[:, :4], np.quantile(expected, 0.025, axis=0), atol=1e-10)
    assert found.names == ("a", "b", "c", "a & b", "a & c", "b & c", "a & b & c")
    assert len(found.table()) == 35


@pytest.fixture(scope="module")
def correlated():
    """Two bands with a part in common, a third that is noise; targets of the first, of the common part, of nothing."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((500, 4))
    X = {
        "a": np.hstack([rng.standard_normal((500, 4)), common]),
        "b": np.hstack([rng.standard_normal((500, 4)), common]),
        "c": rng.standard_normal((500, 4)),
    }
    own, shared = X["a"][:, :4] @ rng.standard_normal((4, 10)), common @ rng.standard_normal((4, 10))
    Y = np.hstack([own, shared, np.zeros((500, 10))])
    Y[:, :20] /= Y[:, :20].std(axis=0)
    return X, Y + rng.standard_normal(Y.shape)


def halves(X, Y):
    rows = slice(0, 350), slice(350, None)
    return [({name: one[row] for name, one in X.items()}, Y[row]) for row in rows]


def test_planted_unique_and_shared_variance_is_found(correlated):
    (X, Y), (X_test, Y_test) = halves(*correlated)
    model = BandedRidge(n_iter=10)
    shares = model.partition_variance(X, Y, X_test, Y_test, n_draws=200)
    own, shared, nothing = (dict(zip(shares.names, part, strict=True)) for part in _by_kind(shares.values))
    assert own["a"] == pytest.approx(0.5, abs=0.08) and shared["a & b"] == pytest.approx(0.5, abs=0.08)
    for part, planted in ((own, "a"), (shared, "a & b"), (nothing, None)):
        assert all(abs(value) < 0.05 for name, value in part.items() if name != planted)
    driven = shares.names.index("a")
    assert (shares.low[driven, :10] > 0.2).all() and (shares.low[driven, 10:] < 0.05).all()
    np.testing.assert_allclose(shares.values.sum(axis=0), r2_of(Y_test, model.predict(X_test)), atol=1e-9)
    joint = BandedRidge(n_iter=subset_weights(3, 10)).fit(X, Y)
    np.testing.assert_allclose(model.coef_, joint.coef_, atol=1e-8)


def _by_kind(values):
    return values[:, :10].mean(axis=1), values[:, 10:20].mean(axis=1), values[:, 20:].mean(axis=1)


def test_the_product_measure_says_which_band_drives_and_a_shuffled_copy_nothing(correlated):
    (X, Y), (X_test, Y_test) = halves(*correlated)
    model = BandedRidge(n_iter=30).fit(X, Y)
    shares = model.product_measure(X_test, Y_test, n_draws=200)
    own, shared, nothing = _by_kind(shares.values)
    assert own[0] > 0.4 and abs(own[1:]).max() < 0.05
    assert shared[:2].sum() > 0.4 and abs(shared[2]) < 0.03 and abs(nothing).max() < 0.03
    np.testing.assert_allclose(shares.r2, r2_of(Y_test, model.predict(X_test)), atol=1e-9)
    order = np.random.default_rng(1).permutation(len(Y))
    wrong = BandedRidge(n_iter=10).fit(X, Y[order]).product_measure(X_test, Y_test, n_draws=200)
    assert abs(wrong.values).mean() < 0.02 and (wrong.low > 0).mean() < 0.1


def test_a_subset_is_a_model_of_its_own_candidates():
    weights = subset_weights(3, 6, seed=1)
    for chosen in combinations(range(3), 2):
        (outside,) = set(range(3)) - set(chosen)
        inside = weights[weights[:, outside] == 0][:, chosen]
        assert len(inside) >= 6 and {(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)} <= set(map(tuple, inside))
    assert len(np.unique(weights, axis=0)) == len(weights)


def test_stimuli_that_were_fitted_on_have_no_shares():
    layers, trials = recording()
    train, test = split(trials, test_size=0.3)
    model = BandedRidge(n_iter=6).fit(layers, train)
    shares = model.product_measure(layers, test, n_draws=100)
    assert shares.n_samples == len(set(test.stimulus_ids)) and shares.values[1].mean() > 0.5
    again = model.partition_variance(layers, train, layers, test, n_draws=100)
    assert again.values[1].mean() > 0.5 and abs(again.values[[0, 2]]).max() < 0.15
    with pytest.raises(LeakageError, match="in both train and test"):
        model.product_measure(layers, trials)
    with pytest.raises(LeakageError, match="in both train and test"):
        model.partition_variance(layers, train, layers, train)


def test_bad_input_is_refused():
    Y, parts = made()
    refusals = {
        "too many bands": lambda: subsets(7),
        "there are no bands": lambda: subsets(0),
        "R² of every subset": lambda: partition_r2([0.1, 0.2], 2),
        "do not match the targets": lambda: product_measure(Y, parts[:, :-1]),
        "Y contains NaN": lambda: product_measure(np.where(Y > 1, np.nan, Y), parts),
        "predictions contains NaN": lambda: product_measure(Y, np.where(parts > 1, np.inf, parts)),
        "a name for each band": lambda: variance_by_band(Y, parts, "ab"),
        "a prediction for every subset": lambda: variance_by_subset(Y, list(parts), "abc"),
        "Y is too small": lambda: product_measure(Y[:1], parts[:, :1]),
    }
    for message, call in refusals.items():
        with pytest.raises(DataError, match=message):
            call()
    X = {str(number): np.random.default_rng(number).standard_normal((40, 2)) for number in range(7)}
    with pytest.raises(DataError, match="too many bands"):
        BandedRidge().partition_variance(X, Y, X, Y)
