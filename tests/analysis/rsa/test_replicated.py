"""Kendall's tau and Bures similarity of replicated conditions, against RDMs and patterns that are really replicated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainalign.analysis import rsa
from brainalign.analysis.rsa import replicated
from brainalign.analysis.rsa.bootstrap import Resamples, bootstrap_scores
from brainalign.analysis.rsa.replicated import pooled_references, replicated_scores
from brainalign.errors import DataError
from tests.analysis.rsa.test_bootstrap import resampled

RNG = np.random.default_rng(0)
DRAWN = RNG.integers(0, 20, (5, 20))
COUNTS = np.stack([np.bincount(one, minlength=20) for one in DRAWN]).astype(float)


def tau_a(a: np.ndarray, b: np.ndarray) -> float:
    signs = np.sign(a[:, None] - a) * np.sign(b[:, None] - b)
    return signs.sum() / (len(a) * (len(a) - 1))


TAU = {"kendall_a": tau_a, "kendall_b": lambda a, b: stats.kendalltau(a, b)[0]}
RDMS = {
    "untied": RNG.random((7, 190)),
    "few values": RNG.integers(0, 25, (7, 190)).astype(float),
    "categories": RNG.integers(0, 2, (7, 190)).astype(float),
}


@pytest.mark.parametrize("method", list(TAU))
@pytest.mark.parametrize("kind", list(RDMS))
@pytest.mark.parametrize("width", [128, 9])
def test_tau_equals_brute_force_on_the_replicated_rdms(method, kind, width, monkeypatch) -> None:
    monkeypatch.setattr(replicated, "_BLOCK", width)
    monkeypatch.setattr(replicated, "_CHUNK", 2)
    subjects, models = RDMS[kind][:4], RDMS[kind][4:]
    scores, lower, upper = replicated_scores(subjects, models, COUNTS, method)
    others, everyone = pooled_references(subjects, method)
    np.testing.assert_allclose(everyone[0] - others, np.stack([stats.rankdata(d) for d in subjects]), atol=1e-9)
    for drawn, found, low, high in zip(DRAWN, scores, lower, upper):
        copies, model_copies = ([resampled(d, drawn) for d in side] for side in (subjects, models))
        expected = [[TAU[method](a, b) for b in model_copies] for a in copies]
        np.testing.assert_allclose(found, expected, atol=1e-12)
        np.testing.assert_allclose(
            low, [TAU[method](a, resampled(o, drawn)) for a, o in zip(copies, others)], atol=1e-12
        )
        np.testing.assert_allclose(high, [TAU[method](a, resampled(everyone[0], drawn)) for a in copies], atol=1e-12)


def test_large_multiplicities_are_counted_in_double_precision() -> None:
    heavy = 1000 * COUNTS[:1]
    subjects, models = RDMS["untied"][:1], RDMS["untied"][4:]
    first, second = np.triu_indices(20, 1)
    weight = heavy[0][first] * heavy[0][second]
    signs = np.sign(subjects[0][:, None] - subjects[0])[None] * np.sign(models[:, :, None] - models[:, None])
    expected = np.einsum("k,mkl,l->m", weight, signs, weight) / (weight.sum() * (weight.sum() - 1))
    found = replicated_scores(subjects, models, heavy, "kendall_a")[0][0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_bures_equals_replicated_patterns() -> None:
    patterns = RNG.normal(size=(5, 20, 6))
    rdms = rsa.rdm(patterns, metric="sqeuclidean")
    scores, lower, upper = replicated_scores(rdms[:3], rdms[3:], COUNTS, "bures")
    for drawn, found in zip(DRAWN, scores):
        copies = rsa.rdm(patterns[:, drawn], metric="sqeuclidean")
        np.testing.assert_allclose(found, rsa.compare(copies[:3], copies[3:], method="bures"), atol=1e-7)
    assert (upper > lower).all()


@pytest.mark.parametrize("method", ["kendall_a", "bures"])
def test_means_over_drawn_subjects(method) -> None:
    rdms = rsa.rdm(RNG.normal(size=(6, 20, 6)), metric="sqeuclidean")
    who = np.array([[0, 0, 1, 2], [3, 3, 3, 3], [0, 1, 2, 3]])
    resamples = Resamples.from_draws(who, DRAWN[:3], n_subjects=4, n_stimuli=20)
    draws = bootstrap_scores(rdms[:4], rdms[4:], resamples, method=method)
    scores, lower, upper = replicated_scores(rdms[:4], rdms[4:], COUNTS[:3], method)
    for i, people in enumerate(who):
        expected = [*scores[i][people].mean(axis=0), lower[i][people].mean(), upper[i][people].mean()]
        expected[-2] = np.nan if len(set(people)) == 1 else expected[-2]
        np.testing.assert_allclose(draws["both"][i], expected, atol=1e-12)
    np.testing.assert_allclose(draws["stimuli"][:, :2], scores.mean(axis=1), atol=1e-12)
    whole = rsa.compare(rdms[:4], rdms[4:], method=method)
    np.testing.assert_allclose(draws["subjects"][:, :2], [whole[people].mean(axis=0) for people in who], atol=1e-12)


@pytest.mark.parametrize("method", ["kendall_a", "kendall_b", "bures", "whitened_pearson"])
def test_planted_model_wins_and_a_shuffled_one_is_not_found(method) -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(16, 6))
    own = rng.normal(size=(8, 16, 10))
    patterns = np.concatenate([np.broadcast_to(1.3 * shared, (8, 16, 6)), own], axis=2)
    subjects, truth = rsa.rdm(patterns, metric="sqeuclidean"), rsa.rdm(shared, metric="sqeuclidean")
    order = rng.permutation(16)
    shuffled = rsa.from_square(rsa.to_square(truth)[np.ix_(order, order)])
    result = rsa.evaluate(subjects, {"truth": truth, "shuffled": shuffled}, method=method, n_draws=100)
    assert result.p_pairs[0, 1] < 0.05
    assert result.ceiling[0] < result.ceiling[1]
    assert result.p_ceiling[1] < 0.05
    # Bures is never negative, and other subjects share the spread that noise adds to every distance; a model does not.
    if method != "bures":
        assert result.p_ceiling[0] > 0.05
        assert result.p_zero[0] < 0.01 and result.p_zero[1] > 0.05


def test_a_single_subject_has_no_ceiling() -> None:
    result = rsa.evaluate(RDMS["untied"][0], RDMS["untied"][4:], method="kendall_a", bootstrap="stimuli", n_draws=20)
    assert np.isnan(result.ceiling).all()
    assert np.isfinite(result.standard_error).all()
    with pytest.raises(DataError, match="no bootstrap"):
        bootstrap_scores(RDMS["untied"][:2], RDMS["untied"][4:], Resamples(COUNTS, COUNTS), method="bures_distance")
