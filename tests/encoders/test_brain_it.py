"""`BrainIT` on simulated subjects: it decodes, shares, transfers, and refuses; sizes of the published configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from brainalign.arrays import sha256_file
from brainalign.encoders import BrainIT, load_encoder
from brainalign.encoders.brain_it.network import BrainITNetwork, Shape
from brainalign.encoders.brain_it.targets import TokenTarget, as_tokens, token_contrast
from brainalign.encoders.brain_it.unseen import unseen_pairs
from brainalign.encoders.subjects import pair_samples
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import simulate_subject
from brainalign.scoring.identification import retrieval, two_way_identification

ROIS = {"V1": 30, "V4": 30, "FFA": 30, "PPA": 30}
QUICK = {
    "n_clusters": 12,
    "width": 32,
    "n_cross": 1,
    "embedding": 16,
    "voxel_training": {"n_epochs": 20},
    "training": {"n_epochs": 30, "learning_rate": 3e-3},
    "transfer_training": {"n_epochs": 50},
}


def latents(n: int = 240, space: str = "toy") -> Latents:
    values = np.random.default_rng(0).standard_normal((n, 8)).astype(np.float32)
    return Latents(values, [f"s{i:03d}" for i in range(n)], space=space, meta={"model": "m"})


def subject(name: int, seen: Latents, driving: Latents | None = None):
    preferred = np.random.default_rng(5).standard_normal((4, 8))
    trials, _ = simulate_subject(
        driving or seen,
        seed=name,
        n_repetitions=1,
        drift=0.0,
        rois=ROIS,
        ceiling=(0.3, 0.7),
        directions=dict(zip(ROIS, preferred, strict=True)),
    )
    return trials.with_trials(subject=str(name))


def parts(trials, seen: Latents, n_train: int = 180):
    first = np.isin(trials.stimulus_ids, seen.ids[:n_train])
    return trials.select(trials=first), trials.select(trials=np.isin(trials.stimulus_ids, seen.ids[180:]))


@pytest.fixture(scope="module")
def world():
    seen = latents()
    subjects = {name: parts(subject(name, seen), seen) for name in (1, 2, 8)}
    encoder = BrainIT(**QUICK).fit({"1": subjects[1][0], "2": subjects[2][0]}, seen)
    return seen, subjects, encoder


def top1(predicted: Latents, seen: Latents) -> float:
    return retrieval(predicted, seen.select(predicted.ids)).value


def test_pictures_are_retrieved_from_each_subject(world):
    seen, subjects, encoder = world
    for name in (1, 2):
        predicted = encoder.predict(subjects[name][1])
        assert top1(predicted, seen) > 0.6  # chance is 1 in 60
        assert two_way_identification(predicted, seen.select(predicted.ids)).value > 0.95
    assert encoder.subjects_ == ("1", "2") and encoder.network_.n_subjects == 2


def test_a_shuffled_brain_gives_nothing(world):
    seen, subjects, _ = world
    order = np.random.default_rng(1).permutation(len(seen))
    wrong = Latents(seen.values[order], seen.ids, space="toy")
    predicted = BrainIT(**QUICK).fit(subjects[1][0], wrong).predict(subjects[1][1])
    assert 0.3 < two_way_identification(predicted, wrong.select(predicted.ids)).value < 0.7
    assert top1(predicted, wrong) < 0.12


def test_a_new_subject_joins_better_than_it_begins_anew_and_nothing_else_changes(world):
    seen, subjects, encoder = world
    few = subjects[8][0].select(trials=np.isin(subjects[8][0].stimulus_ids, seen.ids[:24]))
    before = {name: value.clone() for name, value in encoder.network_.state_dict().items()}
    joined = encoder.transfer(few, seen)
    alone = BrainIT(**QUICK).fit(few, seen)
    test = subjects[8][1]
    good, poor = (two_way_identification(one.predict(test), seen.select(seen.ids[180:])) for one in (joined, alone))
    assert good.value > poor.value + 0.02 and good.value > 0.8
    assert joined.score(test, seen) > alone.score(test, seen) + 0.05
    assert encoder.subjects_ == ("1", "2") and joined.subjects_ == ("1", "2", "8")
    for name, value in joined.network_.state_dict().items():
        if name in before:
            assert torch.equal(value, before[name]), name
    # What is new: an embedding of every voxel in the universal encoder and in each branch, and its cluster.
    new = {name: value.numel() for name, value in joined.network_.state_dict().items() if name not in before}
    assert sorted(new.values()) == [120, 120 * 32]
    np.testing.assert_array_equal(joined.predict(subjects[1][1]).values, encoder.predict(subjects[1][1]).values)
    assert len(joined.clusters_.labels_) == 240  # clusters are those of the subjects fitted on
    again = joined.transfer(few.with_trials(subject="9"), seen)
    assert again.subjects_ == ("1", "2", "8", "9")


def test_pictures_that_nobody_saw_teach_by_predicted_responses(world):
    seen, subjects, _ = world
    few = {"1": subjects[1][0].select(trials=np.arange(30))}
    known = set(few["1"].stimulus_ids)
    unseen = seen.select([one for one in seen.ids[:180] if one not in known])
    quick = QUICK | {"voxel_training": {"n_epochs": 40}}
    plain, more = BrainIT(**quick).fit(few, seen), BrainIT(**quick).fit(few, seen, unseen=unseen)
    test = subjects[1][1]
    assert more.score(test, seen) > plain.score(test, seen) + 0.02
    for name, mean in plain.voxels_.scales_.items():  # what the voxels are is learnt from responses alone
        np.testing.assert_array_equal(mean[0], more.voxels_.scales_[name][0])
    pairs = unseen_pairs({"1": pair_samples(few, seen, flat=False)["1"]}, plain.voxels_, unseen)["1"]
    rows = np.array([7, 3])
    np.testing.assert_array_equal(pairs.responses[rows], plain.voxels_.predict(unseen.values[rows], "1"))
    np.testing.assert_array_equal(pairs.targets["latents"][rows], unseen.values[rows])
    assert pairs.stimulus.min() == 30  # none is taken for a picture seen
    assert set(unseen.ids) <= set(more.provenance_.stimulus_ids)
    with pytest.raises(LeakageError):
        more.score(subjects[2][0], seen)
    with pytest.raises(DataError, match="were seen"):
        BrainIT(**quick).fit(few, seen, unseen=seen)
    with pytest.raises(DataError, match="another model or revision"):
        BrainIT(**quick).fit(few, seen, unseen=Latents(unseen.values, unseen.ids, space="other"))


def test_saved_with_all_its_subjects(world, tmp_path):
    seen, subjects, encoder = world
    few = subjects[8][0].select(trials=np.arange(20))
    joined = encoder.transfer(few, seen)
    loaded = load_encoder(joined.save(tmp_path / "e"))
    for name in (1, 2, 8):
        expected = joined.predict(subjects[name][1])
        np.testing.assert_array_equal(loaded.predict(subjects[name][1]).values, expected.values)
    assert loaded.provenances_ == joined.provenances_
    np.testing.assert_array_equal(
        loaded.transfer(few.with_trials(subject="9"), seen).predict(subjects[1][1]).values,
        joined.predict(subjects[1][1]).values,
    )
    assert loaded.score(subjects[8][1], seen) == pytest.approx(joined.score(subjects[8][1], seen))


def test_no_subject_may_have_seen_what_is_scored(world):
    seen, subjects, encoder = world
    with pytest.raises(LeakageError):
        encoder.score(subjects[2][0], seen)


def test_latents_taken_whole_keep_their_shape_and_come_back_from_disk(world, tmp_path):
    seen, subjects, _ = world
    # Eleven by seven fill no square of tokens: as tokens they are refused, whole they are one vector.
    values = (seen.values @ np.random.default_rng(3).standard_normal((8, 77))).reshape(-1, 11, 7)
    pictures = Latents(values.astype(np.float32), seen.ids, space="pixels")
    with pytest.raises(DataError, match="do not fill a grid"):
        BrainIT(**QUICK).fit(subjects[1][0], pictures)
    encoder = BrainIT(**QUICK, whole=True).fit(subjects[1][0], pictures)
    predicted = encoder.predict(subjects[1][1])
    assert predicted.shape == (60, 11, 7) and encoder.targets_["latents"].size == (1, 77)
    assert two_way_identification(predicted, pictures.select(predicted.ids)).value > 0.95
    loaded = load_encoder(encoder.save(tmp_path / "whole"))
    np.testing.assert_array_equal(loaded.predict(subjects[1][1]).values, predicted.values)


def test_many_tokens_are_told_apart_from_a_hundred_trials():
    rng = np.random.default_rng(0)
    driving = Latents(rng.standard_normal((140, 16)).astype(np.float32), latents(140).ids, space="toy")
    mixed = (driving.values @ rng.standard_normal((16, 49 * 6)) / 4).astype(np.float32)
    tokens = Latents(mixed.reshape(140, 49, 6), driving.ids, space="tokens")
    wrong = Latents(tokens.values[rng.permutation(140)], driving.ids, space="tokens")
    trials, _ = simulate_subject(driving, seed=1, n_repetitions=1, drift=0.0, rois=ROIS, ceiling=(0.3, 0.7))
    train, test = (
        trials.select(trials=np.isin(trials.stimulus_ids, ids)) for ids in (driving.ids[:100], driving.ids[100:])
    )
    quick = QUICK | {"voxel_training": {"n_epochs": 15}, "training": {"n_epochs": 20, "learning_rate": 3e-3}}
    for truth, low, high in ((tokens, 0.85, 1.0), (wrong, 0.4, 0.6)):  # with one linear read-out for all: 0.60
        predicted = BrainIT(**quick).fit(train, truth, features=driving).predict(test)
        assert low < two_way_identification(predicted, truth.select(predicted.ids)).value < high


@pytest.mark.slow
def test_tokens_maps_and_several_spaces_at_once(world):
    seen, subjects, _ = world
    rng = np.random.default_rng(3)
    tokens = Latents((seen.values @ rng.standard_normal((8, 30))).reshape(-1, 5, 6), seen.ids, space="tokens")
    maps = Latents((seen.values @ rng.standard_normal((8, 48))).reshape(-1, 3, 4, 4), seen.ids, space="maps")
    encoder = BrainIT(**QUICK).fit(subjects[1][0], {"semantic": tokens, "layout": maps}, features=seen)
    made = encoder.predict(subjects[1][1])
    assert made["semantic"].shape == (60, 5, 6) and made["layout"].shape == (60, 3, 4, 4)
    for name, truth in {"semantic": tokens, "layout": maps}.items():
        assert made[name].space == truth.space
        assert two_way_identification(made[name], truth.select(made[name].ids)).value > 0.9
    assert encoder.score(subjects[1][1], {"semantic": tokens, "layout": maps}) > 0.4


def test_another_brain_or_space_is_refused(world):
    seen, subjects, encoder = world
    _, test = subjects[1]
    with pytest.raises(DataError, match=r"not fitted on subject \['8'\]"):
        encoder.predict(subjects[8][1])
    with pytest.raises(DataError, match="other units or times"):
        encoder.predict(test.select(units=np.arange(100)))
    with pytest.raises(DataError, match="119 features, but BrainIT is expecting 120"):
        encoder.predict(test.matrix()[:, :119])
    with pytest.raises(DataError, match="119 features, but subject '2' has 120"):
        encoder.predict(test.matrix()[:, :119], subject="2")
    with pytest.raises(DataError, match="unknown subject '7'"):
        encoder.predict(test.matrix(), subject="7")
    with pytest.raises(DataError, match="subject '1' was fitted on already"):
        encoder.transfer(subjects[1][0], seen)
    with pytest.raises(DataError, match="of another model or revision"):
        encoder.transfer(subjects[8][0], latents(space="other"))
    narrow = Latents(seen.values[:, :5], seen.ids, space="toy", meta={"model": "m"})
    with pytest.raises(DataError, match="other latents"):
        encoder.transfer(subjects[8][0], narrow)
    with pytest.raises(DataError, match="transfer needs Trials"):
        encoder.transfer(test.matrix(), seen)
    with pytest.raises(DataError, match="mapping of subject to Trials"):
        BrainIT().fit({"1": test.matrix()}, seen)
    with pytest.raises(DataError, match="without latents"):
        BrainIT().fit(test, seen.select(seen.ids[:5]))
    for sizes in ({"width": 30}, {"n_cross": 0}, {"n_voxels": 0}, {"n_clusters": 0}):
        with pytest.raises(DataError, match="no transformer"):
            BrainIT(**sizes).fit(test, seen)


def test_corrupt_and_foreign_checkpoints_are_refused(world, tmp_path):
    _, _, encoder = world
    folder = encoder.save(tmp_path / "e")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"params": config["params"] | {"width": 64}}))
    with pytest.raises(DataError, match="do not make a BrainIT"):
        load_encoder(folder)
    (folder / "config.json").write_text(json.dumps(config | {"notes": {}}))
    with pytest.raises(DataError, match="do not make a BrainIT"):
        load_encoder(folder)
    (folder / "model.safetensors").write_bytes(b"\x80\x04not weights")
    found = sha256_file(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config | {"sha256": found}))
    with pytest.raises(DataError, match="not a safetensors file"):
        load_encoder(folder)


def test_the_published_configuration_grows_by_its_embeddings_alone():
    model = BrainIT.published()
    shape = Shape(**{name: getattr(model, name) for name in Shape.__dataclass_fields__})
    n_voxels = 1000
    with torch.device("meta"):
        network = BrainITNetwork(shape, {"semantic": (256, 1664), "layout": (7190, 512)})
        network.add_subject(torch.zeros(n_voxels, dtype=torch.int64), torch.zeros(n_voxels, 256))
        before = sum(one.numel() for one in network.parameters())
        network.add_subject(torch.zeros(n_voxels, dtype=torch.int64), torch.zeros(n_voxels, 256))
    assert sum(one.numel() for one in network.parameters()) - before == n_voxels * 512 * 2
    assert len(network.branches[0].among_clusters) == 5 and len(network.branches[0].to_clusters) == 6
    # By hand: pool, norm and cluster places; 11 blocks; memory norm; queries; read-out.
    block = 2 * 512 + (4 * 512**2 + 4 * 512) + 2 * 512 + (2 * 4 * 512**2 + 4 * 512 + 512)
    shared = 512**2 + 512 + 128 + 128 * 512 + 2 * 512 + 128 * 512 + 11 * block + 2 * 512
    # Of the read-out: two norms, two maps to 2048 that are multiplied, and one to the channels.
    read = 4 * 512 + 2 * (512 * 2048 + 2048)
    heads = sum(n * 512 + read + 2048 * width + width for n, width in ((256, 1664), (7190, 512)))
    assert before == 2 * shared + heads + n_voxels * 512 * 2


def test_latents_become_tokens_and_come_back():
    rng = np.random.default_rng(0)
    for shape in ((), (7,), (5, 3), (2, 4, 3)):
        values = rng.standard_normal((6, *shape)).astype(np.float32)
        target = TokenTarget.of(values)
        tokens = as_tokens(values)
        assert tokens.shape == (6, *target.size)
        np.testing.assert_array_equal(target.from_tokens(tokens), values)
    maps = rng.standard_normal((6, 2, 4, 3))
    np.testing.assert_array_equal(as_tokens(maps)[1, 5], maps[1, :, 1, 2])
    two = TokenTarget.of(np.zeros((6, 5, 3)), sizes=(2, 3))
    values = rng.standard_normal((40, 5, 3)) * np.array([1, 1, 9, 9, 9])[:, None]
    mean, spread = two.learn_scale(values, name="t")
    np.testing.assert_allclose(mean, values.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(spread[:2, 0], np.sqrt(values[:, :2].var(axis=0).mean()), rtol=1e-5)
    with pytest.raises(DataError, match="do not add up"):
        TokenTarget.of(values, sizes=(2, 2))


def test_contrast_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    predicted, true = rng.standard_normal((2, 5, 3, 4))
    pictures = [0, 1, 0, 2, 3]
    total = 0.0
    for i in range(5):
        for t in range(3):
            a = predicted[i, t] / np.linalg.norm(predicted[i, t])
            others = [j for j in range(5) if j == i or pictures[j] != pictures[i]]
            scores = {j: a @ true[j, t] / np.linalg.norm(true[j, t]) / 0.1 for j in others}
            total -= scores[i] - np.log(sum(np.exp(score) for score in scores.values()))
    made = token_contrast(torch.from_numpy(predicted), torch.from_numpy(true), torch.tensor(pictures))
    assert made.item() == pytest.approx(total / 15)
