"""Layout and meaning joined: from true latents, against a loop of one's own, and from a simulated brain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import brainalign as ba
from brainalign.encoders import BrainIT
from brainalign.errors import DataError
from brainalign.reconstruction import load_generator
from brainalign.reconstruction.generators.inputs import picture_seed

INVERSION = {"n_steps": 25, "learning_rate": 2e-2, "average": 0.8, "channels": (16, 16, 16, 16)}
QUICK = {"device": "cpu", "inversion": INVERSION, "start": 4, "n_steps": 10}


@pytest.fixture(scope="module")
def world():
    scenes = ba.draw_scenes(8, seed=5)
    given = {"cache": False, "device": "cpu"}
    meaning, layout = ba.extract(scenes, "mini", **given), ba.extract(scenes, "maps:mini", dtype="float16", **given)
    return scenes, meaning, layout


def stack(pictures: ba.Stimuli, ids=None) -> np.ndarray:
    return np.stack([pictures.array(one) for one in ids or pictures.ids]).astype(np.float32) / 255


def alike(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Correlation of each picture with its own, less the mean over those of the others."""
    both = np.corrcoef((made - made.mean(0)).reshape(len(made), -1), (true - true.mean(0)).reshape(len(true), -1))
    own = both[: len(made), len(made) :]
    return np.diag(own) - (own.sum(1) - np.diag(own)) / (len(own) - 1)


def test_it_is_inversion_then_the_loop_of_ddim_from_a_step_on(world):
    from diffusers import DDIMScheduler

    _, meaning, layout = world
    ids = meaning.ids[:1]
    fusion = load_generator("fusion:mini", **QUICK, contrast=0.8)
    made = fusion.generate({"clip": meaning.select(ids), "layout": layout.select(ids)}, seed=5)
    drawn = load_generator("inversion:mini", device="cpu", **INVERSION).generate(layout.select(ids), seed=5)
    pipeline, guidance = fusion.diffusion.pipeline, fusion.diffusion.guidance
    ddim = DDIMScheduler.from_config(pipeline.scheduler.config)
    ddim.set_timesteps(10)
    generator = torch.Generator().manual_seed(seed := picture_seed(5, ids[0], 0))
    told = fusion.diffusion.condition({"clip": meaning.select(ids).values}, [seed])
    with torch.no_grad():
        picture = torch.from_numpy(stack(drawn)).permute(0, 3, 1, 2) * 2 - 1
        x = pipeline.vae.encode(picture).latent_dist.mode() * pipeline.vae.config.scaling_factor
        level = ddim.alphas_cumprod[ddim.timesteps[4]]
        x = level.sqrt() * x + (1 - level).sqrt() * torch.randn(x.shape, generator=generator)
        for t in ddim.timesteps[4:]:
            led, free = (pipeline.unet(x, t, **one).sample for one in (told.led, told.free))
            x = ddim.step(free + guidance * (led - free), t, x).prev_sample
        expected = pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample
    expected = (expected / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    grey = (expected @ [0.299, 0.587, 0.114]).mean()
    expected = np.clip(grey + 0.8 * (expected - grey), 0, 1)
    # The layout passed through 8 bits on this side alone.
    np.testing.assert_allclose(stack(made), expected, atol=0.02)


def test_the_later_it_starts_the_more_is_left_of_the_layout(world):
    scenes, meaning, layout = world
    ids = meaning.ids[:2]
    other = ba.Latents(meaning.values[4:6], ids, space="mini")  # a meaning of other pictures
    true = stack(scenes, ids)
    errors = []
    for start in (0, 5, 9):
        fusion = load_generator("fusion:mini", **(QUICK | {"start": start}))
        errors.append(
            float(np.abs(stack(fusion.generate({"clip": other, "layout": layout.select(ids)})) - true).mean())
        )
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.slow
def test_a_layout_predicted_from_a_brain_and_its_meaning_become_the_picture_seen():
    """Responses to predicted tokens of five maps, their inversion, and diffusion under predicted semantics."""
    scenes = ba.draw_scenes(90, seed=5)
    given = {"cache": False, "device": "cpu"}
    meaning, layout = ba.extract(scenes, "mini", **given), ba.extract(scenes, "maps:mini", dtype="float16", **given)
    low = ba.Latents(np.asarray(layout.values, np.float32).reshape(90, -1)[:, ::97], layout.ids, space="low")
    options = {"n_repetitions": 2, "seed": 1, "ceiling": (0.8, 0.95), "n_dimensions": 30}
    early, late = (
        ba.simulate_subject(one, rois=rois, **options)[0].average("stimulus_id")
        for one, rois in ((low, {"V1": 150}), (meaning, {"LOC": 100}))
    )
    place = {one: row for row, one in enumerate(late.stimulus_ids)}
    responses = np.hstack([early.matrix(), late.matrix()[[place[one] for one in early.stimulus_ids]]])
    trials = ba.Trials(responses, early.trials, stimuli=scenes)
    train, test = (trials.select(trials=one) for one in (np.arange(90) < 80, np.arange(90) >= 80))
    encoder = BrainIT(
        8, 32, n_cross=1, embedding=16, n_tokens=32, voxel_training={"n_epochs": 15}, training={"n_epochs": 25}
    ).fit(train, {"clip": meaning, "layout": layout}, features=meaning)
    predicted = encoder.predict(test)
    assert predicted["layout"].shape == (10, 565, 384) and predicted["layout"].space == "maps:mini"
    fusion = load_generator("fusion:mini", **(QUICK | {"inversion": INVERSION | {"n_steps": 40}}))
    order = np.roll(np.arange(10), 3)  # the brain of another picture
    wrong = {name: ba.Latents(one.values[order], one.ids, space=one.space) for name, one in predicted.items()}
    true = stack(scenes, predicted["clip"].ids)
    found, other = (alike(stack(fusion.generate(one)), true) for one in (predicted, wrong))
    assert found.mean() > 0.25 and (found > 0).mean() >= 0.8, found
    assert abs(other.mean()) < 0.15, other


def test_what_cannot_be_joined_is_refused(world):
    _, meaning, layout = world
    fusion = load_generator("fusion:mini", **QUICK)
    with pytest.raises(DataError, match=r"needs latents(.|\n)*layout"):
        fusion.generate({"clip": meaning})
    with pytest.raises(DataError, match="another shape"):
        fusion.generate({"clip": meaning, "layout": ba.Latents(layout.values[:, :9], layout.ids, space="maps:mini")})
    with pytest.raises(DataError, match="another revision"):
        meta = {**layout.meta, "weights_sha256": "0" * 64}
        fusion.generate(
            {"clip": meaning, "layout": ba.Latents(layout.values, layout.ids, space="maps:mini", meta=meta)}
        )
    with pytest.raises(DataError, match="cannot start there"):
        load_generator("fusion:mini", **(QUICK | {"start": 10}))
    with pytest.raises(DataError, match="cannot join layout and meaning"):
        load_generator("fusion:mini:vae", maps="mini", inversion=INVERSION, device="cpu")
    with pytest.raises(DataError, match=r"cannot be made of these options(.|\n)*steps_"):
        load_generator("inversion:mini", device="cpu", steps_=3)
    with pytest.raises(DataError, match="no tokens of maps are known"):
        load_generator("inversion:timm:resnet18", device="cpu")
