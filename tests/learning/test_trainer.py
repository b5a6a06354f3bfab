"""The trainer: schedules and gradients against torch's own, early stopping, memory, and what it refuses."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from brainalign.errors import DataError
from brainalign.learning import Rows, TrainOptions, seeded, train
from brainalign.learning.setup import make_optimiser


def net(n_hidden: int = 8, *, dropout: float = 0.0) -> torch.nn.Module:
    with seeded(0):
        return torch.nn.Sequential(
            torch.nn.Linear(3, n_hidden), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(n_hidden, 2)
        )


def data(n_samples: int = 50, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_samples, 3)).astype(np.float32)
    return {"x": x, "y": np.tanh(x[:, :2]) + 0.1 * rng.standard_normal((n_samples, 2)).astype(np.float32)}


def squared(model, batch):
    return ((model(batch["x"]) - batch["y"]) ** 2).mean()


def weights(model: torch.nn.Module) -> np.ndarray:
    return np.concatenate([one.detach().numpy().ravel() for one in model.state_dict().values()])


@pytest.mark.parametrize("warmup", [0.1, 0.3])
def test_one_cycle_is_that_of_torch(warmup):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.5, total_steps=60, pct_start=warmup, cycle_momentum=False)
    options = TrainOptions(schedule="one_cycle", learning_rate=0.5, warmup=warmup)
    for step in range(60):
        assert options.rate_at(step, 60) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        optimiser.step()
        if step < 59:
            theirs.step()


def test_cosine_is_that_of_torch_after_its_warmup():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=40)
    options = TrainOptions(schedule="cosine", learning_rate=0.5, warmup=0.2)
    for step in range(10, 50):
        assert options.rate_at(step, 50) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-9)
        optimiser.step()
        theirs.step()
    rising = [options.rate_at(step, 50) for step in range(11)]
    assert np.allclose(np.diff(rising), 0.5 / 11)
    assert TrainOptions(schedule="constant", warmup=0.0).rate_at(7, 10) == 1e-3


def test_equals_a_loop_written_by_hand():
    """Full batches, constant rate: the same as torch's AdamW applied in five lines."""
    ours, theirs, samples = net(), net(), data()
    options = TrainOptions(n_epochs=20, batch_size=50, schedule="constant", warmup=0.0, clip=0.05, weight_decay=0.1)
    train(ours, squared, samples, options)
    x, y = (torch.from_numpy(samples[name]) for name in "xy")
    matrices = [one for one in theirs.parameters() if one.ndim == 2]
    vectors = [one for one in theirs.parameters() if one.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3)
    for _ in range(20):
        optimiser.zero_grad()
        ((theirs(x) - y) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.05)
        optimiser.step()
    np.testing.assert_allclose(weights(ours), weights(theirs), atol=2e-6)


def test_accumulation_changes_nothing_but_rounding():
    whole, parts = net(), net()
    train(whole, squared, data(), TrainOptions(n_epochs=5, batch_size=20))
    train(parts, squared, data(), TrainOptions(n_epochs=5, batch_size=20, accumulate=7))
    np.testing.assert_allclose(weights(parts), weights(whole), atol=1e-5)
    assert np.abs(weights(whole) - weights(net())).max() > 1e-3


def test_out_of_memory_halves_the_batch_and_keeps_the_result():
    plain, short = net(dropout=0.0), net(dropout=0.0)

    def fits_six(model, batch):
        if len(batch["x"]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return squared(model, batch)

    options = TrainOptions(n_epochs=4, batch_size=20)
    train(plain, squared, data(), options, validation=data(seed=1))
    with pytest.warns(UserWarning, match="out of memory: batches go in"):
        made = train(short, fits_six, data(), options, validation=data(seed=1))
    assert made.accumulate == 4
    np.testing.assert_allclose(weights(short), weights(plain), atol=1e-5)


def test_out_of_memory_for_one_sample_is_an_error():
    def never_fits(model, batch):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.warns(UserWarning, match="out of memory"), pytest.raises(DataError, match="a single sample"):
        train(net(), never_fits, data(4), TrainOptions(n_epochs=1))
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        train(net(), never_fits, data(4), TrainOptions(n_epochs=1, split_on_oom=False))


def test_other_errors_of_the_network_are_not_swallowed():
    def broken(model, batch):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot"):
        train(net(), broken, data(), TrainOptions(n_epochs=1))


def test_early_stopping_returns_the_best_weights(tmp_path):
    noise = {"x": data(12)["x"], "y": np.random.default_rng(3).standard_normal((12, 2))}
    fresh = {"x": data(40, seed=5)["x"], "y": np.random.default_rng(4).standard_normal((40, 2))}
    options = TrainOptions(n_epochs=400, batch_size=12, learning_rate=0.02, schedule="constant", patience=10)
    made = train(net(32), squared, noise, options, validation=fresh, folder=tmp_path)
    losses = [line["validation_loss"] for line in made.history]
    assert len(losses) == int(np.argmin(losses)) + 11 < 400
    assert made.best_epoch == int(np.argmin(losses))
    with torch.no_grad():
        batch = {name: torch.from_numpy(one.astype(np.float32)) for name, one in fresh.items()}
        assert squared(made.model, batch).item() == pytest.approx(min(losses), rel=1e-5)
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert written == made.history


def draw_from_all() -> list[float]:
    return [torch.rand(1).item(), np.random.rand(), random.gauss(0, 1)]  # noqa: NPY002


def test_the_same_seed_gives_the_same_bits_and_the_world_outside_stays_as_it_was():
    with seeded(7):
        expected = draw_from_all()
    models = [net(dropout=0.5) for _ in range(3)]
    with seeded(7):
        for model, seed in zip(models, (0, 0, 1), strict=True):
            train(model, squared, data(), TrainOptions(n_epochs=3, batch_size=8, seed=seed))
        assert draw_from_all() == expected
    assert np.array_equal(weights(models[0]), weights(models[1]))
    assert not np.array_equal(weights(models[0]), weights(models[2]))


def test_every_sample_is_seen_once_an_epoch_in_another_order():
    seen = []

    def watch(model, batch):
        seen.extend(batch.rows.tolist())
        assert 0 <= batch.progress < 1
        return squared(model, batch)

    train(net(), watch, data(11), TrainOptions(n_epochs=2, batch_size=4))
    assert sorted(seen[:11]) == sorted(seen[11:]) == list(range(11))
    assert seen[:11] != seen[11:]


def test_memory_maps_and_views_by_row_give_what_arrays_give(tmp_path, monkeypatch):
    samples = data()
    for name, array in samples.items():
        np.save(tmp_path / f"{name}.npy", array)
    maps = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in samples}
    order = np.random.default_rng(0).integers(0, 50, 80)
    plain, lazy = net(), net()
    train(plain, squared, {name: one[order] for name, one in samples.items()}, TrainOptions(n_epochs=2))
    monkeypatch.setattr("brainalign.learning.batches.RESIDENT_BYTES", 0)
    train(lazy, squared, {name: Rows(one, order) for name, one in maps.items()}, TrainOptions(n_epochs=2))
    assert np.array_equal(weights(plain), weights(lazy))


def test_frozen_parameters_stay_and_named_ones_are_not_shrunk():
    model = net()
    model[0].weight.requires_grad_(False)
    model.no_weight_decay = {"3.weight"}
    assert [group["weight_decay"] for group in make_optimiser(model, TrainOptions()).param_groups] == [0.0]
    before = model[0].weight.clone()
    train(model, squared, data(), TrainOptions(n_epochs=2))
    assert torch.equal(model[0].weight, before)
    with pytest.raises(DataError, match="nothing to train"):
        make_optimiser(model.requires_grad_(False), TrainOptions())


def test_bfloat16_learns_and_leaves_float32_weights():
    model = net()
    made = train(model, squared, data(), TrainOptions(n_epochs=30, learning_rate=0.02, precision="bf16"))
    assert made.history[-1]["loss"] < 0.3 * made.history[0]["loss"]
    assert model(torch.zeros(1, 3)).dtype == torch.float32
    assert {one.dtype for one in model.state_dict().values()} == {torch.float32}


def test_several_losses_are_written_down():
    def two(model, batch):
        return {"loss": squared(model, batch), "size": model(batch["x"]).abs().mean()}

    made = train(net(), two, data(), TrainOptions(n_epochs=2), validation=data(seed=1))
    assert {"loss", "size", "validation_loss", "validation_size", "gradient_norm"} <= set(made.history[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "cosin"}, "unknown schedule"),
        ({"precision": "half"}, "unknown precision"),
        ({"n_epochs": 0}, "n_epochs must be"),
        ({"batch_size": 2.5}, "batch_size must be"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"warmup": 1.0}, "out of range"),
    ],
)
def test_options_that_make_no_sense_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        TrainOptions(**change)


def test_unknown_options_are_named():
    with pytest.raises(DataError, match="Did you mean 'learning_rate'"):
        TrainOptions.of({"learning_rat": 1.0})


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="same number of rows"):
        train(net(), squared, {"x": data()["x"], "y": data(20)["y"]})
    with pytest.raises(DataError, match="same number of rows"):
        train(net(), squared, {"x": np.empty((0, 3)), "y": np.empty((0, 2))})
    with pytest.raises(DataError, match="needs validation data"):
        train(net(), squared, data(), TrainOptions(patience=3))
    with pytest.raises(DataError, match="loss is not finite in epoch 0"):
        train(net(), squared, data() | {"y": np.full((50, 2), np.nan)})
    with pytest.raises(DataError, match="fp16 needs a GPU"):
        train(net(), squared, data(), TrainOptions(precision="fp16"))
