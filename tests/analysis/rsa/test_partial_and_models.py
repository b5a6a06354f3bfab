"""Partial correlation and variance partitioning against regressions; fitted models against optimisers and truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import rankdata
from sklearn.linear_model import LinearRegression

from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.models import crossvalidated_fit, fit_weights
from brainalign.analysis.rsa.partial import partial_correlation, variance_partition
from brainalign.analysis.rsa.rdm import rdm
from brainalign.errors import DataError

RNG = np.random.default_rng(0)
MODELS = RNG.random((3, 190)) + 0.5 * RNG.random(190)
DATA = MODELS.T @ np.array([0.5, 0.3, 0.0]) + 0.3 * RNG.random((4, 190))


def residual(y, X):
    return y - LinearRegression().fit(X.T, y).predict(X.T)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_partial_correlation_is_that_of_residuals(method) -> None:
    rows, models = (DATA, MODELS) if method == "pearson" else (rankdata(DATA, axis=1), rankdata(MODELS, axis=1))
    expected = np.zeros((4, 3))
    for k in range(3):
        others = np.delete(models, k, 0)
        for s in range(4):
            expected[s, k] = np.corrcoef(residual(rows[s], others), residual(models[k], others))[0, 1]
    np.testing.assert_allclose(partial_correlation(DATA, MODELS, method=method), expected, atol=1e-10)
    found = partial_correlation(DATA, MODELS[2], given=MODELS[:2], method=method)
    np.testing.assert_allclose(found[:, 0], expected[:, 2], atol=1e-10)


def test_planted_contribution_is_found_and_a_shuffled_one_is_not() -> None:
    partial = partial_correlation(DATA, MODELS).mean(axis=0)
    assert partial[0] > 0.5
    assert abs(partial[2]) < 0.15
    shuffled = RNG.permuted(DATA, axis=1)
    assert np.abs(partial_correlation(shuffled, MODELS).mean(axis=0)).max() < 0.15


@pytest.mark.parametrize("n_models", [1, 2, 4])
def test_variance_partition_equals_regressions(n_models) -> None:
    models = {str(i): RNG.random(190) + MODELS[0] for i in range(n_models)}
    parts = variance_partition(DATA, models)
    for names, r2 in parts.total.items():
        X = np.stack([models[name] for name in names]).T
        np.testing.assert_allclose(r2, [LinearRegression().fit(X, y).score(X, y) for y in DATA], atol=1e-10)
    assert len(parts.shared) == 2**n_models - 1
    np.testing.assert_allclose(sum(parts.shared.values()), parts.total[tuple(models)], atol=1e-12)
    if n_models == 2:
        total = parts.total
        common = total[("0",)] + total[("1",)] - total[("0", "1")]
        np.testing.assert_allclose(parts.shared[("0", "1")], common, atol=1e-12)
    # A set explains what is shared by any set that touches it.
    for names, r2 in parts.total.items():
        touched = sum(part for key, part in parts.shared.items() if set(key) & set(names))
        np.testing.assert_allclose(r2, touched, atol=1e-10)


def test_a_model_twice_shares_all_and_has_no_partial_correlation() -> None:
    parts = variance_partition(DATA[0], {"a": MODELS[0], "b": MODELS[0]})
    assert parts.unique["a"] == pytest.approx(0, abs=1e-10)
    assert parts.shared[("a", "b")] == pytest.approx(np.corrcoef(DATA[0], MODELS[0])[0, 1] ** 2)
    with pytest.raises(DataError, match="combinations of what is held constant"):
        partial_correlation(DATA, [MODELS[0], MODELS[1], MODELS[0] + MODELS[1]])


@pytest.mark.parametrize("method", ["cosine", "pearson", "whitened_cosine", "whitened_pearson"])
def test_weights_reach_the_best_similarity_of_a_general_optimiser(method) -> None:
    rng = np.random.default_rng(1)
    components = np.stack([rdm(rng.normal(size=(12, 6)), metric="sqeuclidean") for _ in range(4)])
    covariance = np.diag(rng.random(12) + 0.5) if method.startswith("whitened") else None
    d = components[0] + 0.5 * components[1] + 6 * rng.random((3, 66))
    options = {"method": method, "noise_covariance": covariance}

    def loss(w):
        return -np.mean(compare(d, np.abs(w) @ components, **options))

    best = min(
        minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000}).fun
        for start in (np.ones(4), [1, 0.5, 0.01, 0.01])
    )
    weights = fit_weights(d, components, **options)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    assert loss(weights) <= best + 1e-9


def test_interpolated_and_selected_models() -> None:
    rng = np.random.default_rng(2)
    stages = np.cumsum(rng.random((5, 66)), axis=0)
    d = 0.3 * stages[2] + 0.7 * stages[3] + 0.05 * rng.random(66)
    weights = fit_weights(d, stages, kind="interpolated")
    assert np.flatnonzero(weights).tolist() == [2, 3]
    score = lambda t: -float(compare(d, (1 - t) * stages[2] + t * stages[3], method="cosine"))  # noqa: E731
    assert weights[3] == pytest.approx(minimize_scalar(score, bounds=(0, 1), method="bounded").x, abs=1e-4)
    chosen = fit_weights(np.stack([d, d]), stages, kind="selected")
    assert chosen.argmax() == compare(d, stages, method="cosine").argmax()
    assert chosen.tolist() == np.eye(5)[chosen.argmax()].tolist()


@pytest.mark.parametrize("kind", ["weighted", "selected", "interpolated"])
@pytest.mark.parametrize("method", ["pearson", "spearman", "whitened_cosine"])
def test_crossvalidated_fit_finds_the_planted_mixture_only(kind, method) -> None:
    rng = np.random.default_rng(3)
    components = np.stack([rdm(rng.normal(size=(30, 8)), metric="sqeuclidean") for _ in range(4)])
    d = components[1] + 0.3 * rng.normal(size=(6, 435)) * components.std()
    scores, weights = crossvalidated_fit(d, components, kind=kind, method=method)
    assert weights.shape == (3, 6, 4) and scores.shape == (6,)
    assert scores.mean() > 0.7
    assert (weights.mean(axis=(0, 1)).argmax()) == 1
    chance = [
        crossvalidated_fit(rng.permuted(d, axis=1), components, kind=kind, method="pearson")[0].mean() for _ in range(5)
    ]
    assert abs(np.mean(chance)) < 0.1


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="no kind of model 'mixed'"):
        fit_weights(DATA, MODELS, kind="mixed")
    with pytest.raises(DataError, match="no fit for method 'bures'"):
        fit_weights(DATA, MODELS, method="bures")
    with pytest.raises(DataError, match="too few conditions"):
        crossvalidated_fit(DATA, MODELS, n_splits=10)
    with pytest.raises(DataError, match="contains NaN"):
        partial_correlation(np.where(DATA > 1, np.nan, DATA), MODELS)
    with pytest.raises(DataError, match="constant"):
        partial_correlation(DATA, np.ones((2, 190)))
    with pytest.raises(DataError, match="1 to 12"):
        variance_partition(DATA, {})
