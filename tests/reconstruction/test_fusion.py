"""Fusion through a real StableUnCLIP pipeline of random weights: the loop of diffusers itself is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.learning.randomness import seeded
from brainalign.reconstruction.fusion import Fusion

PROMPT = torch.zeros(1, 4, 16)
WIDTH = 12


@pytest.fixture(scope="module")
def pipeline():
    from diffusers import AutoencoderKL, DDPMScheduler, StableUnCLIPImg2ImgPipeline, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    with seeded(0):
        unet = UNet2DConditionModel(
            sample_size=8,
            layers_per_block=1,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=8,
            norm_num_groups=8,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * WIDTH,
        )
        vision = CLIPVisionConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            latent_channels=4,
        )
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=None,
        image_encoder=CLIPVisionModelWithProjection(vision),
        image_normalizer=StableUnCLIPImageNormalizer(WIDTH),
        image_noising_scheduler=DDPMScheduler(),
        tokenizer=None,
        text_encoder=None,
        unet=unet.eval(),
        scheduler=DDPMScheduler(),
        vae=vae.eval(),
    )


class Layouts:
    """Stands for an inversion: tokens are pictures already."""

    def invert(self, tokens):
        return tokens.values


def inputs(n: int = 2):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, WIDTH)).astype(np.float32), rng.random((n, 16, 16, 3), dtype=np.float32)


def test_from_a_step_on_it_is_the_loop_of_ddim(pipeline):
    from diffusers import DDIMScheduler

    embeddings, layouts = inputs(1)
    n_steps, start, guidance = 6, 2, 3.0
    made = Fusion(pipeline, Layouts(), start=start, n_steps=n_steps, guidance=guidance, prompt_embeds=PROMPT).fuse(
        embeddings, layouts, seed=5
    )
    ddim = DDIMScheduler.from_config(pipeline.scheduler.config)
    ddim.set_timesteps(n_steps)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(5).generate_state(1)[0]))
    with torch.no_grad():
        picture = torch.from_numpy(layouts).permute(0, 3, 1, 2) * 2 - 1
        x = pipeline.vae.encode(picture).latent_dist.mode() * pipeline.vae.config.scaling_factor
        level = ddim.alphas_cumprod[ddim.timesteps[start]]
        x = level.sqrt() * x + (1 - level).sqrt() * torch.randn(x.shape, generator=generator)
        given = pipeline.noise_image_embeddings(torch.from_numpy(embeddings), 0, generator=generator)
        for t in ddim.timesteps[start:]:
            free = pipeline.unet(x, t, PROMPT, class_labels=torch.zeros_like(given)).sample
            told = pipeline.unet(x, t, PROMPT, class_labels=given).sample
            x = ddim.step(free + guidance * (told - free), t, x).prev_sample
        expected = pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample
    expected = (expected / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(made[0], expected, atol=1e-4)


def test_a_late_start_is_the_layout_and_an_early_one_is_not(pipeline):
    embeddings, layouts = inputs()
    options = {"n_steps": 6, "prompt_embeds": PROMPT}
    kept = Fusion(pipeline, Layouts(), start=6, **options).fuse(embeddings, layouts)
    with torch.no_grad():
        sent = torch.from_numpy(layouts).permute(0, 3, 1, 2) * 2 - 1
        rendered = pipeline.vae.decode(pipeline.vae.encode(sent).latent_dist.mode()).sample / 2 + 0.5
    np.testing.assert_allclose(kept, rendered.clamp(0, 1).permute(0, 2, 3, 1).numpy(), atol=1e-4)
    distances = [
        np.abs(Fusion(pipeline, Layouts(), start=start, **options).fuse(embeddings, layouts) - kept).mean()
        for start in (0, 5)
    ]
    assert distances[0] > distances[1] > 0


def test_pictures_by_id_whatever_the_order_of_the_layouts(pipeline):
    embeddings, layouts = inputs()
    scheduler = pipeline.scheduler
    meaning = Latents(embeddings, ["a", "b"], space="semantic")
    fusion = Fusion(pipeline, Layouts(), start=4, n_steps=6, prompt_embeds=PROMPT)
    made = fusion.generate({"semantic": meaning, "layout": Latents(layouts[::-1], ["b", "a"], space="layout")}, seed=1)
    expected = fusion.fuse(embeddings, layouts, seed=1)
    for number, one in enumerate(made.ids):
        assert np.abs(made.array(one) / 255 - expected[number]).max() < 0.003
    assert pipeline.scheduler is scheduler
    with pytest.raises(DataError, match="joins two latent spaces"):
        fusion.generate({"semantic": meaning})
    with pytest.raises(DataError, match="not those of the pipeline"):
        fusion.fuse(embeddings[:, :5], layouts)
    with pytest.raises(DataError, match="one picture a latent"):
        fusion.generate({"semantic": meaning, "layout": meaning}, n=2)
    with pytest.raises(DataError, match="cannot start there"):
        Fusion(pipeline, Layouts(), start=9, n_steps=6)
