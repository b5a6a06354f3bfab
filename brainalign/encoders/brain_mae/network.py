"""The network of BrainMAE: attention between parcels by their embeddings, states of windows, and hidden windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from brainalign.errors import DataError
from brainalign.learning import Batch
from brainalign.learning.blocks import SwiGLU, TransformerBlock, sinusoids
from brainalign.learning.masking import random_mask

__all__ = ["BrainMAENetwork", "GuidedAttention", "Sizes", "hidden_window_loss"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a `BrainMAENetwork`, as in `BrainMAE`."""

    window: int
    width: int
    n_guided: int
    n_adaptive: int
    n_queries: int
    depth: int
    n_heads: int
    hidden: int
    dropout: float


class GuidedAttention(nn.Module):
    """Attention between parcels whose weights follow from the embeddings of the parcels alone.

    ``softmax(Q(e_i) . K(e_j) / sqrt(d))``, the same for all samples and times; the values are the signals.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.to_query, self.to_key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.norm, self.to_value = nn.LayerNorm(width), nn.Linear(width, width, bias=False)
        self.outward = nn.Linear(width, width, bias=False)

    def weights(self, embeddings: torch.Tensor) -> torch.Tensor:
        """From embeddings (n_parcels, width) the weights (n_heads, n_parcels, n_parcels); rows add up to one."""
        queries, keys = (
            one(embeddings).unflatten(1, (self.n_heads, -1)).transpose(0, 1) for one in (self.to_query, self.to_key)
        )
        return (queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[2])).softmax(dim=2)

    def forward(self, x: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        values = self.to_value(self.norm(x)).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
        return self.outward((self.weights(embeddings) @ values).transpose(1, 2).flatten(2))


class GuidedBlock(nn.Module):
    """Guided attention and a gated feed-forward layer, both residual."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = GuidedAttention(width, n_heads)
        self.feed_forward = SwiGLU(width, 2, dropout)

    def forward(self, x: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x, embeddings)
        return x + self.feed_forward(x)


class BrainMAENetwork(nn.Module):
    """Parcels by volumes to a token a window, in the context of the others; and to targets.

    Parameters
    ----------
    n_parcels, n_times : int
    n_out : mapping of str to int
        Outputs of each target.
    sizes : Sizes

    Raises
    ------
    DataError
        When a trial holds no whole number of windows, or less than two.
    """

    no_weight_decay = frozenset({"embeddings", "hidden", "queries"})

    def __init__(self, n_parcels: int, n_times: int, n_out: Mapping[str, int], sizes: Sizes) -> None:
        super().__init__()
        if n_times % sizes.window or n_times < 2 * sizes.window:
            raise DataError(
                "trials hold no whole number of windows, or a single one",
                expected=f"a multiple of {sizes.window} volumes, at least {2 * sizes.window}",
                found=f"{n_times} volumes",
                fix="cut trials with trials.select(times=...), or change window",
            )
        width, dropout = sizes.width, sizes.dropout
        self.n_times, self.window, self.n_windows = n_times, sizes.window, n_times // sizes.window
        self.embeddings = nn.Parameter(torch.randn(n_parcels, width) / math.sqrt(width))
        self.inward = nn.Linear(sizes.window, width)
        self.guided = nn.ModuleList([GuidedBlock(width, sizes.n_heads, dropout) for _ in range(sizes.n_guided)])
        self.adaptive = nn.Sequential(
            *[TransformerBlock(width, sizes.n_heads, dropout=dropout, expansion=2) for _ in range(sizes.n_adaptive)]
        )
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(sizes.n_queries, width) / math.sqrt(width))
        self.to_state = nn.Linear(sizes.n_queries * width, width)
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        self.places: torch.Tensor
        self.register_buffer("places", sinusoids(self.n_windows, width), persistent=False)
        self.blocks = nn.Sequential(
            *[TransformerBlock(width, sizes.n_heads, dropout=dropout, expansion=2) for _ in range(sizes.depth)]
        )
        self.to_window = nn.Sequential(nn.LayerNorm(width), SwiGLU(width, 2, dropout), nn.Linear(width, sizes.window))
        self.n_out = dict(n_out)
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, sizes.hidden), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(sizes.hidden, sum(n_out.values())),
        )  # fmt: skip

    def windows(self, x: torch.Tensor) -> torch.Tensor:
        """Flat responses (n, n_parcels * n_times) as (n, n_windows, n_parcels, window)."""
        return x.unflatten(1, (-1, self.n_windows, self.window)).transpose(1, 2)

    def states(self, windows: torch.Tensor) -> torch.Tensor:
        """The state of the brain in each window, (n, n_windows, width), from that window alone."""
        x = self.inward(windows.flatten(0, 1)) + self.embeddings
        for block in self.guided:
            x = block(x, self.embeddings)
        x = self.norm(self.adaptive(x))
        share = (self.queries @ self.embeddings.T).softmax(dim=1)
        return self.to_state((share @ x).flatten(1)).unflatten(0, windows.shape[:2])

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (n, n_windows, width); the windows of a mask (n, n_windows) are hidden."""
        states = self.states(self.windows(x))
        if mask is not None:
            states = torch.where(mask[:, :, None], self.hidden, states)
        return self.blocks(states + self.places)

    def filled_in(self, tokens: torch.Tensor) -> torch.Tensor:
        """Signals (n, n_windows, n_parcels, window) that tokens and embeddings tell of."""
        return self.to_window(tokens[:, :, None] + self.embeddings)

    def heads(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits of each target, (n, n_out)."""
        made = self.head(self(x).mean(dim=1)).split(list(self.n_out.values()), dim=1)
        return dict(zip(self.n_out, made, strict=True))

    def add_subject(self, subject: str, n_features: int) -> None:
        """All parcels are shared; only their number is checked."""
        if n_features != len(self.embeddings) * self.n_times:
            raise DataError(
                f"subject '{subject}' has other parcels or volumes than those fitted on",
                expected=f"{len(self.embeddings)} parcels by {self.n_times} volumes",
                found=f"{n_features} features",
                fix="take the same atlas and window",
            )

    def own(self, subject: str) -> nn.Module:
        """Nothing belongs to one subject alone."""
        raise DataError(
            "nothing in this network belongs to one subject alone",
            fix="transfer with freeze_shared=False, or predict subjects never seen with unseen='shared'",
        )


def hidden_window_loss(share: float) -> object:
    """Mean squared error of the signals in hidden windows."""

    def loss(model: BrainMAENetwork, batch: Batch) -> dict[str, torch.Tensor]:
        x = batch["x"]
        mask = random_mask(len(x), model.n_windows, share).to(x.device)
        errors = (model.filled_in(model(x, mask)) - model.windows(x)).square().mean(dim=(2, 3))
        return {"loss": errors[mask].mean()}

    return loss
