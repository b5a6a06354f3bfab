"""The network behind `MindEye` and `MindEye2`, and its loss: retrieval, reconstruction and low-level branches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from brainalign.learning import Batch, WholeBatchLoss
from brainalign.learning.adapters import SubjectAdapters
from brainalign.learning.blocks import MixerBlock, Projector, ResidualMLP, Upsampler
from brainalign.learning.losses import bimixco, mix, mse, soft_clip, soft_contrastive
from brainalign.learning.prior import DiffusionPrior

__all__ = ["MindEyeLoss", "MindEyeNetwork", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a `MindEyeNetwork`, as in `MindEye`."""

    hidden: int
    n_blocks: int
    mixer: bool
    projector: int
    dropout: float
    prior_depth: int
    head_width: int
    map_channels: int


class TokenBranch(nn.Module):
    """Latent tokens (or one vector): the regression, its projection for retrieval, and the prior."""

    def __init__(self, sizes: Sizes, shape: tuple[int, ...], *, prior: bool) -> None:
        super().__init__()
        self.n_tokens, self.width = (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)
        self.linear = nn.Linear(sizes.hidden, self.n_tokens * self.width)
        self.projector = Projector(self.width, sizes.projector)
        self.prior = None
        if prior and sizes.prior_depth:
            inner = None if self.width >= sizes.head_width else sizes.head_width
            n_heads, head_width = max(1, self.width // sizes.head_width), sizes.head_width
            self.prior = DiffusionPrior(
                self.n_tokens, self.width, depth=sizes.prior_depth, n_heads=n_heads, head_width=head_width, inner=inner
            )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Tokens, (n, n_tokens, width)."""
        return self.linear(hidden).unflatten(1, (self.n_tokens, self.width))

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """Where samples are contrasted with latents, (n, n_tokens * width)."""
        return self.projector(tokens).flatten(1)


class MapBranch(nn.Module):
    """Latent maps (channels, height, width): a low-level picture by convolutions.

    With a `contrast` shape, of the features of a network such as ConvNeXt, the coarse maps inside are projected to
    those too, to be contrasted with them.
    """

    def __init__(self, sizes: Sizes, shape: tuple[int, int, int], contrast: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.upsampler = Upsampler(sizes.hidden, shape, n_channels=sizes.map_channels)
        self.towards: nn.Module | None = None
        if contrast is not None:
            n_cells = math.prod(self.upsampler.coarse)
            self.towards = nn.Linear(sizes.map_channels * n_cells, math.prod(contrast))

    def features(self, hidden: torch.Tensor) -> torch.Tensor:
        """The projection of the coarse maps, (n, n_features)."""
        assert self.towards is not None
        return self.towards(self.upsampler.maps(hidden).flatten(1))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.upsampler(hidden)


class MindEyeNetwork(nn.Module):
    """Voxels of any subject, by its adapter, through a shared backbone to one branch per latent space.

    Parameters
    ----------
    n_voxels : mapping of str to int
    shapes : mapping of str to tuple
        Of each latent space. Three dimensions make a `MapBranch`, all others a `TokenBranch`; the first of these has
        the prior.
    sizes : Sizes
    contrast : tuple of int, optional
        Shape of features that the maps inside a `MapBranch` are contrasted with.
    """

    def __init__(
        self,
        n_voxels: Mapping[str, int],
        shapes: Mapping[str, tuple[int, ...]],
        sizes: Sizes,
        contrast: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        width = sizes.hidden
        self.adapters = SubjectAdapters(n_voxels, width)
        self.mixer = sizes.mixer
        self.inward: nn.Module = nn.Identity()
        if not sizes.mixer:
            self.inward = nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Dropout(sizes.dropout))
        inner = min(sizes.dropout, 0.15)
        self.backbone: nn.Module = ResidualMLP(width, sizes.n_blocks, inner)
        if sizes.mixer:
            self.backbone = nn.Sequential(*[MixerBlock(width, 1, inner) for _ in range(sizes.n_blocks)])
        self.names = tuple(shapes)
        first = next((name for name, shape in shapes.items() if len(shape) != 3), None)
        self.branches = nn.ModuleList(
            [
                MapBranch(sizes, shape, contrast) if len(shape) == 3 else TokenBranch(sizes, shape, prior=name == first)
                for name, shape in shapes.items()
            ]
        )

    def forward(self, x: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
        """What the backbone makes of responses, (n, hidden)."""
        made = self.inward(self.adapters(x, subject))
        return self.backbone(made[:, None])[:, 0] if self.mixer else self.backbone(made)

    def add_subject(self, subject: str, n_voxels: int) -> None:
        """Give a further subject its adapter."""
        self.adapters.add_subject(subject, n_voxels)

    def own(self, subject: str) -> nn.Module:
        """What belongs to one subject alone."""
        return self.adapters.of(subject)


@dataclass
class MindEyeLoss(WholeBatchLoss):
    """BiMixCo in the first part of the training, SoftCLIP after it, with regression, prior and low-level losses.

    Regressions of a mixed sample aim at the mixture of its latents; the prior, whose targets must be latents of real
    stimuli, learns from samples that were not mixed. Validation counts the regressions alone, unmixed, so that epochs
    of both phases compare.

    Parameters
    ----------
    weights : mapping of str to float
        Of "contrast", "regression", "prior" and "low_level".
    mixed_share : float
        Of the training that takes BiMixCo.
    temperature : float
        Of BiMixCo; that of SoftCLIP goes from two thirds to five fourths of it, along a cosine.
    features : str, optional
        Name of the targets that maps are contrasted with, softly, under the weight "features".
    feature_temperature : float
    """

    weights: Mapping[str, float]
    mixed_share: float
    temperature: float
    features: str | None = None
    feature_temperature: float = 0.075

    def prepare(self, batch: Batch) -> Batch:
        made = one_view(batch)
        if batch.progress < self.mixed_share:
            mixed = mix(batch["x"], within=batch["subject"])
            made["mixed"], made["partner"], made["weight"] = mixed.x, mixed.partner, mixed.weight
            for name in [one for one in made if one.startswith("target/")]:
                weight = mixed.weight[:, None]
                made[name.replace("target/", "blend/")] = weight * made[name] + (1 - weight) * made[name][mixed.partner]
        return made

    def outputs(self, model: MindEyeNetwork, batch: Batch) -> dict[str, torch.Tensor]:
        mixed = model.training and "mixed" in batch
        hidden = model(batch["mixed"] if mixed else batch["x"], batch["subject"])
        made = {}
        for name, branch in zip(model.names, model.branches, strict=True):
            target, blend = batch[f"target/{name}"], batch[f"{'blend' if mixed else 'target'}/{name}"]
            predicted = branch(hidden)
            if isinstance(branch, MapBranch):
                made[f"low_level/{name}"] = (predicted.flatten(1) - blend).abs().mean(dim=1)
                if self.features is not None and model.training:
                    made[f"features/{self.features}"] = branch.features(hidden)
                continue
            assert isinstance(branch, TokenBranch)
            made[f"regression/{name}"] = mse(predicted.flatten(1), blend)
            if not model.training:
                continue
            made[f"project/{name}"] = branch.project(predicted)
            if branch.prior is not None:
                error = branch.prior.loss(target.unflatten(1, (branch.n_tokens, branch.width)), predicted)
                made[f"prior/{name}"] = error * (batch["weight"] == 1) if mixed else error
        return made

    def compare(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
        terms: dict[str, torch.Tensor] = {}
        for key, values in outputs.items():
            kind, _, name = key.partition("/")
            if kind == "project":
                kind, value = "contrast", self._contrast(values, batch[f"target/{name}"], batch)
            elif kind == "features":
                value = soft_contrastive(values, self._of_input(name, batch), temperature=self.feature_temperature)
            elif kind == "prior" and "weight" in batch:
                value = values.sum() / (batch["weight"] == 1).sum().clamp_min(1)
            else:
                value = values.mean()
            terms[kind] = terms[kind] + value if kind in terms else value
        return {"loss": sum(self.weights[kind] * value for kind, value in terms.items()), **terms}  # type: ignore[dict-item]

    def _of_input(self, name: str, batch: Batch) -> torch.Tensor:
        """Targets of what went in, mixed where that was."""
        return batch[f"blend/{name}"] if "partner" in batch else batch[f"target/{name}"]

    def _contrast(self, projected: torch.Tensor, target: torch.Tensor, batch: Batch) -> torch.Tensor:
        if "partner" in batch:
            labels = batch["stimulus"]
            return bimixco(projected, target, batch["partner"], batch["weight"], self.temperature, labels=labels)
        share = (batch.progress - self.mixed_share) / max(1 - self.mixed_share, 1e-9)
        low, high = 2 / 3 * self.temperature, 5 / 4 * self.temperature
        return soft_clip(projected, target, high + (low - high) * (1 + math.cos(math.pi * share)) / 2)


def one_view(batch: Batch) -> Batch:
    """The batch with, for each sample, the targets of one of its views, the same for all latent spaces."""
    made = Batch({name: values for name, values in batch.items() if not name.startswith("view")})
    made.rows, made.progress = batch.rows, batch.progress
    n_views = len({name.partition("/")[0] for name in batch if name.startswith("view")})
    if n_views:
        drawn = torch.randint(n_views + 1, (len(batch.rows),))
        for number in range(n_views):
            for name in [one for one in made if one.startswith("target/")]:
                other = batch[name.replace("target", f"view{number}", 1)]
                made[name] = torch.where((drawn == number + 1).to(other.device)[:, None], other, made[name])
    return made


def decode_mean(network: Any, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every branch's regression, flat."""
    hidden = network(x, subject)
    return {name: branch(hidden).flatten(1) for name, branch in zip(network.names, network.branches, strict=True)}
