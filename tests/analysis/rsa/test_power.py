"""Power beside rsatoolbox on identical draws, and false positives of every other test of the room."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainalign.analysis import rsa
from brainalign.analysis.rsa.bootstrap import Resamples, bootstrap_scores
from brainalign.analysis.rsa.contrasts import ContrastTests, adjust
from tests.analysis.rsa.test_error_rates import independent_subjects
from tests.analysis.rsa.test_inference import simulate

N_SUBJECTS, N_STIMULI = 6, 14


def both_sides(seed: int, signal: float) -> tuple[np.ndarray, ContrastTests, Resamples, np.ndarray]:
    """Subjects and two models, of which the second is the truth blurred; our tests on some draws."""
    subjects, truth = simulate(N_SUBJECTS, N_STIMULI, seed, signal=signal)
    models = np.stack([truth, np.random.default_rng(seed).permutation(truth)])
    resamples = Resamples.draw(100, n_subjects=N_SUBJECTS, n_stimuli=N_STIMULI, seed=seed)
    draws = bootstrap_scores(subjects, models, resamples, method="pearson")
    values = np.r_[rsa.compare(subjects, models, method="pearson").mean(axis=0), 0.0, 0.0]
    return subjects, ContrastTests(values, draws, n_subjects=N_SUBJECTS, n_stimuli=N_STIMULI), resamples, models


def peer_p(tests: ContrastTests) -> tuple[np.ndarray, float]:
    """What rsatoolbox 0.3.2 reports: t of the mean over all draws, not of the data; p against zero and of the pair."""
    means = np.nanmean(np.stack([draws[:, :2] for draws in tests.draws.values()]), axis=(0, 1))
    zero = 1 - stats.t.cdf(means / tests.standard_error(tests.against_zero()), tests.dof)
    contrast = np.array([[1.0, -1.0, 0, 0]])
    pair = (means[0] - means[1]) / tests.standard_error(contrast)[0]
    return zero, 2 * stats.t.sf(abs(pair), tests.dof)


def test_what_the_peer_reports() -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    from rsatoolbox.inference import evaluate

    for seed in range(1):
        subjects, tests, resamples, models = both_sides(seed, signal=0.8)
        who = [np.repeat(np.arange(N_SUBJECTS), w.astype(int)) for w in resamples.subjects]
        what = [np.repeat(np.arange(N_STIMULI), w.astype(int)) for w in resamples.stimuli]
        drawn = iter(zip(who, what))

        def sample(rdms, drawn=drawn, **_):
            people, stimuli = next(drawn)
            return rdms.subsample("index", people).subsample_pattern("index", stimuli), people, stimuli

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluate, "bootstrap_sample", sample)
            fixed = [toolbox.model.ModelFixed(str(i), m) for i, m in enumerate(models)]
            result = evaluate.eval_dual_bootstrap(fixed, toolbox.rdm.RDMs(subjects), method="corr", N=100)
        zero, pair = peer_p(tests)
        np.testing.assert_allclose(np.sqrt(result.model_var), tests.standard_error(tests.against_zero()), rtol=1e-6)
        np.testing.assert_allclose(result.test_zero(), zero, rtol=1e-5)
        np.testing.assert_allclose(result.test_pairwise()[0, 1], pair, rtol=1e-5)


@pytest.mark.parametrize("n_sets", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_power_is_not_below_the_peer_on_the_same_draws(n_sets) -> None:
    ours, peer = [], []
    for seed in range(n_sets):
        _, tests, _, _ = both_sides(seed, signal=0.6)
        zero, pair = peer_p(tests)
        ours.append([tests.p_t(tests.against_zero())[0] < 0.05, tests.pairwise()[0, 1] < 0.05])
        peer.append([zero[0] < 0.05, pair < 0.05])
    ours_power, peer_power = np.mean(ours, axis=0), np.mean(peer, axis=0)
    assert ((ours_power > 0.1) & (ours_power < 0.98)).all(), ours_power
    # Sets in which the two disagree tell them apart: a difference of more than two standard errors would be real.
    error = np.sqrt(np.sum(np.array(ours) != np.array(peer), axis=0)) / n_sets
    assert (ours_power >= peer_power - 2 * error).all(), (ours_power, peer_power, error)


@pytest.mark.parametrize("n_sets", [100, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("bootstrap", ["stimuli", "subjects", "both"])
def test_false_positives_of_the_bootstrap_tests(bootstrap, n_sets) -> None:
    zero, family, discoveries = [], [], []
    for seed in range(n_sets):
        subjects, models = independent_subjects(5000 + seed)
        result = rsa.evaluate(subjects, models, method="pearson", bootstrap=bootstrap, n_draws=200, seed=seed)
        zero.append(result.tests.p_bootstrap(result.tests.against_zero())[0] < 0.05)
        family.append(bool((adjust(result.p_zero, how="holm") < 0.05).any()))
        discoveries.append(bool((adjust(result.p_zero, how="fdr") < 0.05).any()))
    slack = 3 * np.sqrt(0.05 * 0.95 / n_sets)
    # A share of draws takes no account of how few subjects there are: with 8 it is a little liberal, never more.
    assert np.mean(zero) < (0.05 if bootstrap == "both" else 0.09) + slack
    assert np.mean(family) < 0.05 + slack
    assert np.mean(discoveries) < 0.05 + slack


@pytest.mark.parametrize("n_sets", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_false_positives_of_permutation_tests(n_sets) -> None:
    relabelled, family, groups, apart = [], [], [], []
    for seed in range(n_sets):
        subjects, models = independent_subjects(9000 + seed)
        table = rsa.permutation_test(subjects, models, method="spearman", n_permutations=99, seed=seed).table()
        relabelled.append(table["p"].iloc[0] <= 0.05)
        family.append(bool((table["p_family"] <= 0.05).any()))
        difference = rsa.compare_groups(subjects[:4], subjects[4:], models, n_permutations=60, seed=seed)
        groups.append(difference.table()["p"].iloc[0] <= 0.05)
        apart.append(difference.p_separation <= 0.05)
    slack = 3 * np.sqrt(0.05 * 0.95 / n_sets)
    for name, hits in (("relabelled", relabelled), ("family", family), ("groups", groups), ("separation", apart)):
        assert np.mean(hits) < 0.05 + slack, name
    assert np.mean(relabelled) > 0.05 - slack and np.mean(groups) > 0.05 - slack


def test_a_perfect_model_is_rarely_below_the_ceiling() -> None:
    below = []
    for seed in range(80):
        subjects, truth = simulate(8, 16, seed)
        below.append(rsa.evaluate(subjects, truth, method="pearson", n_draws=100, seed=seed).p_ceiling[0] < 0.05)
    assert np.mean(below) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 80)
