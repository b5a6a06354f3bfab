"""Simulations: error rates are nominal, intervals cover, and the two-factor variance is the true one."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis import rsa
from brainalign.analysis.rsa.bootstrap import Resamples, bootstrap_scores, contrast_variance, two_factor_variance
from tests.analysis.rsa.test_inference import simulate

QUICK, SLOW = 120, pytest.param(600, marks=pytest.mark.slow)


@pytest.mark.parametrize("spread", [(1.0, 0.5, 2.0), (0.3, 1.0, 1.0), (0.6, 0.6, 2.0)])
def test_two_factor_variance_of_a_mean_is_within_ten_percent_of_the_truth(spread) -> None:
    n_subjects, n_stimuli, n_sets = 12, 20, 500
    by_subject, by_stimulus, noise = spread
    rng = np.random.default_rng(0)
    tables = by_subject * rng.normal(size=(n_sets, n_subjects, 1)) + by_stimulus * rng.normal(
        size=(n_sets, 1, n_stimuli)
    )
    tables = tables + noise * rng.normal(size=(n_sets, n_subjects, n_stimuli))
    resamples = Resamples.draw(400, n_subjects=n_subjects, n_stimuli=n_stimuli)
    who, what = resamples.subjects / n_subjects, resamples.stimuli / n_stimuli
    over_stimuli = tables @ what.T  # (n_sets, n_subjects, n_draws)
    variance = [
        np.var(np.einsum("bs,nsb->nb", who, over_stimuli), axis=1, ddof=1),
        np.var(tables.mean(axis=2) @ who.T, axis=1, ddof=1),
        np.var(over_stimuli.mean(axis=1), axis=1, ddof=1),
    ]
    found = two_factor_variance(variance[1], variance[2], variance[0], n_subjects=n_subjects, n_stimuli=n_stimuli)
    truth = by_subject**2 / n_subjects + by_stimulus**2 / n_stimuli + noise**2 / (n_subjects * n_stimuli)
    assert np.mean(found) / truth == pytest.approx(1, abs=0.1)
    uncorrected = np.mean(variance[0]) / truth
    assert uncorrected > np.mean(found) / truth


def test_pure_noise_is_never_underestimated() -> None:
    rng = np.random.default_rng(0)
    ratios = []
    for seed in range(100):
        table = rng.normal(size=(10, 15))
        resamples = Resamples.draw(300, n_subjects=10, n_stimuli=15, seed=seed)
        who, what = resamples.subjects / 10, resamples.stimuli / 15
        by = [
            np.var(d, ddof=1) for d in (who @ table.mean(1), what @ table.mean(0), np.sum(who @ table * what, axis=1))
        ]
        ratios.append(two_factor_variance(*map(np.asarray, by), n_subjects=10, n_stimuli=15) * 150)
    assert 1 < np.mean(ratios) < 1.6  # each single-factor term alone is the truth; the larger of both is the floor


@pytest.mark.slow
def test_two_factor_variance_of_an_rdm_score_is_within_ten_percent_of_the_truth() -> None:
    n_subjects, n_stimuli, n_sets = 16, 40, 400
    scores, variances = [], []
    for seed in range(n_sets):
        subjects, truth = simulate(n_subjects, n_stimuli, seed)
        resamples = Resamples.draw(200, n_subjects=n_subjects, n_stimuli=n_stimuli, seed=seed)
        draws = bootstrap_scores(subjects, truth, resamples, method="pearson")
        contrast = np.array([[1.0, 0, 0]])
        variances.append(contrast_variance(draws, contrast, n_subjects=n_subjects, n_stimuli=n_stimuli)[0])
        scores.append(rsa.compare(subjects, truth, method="pearson").mean())
    assert np.mean(variances) / np.var(scores, ddof=1) == pytest.approx(1, abs=0.1)


def independent_subjects(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Subjects who share nothing, and two models that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    return tuple(rsa.rdm(rng.normal(size=(n, 14, 8)), metric="sqeuclidean") for n in (8, 2))


@pytest.mark.parametrize("n_sets", [QUICK, SLOW])
@pytest.mark.parametrize("bootstrap", ["both", "stimuli", "subjects"])
def test_false_positives_are_nominal(bootstrap, n_sets) -> None:
    zero, pairs = [], []
    for seed in range(n_sets):
        subjects, models = independent_subjects(seed)
        result = rsa.evaluate(subjects, models, method="pearson", bootstrap=bootstrap, n_draws=200, seed=seed)
        zero.extend(result.p_zero < 0.05)
        pairs.append(result.p_pairs[0, 1] < 0.05)
    # Three standard errors above 5 %; the two-factor interval is known to be slightly conservative.
    assert np.mean(zero) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / (2 * n_sets))
    assert np.mean(pairs) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_sets)
    if bootstrap != "both":
        assert np.mean(zero) > 0.01


@pytest.mark.parametrize("n_sets", [80, pytest.param(400, marks=pytest.mark.slow)])
def test_intervals_cover_the_value_of_new_subjects_and_stimuli(n_sets) -> None:
    def value(n_subjects: int, n_stimuli: int, seed: int) -> float:
        subjects, truth = simulate(n_subjects, n_stimuli, seed)
        return float(rsa.compare(subjects, truth, method="pearson").mean())

    population = np.mean([value(40, 80, 10_000 + seed) for seed in range(12)])
    covered = []
    for seed in range(n_sets):
        subjects, truth = simulate(8, 24, seed)
        score = rsa.evaluate(subjects, truth, method="pearson", n_draws=200, seed=seed).scores["model0"]
        covered.append(score.low <= population <= score.high)
    assert np.mean(covered) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / n_sets)


def test_power_is_not_below_rsatoolbox_on_the_same_data() -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    ours, peer = [], []
    for seed in range(4):
        subjects, truth = simulate(6, 12, seed, signal=0.7)
        ours.append(rsa.evaluate(subjects, truth, method="cosine", n_draws=100, bootstrap="stimuli").standard_error[0])
        np.random.seed(seed)  # noqa: NPY002 - the peer draws from the global generator
        fixed = toolbox.model.ModelFixed("truth", truth)
        result = toolbox.inference.eval_bootstrap_pattern(fixed, toolbox.rdm.RDMs(subjects), method="cosine", N=100)
        peer.append(np.sqrt(result.model_var).item())
    assert np.mean(ours) == pytest.approx(np.mean(peer), rel=0.15)
