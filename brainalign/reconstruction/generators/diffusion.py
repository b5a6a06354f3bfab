"""Latent diffusion: what all pipelines share, and the parts that guidance needs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainalign.errors import DataError
from brainalign.learning.losses import diffusion_loss, noised
from brainalign.reconstruction.generators.base import Drawing
from brainalign.reconstruction.generators.inputs import Accepted

__all__ = ["Condition", "Diffusion"]


@dataclass(frozen=True)
class Condition:
    """Keyword arguments of the denoiser, with and without what the picture is to show."""

    led: Mapping[str, Any]
    free: Mapping[str, Any] = field(default_factory=dict)


class Diffusion(Drawing):
    """A generator over a diffusers pipeline.

    Beside `generate` it offers what a guided sampler is built of: `condition`, `denoise`, `decode`,
    `alphas_cumprod` and `latent_shape`. Gradients pass through `denoise` and `decode`; what predicts the latents learns
    from `diffusion_error`.

    Parameters
    ----------
    name : str
    pipeline : diffusers.DiffusionPipeline
        Already on its device.
    accepts : tuple of Accepted
    steps : int
        Denoising steps.
    guidance : float
        Of classifier-free guidance; 1 is none.
    strength : float
        How much of the denoising is done when it starts from a ``"vae"`` latent: 1 starts from noise.
    """

    def __init__(
        self, name: str, pipeline: Any, accepts: tuple[Accepted, ...], *, steps: int, guidance: float, strength: float
    ) -> None:
        if not 0 < strength <= 1:
            raise DataError("strength is out of range", expected="above 0, at most 1", found=strength)
        if int(steps) != steps or steps < 1:
            raise DataError("steps is out of range", expected="an integer from 1", found=steps)
        self.name, self.pipeline, self.accepts = name, pipeline, accepts
        self.steps, self.guidance, self.strength = int(steps), float(guidance), float(strength)
        pipeline.set_progress_bar_config(disable=True)

    @property
    def device(self) -> torch.device:
        """Where the denoiser computes."""
        return self.pipeline._execution_device

    @property
    def dtype(self) -> torch.dtype:
        """Of the denoiser."""
        return self.pipeline.unet.dtype

    @property
    def alphas_cumprod(self) -> Tensor:
        """Share of signal at each time step, (n_train_steps,)."""
        return self.pipeline.scheduler.alphas_cumprod

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what is denoised."""
        config = self.pipeline.unet.config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return int(config.in_channels), int(height), int(width)

    @abstractmethod
    def condition(self, values: Mapping[str, Any], seeds: list[int] | None = None) -> Condition:
        """What the denoiser is told of latents, by role; a fresh one for each batch."""

    def denoise(self, x: Tensor, t: Any, condition: Condition, *, guidance: float | None = None) -> Tensor:
        """The noise in `x` at time `t`, whatever the network predicts (noise, velocity or picture).

        Parameters
        ----------
        x : Tensor, shape (n, \\*latent_shape)
        t : int or Tensor
        condition : Condition
        guidance : float, optional
            Default: that of the generator.
        """
        found = self._predict(x, t, condition, self.guidance if guidance is None else guidance)
        share = self.alphas_cumprod.to(x)[torch.as_tensor(t).long().cpu()].reshape(-1, 1, 1, 1)
        kind = self.pipeline.scheduler.config.prediction_type
        if kind == "v_prediction":
            return share.sqrt() * found + (1 - share).sqrt() * x
        if kind == "sample":
            return (x - share.sqrt() * found) / (1 - share).sqrt().clamp(min=1e-8)
        return found

    def diffusion_error(self, images: Tensor, values: Mapping[str, Tensor], times: Tensor, seeds: list[int]) -> Tensor:
        """How far the denoiser errs on noised pictures when told `values`: its own training loss, (n,).

        Gradients reach `values`, through half precision too: they are carried there in the size they have before the
        mean over a latent is taken.

        Parameters
        ----------
        images : Tensor, shape (n, \\*latent_shape)
            Clean latents, as `encode` gives them.
        values : mapping of role to Tensor
            As for `condition`.
        times : Tensor of int, shape (n,)
            Below ``len(alphas_cumprod)``.
        seeds : list of int
            Of the noise of each sample.
        """
        clean = images.to(self.device, torch.float32)
        noise = torch.cat(
            [torch.randn(1, *self.latent_shape, generator=torch.Generator().manual_seed(one)) for one in seeds]
        )
        noise, times, size = noise.to(clean), times.to(self.device), float(clean[0].numel())
        share = self.alphas_cumprod.to(clean)[times]
        told = self.condition({role: _Slope.apply(one, 1 / size) for role, one in values.items()}, seeds)
        found = self._predict(noised(clean, noise, share), times, told, 1.0)
        kind = self.pipeline.scheduler.config.prediction_type
        return diffusion_loss(_Slope.apply(found, size), clean, noise, share, kind=kind)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """No weight of the pipeline takes a gradient inside a ``with`` block."""
        parts = [one for one in self.pipeline.components.values() if isinstance(one, torch.nn.Module)]
        learning = [one for part in parts for one in part.parameters() if one.requires_grad]
        for one in learning:
            one.requires_grad_(False)
        try:
            yield
        finally:
            for one in learning:
                one.requires_grad_(True)

    def decode(self, z: Tensor) -> Tensor:
        """Pictures (n, 3, height, width) in [0, 1] of latents as `denoise` sees them."""
        vae = self.pipeline.vae
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        scaled = z.to(vae.dtype) / vae.config.scaling_factor + shift
        return (vae.decode(scaled).sample / 2 + 0.5).clamp(0, 1)

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """The reverse of `decode`: ``"vae"`` latents, without noise, of pictures (n, height, width, 3) in [0, 1]."""
        from diffusers.image_processor import VaeImageProcessor

        vae = self.pipeline.vae
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        _, height, width = self.latent_shape
        processor = VaeImageProcessor(vae_scale_factor=scale)
        given = processor.preprocess(np.asarray(pictures, dtype=np.float32), height=height * scale, width=width * scale)
        with torch.no_grad():
            mode = vae.encode(given.to(vae.device, vae.dtype)).latent_dist.mode()
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        return ((mode - shift) * vae.config.scaling_factor).float().cpu().numpy()

    def _predict(self, x: Tensor, t: Any, condition: Condition, guidance: float) -> Tensor:
        led = self._network(x, t, condition.led)
        if guidance == 1 or not condition.free:
            return led
        free = self._network(x, t, condition.free)
        return free + guidance * (led - free)

    def _network(self, x: Tensor, t: Any, told: Mapping[str, Any]) -> Tensor:
        # Some networks predict the variance too, in channels behind.
        return self.pipeline.unet(x.to(self.dtype), t, **told).sample[:, : x.shape[1]].to(x.dtype)

    def _draw(self, values: dict[str, np.ndarray], seeds: list[int]) -> np.ndarray:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        with torch.no_grad():
            if "vae" in values:
                return self._from_layout(values, seeds, generators)
            return np.asarray(self._run_pipeline(values, generators))

    @abstractmethod
    def _run_pipeline(self, values: dict[str, np.ndarray], generators: list[torch.Generator]) -> Any:
        """The pipeline's own call; pictures (n, height, width, 3) in [0, 1]."""

    def _from_layout(self, values: dict[str, np.ndarray], seeds: list[int], generators: list[Any]) -> np.ndarray:
        """Image to image: noise the predicted image latent up to `strength` and denoise from there."""
        told = self.condition({role: one for role, one in values.items() if role != "vae"}, seeds)
        scheduler = self.pipeline.scheduler
        scheduler.set_timesteps(self.steps, device=self.device)
        first = self.steps - max(1, min(self.steps, int(self.steps * self.strength + 1e-6)))
        times = scheduler.timesteps[first * getattr(scheduler, "order", 1) :]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first * getattr(scheduler, "order", 1))
        start = self.tensor(values["vae"])
        noise = torch.cat([torch.randn(1, *self.latent_shape, generator=one) for one in generators]).to(start)
        x = scheduler.add_noise(start, noise, times[:1].repeat(len(start)))
        for t in times:
            guess = self._predict(scheduler.scale_model_input(x, t), t, told, self.guidance)
            x = scheduler.step(guess, t, x, return_dict=False)[0]
        return self.decode(x).permute(0, 2, 3, 1).float().cpu().numpy()

    def tensor(self, array: Any) -> Tensor:
        """On the denoiser's device, in its dtype."""
        return torch.as_tensor(array).to(device=self.device, dtype=self.dtype)

    def prompts(self, n: int) -> tuple[Tensor, Tensor]:
        """Embeddings of the empty prompt, twice: where text is not what leads."""
        led, free = self.pipeline.encode_prompt(
            prompt=[""] * n,
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            negative_prompt=[""] * n,
        )[:2]
        return led, free


class _Slope(torch.autograd.Function):
    """The identity, with a gradient times a number."""

    @staticmethod
    def forward(context: Any, x: Tensor, factor: float) -> Tensor:
        context.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope * context.factor, None
