"""Ablation finds the network that carries the stimulus, and tells what is redundant; imagery has an exact null."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainalign.analysis import ablate, decode_imagery, retrain_without, silence
from brainalign.analysis.ablation import unit_groups
from brainalign.encoders import LinearEncoder
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.scoring.identification import rank_percentiles
from brainalign.trials import Trials

N_TRAIN, N_TEST = 120, 60


def planted(noise: float = 1.0, seed: int = 0) -> tuple[Trials, Trials, Latents]:
    """`strong` carries eight dimensions of the latents, `weak` four others, `copy` repeats `weak`."""
    rng = np.random.default_rng(seed)
    n = N_TRAIN + N_TEST
    ids = [f"s{number:03d}" for number in range(n)]
    values = rng.standard_normal((n, 12))
    faint = values[:, 8:] @ rng.standard_normal((4, 6))
    parts = [values[:, :8] @ rng.standard_normal((8, 8)), faint, faint, np.zeros((n, 8))]
    units = pd.DataFrame({"network": np.repeat(["strong", "weak", "copy", "silent"], [8, 6, 6, 8])})
    units.loc[27, "network"] = ""  # a unit of no network
    clean = np.concatenate(parts, axis=1)
    trials = Trials(clean + noise * rng.standard_normal(clean.shape), pd.DataFrame({"stimulus_id": ids}), units)
    return trials.select(np.arange(N_TRAIN)), trials.select(np.arange(N_TRAIN, n)), Latents(values, ids, space="toy")


@pytest.mark.parametrize("mode", ["zero", "mean", "permute"])
def test_the_network_that_carries_most_costs_most(mode):
    train, test, latents = planted()
    result = ablate(LinearEncoder().fit(train, latents), test, latents, mode=mode)
    table = result.table
    assert list(table.index) == ["copy", "silent", "strong", "weak"] and table.loc["silent", "n_units"] == 7
    assert result.low > 0.8 and table["share"].idxmax() == "strong"
    assert table.loc["strong", "share_low"] > table.loc["silent", "share_high"] and table.loc["strong", "low"] > 0.05
    assert abs(table.loc["silent", "share"]) < 0.05
    assert ((table["share_low"] <= table["share"]) & (table["share"] <= table["share_high"])).all()
    np.testing.assert_allclose(table["loss"], result.value - table["without"])
    np.testing.assert_allclose(table["share"], table["loss"] / (result.value - 0.5))


def test_training_without_a_network_lets_its_copy_step_in():
    train, test, latents = planted()
    fixed = ablate(LinearEncoder().fit(train, latents), test, latents, mode="mean").table
    trained = retrain_without(LinearEncoder(), train, test, latents).table
    assert trained.loc["weak", "share"] < 0.5 * fixed.loc["weak", "share"]
    assert trained.loc["strong", "share_low"] > trained.loc["weak", "share_high"]
    by_hand = LinearEncoder().fit(train.select(units="network != 'weak'"), latents)
    without = test.select(units="network != 'weak'")
    places = rank_percentiles(by_hand.predict(without), latents.select(list(test.stimulus_ids)))
    assert places.mean() == pytest.approx(trained.loc["weak", "without"])


def test_a_shuffled_copy_has_no_shares():
    train, test, latents = planted(seed=3)
    mixed = Trials(np.random.default_rng(0).permutation(test.responses), test.trials, test.units)
    result = ablate(LinearEncoder().fit(train, latents), mixed, latents)
    assert result.low < 0.5 < result.high and result.table["share"].isna().all()


def test_silencing_by_a_loop():
    responses = np.random.default_rng(0).standard_normal((6, 3, 4))
    units = np.array([True, False, True])
    made = silence(responses, units, mode="permute", seed=2)
    order = [int(np.flatnonzero((responses[:, 0] == row).all(axis=1))[0]) for row in made[:, 0]]
    assert sorted(order) == list(range(6)) != order
    np.testing.assert_array_equal(made[:, 2], responses[order, 2])  # units move together
    np.testing.assert_array_equal(made[:, 1], responses[:, 1])
    mean = silence(responses, units, mode="mean")
    for trial in mean:
        np.testing.assert_allclose(trial[0], responses[:, 0].mean(axis=0))


def test_bad_requests_are_refused():
    train, test, latents = planted()
    encoder = LinearEncoder().fit(train, latents)
    with pytest.raises(LeakageError):
        ablate(encoder, train, latents)
    with pytest.raises(LeakageError):
        retrain_without(encoder, train, train, latents)
    with pytest.raises(DataError, match="unknown mode"):
        ablate(encoder, test, latents, mode="lesion")
    with pytest.raises(DataError, match="unknown column of units 'netwrk'"):
        ablate(encoder, test, latents, by="netwrk")
    with pytest.raises(DataError, match="one label per unit"):
        unit_groups(test, ["a", "b"])
    with pytest.raises(DataError, match="no unit has a label"):
        unit_groups(test, [None] * test.n_units)
    with pytest.raises(DataError, match="nothing is left"):
        retrain_without(encoder, train, test, latents, by=["all"] * test.n_units)
    with pytest.raises(DataError, match="mask over the columns"):
        silence(test.responses, [0, 1])


def test_imagery_is_read_above_chance_and_a_shuffled_copy_is_not():
    train, test, latents = planted()
    encoder = LinearEncoder().fit(train, latents)
    few = test.select(np.arange(12))
    imagined = Trials(0.6 * few.responses + 2.0, few.trials, few.units)  # fainter, at another level
    result = decode_imagery(encoder, imagined, latents, n_permutations=400)
    assert result.score.value > 0.75 and result.p_value < 0.01 and abs(result.null.mean() - 0.5) < 0.02
    values = encoder.predict(imagined).values
    truth = latents.at(imagined.stimulus_ids)
    places = rank_percentiles(values - values.mean(axis=0), truth - truth.mean(axis=0))
    assert result.score.value == pytest.approx(places.mean())
    shuffled = Trials(np.roll(imagined.responses, 5, axis=0), few.trials, few.units)
    assert decode_imagery(encoder, shuffled, latents, n_permutations=400).p_value > 0.05
    with pytest.raises(LeakageError):
        decode_imagery(encoder, train, latents)
    with pytest.raises(DataError, match="too few imagined"):
        decode_imagery(encoder, test.select([0, 1]), latents)
    both = LinearEncoder().fit(train, {"image": latents, "text": latents})
    with pytest.raises(DataError, match="which latent space"):
        decode_imagery(both, imagined, {"image": latents, "text": latents})
    one = decode_imagery(both, imagined, {"image": latents, "text": latents}, target="text", n_permutations=400)
    assert one.score.value == pytest.approx(result.score.value)
