"""Kendall, whitened and Bures comparisons against scipy, dense solves, rsatoolbox and matrix square roots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import pdist
from scipy.stats import kendalltau

from brainalign.analysis.rsa.compare import METHODS, compare
from brainalign.errors import DataError

RNG = np.random.default_rng(0)
N = 12
DATA, MODELS = RNG.random((3, 66)), RNG.random((2, 66))
ROOT = RNG.normal(size=(N, N + 6))
COVARIANCES = {"identity": np.eye(N), "diagonal": np.diag(RNG.random(N) + 0.3), "full": ROOT @ ROOT.T / N}


def dense(rows, columns, covariance, centre):
    """``d' V^-1 e`` with V written out and solved."""
    pairs = np.stack([np.eye(N)[i] - np.eye(N)[j] for i, j in zip(*np.triu_indices(N, 1))])
    V = (pairs @ covariance @ pairs.T) ** 2
    if centre:
        rows, columns = (side - side.mean(axis=1, keepdims=True) for side in (rows, columns))
    product = lambda a, b: a @ np.linalg.solve(V, b.T)  # noqa: E731
    norms = [np.sqrt(np.diag(product(side, side))) for side in (rows, columns)]
    return product(rows, columns) / np.outer(*norms)


@pytest.mark.parametrize("name", COVARIANCES)
@pytest.mark.parametrize("method", ["whitened_cosine", "whitened_pearson"])
def test_whitened_measures_equal_the_dense_solve(name, method) -> None:
    covariance = COVARIANCES[name]
    expected = dense(DATA, MODELS, covariance, method == "whitened_pearson")
    np.testing.assert_allclose(compare(DATA, MODELS, method=method, noise_covariance=covariance), expected, atol=1e-12)
    if name == "identity":
        np.testing.assert_allclose(compare(DATA, MODELS, method=method), expected, atol=1e-12)
    if name == "diagonal":
        vector = compare(DATA, MODELS, method=method, noise_covariance=np.diag(covariance))
        np.testing.assert_allclose(vector, expected, atol=1e-12)


def test_rsatoolbox_is_right_for_white_noise_and_wrong_for_a_vector_of_variances() -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    rdms = toolbox.rdm.RDMs
    for ours, theirs in (("whitened_cosine", "cosine_cov"), ("whitened_pearson", "corr_cov")):
        expected = toolbox.rdm.compare(rdms(DATA), rdms(MODELS), method=theirs)
        np.testing.assert_allclose(compare(DATA, MODELS, method=ours), expected, atol=1e-9)
    variances = np.diag(COVARIANCES["diagonal"])
    theirs = toolbox.rdm.compare(rdms(DATA), rdms(MODELS), method="cosine_cov", sigma_k=variances)
    assert np.abs(theirs - dense(DATA, MODELS, np.diag(variances), False)).max() > 1e-4


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 80), st.integers(1, 20), st.integers(1, 20))
def test_kendall_equals_scipy_with_any_ties(seed, n, levels, other_levels) -> None:
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.random(n), rng.integers(0, levels, n)])
    columns = np.stack([rng.integers(0, other_levels, n), rng.random(n), np.sort(rng.random(n))])
    expected = [[kendalltau(row, column).statistic for column in columns] for row in rows]
    np.testing.assert_allclose(compare(rows, columns, method="kendall_b"), expected, atol=1e-12)


def test_kendall_of_long_rdms_and_of_many_blocks() -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.random((2, 4950)), np.round(rng.random((130, 4950)), rng.integers(1, 6))
    found = compare(rows, columns, method="kendall_a")
    for i, j in ((0, 0), (1, 64), (1, 129)):
        difference = np.sign(np.subtract.outer(rows[i], rows[i])) * np.sign(np.subtract.outer(columns[j], columns[j]))
        assert found[i, j] == pytest.approx(np.triu(difference, 1).sum() / (4950 * 4949 / 2), abs=1e-12)


def centred_kernel(X):
    X = X - X.mean(axis=0)
    return X @ X.T


def test_bures_equals_its_definitions() -> None:
    X, Y = RNG.normal(size=(N, 30)), RNG.normal(size=(N, 5))
    d, e = pdist(X, "sqeuclidean"), pdist(Y, "sqeuclidean")
    K, L = centred_kernel(X), centred_kernel(Y)
    fidelity = np.trace(np.real(sqrtm(sqrtm(K) @ L @ sqrtm(K))))
    similarity = fidelity / np.sqrt(np.trace(K) * np.trace(L))
    x, y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    nuclear = np.linalg.norm(x.T @ y, "nuc") / (np.linalg.norm(x) * np.linalg.norm(y))
    assert compare(d, e, method="bures") == pytest.approx(similarity, abs=1e-6)
    assert compare(d, e, method="bures") == pytest.approx(nuclear, abs=1e-8)
    assert compare(e, d, method="bures") == pytest.approx(nuclear, abs=1e-8)
    squared = np.trace(K) + np.trace(L) - 2 * np.linalg.norm(x.T @ y, "nuc")
    assert compare(d, e, method="bures_distance") == pytest.approx(np.sqrt(squared), rel=1e-7)
    assert compare(d, d, method="bures_distance") == pytest.approx(0, abs=1e-4)


def test_bures_equals_rsatoolbox_whose_metric_is_squared() -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    rdms = toolbox.rdm.RDMs
    for data, models in (
        (DATA, MODELS),
        tuple(np.stack([pdist(x, "sqeuclidean") for x in RNG.normal(size=(3, N, 20))]) for _ in range(2)),
    ):
        similarity = toolbox.rdm.compare(rdms(data), rdms(models), method="bures")
        np.testing.assert_allclose(compare(data, models, method="bures"), similarity, atol=1e-7)
        squared = toolbox.rdm.compare(rdms(data), rdms(models), method="bures_metric")
        expected = np.sqrt(np.maximum(squared, 0))
        np.testing.assert_allclose(compare(data, models, method="bures_distance"), expected, atol=1e-5)


def test_bures_distance_obeys_the_triangle_inequality() -> None:
    d = np.stack([pdist(x, "sqeuclidean") for x in np.random.default_rng(2).normal(size=(15, 8, 4))])
    table = compare(d, d, method="bures_distance")
    assert np.all(table[:, None, :] <= table[:, :, None] + table[None, :, :] + 1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_planted_model_wins_and_a_shuffled_copy_does_not(method) -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(20, 10))
    truth = pdist(X, "sqeuclidean")
    others = [pdist(X[rng.permutation(20)], "sqeuclidean") for _ in range(8)]
    measured = pdist(X + 0.3 * rng.normal(size=X.shape), "sqeuclidean")
    scores = compare(measured, [*others, truth], method=method)
    best = scores.argmin() if method == "bures_distance" else scores.argmax()
    assert best == 8


@pytest.mark.parametrize("method", METHODS)
def test_tensors_score_the_same(method) -> None:
    torch = pytest.importorskip("torch")
    tied = np.concatenate([MODELS, np.round(MODELS * 4)])
    found = compare(torch.tensor(DATA), torch.tensor(tied), method=method)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), compare(DATA, tied, method=method), atol=1e-9)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"singular[\s\S]*identity"):
        compare(DATA, MODELS, method="whitened_cosine", noise_covariance=np.ones((N, N)))
    with pytest.raises(DataError, match=r"of conditions, not of features[\s\S]*\(12, 12\)"):
        compare(DATA, MODELS, method="whitened_cosine", noise_covariance=np.eye(5))
    with pytest.raises(DataError, match="takes no noise_covariance"):
        compare(DATA, MODELS, method="cosine", noise_covariance=np.eye(N))
    with pytest.raises(DataError, match="at least 3"):
        compare([1.0], [[2.0]])
    with pytest.raises(DataError, match="complete RDMs"):
        compare(np.where(DATA > 0.9, np.nan, DATA), MODELS, method="bures", nan="drop")
