"""`ROIQueryEncoder`: routing to planted places, and to places that change with the picture, is found."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import RidgeCV

from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.learning import Rows, seeded
from brainalign.splits import split
from brainalign.trials import Trials
from brainalign.voxelwise import ROIQueryEncoder
from brainalign.voxelwise.query_labels import label_units
from brainalign.voxelwise.query_network import QueryNetwork

GRID, N_CHANNELS, N_EACH = (5, 6), 8, 8
PLACES = {"FFA": (1, 4), "PPA": (4, 1), "V1": (2, 2)}
LABELS = np.repeat(list(PLACES), N_EACH)
QUICK = {"n_epochs": 3}


def noisy(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Responses of which a perfect model would explain 67 %."""
    clean = clean / clean.std(axis=0)
    return clean + 0.7 * rng.standard_normal(clean.shape)


def fixed_places(n_stimuli: int = 450, seed: int = 0):
    """Units of a region weigh the features of one cell of smooth maps."""
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((n_stimuli, N_CHANNELS, *GRID))
    maps = maps + 0.5 * np.roll(maps, 1, axis=2) + 0.5 * np.roll(maps, 1, axis=3)
    clean = [maps[:, :, *PLACES[label]] @ rng.standard_normal(N_CHANNELS) for label in LABELS]
    return maps.astype(np.float32), noisy(np.column_stack(clean), rng)


def moving_place(n_stimuli: int = 450, seed: int = 0):
    """Units weigh the features of the one cell that holds a mark, which is elsewhere in every picture."""
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((n_stimuli, N_CHANNELS, *GRID))
    place = rng.integers(0, GRID[0] * GRID[1], n_stimuli)
    flat, each = maps.reshape(n_stimuli, N_CHANNELS, -1), np.arange(n_stimuli)
    flat[:, 0] = 0
    flat[each, 0, place] = 3
    clean = flat[each, 1:, place] @ rng.standard_normal((N_CHANNELS - 1, N_EACH))
    return maps.astype(np.float32), noisy(clean, rng), place


@pytest.fixture(scope="module")
def fitted():
    maps, responses = fixed_places()
    return ROIQueryEncoder(LABELS, 32).fit(maps[:350], responses[:350]), maps, responses


def pooled_ridge(maps, responses) -> float:
    pooled = maps.mean(axis=(2, 3))
    return RidgeCV(np.logspace(-3, 3, 13)).fit(pooled[:350], responses[:350]).score(pooled[350:], responses[350:])


def test_planted_places_are_looked_at(fitted):
    model, maps, _ = fitted
    attention = model.attention_maps(maps[350:])
    assert attention.shape == (100, 3, *GRID) and model.query_names_ == tuple(PLACES)
    np.testing.assert_allclose(attention.sum(axis=(2, 3)), 1, atol=1e-5)
    for number, place in enumerate(PLACES.values()):
        assert np.unravel_index(attention[:, number].mean(axis=0).argmax(), GRID) == place
        assert attention[:, number, *place].mean() > 0.7


def test_beats_ridge_on_features_pooled_over_the_image(fitted):
    model, maps, responses = fitted
    assert model.score(maps[350:], responses[350:]) > 0.55 > 0.2 > pooled_ridge(maps, responses)


def test_routing_follows_what_is_in_the_picture():
    maps, responses, place = moving_place()
    model = ROIQueryEncoder(None, 32).fit(maps[:350], responses[:350])
    attention = model.attention_maps(maps[350:])[:, 0].reshape(100, -1)
    assert (attention.argmax(axis=1) == place[350:]).mean() > 0.95
    assert attention[np.arange(100), place[350:]].mean() > 0.8
    assert model.score(maps[350:], responses[350:]) > 0.55
    blind = ROIQueryEncoder(None, 32, by_content=False).fit(maps[:350], responses[:350])
    assert blind.score(maps[350:], responses[350:]) < 0.05
    assert np.ptp(blind.attention_maps(maps[350:]), axis=0).max() < 1e-6


def test_positions_alone_find_fixed_places():
    maps, responses = fixed_places()
    model = ROIQueryEncoder(LABELS, 32, by_content=False).fit(maps[:350], responses[:350])
    assert model.score(maps[350:], responses[350:]) > 0.5
    for attention, place in zip(model.attention_maps(maps[:1])[0], PLACES.values(), strict=True):
        assert np.unravel_index(attention.argmax(), GRID) == place


def test_a_query_for_each_unit_finds_each_unit_s_place():
    maps, responses = fixed_places()
    model = ROIQueryEncoder("unit", 32).fit(maps[:350], responses[:350])
    attention = model.attention_maps(maps[350:]).mean(axis=0)
    found = [
        np.unravel_index(one.argmax(), GRID) == PLACES[label] for one, label in zip(attention, LABELS, strict=True)
    ]
    assert attention.shape == (len(LABELS), *GRID) and np.mean(found) > 0.9


def test_finds_nothing_in_a_shuffled_copy(fitted):
    _, maps, responses = fitted
    order = np.random.default_rng(1).permutation(350)
    model = ROIQueryEncoder(LABELS, 32).fit(maps[order], responses[:350])
    assert model.score(maps[350:], responses[350:]) < 0.02


@pytest.mark.parametrize(
    ("n_heads", "by_content", "n_hidden"), [(1, True, 0), (2, True, 0), (4, False, 0), (2, True, 6)]
)
def test_network_equals_its_equations(n_heads, by_content, n_hidden):
    """A loop over pictures, heads and queries, in numpy."""
    with seeded(3):
        network = QueryNetwork(
            (2, 3), 4, torch.tensor([1, 0, 1]), width=8, n_heads=n_heads, feed_forward=n_hidden, by_content=by_content
        ).eval()
        tokens = torch.randn(2, 6, 4)
    p = {name: one.detach().numpy() for name, one in network.state_dict().items()}
    size = 8 // n_heads
    # The readout is stored by query: unit 1, then units 0 and 2.
    readout, bias = (p[name][[1, 0, 2]] for name in ("readout", "bias"))
    for picture, x in enumerate(tokens.numpy()):
        e = x @ p["embed.weight"].T + p["embed.bias"]
        keys = ((e if by_content else 0) + p["positions"]) @ p["to_key.weight"].T
        values = e @ p["to_value.weight"].T
        queries = p["queries"] @ p["to_query.weight"].T
        routed = np.zeros((2, 8))
        for head in range(n_heads):
            part = slice(head * size, (head + 1) * size)
            for query in range(2):
                logits = keys[:, part] @ queries[query, part] / np.sqrt(size)
                weights = np.exp(logits) / np.exp(logits).sum()
                routed[query, part] = weights @ values[:, part]
                with torch.no_grad():
                    ours = network.attention(tokens)[picture, head, query].numpy()
                np.testing.assert_allclose(ours, weights, atol=1e-6)
        routed = routed @ p["mix.weight"].T + p["mix.bias"]
        if n_hidden:
            with torch.no_grad():
                routed = routed + network.feed_forward(torch.from_numpy(routed).float()).numpy()
        expected = [readout[unit] @ routed[query] + bias[unit] for unit, query in enumerate([1, 0, 1])]
        with torch.no_grad():
            np.testing.assert_allclose(network(tokens)[picture].numpy(), expected, atol=1e-5)


def test_a_head_that_is_not_read_does_not_show():
    with seeded(0):
        network = QueryNetwork((2, 2), 3, torch.tensor([0, 1]), width=8, n_heads=2)
    with torch.no_grad():
        network.mix.weight[:, 4:] = 0
        np.testing.assert_allclose(network.head_shares(), [[1, 0], [1, 0]])


def test_several_heads_and_a_hidden_layer_learn_too():
    maps, responses = fixed_places()
    model = ROIQueryEncoder(LABELS, 32, n_heads=4, feed_forward=32, dropout=0.1).fit(maps[:350], responses[:350])
    assert model.score(maps[350:], responses[350:]) > 0.45
    assert model.attention_maps(maps[:2], heads=True).shape == (2, 4, 3, *GRID)
    np.testing.assert_allclose(model.attention_maps(maps[:2]).sum(axis=(2, 3)), 1, atol=1e-5)


def test_the_readout_is_ridge_on_what_is_routed():
    """Against scikit-learn: with one place of attention, the refit does not lose to the trained readout."""
    maps, responses = fixed_places()
    trained = ROIQueryEncoder(LABELS, 32, refit=False).fit(maps[:350], responses[:350])
    model = ROIQueryEncoder(LABELS, 32).fit(maps[:350], responses[:350])
    np.testing.assert_array_equal(model.attention_maps(maps[:3]), trained.attention_maps(maps[:3]))
    assert model.score(maps[350:], responses[350:]) > trained.score(maps[350:], responses[350:]) - 0.005
    with torch.no_grad():
        tokens = torch.from_numpy(maps.reshape(450, N_CHANNELS, -1).transpose(0, 2, 1).copy())
        routed = model.network_.route(tokens).numpy()
    for query, label in enumerate(PLACES):
        units = np.flatnonzero(label == LABELS)
        theirs = RidgeCV(np.logspace(-4, 4, 17), alpha_per_target=True).fit(routed[:350, query], responses[:350, units])
        expected = theirs.predict(routed[350:, query])
        similarity = np.corrcoef(expected.ravel(), model.predict(maps[350:])[:, units].ravel())[0, 1]
        assert similarity > 0.995


def test_tokens_give_what_maps_give():
    maps, responses = fixed_places(60)
    tokens = maps.reshape(60, N_CHANNELS, -1).transpose(0, 2, 1)
    a = ROIQueryEncoder(LABELS, 16, training=QUICK).fit(maps, responses)
    b = ROIQueryEncoder(LABELS, 16, training=QUICK, grid=GRID).fit(tokens, responses)
    np.testing.assert_array_equal(a.predict(maps), b.predict(tokens))


def recording(n_stimuli: int = 120):
    maps, responses = fixed_places(n_stimuli)
    ids = [f"s{number}" for number in range(n_stimuli)]
    table = pd.DataFrame({"stimulus_id": np.tile(ids, 2)})
    units = pd.DataFrame({"roi": LABELS, "hemi": np.tile(["left", "right"], len(LABELS) // 2)})
    noise = np.random.default_rng(3).standard_normal((2 * n_stimuli, len(LABELS)))
    return Latents(maps, ids, space="toy"), Trials(np.tile(responses, (2, 1)) + 0.3 * noise, table, units)


def test_trials_join_by_id_and_regions_come_from_the_units_table():
    latents, trials = recording()
    train, test = split(trials, test_size=0.25)
    model = ROIQueryEncoder("roi", 16, training=QUICK).fit(latents, train)
    assert model.query_names_ == ("FFA", "PPA", "V1")
    order = np.random.default_rng(0).permutation(120)
    mixed = latents.select([latents.ids[row] for row in order])
    again = ROIQueryEncoder("roi", 16, training=QUICK).fit(mixed, train)
    np.testing.assert_allclose(again.predict(latents), model.predict(latents), atol=1e-4)
    scores = model.score_units(latents, test, n_permutations=50)
    assert scores.r2.mean() == pytest.approx(model.score(latents, test)) and set(scores.by_region()) == set(LABELS)
    both = ROIQueryEncoder(["roi", "hemi"], 16, training=QUICK).fit(latents, train)
    assert both.query_names_[:2] == ("FFA left", "FFA right") and len(both.query_names_) == 6
    with pytest.raises(LeakageError):
        model.score(latents, train)
    with pytest.raises(DataError, match="do not match the trials fitted on"):
        model.score(latents, test.select(units="roi == 'V1'"))
    with pytest.raises(DataError, match="Did you mean 'roi'"):
        ROIQueryEncoder("rois").fit(latents, train)


def test_repetitions_of_a_stimulus_stay_on_one_side_of_early_stopping(monkeypatch):
    latents, trials = recording()
    sides = []

    def watch(network, loss, data, options, *, validation, folder):
        sides.extend([data, validation])
        raise InterruptedError

    monkeypatch.setattr("brainalign.voxelwise.roi_query.train", watch)
    with pytest.raises(InterruptedError):
        ROIQueryEncoder(width=16).fit(latents, trials)
    train_rows, held_rows = (side["tokens"].rows for side in sides)
    assert isinstance(sides[0]["tokens"], Rows) and len(held_rows) == 24
    assert not set(train_rows) & set(held_rows)


def test_poisoned_validation_rows_do_not_change_the_standardisation():
    maps, responses = fixed_places(60)
    model = ROIQueryEncoder(None, 16, training=QUICK)
    paired = model._pair(maps, responses, None)
    held = model._parts(paired)[1]
    poisoned = maps.copy(), responses.copy()
    poisoned[0][held] += 50
    poisoned[1][held] -= 50
    a, b = (model.fit(*both).network_.state_dict() for both in ((maps, responses), poisoned))
    for name in ("x_mean", "x_scale", "y_mean", "y_scale"):
        assert torch.equal(a[name], b[name])


def test_fit_twice_equals_fit_once_and_parameters_stay():
    maps, responses = fixed_places(60)
    model = ROIQueryEncoder(LABELS, 16, dropout=0.2, training=QUICK)
    first = model.fit(maps, responses).predict(maps)
    model.set_params(queries=None).fit(maps[:, :4, :3], responses[:, :2])
    np.testing.assert_array_equal(model.set_params(queries=LABELS).fit(maps, responses).predict(maps), first)
    copy = clone(model)
    assert repr(copy.get_params()) == repr(model.get_params()) and not hasattr(copy, "network_")
    np.testing.assert_array_equal(copy.fit(maps, responses).predict(maps), first)
    assert not np.array_equal(clone(model).set_params(seed=1).fit(maps, responses).predict(maps), first)


def test_saved_and_loaded(tmp_path):
    latents, trials = recording()
    model = ROIQueryEncoder("roi", 16, n_heads=2, training=QUICK).fit(latents, trials)
    model.save(tmp_path / "model")
    loaded = ROIQueryEncoder.load(tmp_path / "model")
    assert repr(loaded.get_params()) == repr(model.get_params())
    np.testing.assert_array_equal(loaded.predict(latents), model.predict(latents))
    np.testing.assert_array_equal(loaded.attention_maps(latents), model.attention_maps(latents))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    with pytest.raises(LeakageError):
        loaded.score_units(latents, trials)
    with pytest.raises(DataError, match="do not match the trials fitted on"):
        loaded.score(Latents(latents.values, [f"new{one}" for one in latents.ids], space="toy"), foreign(trials))


def foreign(trials: Trials) -> Trials:
    table = trials.trials.assign(stimulus_id="new" + trials.trials["stimulus_id"])
    return Trials(trials.responses[:, :5], table, trials.units.iloc[:5])


@pytest.mark.parametrize(
    "learnt", [{"query_of_unit_": [0, 0, 1]}, {"n_channels_": 3}, {"grid_": [2, 2]}, {"query_of_unit_": None}]
)
def test_other_counts_of_regions_or_units_are_refused(tmp_path, learnt):
    maps, responses = fixed_places(40)
    ROIQueryEncoder(LABELS.tolist(), 16, training=QUICK).fit(maps, responses).save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["learnt"] |= learnt
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="do not make a model"):
        ROIQueryEncoder.load(tmp_path / "model")


def test_damaged_and_foreign_files_are_refused(tmp_path):
    maps, responses = fixed_places(40)
    folder = ROIQueryEncoder(None, 16, training=QUICK).fit(maps, responses).save(tmp_path / "model")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="not those that were saved"):
        ROIQueryEncoder.load(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(DataError, match="do not make a model"):
        ROIQueryEncoder.load(folder)
    with pytest.raises(DataError, match="no model here"):
        ROIQueryEncoder.load(tmp_path / "nothing")


def test_a_killed_fit_resumes_to_the_same_bits(tmp_path):
    maps, responses = fixed_places(60)
    model = ROIQueryEncoder(LABELS, 16, training={"n_epochs": 6})
    expected = model.fit(maps, responses).predict(maps)
    child = os.fork()
    if child == 0:
        calls, replace = [], os.replace
        os.replace = lambda *names: (
            calls.append(1),
            len(calls) > 4 and os.kill(os.getpid(), signal.SIGKILL),
            replace(*names),
        )
        try:
            model.fit(maps, responses, folder=tmp_path)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert list((tmp_path / "checkpoints").glob("step-*"))
    np.testing.assert_array_equal(model.fit(maps, responses, folder=tmp_path).predict(maps), expected)


def test_one_unit_a_constant_unit_and_no_validation():
    maps, responses = fixed_places(60)
    model = ROIQueryEncoder(None, 16, validation=0, training=QUICK).fit(maps, responses[:, 0])
    assert model.predict(maps).shape == (60,) and "validation_loss" not in model.history_[0]
    model.fit(maps, np.column_stack([responses[:, 0], np.full(60, 2.0)]))
    np.testing.assert_array_equal(model.predict(maps)[:, 1], 2)


def test_memory_maps_and_input_stay_as_they_are(tmp_path):
    maps, responses = fixed_places(60)
    np.save(tmp_path / "maps.npy", maps)
    disk = np.load(tmp_path / "maps.npy", mmap_mode="r")
    before = maps.copy(), responses.copy()
    maps.flags.writeable = responses.flags.writeable = False
    model = ROIQueryEncoder(LABELS, 16, training=QUICK).fit(maps, responses)
    again = ROIQueryEncoder(LABELS, 16, training=QUICK).fit(disk, responses)
    np.testing.assert_array_equal(model.predict(maps), again.predict(disk))
    np.testing.assert_array_equal(maps, before[0])
    np.testing.assert_array_equal(responses, before[1])


def test_labels():
    units = pd.DataFrame({"name": ["a", "b"], "roi": ["V2", "V1"]})
    assert label_units("unit", units, 2)[0] == ("a", "b")
    names, numbers = label_units("roi", units, 6)  # three times per unit
    assert names == ("V1", "V2") and numbers.tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(DataError, match="belong to no query"):
        label_units("roi", units.assign(roi=["V1", None]), 2)


def test_bad_input_is_refused():
    maps, responses = fixed_places(40)
    model = ROIQueryEncoder(LABELS, 16, training=QUICK)
    broken = maps.copy()
    broken[3, 2, 1, 1] = np.nan
    with pytest.raises(DataError, match="X contains NaN"):
        model.fit(broken, responses)
    with pytest.raises(DataError, match="Y contains NaN"):
        model.fit(maps, np.where(np.arange(40)[:, None] == 3, np.nan, responses))
    with pytest.raises(DataError, match="on a grid"):
        model.fit(maps.reshape(40, -1), responses)
    with pytest.raises(DataError, match="neither label every unit"):
        model.fit(maps, responses[:, :4])
    with pytest.raises(DataError, match="have no column 'roi'"):
        ROIQueryEncoder().fit(maps, responses)
    with pytest.raises(DataError, match="multiple of 4"):
        ROIQueryEncoder(LABELS, 18).fit(maps, responses)
    with pytest.raises(DataError, match="Did you mean 'n_epochs'"):
        ROIQueryEncoder(LABELS, training={"epochs": 2}).fit(maps, responses)
    with pytest.raises(DataError, match="share of the training stimuli"):
        ROIQueryEncoder(LABELS, validation=1.5).fit(maps, responses)
    with pytest.raises(DataError, match="too few samples"):
        model.fit(maps[:2], responses[:2])
    model.fit(maps, responses)
    with pytest.raises(DataError, match="number of channels"):
        model.predict(maps[:, :3])
    with pytest.raises(DataError, match="another grid"):
        model.attention_maps(maps[:, :, :3])
    with pytest.raises(DataError, match="number of units"):
        model.score(maps, responses[:, :3])
