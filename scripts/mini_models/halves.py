"""Guidance is chosen on one half of the held-out scenes and reported on the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mini_models import loops, measures
from mini_models.data import LABELS

GUIDANCES = (1.0, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class Models:
    """What draws pictures of true embeddings and what judges them; `scale` is the autoencoder's scaling factor."""

    clip: nn.Module
    vae: nn.Module
    judge: nn.Module
    unet: nn.Module
    normalizer: nn.Module
    augment: Any
    scale: float


def measure_halves(
    models: Models,
    images: Tensor,
    truth: np.ndarray,
    note: Callable[[str, Any], None],
    guidances: Sequence[float] = GUIDANCES,
) -> list[Tensor]:
    """Choose the guidance on the first half of the scenes by the mean of what the judge reads, report it on the second.

    Parameters
    ----------
    models : Models
    images : tensor of uint8, shape (n, 3, 64, 64)
    truth : array (n, n_attributes)
        Labels.
    note : callable
        Takes name and finding: ``"choosing at guidance G"`` for each, ``"guidance"``, ``"samples at guidance G"``.
    guidances : sequence of float

    Returns
    -------
    list of tensor
        The first pictures at each guidance, then those reported.
    """
    half = len(images) // 2
    sheet, means = [], []
    for guidance in guidances:
        found, told = drawn(models, images[:half], truth[:half], guidance)
        note(f"choosing at guidance {guidance:g}", told)
        sheet.append(found[:24])
        means.append(float(np.mean([told[name] for name in LABELS])))
    best = guidances[int(np.argmax(means))]
    note("guidance", {"chosen": best, "scenes": half, "mean read": dict(zip(map(str, guidances), means))})
    true = images[half:].float() / 255
    note("judge on the reporting half", measures.measure_judge(models.judge, true, truth[half:]))
    found, told = drawn(models, images[half:], truth[half:], best)
    note(f"samples at guidance {best:g}", told)
    return [*sheet, found[:24]]


def drawn(models: Models, images: Tensor, truth: np.ndarray, guidance: float) -> tuple[Tensor, dict[str, float]]:
    """Pictures made of true embeddings, and what is measured of them: shares read by the judge, PSNR, by CLIP."""
    n = len(images)
    given = measures.embed_images(models.clip, images)
    levels = torch.zeros(n, dtype=torch.long, device=images.device)
    code = loops.condition_with_noise(given, levels, models.augment, models.normalizer)
    found = measures.decode_latents(models.vae, measures.sample(models.unet, code, guidance=guidance) / models.scale)
    own = measures.embed_images(models.clip, (found * 255).round().to(torch.uint8))
    hit = float(((own @ given.T).argmax(1) == torch.arange(n, device=images.device)).float().mean())
    told = measures.measure_judge(models.judge, found, truth)
    return found, {**told, "psnr": measures.psnr(found, images.float() / 255), f"identified by CLIP among {n}": hit}
