"""Distances against scipy and rsatoolbox, crossnobis in four equal forms, and refusals."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist, squareform

from brainalign.analysis import rsa
from brainalign.errors import DataError
from tests.conftest import real_data

RNG = np.random.default_rng(0)
RUNS, CONDITIONS = np.repeat([3, 1, 2], 5), np.tile(list("ebdca"), 3)
PATTERNS = RNG.normal(size=(15, 7)) + 5.0


def random_precision(n_features: int) -> np.ndarray:
    root = RNG.normal(size=(n_features, n_features + 5))
    return root @ root.T / n_features


PRECISION = random_precision(7)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "sqeuclidean"])
def test_equals_scipy_with_leading_batch_axes(metric) -> None:
    X = RNG.normal(size=(2, 3, 10, 6)) + 2.0
    expected = [[pdist(X[i, j], metric) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(rsa.rdm(X, metric=metric), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("metric", "peer"), [("correlation", "correlation"), ("mahalanobis", "mahalanobis"), ("crossnobis", "crossnobis")]
)
def test_equals_rsatoolbox(metric, peer) -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    data = toolbox.data.Dataset(PATTERNS, obs_descriptors={"condition": CONDITIONS, "run": RUNS})
    precision = None if metric == "correlation" else PRECISION
    more = {"cv_descriptor": "run"} if metric == "crossnobis" else {}
    theirs = toolbox.rdm.calc_rdm(data, method=peer, descriptor="condition", noise=precision, **more)
    place = [list(theirs.pattern_descriptors["condition"]).index(c) for c in "abcde"]
    expected = squareform(squareform(theirs.dissimilarities[0])[np.ix_(place, place)], checks=False)
    groups = RUNS if metric == "crossnobis" else None
    ours = rsa.rdm(PATTERNS, metric=metric, labels=CONDITIONS, groups=groups, noise_precision=precision)
    np.testing.assert_allclose(ours, expected, atol=1e-10)


def test_crossnobis_four_ways() -> None:
    cells = np.stack([[PATTERNS[(run == RUNS) & (c == CONDITIONS)][0] for c in "abcde"] for run in (1, 2, 3)])
    first, second = np.triu_indices(5, 1)
    differences = cells[:, first] - cells[:, second]
    ordered = [
        np.einsum("pk,kl,pl->p", differences[a], PRECISION, differences[b])
        for a in range(3)
        for b in range(3)
        if a != b
    ]
    plain = lambda x: np.einsum("pk,kl,pl->p", x, PRECISION, x)  # noqa: E731
    from_means = 3 / 2 * plain(differences.mean(axis=0)) - sum(plain(d) for d in differences) / 6
    train_test = [
        np.einsum("pk,kl,pl->p", differences[a], PRECISION, np.delete(differences, a, 0).mean(axis=0)) for a in range(3)
    ]
    ours = rsa.rdm(PATTERNS, metric="crossnobis", labels=CONDITIONS, groups=RUNS, noise_precision=PRECISION)
    for other in (np.mean(ordered, axis=0), from_means, np.mean(train_test, axis=0)):
        np.testing.assert_allclose(ours, other / 7, atol=1e-12)


def test_crossnobis_of_noise_is_zero_on_average_and_finds_a_planted_distance() -> None:
    noise = np.random.default_rng(1).normal(size=(300, 12, 20))
    labels, groups = np.tile([0, 1, 2], 4), np.repeat(np.arange(4), 3)
    d = rsa.rdm(noise, metric="crossnobis", labels=labels, groups=groups)
    assert abs(d.mean()) < 3 * d.mean(axis=1).std() / np.sqrt(300)
    assert rsa.rdm(noise, metric="mahalanobis", labels=labels).mean() == pytest.approx(2 / 4, rel=0.05)
    noise[:, labels == 2] += 1.0
    found = rsa.rdm(noise, metric="crossnobis", labels=labels, groups=groups).mean(axis=0)
    np.testing.assert_allclose(found, [0.0, 1.0, 1.0], atol=0.05)


def test_diagonal_precision_equals_the_full_matrix() -> None:
    variance = np.arange(1.0, 8.0)
    diagonal, full = (rsa.rdm(PATTERNS, metric="mahalanobis", noise_precision=p) for p in (variance, np.diag(variance)))
    np.testing.assert_allclose(diagonal, full, atol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "mahalanobis", "correlation"])
def test_a_large_offset_costs_no_precision(metric) -> None:
    X = RNG.normal(size=(30, 40)) * 1e-3
    X[1] = X[0]
    offset = 1e6 if metric != "correlation" else 1e4
    d = rsa.rdm(X + offset, metric=metric)
    assert d[0] >= 0
    assert d[0] == pytest.approx(0, abs=1e-7)
    np.testing.assert_allclose(d, rsa.rdm((X + offset) - offset, metric=metric), atol=1e-7)


def test_float32_stays_float32_and_input_is_left_alone() -> None:
    X = PATTERNS.astype(np.float32)
    before = X.copy()
    for metric in ("correlation", "cosine", "euclidean", "mahalanobis"):
        d = rsa.rdm(X, metric=metric)
        assert d.dtype == np.float32
        np.testing.assert_allclose(d, rsa.rdm(PATTERNS, metric=metric), rtol=1e-3, atol=1e-5)
    cross = rsa.rdm(X, metric="crossnobis", labels=CONDITIONS, groups=RUNS, noise_precision=PRECISION)
    assert cross.dtype == np.float32
    np.testing.assert_array_equal(X, before)


def test_unequal_repetitions_are_averaged_per_condition() -> None:
    labels = np.array(["b", "a", "b", "c", "b"])
    means = np.stack([PATTERNS[:5][labels == c].mean(axis=0) for c in "abc"])
    np.testing.assert_allclose(rsa.rdm(PATTERNS[:5], labels=labels), pdist(means, "correlation"), atol=1e-12)


def test_trials_and_latents_are_taken_as_they_are() -> None:
    table = pd.DataFrame({"stimulus_id": CONDITIONS, "run": RUNS})
    trials = SimpleNamespace(responses=PATTERNS, trials=table, matrix=lambda: PATTERNS)
    expected = rsa.rdm(PATTERNS, metric="crossnobis", labels=CONDITIONS, groups=RUNS)
    np.testing.assert_array_equal(rsa.rdm(trials, metric="crossnobis", labels="stimulus_id", groups="run"), expected)
    movie = SimpleNamespace(responses=RNG.normal(size=(15, 7, 4)), trials=table, matrix=lambda: None)
    np.testing.assert_allclose(rsa.rdm(movie)[2], rsa.rdm(movie.responses[:, :, 2]), atol=1e-12)


def test_constant_pattern_is_nan_without_a_warning() -> None:
    X = np.vstack([np.full(7, 0.1), PATTERNS[:3]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        d = rsa.rdm(X)
    np.testing.assert_array_equal(np.isnan(d), [True, True, True, False, False, False])
    np.testing.assert_array_equal(rsa.complete_conditions(d), [False, True, True, True])


def test_square_and_condensed() -> None:
    d = RNG.random((2, 3, 10))
    square = rsa.to_square(d)
    np.testing.assert_array_equal(square[1, 2], squareform(d[1, 2]))
    np.testing.assert_array_equal(rsa.from_square(square), d)
    assert rsa.n_conditions(10) == 5
    with pytest.raises(DataError, match="symmetric"):
        rsa.from_square(np.arange(9.0).reshape(3, 3))
    with pytest.raises(DataError, match="not a condensed RDM"):
        rsa.to_square(np.zeros(5))


def test_shrunk_precision_equals_rsatoolbox() -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    for n_samples in (12, 200):
        residuals = RNG.normal(size=(n_samples, 9)) @ RNG.normal(size=(9, 9))
        residuals -= residuals.mean(axis=0)
        expected = toolbox.data.noise.prec_from_residuals(residuals, method="shrinkage_diag")
        np.testing.assert_allclose(rsa.noise_precision(residuals), expected, rtol=1e-9)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"'crosnobis'\. Did you mean 'crossnobis'"):
        rsa.rdm(PATTERNS, metric="crosnobis")
    with pytest.raises(DataError, match=r"empty cells.*\('a', '2'\)"):
        rsa.rdm(PATTERNS[:-1], metric="crossnobis", labels=CONDITIONS[:-1], groups=RUNS[:-1])
    with pytest.raises(DataError, match="needs labels and groups"):
        rsa.rdm(PATTERNS, metric="crossnobis", labels=CONDITIONS)
    with pytest.raises(DataError, match="takes no groups"):
        rsa.rdm(PATTERNS, labels=CONDITIONS, groups=RUNS)
    with pytest.raises(DataError, match="takes no noise_precision"):
        rsa.rdm(PATTERNS, noise_precision=PRECISION)
    with pytest.raises(DataError, match="not positive definite"):
        rsa.rdm(PATTERNS, metric="mahalanobis", noise_precision=-PRECISION)
    with pytest.raises(DataError, match="patterns contains NaN"):
        rsa.rdm(np.where(PATTERNS > 6, np.nan, PATTERNS))
    with pytest.raises(DataError, match="at least 2 groups"):
        rsa.rdm(PATTERNS[:5], metric="crossnobis", labels=CONDITIONS[:5], groups=RUNS[:5])
    with pytest.raises(DataError, match="features without noise: \\[2\\]"):
        rsa.noise_precision(np.where(np.arange(7) == 2, 1.0, PATTERNS))


def test_fingers_have_a_reliable_crossnobis_geometry() -> None:
    from scipy.io import loadmat

    data = loadmat(real_data("fingers7t") / "data_recipe_finger7T.mat", simplify_cells=True)
    reliability = []
    for X, fingers, runs in zip(data["Y"], data["condVec"], data["partVec"]):
        halves = [
            rsa.rdm(X[use], metric="crossnobis", labels=fingers[use], groups=runs[use])
            for use in (runs % 2 == 0, runs % 2 == 1)
        ]
        reliability.append(np.corrcoef(*halves)[0, 1])
    assert np.median(reliability) > 0.7
