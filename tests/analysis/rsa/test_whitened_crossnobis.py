"""Whitened crossnobis: equal to dense matrices pair by pair, and zero on average where there is only noise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from brainalign.analysis import rsa
from brainalign.errors import DataError

N_RUNS, N_CONDITIONS, N_FEATURES = 8, 5, 20
LABELS, RUNS = np.tile(np.arange(N_CONDITIONS), N_RUNS), np.repeat(np.arange(N_RUNS), N_CONDITIONS)


def noise(rng, *, n_features: int = N_FEATURES, repeats: int = 1) -> np.ndarray:
    """Noise that all features share in part."""
    n = len(LABELS) * repeats
    return rng.normal(size=(n, n_features)) + rng.normal(size=(n, 1))


def all_runs(X, labels, runs, shrinkage):
    residuals, n_parameters = rsa.condition_residuals(X, labels)
    precision = rsa.noise_precision(residuals, shrinkage=shrinkage, n_parameters=n_parameters)
    return rsa.rdm(X, metric="crossnobis", labels=labels, groups=runs, noise_precision=precision)


@pytest.mark.parametrize("shrinkage", ["diagonal", "identity", 0.0, 0.3, 1.0, None])
@pytest.mark.parametrize("n_features", [6, 60])
def test_equal_to_a_dense_precision_for_every_pair_of_runs(shrinkage, n_features) -> None:
    X = noise(np.random.default_rng(1), n_features=n_features)
    options = {"labels": LABELS, "groups": RUNS, "shrinkage": shrinkage}
    if n_features == 60 and not shrinkage:
        with pytest.raises(DataError, match="singular"):
            rsa.whitened_crossnobis(X, **options)
        return
    expected = []
    for pair in combinations(range(N_RUNS), 2):
        inside = np.isin(RUNS, pair)
        residuals, n_parameters = rsa.condition_residuals(X[~inside], LABELS[~inside])
        precision = rsa.noise_precision(residuals, shrinkage=shrinkage, n_parameters=n_parameters)
        expected.append(
            rsa.rdm(
                X[inside],
                metric="crossnobis",
                labels=LABELS[inside],
                groups=RUNS[inside],
                noise_precision=precision,
            )
        )
    np.testing.assert_allclose(rsa.whitened_crossnobis(X, **options), np.mean(expected, axis=0), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shrinkage", ["diagonal", "identity"])
def test_repeats_within_runs_give_the_noise(shrinkage) -> None:
    X, labels, runs = noise(np.random.default_rng(2), repeats=3), np.repeat(LABELS, 3), np.repeat(RUNS, 3)
    residuals, n_parameters = rsa.condition_residuals(X, labels + 100 * runs)
    precision = rsa.noise_precision(residuals, shrinkage=shrinkage, n_parameters=n_parameters)
    expected = rsa.rdm(X, metric="crossnobis", labels=labels, groups=runs, noise_precision=precision)
    found = rsa.whitened_crossnobis(X, labels=labels, groups=runs, shrinkage=shrinkage)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def standard_score(found) -> float:
    return float(np.mean(found) / np.std(found, ddof=1) * np.sqrt(len(found)))


def test_noise_alone_is_at_distance_zero() -> None:
    """Mean over simulated data within 3 standard errors of zero; residuals of all runs are far above it."""
    rng = np.random.default_rng(3)
    apart, shared, repeated = [], [], []
    for _ in range(200):
        X, more = noise(rng), noise(rng, repeats=2)
        apart.append(rsa.whitened_crossnobis(X, labels=LABELS, groups=RUNS).mean())
        shared.append(all_runs(X, LABELS, RUNS, "diagonal").mean())
        repeated.append(rsa.whitened_crossnobis(more, labels=np.repeat(LABELS, 2), groups=np.repeat(RUNS, 2)).mean())
    assert abs(standard_score(apart)) < 3 and abs(standard_score(repeated)) < 3
    assert standard_score(shared) > 10


@pytest.mark.parametrize("shrinkage", [None, "diagonal", "identity"])
def test_the_bias_of_residuals_of_all_runs_is_as_stated(shrinkage) -> None:
    rng = np.random.default_rng(4)
    found, stated = [], []
    for _ in range(400):
        X = noise(rng)
        residuals, n_parameters = rsa.condition_residuals(X, LABELS)
        sample = rsa.noise_covariance(residuals, shrinkage=None, n_parameters=n_parameters)
        precision = rsa.noise_precision(residuals, shrinkage=shrinkage, n_parameters=n_parameters)
        truth = np.eye(N_FEATURES) + 1.0
        stated.append(2 / N_RUNS * np.trace(precision @ (truth - sample)) / N_FEATURES)
        found.append(all_runs(X, LABELS, RUNS, shrinkage).mean())
    assert abs(standard_score(np.subtract(found, stated))) < 3
    assert standard_score(stated) > 10


def test_a_planted_geometry_is_found_and_a_shuffled_one_is_not() -> None:
    rng = np.random.default_rng(5)
    patterns = 2 * rng.normal(size=(N_CONDITIONS, N_FEATURES))
    X = noise(rng) + patterns[LABELS]
    truth = rsa.rdm(patterns, metric="mahalanobis", noise_precision=np.linalg.inv(np.eye(N_FEATURES) + 1.0))
    assert rsa.compare(rsa.whitened_crossnobis(X, labels=LABELS, groups=RUNS), truth, method="pearson") > 0.8
    shuffled = np.concatenate([rng.permutation(N_CONDITIONS) for _ in range(N_RUNS)])
    lost = rsa.whitened_crossnobis(X, labels=shuffled, groups=RUNS)
    assert lost.mean() < 0.2 * truth.mean()


@pytest.mark.parametrize(
    ("keep", "repeats"), [(RUNS < 3, 1), (RUNS < 1, 2), (np.arange(len(RUNS)) > 0, 1)], ids=["3 runs", "1 run", "gap"]
)
def test_too_little_to_tell_noise_from_patterns_is_refused(keep, repeats) -> None:
    X = np.repeat(noise(np.random.default_rng(6))[keep], repeats, axis=0)
    with pytest.raises(DataError, match="told apart"):
        rsa.whitened_crossnobis(X, labels=np.repeat(LABELS[keep], repeats), groups=np.repeat(RUNS[keep], repeats))
    constant = noise(np.random.default_rng(6))
    constant[:, 2] = 1.0
    with pytest.raises(DataError, match="without noise"):
        rsa.whitened_crossnobis(constant, labels=LABELS, groups=RUNS)
