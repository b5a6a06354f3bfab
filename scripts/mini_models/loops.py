"""Training loops: each ends after its steps, or after its seconds where those are fewer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mini_models.data import LABELS
from mini_models.networks import EMBED, NOISE_SCHEDULE


def autocast(device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, dtype=torch.bfloat16)


def as_picture(images: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


class Run:
    """One cosine run of AdamW, by steps or by seconds, whichever ends first."""

    def __init__(self, module: nn.Module, lr: float, *, steps: int, seconds: float, decay: float, name: str) -> None:
        device = next(module.parameters()).device.type
        groups = [
            {"params": [p for p in module.parameters() if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in module.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=device == "cuda")
        self.module, self.lr, self.steps, self.seconds, self.name = module, lr, steps, seconds, name
        self.step, self.start = 0, time.perf_counter()

    def __iter__(self) -> Iterator[float]:
        """Progress from 0 to 1."""
        while True:
            elapsed = time.perf_counter() - self.start
            progress = max(self.step / self.steps, elapsed / self.seconds)
            if progress >= 1:
                print(f"{self.name}: {self.step} steps in {elapsed:.1f} s", flush=True)
                return
            warm = min(1.0, (self.step + 1) / min(100, max(1, self.steps // 5)))
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * warm * (0.5 + 0.5 * math.cos(math.pi * progress))
            yield progress

    def descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        if self.step % 200 == 0:
            print(f"{self.name}: step {self.step}, loss {float(loss.detach()):.4f}", flush=True)
        self.step += 1


def hard_groups(labels: np.ndarray, names: tuple[str, ...], least: int) -> list[Tensor]:
    """Rows that share these attributes, one tensor a group of at least `least` rows."""
    columns = [list(LABELS).index(name) for name in names]
    keys = np.ravel_multi_index(tuple(labels[:, c] for c in columns), [len(LABELS[name]) for name in names])
    order = np.argsort(keys, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)
    return [torch.from_numpy(part) for part in parts if len(part) >= least]


def train_clip(clip: nn.Module, data: dict[str, Tensor], labels: np.ndarray, *, batch: int, run: dict[str, Any]) -> int:
    """Contrastive training: random batches first, then every other batch of scenes alike in all but a few things."""
    device = data["images"].device
    n = len(labels)
    n_groups = 6
    share = batch // n_groups
    alike = [
        [group.to(device) for group in hard_groups(labels, names, min(share, 32))]
        for names in (("colour", "background"), ("kind", "colour"), ("colour", "background"))
    ]
    steps = Run(clip, 2e-3, decay=0.1, name="clip", **run)
    for progress in steps:
        hard = progress > 0.3 and steps.step % 2 == 0
        pool = alike[(steps.step // 2) % 3]
        if hard and pool:
            chosen = [pool[i] for i in torch.randint(len(pool), (n_groups,)).tolist()]
            rows = torch.cat([g[torch.randint(len(g), (share,), device=device)] for g in chosen])
            tokens = data["tokens"][rows, 0]
        else:
            rows = torch.randint(n, (batch,), device=device)
            template = torch.randint(8, (batch,), device=device) * (torch.rand(batch, device=device) < 0.5)
            tokens = data["tokens"][rows, template]
        with autocast(device.type):
            images = clip.encode_image(as_picture(data["images"][rows]), normalize=True)
            texts = clip.encode_text(tokens.long(), normalize=True)
        logits = clip.logit_scale.exp() * images.float() @ texts.float().T
        same = (tokens[:, None] == tokens[None]).all(-1).float()  # one caption may belong to several pictures
        target = same / same.sum(1, keepdim=True)
        steps.descend((F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2)
        with torch.no_grad():
            clip.logit_scale.clamp_(0, math.log(100))
    return steps.step


def train_vae(vae: nn.Module, images: Tensor, *, batch: int, run: dict[str, Any]) -> int:
    """Squared, absolute and gradient errors, with a light pull of the latents towards a Gaussian."""
    steps = Run(vae, 2e-3, decay=1e-4, name="vae", **run)
    for _ in steps:
        pictures = as_picture(images[torch.randint(len(images), (batch,), device=images.device)])
        with autocast(images.device.type):
            posterior = vae.encode(pictures).latent_dist
            found = vae.decode(posterior.mean + posterior.std * torch.randn_like(posterior.mean)).sample
        error = found.float() - pictures
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        loss = error.square().mean() + 0.3 * error.abs().mean() + 0.15 * edges
        steps.descend(loss + 5e-4 * posterior.kl().float().mean() / posterior.mean[0].numel())
    return steps.step


def train_judge(judge: nn.Module, data: dict[str, Tensor], *, batch: int, run: dict[str, Any]) -> int:
    """Cross-entropy over every attribute; noise and blur on the pictures, so that soft samples are judged fairly."""
    steps = Run(judge, 2e-3, decay=1e-2, name="judge", **run)
    device = data["images"].device
    for _ in steps:
        rows = torch.randint(len(data["images"]), (batch,), device=device)
        pictures = data["images"][rows].float() / 255
        if steps.step % 2:
            soft = F.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
            pictures = (soft + 0.04 * torch.randn_like(soft)).clamp(0, 1)
        with autocast(device.type):
            logits = judge(pictures)
        truth = data["labels"][rows].long()
        steps.descend(sum(F.cross_entropy(logits[name].float(), truth[:, i]) for i, name in enumerate(LABELS)))
    return steps.step


def condition_with_noise(embeddings: Tensor, levels: Tensor, scheduler: Any, normalizer: Any) -> Tensor:
    """What `StableUnCLIPImg2ImgPipeline.noise_image_embeddings` makes of embeddings, one level for each."""
    from diffusers.models.embeddings import get_timestep_embedding

    scaled = normalizer.scale(embeddings)
    noisy = scheduler.add_noise(scaled, torch.randn_like(scaled), levels)
    code = get_timestep_embedding(levels, EMBED, flip_sin_to_cos=True, downscale_freq_shift=0)
    return torch.cat([normalizer.unscale(noisy), code], 1)


def train_unet(
    unet: nn.Module, latents: Tensor, condition: Callable[[Tensor, Tensor], Tensor], *, batch: int, run: dict[str, Any],
    save: Callable[[list[Tensor]], None],
) -> tuple[list[Tensor], int]:  # fmt: skip
    """v-prediction with dropped conditions; returns the averaged weights. `save` is called now and then."""
    from diffusers import DDIMScheduler

    device = latents.device
    alphas = DDIMScheduler(**NOISE_SCHEDULE).alphas_cumprod.to(device)
    weights = list(unet.parameters())
    average = [weight.detach().clone() for weight in weights]
    text = torch.zeros(batch, 1, 8, device=device)
    steps = Run(unet, 1e-3, decay=1e-2, name="unet", **run)
    saved = time.perf_counter()
    for _ in steps:
        rows = torch.randint(len(latents), (batch,), device=device)
        clean, noise = latents[rows].float(), torch.randn(batch, *latents.shape[1:], device=device)
        times = torch.randint(len(alphas), (batch,), device=device)
        level = (1000 * torch.rand(batch, device=device) ** 2).long() * (torch.rand(batch, device=device) < 0.5)
        kept = (torch.rand(batch, 1, device=device) > 0.1).float()
        signal, spread = alphas[times].sqrt()[:, None, None, None], (1 - alphas[times]).sqrt()[:, None, None, None]
        with autocast(device.type):
            found = unet(signal * clean + spread * noise, times, text, class_labels=condition(rows, level) * kept)
        steps.descend(F.mse_loss(found.sample.float(), signal * noise - spread * clean))
        torch._foreach_lerp_(average, weights, 1 - min(0.9995, (1 + steps.step) / (10 + steps.step)))
        if time.perf_counter() - saved > 40:
            save(average)
            saved = time.perf_counter()
    return average, steps.step
