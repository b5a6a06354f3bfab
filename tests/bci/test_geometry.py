"""Mean and tangent space against pyriemann, closed forms and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import minimize

from brainalign.bci import distances_to, geometry, riemannian_mean, tangent_vectors
from brainalign.errors import DataError


def matrices(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, d, 3 * d)) * np.logspace(0, 1, d)[:, None]
    return A @ A.swapaxes(1, 2) / (3 * d)


def distance(A: np.ndarray, B: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.log(np.linalg.eigvals(np.linalg.solve(A, B)).real) ** 2)))


@pytest.mark.parametrize("n, d", [(1, 3), (2, 4), (30, 5), (20, 22)])
def test_mean_and_tangent_space_equal_pyriemann(n, d):
    mean = pytest.importorskip("pyriemann.utils.mean")
    tangent = pytest.importorskip("pyriemann.tangentspace")
    C = matrices(n, d)
    ours = riemannian_mean(C, tolerance=1e-10)
    peer = mean.mean_riemann(C, tol=1e-10, maxiter=200)
    np.testing.assert_allclose(ours, peer, rtol=1e-6, atol=1e-8 * np.abs(peer).max())
    peer_vectors = tangent.TangentSpace().fit(C).transform(C)
    np.testing.assert_allclose(tangent_vectors(C, ours), peer_vectors, atol=1e-6)
    weights = np.random.default_rng(1).uniform(0.1, 1, n)
    np.testing.assert_allclose(
        riemannian_mean(C, weights=weights, tolerance=1e-10),
        mean.mean_riemann(C, tol=1e-10, maxiter=200, sample_weight=weights),
        rtol=1e-6,
        atol=1e-8 * np.abs(peer).max(),
    )


def test_two_matrices_meet_at_the_geometric_mean():
    A, B = matrices(2, 4)
    root = sqrtm(A)
    inverse = np.linalg.inv(root)
    np.testing.assert_allclose(riemannian_mean([A, B]), root @ sqrtm(inverse @ B @ inverse) @ root, rtol=1e-6)


def test_the_mean_minimises_the_sum_of_squared_distances():
    C = matrices(7, 2, seed=3)

    def total(flat: np.ndarray) -> float:
        L = np.array([[np.exp(flat[0]), 0], [flat[1], np.exp(flat[2])]])
        return sum(distance(L @ L.T, one) ** 2 for one in C)

    found = minimize(
        total, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000}
    )
    L = np.array([[np.exp(found.x[0]), 0], [found.x[1], np.exp(found.x[2])]])
    np.testing.assert_allclose(riemannian_mean(C), L @ L.T, rtol=1e-4)


def test_invariances():
    C = matrices(12, 5)
    W = np.random.default_rng(5).standard_normal((5, 5))
    mean = riemannian_mean(C)
    np.testing.assert_allclose(riemannian_mean(W @ C @ W.T), W @ mean @ W.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(riemannian_mean(np.linalg.inv(C)), np.linalg.inv(mean), rtol=1e-5, atol=1e-7)
    assert np.abs(tangent_vectors(C, mean).mean(axis=0)).max() < 1e-6
    lengths = np.linalg.norm(tangent_vectors(C, mean), axis=1)
    np.testing.assert_allclose(lengths, [distance(mean, one) for one in C])
    np.testing.assert_allclose(distances_to(C, mean), lengths)
    np.testing.assert_allclose(distances_to(W @ C @ W.T, W @ mean @ W.T), lengths)


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_dispersed_matrices_have_a_mean(spread):
    """Newton steps are halved where they lead too far: eigenvalues over up to eight decades."""
    rng = np.random.default_rng(0)
    V = np.linalg.qr(rng.standard_normal((40, 6, 6)))[0]
    C = (V * np.exp(spread * rng.standard_normal((40, 1, 6)))) @ V.swapaxes(1, 2)
    mean = riemannian_mean(C, start=np.diag([1e-3, 1, 1, 1, 1, 1e3]))
    vectors = tangent_vectors(C, mean)
    assert np.linalg.norm(vectors.mean(axis=0)) < 1e-6 * np.sqrt(np.square(vectors).sum(axis=1).mean())


def test_large_batches_give_the_same(monkeypatch):
    C = matrices(20, 7)
    small = riemannian_mean(C), tangent_vectors(C, C[0])
    monkeypatch.setattr("brainalign.bci.geometry._LARGE", 0)
    np.testing.assert_allclose(riemannian_mean(C), small[0], rtol=1e-9)
    np.testing.assert_allclose(tangent_vectors(C, C[0]), small[1], atol=1e-11)


def test_few_decompositions_are_needed(monkeypatch):
    """The mean is what a fit costs: three looks at the matrices, where steps along the gradient took fourteen."""
    seen = []
    real = geometry._decomposed
    monkeypatch.setattr(geometry, "_decomposed", lambda *given: seen.append(1) or real(*given))
    C = matrices(60, 20)
    riemannian_mean(C, tolerance=1e-3)
    cold = len(seen)
    riemannian_mean(C, start=riemannian_mean(C[:50], tolerance=1e-3), tolerance=1e-3)
    assert cold <= 3 and len(seen) - 2 * cold <= 2


def test_a_start_nearby_gives_the_same_and_a_loose_tolerance_nearly_the_same():
    C = matrices(60, 8)
    exact = riemannian_mean(C)
    warm = riemannian_mean(C, start=riemannian_mean(C[:50]))
    np.testing.assert_allclose(warm, exact, rtol=1e-5, atol=1e-6)
    loose, sharp = (tangent_vectors(C, one) for one in (riemannian_mean(C, tolerance=1e-3), exact))
    assert np.abs(loose - sharp).max() < 5e-3 * sharp.std()


def test_bad_matrices_are_refused():
    C = matrices(3, 3)
    singular = C.copy()
    singular[1] = np.diag([1.0, 1.0, -1e-3])
    for given in (C[0], np.zeros((0, 3, 3)), singular, np.where(C == C.max(), np.nan, C)):  # noqa: SIM300
        with pytest.raises(DataError):
            riemannian_mean(given)
    with pytest.raises(DataError, match="weights"):
        riemannian_mean(C, weights=[1, -1, 1])
