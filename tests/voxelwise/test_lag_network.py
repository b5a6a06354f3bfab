"""The network over delays: a product of lagged features, the same bits twice, bad input refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from brainalign.errors import DataError
from brainalign.splits import contiguous_folds
from brainalign.voxelwise import Delayer, LagNetwork, Ridge

TRAIN, TEST = slice(0, 1200), slice(1203, None)


@pytest.fixture(scope="module")
def recording():
    """A product of two features, one of them two samples ago, in the first column; a lagged feature in the second."""
    features = np.random.default_rng(0).standard_normal((1600, 3))
    late = np.roll(features, 2, axis=0)
    noise = 0.1 * np.random.default_rng(1).standard_normal((1600, 2))
    y = np.stack([1.5 * features[:, 0] * late[:, 1], 5.0 + 100 * late[:, 2]], axis=1) + noise
    return Delayer([0, 1, 2]).fit_transform(features), y


def r2_of(model, X, y):
    error = ((y[TEST] - model.predict(X[TEST])) ** 2).sum(axis=0)
    return 1 - error / ((y[TEST] - y[TEST].mean(axis=0)) ** 2).sum(axis=0)


def model(**changes):
    cv = [tuple(one) for one in contiguous_folds(1200, gap=3)]
    return LagNetwork(3, cv=cv, dropout=0.05, training={"n_epochs": 25, "learning_rate": 1e-2}, **changes)


def test_an_interaction_across_delays_is_learnt(recording):
    X, y = recording
    fitted = model().fit(X[TRAIN], y[TRAIN])
    found = r2_of(fitted, X, y)
    assert found[0] > 0.6 and found[1] > 0.9
    assert r2_of(Ridge().fit(X[TRAIN], y[TRAIN]), X, y)[0] < 0.05
    again = clone(fitted).fit(X[TRAIN], y[TRAIN])
    np.testing.assert_array_equal(again.predict(X[TEST]), fitted.predict(X[TEST]))
    shuffled = np.random.default_rng(2).permutation(1200)
    assert r2_of(model().fit(X[TRAIN], y[shuffled]), X, y).max() < 0.05


def test_the_epoch_is_chosen_on_rows_apart(recording):
    """What the held-out rows hold changes neither the scales nor the last weights without early stopping."""
    X, y = recording
    first = LagNetwork(3, training={"n_epochs": 1}).fit(X[TRAIN], y[TRAIN])
    other = y[TRAIN].copy()
    other[960:] *= -7
    second = LagNetwork(3, training={"n_epochs": 1}).fit(X[TRAIN], other)
    np.testing.assert_array_equal(first.predict(X[TEST]), second.predict(X[TEST]))
    assert first.history_[0]["validation_loss"] != second.history_[0]["validation_loss"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"n_delays": 4}, "not at so many delays"),
        ({"n_delays": 0}, "not at so many delays"),
        ({"kernel": 0}, "out of range"),
        ({"training": {"epochs": 3}}, "no training option"),
        ({"cv": "loo"}, "held-out rows"),
        ({"cv": 5000}, "folds|samples"),
    ],
)
def test_bad_input_is_refused(recording, changes, message):
    X, y = recording
    with pytest.raises(DataError, match=message):
        LagNetwork(**{"n_delays": 3, **changes}).fit(X, y)


def test_bad_rows_are_refused(recording):
    X, y = recording
    with pytest.raises(DataError, match="NaN or infinity"):
        LagNetwork(3).fit(np.where(X[3, 1] == X, np.nan, X), y)
    with pytest.raises(DataError, match="NaN or infinity"):
        LagNetwork(3).fit(X, np.where(y[3, 1] == y, np.inf, y))
    with pytest.raises(DataError):
        LagNetwork(3).fit(X, y[:-1])
