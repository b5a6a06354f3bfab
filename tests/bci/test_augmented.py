"""Augmented covariances against explicit embeddings, MOABB with pyriemann, and the analytic limit of a VAR(1)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from sklearn.base import clone

from brainalign.bci import AugmentedCovariance, augmented_covariances, augmented_grid
from brainalign.bci.augmented import common_subspace, embed
from brainalign.errors import DataError


@pytest.fixture
def trials() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((6, 4, 120)).cumsum(axis=2) * 1e-3 + 7.0


@pytest.mark.parametrize("order, lag", [(1, 1), (1, 9), (2, 1), (3, 5), (7, 2), (2, 59), (10, 11)])
def test_equals_the_covariance_of_an_explicit_embedding(trials, order, lag):
    made = augmented_covariances(trials, order, lag)
    n_times = trials.shape[2]
    for trial, matrix in zip(trials, made, strict=True):
        width = n_times if order == 1 else n_times - order * lag
        stacked = np.vstack([trial[:, a * lag : a * lag + width] for a in range(order)])
        np.testing.assert_allclose(matrix, np.cov(stacked), atol=1e-12 * np.abs(matrix).max())


@pytest.mark.parametrize("order, lag", [(1, 3), (4, 2), (6, 5)])
def test_equals_moabb_and_pyriemann(trials, order, lag):
    features = pytest.importorskip("moabb.pipelines.features")
    covariances = pytest.importorskip("pyriemann.utils.covariance")
    peer = covariances.covariances(features.AugmentedDataset(order=order, lag=lag).transform(trials), estimator="cov")
    made = augmented_covariances(trials, order, lag)
    np.testing.assert_allclose(made, peer, atol=1e-12 * np.abs(peer).max())


def test_a_grid_from_shared_products_equals_cell_by_cell(trials):
    cells = {(order, lag): made for order, lag, made in augmented_grid(trials, range(1, 8), range(1, 6))}
    assert len(cells) == 1 + 6 * 5
    for (order, lag), made in cells.items():
        direct = augmented_covariances(trials, order, lag)
        np.testing.assert_allclose(made, direct, atol=1e-12 * np.abs(direct).max())


def test_blocks_converge_to_the_autocovariances_of_a_var_process():
    rng = np.random.default_rng(0)
    A = np.array([[0.7, 0.2, 0.0], [-0.3, 0.5, 0.1], [0.0, 0.2, 0.4]])
    noise = rng.standard_normal((3, 400_000))
    x = np.zeros_like(noise)
    for t in range(1, x.shape[1]):
        x[:, t] = A @ x[:, t - 1] + noise[:, t]
    gamma = solve_discrete_lyapunov(A, np.eye(3))
    made = augmented_covariances(x[None, :, 1000:], 3, 2)[0].reshape(3, 3, 3, 3)
    for a in range(3):
        for b in range(a, 3):
            # E[x(t) x(t + d)'] = Gamma_0 (A^d)'
            expected = gamma @ np.linalg.matrix_power(A, 2 * (b - a)).T
            np.testing.assert_allclose(made[a, :, b], expected, atol=0.03)


def test_order_one_is_the_plain_covariance_whatever_the_lag(trials):
    np.testing.assert_array_equal(augmented_covariances(trials, 1, 1), augmented_covariances(trials, 1, 50))


def test_a_common_subspace_is_learnt_on_train_and_cures_bad_conditioning(trials):
    smooth = np.cumsum(np.cumsum(trials - 7.0, axis=2), axis=2)
    train, test = smooth[:4], smooth[4:]
    model = AugmentedCovariance(8, 1, retain=0.999).fit(train)
    kept = model.basis_.shape[1]
    assert kept < 32
    mean = augmented_covariances(train, 8, 1).mean(axis=0)
    values = np.linalg.eigvalsh(mean)[::-1]
    assert values[:kept].sum() >= 0.999 * values.sum() > values[: kept - 1].sum()
    made = model.transform(test)
    np.testing.assert_allclose(made, model.basis_.T @ augmented_covariances(test, 8, 1) @ model.basis_)
    again = AugmentedCovariance(8, 1, retain=0.999).fit(train)
    again.transform(test + 5.0)
    np.testing.assert_array_equal(again.basis_, model.basis_)


def test_average_referenced_data_are_refused_reduced_or_shrunk(trials):
    referenced = trials - trials.mean(axis=1, keepdims=True)
    with pytest.raises(DataError, match="singular"):
        AugmentedCovariance(1, 1).fit_transform(referenced)
    assert AugmentedCovariance(1, 1, retain=1.0).fit_transform(referenced).shape == (6, 3, 3)
    shrunk = AugmentedCovariance(1, 1, shrinkage=0.1).fit_transform(referenced)
    plain = augmented_covariances(referenced, 1, 1)
    for one, raw in zip(shrunk, plain, strict=True):
        np.testing.assert_allclose(one, 0.9 * raw + 0.1 * np.trace(raw) / 4 * np.eye(4))


def test_all_of_the_variance_keeps_every_direction(trials):
    assert common_subspace(augmented_covariances(trials, 2, 3), 1.0).shape == (8, 8)


def test_scikit_learn_contract(trials):
    before = trials.copy()
    model = AugmentedCovariance(3, 2)
    fitted = model.fit_transform(trials)
    np.testing.assert_array_equal(fitted, clone(model).fit(trials).transform(trials))
    np.testing.assert_array_equal(fitted[2:3], model.transform(trials[2:3]))
    np.testing.assert_array_equal(trials, before)
    assert embed(trials, 3, 2).shape == (6, 12, 114)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda X: X[0], "n_trials, n_channels, n_times"),
        (lambda X: np.where(X[1, 1, 3] == X, np.nan, X), "trials"),
        (lambda X: X[:, :, :6], "too short"),
        (lambda X: np.where(np.arange(4)[:, None] == 2, 1.0, X), "do not vary"),
    ],
)
def test_bad_trials_are_refused(trials, change, said):
    with pytest.raises(DataError, match=said):
        AugmentedCovariance(3, 2).fit(change(trials))


@pytest.mark.parametrize(
    "params", [{"order": 0}, {"lag": 0}, {"lag": 1.5}, {"shrinkage": 1.0}, {"retain": 0.0}, {"retain": 1.5}]
)
def test_bad_parameters_are_refused(trials, params):
    with pytest.raises(DataError):
        AugmentedCovariance(**params).fit(trials)


def test_other_channels_are_refused(trials):
    with pytest.raises(DataError, match="channels"):
        AugmentedCovariance(2, 2).fit(trials).transform(trials[:, :3])
