"""The channel transformer of ATM-S: channels as tokens, with a token for the subject."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["ChannelTransformer"]


class ChannelTransformer(nn.Module):
    """Attention among channels, each a token that holds its whole time course.

    The first part of ATM-S (Li et al. 2024, "Visual decoding and reconstruction via EEG embeddings with guided
    diffusion"), after iTransformer (Liu et al. 2024). There are no codes of position: in the paper they do not help.

    Parameters
    ----------
    n_channels, n_times : int
        Tokens and their width; both stay as they are.
    n_heads, n_layers, hidden : int
        Of attention, of blocks, and of the feed-forward layer.
    dropout : float

    Examples
    --------
    >>> network = ChannelTransformer(63, 250)
    >>> network(torch.zeros(2, 63, 250), torch.zeros(2, 250)).shape
    torch.Size([2, 63, 250])
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        *,
        n_heads: int = 4,
        n_layers: int = 1,
        hidden: int = 256,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.embedding = nn.Sequential(nn.Linear(n_times, n_times), nn.Dropout(dropout))
        self.blocks = nn.ModuleList([_Block(n_times, n_heads, hidden, dropout) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(n_times)

    def forward(self, x: torch.Tensor, subject: torch.Tensor | None = None) -> torch.Tensor:
        """Signals of the same shape.

        Parameters
        ----------
        x : tensor (n, n_channels, n_times)
        subject : tensor (n, n_times), optional
            The token of the subject of each sample; the channels read it, and it is left out of the result.
        """
        tokens = self.embedding(x)
        if subject is not None:
            tokens = torch.cat([tokens, subject[:, None]], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, : self.n_channels]


class _Block(nn.Module):
    """Attention, then a feed-forward layer, each added and normalised after (not before, as in `learning.blocks`)."""

    def __init__(self, width: int, n_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, inner = n_heads, max(1, width // n_heads) * n_heads
        self.to_all = nn.Linear(width, 3 * inner)
        self.outward = nn.Linear(inner, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = (one.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for one in self.to_all(x).chunk(3, dim=-1))
        drop = self.dropout.p if self.training else 0.0
        made = nn.functional.scaled_dot_product_attention(*parts, dropout_p=drop)
        x = self.norms[0](x + self.dropout(self.outward(made.transpose(1, 2).flatten(2))))
        return self.norms[1](x + self.dropout(self.feed_forward(x)))
