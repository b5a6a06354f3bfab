"""Pictures to responses with gradients: the network's own transform, and the embedded models end to end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import brainalign as ba
from brainalign.analysis.synthesis import Guided, PictureEncoder, PlugAndPlay, synthesize
from brainalign.analysis.synthesis.encoder import frozen, picture_transform
from brainalign.latents import extract
from brainalign.latents.registry import load_model
from brainalign.loaders.simulated import load_simulated
from brainalign.reconstruction import judge_scenes
from brainalign.scenes import draw_scenes
from brainalign.voxelwise import Ridge


@pytest.mark.parametrize(
    "model, size, tolerance", [("mini", 64, 1e-5), ("mini", 96, 0.03), ("offline:efficientnet_lite0", 64, 0.03)]
)
def test_transform_is_the_networks_own(model, size, tolerance):
    network = load_model(model, device="cpu")
    scenes = draw_scenes(3, seed=5, size=size)
    own = network.as_batch([scenes.image(one) for one in scenes.ids])
    pixels = torch.from_numpy(np.stack([scenes.array(one) for one in scenes.ids])).permute(0, 3, 1, 2) / 255
    found = picture_transform(network)(pixels)
    assert found.shape == own.shape
    assert float((found - own).abs().mean()) < tolerance  # PIL rounds to whole numbers between


@pytest.fixture(scope="module")
def guide():
    trials, _ = load_simulated(
        None, None, n_stimuli=160, model="mini", prefers={"PPA": "category == 'house'"}, rois={"PPA": 10, "V1": 10},
        n_repetitions=2, n_dimensions=2,
    )  # fmt: skip
    train, _ = ba.split(trials, by="stimulus_id", test_size=0.5, seed=0)
    return PictureEncoder(Ridge().fit(extract(trials.stimuli, "mini"), train), "mini", units=trials, device="cpu")


def test_responses_are_the_models_with_gradients(guide):
    scenes = draw_scenes(4, seed=6)
    pixels = torch.from_numpy(np.stack([scenes.array(one) for one in scenes.ids])).permute(0, 3, 1, 2) / 255
    pixels.requires_grad_()
    expected = guide.model.predict(extract(scenes, "mini"))
    found = guide(pixels)
    assert np.allclose(found.detach(), expected, atol=1e-4) and np.allclose(guide.predict(scenes), expected, atol=1e-4)
    with frozen(guide.network):
        assert not any(one.requires_grad for one in guide.network.module.parameters())
        (gradient,) = torch.autograd.grad(guide(pixels)[:, 0].sum(), pixels)
    assert gradient.abs().max() > 0


@pytest.mark.slow
def test_the_embedded_pipeline_is_led(guide):
    generator = ba.load_generator("mini", device="cpu")
    base = Guided(scale=0.0, steps=8, solver="ddim", lead_from=0.05, batch_size=4)
    values = {}
    for name, options in {
        "free": base,
        "led": replace(base, scale=30.0),
        "checkpoint": replace(base, scale=30.0, checkpoint=True),
        "tile": replace(base, scale=30.0, tile=8),
        "bfloat16": replace(base, scale=30.0, precision="bfloat16"),
    }.items():
        made = synthesize(guide, "roi == 'PPA'", generator=generator, n=4, sampler=options)
        values[name] = made.table["value"].mean()
    assert min(values[name] for name in values if name != "free") > values["free"] + 0.1
    assert values["checkpoint"] == pytest.approx(values["led"], abs=0.02)


@pytest.mark.slow
def test_latent_prior_shows_the_planted_category(guide):
    bank = extract(draw_scenes(600, seed=21), "mini")
    generator = ba.load_generator("mini", device="cpu", steps=10)
    made = synthesize(guide, "roi == 'PPA'", generator=generator, n=6, sampler=PlugAndPlay(bank, scale=4.0))
    assert (judge_scenes(made)["category"] == "house").mean() > 0.6
