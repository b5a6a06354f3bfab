"""Guidance of a real Stable Diffusion class, from a small local folder: beside the pipelines of diffusers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainalign.analysis.synthesis import GaussianMixture, Guided, PictureEncoder, synthesize
from brainalign.analysis.synthesis.guidance import guided_noise, null_condition, sample_guided
from brainalign.errors import DataError
from brainalign.latents.mini import WEIGHTS
from brainalign.latents.network import precision
from brainalign.reconstruction import load_generator
from brainalign.voxelwise import Ridge

STEPS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4, attention_head_dim=4, cross_attention_dim=8,
    )  # fmt: skip
    with torch.no_grad():  # fresh weights attend evenly; these choose
        unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight.mul_(20)
    plan = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    made = tmp_path_factory.mktemp("sd") / "stable-diffusion"
    StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(WEIGHTS / "unclip" / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(WEIGHTS / "unclip" / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(WEIGHTS / "unclip" / "tokenizer"),
        unet=unet,
        scheduler=DDIMScheduler(**plan, clip_sample=False, timestep_spacing="trailing", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def generator(folder):
    return load_generator(f"img2img:{folder}", device="cpu")


def start(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def bright(pictures: torch.Tensor) -> torch.Tensor:
    return pictures[:, 0].mean((1, 2)) - pictures[:, 2].mean((1, 2))


def own(generator, **options) -> np.ndarray:
    sampler = Guided(scale=0.0, steps=STEPS, solver="ddim", **options)
    made, _ = sample_guided(generator, bright, start(), sampler, null_condition(generator, 2))
    return made.permute(0, 2, 3, 1).numpy()


def theirs(kind: str, folder, **options) -> np.ndarray:
    import diffusers

    pipeline = getattr(diffusers, kind).from_pretrained(folder, safety_checker=None, **precision(torch.float32))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline([""] * 2, num_inference_steps=STEPS, guidance_scale=1.0, latents=start(), output_type="np",
                    **options).images  # fmt: skip


def test_free_samples_are_the_pipelines(generator, folder):
    assert np.abs(own(generator) - theirs("StableDiffusionPipeline", folder)).max() < 0.01


def test_self_attention_guidance_is_that_of_diffusers(generator, folder):
    plain = own(generator)
    for scale in (0.75, 3.0):
        found = own(generator, self_attention=scale)
        assert np.abs(found - theirs("StableDiffusionSAGPipeline", folder, sag_scale=scale)).max() < 0.01
        assert np.abs(found - plain).max() > 0.1 * scale, np.abs(found - plain).max()


def test_networks_without_attention_in_the_middle_are_refused():
    mixture = GaussianMixture(torch.zeros(1, 3, 2, 2), torch.tensor(0.1))
    for generator in (mixture, load_generator("mini", device="cpu")):
        with pytest.raises(DataError, match="no self-attention"):
            synthesize(_Bright(), lambda r: r[:, 0], generator=generator, sampler=Guided(self_attention=0.75))
    with pytest.raises(DataError, match="cannot be done"):
        Guided(self_attention=-1.0)


class _Bright:
    units = None

    def __call__(self, pictures):
        return bright(pictures)[:, None]


def test_stable_diffusion_is_led(generator):
    sampler = Guided(scale=300.0, steps=3, self_attention=0.75, batch_size=2)
    led, free, turned = (
        synthesize(_Bright(), lambda r: r[:, 0], generator=generator, n=2, sampler=replace(sampler, scale=scale))
        for scale in (300.0, 0.0, -300.0)
    )
    assert (led.table["value"] > free.table["value"]).all() and (turned.table["value"] < free.table["value"]).all()
    rng = np.random.default_rng(0)
    guide = PictureEncoder(Ridge().fit(rng.standard_normal((40, 128)), rng.standard_normal((40, 3))), "mini",
                           device="cpu")  # fmt: skip
    values = [
        synthesize(guide, lambda r: r[:, 0], generator=generator, n=2,
                   sampler=replace(sampler, scale=scale, lead_from=0.05)).table["value"].mean()
        for scale in (0.0, 30.0)
    ]  # fmt: skip
    assert values[1] > values[0]


def test_decoder_in_checkpoints_and_tiles_has_the_same_gradients(generator):
    told, x = null_condition(generator, 2), start()

    def noise(**options) -> torch.Tensor:
        return guided_noise(generator, x, 300, told, bright, Guided(scale=500.0, **options))[0]

    free, whole = noise(lead_from=0.9), noise()
    push = whole - free
    assert push.abs().max() > 0.01
    for options in ({"checkpoint": True}, {"tile": 16}, {"tile": 99, "checkpoint": True}):
        assert torch.allclose(noise(**options), whole, atol=1e-6), options
    # Squares see other neighbours (norms, attention) at their borders: near, not equal.
    tiled = noise(tile=8) - free
    assert torch.corrcoef(torch.stack([tiled.flatten(), push.flatten()]))[0, 1] > 0.8
    assert 0.5 < float(tiled.norm() / push.norm()) < 2
