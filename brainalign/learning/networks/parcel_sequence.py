"""A causal transformer over the volumes of a parcellated brain."""

from __future__ import annotations

import torch
from torch import nn

from brainalign.errors import DataError
from brainalign.learning.blocks import TransformerBlock

__all__ = ["ParcelSequence"]


class ParcelSequence(nn.Module):
    """Volumes of parcels as tokens, each seeing itself and those before it; the last one, pooled, is what is made.

    The encoder of WAVE (arXiv 2411.07121), without its large-scale pretraining. In training whole
    parcels of a sample are left out at random, and the order of its volumes may be shuffled.

    Parameters
    ----------
    n_channels, n_times : int
        Parcels and volumes.
    width, depth, n_heads : int
        Of the transformer.
    parcel_dropout, shuffle : float
        Share of parcels that are left out, and of samples whose volumes are shuffled.
    dropout : float

    Examples
    --------
    >>> ParcelSequence(20, 5, width=8, n_heads=2)(torch.zeros(2, 20, 5)).shape
    torch.Size([2, 8])
    """

    no_weight_decay = frozenset({"places"})

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        *,
        width: int = 128,
        depth: int = 2,
        n_heads: int = 4,
        parcel_dropout: float = 0.2,
        shuffle: float = 0.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width < 1 or width % n_heads or depth < 1 or not (0 <= parcel_dropout < 1 and 0 <= shuffle <= 1):
            raise DataError(
                "these sizes make no transformer",
                expected="width a multiple of n_heads, depth >= 1, 0 <= parcel_dropout < 1, 0 <= shuffle <= 1",
                found=f"width {width}, n_heads {n_heads}, depth {depth}, {parcel_dropout}, {shuffle}",
            )
        self.width, self.parcel_dropout, self.shuffle = width, parcel_dropout, shuffle
        self.inward = nn.Linear(n_channels, width)
        self.places = nn.Parameter(0.02 * torch.randn(n_times, width))
        self.blocks = nn.Sequential(
            *[TransformerBlock(width, n_heads, dropout=dropout, causal=True, expansion=2) for _ in range(depth)]
        )
        self.norm = nn.LayerNorm(width)
        self.pooler = nn.Linear(width, width)

    def tokens(self, x: torch.Tensor) -> torch.Tensor:
        """What is known of each volume from those up to it, (n, n_times, width)."""
        if self.training and self.parcel_dropout:
            kept = torch.rand(*x.shape[:2], 1, device=x.device) >= self.parcel_dropout
            x = x * kept / (1 - self.parcel_dropout)
        volumes = x.transpose(1, 2)
        if self.training and self.shuffle:
            order = torch.rand(volumes.shape[:2], device=x.device)
            order = torch.where(torch.rand(len(x), 1, device=x.device) < self.shuffle, order, order.sort(dim=1).values)
            volumes = volumes.gather(1, order.argsort(dim=1)[:, :, None].expand_as(volumes))
        return self.norm(self.blocks(self.inward(volumes) + self.places))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pooler(self.tokens(x)[:, -1]).tanh()
