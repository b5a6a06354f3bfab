"""Pictures into three dimensions by diffusers' `ShapEImg2ImgPipeline` (Jun & Nichol 2023, arXiv 2305.02463)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainalign.arrays import resolve_device
from brainalign.errors import DataError, unknown
from brainalign.latents.network import Network
from brainalign.parallel import progress
from brainalign.reconstruction.generators.base import Generator
from brainalign.reconstruction.generators.inputs import Accepted, match_inputs, picture_seed
from brainalign.reconstruction.generators.registry import load_pipeline
from brainalign.reconstruction.shapes.lifted import Lifted
from brainalign.reconstruction.shapes.solid import Solid
from brainalign.stimuli import Stimuli

__all__ = ["ShapE", "load_lift"]

N_VIEWS = 20
"""Of the renderer's own turn: the last is the first again."""
_MOST_RAYS = 4096


class ShapE:
    """Pictures, or predicted latents, to solids.

    Parameters
    ----------
    name : str
    pipeline : diffusers.ShapEImg2ImgPipeline
        Already on its device.
    generator : Generator, optional
        What first makes pictures of latents. Without one, latents go straight to the pipeline's prior, in place of what
        its image encoder makes of a picture.
    space : str, optional
        Name of the space of that encoder's tokens; by default ``"<name>:tokens"``.
    steps : int
    guidance : float
        Of classifier-free guidance; 1 is none.
    grid : int
        Corners of the cubes a side that the surface is drawn through.
    frame_size : int
        Pixels a side of each rendered view; 0 renders none.
    samples : (int, int)
        Places along each ray at which the renderer looks, coarse and fine.
    """

    def __init__(self, name: str, pipeline: Any, *, generator: Generator | None = None, space: str | None = None,
                 steps: int = 64, guidance: float = 3.0, grid: int = 128, frame_size: int = 64,
                 samples: tuple[int, int] = (64, 128)) -> None:  # fmt: skip
        if steps < 1 or grid < 2 or not 0 <= frame_size <= _MOST_RAYS or min(samples) < 2:
            raise DataError(
                "a lift cannot be done like this",
                expected=f"steps from 1, grid from 2, frame_size 0 to {_MOST_RAYS}, samples from 2",
                found=[steps, grid, frame_size, samples],
            )
        self.name, self.pipeline, self.generator = name, pipeline, generator
        self.space, self.steps, self.guidance = space or f"{name}:tokens", int(steps), float(guidance)
        self.grid, self.frame_size, self.samples = int(grid), int(frame_size), tuple(samples)
        pipeline.set_progress_bar_config(disable=True)

    def __repr__(self) -> str:
        return f"ShapE({self.name})"

    @cached_property
    def network(self) -> Network:
        """The pipeline's image encoder: ``extract(stimuli, lift.network)`` makes what goes straight to the prior."""
        return _Tokens(self.space, self.pipeline)

    @property
    def accepts(self) -> tuple[Accepted, ...]:
        """Latents that `lift` takes: the generator's, or tokens (n_tokens, width) of the pipeline's image encoder."""
        if self.generator is not None:
            return self.generator.accepts
        config = self.pipeline.image_encoder.config
        shape = ((config.image_size // config.patch_size) ** 2, config.hidden_size)
        return (Accepted("tokens", self.space, shape, weights_sha256=lambda: self.network.weights_sha256),)

    def lift(self, given: Any, *, seed: int = 0) -> Lifted:
        """Solids and views.

        Parameters
        ----------
        given : Stimuli, Latents, array, or mapping of role to latents
            Pictures; or latents that the generator takes, or, without one, tokens for the prior.
        seed : int
            Each solid has a seed of its own, made of this and its stimulus id.

        Returns
        -------
        Lifted

        Raises
        ------
        DataError
            When latents are of another space, revision or shape, or nothing solid is made of one.
        """
        if not isinstance(given, Stimuli) and self.generator is not None:
            given = self.generator.generate(given, seed=seed)
        if isinstance(given, Stimuli):
            ids, tokens = given.ids, (self.network.encode_image([given.image(one)]) for one in given.ids)
        else:
            found, values = match_inputs(given, self.accepts, name=self.name)
            ids, tokens = tuple(found), (torch.from_numpy(row[None]) for row in values["tokens"])
        solids, frames = {}, {}
        for one, told in progress(list(zip(ids, tokens, strict=True)), description=f"solids by {self.name}"):
            latent = self._latent(told, picture_seed(seed, one, 0))
            solids[one] = self._solid(latent, one)
            if self.frame_size:
                frames[one] = self._turn(latent)
        meta = {"lift": self.name, "steps": self.steps, "guidance": self.guidance, "grid": self.grid, "seed": seed,
                "generator": None if self.generator is None else self.generator.name}  # fmt: skip
        return Lifted(solids, frames, meta)

    def _latent(self, tokens: Tensor, seed: int) -> Tensor:
        """The pipeline's own denoising, (1, n_embeddings, width), with tokens where it would encode a picture."""
        return _told(self.pipeline, tokens)(
            torch.zeros(1, 3, 1, 1),  # its size is read, nothing else
            generator=torch.Generator("cpu").manual_seed(seed),
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            output_type="latent",
        ).images

    def _solid(self, latent: Tensor, one: str) -> Solid:
        renderer, device = self.pipeline.shap_e_renderer, self.pipeline._execution_device
        if not renderer.mesh_decoder.masks.any():
            raise DataError(f"{self.name} has no table of marching cubes: its mesh decoder's weights are missing")
        try:
            mesh = renderer.decode_to_mesh(latent, device, grid_size=self.grid)
        except (RuntimeError, ValueError) as error:
            if "non-empty" not in str(error):
                raise
            # No place is inside: diffusers is left without a vertex to colour.
            raise DataError(f"nothing solid was made of '{one}'",
                            fix="more steps, another guidance, or another seed") from error  # fmt: skip
        linear = np.stack([mesh.vertex_channels[part].float().cpu().numpy() for part in "RGB"], axis=1)
        return Solid(mesh.verts.float().cpu().numpy(), mesh.faces.cpu().numpy(), _srgb(linear))

    def _turn(self, latent: Tensor) -> np.ndarray:
        """Views (n_views, size, size, 3)."""
        size = self.frame_size
        # The renderer leaves out the rays behind the last full batch: take batches that divide them all.
        rows = max(
            one for one in range(1, N_VIEWS * size + 1) if N_VIEWS * size % one == 0 and one * size <= _MOST_RAYS
        )
        with torch.random.fork_rng():  # it sets the global seed
            frames = self.pipeline.shap_e_renderer.decode_to_image(
                latent, self.pipeline._execution_device, size=size, ray_batch_size=rows * size,
                n_coarse_samples=self.samples[0], n_fine_samples=self.samples[1],
            )  # fmt: skip
        return (frames.float().clamp(0, 1) * 255).round().byte().cpu().numpy()


def load_lift(name: str, *, device: str = "auto", memory: str | None = None, **options: Any) -> ShapE:
    """Load a model that lifts pictures into three dimensions.

    Parameters
    ----------
    name : str
        ``"shap-e:"`` and a hub id (``shap-e:openai/shap-e-img2img``) or a local folder in the layout of diffusers.
    device : str
    memory : {"12GB", "24GB", "80GB"}, optional
        Preset of precision, as in `load_generator`.
    **options
        Of `ShapE`.

    Raises
    ------
    DataError
        When the kind or an option is unknown, or the weights cannot be had.
    """
    family, _, source = str(name).partition(":")
    if family != "shap-e" or not source:
        raise unknown("lift", name, ["shap-e:HUB_ID", "shap-e:/folder"])
    where = resolve_device(device)
    pipeline = load_pipeline(name, "ShapEImg2ImgPipeline", source, where, memory)
    pipeline.to(where)
    try:
        return ShapE(name, pipeline, **options)
    except TypeError as error:
        raise DataError(f"'{name}' cannot be made of these options: {error}", found=sorted(options)) from error


class _Tokens(Network):
    """The image encoder of a pipeline, asked as the pipeline asks it: all tokens of the last layer but the first."""

    libraries = ("torch", "diffusers", "transformers")

    def __init__(self, name: str, pipeline: Any) -> None:
        def transform(image: Any) -> Tensor:
            return pipeline.image_processor(image, return_tensors="pt").pixel_values[0]

        encoder = pipeline.image_encoder
        super().__init__(name, encoder, transform, preprocessing=pipeline.image_processor.to_dict(),
                         device=str(pipeline._execution_device))  # fmt: skip

    def _encode_image(self, batch: Tensor) -> Tensor:
        return self.module(batch.to(self.module.dtype))["last_hidden_state"][:, 1:]


def _told(pipeline: Any, tokens: Tensor) -> Any:
    """The same pipeline, which takes `tokens` for what its image encoder says."""
    from diffusers import ShapEImg2ImgPipeline

    class Told(ShapEImg2ImgPipeline):
        def _encode_image(self, image: Any, device: Any, n: int, guided: bool) -> Tensor:
            led = tokens.to(device, self.prior.dtype).repeat_interleave(n, dim=0)
            return torch.cat([torch.zeros_like(led), led]) if guided else led

    made = Told(**pipeline.components)
    made.set_progress_bar_config(disable=True)
    return made


def _srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light, as the mesh decoder gives it, to the sRGB that viewers of PLY take; uint8."""
    clipped = np.clip(linear, 0, 1)
    curved = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * np.maximum(clipped, 1e-12) ** (1 / 2.4) - 0.055)
    return (curved * 255).round().astype(np.uint8)
