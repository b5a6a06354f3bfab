"""Weighted forms against RDMs that are really resampled, and against rsatoolbox on identical resamples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainalign.analysis import rsa
from brainalign.analysis.rsa.bootstrap import Resamples, bootstrap_scores, two_factor_variance
from brainalign.analysis.rsa.weighted import unit_gram, weighted_gram
from brainalign.errors import DataError

RNG = np.random.default_rng(0)


def whitened(a: np.ndarray, b: np.ndarray, inverse: np.ndarray) -> float:
    return a @ inverse @ b / np.sqrt((a @ inverse @ a) * (b @ inverse @ b))


SIMILARITY = {
    "pearson": lambda a, b: stats.pearsonr(a, b)[0],
    "spearman": lambda a, b: stats.spearmanr(a, b)[0],
    "cosine": lambda a, b: a @ b / np.sqrt((a @ a) * (b @ b)),
    "rho_a": lambda a, b: (
        12
        * np.sum((stats.rankdata(a) - (len(a) + 1) / 2) * (stats.rankdata(b) - (len(a) + 1) / 2))
        / (len(a) ** 3 - len(a))
    ),
}


def resampled(condensed: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The RDM of the drawn conditions, without the pairs of a condition and its own copy."""
    first, second = np.triu_indices(len(drawn), 1)
    real = drawn[first] != drawn[second]
    return rsa.to_square(condensed)[drawn[first[real]], drawn[second[real]]]


def distance_covariance(drawn: np.ndarray) -> np.ndarray:
    """Covariance of squared distances under white noise, (C C') squared entry by entry, written out for the pairs."""
    first, second = np.triu_indices(len(drawn), 1)
    real = drawn[first] != drawn[second]
    contrast = np.zeros((real.sum(), len(drawn)))
    contrast[np.arange(real.sum()), first[real]] = 1
    contrast[np.arange(real.sum()), second[real]] = -1
    return (contrast @ contrast.T) ** 2


@pytest.mark.parametrize("method", list(SIMILARITY))
@pytest.mark.parametrize("ties", [False, True])
def test_weighted_gram_equals_resampled_rdms(method, ties) -> None:
    rdms = RNG.integers(0, 6, (4, 66)).astype(float) if ties else RNG.random((4, 66))
    gram = weighted_gram(rdms, method)
    for seed in range(8):
        drawn = np.random.default_rng(seed).integers(0, 12, 12)
        found = unit_gram(gram(np.bincount(drawn, minlength=12).astype(float)[None]), method)[0]
        copies = [resampled(d, drawn) for d in rdms]
        expected = [[SIMILARITY[method](a, b) for b in copies] for a in copies]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_whitened_cosine_equals_the_dense_covariance_without_pairs_of_copies() -> None:
    rdms = RNG.random((3, 66))
    gram = weighted_gram(rdms, "whitened_cosine")
    for seed in range(8):
        drawn = np.random.default_rng(seed).integers(0, 12, 12)
        inverse = np.linalg.inv(distance_covariance(drawn))
        found = unit_gram(gram(np.bincount(drawn, minlength=12).astype(float)[None]), "whitened_cosine")[0]
        copies = [resampled(d, drawn) for d in rdms]
        expected = [[whitened(a, b, inverse) for b in copies] for a in copies]
        np.testing.assert_allclose(found, expected, atol=1e-11)


def test_whitened_pearson_equals_the_dense_covariance_of_centred_distances() -> None:
    rdms = RNG.random((4, 66))
    gram = weighted_gram(rdms, "whitened_pearson", n_subjects=2)
    for seed in range(6):
        drawn = np.random.default_rng(seed).integers(0, 12, 12)
        inverse = np.linalg.inv(distance_covariance(drawn))
        found = unit_gram(gram(np.bincount(drawn, minlength=12).astype(float)[None]), "whitened_pearson")[0]
        copies = [resampled(d, drawn) - resampled(d, drawn).mean() for d in rdms]
        expected = np.array([[whitened(a, b, inverse) for b in copies] for a in copies])
        np.testing.assert_allclose(found[:2], expected[:2], atol=1e-11)
    everything = rsa.compare(rdms[:2], rdms[2:], method="whitened_pearson")
    np.testing.assert_allclose(unit_gram(gram(np.ones((1, 12))), "pearson")[0, :2, 2:], everything, atol=1e-12)


def test_a_resample_that_is_mostly_one_condition_has_no_whitened_cosine() -> None:
    gram = weighted_gram(RNG.random((2, 15)), "whitened_cosine")(np.array([[5.0, 1, 0, 0, 0, 0], np.ones(6)]))
    assert np.isnan(gram[0]).all()
    assert np.isfinite(gram[1]).all()


@pytest.mark.parametrize("method", ["pearson", "cosine", "spearman", "whitened_cosine"])
def test_many_draws_at_once_equal_draws_one_by_one(method, monkeypatch) -> None:
    rdms, weights = RNG.random((5, 190)), Resamples.draw(30, n_subjects=3, n_stimuli=20).stimuli
    gram = weighted_gram(rdms, method, n_subjects=3)
    at_once = gram(weights)
    monkeypatch.setattr("brainalign.analysis.rsa.weighted._BLOCK_BYTES", 20 * 8 * 2)
    np.testing.assert_allclose(at_once, np.concatenate([gram(w[None]) for w in weights]), atol=1e-9)
    assert np.isnan(at_once[:, 3, 4]).all()
    np.testing.assert_allclose(at_once[:, :3], weighted_gram(rdms, method)(weights)[:, :3], atol=1e-9)


PEER_METHODS = {
    "cosine": "cosine",
    "pearson": "corr",
    "spearman": "spearman",
    "rho_a": "rho-a",
    "whitened_cosine": "cosine_cov",
    "whitened_pearson": "corr_cov",
    "kendall_a": "tau-a",
    "kendall_b": "tau-b",
}


@pytest.mark.parametrize("method", list(PEER_METHODS))
def test_pattern_bootstrap_equals_rsatoolbox_on_its_own_resamples(method) -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    n, n_draws = 18, 12
    truth = RNG.random(n * (n - 1) // 2)
    subjects, models = truth + RNG.random((4, len(truth))), np.stack([truth, RNG.random(len(truth))])
    np.random.seed(0)  # noqa: NPY002 - the peer draws from the global generator
    peer = toolbox.inference.eval_bootstrap_pattern(
        [toolbox.model.ModelFixed(str(i), m) for i, m in enumerate(models)],
        toolbox.rdm.RDMs(subjects),
        method=PEER_METHODS[method],
        N=n_draws,
    )
    np.random.seed(0)  # noqa: NPY002
    drawn = np.stack([np.random.randint(0, n, n) for _ in range(n_draws)])  # noqa: NPY002
    resamples = Resamples.from_draws(np.zeros((n_draws, 4), int), drawn, n_subjects=4, n_stimuli=n)
    ours = bootstrap_scores(subjects, models, resamples, method=method, factors="stimuli")["stimuli"]
    np.testing.assert_allclose(ours[:, :2], peer.evaluations.reshape(n_draws, -1), atol=1e-9)
    # The peer pools whitened RDMs by their plain norm, and ranks mean ranks again: neither is the nearest vector.
    tolerance = {"cosine": 1e-12, "pearson": 1e-12}.get(method, 0.04)
    np.testing.assert_allclose(ours[:, 2:], np.asarray(peer.noise_ceiling).T, atol=tolerance)
    if method in ("spearman", "whitened_cosine"):
        assert (ours[:, 3] >= peer.noise_ceiling[1] - 1e-9).all()


@pytest.mark.parametrize("method", ["cosine", "spearman", "whitened_cosine", "whitened_pearson", "kendall_a"])
def test_dual_bootstrap_equals_rsatoolbox_on_its_own_resamples(method) -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    n, n_subjects, n_draws = 15, 5, 10
    truth = RNG.random(n * (n - 1) // 2)
    subjects, models = truth + RNG.random((n_subjects, len(truth))), np.stack([truth, RNG.random(len(truth))])
    data, index = toolbox.rdm.RDMs(subjects), []

    def recorded(rdms, **keys):
        sample, who, what = toolbox.inference.bootstrap_sample(rdms, **keys)
        index.append((np.asarray(who, int), np.asarray(what, int)))
        return sample, who, what

    evaluate_module = __import__("rsatoolbox.inference.evaluate", fromlist=["bootstrap_sample"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_module, "bootstrap_sample", recorded)
        np.random.seed(1)  # noqa: NPY002
        fixed = [toolbox.model.ModelFixed(str(i), m) for i, m in enumerate(models)]
        peer = toolbox.inference.eval_dual_bootstrap(fixed, data, method=PEER_METHODS[method], N=n_draws)
    drawn = [np.stack(one) for one in zip(*index)]
    resamples = Resamples.from_draws(*drawn, n_subjects=n_subjects, n_stimuli=n)
    ours = bootstrap_scores(subjects, models, resamples, method=method)
    for name, column in (("both", 0), ("subjects", 1), ("stimuli", 2)):
        expected = peer.evaluations[:, :, 0, 0, column]
        np.testing.assert_allclose(ours[name][:, :2], expected, atol=1e-9)


@pytest.mark.parametrize("method", ["pearson", "cosine"])
def test_draws_equal_loops_over_resampled_subjects_and_conditions(method) -> None:
    subjects, models = RNG.random((5, 45)), RNG.random((2, 45))
    drawn_subjects, drawn_stimuli = RNG.integers(0, 5, (6, 5)), RNG.integers(0, 10, (6, 10))
    resamples = Resamples.from_draws(drawn_subjects, drawn_stimuli, n_subjects=5, n_stimuli=10)
    draws = bootstrap_scores(subjects, models, resamples, method=method)
    similarity = SIMILARITY[method]
    for i, (who, what) in enumerate(zip(drawn_subjects, drawn_stimuli)):
        cases = {"both": (who, what), "subjects": (who, np.arange(10)), "stimuli": (np.arange(5), what)}
        for factor, (people, stimuli) in cases.items():
            brain = [resampled(d, stimuli) for d in subjects]
            model = [resampled(d, stimuli) for d in models]
            scores = [np.mean([similarity(brain[s], m) for s in people]) for m in model]
            unit = [b - b.mean() if method == "pearson" else b for b in brain]
            unit = [b / np.linalg.norm(b) for b in unit]
            lower = np.mean([similarity(unit[s], sum(unit[t] for t in people if t != s)) for s in people])
            upper = np.mean([similarity(unit[s], sum(unit[t] for t in people)) for s in people])
            np.testing.assert_allclose(draws[factor][i], [*scores, lower, upper], atol=1e-12)


def test_two_factor_variance_equals_rsatoolbox() -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    both, subjects, stimuli = RNG.random((3, 50)) + np.array([[1.0], [0.0], [0.0]])
    expected = toolbox.util.inference_util._dual_bootstrap(np.stack([both, subjects, stimuli]), 7, 20)
    found = two_factor_variance(subjects, stimuli, both, n_subjects=7, n_stimuli=20)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_resamples_from_draws_count_and_refuse_what_does_not_exist() -> None:
    resamples = Resamples.from_draws([[0, 0, 1]], [[2, 2, 2]], n_subjects=3, n_stimuli=4)
    assert resamples.subjects.tolist() == [[2, 1, 0]]
    assert resamples.stimuli.tolist() == [[0, 0, 3, 0]]
    with pytest.raises(DataError, match="0 to 3"):
        Resamples.from_draws([[0, 0, 1]], [[4, 2, 2]], n_subjects=3, n_stimuli=4)


def test_more_draws_extend_the_first_ones() -> None:
    few, many = (Resamples.draw(n, n_subjects=4, n_stimuli=9, seed=3) for n in (50, 250))
    np.testing.assert_array_equal(few.stimuli, many.stimuli[:50])
    np.testing.assert_array_equal(few.subjects, many.subjects[:50])
