"""`VectorQuantiser`: vectors to the nearest of a few learnt codes, with a straight-through gradient."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from brainalign.errors import DataError

__all__ = ["Quantised", "VectorQuantiser", "perplexity"]


class Quantised(NamedTuple):
    """What a `VectorQuantiser` makes of vectors."""

    values: torch.Tensor
    """The codes, (..., width); their gradient goes to the vectors unchanged."""
    index: torch.Tensor
    """Number of the code, (...)."""
    commitment: torch.Tensor
    """Squared distance of each vector to its code, mean over channels, (...); moves the vectors alone."""


class VectorQuantiser(nn.Module):
    """Codes that follow the means of the vectors nearest to them.

    van den Oord et al. 2017, "Neural discrete representation learning": the straight-through gradient of §3.1 and
    the moving averages of appendix A.1. A code is the moving sum of its vectors over their moving count, so no
    gradient reaches it. The first training batch starts the codes by k-means.

    Parameters
    ----------
    n_codes, width : int
    decay : float
        Of the moving averages, per training batch.
    revive : float
        Codes whose moving count falls below this share of the mean count begin again at a random vector of the batch
        (Dhariwal et al. 2020, "Jukebox", §3.1), so that codes do not fall out of use; 0 leaves them where they are.

    Examples
    --------
    >>> layer = VectorQuantiser(2, 1)
    >>> made = layer(torch.tensor([[-1.0], [-1.0], [2.0], [2.0]]))
    >>> made.values[:, 0].tolist(), made.commitment.sum().item()
    ([-1.0, -1.0, 2.0, 2.0], 0.0)
    """

    def __init__(self, n_codes: int, width: int, *, decay: float = 0.99, revive: float = 0.0) -> None:
        super().__init__()
        if n_codes < 1 or width < 1 or not 0 <= decay < 1 or not 0 <= revive < 1:
            raise DataError(
                "these options make no codebook",
                expected="n_codes and width of at least 1, 0 <= decay < 1, 0 <= revive < 1",
                found={"n_codes": n_codes, "width": width, "decay": decay, "revive": revive},
            )
        self.decay, self.revive = decay, revive
        self.codes: torch.Tensor
        self.counts: torch.Tensor
        self.sums: torch.Tensor
        self.register_buffer("codes", torch.zeros(n_codes, width))
        self.register_buffer("counts", torch.zeros(n_codes))  # all zero until the codes are started
        self.register_buffer("sums", torch.zeros(n_codes, width))

    def nearest(self, x: torch.Tensor) -> torch.Tensor:
        """Number of the code nearest to each vector (..., width), by Euclidean distance."""
        # The square of x itself is the same for all codes.
        return (self.codes.square().sum(dim=1) - 2 * x @ self.codes.T).argmin(dim=-1)

    def forward(self, x: torch.Tensor) -> Quantised:
        flat = x.detach().flatten(0, -2)
        if self.training and not self.counts.any():
            self.start(flat)
        index = self.nearest(x.detach())
        values = self.codes[index]
        if self.training:
            self._follow(flat, index.flatten())
        return Quantised(x + (values - x).detach(), index, (x - values).square().mean(dim=-1))

    @torch.no_grad()
    def start(self, x: torch.Tensor, n_iter: int = 10) -> None:
        """Put the codes at the k-means of vectors (n, width), begun at a random choice of them."""
        n_codes = len(self.codes)
        chosen = torch.randperm(len(x), device="cpu")[:n_codes].to(x.device)
        if len(chosen) < n_codes:  # the rest repeats some, and is told apart by what comes later
            chosen = torch.cat([chosen, torch.randint(len(x), (n_codes - len(chosen),)).to(x.device)])
        self.codes.copy_(x[chosen])
        counts = torch.ones_like(self.counts)
        for _ in range(n_iter):
            sums, counts = self._gathered(x, self.nearest(x))
            self.codes.copy_(torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), self.codes))
        self.counts.copy_(counts.clamp_min(1))
        self.sums.copy_(self.codes * self.counts[:, None])

    def _gathered(self, x: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.to(self.sums.dtype)
        sums = torch.zeros_like(self.sums).index_add(0, index, x)
        counts = torch.zeros_like(self.counts).index_add(0, index, torch.ones_like(x[:, 0]))
        return sums, counts

    @torch.no_grad()
    def _follow(self, x: torch.Tensor, index: torch.Tensor) -> None:
        sums, counts = self._gathered(x, index)
        self.counts.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        # Sum and count of a code that nothing chooses fade alike, so that it stays where it is until both underflow.
        alive = self.counts > 1e-6
        self.codes.copy_(torch.where(alive[:, None], self.sums / self.counts[:, None].clamp_min(1e-6), self.codes))
        mean = self.counts.mean()
        if self.revive and (idle := (self.counts < self.revive * mean).nonzero()[:, 0]).numel():
            chosen = x[torch.randint(len(x), (len(idle),)).to(x.device)].to(self.codes.dtype)
            self.codes[idle], self.counts[idle], self.sums[idle] = chosen, mean, chosen * mean


def perplexity(index: torch.Tensor, n_codes: int) -> torch.Tensor:
    """How many codes are in use: the exponential of the entropy of their shares, 1 to `n_codes`.

    Examples
    --------
    >>> round(perplexity(torch.tensor([0, 1, 2, 3]), 8).item(), 4)
    4.0
    """
    share = torch.bincount(index.flatten(), minlength=n_codes) / index.numel()
    return torch.special.entr(share).sum().exp()
