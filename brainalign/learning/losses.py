"""Losses of alignment networks, as plain functions of tensors. Nothing is edited in place.

Losses that compare the samples of a batch take vectors of any length (they are normalised inside) and, where a stimulus
may occur twice in a batch, `labels`: samples with the same label share the target mass instead of repelling each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from brainalign.errors import unknown

__all__ = [
    "Mixed",
    "bimixco",
    "cosine_loss",
    "diffusion_loss",
    "info_nce",
    "mix",
    "mse",
    "noised",
    "soft_clip",
    "soft_contrastive",
]


@dataclass(frozen=True)
class Mixed:
    """Samples of which some are mixtures: ``x[i] = weight[i] * given[i] + (1 - weight[i]) * given[partner[i]]``."""

    x: torch.Tensor
    partner: torch.Tensor
    weight: torch.Tensor


def mse(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each sample, (n,)."""
    return (predicted - target).square().flatten(1).mean(dim=1)


def cosine_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """One minus the cosine of each sample, (n,), over all its dimensions."""
    return 1 - functional.cosine_similarity(predicted.flatten(1), target.flatten(1), dim=1)


def noised(clean: torch.Tensor, noise: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """``sqrt(share) * clean + sqrt(1 - share) * noise`` (Ho et al. 2020, eq. 4); share of signal, (n,)."""
    signal = share.reshape(-1, *[1] * (clean.ndim - 1))
    return signal.sqrt() * clean + (1 - signal).sqrt() * noise


def diffusion_loss(
    predicted: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor, share: torch.Tensor, *, kind: str = "epsilon"
) -> torch.Tensor:
    """Squared error of a denoiser on ``noised(clean, noise, share)``, in what it predicts, mean of each sample, (n,).

    Parameters
    ----------
    predicted, clean, noise : tensor (n, ...)
    share : tensor (n,)
        Of signal: the cumulative product of alphas at the time of each sample.
    kind : {"epsilon", "v_prediction", "sample"}
        The denoiser predicts the noise (Ho et al. 2020, eq. 14), the velocity ``sqrt(share) * noise -
        sqrt(1 - share) * clean`` (Salimans & Ho 2022, §4), or the clean sample. Names are those of diffusers.

    Raises
    ------
    DataError
        When the kind is unknown.

    Examples
    --------
    >>> clean, noise, share = torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.25])
    >>> diffusion_loss(noise, clean, noise, share).item(), diffusion_loss(clean, clean, noise, share).item()
    (0.0, 1.0)
    >>> diffusion_loss(noise / 2, clean, noise, share, kind="v_prediction").item()
    0.0
    """
    if kind == "epsilon":
        return mse(predicted, noise)
    if kind == "sample":
        return mse(predicted, clean)
    if kind == "v_prediction":
        return mse(predicted, noised(noise, -clean, share))
    raise unknown("kind of prediction", kind, ("epsilon", "v_prediction", "sample"))


def info_nce(
    a: torch.Tensor, b: torch.Tensor, temperature: float | torch.Tensor = 0.07, *, labels: torch.Tensor | None = None
) -> torch.Tensor:
    """Symmetric InfoNCE: the mean cross-entropy of picking b_i for a_i, and a_i for b_i, among the batch.

    Oord et al. 2018, eq. 4, in both directions as in CLIP (Radford et al. 2021).

    Parameters
    ----------
    a, b : tensor (n, ...)
        Row i of one belongs to row i of the other.
    temperature : float
        Divides the cosines.
    labels : tensor of int (n,), optional
        Rows that show the same stimulus.

    Examples
    --------
    >>> info_nce(torch.eye(3), torch.eye(3), 0.1).item() < 1e-3
    True
    """
    return _two_sided(_logits(a, b, temperature), _same(len(a), labels, a))


def mix(
    x: torch.Tensor,
    *,
    share: float = 0.5,
    alpha: float = 0.15,
    within: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Mixed:
    """Mix a random share of samples with others of the batch (MixCo, Kim et al. 2020).

    Parameters
    ----------
    x : tensor (n, ...)
        Not changed.
    share : float
        Of the samples that are mixed; the others keep weight 1.
    alpha : float
        Weights come from Beta(alpha, alpha).
    within : tensor of int (n,), optional
        Samples are mixed with those of the same number only: the voxels of two subjects cannot be added.
    generator : torch.Generator, optional
        On the CPU; torch's global one by default.

    Examples
    --------
    >>> mixed = mix(torch.eye(4), share=0.0)
    >>> torch.equal(mixed.x, torch.eye(4)), mixed.weight.tolist()
    (True, [1.0, 1.0, 1.0, 1.0])
    """
    n = len(x)
    shuffled = torch.randperm(n, generator=generator)
    partner = shuffled
    if within is not None:
        label = within.cpu()
        partner = torch.empty_like(shuffled)
        partner[torch.argsort(label, stable=True)] = shuffled[torch.argsort(label[shuffled], stable=True)]
    # torch's Beta takes no generator; numpy's is seeded from the one given, so that a training resumes exactly.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    weight = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n)).to(x.dtype)
    chosen = torch.randperm(n, generator=generator) < round(share * n)
    weight = torch.where(chosen, weight, torch.ones_like(weight)).to(x.device)
    partner = partner.to(x.device)
    shaped = weight.reshape(-1, *[1] * (x.ndim - 1))
    return Mixed(shaped * x + (1 - shaped) * x[partner], partner, weight)


def bimixco(
    predicted: torch.Tensor,
    target: torch.Tensor,
    partner: torch.Tensor,
    weight: torch.Tensor,
    temperature: float | torch.Tensor = 0.006,
    *,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Bidirectional contrast of mixtures with what they are made of.

    Scotti et al. 2023, "Reconstructing the mind's eye", eq. 1: row i puts mass ``weight[i]`` on target i and *adds*
    ``1 - weight[i]`` on target ``partner[i]``, so that a sample mixed with itself keeps mass 1; columns take the
    transposed masses.

    Parameters
    ----------
    predicted : tensor (n, ...)
        From mixed inputs, see `mix`.
    target : tensor (n, ...)
        Of the unmixed ones.
    partner, weight : tensor (n,)
    temperature : float
    labels : tensor of int (n,), optional
        Rows that show the same stimulus.
    """
    same = _same(len(predicted), labels, predicted)
    mass = weight[:, None] * same + (1 - weight[:, None]) * same[partner]
    return _two_sided(_logits(predicted, target, temperature), mass)


def soft_clip(predicted: torch.Tensor, target: torch.Tensor, temperature: float | torch.Tensor = 0.005) -> torch.Tensor:
    """Contrast with soft targets: how similar targets are among themselves (SoftCLIP of Scotti et al. 2023, eq. 2)."""
    return soft_contrastive(predicted, target, temperature=temperature)


def soft_contrastive(
    predicted: torch.Tensor,
    target: torch.Tensor,
    second_view: torch.Tensor | None = None,
    *,
    temperature: float | torch.Tensor = 0.075,
) -> torch.Tensor:
    """Cross-entropy between similarities of predictions to targets and of targets to another view of the targets.

    Parameters
    ----------
    predicted, target : tensor (n, ...)
    second_view : tensor (n, ...), optional
        Targets of an augmented stimulus; `target` itself by default.
    temperature : float
    """
    view = target if second_view is None else second_view
    among = _logits(target, view, temperature)
    logits = _logits(predicted, view, temperature)
    rows = -(among.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()
    columns = -(among.T.softmax(dim=1) * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (rows + columns) / 2


def _logits(a: torch.Tensor, b: torch.Tensor, temperature: float | torch.Tensor) -> torch.Tensor:
    """Cosines over temperature, in float32 whatever the precision around: at 0.006 half precision is too coarse."""
    with torch.autocast(a.device.type, enabled=False):
        one, other = (functional.normalize(x.flatten(1).float(), dim=1) for x in (a, b))
        return one @ other.T / temperature


def _same(n: int, labels: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """Target mass of each pair: the identity, or spread evenly over the samples of the same label."""
    if labels is None:
        return torch.eye(n, device=like.device)
    equal = (labels[:, None] == labels[None]).to(device=like.device, dtype=torch.float32)
    return equal / equal.sum(dim=1, keepdim=True)


def _two_sided(logits: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
    rows = -(mass * logits.log_softmax(dim=1)).sum(dim=1).mean()
    columns = -(mass.T * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (rows + columns) / 2
