"""`BrainIT.refine`: the embedded diffusion model teaches the transformer, and is itself left as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import brainalign as ba
from brainalign.encoders import BrainIT, load_encoder
from brainalign.encoders.brain_it.diffusion import ThroughDiffusion
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.reconstruction import load_generator
from brainalign.scoring.identification import two_way_identification
from tests.learning.test_resume import die_after, killed_by

SIZES = {"n_clusters": 6, "width": 32, "n_cross": 1, "embedding": 8, "voxel_training": {"n_epochs": 5}}


def world(n: int, n_train: int):
    scenes = ba.draw_scenes(n, seed=2)
    meaning, images = (ba.extract(scenes, one, cache=False, device="cpu") for one in ("mini", "mini:vae"))
    rois = dict.fromkeys(("V4", "LOC", "FFA", "PPA"), 30)
    trials, _ = ba.simulate_subject(meaning, seed=3, n_repetitions=1, drift=0.0, n_dimensions=24, rois=rois)
    first = np.isin(trials.stimulus_ids, meaning.ids[:n_train])
    return meaning, images, trials.select(trials=first), trials.select(trials=~first)


@pytest.fixture(scope="module")
def small():
    meaning, images, train, test = world(40, 24)
    options = {"n_epochs": 2, "batch_size": 12, "checkpoint_every": 1}
    encoder = BrainIT(**SIZES, training={"n_epochs": 10}, diffusion_training=options).fit(train, meaning)
    return meaning, images, train, test, encoder, load_generator("mini", device="cpu")


def error_of(generator, told: np.ndarray, images: Latents) -> float:
    """Mean over several times and noises."""
    n, clean = len(told), torch.as_tensor(np.asarray(images.values))
    times = [torch.full((n,), t) for t in (350, 550, 750, 950)]
    with torch.no_grad():
        found = [generator.diffusion_error(clean, {"clip": torch.as_tensor(told)}, t, list(range(n))) for t in times]
    return float(torch.stack(found).mean())


def test_the_gradient_reaches_every_part_of_the_branch_and_nothing_of_the_denoiser(small):
    meaning, images, train, _, encoder, generator = small
    before = {name: one.clone() for name, one in generator.pipeline.unet.state_dict().items()}
    network = BrainIT(**SIZES, training={"n_epochs": 1}).fit(train, meaning).network_
    loss = ThroughDiffusion(generator, {"clip": "latents"}, encoder._token_loss(), anchor=0.0)
    batch = {
        "responses": torch.from_numpy(train.matrix()[:4].astype(np.float32)),
        "subject": torch.zeros(4, dtype=torch.int64),
        "images": torch.as_tensor(images.at(train.stimulus_ids[:4])),
    }
    with generator.frozen():
        loss(network, batch)["loss"].backward()
    for name, one in network.named_parameters():
        assert one.grad is not None and torch.isfinite(one.grad).all(), name
        assert one.grad.abs().max() > 0, name
    assert all(one.grad is None for one in generator.pipeline.unet.parameters())
    refined = encoder.refine(train, meaning, generator=generator, images=images)
    assert all(torch.equal(one, before[name]) for name, one in generator.pipeline.unet.state_dict().items())
    changed = [name for name, one in encoder.network_.state_dict().items()
               if not torch.equal(one, refined.network_.state_dict()[name])]  # fmt: skip
    assert any("embeddings" in name for name in changed) and any("among_clusters" in name for name in changed)
    assert {"diffusion", "loss_latents"} <= set(refined.history_[0])


def test_killed_and_resumed_it_ends_with_the_same_bits_which_come_back_from_disk(small, tmp_path):
    meaning, images, train, test, encoder, generator = small
    given = {"generator": generator, "images": images}
    whole = encoder.refine(train, meaning, **given)

    def work() -> None:
        generator.diffusion_error = die_after(generator.diffusion_error, 4)
        encoder.refine(train, meaning, **given, folder=tmp_path / "run")

    assert killed_by(work) == 9
    resumed = encoder.refine(train, meaning, **given, folder=tmp_path / "run")
    for name, one in whole.network_.state_dict().items():
        assert torch.equal(one, resumed.network_.state_dict()[name]), name
    loaded = load_encoder(whole.save(tmp_path / "encoder"))
    np.testing.assert_array_equal(loaded.predict(test).values, whole.predict(test).values)
    assert not np.array_equal(encoder.predict(test).values, whole.predict(test).values)


def test_what_does_not_belong_together_is_refused(small):
    meaning, images, train, test, encoder, generator = small
    with pytest.raises(DataError, match="is no diffusion model"):
        encoder.refine(train, meaning, generator=load_generator("mini:vae", device="cpu"), images=images)
    with pytest.raises(DataError, match="not latents that mini denoises"):
        encoder.refine(train, meaning, generator=generator, images=meaning)
    with pytest.raises(DataError, match="subject '7'"):
        encoder.refine(train.with_trials(subject="7"), meaning, generator=generator, images=images)
    with pytest.raises(DataError, match="without latents"):
        encoder.refine(train, meaning, generator=generator, images=images.select(images.ids[:3]))
    other = Latents(meaning.values, meaning.ids, space="elsewhere")
    with pytest.raises(DataError, match="led by 'clip', which is not predicted"):
        BrainIT(**SIZES, training={"n_epochs": 1}).fit(train, other).refine(
            train, other, generator=generator, images=images
        )
    broken = Latents(
        np.where(np.arange(40)[:, None, None, None] == 0, np.nan, images.values), images.ids, space="mini:vae"
    )
    with pytest.raises(DataError, match="images contain NaN"):
        encoder.refine(train, meaning, generator=generator, images=broken)
    seen = encoder.refine(test, meaning, generator=generator, images=images)
    with pytest.raises(LeakageError):  # refined on it, an encoder has seen it
        seen.score(test, meaning)


def test_arrays_are_refined_row_by_row(small):
    meaning, images, train, test, _, generator = small
    X, ids = train.matrix()[:12], train.stimulus_ids[:12]
    encoder = BrainIT(**SIZES, training={"n_epochs": 1}, diffusion_training={"n_epochs": 1}, anchor=0.0)
    refined = encoder.fit(X, meaning.at(ids)).refine(X, meaning.at(ids), generator=generator, images=images.at(ids))
    assert set(refined.history_[0]) >= {"diffusion"} and refined.history_[0]["loss"] == refined.history_[0]["diffusion"]
    assert refined.predict(test.matrix()).shape == (16, 128)
    with pytest.raises(DataError, match="anchor is a weight"):
        encoder.set_params(anchor=-1.0).refine(X, meaning.at(ids), generator=generator, images=images.at(ids))


@pytest.mark.slow
def test_pictures_never_seen_are_denoised_better_and_a_shuffled_brain_gains_nothing():
    meaning, images, train, test = world(120, 90)
    generator = load_generator("mini", device="cpu")
    encoder = BrainIT(8, 32, n_cross=1, embedding=16, training={"n_epochs": 40})
    ids = np.array(meaning.ids)
    order = np.concatenate([np.random.default_rng(0).permutation(90), np.arange(90, 120)])
    found = {}
    for name, rows in (("own", np.arange(120)), ("shuffled", order)):
        pairs = {one: Latents(one.values[rows], ids, space=one.space, meta=one.meta) for one in (meaning, images)}
        first = encoder.fit(train, pairs[meaning])
        for stage in (first, first.refine(train, pairs[meaning], generator=generator, images=pairs[images])):
            predicted = stage.predict(test)
            truth, clean = meaning.select(predicted.ids), images.select(predicted.ids)
            gain = error_of(generator, np.roll(predicted.values, 7, axis=0), clean) - error_of(
                generator, predicted.values, clean
            )
            found.setdefault(name, []).append((two_way_identification(predicted, truth).value,
                                               error_of(generator, predicted.values, clean), gain))  # fmt: skip
    (first, refined), (wrong_first, wrong) = found["own"], found["shuffled"]
    assert refined[1] < first[1] - 0.05 and refined[0] > first[0] - 0.03, found
    assert refined[2] > 0.08 and abs(wrong[2]) < 0.08, found  # what one's own prediction tells over another's
    assert abs(wrong[0] - 0.5) < 0.15 and abs(wrong_first[0] - 0.5) < 0.15, found
    assert wrong[1] > refined[1] + 0.02, found
