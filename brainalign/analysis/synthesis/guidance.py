"""Diffusion led by the gradient of predicted responses (Luo et al. 2023, NeurIPS: BrainDiVE)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from brainalign.analysis.synthesis.encoder import frozen
from brainalign.analysis.synthesis.prior import Drawn, PlugAndPlay, Score, Work, role_of
from brainalign.analysis.synthesis.self_attention import middle_attention, self_attention_push
from brainalign.errors import DataError, unknown

__all__ = ["Guided", "guided_noise", "null_condition", "sample_guided", "tiled_decode", "time_steps"]

SOLVERS = ("ddim", "dpm++")
_NEEDED = ("condition", "denoise", "decode", "alphas_cumprod", "latent_shape", "accepts")
# Below this share of signal a guess of the clean picture is a quotient of two roundings.
_LEAST_SIGNAL = 1e-3


@dataclass(frozen=True)
class Guided:
    """A latent diffusion model, led.

    Parameters
    ----------
    scale : float
        Of the gradient; 130 was published for z-scored responses and Stable Diffusion 2.1, 0 samples freely.
    steps : int
    solver : {"dpm++", "ddim"}
        DPM-Solver++(2M), as published, or deterministic DDIM.
    blend : bool
        Judge a blend of the guess of the clean picture with the noisy one, as published; False judges the guess.
    through_network : bool
        Send the gradient through the denoiser too, as published; False takes its answer for a constant, at half the
        cost and a part of the memory.
    lead_from : float
        Least share of signal at which the gradient acts, 0 being all steps, as published. Where a schedule begins at
        next to no signal the first gradients are amplified noise of the network: 0.05 suits the embedded generator.
    self_attention : float
        Of self-attention guidance, which sharpens what the network attends to; 0.75 was published. It costs two more
        passes of the denoiser and needs a network with attention in its middle.
    prior : PlugAndPlay, optional
        First draw embeddings of preferred pictures from a latent prior and tell the generator those.
    guidance : float
        Of what the picture is told (classifier-free); 1 is none.
    batch_size : int
    precision : {"float32", "bfloat16", "float16"}
        Of the networks (autocast); the sampler computes in float32.
    checkpoint : bool
        Compute denoiser and decoder once more on the way back instead of keeping what they computed.
    tile : int, optional
        Decode squares of so many latent pixels, each by itself and overlapping by a quarter, for cards of 12 GB.
    """

    scale: float = 130.0
    steps: int = 50
    solver: str = "dpm++"
    blend: bool = True
    through_network: bool = True
    lead_from: float = 0.0
    self_attention: float = 0.0
    prior: PlugAndPlay | None = None
    guidance: float = 1.0
    batch_size: int = 8
    precision: str = "float32"
    checkpoint: bool = False
    tile: int | None = None

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise unknown("solver", self.solver, SOLVERS)
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise unknown("precision", self.precision, ("float32", "bfloat16", "float16"))
        if (
            not np.isfinite(self.scale)
            or self.steps < 1
            or self.batch_size < 1
            or (self.tile or 4) < 4
            or not 0 <= self.lead_from < 1
            or not 0 <= self.self_attention < np.inf
        ):
            raise DataError(
                "guidance cannot be done like this",
                expected="a finite scale, steps and batch_size from 1, tile from 4, lead_from in [0, 1), "
                "self_attention from 0",
                found=self,
            )

    def draw(self, work: Work, numbers: Sequence[int], seeds: Sequence[int]) -> Drawn:
        """Pictures of these numbers, one for each seed."""
        generator = work.generator
        if missing := [one for one in _NEEDED if not hasattr(generator, one)]:
            raise DataError(
                "this generator does not diffuse, so that no gradient can lead it",
                expected="a diffusion model, such as load_generator('mini'), or a GaussianMixture",
                found=f"{type(generator).__name__} without {missing}",
                fix="another generator, or sampler=PlugAndPlay(bank), which leads embeddings",
            )
        if self.self_attention:
            middle_attention(generator)  # refuse before anything is computed
        noise = [torch.randn(generator.latent_shape, generator=torch.Generator().manual_seed(one)) for one in seeds]
        told = null_condition(generator, len(seeds))
        extra: dict[str, list[Any]] = {}
        if self.prior is not None:
            embeddings, extra = self.prior.embeddings(work, numbers, seeds)
            told = generator.condition({role_of(work): embeddings}, list(seeds))
        start = torch.stack(noise).to(generator.device)
        with frozen(generator, getattr(work.guide, "network", None)):
            pictures, values = sample_guided(generator, work.score, start, self, told)
        return Drawn(pictures.permute(0, 2, 3, 1).cpu().numpy(), values.cpu().numpy(), extra)


def sample_guided(
    generator: Any, score: Score, noise: Tensor, options: Guided, told: Any = None
) -> tuple[Tensor, Tensor]:
    """From noise (n, \\*latent_shape) to pictures led by `score`, and the score of each.

    Parameters
    ----------
    generator : object
        With ``condition``, ``denoise``, ``decode``, ``alphas_cumprod``, ``latent_shape`` and ``accepts``: any
        `reconstruction.generators.Diffusion`, or a `GaussianMixture`.
    score : callable
    noise : Tensor
    options : Guided
    told : object, optional
        What `generator.condition` gave.
    """
    shares = generator.alphas_cumprod
    times = time_steps(shares, options.steps)
    x, before = noise, None
    for number, t in enumerate(times):
        guess, _ = guided_noise(generator, x, t, told, score, options)
        if options.self_attention:
            with _autocast(options, x):
                guess = guess + options.self_attention * self_attention_push(generator, x, t, told)
        share = shares[t].to(x)
        nearer = shares[times[number + 1]].to(x) if number + 1 < len(times) else torch.ones_like(share)
        clean = (x - (1 - share).sqrt() * guess) / share.sqrt()
        x, before = _advance(x, clean, before, share, nearer, options.solver)
    with torch.no_grad(), _autocast(options, x):
        pictures = _decode(generator, x, options)
        return pictures.float(), score(pictures).float()


def guided_noise(
    generator: Any, x: Tensor, t: int, condition: Any, score: Score, options: Guided
) -> tuple[Tensor, Tensor]:
    """The noise in `x` at time `t`, less the gradient of the score: eps - sqrt(1 - a) scale grad S.

    With a the share of signal, x0 = (x - sqrt(1 - a) eps) / sqrt(a) and z = sqrt(1 - a) x0 + (1 - sqrt(1 - a)) x, the
    score is that of the decoded z (BrainDiVE, eq. 5 and 6 of its methods in the form of its code).

    Returns
    -------
    noise : Tensor
        As `x`.
    values : Tensor, shape (n,)
        The score at this step.
    """
    share = generator.alphas_cumprod[t].to(x)
    rest = (1 - share).sqrt()

    def denoise(x: Tensor) -> Tensor:
        return generator.denoise(x, t, condition, guidance=options.guidance)

    with _autocast(options, x):
        if options.scale == 0 or float(share) < options.lead_from:
            with torch.no_grad():
                return denoise(x).to(x), x.new_zeros(len(x))
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            if not options.through_network:
                with torch.no_grad():
                    noise = denoise(x)
            elif options.checkpoint:
                noise = checkpoint(denoise, x, use_reentrant=False)
            else:
                noise = denoise(x)
            noise = noise.to(x)
            clean = (x - rest * noise) / share.sqrt()
            judged = rest * clean + (1 - rest) * x if options.blend else clean
            values = score(_decode(generator, judged, options))
            (gradient,) = torch.autograd.grad(values.sum(), x)
    return noise.detach() - rest * options.scale * gradient, values.detach()


def _advance(
    x: Tensor, clean: Tensor, before: Any, share: Tensor, nearer: Tensor, solver: str
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The next, less noisy x; and what the next step wants to know of this one."""
    noise = (x - share.sqrt() * clean) / (1 - share).sqrt()
    log_ratio = 0.5 * (share / (1 - share)).log()
    held = (clean, log_ratio)
    if solver == "ddim" or float(nearer) == 1.0 or before is None:
        # The first order of the solver, and its last step, are those of DDIM.
        return nearer.sqrt() * clean + (1 - nearer).sqrt() * noise, held
    width = 0.5 * (nearer / (1 - nearer)).log() - log_ratio
    ratio = (log_ratio - before[1]) / width
    ahead = clean + (clean - before[0]) / (2 * ratio)
    ends = ((1 - nearer) / (1 - share)).sqrt()
    return ends * x - nearer.sqrt() * torch.expm1(-width) * ahead, held


def time_steps(shares: Tensor, steps: int) -> list[int]:
    """Time steps from the noisiest that holds signal down to the last, evenly ("trailing").

    Examples
    --------
    >>> time_steps(torch.linspace(0.9, 0.01, 1000), 4)
    [999, 749, 499, 249]
    """
    last = int((shares > _LEAST_SIGNAL).nonzero().max()) + 1
    if steps > last:
        raise DataError("more steps than the schedule has", expected=f"up to {last}", found=steps)
    return [round(float(one)) - 1 for one in np.arange(last, 0, -last / steps)][:steps]


def null_condition(generator: Any, n: int) -> Any:
    """What a generator is told when it is to be told nothing: no embedding, the empty prompt."""
    needed = [one for one in generator.accepts if one.required and one.shape]
    values = {one.role: np.zeros((n, *one.shape), np.float32) for one in needed}
    told = generator.condition(values, list(range(n)))
    if told is None or not getattr(told, "free", None):
        return told
    return type(told)(led=told.free)


def tiled_decode(decode: Callable[[Tensor], Tensor], z: Tensor, tile: int, *, keep: bool = False) -> Tensor:
    """Decode squares of `tile` latent pixels that overlap by a quarter, and blend them linearly.

    Memory on the way back is that of one square. Where a decoder looks at the whole picture (group norms, attention),
    squares differ a little from it.

    Parameters
    ----------
    decode : callable
        Latents (n, channels, height, width) to pictures.
    z : Tensor
    tile : int
    keep : bool
        Keep what each square computed for the way back, instead of computing it again.
    """
    height, width = z.shape[-2:]
    total: Any = None
    for top in _starts(height, tile):
        for left in _starts(width, tile):
            part = z[..., top : top + tile, left : left + tile]
            made = decode(part) if keep else checkpoint(decode, part, use_reentrant=False)
            if total is None:
                factor = made.shape[-1] // part.shape[-1]
                total = made.new_zeros(*made.shape[:-2], height * factor, width * factor)
                weight = made.new_zeros(height * factor, width * factor)
            ramp = _ramp(made.shape[-2]).outer(_ramp(made.shape[-1])).to(made)
            rows = slice(top * factor, top * factor + made.shape[-2])
            columns = slice(left * factor, left * factor + made.shape[-1])
            spread = torch.zeros_like(total)
            spread[..., rows, columns] = made * ramp
            total = total + spread
            weight[rows, columns] += ramp
    return total / weight


def _starts(length: int, tile: int) -> list[int]:
    if tile >= length:
        return [0]
    step = tile - max(1, tile // 4)
    return [*range(0, length - tile, step), length - tile]


def _ramp(length: int) -> Tensor:
    rising = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(rising, rising.flip(0)).clamp(max=max(1, length // 4))


def _decode(generator: Any, z: Tensor, options: Guided) -> Tensor:
    if options.tile is not None:
        return tiled_decode(generator.decode, z, options.tile, keep=not torch.is_grad_enabled())
    if options.checkpoint and torch.is_grad_enabled():
        return checkpoint(generator.decode, z, use_reentrant=False)
    return generator.decode(z)


def _autocast(options: Guided, x: Tensor) -> AbstractContextManager[Any]:
    if options.precision == "float32":
        return nullcontext()
    return torch.autocast(x.device.type, dtype=getattr(torch, options.precision))
