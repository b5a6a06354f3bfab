"""CKA with kernels and in batches, shape metrics, shared neighbours: against loops and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from sklearn.neighbors import NearestNeighbors

from brainalign.analysis.rsa.cka import cka, minibatch_cka
from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.neighbours import mutual_knn, mutual_knn_rdms
from brainalign.analysis.rsa.rdm import rdm
from brainalign.analysis.rsa.shape import procrustes, shape_distance
from brainalign.errors import DataError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 5)), RNG.normal(size=(20, 30))


def song(K, L):
    """Unbiased HSIC, as Song et al. (2012) write it."""
    n = len(K)
    K, L = (k - np.diag(np.diag(k)) for k in (K, L))
    one = np.ones(n)
    parts = np.trace(K @ L) + (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ K @ L @ one
    return parts / (n * (n - 3))


def gaussian(x):
    from sklearn.metrics.pairwise import rbf_kernel

    return rbf_kernel(x, gamma=1 / (2 * np.median(pdist(x)) ** 2))


def test_rbf_cka_equals_the_definition() -> None:
    K, L = gaussian(X), gaussian(Y)
    H = np.eye(20) - 1 / 20
    biased = lambda k, m: np.trace(k @ H @ m @ H)  # noqa: E731
    for hsic, debiased in ((biased, False), (song, True)):
        expected = hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))
        assert cka(X, Y, kernel="rbf", debiased=debiased) == pytest.approx(expected, abs=1e-12)
    assert cka(X, 3 * X + 1, kernel="rbf") == pytest.approx(1)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("debiased", [False, True])
def test_leading_axes_give_the_table_of_all_pairs(kernel, debiased) -> None:
    layers, regions = RNG.normal(size=(3, 1, 12, 4)), RNG.normal(size=(1, 2, 12, 6))
    found = cka(layers, regions, kernel=kernel, debiased=debiased)
    expected = [
        [cka(layers[i, 0], regions[0, j], kernel=kernel, debiased=debiased) for j in range(2)] for i in range(3)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_minibatches_approach_the_value_of_all_samples() -> None:
    rng = np.random.default_rng(1)
    Z = rng.normal(size=(4000, 6))
    W = np.c_[Z[:, :3], rng.normal(size=(4000, 10))]
    batches = [(Z[i : i + 50], W[i : i + 50]) for i in range(0, 4000, 50)]
    assert minibatch_cka(batches) == pytest.approx(cka(Z, W, debiased=True), abs=0.02)
    hsic = [
        np.mean([song(a @ a.T, b @ b.T) for a, b in pairs])
        for pairs in (batches, [(x, x) for x, _ in batches], [(y, y) for _, y in batches])
    ]
    assert minibatch_cka(batches) == pytest.approx(hsic[0] / np.sqrt(hsic[1] * hsic[2]), abs=1e-10)
    biased = np.mean([cka(*batch) for batch in batches])
    assert abs(minibatch_cka(batches) - cka(Z, W, debiased=True)) < abs(biased - cka(Z, W, debiased=True))
    assert abs(minibatch_cka([(a, b[rng.permutation(50)]) for a, b in batches])) < 0.05
    with pytest.raises(DataError, match="no batches"):
        minibatch_cka([])


def test_procrustes_equals_scipy_and_the_bures_distance() -> None:
    Z = RNG.normal(size=(20, 5))
    x, z = (side - side.mean(axis=0) for side in (X, Z))
    rotation, _ = orthogonal_procrustes(z, x)
    assert procrustes(X, Z) == pytest.approx(np.linalg.norm(x - z @ rotation), abs=1e-10)
    bures = compare(pdist(X, "sqeuclidean"), pdist(Y, "sqeuclidean"), method="bures_distance")
    assert procrustes(X, Y) == pytest.approx(float(bures), rel=1e-7)
    scaled = compare(pdist(X, "sqeuclidean"), pdist(Y, "sqeuclidean"), method="bures")
    assert np.cos(shape_distance(X, Y)) == pytest.approx(float(scaled), abs=1e-7)
    assert procrustes(X, Y, scale=True) == pytest.approx(np.sqrt(2 - 2 * float(scaled)), abs=1e-7)


def test_rotation_to_canonical_correlation() -> None:
    rng = np.random.default_rng(2)
    A, Q = rng.normal(size=(5, 5)), Rotation.random(rng=rng).as_matrix()
    Z = rng.normal(size=(20, 3))
    assert shape_distance(Z, 2.5 * Z @ Q + 3, alpha=1.0) == pytest.approx(0, abs=1e-7)
    assert shape_distance(X, X @ A + 1, alpha=0.0) == pytest.approx(0, abs=1e-7)
    assert shape_distance(X, X @ A, alpha=1.0) > 0.1
    # alpha = 0: the mean canonical correlation.
    Z = rng.normal(size=(20, 5))
    qx, qz = (np.linalg.qr(side - side.mean(axis=0))[0] for side in (X, Z))
    canonical = np.linalg.svd(qx.T @ qz, compute_uv=False)
    assert np.cos(shape_distance(X, Z, alpha=0.0)) == pytest.approx(canonical.mean(), abs=1e-10)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.booleans())
def test_shape_distances_are_metrics(seed, alpha, angular) -> None:
    shapes = np.random.default_rng(seed).normal(size=(6, 12, 4))
    d = shape_distance(shapes[:, None], shapes[None], alpha=alpha, angular=angular)
    np.testing.assert_allclose(d, d.T, atol=1e-10)
    np.testing.assert_allclose(np.diag(d), 0, atol=1e-6)
    assert np.all(d[:, None, :] <= d[:, :, None] + d[None, :, :] + 1e-9)


def test_planted_match_is_nearest_and_shuffled_samples_are_not() -> None:
    rng = np.random.default_rng(3)
    noisy = X + 0.2 * rng.normal(size=X.shape)
    others = np.stack([X[rng.permutation(20)] for _ in range(10)])
    for measure in (procrustes, shape_distance, lambda a, b: -cka(a, b), lambda a, b: -mutual_knn(a, b, k=4)):
        assert measure(noisy, X) < np.min(measure(noisy, others))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_shared_neighbours_equal_scikit_learn(metric) -> None:
    sides = [side - side.mean(axis=0) for side in (X, Y)]
    near = [NearestNeighbors(n_neighbors=4, metric=metric).fit(s).kneighbors(return_distance=False) for s in sides]
    expected = np.mean([len(set(a) & set(b)) / 4 for a, b in zip(*near)])
    assert mutual_knn(X, Y, k=4, metric=metric) == pytest.approx(expected, abs=1e-12)
    if metric == "euclidean":
        assert mutual_knn_rdms(rdm(X, metric="euclidean"), rdm(Y, metric="euclidean"), k=4) == pytest.approx(expected)


def test_shared_neighbours_of_unrelated_data_are_at_chance_and_ties_share() -> None:
    rng = np.random.default_rng(4)
    values = mutual_knn(rng.normal(size=(200, 30, 6)), rng.normal(size=(200, 30, 6)), k=6)
    assert values.mean() == pytest.approx(6 / 29, abs=4 * values.std() / np.sqrt(200))
    constant = np.ones(435)
    assert mutual_knn_rdms(constant, rng.random(435), k=6) == pytest.approx(6 / 29, abs=1e-12)


def test_tensors_score_the_same() -> None:
    torch = pytest.importorskip("torch")
    x, y = torch.tensor(X), torch.tensor(Y)
    for measure in (cka, lambda a, b: cka(a, b, kernel="rbf", debiased=True), procrustes, shape_distance, mutual_knn):
        assert measure(x, y) == pytest.approx(measure(X, Y), abs=1e-9)
    stacked = cka(torch.stack([x, 2 * x]), y)
    assert isinstance(stacked, torch.Tensor)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="no kernel 'poly'"):
        cka(X, Y, kernel="poly")
    with pytest.raises(DataError, match="bandwidth"):
        cka(X, Y, kernel="rbf", bandwidth=0)
    with pytest.raises(DataError, match="X contains NaN"):
        procrustes(np.where(X > 1, np.nan, X), Y)
    with pytest.raises(DataError, match="19 rows"):
        shape_distance(X, Y[:19])
    with pytest.raises(DataError, match="alpha"):
        shape_distance(X, Y, alpha=2)
    with pytest.raises(DataError, match="1 to 18"):
        mutual_knn(X, Y, k=19)
    with pytest.raises(DataError, match="different conditions"):
        mutual_knn_rdms(rdm(X), rdm(Y[:10]), k=2)
    assert np.isnan(shape_distance(X, np.ones((20, 3))))
