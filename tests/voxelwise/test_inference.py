"""Permutation tests against loops that shuffle, refit and count; their error rates under the null hypothesis."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge as PeerRidge

from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import simulate_subject
from brainalign.splits import split
from brainalign.voxelwise import Ridge, inference
from brainalign.voxelwise.inference import permutation_test, shuffle_test


def every_order(n_samples: int, n_permutations: int, seed: int) -> np.ndarray:
    """The orders of a test, written out; the first is the true one."""
    sequence, *bases = inference._base_orders(n_samples, n_permutations, seed)
    back = np.argsort(sequence)
    return np.array([sequence[np.roll(base, -shift)][back] for base in bases for shift in range(n_samples)])


def noisy(n_samples: int, n_units: int, *, seed: int, share: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    measured = rng.standard_normal((n_samples, n_units))
    return measured, share * measured + rng.standard_normal((n_samples, n_units))


def smooth(rng: np.random.Generator, n_samples: int, n_columns: int, *, width: int = 15) -> np.ndarray:
    """Noise whose neighbouring samples resemble each other."""
    white = rng.standard_normal((n_samples + width - 1, n_columns))
    return np.apply_along_axis(np.convolve, 0, white, np.ones(width) / width, mode="valid")


@pytest.mark.parametrize("n_samples, n_permutations", [(12, 40), (13, 12), (30, 10), (7, 200)])
def test_p_values_are_those_of_a_loop_over_orders(n_samples, n_permutations):
    measured, guess = noisy(n_samples, 6, seed=n_samples, share=0.3)
    test = shuffle_test(measured, guess, n_permutations=n_permutations, seed=3)
    orders = every_order(n_samples, n_permutations, seed=3)
    assert (np.sort(orders, axis=1) == np.arange(n_samples)).all()
    assert (orders[0] == np.arange(n_samples)).all()
    assert len(orders) == test.n_permutations + 1 >= n_permutations + 1
    r = np.array([[np.corrcoef(measured[:, u], guess[order, u])[0, 1] for u in range(6)] for order in orders])
    np.testing.assert_allclose(test.statistic, r[0])
    np.testing.assert_allclose(test.p, (r >= r[0] - 1e-9).mean(axis=0))
    others = r[1:].max(axis=1)
    expected = [(1 + (others >= one - 1e-9).sum()) / len(orders) for one in r[0]]
    np.testing.assert_allclose(test.p_max, expected)
    np.testing.assert_allclose(test.q, stats.false_discovery_control(test.p))


def test_every_order_is_equally_likely_to_bring_any_sample_anywhere():
    orders = np.concatenate([every_order(5, 9, seed)[1:] for seed in range(800)])
    counts = np.array([[(orders[:, place] == sample).sum() for sample in range(5)] for place in range(5)])
    off_diagonal = counts[~np.eye(5, dtype=bool)]
    assert stats.chisquare(off_diagonal).pvalue > 1e-4
    # Rotations of the identity never leave a sample in its place; every other order does so a time in five.
    assert counts.trace() / len(orders) == pytest.approx(5 / 9, abs=0.05)


def test_agrees_with_scipy():
    measured, guess = noisy(60, 5, seed=0, share=0.2)
    test = shuffle_test(measured, guess, n_permutations=6000)
    expected = stats.pearsonr(guess, measured, alternative="greater", axis=0).pvalue
    np.testing.assert_allclose(test.p, expected, atol=0.02)
    for unit in range(2):
        peer = stats.permutation_test(
            (guess[:, unit],),
            lambda one, true=measured[:, unit]: np.corrcoef(one, true)[0, 1],
            permutation_type="pairings",
            alternative="greater",
            n_resamples=2000,
            rng=0,
        )
        assert test.p[unit] == pytest.approx(peer.pvalue, abs=0.03)


def test_rates_of_error_are_nominal_for_units_that_are_correlated():
    rng = np.random.default_rng(0)
    p, family = [], []
    for seed in range(300):
        measured, guess = (rng.standard_normal((25, 12)) + rng.standard_normal((25, 1)) for _ in range(2))
        test = shuffle_test(measured, guess, n_permutations=99, seed=seed)
        p.append(test.p[0])
        family.append(test.p_max.min())
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    for values in (p, family):
        assert stats.binomtest(int((np.array(values) <= 0.05).sum()), 300, 0.05).pvalue > 0.005


def test_values_that_tie_are_not_counted_as_lower():
    """Predictions of two kinds in equal numbers: half of the orders give each unit the same r."""
    measured = np.array([0.0, 0.0, 1.0, 1.0] * 5)[:, None]
    orders = every_order(20, 200, seed=0)
    r = np.array([np.corrcoef(measured[:, 0], measured[order, 0])[0, 1] for order in orders])
    test = shuffle_test(measured, measured, n_permutations=200)
    assert test.p[0] == pytest.approx((r > 1 - 1e-9).mean())


def test_neighbours_that_depend_on_each_other_need_chunks():
    found = {1: [], 40: []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        measured, guess = smooth(rng, 800, 5), smooth(rng, 800, 5)
        for chunk, p in found.items():
            p.append(shuffle_test(measured, guess, n_permutations=199, seed=seed, chunk=chunk).p)
    rate = {chunk: (np.array(p) <= 0.05).mean() for chunk, p in found.items()}
    assert rate[1] > 0.2
    assert rate[40] < 0.09


def test_chunks_move_as_wholes():
    measured, guess = noisy(12, 3, seed=1, share=0.5)
    test = shuffle_test(measured, guess, n_permutations=30, seed=2, chunk=3)
    r = []
    for order in every_order(4, 30, seed=2):
        rows = np.concatenate([np.arange(3 * one, 3 * one + 3) for one in order])
        r.append([np.corrcoef(measured[:, unit], guess[rows, unit])[0, 1] for unit in range(3)])
    np.testing.assert_allclose(test.p, (np.array(r) >= np.array(r[0]) - 1e-9).mean(axis=0))


def test_results_do_not_depend_on_blocks_or_precision(monkeypatch):
    measured, guess = noisy(40, 30, seed=4, share=0.2)
    whole = shuffle_test(measured, guess, n_permutations=300)
    monkeypatch.setattr(inference, "BLOCK_BYTES", 20_000)
    parts = shuffle_test(measured, guess, n_permutations=300)
    np.testing.assert_array_equal(parts.p, whole.p)
    np.testing.assert_array_equal(parts.p_max, whole.p_max)
    single = shuffle_test(measured.astype(np.float32), guess.astype(np.float32), n_permutations=300)
    np.testing.assert_allclose(single.p, whole.p, atol=0.01)


def test_constant_units_are_left_out_of_the_family():
    measured, guess = noisy(30, 4, seed=0, share=1.0)
    measured[:, 1], guess[:, 2] = 0.1, 3.0
    test = shuffle_test(measured, guess)
    alone = shuffle_test(measured[:, [0, 3]], guess[:, [0, 3]])
    for name in ("statistic", "p", "q", "p_max"):
        values = getattr(test, name)
        assert np.isnan(values[[1, 2]]).all()
        np.testing.assert_allclose(values[[0, 3]], getattr(alone, name), rtol=1e-12)
    nothing = shuffle_test(np.ones((10, 2)), guess[:10, :2])
    assert np.isnan(nothing.p).all() and np.isnan(nothing.p_max).all()


def test_bad_input_is_refused():
    measured, guess = noisy(20, 3, seed=0)
    spoilt = guess.copy()
    spoilt[3, 1] = np.nan
    refusals = {
        "contains NaN or infinity": lambda: shuffle_test(measured, spoilt),
        "must have the same shape": lambda: shuffle_test(measured, guess[:, :2]),
        "a correlation needs samples": lambda: shuffle_test(measured[:1], guess[:1]),
        "nothing to shuffle": lambda: shuffle_test(measured, guess, chunk=20),
        "chunks are whole numbers": lambda: shuffle_test(measured, guess, chunk=0),
        "needs permutations": lambda: shuffle_test(measured, guess, n_permutations=0),
    }
    for message, call in refusals.items():
        with pytest.raises(DataError, match=message):
            call()


def test_a_thousand_permutations_cost_no_more_than_the_fit():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((900, 250)), rng.standard_normal((900, 3000))
    started = time.process_time()
    model = Ridge().fit(X[:800], Y[:800])
    fitting = time.process_time() - started
    predicted = model.predict(X[800:])
    started = time.process_time()
    test = shuffle_test(Y[800:], predicted, n_permutations=1000)
    assert test.n_permutations >= 1000
    assert time.process_time() - started < fitting


# -- refitting ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subject():
    rng = np.random.default_rng(0)
    latents = Latents(rng.standard_normal((90, 6)) + 3.0, [f"s{i}" for i in range(90)], space="toy")
    trials, truth = simulate_subject(
        latents, seed=0, n_repetitions=2, rois={"V1": 30, "FFA": 30}, drift=0.0, silent_share=0.4
    )
    return latents, *split(trials, test_size=0.3, seed=0), truth


@pytest.mark.parametrize("n_features, fit_intercept", [(3, True), (20, True), (3, False)])
def test_refits_are_those_of_a_loop(n_features, fit_intercept):
    rng = np.random.default_rng(n_features)
    latents = Latents(rng.standard_normal((20, n_features)), [f"s{i}" for i in range(20)], space="toy")
    trials, _ = simulate_subject(latents, seed=1, n_repetitions=2, rois={"V1": 4}, n_sessions=1, n_runs=1)
    train, test = split(trials, test_size=7, seed=0)
    model = Ridge(alphas=[1.0, 30.0], fit_intercept=fit_intercept).fit(latents, train)
    result = permutation_test(model, latents, test, refit_on=train, n_permutations=40, seed=5)

    Xs, Xt = latents.at(train.stimulus_ids), latents.at(test.average().stimulus_ids)
    first = list(dict.fromkeys(train.stimulus_ids))
    true = test.average().responses.astype(np.float64)

    def covariance(Y: np.ndarray) -> np.ndarray:
        """Of measured and predicted test responses, by fitting single trials anew."""
        peer = PeerRidge(alpha=model.best_alphas_, fit_intercept=fit_intercept).fit(Xs, Y)
        return ((true - true.mean(axis=0)) * peer.predict(Xt)).sum(axis=0)

    means = train.average().responses.astype(np.float64)
    where = np.array([first.index(one) for one in train.stimulus_ids])
    within = train.responses - means[where]
    orders = every_order(len(first), 40, seed=5)
    # Noise within a stimulus moves with it; it does not reach the coefficients of a balanced design.
    null = np.array([covariance(means[order][where] + within) for order in orders])
    np.testing.assert_allclose(result.p, (null >= null[0] - 1e-7 * abs(null).max()).mean(axis=0))

    weight = np.stack([covariance(np.repeat((where == one)[:, None], 4, axis=1) * 1.0) for one in range(len(first))])
    spread = weight.std(axis=0) * means.std(axis=0)
    centre = len(first) * weight.mean(axis=0) * means.mean(axis=0)
    scaled = (null - centre) / spread
    others = scaled[1:].max(axis=1)
    expected = [(1 + (others >= one - 1e-7).sum()) / len(orders) for one in scaled[0]]
    np.testing.assert_allclose(result.p_max, expected)


def test_both_tests_find_what_was_planted_and_nothing_in_silent_units(subject):
    latents, train, test, truth = subject
    model = Ridge().fit(latents, train)
    loud = truth.noise_ceiling > 0.2
    silent = truth.noise_ceiling == 0
    for refit_on in (None, train):
        result = permutation_test(model, latents, test, refit_on=refit_on)
        assert (result.p_max[loud] < 0.05).mean() > 0.6
        assert result.statistic.shape == (60,)
        assert (result.p[silent] < 0.05).mean() < 0.25
    plain = permutation_test(model, latents, test)
    np.testing.assert_array_equal(plain.p, model.score_units(latents, test).p)


def test_refitting_keeps_its_error_rate_though_penalties_were_chosen():
    p = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        latents = Latents(rng.standard_normal((50, 8)), [f"s{i}" for i in range(50)], space="toy")
        trials, _ = simulate_subject(latents, seed=seed, n_repetitions=2, rois={"V1": 40}, silent_share=1.0)
        train, test = split(trials, test_size=20, seed=seed)
        model = Ridge().fit(latents, train)
        p.append(permutation_test(model, latents, test, refit_on=train, n_permutations=99, seed=seed).p)
    rate = (np.concatenate(p) <= 0.05).mean()
    assert 0.02 < rate < 0.085


def test_refitting_needs_the_trials_fitted_on(subject):
    latents, train, test, _ = subject
    model = Ridge().fit(latents, train)
    for other in (test, train.select(units="roi == 'V1'"), train.select(np.arange(10))):
        with pytest.raises(DataError, match="not the trials fitted on"):
            permutation_test(model, latents, test, refit_on=other)
    with pytest.raises(LeakageError):
        permutation_test(model, latents, train, refit_on=train)
