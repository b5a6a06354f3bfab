"""Layout and meaning in one picture: a predicted layout, denoised under predicted semantics from part of the way on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.reconstruction.simple import as_uint8
from brainalign.stimuli import Stimuli

__all__ = ["Fusion"]


class Fusion:
    """Pictures from a layout branch and a semantic branch, as Brain-IT joins them.

    The layout (tokens of feature maps, inverted by a `DeepImagePrior`) is encoded by the autoencoder of a StableUnCLIP
    pipeline of diffusers and noised to the level of step `start`; from there the pipeline denoises it under the
    semantic embedding, by DDIM without added noise. An early `start` leaves more to the semantics, a late one more to
    the layout; ``start == n_steps`` returns the layout as the autoencoder renders it.

    Parameters
    ----------
    pipeline : diffusers.StableUnCLIPImg2ImgPipeline
        As loaded; its scheduler is put back after use.
    inversion : DeepImagePrior
    semantic, layout : str
        Names of the latent spaces.
    start, n_steps : int
        14 of 38 in the paper.
    guidance : float
        Of the classifier-free guidance.
    prompt_embeds : tensor, optional
        Of the empty prompt; made by the pipeline's text encoder otherwise.
    """

    def __init__(
        self,
        pipeline: Any,
        inversion: Any,
        *,
        semantic: str = "semantic",
        layout: str = "layout",
        start: int = 14,
        n_steps: int = 38,
        guidance: float = 5.0,
        prompt_embeds: torch.Tensor | None = None,
    ) -> None:
        if not 0 <= start <= n_steps or n_steps < 1:
            raise DataError("denoising cannot start there", expected="0 <= start <= n_steps", found=(start, n_steps))
        self.pipeline, self.inversion = pipeline, inversion
        self.semantic, self.layout = semantic, layout
        self.start, self.n_steps, self.guidance = start, n_steps, guidance
        self.prompt_embeds = prompt_embeds

    def generate(self, latents: Mapping[str, Latents], n: int = 1, seed: int = 0) -> Stimuli:
        """Pictures by the ids of the latents.

        Parameters
        ----------
        latents : dict of str to Latents
            Semantic embeddings (n_stimuli, d) and layout tokens, of the same stimuli.
        n : int
            One picture a latent is made.
        seed : int
            Every picture has noise of its own, which depends on the seed and its place alone.

        Raises
        ------
        DataError
            When a space is missing, or embeddings are not those of the pipeline.
        """
        if n != 1:
            raise DataError("Fusion makes one picture a latent", expected="n=1", found=n)
        if not isinstance(latents, Mapping) or not {self.semantic, self.layout} <= set(latents):
            raise DataError(
                "fusion joins two latent spaces",
                expected=[self.semantic, self.layout],
                found=sorted(latents) if isinstance(latents, Mapping) else type(latents).__name__,
                fix="fit an encoder on a dict of both",
            )
        meaning = latents[self.semantic]
        layouts = self.inversion.invert(Latents(latents[self.layout].at(meaning.ids), meaning.ids, space=self.layout))
        pictures = self.fuse(meaning.flat(), layouts, seed=seed)
        return Stimuli.from_arrays(as_uint8(pictures), meaning.ids)

    def fuse(self, embeddings: np.ndarray, layouts: np.ndarray, *, seed: int = 0) -> np.ndarray:
        """Pictures (n, side, side, 3) in [0, 1] from embeddings (n, d) and layouts (n, height, width, 3) in [0, 1]."""
        width = self.pipeline.unet.config.projection_class_embeddings_input_dim // 2
        if embeddings.ndim != 2 or embeddings.shape[1] != width or len(embeddings) != len(layouts):
            raise DataError(
                "these embeddings are not those of the pipeline",
                expected=f"({len(layouts)}, {width})",
                found=embeddings.shape,
            )
        seeds = np.random.SeedSequence(seed).generate_state(len(layouts))
        before = self.pipeline.scheduler
        self.pipeline.scheduler = _late_scheduler(before, self.start)
        try:
            made = [
                self._one(torch.from_numpy(np.array(embedding, dtype=np.float32)), layout, int(one))
                for embedding, layout, one in zip(embeddings, layouts, seeds, strict=True)
            ]
        finally:
            self.pipeline.scheduler = before
        return np.stack(made)

    def _one(self, embedding: torch.Tensor, layout: np.ndarray, seed: int) -> np.ndarray:
        pipeline, vae = self.pipeline, self.pipeline.vae
        side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        picture = torch.from_numpy(np.array(layout, dtype=np.float32)).permute(2, 0, 1)[None]
        picture = torch.nn.functional.interpolate(picture, (side, side), mode="bilinear", antialias=True).clamp(0, 1)
        with torch.inference_mode():
            sent = (2 * picture - 1).to(vae.device, vae.dtype)
            latents = vae.encode(sent).latent_dist.mode() * vae.config.scaling_factor
            if self.start == self.n_steps:
                decoded = vae.decode(latents / vae.config.scaling_factor).sample
                return (decoded[0].float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(latents.shape, generator=generator).to(latents.device, latents.dtype)
            pipeline.scheduler.set_timesteps(self.n_steps)
            latents = pipeline.scheduler.add_noise(latents, noise, pipeline.scheduler.timesteps[:1])
            prompts: dict[str, Any] = {"prompt": ""}
            if self.prompt_embeds is not None:
                prompts = dict.fromkeys(("prompt_embeds", "negative_prompt_embeds"), self.prompt_embeds)
            pipeline.set_progress_bar_config(disable=True)
            return pipeline(
                image_embeds=embedding[None].to(latents.device, latents.dtype),
                latents=latents,
                num_inference_steps=self.n_steps,
                guidance_scale=self.guidance,
                generator=generator,
                output_type="np",
                **prompts,
            ).images[0]


def _late_scheduler(scheduler: Any, start: int) -> Any:
    """DDIM with the noise schedule of another scheduler, whose steps begin at number `start`."""
    from diffusers import DDIMScheduler

    class Late(DDIMScheduler):
        timesteps: torch.Tensor

        def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
            super().set_timesteps(num_inference_steps, device)
            every: torch.Tensor = self.timesteps
            self.timesteps = every[start:]

    return Late.from_config(scheduler.config)
