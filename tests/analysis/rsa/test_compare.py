"""RDM similarities against scipy and rsatoolbox, and linear CKA against its definitions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from brainalign.analysis import rsa
from brainalign.errors import DataError

RNG = np.random.default_rng(0)
DATA = RNG.random((3, 190))
MODELS = np.stack([RNG.random(190), RNG.integers(0, 4, 190), RNG.integers(0, 2, 190)]).astype(float)


@pytest.mark.parametrize(
    ("method", "oracle"),
    [("pearson", stats.pearsonr), ("spearman", stats.spearmanr), ("kendall_b", stats.kendalltau)],
)
def test_equals_scipy(method, oracle) -> None:
    expected = [[oracle(d, m)[0] for m in MODELS] for d in DATA]
    np.testing.assert_allclose(rsa.compare(DATA, MODELS, method=method), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("method", "peer"),
    [
        ("pearson", "corr"),
        ("cosine", "cosine"),
        ("spearman", "spearman"),
        ("rho_a", "rho-a"),
        ("kendall_a", "tau-a"),
        ("kendall_b", "tau-b"),
        ("whitened_cosine", "cosine_cov"),
    ],
)
def test_equals_rsatoolbox(method, peer) -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    expected = toolbox.rdm.compare(toolbox.rdm.RDMs(DATA), toolbox.rdm.RDMs(MODELS), method=peer)
    np.testing.assert_allclose(rsa.compare(DATA, MODELS, method=method), expected, atol=1e-9)


@pytest.mark.parametrize(("method", "oracle"), [("rho_a", stats.spearmanr), ("kendall_a", stats.kendalltau)])
def test_rank_measures_average_over_broken_ties(method, oracle) -> None:
    rng = np.random.default_rng(1)
    small, tied = rng.random(10), rng.integers(0, 3, 10).astype(float)
    broken = [oracle(small, np.lexsort((rng.random(10), tied)).argsort())[0] for _ in range(4000)]
    expected, error = np.mean(broken), np.std(broken) / np.sqrt(4000)
    assert rsa.compare(small, tied, method=method) == pytest.approx(expected, abs=4 * error)


def test_shapes_follow_the_leading_axes() -> None:
    movie = RNG.random((2, 5, 190))
    assert rsa.compare(movie, MODELS).shape == (2, 5, 3)
    assert rsa.compare(movie, MODELS[0]).shape == (2, 5)
    assert rsa.compare(movie[0, 0], MODELS[0]) == pytest.approx(stats.spearmanr(movie[0, 0], MODELS[0])[0])


def test_constant_rdm_is_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in ("pearson", "spearman"):
            scores = rsa.compare(DATA, np.stack([MODELS[0], np.full(190, 0.1)]), method=method)
            np.testing.assert_array_equal(np.isnan(scores), [[False, True]] * 3)


def test_missing_pairs_are_refused_or_dropped() -> None:
    holes = DATA.copy()
    holes[1, [3, 8]] = np.nan
    with pytest.raises(DataError, match=r"2 of 190 pairs are NaN[\s\S]*nan='drop'"):
        rsa.compare(holes, MODELS)
    keep = np.setdiff1d(np.arange(190), [3, 8])
    np.testing.assert_allclose(
        rsa.compare(holes, MODELS, nan="drop"), rsa.compare(DATA[:, keep], MODELS[:, keep]), atol=1e-15
    )
    with pytest.raises(DataError, match="complete RDMs"):
        rsa.compare(holes, MODELS, method="whitened_cosine", nan="drop")


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="Did you mean 'spearman'"):
        rsa.compare(DATA, MODELS, method="sperman")
    with pytest.raises(DataError, match="different pairs"):
        rsa.compare(DATA, MODELS[:, :-1])


X, Y = RNG.normal(size=(20, 5)), RNG.normal(size=(20, 30))


def hsic_by_centring(K: np.ndarray, L: np.ndarray, debiased: bool) -> float:
    """HSIC with explicitly (U-)centred kernels."""
    n = len(K)
    if not debiased:
        H = np.eye(n) - 1 / n
        return np.trace(H @ K @ H @ L)
    centred = []
    for kernel in (K, L):
        k = kernel - np.diag(np.diag(kernel))
        row = k.sum(axis=0)
        u = k - row[:, None] / (n - 2) - row / (n - 2) + row.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(u, 0.0)
        centred.append(u)
    return np.sum(centred[0] * centred[1]) / (n * (n - 3))


@pytest.mark.parametrize("debiased", [False, True])
def test_cka_equals_the_kernel_definition(debiased) -> None:
    K, L = X @ X.T, Y @ Y.T
    expected = hsic_by_centring(K, L, debiased) / np.sqrt(
        hsic_by_centring(K, K, debiased) * hsic_by_centring(L, L, debiased)
    )
    assert rsa.cka(X, Y, debiased=debiased) == pytest.approx(expected, abs=1e-12)
    assert rsa.cka(np.tile(X, 20), Y, debiased=debiased) == pytest.approx(expected, abs=1e-12)


def test_whitened_cosine_of_squared_distances_is_cka() -> None:
    distances = [pdist(side, "sqeuclidean") for side in (X, Y)]
    assert rsa.compare(*distances, method="whitened_cosine") == pytest.approx(rsa.cka(X, Y), abs=1e-12)


def test_cka_of_unrelated_wide_data_is_zero_only_when_debiased() -> None:
    rng = np.random.default_rng(2)
    wide = rng.normal(size=(60, 3000)), rng.normal(size=(60, 3000))
    assert rsa.cka(*wide) > 0.95
    assert abs(rsa.cka(*wide, debiased=True)) < 0.1
    related = wide[0] + wide[1]
    assert rsa.cka(wide[0], related, debiased=True) > 0.4


def test_cka_invariances() -> None:
    rotation = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    assert rsa.cka(X, 3 * X @ rotation + 1) == pytest.approx(1.0)
    assert rsa.cka(X, X @ np.diag([1, 1, 1, 1, 50.0])) < 0.9
    assert np.isnan(rsa.cka(X, np.ones((20, 2))))
    with pytest.raises(DataError, match="19 rows"):
        rsa.cka(X, Y[:19])
