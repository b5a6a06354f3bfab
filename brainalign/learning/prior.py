"""`DiffusionPrior`: from latents that are blurred by prediction to a sample of the latents they may stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from brainalign.errors import DataError
from brainalign.learning.blocks import TransformerBlock

__all__ = ["DiffusionPrior", "sample_latents"]


class DiffusionPrior(nn.Module):
    """Diffusion over latent tokens given as many condition tokens, predicting the clean latents.

    The prior of unCLIP (Ramesh et al. 2022, §2.2) without causal mask, as MindEye uses it: a transformer reads
    condition tokens, a token of time and noised tokens, and its last tokens predict x0. Noise level: cosine schedule
    (Nichol & Dhariwal 2021, eq. 17) in continuous time. Latents should have a variance of about one.

    Parameters
    ----------
    n_tokens, width : int
        Of the latents, (n, n_tokens, width), and of the condition.
    depth, n_heads : int
    head_width : int, optional
        ``width // n_heads`` by default.
    inner : int, optional
        Channels inside, where latents have too few for a transformer; ``width`` by default, without a map between.
    drop_condition : float
        Share of samples that are trained without their condition, which guidance needs.
    dropout : float

    Examples
    --------
    >>> prior = DiffusionPrior(2, 8, depth=1, n_heads=2)
    >>> condition = torch.zeros(3, 2, 8)
    >>> prior.loss(torch.zeros(3, 2, 8), condition).shape, prior.sample(condition, 4).shape
    (torch.Size([3]), torch.Size([3, 2, 8]))
    """

    no_weight_decay = frozenset({"positions", "no_condition"})

    def __init__(
        self,
        n_tokens: int,
        width: int,
        *,
        depth: int = 6,
        n_heads: int = 8,
        head_width: int | None = None,
        inner: int | None = None,
        drop_condition: float = 0.2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_tokens, self.width, self.drop_condition = n_tokens, width, drop_condition
        self.embed = nn.Identity() if inner is None else nn.Linear(width, inner)
        n_out, width = width, inner or width
        self.to_time = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width), nn.SiLU(),
            nn.Linear(2 * width, width),
        )  # fmt: skip
        self.positions = nn.Parameter(torch.randn(2 * n_tokens + 1, width) / math.sqrt(width))
        self.no_condition = nn.Parameter(torch.randn(n_tokens, width))
        self.blocks = nn.ModuleList(
            [
                TransformerBlock(width, n_heads, head_width=head_width, shared=True, dropout=dropout)
                for _ in range(depth)
            ]
        )
        self.norm = nn.LayerNorm(width, bias=False)
        self.outward = nn.Linear(width, n_out, bias=False)

    def forward(
        self, noised: torch.Tensor, time: torch.Tensor, condition: torch.Tensor, keep: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Clean latents predicted from noised ones, (n, n_tokens, width).

        Parameters
        ----------
        noised, condition : tensor (n, n_tokens, width)
        time : tensor (n,)
            From 0, clean, to 1, pure noise.
        keep : tensor of bool (n,), optional
            Whose condition is seen; all by default.
        """
        condition, noised = self.embed(condition), self.embed(noised)
        if keep is not None:
            condition = torch.where(keep[:, None, None], condition, self.no_condition)
        moment = self.to_time(_waves(time, self.positions.shape[1]))[:, None]
        x = torch.cat([condition, moment, noised], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.outward(self.norm(x[:, -self.n_tokens :]))

    def loss(
        self, clean: torch.Tensor, condition: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Squared error of the prediction of each sample at a random noise level, (n,)."""
        n, device = len(clean), clean.device
        time = torch.rand(n, generator=generator, device=device)
        keep = torch.rand(n, generator=generator, device=device) >= self.drop_condition
        noise = torch.randn(clean.shape, generator=generator, device=device)
        signal, spread = levels(time)
        noised = signal[:, None, None] * clean + spread[:, None, None] * noise
        return (self(noised, time, condition, keep) - clean).square().flatten(1).mean(dim=1)

    def sample(
        self, condition: torch.Tensor, n_steps: int = 20, guidance: float = 1.0, seed: int | Sequence[int] = 0
    ) -> torch.Tensor:
        """Draw latents, one for each condition, see `sample_latents`.

        Parameters
        ----------
        condition : tensor (n, n_tokens, width)
        n_steps : int
        guidance : float
            Classifier-free guidance (Ho & Salimans 2022): 1 follows the condition, more exaggerates it, 0 ignores it.
        seed : int or sequence of int
            Of the noise of each item; one number gives every item the same noise. What is drawn for an item never
            depends on the others.

        Raises
        ------
        DataError
        """

        def predict(noised: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            guided = self(noised, time, condition)
            if guidance == 1:
                return guided
            free = self(noised, time, condition, torch.zeros(len(noised), dtype=torch.bool, device=noised.device))
            return free + guidance * (guided - free)

        noise = noise_of(seed, len(condition), (self.n_tokens, self.width)).to(condition)
        with torch.no_grad():
            return sample_latents(predict, noise, n_steps)


def sample_latents(predict: object, noise: torch.Tensor, n_steps: int) -> torch.Tensor:
    """Follow the probability flow from noise to latents by DPM-Solver++ of second order (Lu et al. 2022, algorithm 2).

    Parameters
    ----------
    predict : callable
        ``predict(noised, time)`` returns the expected clean latents; time has one entry a sample.
    noise : tensor (n, ...)
    n_steps : int
        Evaluations of `predict`.

    Raises
    ------
    DataError
        When there is no step.

    Examples
    --------
    For latents that all equal 3 the expected clean latents are 3, and so is every sample.

    >>> sample_latents(lambda noised, time: torch.full_like(noised, 3.0), torch.randn(5, 2), 4).unique().tolist()
    [3.0]
    """
    if n_steps < 1:
        raise DataError("sampling needs at least one step", found=n_steps)
    times = torch.linspace(_LAST, 0.0, n_steps + 1, dtype=torch.float64)
    signal, spread = levels(times)
    log_ratio = torch.log(signal / spread.clamp_min(1e-12))
    x, before, step_before = noise, None, 0.0
    for number in range(n_steps):
        time = torch.full((len(x),), float(times[number]), device=x.device, dtype=x.dtype)
        clean = predict(x, time)  # type: ignore[operator]
        if number == n_steps - 1:
            return clean
        step = float(log_ratio[number + 1] - log_ratio[number])
        ahead = clean
        if before is not None:
            ahead = clean + (clean - before) * step / (2 * step_before)
        x = float(spread[number + 1] / spread[number]) * x - float(signal[number + 1]) * math.expm1(-step) * ahead
        before, step_before = clean, step
    return x


_LAST = 0.999
"""Where sampling begins: at 1 the signal is exactly nothing, and its logarithm infinite."""


def levels(time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors of signal and noise at a time from 0 to 1; their squares sum to one."""
    offset = 0.008
    angle = (time + offset) / (1 + offset) * math.pi / 2
    start = math.cos(offset / (1 + offset) * math.pi / 2)
    signal = (torch.cos(angle) / start).clamp(0.0, 1.0)
    return signal, (1 - signal.square()).clamp_min(0.0).sqrt()


def noise_of(seed: int | Sequence[int], n: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise (n, \\*shape), each item from its own seed, whatever the batch around it."""
    seeds = [int(seed)] * n if isinstance(seed, (int, np.integer)) else [int(one) for one in seed]
    if len(seeds) != n:
        raise DataError("seed must be one number, or one for each item", expected=n, found=len(seeds))
    made = {
        one: np.random.default_rng(np.random.SeedSequence(one)).standard_normal(shape, dtype=np.float32)
        for one in set(seeds)
    }
    return torch.from_numpy(np.stack([made[one] for one in seeds])) if n else torch.empty(0, *shape)


def _waves(time: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines of a time from 0 to 1, (n, width)."""
    half = (width + 1) // 2
    rates = torch.exp(torch.linspace(0, math.log(1000.0), half, device=time.device))
    phase = time[:, None] * rates
    return torch.cat([phase.sin(), phase.cos()], dim=1)[:, :width]
