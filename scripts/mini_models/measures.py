"""What the trained networks can do, on scenes of another seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mini_models.data import LABELS, Words
from mini_models.loops import as_picture, hard_groups
from mini_models.networks import LATENT, NOISE_SCHEDULE


@torch.inference_mode()
def embed_images(clip: nn.Module, images: Tensor, size: int = 1000) -> Tensor:
    """Unit embeddings, in float32."""
    return torch.cat([clip.encode_image(as_picture(part), normalize=True).float() for part in images.split(size)])


@torch.inference_mode()
def encode_latents(vae: nn.Module, images: Tensor, size: int = 500) -> Tensor:
    """Unscaled modes."""
    return torch.cat([vae.encode(as_picture(part)).latent_dist.mean for part in images.split(size)])


@torch.inference_mode()
def decode_latents(vae: nn.Module, latents: Tensor, size: int = 500) -> Tensor:
    """Pictures in [0, 1]."""
    return torch.cat([(vae.decode(part).sample / 2 + 0.5).clamp(0, 1) for part in latents.split(size)])


@torch.inference_mode()
def measure_clip(clip: nn.Module, data: dict[str, Tensor], labels: np.ndarray, words: Words) -> dict[str, float]:
    """Picture to caption: among 100 at random, among 100 of one colour and background, and which of 8 categories."""
    images = embed_images(clip, data["images"])
    texts = torch.cat([clip.encode_text(p.long(), normalize=True) for p in data["tokens"][:, 0].split(1000)]).float()

    def top(rows: Tensor) -> float:
        hits = texts[rows] @ images[rows].T
        own = hits.diagonal()
        ties = (hits >= own[None] - 1e-6).sum(0)  # equal captions share the credit
        return float(((hits > own[None] + 1e-6).sum(0) == 0).float().div(ties).mean())

    found = {"retrieval_100": float(np.mean([top(part) for part in torch.arange(len(images)).split(100)]))}
    pairs = ("colour", "background")
    wide = [group[:100] for group in hard_groups(labels, pairs, 100) or hard_groups(labels, pairs, 8)]
    if wide:
        found["hard_retrieval"] = float(np.mean([top(group) for group in wide]))
        found["hard_gallery"] = float(np.mean([len(group) for group in wide]))
    device = data["images"].device
    for name, form in (("zero_shot", "a {}"), ("zero_shot_photo", "a photo of a {}")):
        rows = torch.from_numpy(np.stack([words.row(form.format(one)) for one in LABELS["category"]])).to(device)
        guess = (images @ clip.encode_text(rows.long(), normalize=True).float().T).argmax(1).cpu().numpy()
        found[name] = float((guess == labels[:, 0]).mean())
    return found


@torch.inference_mode()
def measure_judge(judge: nn.Module, pictures: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Share of pictures in which the judge reads the true value, per attribute."""
    parts = [judge(part) for part in pictures.split(1000)]
    return {
        name: float((torch.cat([part[name] for part in parts]).argmax(1).cpu().numpy() == labels[:, i]).mean())
        for i, name in enumerate(LABELS)
    }


def psnr(found: Tensor, true: Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB."""
    return float((-10 * (found - true).square().mean((1, 2, 3)).log10()).mean())


@torch.inference_mode()
def sample(unet: nn.Module, condition: Tensor, *, guidance: float, steps: int = 20, seed: int = 0) -> Tensor:
    """Deterministic DDIM with classifier-free guidance; scaled latents."""
    from diffusers import DDIMScheduler

    device = condition.device
    scheduler = DDIMScheduler(**NOISE_SCHEDULE)
    scheduler.set_timesteps(steps, device=device)
    noise = torch.Generator("cpu").manual_seed(seed)
    x = torch.randn(len(condition), *LATENT, generator=noise).to(device)
    both = torch.cat([torch.zeros_like(condition), condition])
    text = torch.zeros(len(both), 1, 8, device=device)
    for t in scheduler.timesteps:
        free, led = unet(torch.cat([x, x]), t, text, class_labels=both).sample.chunk(2)
        x = scheduler.step(free + guidance * (led - free), t, x).prev_sample
    return x


def contact_sheet(rows: list[Tensor], path: Any, columns: int = 24) -> None:
    """Rows of pictures in [0, 1], one under the other."""
    from PIL import Image

    lines = [torch.cat(list(row[:columns]), 2) for row in rows]
    array = (torch.cat(lines, 1).permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
    Image.fromarray(array).save(path)
