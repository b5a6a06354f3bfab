"""Delays against a loop over samples; run borders; and the leak that shuffled folds have with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.splits import contiguous_folds
from brainalign.voxelwise import Ridge
from brainalign.voxelwise.delays import Delayer, hrf_delays, split_delays


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    delays=st.lists(st.integers(-7, 7), min_size=1, max_size=4, unique=True),
    n_features=st.integers(1, 3),
)
def test_each_column_is_a_feature_of_another_moment_of_the_same_run(lengths, delays, n_features):
    runs = np.repeat(np.arange(len(lengths)), lengths)
    X = 1.0 + np.arange(len(runs) * n_features, dtype=float).reshape(-1, n_features)
    before = X.copy()
    delayed = Delayer(delays, by=runs).fit_transform(X)
    expected = np.zeros((len(runs), len(delays), n_features))
    for row in range(len(runs)):
        for number, delay in enumerate(delays):
            source = row - delay
            if 0 <= source < len(runs) and runs[source] == runs[row]:
                expected[row, number] = X[source]
    np.testing.assert_array_equal(delayed, expected.reshape(len(runs), -1))
    np.testing.assert_array_equal(X, before)


def test_it_is_a_scikit_learn_transformer():
    in_order = "rows are samples in the order of time, and each depends on those before it"
    checks = ("check_methods_sample_order_invariance", "check_methods_subset_invariance")
    check_estimator(Delayer([0, 1]), expected_failed_checks=dict.fromkeys(checks, in_order), on_skip=None)
    X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    assert Delayer([1, 2]).fit_transform(X).dtype == np.float32
    names = Delayer([0, 2]).fit(X).get_feature_names_out(["a", "b", "c"])
    assert names.tolist() == ["a delay 0", "b delay 0", "c delay 0", "a delay 2", "b delay 2", "c delay 2"]
    assert Delayer([0]).fit(X).get_feature_names_out().tolist() == ["x0 delay 0", "x1 delay 0", "x2 delay 0"]


def test_a_haemodynamic_response_is_recovered():
    """Each feature drives the target through its own response; coefficients by delay are that response."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3))
    runs = np.repeat([1, 2, 3], 200)
    response = np.array([[0.2, 1.0, 0.0], [1.0, 0.5, 0.0], [0.6, 0.1, 0.0], [0.1, 0.0, 0.0]])
    y = np.zeros((600, 1))
    for run in (1, 2, 3):
        inside = runs == run
        for feature in range(3):
            y[inside, 0] += lfilter(np.r_[0, response[:, feature]], 1.0, X[inside, feature])
    delayer = Delayer([1, 2, 3, 4], by=runs)
    model = make_pipeline(delayer, Ridge(alphas=1e-3, cv=None)).fit(X, y + 0.05 * rng.standard_normal(y.shape))
    found = delayer.split_delays(model[-1].coef_)
    assert found.shape == (4, 3, 1)
    np.testing.assert_allclose(found[:, :, 0], response, atol=0.02)
    # Without the border the first samples of a run are explained by the end of the run before.
    leaky = Ridge(alphas=1e-3, cv=None).fit(Delayer([1, 2, 3, 4]).fit_transform(X), y)
    clean = Ridge(alphas=1e-3, cv=None).fit(delayer.fit_transform(X), y)
    first = np.flatnonzero(runs[1:] != runs[:-1]) + 1
    error = [np.abs(y[first] - m.predict(d.fit_transform(X))[first]).mean() for m, d in ((clean, delayer),)]
    worse = np.abs(y[first] - leaky.predict(Delayer([1, 2, 3, 4]).fit_transform(X))[first]).mean()
    assert error[0] < 0.01 < 0.3 < worse


def test_shuffled_folds_leak_and_contiguous_ones_with_a_gap_do_not():
    """Slow features and slow responses that have nothing to do with each other, as in a movie without an effect."""
    rng = np.random.default_rng(0)
    slow = lfilter([1.0], [1.0, -0.98], rng.standard_normal((1200 + 200, 30)), axis=0)[200:]
    features, responses = slow[:, :10], slow[:, 10:] / slow[:, 10:].std(axis=0)
    X = Delayer(hrf_delays(2.0)).fit_transform(features)
    shuffled = list(KFold(5, shuffle=True, random_state=0).split(X))
    honest = contiguous_folds(len(X), n_splits=5, gap=100)
    scores = {}
    for name, division in {"shuffled": shuffled, "contiguous": honest}.items():
        r = []
        for train, test in division:
            model = Ridge(alphas=1.0, cv=None).fit(X[train], responses[train])
            predicted = model.predict(X[test])
            r.append([np.corrcoef(predicted[:, u], responses[test, u])[0, 1] for u in range(20)])
        scores[name] = np.mean(r)
    assert scores["shuffled"] > 0.5
    assert abs(scores["contiguous"]) < 0.15


def test_latents_stay_latents():
    values = np.random.default_rng(0).standard_normal((6, 2, 2))
    latents = Latents(values, [f"frame{i}" for i in range(6)], space="toy", meta={"model": "none"})
    delayed = Delayer([0, 1], by=[1, 1, 1, 2, 2, 2]).fit_transform(latents)
    assert delayed.ids == latents.ids and delayed.space != latents.space and delayed.meta["delays"] == [0, 1]
    np.testing.assert_array_equal(delayed.at(["frame3"])[0], np.r_[values[3].ravel(), np.zeros(4)])
    np.testing.assert_array_equal(delayed.at(["frame4"])[0], np.r_[values[4].ravel(), values[3].ravel()])


def test_bad_input_is_refused():
    X = np.ones((4, 2))
    refusals = {
        "different whole numbers": [Delayer([]), Delayer([0.5]), Delayer([1, 1]), Delayer("2")],
        "must name the run of every row": [Delayer([0], by=[1, 2])],
        "comes back after another one": [Delayer([0], by=[1, 2, 1, 2])],
    }
    for message, delayers in refusals.items():
        for delayer in delayers:
            with pytest.raises(DataError, match=message):
                delayer.fit(X)
    with pytest.raises(DataError, match="NaN"):
        Delayer([0]).fit(np.full((4, 2), np.nan))
    with pytest.raises(DataError, match="not of features at so many delays"):
        split_delays(np.ones((5, 2)), 2)
    with pytest.raises(DataError, match="no delays for these times"):
        hrf_delays(0.0)
    with pytest.raises(DataError, match="tr is in seconds"):
        hrf_delays(2000.0)


@pytest.mark.parametrize("tr, expected", [(2.0, [1, 2, 3, 4]), (1.0, list(range(2, 9))), (4.0, [0, 1, 2])])
def test_delays_span_the_response(tr, expected):
    assert hrf_delays(tr) == expected
