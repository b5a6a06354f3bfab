"""Batched covariances against scikit-learn trial by trial; lost ranks, flat and non-finite channels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.covariance import empirical_covariance, ledoit_wolf, oas

from brainalign.bci import Covariances, trial_covariances
from brainalign.errors import DataError

SINGLE = {
    "cov": lambda x: np.atleast_2d(np.cov(x.T)),
    "scm": empirical_covariance,
    "oas": lambda x: oas(x)[0],
    "lwf": lambda x: ledoit_wolf(x)[0],
}


@pytest.fixture
def trials() -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5, 6, 80)) * np.arange(1, 7)[:, None] + 3.0
    X[1] = X[1, :1] * np.arange(1, 7)[:, None]  # rank one
    X[2] -= X[2].mean(axis=0)  # average reference
    X[3] = 2.0  # constant
    return X


@pytest.mark.parametrize("estimator", SINGLE)
@pytest.mark.parametrize("n_channels", [1, 6])
def test_equal_scikit_learn_trial_by_trial(trials, estimator, n_channels):
    trials = trials[:, -n_channels:]
    made = trial_covariances(trials, estimator)
    for trial, matrix in zip(trials, made, strict=True):
        expected = SINGLE[estimator](trial.T)
        np.testing.assert_allclose(matrix, expected, atol=1e-12 * max(np.abs(expected).max(), 1e-12))


def test_more_channels_than_samples_and_blocks_of_trials(monkeypatch):
    X = np.random.default_rng(1).standard_normal((7, 9, 6))
    whole = trial_covariances(X, "oas")
    monkeypatch.setattr("brainalign.bci.covariances.IN_CACHE", 1)
    np.testing.assert_array_equal(trial_covariances(X, "oas"), whole)
    np.testing.assert_allclose(whole[2], oas(X[2].T)[0], atol=1e-12)


@pytest.mark.parametrize("estimator", ["oas", "lwf"])
def test_average_referenced_data_get_their_rank_back_by_shrinkage(estimator):
    X = np.random.default_rng(0).standard_normal((4, 5, 100))
    X -= X.mean(axis=1, keepdims=True)
    assert (np.linalg.eigvalsh(Covariances(estimator).fit_transform(X)) > 0).all()
    with pytest.raises(DataError, match="singular"):
        Covariances("scm").fit_transform(X)
    assert Covariances("scm", retain=1.0).fit_transform(X).shape == (4, 4, 4)


def test_scikit_learn_contract(trials):
    X = trials[[0, 2, 4]]
    model = Covariances()
    np.testing.assert_array_equal(model.fit_transform(X), clone(model).fit(X).transform(X))
    np.testing.assert_array_equal(model.transform(X[1:2]), model.transform(X)[1:2])


def test_bad_input_is_refused(trials):
    with pytest.raises(DataError, match="unknown estimator"):
        Covariances("tyler").fit(trials[:1])
    with pytest.raises(DataError, match="do not vary"):
        Covariances().fit(trials)
    with pytest.raises(DataError, match="NaN"):
        Covariances().fit(np.where(trials == trials[0, 0, 0], np.nan, trials))
