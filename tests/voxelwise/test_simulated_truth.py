"""The whole path on subjects whose truth is known: layers of areas, ceilings and error rates."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from brainalign.latents.base import Latents
from brainalign.loaders.simulated import fmri, simulate_subject
from brainalign.splits import split
from brainalign.trials import Trials
from brainalign.voxelwise import Ridge, UnitScores
from brainalign.voxelwise.comparison import compare_models
from brainalign.voxelwise.intervals import Repeats, draw_weights, drawn_ceiling

PLACES: dict[tuple, pd.DataFrame] = {}
LAYERS = {"V1": "early", "V4": "middle", "FFA": "late", "PPA": "late"}


@pytest.fixture(autouse=True)
def _places_found_once(monkeypatch):
    """Subjects of one design have their voxels in the same places: finding them takes longer than all the rest."""
    place = fmri.place_voxels

    def once(sizes):
        key = tuple(sizes.items())
        if key not in PLACES:
            PLACES[key] = place(sizes)
        return PLACES[key].copy()

    monkeypatch.setattr(fmri, "place_voxels", once)


def layers_of_a_network(n_stimuli: int, *, seed: int) -> dict[str, Latents]:
    """Three layers, each partly made of the one before it."""
    rng = np.random.default_rng(seed)
    ids = [f"s{i}" for i in range(n_stimuli)]
    values = rng.standard_normal((n_stimuli, 10))
    layers = {}
    for name in ("early", "middle", "late"):
        layers[name] = Latents(values, ids, space=name)
        mixing = np.linalg.qr(rng.standard_normal((10, 10)))[0]
        values = np.sqrt(0.4) * values @ mixing + np.sqrt(0.6) * rng.standard_normal((n_stimuli, 10))
    return layers


@cache
def scores_by_layer() -> tuple[dict[str, UnitScores], np.ndarray]:
    layers = layers_of_a_network(220, seed=0)
    trials, truth = simulate_subject({roi: layers[one] for roi, one in LAYERS.items()}, seed=0, silent_share=0.2)
    train, test = split(trials, test_size=0.35, seed=0)
    scores = {name: Ridge().fit(one, train).score_units(one, test) for name, one in layers.items()}
    return scores, truth.noise_ceiling


def test_the_layer_that_drives_an_area_wins_there():
    scores, _ = scores_by_layer()
    means = {name: {roi: score.value for roi, score in one.by_region().items()} for name, one in scores.items()}
    for region, driving in LAYERS.items():
        assert max(means, key=lambda name, roi=region: means[name][roi]) == driving


def test_the_winner_is_significant_and_silent_units_prefer_nothing():
    scores, planted = scores_by_layer()
    roi = scores["early"].units["roi"].to_numpy()
    silent = planted == 0
    for region, driving in LAYERS.items():
        for other in {"early", "middle", "late"} - {driving}:
            result = compare_models(scores[driving], scores[other])
            found = result.regions().loc[region]
            assert found["difference"] > 0 and found["low"] > 0 and found["p"] < 0.01
            strong = (roi == region) & (planted > 0.3)
            assert (result.difference[strong] > 0).mean() > 0.9
            assert (result.p_max[silent] < 0.05).sum() <= 1


def test_each_unit_reaches_its_ceiling_with_the_layer_that_drives_it_and_with_no_other():
    scores, planted = scores_by_layer()
    roi = scores["early"].units["roi"].to_numpy()
    loud = planted > 0.2
    for region, driving in LAYERS.items():
        reached = {
            name: scores[name].summary((roi == region) & loud, value="r_normalised") for name in ("early", driving)
        }
        assert reached[driving].low < 1.03 and reached[driving].value > 0.9
        if driving != "early":
            assert reached["early"].high < 0.85


def test_ceilings_are_those_that_were_planted():
    latents = Latents(np.random.default_rng(1).standard_normal((250, 6)), [f"s{i}" for i in range(250)], space="toy")
    trials, truth = simulate_subject(latents, seed=1, rois={"V1": 400}, drift=0.0, ceiling=(0.1, 0.7))
    loud = truth.noise_ceiling > 0
    # Per unit: the planted ceiling lies within two bootstrap standard errors of the estimate as often as it should.
    repeats = Repeats.of(trials, latents.ids, slice(None))
    estimate = trials.noise_ceiling(3)
    planted = truth.ncsnr**2 / (truth.ncsnr**2 + 1 / 3)
    spread = drawn_ceiling(repeats, draw_weights(300, 250, seed=0)).std(axis=0)
    within = np.abs(estimate - planted)[loud] < 2 * spread[loud]
    assert 0.91 < within.mean() < 0.99
    # On average over units, for weak, middling and strong ones: three comparisons, so three standard errors.
    error = (estimate - planted)[loud]
    for some in (planted[loud] < 0.5, (planted[loud] >= 0.5) & (planted[loud] < 0.75), planted[loud] >= 0.75):
        assert some.sum() > 30
        assert abs(error[some].mean()) < 3 * error[some].std(ddof=1) / np.sqrt(some.sum())
    assert np.median(estimate[~loud]) < 0.1


def one_subject(seed: int, *, silent_share: float) -> tuple[UnitScores, np.ndarray]:
    latents = Latents(np.random.default_rng(seed).standard_normal((60, 5)), [f"s{i}" for i in range(60)], space="toy")
    trials, truth = simulate_subject(
        latents, seed=seed, rois={"V1": 60}, n_repetitions=2, silent_share=silent_share, ceiling=(0.4, 0.7)
    )
    train, test = split(trials, test_size=0.5, seed=seed)
    scores = Ridge(alphas=[1.0, 10.0, 100.0]).fit(latents, train).score_units(latents, test, seed=seed)
    return scores, truth.noise_ceiling == 0


def test_false_discoveries_are_at_the_nominal_rate():
    shares, false_p, power, family = [], [], [], []
    for seed in range(40):
        scores, null = one_subject(seed, silent_share=0.5)
        found = scores.q < 0.05
        shares.append((found & null).sum() / max(1, found.sum()))
        power.append(found[~null].mean())
        false_p.append(scores.p[null])
        family.append((scores.p_max[null] < 0.05).any())
    assert np.mean(power) > 0.9
    # Benjamini-Hochberg keeps the share of false discoveries at q times the share of true null hypotheses.
    standard_error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - 0.05 * 0.5) < 3 * standard_error + 0.005
    assert 0.03 < (np.concatenate(false_p) < 0.05).mean() < 0.07
    assert np.mean(family) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 40)


def test_subjects_without_any_signal_yield_nothing():
    found = {"q": [], "p_max": []}
    for seed in range(60):
        scores, _ = one_subject(seed + 1000, silent_share=1.0)
        for name, any_unit in found.items():
            any_unit.append(bool((getattr(scores, name) < 0.05).any()))
    for any_unit in found.values():
        assert stats.binomtest(sum(any_unit), 60, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("shuffled", ["latents", "trials"])
def test_a_shuffled_copy_gives_nothing(shuffled):
    n_found, covered = 0, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        latents = Latents(rng.standard_normal((80, 6)), [f"s{i}" for i in range(80)], space="toy")
        trials, _ = simulate_subject(latents, seed=seed, rois={"V1": 50}, ceiling=(0.4, 0.7))
        order = rng.permutation(80)
        if shuffled == "latents":
            latents = Latents(latents.values[order], latents.ids, space="toy")
        else:
            other = dict(zip(latents.ids, np.array(latents.ids)[order], strict=True))
            table = trials.trials.assign(stimulus_id=[other[one] for one in trials.stimulus_ids])
            trials = Trials(trials.responses, table, trials.units, info=trials.info)
        train, test = split(trials, test_size=0.4, seed=seed)
        scores = Ridge().fit(latents, train).score_units(latents, test, seed=seed)
        n_found += int((scores.p_max < 0.05).any())
        summary = scores.summary(n_draws=200)
        covered += summary.low < 0 < summary.high
    assert n_found <= 3
    assert covered >= 9
