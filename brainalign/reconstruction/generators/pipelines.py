"""The kinds of diffusion pipelines, each called as diffusers means it to be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from brainalign.errors import DataError
from brainalign.reconstruction.generators.diffusion import Condition, Diffusion
from brainalign.reconstruction.generators.inputs import Accepted

__all__ = ["IPAdapter", "Img2Img", "Kandinsky", "Unclip"]


class Unclip(Diffusion):
    """`StableUnCLIPImg2ImgPipeline` from image embeddings; with ``"vae"`` latents too, image to image.

    Parameters
    ----------
    noise_level : int
        Of the noise that the embedding is said, and made, to have: more for uncertain predictions.
    unit : bool
        Scale each embedding to length 1, where the pipeline was trained on such.
    """

    def __init__(self, name: str, pipeline: Any, accepts: tuple[Accepted, ...], *, noise_level: int = 0,
                 unit: bool = False, **options: Any) -> None:  # fmt: skip
        super().__init__(name, pipeline, accepts, **options)
        levels = pipeline.image_noising_scheduler.config.num_train_timesteps
        if not 0 <= noise_level < levels:
            raise DataError("noise_level is out of range", expected=f"0 to {levels - 1}", found=noise_level)
        self.noise_level, self.unit = int(noise_level), unit

    def _embeddings(self, values: Mapping[str, Any]) -> torch.Tensor:
        embeddings = self.tensor(values["clip"])
        return torch.nn.functional.normalize(embeddings, dim=-1) if self.unit else embeddings

    def condition(self, values: Mapping[str, Any], seeds: list[int] | None = None) -> Condition:
        embeddings = self._embeddings(values)
        generators = [torch.Generator("cpu").manual_seed(one) for one in seeds or range(len(embeddings))]
        noisy = self.pipeline.noise_image_embeddings(
            image_embeds=embeddings,
            noise_level=torch.tensor([self.noise_level], device=self.device),
            generator=generators,
        )
        text, empty = self.prompts(len(embeddings))
        return Condition(
            led={"encoder_hidden_states": text, "class_labels": noisy},
            free={"encoder_hidden_states": empty, "class_labels": torch.zeros_like(noisy)},
        )

    def _run_pipeline(self, values: dict[str, np.ndarray], generators: list[torch.Generator]) -> Any:
        embeddings = self._embeddings(values)
        return self.pipeline(
            prompt=[""] * len(embeddings),
            image_embeds=embeddings,
            noise_level=self.noise_level,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=generators,
            output_type="np",
        ).images


class Kandinsky(Diffusion):
    """`KandinskyV22Pipeline`: a decoder of image embeddings alone.

    Parameters
    ----------
    negative : array, shape (dimension,), optional
        Embedding that guidance leads away from; for the published model, that of a black picture. Default: zeros.
    """

    def __init__(self, name: str, pipeline: Any, accepts: tuple[Accepted, ...], *, negative: Any = None,
                 **options: Any) -> None:  # fmt: skip
        super().__init__(name, pipeline, accepts, **options)
        self.negative = negative

    def _both(self, values: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        led = self.tensor(values["clip"])
        free = torch.zeros_like(led) if self.negative is None else self.tensor(self.negative).expand_as(led)
        return led, free

    def condition(self, values: Mapping[str, Any], seeds: list[int] | None = None) -> Condition:
        led, free = self._both(values)
        return Condition(*({"encoder_hidden_states": None, "added_cond_kwargs": {"image_embeds": one}}
                           for one in (led, free)))  # fmt: skip

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        movq = self.pipeline.movq
        return (movq.decode(z.to(movq.dtype), force_not_quantize=True)["sample"] / 2 + 0.5).clamp(0, 1)

    def _run_pipeline(self, values: dict[str, np.ndarray], generators: list[torch.Generator]) -> Any:
        led, free = self._both(values)
        scale = self.pipeline.movq_scale_factor
        _, height, width = self.latent_shape
        return self.pipeline(
            image_embeds=led,
            negative_image_embeds=free,
            height=height * scale,
            width=width * scale,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=generators,
            output_type="np",
        ).images


class IPAdapter(Diffusion):
    """Stable Diffusion (1, 2 or XL) with an image-prompt adapter: the embedding enters through its own attention."""

    def _tokens(self, values: Mapping[str, Any]) -> torch.Tensor:
        """One picture a prompt: (n, 1, dimension), or (n, 1, n_tokens, dimension) for adapters that take tokens."""
        return self.tensor(values["clip"])[:, None]

    def condition(self, values: Mapping[str, Any], seeds: list[int] | None = None) -> Condition:
        if getattr(self.pipeline, "text_encoder_2", None) is not None:
            raise DataError(
                "guidance and image-to-image are not offered for Stable Diffusion XL",
                expected="a Stable Diffusion 1 or 2 pipeline",
                fix="give the embedding alone to generate(), or use ip-adapter: on Stable Diffusion 1.5",
            )
        led = self._tokens(values)
        text, empty = self.prompts(len(led))
        return Condition(
            led={"encoder_hidden_states": text, "added_cond_kwargs": {"image_embeds": [led]}},
            free={"encoder_hidden_states": empty, "added_cond_kwargs": {"image_embeds": [torch.zeros_like(led)]}},
        )

    def _run_pipeline(self, values: dict[str, np.ndarray], generators: list[torch.Generator]) -> Any:
        # diffusers repeats the embeddings once for every prompt of a batch, so that each picture would attend to all.
        tokens = self._tokens(values)
        return np.concatenate([self._one(tokens[i : i + 1], one) for i, one in enumerate(generators)])

    def _one(self, tokens: torch.Tensor, generator: torch.Generator) -> Any:
        led = self.guidance > 1  # then the pipeline wants the unled half in front
        return self.pipeline(
            prompt="",
            ip_adapter_image_embeds=[torch.cat([torch.zeros_like(tokens), tokens]) if led else tokens],
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=generator,
            output_type="np",
        ).images


class Img2Img(Diffusion):
    """Stable Diffusion image-to-image from predicted VAE latents, with the empty prompt."""

    def condition(self, values: Mapping[str, Any], seeds: list[int] | None = None) -> Condition:
        n = len(next(iter(values.values()))) if values else len(seeds or [0])
        text, empty = self.prompts(n)
        return Condition(led={"encoder_hidden_states": text}, free={"encoder_hidden_states": empty})

    def _draw(self, values: dict[str, np.ndarray], seeds: list[int]) -> np.ndarray:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        with torch.no_grad():
            return np.asarray(self._run_pipeline(values, generators))

    def _run_pipeline(self, values: dict[str, np.ndarray], generators: list[torch.Generator]) -> Any:
        return self.pipeline(
            prompt=[""] * len(generators),
            image=self.tensor(values["vae"]),  # four channels: taken for latents
            strength=self.strength,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=generators,
            output_type="np",
        ).images
