"""Every function of arrays of this room takes tensors: they stay on their device, and equal numpy's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis import rsa
from brainalign.analysis.factorisation import label_alignment, participation_ratio
from brainalign.analysis.relative import to_anchors
from brainalign.analysis.rsa.bootstrap import BOOTSTRAP_METHODS
from brainalign.analysis.rsa.compare import METHODS
from brainalign.analysis.rsa.neighbours import mutual_knn_rdms
from brainalign.analysis.rsa.searchlight import block_rdms, pattern_parts, searchlight_scores
from brainalign.analysis.rsa.searchlight_space import volume_neighbours

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 24, 10))
COUNTS = RNG.poisson(3.0, size=(3, 24, 10)).astype(float)
Y = RNG.normal(size=(24, 7))
RUNS, NAMES = np.repeat(np.arange(4), 6), np.tile(np.arange(6), 4)
SQUARE = rsa.rdm(X, metric="sqeuclidean")
MODELS = np.stack([rsa.rdm(Y, metric="sqeuclidean"), RNG.integers(0, 4, 276).astype(float), RNG.random(276)])
SIGMA = np.cov(RNG.normal(size=(24, 60)))


@pytest.fixture(params=["cpu", "cuda"])
def device(request) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA here")
    return request.param


def check(function, *arrays: np.ndarray, device: str, atol: float = 1e-9) -> None:
    """The same numbers in double precision, and nearly so in single; on the device that went in."""
    expected = function(*arrays)
    for dtype, tolerance in ((torch.float64, atol), (torch.float32, None)):
        found = function(*(torch.tensor(array, dtype=dtype, device=device) for array in arrays))
        pairs = list(zip(found, expected)) if isinstance(expected, tuple) else [(found, expected)]
        for one, other in pairs:
            if np.ndim(other) or isinstance(one, torch.Tensor):
                assert isinstance(one, torch.Tensor)
                assert one.device.type == device
                assert tuple(one.shape) == np.shape(other)
                if one.is_floating_point():
                    assert one.dtype == dtype
                one = one.cpu().numpy()
            scale = max(1.0, float(np.nanmax(np.abs(other))))
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance or 3e-3 * scale, equal_nan=True)


@pytest.mark.parametrize("metric", ["correlation", "euclidean", "sqeuclidean", "cosine", "mahalanobis", "poisson"])
def test_rdms(metric, device) -> None:
    source = COUNTS if metric == "poisson" else X
    check(lambda x: rsa.rdm(x, metric=metric), source, device=device)
    check(lambda x: rsa.rdm(x, metric=metric, labels=NAMES), source, device=device)
    check(lambda x: rsa.cross_rdm(x, x[..., :5, :] + 1.0, metric=metric), source, device=device)
    holes = np.where(RNG.random(source.shape) < 0.1, np.nan, source)
    check(lambda x: rsa.rdm(x, metric=metric, nan="pairwise"), holes, device=device)


@pytest.mark.parametrize("metric", ["crossnobis", "poisson_cv"])
def test_crossvalidated_rdms(metric, device) -> None:
    source = COUNTS if metric == "poisson_cv" else X
    check(lambda x: rsa.rdm(x, metric=metric, labels=NAMES, groups=RUNS), source, device=device)
    holes = np.where(RNG.random(source.shape) < 0.1, np.nan, source)
    check(lambda x: rsa.rdm(x, metric=metric, labels=NAMES, groups=RUNS, nan="pairwise"), holes, device=device)


def test_noise_and_movies(device) -> None:
    for shrinkage in ("diagonal", "identity", 0.3, None):
        check(lambda x, s=shrinkage: rsa.noise_covariance(x, shrinkage=s), X, device=device)
        check(lambda x, s=shrinkage: rsa.noise_precision(x, shrinkage=s), X, device=device)
    check(lambda x: rsa.condition_residuals(x, NAMES)[0], X, device=device)
    check(
        lambda x: rsa.rdm(x, metric="mahalanobis", noise_precision=rsa.noise_precision(x, n_parameters=6)),
        X[0],
        device=device,
    )
    movie = RNG.normal(size=(8, 5, 40))
    check(lambda x: rsa.rdm_movie(x, times=np.arange(40) / 40, window=0.2)[0], movie, device=device)


def test_condensed(device) -> None:
    check(rsa.to_square, SQUARE, device=device)
    check(lambda d: rsa.from_square(rsa.to_square(d)), SQUARE, device=device)
    holes = torch.tensor(np.where(SQUARE[0, 3] == SQUARE, np.nan, SQUARE), device=device)
    assert rsa.complete_conditions(holes).sum() == 23


@pytest.mark.parametrize("method", METHODS)
def test_comparison(method, device) -> None:
    check(lambda d, m: 1.0 * rsa.compare(d, m, method=method), SQUARE, MODELS, device=device, atol=1e-7)
    if method.startswith("whitened"):
        check(lambda d, m: rsa.compare(d, m, method=method, noise_covariance=SIGMA), SQUARE, MODELS, device=device)


def test_representations(device) -> None:
    for options in ({}, {"debiased": True}, {"kernel": "rbf"}, {"kernel": "rbf", "debiased": True}):
        check(lambda x, y, o=options: rsa.cka(x, y, **o), X, Y, device=device)
    for alpha in (0.0, 0.5, 1.0):
        check(lambda x, y, a=alpha: rsa.shape_distance(x, y, alpha=a), X, Y, device=device)
    check(lambda x, y: rsa.procrustes(x, y), X, Y, device=device)
    check(lambda x, y: rsa.mutual_knn(x, y, k=5), X, Y, device=device)
    check(lambda d, e: mutual_knn_rdms(d, e, k=5), SQUARE, MODELS[0], device=device)
    check(participation_ratio, X, device=device)
    check(lambda x: label_alignment(x, NAMES), X, device=device)
    check(lambda y: to_anchors(y, [0, 3, 5, 7]), Y, device=device)
    batches = [(torch.tensor(X[i], device=device), torch.tensor(Y, device=device)) for i in range(3)]
    assert rsa.minibatch_cka(batches) == pytest.approx(rsa.minibatch_cka((x, Y) for x in X), abs=1e-12)


def test_topology(device) -> None:
    for low, high in ((0.2, 0.8), (0.0, 1.0), (0.5, 0.5)):
        check(lambda d, b=(low, high): rsa.rgtm(d, low=b[0], high=b[1]), SQUARE, device=device)
    check(lambda d: rsa.rgdm(d, high=0.3), SQUARE, device=device)
    check(lambda d: rsa.rgdm(d, high=0.6, n_neighbours=3), SQUARE, device=device)
    ours = rsa.adaptive_dependence(SQUARE[0], SQUARE[1], step=0.5, n_permutations=9)
    theirs = rsa.adaptive_dependence(*(torch.tensor(d, device=device) for d in SQUARE[:2]), step=0.5, n_permutations=9)
    np.testing.assert_allclose(theirs.null, ours.null, atol=1e-12)
    assert theirs.p == ours.p
    rdms = RNG.random((4, 3, 28))
    found = rsa.identify_regions(torch.tensor(rdms, device=device))
    np.testing.assert_array_equal(found.confusion, rsa.identify_regions(rdms).confusion)


def test_fitted_and_partial(device) -> None:
    for method in ("pearson", "spearman"):
        check(lambda d, m, w=method: rsa.partial_correlation(d, m, method=w), SQUARE, MODELS, device=device)
        check(
            lambda d, m, w=method: rsa.partial_correlation(d, m[:1], given=m[1:], method=w),
            SQUARE,
            MODELS,
            device=device,
        )
    parts = rsa.variance_partition(torch.tensor(SQUARE, device=device), {"a": MODELS[0], "b": MODELS[1]})
    for key, expected in rsa.variance_partition(SQUARE, {"a": MODELS[0], "b": MODELS[1]}).shared.items():
        np.testing.assert_allclose(parts.shared[key], expected, atol=1e-12)
    for kind in ("weighted", "selected", "interpolated"):
        check(lambda d, m, k=kind: rsa.fit_weights(d, m, kind=k), SQUARE, MODELS, device=device)
    check(lambda d, m: rsa.crossvalidated_fit(d, m), SQUARE, MODELS, device=device)


@pytest.mark.parametrize("method", BOOTSTRAP_METHODS)
def test_inference(method, device) -> None:
    subjects = torch.tensor(SQUARE, device=device)
    ours = rsa.evaluate(SQUARE, MODELS, method=method, n_draws=20)
    theirs = rsa.evaluate(subjects, torch.tensor(MODELS, device=device), method=method, n_draws=20)
    np.testing.assert_allclose(theirs.subject_scores, ours.subject_scores, atol=1e-9)
    np.testing.assert_allclose(theirs.ceiling, ours.ceiling, atol=1e-9)
    np.testing.assert_allclose(theirs.standard_error, ours.standard_error, atol=1e-9)


def test_other_inference(device) -> None:
    subjects = torch.tensor(SQUARE, device=device)
    models = {"a": MODELS[0], "b": MODELS[1:]}
    ours, theirs = (rsa.evaluate_fitted(d, models, n_draws=10) for d in (SQUARE, subjects))
    np.testing.assert_allclose(theirs.subject_scores, ours.subject_scores, atol=1e-9)
    ours, theirs = (rsa.permutation_test(d, MODELS, n_permutations=19) for d in (SQUARE, subjects))
    np.testing.assert_allclose(theirs.null, ours.null, atol=1e-9)
    ours, theirs = (
        rsa.compare_groups(d, m, MODELS, n_permutations=19) for d, m in ((SQUARE, SQUARE[1:]), (subjects, subjects[1:]))
    )
    np.testing.assert_allclose(theirs.differences, ours.differences, atol=1e-9)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "sqeuclidean", "crossnobis"])
def test_searchlights(metric, device) -> None:
    ijk = np.argwhere(np.ones((4, 4, 4)))
    neighbours = volume_neighbours(ijk, 1.5)
    patterns = RNG.normal(size=(24, 64))
    groups = RUNS if metric == "crossnobis" else None
    parts = pattern_parts(patterns, NAMES, metric=metric, groups=groups)
    there = torch.tensor(parts, device=device)
    columns = neighbours.around(np.arange(10))
    rdms = block_rdms(there, columns, metric=metric)
    assert rdms.device.type == device
    np.testing.assert_allclose(rdms.cpu(), block_rdms(parts, columns, metric=metric), atol=1e-9)
    model = RNG.random((2, 15))
    expected, sizes = searchlight_scores(parts, neighbours, model, metric=metric)
    found, found_sizes = searchlight_scores(there, neighbours, model, metric=metric)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_array_equal(found_sizes, sizes)
