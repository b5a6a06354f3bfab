"""MindEye and MindEye2: planted truth, controls, transfer, resumption, disk, and what they refuse."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch

import brainalign as ba
from brainalign.encoders import MindEye, MindEye2, load_encoder
from brainalign.encoders.mindeye_network import MindEyeLoss
from brainalign.errors import DataError
from brainalign.latents import Latents
from brainalign.learning import Batch
from brainalign.trials import Trials
from tests.learning.test_resume import die_after, killed_by

QUICK = {"hidden": 64, "n_blocks": 1, "dropout": 0.1, "projector": 32, "prior_depth": 0}
N_DIMENSIONS = 12


def latents(n: int = 200, *shape: int, seed: int = 0) -> Latents:
    values = np.random.default_rng(seed).standard_normal((n, *(shape or (N_DIMENSIONS,)))).astype(np.float32)
    return Latents(values, [f"s{row:03d}" for row in range(n)], space="toy")


def person(
    name: str, n_voxels: int, shown: Latents, *, n_repetitions: int = 1, noise: float = 1.0, seed: int = 0
) -> Trials:
    """Every voxel is its own sum of the latents, plus noise."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, int(name)]))
    flat = shown.flat()
    clean = np.tile(flat @ rng.standard_normal((flat.shape[1], n_voxels)) / flat.shape[1] ** 0.5, (n_repetitions, 1))
    table = pd.DataFrame({"stimulus_id": np.tile(shown.ids, n_repetitions), "subject": name})
    responses = (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)
    return Trials(responses, table, pd.DataFrame({"name": [f"{name}-{v}" for v in range(n_voxels)]}))


def matched(encoder, trials: Trials, truth: Latents) -> float:
    predicted = encoder.predict(trials)
    return ba.scoring.retrieval(predicted, truth.select(predicted.ids)).value


@pytest.fixture(scope="module")
def two():
    """Two subjects, the model of both, and what was held out."""
    shown = latents()
    people = {name: person(name, n, shown) for name, n in (("1", 60), ("2", 45))}
    train = {name: one.select(np.arange(200) < 150) for name, one in people.items()}
    test = {name: one.select(np.arange(200) >= 150) for name, one in people.items()}
    return shown, train, test, MindEye2(**QUICK, training={"n_epochs": 15, "batch_size": 16}).fit(train, shown)


def test_every_subject_is_decoded_by_the_shared_network(two):
    shown, _, test, encoder = two
    assert encoder.subjects_ == ("1", "2")
    for trials in test.values():
        assert matched(encoder, trials, shown) > 0.5  # chance is 0.02
        assert encoder.score(trials, shown) > 0.6
    projected = encoder.project(test["1"])
    assert ba.scoring.retrieval(projected, shown.select(projected.ids)).value > 0.4


def test_nothing_in_a_shuffled_brain():
    shown = latents()
    trials = person("1", 60, shown)
    order = np.random.default_rng(1).permutation(200)
    broken = Trials(trials.responses[order], trials.trials, trials.units)
    train, test = (broken.select(np.arange(200) < 150), broken.select(np.arange(200) >= 150))
    encoder = MindEye(**QUICK, training={"n_epochs": 10}).fit(train, shown)
    assert matched(encoder, test, shown) < 0.12
    assert abs(encoder.score(test, shown)) < 0.12


def test_maps_of_the_low_level_branch_learn_the_features_they_are_contrasted_with():
    """Without the term their projection is untrained; with it, it tells held-out pictures apart by their features."""
    shown = latents()
    rng = np.random.default_rng(4)
    maps = Latents((shown.values @ rng.standard_normal((12, 32))).reshape(-1, 2, 4, 4), shown.ids, space="maps")
    features = Latents((shown.values @ rng.standard_normal((12, 10))).reshape(-1, 5, 2), shown.ids, space="features")
    targets = {"maps": maps, "features": features}
    trials = person("1", 60, shown, noise=0.5)
    train, test = (trials.select(one) for one in (np.arange(200) < 150, np.arange(200) >= 150))
    found = {}
    for weight in (0.0, 1.0):
        encoder = MindEye(
            **QUICK, low_level_features="features", loss_weights={"features": weight},
            training={"n_epochs": 15, "batch_size": 16},
        ).fit(train, targets)  # fmt: skip
        branch = encoder.network_.branches[0]
        with torch.no_grad():
            x = torch.from_numpy(encoder._features(test.matrix(), "1"))
            made = branch.features(encoder.network_(x, torch.zeros(50, dtype=torch.int64))).numpy()
        true = features.flat()[150:] - features.flat()[:150].mean(0)
        found[weight] = ba.scoring.two_way_identification(made, true).value
        assert set(encoder.predict(test)) == {"maps", "features"}
    assert found[1.0] > 0.85 and found[0.0] < 0.75, found
    with pytest.raises(DataError, match="target for low_level_features"):
        MindEye(**QUICK, low_level_features="convnext").fit(train, targets)
    with pytest.raises(DataError, match="no low-level branch"):
        MindEye(**QUICK, low_level_features="features").fit(train, {"features": features})


def test_each_time_a_sample_is_drawn_it_has_the_latents_of_one_of_its_views():
    n = 400
    plain = {"target/a": torch.zeros(n, 2), "target/b": torch.zeros(n, 3), "x": torch.arange(n)[:, None]}
    seen = {
        f"view{k}/{name}": torch.full((n, width), k + 1.0) for k in range(2) for name, width in (("a", 2), ("b", 3))
    }
    batch = Batch(plain | seen)
    batch.rows, batch.progress = np.arange(n), 1.0
    torch.manual_seed(0)
    made = MindEyeLoss({}, 0.0, 0.05).prepare(batch)
    assert set(made) == set(plain) and torch.equal(made["x"], plain["x"])
    assert torch.equal(made["target/a"][:, 0], made["target/b"][:, 2])  # one view of a picture for all spaces
    shares = torch.bincount(made["target/a"][:, 0].long()) / n
    assert (shares - 1 / 3).abs().max() < 0.08 and torch.equal(batch["target/a"], plain["target/a"])


def test_training_on_views_of_the_pictures(two):
    shown, train, test, _ = two
    rng = np.random.default_rng(8)
    views = [
        Latents(shown.values + 0.3 * rng.standard_normal(shown.shape).astype(np.float32), shown.ids, space="toy")
        for _ in range(2)
    ]
    quick = {**QUICK, "training": {"n_epochs": 8, "batch_size": 16}}
    made = MindEye(**quick).fit(train["1"], shown, views=views)
    plain = MindEye(**quick).fit(train["1"], shown)
    assert made.score(test["1"], shown) > 0.5
    assert made.target_scales_["latents"][1] == plain.target_scales_["latents"][1]  # of the pictures themselves
    assert (made.predict(test["1"]).values != plain.predict(test["1"]).values).any()
    with pytest.raises(DataError, match="without latents"):
        MindEye(**quick).fit(train["1"], shown, views=[views[0].select(shown.ids[:5])])
    with pytest.raises(DataError, match="another model or revision"):
        MindEye(**quick).fit(train["1"], shown, views=[Latents(shown.values, shown.ids, space="other")])
    with pytest.raises(DataError, match="views are paired by id"):
        MindEye(**quick).fit(train["1"].matrix(), shown.values[:150], views=[shown.values[:150]])


def test_the_soft_contrast_of_a_batch_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    made, true = rng.standard_normal((2, 6, 4))
    loss = MindEyeLoss({"features": 2.0}, 0.0, 0.05, "f")
    batch = Batch({"target/f": torch.from_numpy(true)})
    batch.progress = 1.0
    unit = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (made, true)]
    logits, among = unit[0] @ unit[1].T / 0.075, unit[1] @ unit[1].T / 0.075

    def cross(a, b):
        aim = np.exp(a) / np.exp(a).sum(1, keepdims=True)
        return -(aim * (b - np.log(np.exp(b).sum(1, keepdims=True)))).sum(1).mean()

    expected = (cross(among, logits) + cross(among.T, logits.T)) / 2
    terms = loss.compare({"features/f": torch.from_numpy(made)}, batch)
    assert terms["features"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(2 * expected, rel=1e-5)


def test_a_planted_map_is_found_in_closed_form(two):
    """Subject 3 is a rotation of subject 1 without noise: both must be decoded alike, from pictures of their own."""
    shown, _, _, encoder = two
    clean = person("1", 60, shown, noise=0.0)
    turn, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((60, 60)))
    units = pd.DataFrame({"name": [f"3-{v}" for v in range(60)]})
    turned = Trials(clean.responses @ turn.astype(np.float32), clean.trials.assign(subject="3"), units)
    first, second, test = (np.isin(np.arange(200), rows) for rows in (range(60), range(60, 150), range(150, 200)))
    scaled = encoder.align(turned.select(second), shown, reference={"1": clean.select(first)}, alphas=[1e-6, 1e-3, 1.0])
    own, others = (scaled.predict(one.select(test)).values for one in (turned, clean))
    assert np.abs(own - others).max() < 0.05 * np.abs(others).max()
    assert encoder.subjects_ == ("1", "2") and scaled.subjects_ == ("1", "2", "3")
    np.testing.assert_array_equal(others, encoder.predict(clean.select(test)).values)


def test_the_closed_form_decodes_a_new_subject_from_few_trials(two):
    shown, train, _, encoder = two
    trials = person("3", 50, shown, n_repetitions=2)
    few = trials.select(np.isin(trials.stimulus_ids, shown.ids[100:120]))
    test = trials.select(np.isin(trials.stimulus_ids, shown.ids[150:]))
    aligned = encoder.align(few, shown, reference=train)
    alone = MindEye2(**QUICK, training={"n_epochs": 15, "batch_size": 16}).fit(few, shown)
    assert aligned.score(test, shown) > alone.score(test, shown) + 0.05
    order = np.random.default_rng(0).permutation(len(few.responses))
    broken = Trials(few.responses[order], few.trials, few.units)
    assert abs(encoder.align(broken, shown, reference=train).score(test, shown)) < 0.25
    with pytest.raises(DataError, match="not fitted on subject '9'"):
        encoder.align(few, shown, reference={"9": train["1"]})
    with pytest.raises(DataError, match="was fitted on already"):
        encoder.align(train["1"], shown, reference=train)
    with pytest.raises(DataError, match="align needs Trials"):
        encoder.align(few.responses, shown, reference=train)


def test_transfer_adds_a_subject_and_leaves_the_others(two):
    shown, _, test, encoder = two
    newcomer = person("3", 50, shown)
    few, rest = newcomer.select(np.arange(200) < 30), newcomer.select(np.arange(200) >= 150)
    before = encoder.predict(test["1"]).values.copy()
    options = {"n_epochs": 40, "batch_size": 8}
    moved = encoder.transfer(few, shown, training=options)
    assert moved.subjects_ == ("1", "2", "3") and encoder.subjects_ == ("1", "2")
    assert moved.score(rest, shown) > 0.4
    np.testing.assert_array_equal(moved.predict(test["1"]).values, before)  # the shared part stayed
    loose = encoder.transfer(few, shown, freeze_shared=False, training={"n_epochs": 2})
    assert not np.array_equal(loose.predict(test["1"]).values, before)
    np.testing.assert_array_equal(encoder.predict(test["1"]).values, before)


def test_what_transfer_refuses(two):
    shown, train, _, encoder = two
    with pytest.raises(DataError, match="subject '1' was fitted on already"):
        encoder.transfer(train["1"], shown)
    newcomer = person("3", 50, shown)
    with pytest.raises(DataError, match="other latents than those fitted on"):
        encoder.transfer(newcomer, latents(200, 5))
    other = Latents(shown.values, shown.ids, space="another")
    with pytest.raises(DataError, match="of another model or revision"):
        encoder.transfer(newcomer, other)
    with pytest.raises(DataError, match="needs Trials"):
        encoder.transfer(newcomer.matrix(), shown)


def test_wrong_brains_are_refused(two):
    shown, train, test, encoder = two
    with pytest.raises(DataError, match="not fitted on subject '9'"):
        encoder.predict(test["1"].with_trials(subject="9"))
    with pytest.raises(DataError, match="other units"):
        encoder.predict(test["1"].select(units=np.arange(60) < 59))
    with pytest.raises(DataError, match="whose responses"):
        encoder.predict(test["1"].matrix())
    with pytest.raises(DataError, match="another number of voxels"):
        encoder.predict(test["1"].matrix(), subject="2")
    assert encoder.predict(test["2"].matrix(), subject="2").shape == (50, N_DIMENSIONS)
    with pytest.raises(DataError, match="mapping of subject to Trials"):
        MindEye2().fit({"1": train["1"].matrix()}, shown)


def test_saved_and_loaded_with_all_its_subjects(two, tmp_path):
    _, _, test, encoder = two
    encoder.save(tmp_path / "model")
    loaded = load_encoder(tmp_path / "model")
    assert loaded.subjects_ == encoder.subjects_ and loaded.history_ == encoder.history_
    for trials in test.values():
        np.testing.assert_array_equal(loaded.predict(trials).values, encoder.predict(trials).values)
    torch.save(encoder.network_.state_dict(), tmp_path / "model" / "model.safetensors")
    with pytest.raises(DataError, match="not those that were saved"):
        load_encoder(tmp_path / "model")
    encoder.save(tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    config["params"]["hidden"] = 63
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="do not make a MindEye2"):
        load_encoder(tmp_path / "other")


@pytest.mark.slow
def test_several_targets_of_several_shapes():
    """Tokens, captions and maps at once; each is found again, in its own shape."""
    tokens = latents(200, 3, 4)
    picture = Latents(
        tokens.values.reshape(200, 12)[:, :4, None, None] * np.ones((1, 1, 6, 6)), tokens.ids, space="vae"
    )
    text = Latents(tokens.values.reshape(200, 12)[:, 4:9], tokens.ids, space="text")
    trials = person("1", 60, tokens, noise=0.5)
    train, test = trials.select(np.arange(200) < 150), trials.select(np.arange(200) >= 150)
    targets = {"vision": tokens, "vae": picture, "text": text}
    options = {**QUICK, "prior_depth": 1, "hidden": 64}
    encoder = MindEye(**options, training={"n_epochs": 15, "batch_size": 16}).fit(train, targets)
    made = encoder.predict(test)
    assert [one.shape for one in made.values()] == [(50, 3, 4), (50, 4, 6, 6), (50, 5)]
    for name, one in made.items():
        truth = targets[name].at(one.ids).reshape(50, -1)
        assert ba.scoring.mean_over_targets(ba.scoring.pearson(truth, one.flat()))[0] > 0.6, name
    assert set(encoder.project(test)) == {"vision", "text"}
    drawn = MindEye(**options, output="sample", training={"n_epochs": 15, "batch_size": 16}).fit(train, targets)
    sample = drawn.predict(test)["vision"]
    spread = tokens.values.std()
    assert sample.values.std() > 0.6 * spread
    assert ba.scoring.retrieval(sample, tokens.select(sample.ids)).value > 0.2


def test_repetitions_are_averaged_on_the_side_that_was_asked_for():
    shown = latents(60)
    trials = person("1", 20, shown, n_repetitions=3)
    encoder = MindEye(**QUICK, repetitions="output", training={"n_epochs": 2}).fit(trials, shown)
    made = encoder.predict(trials)
    singles = encoder.predict(trials.matrix()).reshape(3, 60, -1).mean(axis=0)
    np.testing.assert_allclose(made.values, singles, atol=1e-5)
    assert made.ids == shown.ids and made.meta["repetitions_averaged"] == "output"
    encoder.repetitions = "input"
    on_input = encoder.predict(trials)
    np.testing.assert_allclose(on_input.values, encoder.predict(trials.average("stimulus_id").matrix()), atol=1e-5)
    assert on_input.meta["repetitions_averaged"] == "input"


def test_the_epoch_is_chosen_on_stimuli_that_no_subject_was_trained_on(two, monkeypatch):
    shown, train, _, _ = two
    seen = {}

    def watch(network, loss, data, options, *, validation, folder):
        seen["kept"] = {int(one) for one in data["stimulus"][np.arange(len(data["stimulus"]))]}
        seen["held"] = {int(one) for one in validation["stimulus"][np.arange(len(validation["stimulus"]))]}
        raise KeyboardInterrupt

    monkeypatch.setattr("brainalign.encoders.network.train", watch)
    with pytest.raises(KeyboardInterrupt):
        MindEye2(**QUICK).fit(train, shown)
    assert len(seen["held"]) == 15 and not seen["held"] & seen["kept"]


def test_killed_and_resumed_to_the_same_bits(tmp_path, monkeypatch):
    shown = latents(60)
    people = {name: person(name, n, shown) for name, n in (("1", 20), ("2", 15))}

    def fit(folder):
        options = {"n_epochs": 6, "batch_size": 16, "checkpoint_every": 4}
        made = MindEye2(**QUICK | {"prior_depth": 1}, training=options).fit(people, shown, folder=folder)
        return {name: one.numpy() for name, one in made.network_.state_dict().items()}

    whole = fit(None)
    outputs = MindEyeLoss.outputs
    for n_calls in (9, 14):

        def work(n_calls=n_calls):
            MindEyeLoss.outputs = die_after(outputs, n_calls)
            fit(tmp_path)

        assert killed_by(work) == signal.SIGKILL
    assert os.path.isdir(tmp_path / "checkpoints")
    resumed = fit(tmp_path)
    for name, one in whole.items():
        np.testing.assert_array_equal(resumed[name], one)


def test_too_little_memory_changes_nothing_but_rounding(monkeypatch):
    shown = latents(64)
    trials = person("1", 20, shown)

    def fit():
        options = {"n_epochs": 3, "batch_size": 32}
        return MindEye(**QUICK | {"dropout": 0.0}, training=options).fit(trials, shown).predict(trials).values

    plain, outputs = fit(), MindEyeLoss.outputs

    def scarce(loss, model, batch):
        if len(batch["x"]) > 12:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return outputs(loss, model, batch)

    monkeypatch.setattr(MindEyeLoss, "outputs", scarce)
    with pytest.warns(UserWarning, match="out of memory"):
        np.testing.assert_allclose(fit(), plain, atol=1e-4)


def count(module) -> int:
    return sum(one.numel() for one in module.parameters())


def test_parameter_counts_of_the_published_configurations():
    """On the meta device, where weights have shapes and no memory."""
    first, second = MindEye.published(), MindEye2.published()
    first.target_shapes_, second.target_shapes_ = {"clip": (257, 768)}, {"clip": (256, 1664), "vae": (4, 28, 28)}
    with torch.device("meta"):
        one, two = first._build({"1": 15724}), second._build({"1": 15724})
    assert tuple(one.branches[0].linear.weight.shape) == (257 * 768, 4096) == (197_376, 4096)
    assert count(one.branches[0].linear) == 4096 * 197_376 + 197_376
    without_prior = count(one) - count(one.branches[0].prior)
    assert without_prior == pytest.approx(940e6, rel=0.01)
    assert count(two.adapters) == 15724 * 4096 + 4096 == pytest.approx(64.4e6, rel=1e-3)
    assert count(two.branches[0].prior) == pytest.approx(259.9e6, rel=5e-4)
    assert count(two) - count(two.adapters) - count(two.branches[0].prior) == pytest.approx(1.903e9, rel=0.005)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 0}, "make no network"),
        ({"output": "best"}, "output"),
        ({"output": "sample", "prior_depth": 0}, "nothing can be drawn"),
        ({"loss_weights": {"contrst": 1.0}}, "contrst"),
        ({"repetitions": "both"}, "both"),
        ({"validation": 1.0}, "share of the training stimuli"),
        ({"temperature": 0.0}, "out of range"),
        ({"training": {"epochs": 1}}, "no training option 'epochs'"),
    ],
)
def test_bad_options_are_refused_before_any_training(change, message):
    with pytest.raises(DataError, match=message):
        MindEye(**change).fit(np.zeros((8, 3)), np.ones((8, 2)))


def test_targets_that_are_not_finite_are_refused():
    shown = latents(40)
    shown.values[3, 2] = np.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        MindEye().fit(person("1", 10, latents(40)), shown)


def test_encoders_that_know_no_views_refuse_them():
    from brainalign.encoders import ATM

    shown = latents(20)
    signals = Trials(np.random.default_rng(0).standard_normal((20, 4, 32)).astype(np.float32),
                     pd.DataFrame({"stimulus_id": shown.ids}), times=np.arange(32) / 100)  # fmt: skip
    with pytest.raises(DataError, match="pictures as they are"):
        ATM().fit(signals, shown, views=[shown])
