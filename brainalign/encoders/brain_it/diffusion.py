"""Second stage of Brain-IT: the transformer learns from how well a frozen diffusion model denoises when told by it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch

from brainalign.encoders.brain_it.fitting import TokenLoss
from brainalign.encoders.brain_it.network import BrainITNetwork
from brainalign.encoders.brain_it.targets import TokenTarget
from brainalign.encoders.subjects import Samples, check_same_latents, pair_samples
from brainalign.errors import DataError, unknown
from brainalign.learning.stacked import Stacked

__all__ = ["DiffusionModel", "ThroughDiffusion", "image_rows", "known_samples", "roles_of"]


class DiffusionModel(Protocol):
    """What a diffusion model offers, such as `brainalign.reconstruction.generators.diffusion.Diffusion`."""

    name: str
    accepts: Any
    """What it is told, with ``role``, ``space`` and ``shape``; image latents have the role "vae"."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Of image latents."""

    @property
    def alphas_cumprod(self) -> torch.Tensor:
        """Share of signal at each time."""

    def frozen(self) -> AbstractContextManager[None]:
        """No weight takes a gradient inside."""

    def diffusion_error(
        self, images: torch.Tensor, values: Mapping[str, torch.Tensor], times: torch.Tensor, seeds: list[int]
    ) -> torch.Tensor:
        """Loss of each sample, differentiable in `values`."""


class ThroughDiffusion:
    """``mean diffusion error + anchor * TokenLoss``: predicted latents are told to the model in place of true ones.

    Parameters
    ----------
    generator : DiffusionModel
    roles : mapping of role to the name of the target that is told in it
    tokens : TokenLoss
        Of the first stage. It holds on to what the diffusion model does not look at: other targets, and directions in
        which its condition makes no difference.
    anchor : float

    Raises
    ------
    DataError
        When `anchor` is negative.
    """

    def __init__(self, generator: DiffusionModel, roles: Mapping[str, str], tokens: TokenLoss, anchor: float) -> None:
        if not anchor >= 0:
            raise DataError("anchor is a weight", expected="0, or more", found=anchor)
        self.generator, self.roles, self.tokens, self.anchor = generator, dict(roles), tokens, anchor

    def __call__(self, network: BrainITNetwork, batch: Any) -> dict[str, torch.Tensor]:
        chosen = self.tokens.voxels(network, batch)
        told = {role: self._told(network, name, batch, chosen) for role, name in self.roles.items()}
        n = len(batch["images"])
        # Drawn from the generator of the trainer, which a checkpoint keeps.
        times = torch.randint(len(self.generator.alphas_cumprod), (n,))
        seeds = torch.randint(2**62, (n,)).tolist()
        error = self.generator.diffusion_error(batch["images"], told, times, seeds).mean().to(batch["images"].device)
        if not self.anchor:
            return {"loss": error, "diffusion": error}
        held = self.tokens(network, batch)
        return {"loss": error + self.anchor * held.pop("loss"), "diffusion": error, **held}

    def _told(self, network: BrainITNetwork, name: str, batch: Any, chosen: dict[int, Any]) -> torch.Tensor:
        branch, target = network.branch(name), self.tokens.targets[name]
        tokens = branch.tokens_from(self.tokens.memory(network, branch, batch, chosen))
        return target.from_tokens(tokens * branch.spread + branch.mean)


def roles_of(
    generator: DiffusionModel, targets: Mapping[str, TokenTarget], spaces: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Which target is told in which role: by the name of the role, by its space, or because there is but one.

    Raises
    ------
    DataError
        When `generator` is no diffusion model, or needs what is not predicted.
    """
    if not all(hasattr(generator, one) for one in ("diffusion_error", "frozen", "alphas_cumprod")):
        raise DataError(
            f"{getattr(generator, 'name', type(generator).__name__)} is no diffusion model",
            expected="load_generator('mini'), 'unclip:...', 'kandinsky:...' or 'ip-adapter:...'",
            fix="of a fusion, its .diffusion",
        )
    made = {}
    for one in generator.accepts:
        if one.role == "vae":
            continue
        alike = [name for name in targets if one.space is not None and spaces.get(name, {}).get("space") == one.space]
        fitting = [one.role] if one.role in targets else alike or (list(targets) if len(targets) == 1 else [])
        told = [spaces.get(name, {}).get("space", one.space) for name in fitting]
        if not fitting or (one.space is not None and told[0] != one.space):
            raise DataError(
                f"{generator.name} is led by '{one.role}', which is not predicted",
                expected=one.space or one.role,
                found={name: spaces.get(name, {}).get("space") for name in targets},
            )
        shape = targets[fitting[0]].shape
        if one.shape is not None and shape != tuple(one.shape):
            raise DataError(
                f"'{fitting[0]}' has another shape than {generator.name} takes", expected=one.shape, found=shape
            )
        made[one.role] = fitting[0]
    if not made:
        raise DataError(f"{generator.name} is led by image latents alone", expected="a model of image embeddings")
    return made


def known_samples(encoder: Any, X: Any, y: Any) -> dict[str, Samples]:
    """Samples of subjects, voxels and latents that `encoder` was fitted on; any others are refused by `DataError`."""
    subjects = pair_samples(X, y, flat=False)
    for name, one in subjects.items():
        if name not in encoder.provenances_:
            raise unknown("subject", name, encoder.subjects_, fix="transfer(trials, latents) lets a subject join")
        if one.trials is not None:
            encoder.provenances_[name].check_same_brain(one.trials)
        encoder.voxels_like_fitted(one.responses, name)
    check_same_latents(encoder.provenance_, encoder.target_shapes_, y)
    return subjects


def image_rows(generator: DiffusionModel, X: Any, images: Any, subjects: Mapping[str, Samples]) -> Stacked:
    """Clean image latents of every sample of `subjects`, which are those of `X`.

    Raises
    ------
    DataError
        When they are of another space or shape than the model denoises, do not pair, or are not finite.
    """
    space = next((one.space for one in generator.accepts if one.role == "vae"), None)
    found = getattr(images, "space", space)
    shape = tuple(np.shape(getattr(images, "values", images)))[1:]
    if (space is not None and found != space) or shape != tuple(generator.latent_shape):
        raise DataError(
            f"images are not latents that {generator.name} denoises",
            expected=f"{space or 'latents of its autoencoder'}, (n, {', '.join(map(str, generator.latent_shape))})",
            found=f"{found}, {shape}",
            fix="extract(stimuli, 'vae:...') of the same model",
        )
    rows = Stacked([one.targets["latents"] for one in pair_samples(X, images, flat=False).values()])
    if len(rows) != sum(len(one.responses) for one in subjects.values()):
        raise DataError("images are not of the same samples", expected=len(rows))
    if not all(np.isfinite(rows[np.array([row])]).all() for row in range(len(rows))):
        raise DataError("images contain NaN or infinity", expected="finite numbers")
    return rows
