"""Neuroformer: tokens there and back, probabilities by brute force, order of time, planted patterns and circuits."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from brainalign.encoders import load_encoder
from brainalign.encoders.neuroformer import Neuroformer, SpikeTokens, bin_spikes, spike_windows, to_counts, to_tokens
from brainalign.encoders.neuroformer.network import NeuroformerNetwork, Sizes
from brainalign.encoders.neuroformer.reading import log_likelihood
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.learning import seeded
from brainalign.loaders.simulated import simulate_circuit
from brainalign.splits import contiguous_folds
from brainalign.trials import Trials

SIZES = Sizes(2, 8, 1, depth=2, history_depth=1, n_heads=2, hidden=6, contrast_width=3, dropout=0.0)
SMALL = {"depth": 1, "n_heads": 2, "dropout": 0.0, "hidden": 16, "contrast_width": 8}


def made_network(n_units=2, n_bins=5, **outputs):
    with seeded(0):
        return NeuroformerNetwork(n_units + 1, n_bins, outputs, SIZES).eval().double()


def trial(counts, course):
    return torch.tensor(np.concatenate([counts, course], axis=1).reshape(len(counts), -1))


def test_tokens_go_there_and_back():
    counts = torch.from_numpy(np.random.default_rng(0).poisson(0.4, (40, 5, 7)))
    counts[3] = 0
    tokens = to_tokens(counts)
    assert torch.equal(to_counts(tokens, 5, 7), counts)
    row = 11  # by hand: units in the order of bins, and a spike as often as it is counted
    expected = [(unit, time) for time in range(7) for unit in range(5) for _ in range(int(counts[row, unit, time]))]
    n = len(expected)
    assert (
        list(zip(tokens.unit[row, 1 : n + 1].tolist(), tokens.time[row, 1 : n + 1].tolist(), strict=True)) == expected
    )
    assert tokens.unit[row, [0, n + 1]].tolist() == [6, 5] and tokens.time[row, [0, n + 1]].tolist() == [8, 7]
    assert (tokens.unit[3, 2:] == 7).all() and (tokens.unit[3, :2]).tolist() == [6, 5]


@pytest.mark.parametrize(
    "unit, time, message",
    [
        ([3, 0, 9, 2], [4, 0, 1, 3], "unknown unit"),
        ([3, 0, 1, 2], [4, 0, 7, 3], "unknown bin"),
        ([3, 0, 1, 2], [4, 1, 0, 3], "backwards"),
        ([3, 1, 0, 2], [4, 1, 1, 3], "backwards"),
        ([0, 0, 1, 2], [4, 0, 1, 3], "another order"),
        ([3, 0, 1, 4], [4, 0, 1, 5], "another order"),
    ],
)
def test_sequences_that_are_none_are_refused(unit, time, message):
    with pytest.raises(DataError, match=message):
        to_counts(SpikeTokens(torch.tensor([unit]), torch.tensor([time])), 2, 3)


def test_spike_times_are_binned_as_a_histogram():
    rng = np.random.default_rng(1)
    times, units = np.sort(rng.uniform(0, 10, 500)), rng.integers(0, 3, 500)
    starts = np.array([0.0, 2.35, 2.4, 9.9])
    made = bin_spikes(times, units, starts, n_units=3, n_bins=8, bin_width=0.05)
    for row, start in enumerate(starts):
        for unit in range(3):
            expected, _ = np.histogram(times[units == unit], start + 0.05 * np.arange(9))
            np.testing.assert_array_equal(made[row, unit], expected)
    at_edge = bin_spikes([0.15], [0], [0.0], n_units=1, n_bins=4, bin_width=0.05)  # 0.15 / 0.05 falls short of 3
    assert at_edge[0, 0].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"units": [0, 5]}, "unknown unit"),
        ({"units": [0, -1]}, "unknown unit"),
        ({"units": [0.0, 1.5]}, "unknown unit"),
        ({"times": [0.2, 0.1]}, "not in order"),
        ({"times": [0.1, np.nan]}, "times contains NaN"),
        ({"times": [0.1]}, "one length"),
        ({"n_bins": 0}, "empty"),
        ({"bin_width": 0.0}, "empty"),
        ({"starts": []}, "at least one start"),
    ],
)
def test_spikes_that_cannot_be_binned_are_refused(changes, message):
    given = {"times": [0.1, 0.2], "units": [0, 1], "starts": [0.0], "n_units": 2, "n_bins": 3, "bin_width": 0.1}
    given |= changes
    with pytest.raises(DataError, match=message):
        bin_spikes(given.pop("times"), given.pop("units"), given.pop("starts"), **given)


def test_probabilities_of_all_counts_add_up_to_one():
    """Every table of at most three spikes, and every beginning of four: there is nothing else."""
    network = made_network()
    rng = np.random.default_rng(2)
    past, course = rng.poisson(0.5, (1, 2, 3)), rng.standard_normal((1, 1, 5))
    tables = np.array(list(product(range(5), repeat=4))).reshape(-1, 2, 2)
    tables = tables[tables.sum(axis=(1, 2)) <= 4]
    n = len(tables)
    x = trial(np.concatenate([np.repeat(past, n, 0), tables], axis=2), np.repeat(course, n, 0))
    with torch.no_grad():
        tokens = network.window_tokens(x)
        time, unit = network.log_probabilities(tokens, network.states(tokens, network.memory(x)))
        whole = log_likelihood(network, x)
    beginnings = (time + unit)[:, :4].sum(dim=1).exp().numpy()  # without the end
    four = tables.sum(axis=(1, 2)) == 4
    total = whole.exp().numpy()[~four].sum() + beginnings[four].sum()
    assert total == pytest.approx(1, abs=1e-9)
    assert 0.05 < whole.exp().numpy()[~four].sum() < 0.999  # both parts are there
    for row in (5, 20, 33):  # one spike at a time, alone and without padding
        alone = to_tokens(torch.tensor(tables[row : row + 1]))
        memory, found = network.memory(x[row : row + 1]), 0.0
        for place in range(alone.unit.shape[1] - 1):
            state = network.states(SpikeTokens(*(one[:, : place + 1] for one in alone)), memory)[:, -1]
            now, then = alone.time[:, place], alone.time[:, place + 1]
            found += network.time_logits(state, now).softmax(-1)[0, then].log().item()
            if then.item() < 2:
                logits = network.unit_logits(state, then, now, alone.unit[:, place])
                found += logits.softmax(-1)[0, alone.unit[:, place + 1]].log().item()
        assert found == pytest.approx(whole[row].item(), abs=1e-9)


def test_only_what_came_before_tells_what_follows():
    network = made_network(n_units=4, n_bins=6)
    rng = np.random.default_rng(3)
    counts, course = rng.poisson(0.6, (30, 4, 6)), rng.standard_normal((30, 1, 6))
    other = counts.copy()
    other[:, :, 5] = rng.poisson(0.6, (30, 4))
    with torch.no_grad():
        kept = []
        for one in (counts, other):
            x = trial(one, course)
            tokens = network.window_tokens(x)
            time, unit = network.log_probabilities(tokens, network.states(tokens, network.memory(x)))
            kept.append((time + unit).numpy())
        first = counts[:, :, 4].sum(axis=1)  # spikes in the bin before the one that was changed
        assert first.max() >= 3
        for row in range(30):
            np.testing.assert_allclose(kept[0][row, : first[row]], kept[1][row, : first[row]], atol=1e-12)
        changed = counts.copy()
        changed[:, 1, 0] += 1
        assert (log_likelihood(network, trial(changed, course)) != log_likelihood(network, trial(counts, course))).all()
        alone = torch.cat([log_likelihood(network, one[None]) for one in trial(counts, course)])
        np.testing.assert_allclose(log_likelihood(network, trial(counts, course)), alone, atol=1e-12)  # padding


def test_parameters_by_the_formula():
    n_units, n_context, n_bins, n_out = 4, 1, 6, 3
    w, hidden, contrast, window = SIZES.width, SIZES.hidden, SIZES.contrast_width, SIZES.window
    gated = w + 6 * w * w  # norm, two maps in and one out, each of two widths
    attention = w + 4 * w * w

    def embedding(n):
        return (n_units + 3 + n + 3) * w + gated

    expected = embedding(window) + embedding(n_bins - window)
    expected += attention + gated  # of the history
    expected += SIZES.depth * (2 * attention + gated) + 2 * w
    expected += (w + 1) * (window + 1) + (window + 1) * w + gated + 2 * w + (w + 1) * n_units
    expected += (n_context + 1) * w
    expected += (2 * w + 1) * n_out + (2 * w + 1) * hidden + (hidden + 1) * n_out
    expected += (n_context * n_bins + 1) * hidden + (hidden + 1) * contrast + (w + 1) * contrast
    network = NeuroformerNetwork(n_units + n_context, n_bins, {"velocity": 2, "speed": 1}, SIZES)
    assert sum(one.numel() for one in network.parameters()) == expected


def test_a_pattern_is_learnt_by_heart_and_played_back():
    """Units fire in turn, each two bins after the one before: from any phase, what follows is certain."""
    n_units, phases = 5, np.arange(10)
    course = (phases[:, None] + np.arange(60)) % 10
    counts = np.stack([course == 2 * unit for unit in range(n_units)], axis=1).astype(np.float32)
    X = counts[:, :, :8]
    options = {"n_epochs": 120, "learning_rate": 2e-2}
    model = Neuroformer(4, 16, **SMALL, validation=0.0, training=options).fit(X)
    assert model.log_likelihood(X).min() > -0.02
    played = model.generate(counts[:, :, :4], n_windows=14, seed=0)
    np.testing.assert_array_equal(played, counts[:, :, 4:])
    with pytest.raises(DataError, match="no behaviour"):
        model.predict(X)


@pytest.fixture(scope="module")
def circuit():
    return simulate_circuit(6, 100.0, density=0.2, strength=2.0, seed=1)


def fitted_circuit(counts):
    X = np.stack([counts[start : start + 5].T for start in range(len(counts) - 4)])
    options = {"n_epochs": 6, "learning_rate": 3e-2, "batch_size": 512}
    return Neuroformer(1, 16, **SMALL, gap=4, training=options).fit(X), X


def edge_auc(edges, coupling):
    off = ~np.eye(len(coupling), dtype=bool)
    return roc_auc_score(coupling[off] != 0, np.abs(edges[off]))


def test_planted_couplings_are_read(circuit):
    trials, truth = circuit
    model, X = fitted_circuit(trials.responses)
    edges = model.connectivity(X)
    off = ~np.eye(6, dtype=bool)
    assert edge_auc(edges, truth.coupling) > 0.9
    assert np.corrcoef(edges[off], truth.coupling[off])[0, 1] > 0.7  # with their signs
    assert edge_auc(edges.T, truth.coupling) < 0.8  # and their directions
    attention = model.connectivity(X, "attention")
    assert attention.shape == (6, 6) and (attention > 0).all()
    rate = X[:, :, -1].mean(axis=0)
    poisson = (X[:, :, -1] * np.log(rate) - rate).sum(axis=1)
    assert (model.log_likelihood(X) - poisson).mean() > 0.02
    drawn = model.generate(X[:800, :, :4], n_windows=4, seed=3)
    np.testing.assert_allclose(drawn.mean(axis=(0, 2)), X.mean(axis=(0, 2)), atol=0.04)
    np.testing.assert_array_equal(model.generate(X[:7, :, :4], n_windows=4, seed=3), drawn[:7])
    assert (model.generate(X[:800, :, :4], n_windows=4, seed=4) != drawn).any()
    assert model.generate(X[:800, :, :4], max_spikes=1).sum(axis=(1, 2)).max() == 1


@pytest.mark.slow
def test_no_couplings_where_units_were_shifted_apart(circuit):
    trials, truth = circuit
    shifts = np.random.default_rng(0).integers(500, 9500, 6)
    apart = np.stack([np.roll(trials.responses[:, unit], shift) for unit, shift in enumerate(shifts)], axis=1)
    model, X = fitted_circuit(apart)
    assert edge_auc(model.connectivity(X), truth.coupling) < 0.75


@pytest.fixture(scope="module")
def watched():
    """A unit that follows a stimulus in the window, and behaviour that follows two units with signs."""
    rng = np.random.default_rng(5)
    course = np.repeat(rng.choice([-1.0, 1.0], (400, 1, 2)), 3, axis=2)
    rates = np.full((400, 4, 6), 0.3)
    rates[:, 2] = np.where(course[:, 0] > 0, 1.2, 0.05)
    counts = rng.poisson(rates).astype(np.float32)
    velocity = counts[:, 0].sum(axis=1) - counts[:, 1].sum(axis=1)
    return np.concatenate([counts, course.astype(np.float32)], axis=1), velocity


def test_behaviour_and_stimulus_are_told_from_spikes(watched, tmp_path):
    X, velocity = watched
    options = {"n_epochs": 20, "learning_rate": 2e-2, "batch_size": 60}
    model = Neuroformer(3, 16, n_context=1, **SMALL, weights={"contrast": 1.0}, training=options)
    model.fit(X[:300], velocity[:300])
    assert model.score(X[300:], velocity[300:]) > 0.8
    mixed = X[300:].copy()
    mixed[:, -1] = np.roll(mixed[:, -1], 1, axis=0)
    assert model.score(X[300:]) > model.score(mixed) + 0.1  # the stimulus tells which spikes come
    spikes, stimulus = model.align(X[300:])
    rank = (spikes @ stimulus.T > (spikes * stimulus).sum(axis=1, keepdims=True)).mean(axis=1)
    assert rank.mean() < 0.35  # chance 0.5
    drawn = model.generate(X[300:, :4, :3], context=X[300:, 4:], seed=1)
    model.save(tmp_path / "model")
    again = load_encoder(tmp_path / "model")
    np.testing.assert_array_equal(again.generate(X[300:, :4, :3], context=X[300:, 4:], seed=1), drawn)
    np.testing.assert_array_equal(again.connectivity(X), model.connectivity(X))
    np.testing.assert_array_equal(again.align(X)[0], model.align(X)[0])
    with pytest.raises(DataError, match="context does not fit"):
        model.generate(X[300:, :4, :3])


def recording(n_bins=200, n_units=3):
    counts = np.random.default_rng(6).poisson(0.5, (n_bins, n_units)).astype(np.float32)
    table = pd.DataFrame({"stimulus_id": [f"bin-{n:03d}" for n in range(n_bins)], "onset": np.arange(n_bins) * 0.05})
    return Trials(counts, table)


def test_windows_of_a_recording_and_the_leak_they_may_hold():
    trials = recording()
    windows = spike_windows(trials, 4)
    assert windows.shape == (197, 3, 4) and windows.times == pytest.approx([-0.15, -0.1, -0.05, 0.0])
    np.testing.assert_array_equal(windows.responses[10], trials.responses[10:14].T)
    assert windows.trials["stimulus_id"].iloc[10] == "bin-013"
    y = Latents(windows.responses.sum(axis=2)[:, :2], windows.stimulus_ids, space="sums")
    options = {"window": 2, "width": 8, **SMALL, "training": {"n_epochs": 1}}
    with pytest.raises(LeakageError, match="overlap"):
        Neuroformer(**options).fit(windows, y)
    fold = contiguous_folds(197, n_splits=4, gap=3)[3]
    model = Neuroformer(**options, gap=3).fit(windows.select(fold.train), y)
    assert np.isfinite(model.score(windows.select(fold.test), y))
    assert np.isfinite(model.score(windows.select(fold.test)))
    with pytest.raises(LeakageError, match="share spikes"):
        model.score(windows.select(fold.test - 3))
    broken = trials.select(np.delete(np.arange(200), 50))
    with pytest.raises(DataError, match="bins are missing"):
        spike_windows(broken, 4)
    with pytest.raises(DataError, match="shorter than a window"):
        spike_windows(trials, 201)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"window": 9}, "no window"),
        ({"n_context": 3}, "no unit"),
        ({"width": 9}, "no network"),
        ({"depth": 0}, "no network"),
        ({"weights": {"spike": 1}}, "unknown loss 'spike'"),
        ({"weights": {"spikes": -1}}, "out of range"),
        ({"gap": 40}, "nothing to learn from"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes, message):
    X = np.ones((40, 3, 6))
    with pytest.raises(DataError, match=message):
        Neuroformer(**{"window": 2, "width": 8, **SMALL, **changes}).fit(X, X.sum(axis=(1, 2)))


def test_trials_that_are_none_are_refused():
    X = np.random.default_rng(0).poisson(0.5, (40, 3, 6)).astype(float)
    y = X.sum(axis=(1, 2))
    model = Neuroformer(2, 8, **SMALL, training={"n_epochs": 1})
    for bad, message in [
        (X - 1, "spike counts"),
        (X + 0.5, "spike counts"),
        (0 * X, "empty"),
        (X[:, :, :0], "trials by"),
    ]:
        with pytest.raises(DataError, match=message):
            model.fit(bad, y)
    with pytest.raises(DataError, match="NaN or infinity"):
        model.fit(X, np.where(np.arange(40) == 7, np.nan, y))
    with pytest.raises(DataError, match="units are those of one subject"):
        table = pd.DataFrame({"stimulus_id": np.arange(40).astype(str), "subject": np.repeat(["a", "b"], 20)})
        model.fit(Trials(X, table, times=np.arange(6) * 0.1))
    model.fit(X, y)
    with pytest.raises(DataError, match="spike counts"):
        model.predict(X + 0.25)
    with pytest.raises(DataError, match="another number of channels"):
        model.log_likelihood(X[:, :2])
    with pytest.raises(DataError, match="unknown way"):
        model.connectivity(X, "correlation")
    with pytest.raises(DataError, match="one subject"):
        model.transfer(X, y)
