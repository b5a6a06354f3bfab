"""Poisson, cross-validated, incomplete and cross-run distances, against loops, rsatoolbox, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, squareform

from brainalign.analysis.rsa.condensed import select_conditions, to_square
from brainalign.analysis.rsa.cross import cross_rdm, rdm_movie
from brainalign.analysis.rsa.noise import condition_residuals, noise_covariance, noise_precision
from brainalign.analysis.rsa.rdm import rdm
from brainalign.errors import DataError

RNG = np.random.default_rng(0)
RUNS, CONDITIONS = np.repeat([0, 1, 2], 4), np.tile([2, 0, 1, 3], 3)
COUNTS = RNG.poisson(4.0, size=(12, 9)).astype(float)
CELLS = np.stack([[COUNTS[(run == RUNS) & (c == CONDITIONS)][0] for c in range(4)] for run in range(3)])
PAIRS = list(zip(*np.triu_indices(4, 1)))


def rates(counts):
    return (counts + 0.1) / 1.1


def poisson_fold(a, b):
    """Distance of two patterns, each (rates of one fold, rates of the other)."""
    return np.mean((rates(a[0]) - rates(b[0])) * (np.log(rates(a[1])) - np.log(rates(b[1]))))


def test_poisson_equals_rsatoolbox() -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    data = toolbox.data.Dataset(COUNTS, obs_descriptors={"condition": CONDITIONS})
    theirs = toolbox.rdm.calc_rdm(data, method="poisson", descriptor="condition")
    place = [list(theirs.pattern_descriptors["condition"]).index(c) for c in range(4)]
    expected = squareform(squareform(theirs.dissimilarities[0])[np.ix_(place, place)], checks=False)
    np.testing.assert_allclose(rdm(COUNTS, metric="poisson", labels=CONDITIONS), expected, atol=1e-12)


def test_crossvalidated_poisson_is_the_mean_over_folds_and_rsatoolbox_returns_the_last() -> None:
    per_fold = []
    for test in range(3):
        train = np.delete(CELLS, test, 0).mean(axis=0)
        per_fold.append([poisson_fold((train[i], CELLS[test, i]), (train[j], CELLS[test, j])) for i, j in PAIRS])
    ours = rdm(COUNTS, metric="poisson_cv", labels=CONDITIONS, groups=RUNS)
    np.testing.assert_allclose(ours, np.mean(per_fold, axis=0), atol=1e-12)
    toolbox = pytest.importorskip("rsatoolbox")
    order = np.argsort(CONDITIONS, kind="stable")
    data = toolbox.data.Dataset(COUNTS[order], obs_descriptors={"condition": CONDITIONS[order], "run": RUNS[order]})
    theirs = toolbox.rdm.calc_rdm(data, method="poisson_cv", descriptor="condition", cv_descriptor="run")
    np.testing.assert_allclose(theirs.dissimilarities[0], per_fold[-1], atol=1e-12)
    assert np.abs(theirs.dissimilarities[0] - ours).max() > 0.01


def test_crossvalidated_poisson_of_equal_rates_is_zero_on_average() -> None:
    counts = np.random.default_rng(1).poisson(5.0, size=(400, 12, 20)).astype(float)
    options = {"labels": np.tile([0, 1, 2], 4), "groups": np.repeat(np.arange(4), 3)}
    d = rdm(counts, metric="poisson_cv", **options)
    assert abs(d.mean()) < 3 * d.mean(axis=1).std() / np.sqrt(400)
    assert rdm(counts, metric="poisson", labels=options["labels"]).mean() > 0.05


def with_holes(x: np.ndarray, seed: int = 3) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(x.shape) < 0.2, np.nan, x)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "mahalanobis"])
def test_missing_channels_equal_scikit_learn(metric) -> None:
    from sklearn.metrics.pairwise import nan_euclidean_distances

    X = with_holes(RNG.normal(size=(2, 8, 15)) + 3.0)
    expected = np.stack([nan_euclidean_distances(x, squared=metric != "euclidean") for x in X])
    if metric == "mahalanobis":
        expected = expected / 15
    np.testing.assert_allclose(to_square(rdm(X, metric=metric, nan="pairwise")), expected, atol=1e-7)


def test_missing_channels_of_a_correlation_equal_pandas() -> None:
    X = with_holes(RNG.normal(size=(8, 25)) + 3.0)
    X[5] = 0.1
    expected = 1 - pd.DataFrame(X.T).corr().to_numpy()
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(to_square(rdm(X, nan="pairwise")), expected, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "poisson"])
def test_missing_channels_equal_a_loop(metric) -> None:
    X = with_holes(COUNTS[:5])
    expected = []
    for i, j in zip(*np.triu_indices(5, 1)):
        use = ~np.isnan(X[i]) & ~np.isnan(X[j])
        expected.append(rdm(X[[i, j]][:, use], metric=metric)[0])
    np.testing.assert_allclose(rdm(X, metric=metric, nan="pairwise"), expected, atol=1e-12)


@pytest.mark.parametrize("metric", ["crossnobis", "poisson_cv"])
def test_unbalanced_designs_with_missing_channels_equal_a_loop(metric) -> None:
    cells = with_holes(CELLS)
    cells[1, 2] = np.nan
    rows = [(run, c) for run in range(3) for c in range(4) if not np.isnan(cells[run, c]).all()]
    X = np.stack([cells[one] for one in rows])
    expected = []
    for i, j in PAIRS:
        total, n = 0.0, 0
        for f in range(3):
            for g in range(3):
                use = ~np.isnan(cells[f, i] + cells[f, j] + cells[g, i] + cells[g, j])
                if f == g or not use.any():
                    continue
                left, right = (cells, cells) if metric == "crossnobis" else (rates(cells), np.log(rates(cells)))
                total += np.sum((left[f, i] - left[f, j])[use] * (right[g, i] - right[g, j])[use])
                n += use.sum()
        expected.append(total / n)
    options = {"metric": metric, "labels": [c for _, c in rows], "groups": [run for run, _ in rows]}
    np.testing.assert_allclose(rdm(X, nan="pairwise", **options), expected, atol=1e-12)
    with pytest.raises(DataError, match="NaN"):
        rdm(X, **options)
    # Nothing missing: the closed form over all groups.
    options |= {"labels": CONDITIONS, "groups": RUNS}
    np.testing.assert_allclose(rdm(COUNTS, nan="pairwise", **options), rdm(COUNTS, **options), atol=1e-12)


def test_pairs_with_nothing_in_common_are_nan() -> None:
    X = np.array([[1.0, np.nan, 2.0, np.nan], [np.nan, 3.0, np.nan, 4.0], [1.0, 2.0, 5.0, 7.0]])
    np.testing.assert_array_equal(np.isnan(rdm(X, metric="euclidean", nan="pairwise")), [True, False, False])
    with pytest.raises(DataError, match="mixes channels"):
        rdm(X, metric="mahalanobis", noise_precision=np.eye(4), nan="pairwise")


@pytest.mark.parametrize(
    ("metric", "name"), [("correlation",) * 2, ("cosine",) * 2, ("euclidean",) * 2, ("mahalanobis", "sqeuclidean")]
)
def test_cross_run_distances_equal_scipy(metric, name) -> None:
    X, Y = RNG.normal(size=(2, 6, 11)) + 4.0, RNG.normal(size=(2, 5, 11)) + 4.0
    expected = np.stack([cdist(x, y, name) for x, y in zip(X, Y)]) / (11 if metric == "mahalanobis" else 1)
    np.testing.assert_allclose(cross_rdm(X, Y, metric=metric), expected, atol=1e-12)


def test_cross_run_distances_are_zero_on_the_diagonal_of_a_run_with_itself() -> None:
    d = cross_rdm(COUNTS, COUNTS, metric="poisson")
    np.testing.assert_allclose(np.diag(d), 0, atol=1e-12)
    np.testing.assert_allclose(d[np.triu_indices(12, 1)], rdm(COUNTS, metric="poisson"), atol=1e-12)
    with pytest.raises(DataError, match="different features"):
        cross_rdm(COUNTS, COUNTS[:, :-1])
    with pytest.raises(DataError, match="between two runs"):
        cross_rdm(COUNTS, COUNTS, metric="crossnobis")


def test_movie_averages_windows() -> None:
    X, times = RNG.normal(size=(6, 8, 100)), np.arange(100) / 100 - 0.2
    d, centres = rdm_movie(X, times=times, window=0.1, step=0.05, metric="euclidean")
    assert len(d) == 19
    np.testing.assert_allclose(d[3], rdm(X[:, :, 15:25].mean(axis=2), metric="euclidean"), atol=1e-12)
    assert centres[3] == pytest.approx(times[15:25].mean())
    with pytest.raises(DataError, match="no window fits"):
        rdm_movie(X, times=times, window=5.0)


@pytest.mark.parametrize("metric", ["correlation", "euclidean", "mahalanobis", "crossnobis", "poisson_cv"])
@pytest.mark.parametrize("nan", ["raise", "pairwise"])
def test_tensors_give_the_tensors_of_the_same_numbers(metric, nan) -> None:
    torch = pytest.importorskip("torch")
    X = np.stack([COUNTS, COUNTS[::-1]])
    if nan == "pairwise":
        X = with_holes(X)
    options = {"labels": CONDITIONS, "metric": metric, "nan": nan}
    if metric in ("crossnobis", "poisson_cv"):
        options["groups"] = RUNS
    found = rdm(torch.tensor(X), **options)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), rdm(X, **options), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(-5, 5))
def test_invariances(seed, scale, shift) -> None:
    rng = np.random.default_rng(seed)
    X, rotation = rng.normal(size=(6, 5)), np.linalg.qr(rng.normal(size=(5, 5)))[0]
    np.testing.assert_allclose(rdm(scale * X + shift), rdm(X), atol=1e-10)
    np.testing.assert_allclose(rdm(X @ rotation + shift, metric="euclidean"), rdm(X, metric="euclidean"), atol=1e-10)
    np.testing.assert_allclose(rdm(scale * X @ rotation, metric="cosine"), rdm(X, metric="cosine"), atol=1e-10)
    order = rng.permutation(6)
    np.testing.assert_allclose(rdm(X[order]), select_conditions(rdm(X), order), atol=1e-12)


def test_shrinkage_to_the_identity_equals_scikit_learn() -> None:
    from sklearn.covariance import ledoit_wolf

    X = RNG.normal(size=(20, 30)) @ RNG.normal(size=(30, 30))
    np.testing.assert_allclose(noise_covariance(X, shrinkage="identity", n_parameters=0), ledoit_wolf(X)[0], rtol=1e-12)
    toolbox = pytest.importorskip("rsatoolbox")
    X -= X.mean(axis=0)
    for ours, theirs in (("identity", "shrinkage_eye"), ("diagonal", "shrinkage_diag")):
        expected = toolbox.data.noise.cov_from_residuals(X, method=theirs)
        np.testing.assert_allclose(noise_covariance(X, shrinkage=ours), expected, rtol=1e-12)
    batch = np.stack([X, 2 * X])
    np.testing.assert_allclose(noise_covariance(batch)[1], 4 * noise_covariance(X), rtol=1e-12)
    np.testing.assert_allclose(noise_covariance(X, shrinkage=None), np.cov(X.T), rtol=1e-10)


def test_residuals_of_trials_recover_the_noise() -> None:
    rng = np.random.default_rng(4)
    true = np.array([[1.0, 0.6], [0.6, 2.0]])
    labels = np.repeat(np.arange(200), 4)
    X = rng.normal(size=(200, 2))[labels] * 5 + rng.multivariate_normal([0, 0], true, size=800)
    residuals, n_parameters = condition_residuals(X, labels)
    assert n_parameters == 200
    np.testing.assert_allclose(noise_covariance(residuals, n_parameters=n_parameters), true, atol=0.25)
    precision = noise_precision(residuals, n_parameters=n_parameters)
    np.testing.assert_allclose(precision, np.linalg.inv(true), atol=0.25)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"singular[\s\S]*shrinkage="):
        noise_precision(RNG.normal(size=(5, 20)), shrinkage=None)
    with pytest.raises(DataError, match="negative"):
        rdm(COUNTS - 5, metric="poisson")
    with pytest.raises(DataError, match="nan='pairwise'"):
        rdm(COUNTS[1:], metric="crossnobis", labels=CONDITIONS[1:], groups=RUNS[1:])
    with pytest.raises(DataError, match="'raise' or 'pairwise'"):
        rdm(COUNTS, nan="drop")
    with pytest.raises(DataError, match="infinity"):
        rdm(np.where(COUNTS > 5, np.inf, COUNTS), nan="pairwise")
    with pytest.raises(DataError, match="repeated conditions"):
        condition_residuals(COUNTS, np.arange(12))
    with pytest.raises(DataError, match="compares conditions"):
        rdm(COUNTS, labels=np.zeros(12))
    with pytest.raises(DataError, match="each once"):
        select_conditions(rdm(COUNTS), [0, 0, 1])
