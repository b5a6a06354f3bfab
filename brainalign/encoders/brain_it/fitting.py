"""How a `BrainITNetwork` is trained: what the trainer reads, and the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from brainalign.encoders.brain_it.network import BrainITNetwork
from brainalign.encoders.brain_it.targets import TokenTarget, coarsest_scale, token_contrast
from brainalign.encoders.subjects import Samples
from brainalign.latents.base import Latents
from brainalign.learning.stacked import Scaled, Stacked

__all__ = ["TokenLoss", "default_features", "features_of", "training_data"]


def training_data(
    pairs: Sequence[tuple[str, Samples]], scales: Mapping[str, Any], numbers: Mapping[str, int]
) -> dict[str, Any]:
    """Named arrays for the trainer: all subjects one below the other, responses in SD.

    Parameters
    ----------
    pairs : sequence of (str, Samples)
        A subject may come several times.
    scales : mapping of subject to (mean, SD) of each voxel
    numbers : mapping of subject to its number in the network
    """
    responses = Stacked([Scaled(one.responses, *scales[name]) for name, one in pairs])
    first = pairs[0][1]
    return {
        "responses": responses,
        "subject": np.array([numbers[name] for name, _ in pairs])[responses.part],
        "picture": np.concatenate([one.stimulus for _, one in pairs]),
        **{f"target/{name}": Stacked([one.targets[name] for _, one in pairs]) for name in first.targets},
    }


def features_of(
    subjects: Mapping[str, Samples], y: Any, features: Any = None, *, whole: bool = False
) -> tuple[Any, Any]:
    """What the universal encoder is fitted on: features (by default the first latents), and responses."""
    first = next(iter(subjects.values()))
    if first.trials is not None:
        features = default_features(y, whole=whole) if features is None else features
        return features, {name: one.trials for name, one in subjects.items()}
    if features is None:
        features = np.asarray(next(iter(first.targets.values())))
        features = features.reshape(len(features), -1) if whole else features
    features = np.asarray(features)
    return features[:, None] if features.ndim == 1 else features, first.responses


def default_features(y: Any, *, whole: bool = False) -> Any:
    """Of the first latent space its coarsest scale, or all, as one vector where latents are taken whole."""
    first = next(iter(y.values())) if isinstance(y, Mapping) else y
    if whole:
        return Latents(first.flat(), first.ids, space=first.space, meta=first.meta)
    return coarsest_scale(y) or first


class TokenLoss:
    """Mean over targets and scales of ``MSE + contrast * InfoNCE`` between predicted and true tokens, both scaled.

    The MSE keeps the length of tokens, which an inversion of features needs and InfoNCE says nothing of.

    Parameters
    ----------
    targets : mapping of str to TokenTarget
    contrast : float
        Weight of InfoNCE.
    n_tokens : int or sequence of int
        Tokens of each scale that enter a step, drawn anew each time.
    n_voxels : int or float
        Voxels of each subject that do, a number or a share.
    temperature : float
    """

    def __init__(
        self,
        targets: Mapping[str, TokenTarget],
        *,
        contrast: float,
        n_tokens: int | Sequence[int],
        n_voxels: float,
        temperature: float = 0.1,
    ) -> None:
        self.targets, self.contrast, self.temperature = dict(targets), contrast, temperature
        self.n_tokens, self.n_voxels = n_tokens, n_voxels

    def __call__(self, network: BrainITNetwork, batch: Any) -> dict[str, torch.Tensor]:
        chosen = self.voxels(network, batch)
        means: dict[str, Any] = {}
        for name, target in self.targets.items():
            branch = network.branch(name)
            memory = self.memory(network, branch, batch, chosen)
            tokens = target.as_tokens(batch[f"target/{name}"])
            parts = []
            for number, scale in enumerate(target.scales()):
                which = self._some(scale, number, tokens.device)
                predicted = branch.tokens_from(memory, which)
                true = (tokens[:, which] - branch.mean[which]) / branch.spread[which]
                error = (predicted - true).square().mean()
                if self.contrast and len(tokens) > 1:
                    alike = token_contrast(predicted, true, batch["picture"], temperature=self.temperature)
                    error = error + self.contrast * alike
                parts.append(error)
            means[f"loss_{name}"] = torch.stack(parts).mean()
        return {"loss": torch.stack(list(means.values())).mean(), **means}

    def _some(self, scale: slice, number: int, device: Any) -> torch.Tensor:
        n_wanted = self.n_tokens if isinstance(self.n_tokens, int) else self.n_tokens[number]
        n_there = scale.stop - scale.start
        if n_wanted >= n_there:
            return torch.arange(scale.start, scale.stop, device=device)
        return scale.start + torch.randperm(n_there, device=device)[:n_wanted]

    def voxels(self, network: BrainITNetwork, batch: Any) -> dict[int, Any]:
        """For each subject in the batch, the voxels that enter this step."""
        chosen: dict[int, Any] = {}
        for subject in torch.unique(batch["subject"]).tolist():
            n_there = len(network.clusters(subject))
            chosen[subject] = slice(0, n_there)
            n_wanted = self.n_voxels if isinstance(self.n_voxels, int) else max(1, round(self.n_voxels * n_there))
            if n_there > n_wanted and network.training:
                chosen[subject] = torch.randperm(n_there, device=batch["subject"].device)[:n_wanted]
        return chosen

    def memory(self, network: BrainITNetwork, branch: Any, batch: Any, chosen: dict[int, Any]) -> torch.Tensor:
        """Cluster tokens of every sample, each through the voxels of its own subject."""
        parts, places = [], []
        for subject, voxels in chosen.items():
            here = torch.nonzero(batch["subject"] == subject)[:, 0]
            clusters = network.clusters(subject)
            parts.append(branch.clusters_of(batch["responses"][here][:, : len(clusters)], subject, clusters, voxels))
            places.append(here)
        return torch.cat(parts)[torch.argsort(torch.cat(places))]
