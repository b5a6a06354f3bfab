"""Building blocks of alignment networks; every one is a plain ``torch.nn.Module`` of tensors with samples first."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from brainalign.errors import DataError

__all__ = [
    "Attention",
    "MixerBlock",
    "Projector",
    "ResidualMLP",
    "SwiGLU",
    "TransformerBlock",
    "Upsampler",
    "sinusoids",
]


class ResidualMLP(nn.Module):
    """Residual blocks Linear, LayerNorm, GELU, dropout: the backbone of MindEye.

    Examples
    --------
    >>> ResidualMLP(8, n_blocks=2)(torch.zeros(3, 8)).shape
    torch.Size([3, 8])
    """

    def __init__(self, width: int, n_blocks: int = 4, dropout: float = 0.15) -> None:
        super().__init__()

        def block() -> nn.Module:
            return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout))

        self.blocks = nn.ModuleList([block() for _ in range(n_blocks)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class MixerBlock(nn.Module):
    """Mixes channels, then positions, each with a residual two-layer perceptron (Tolstikhin et al. 2021).

    Parameters
    ----------
    width, n_tokens : int
        Of the input (n, n_tokens, width); with one token only scalars are mixed there, as in MindEye2.

    Examples
    --------
    >>> MixerBlock(8, 3)(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, width: int, n_tokens: int = 1, dropout: float = 0.15) -> None:
        super().__init__()
        self.channels = nn.Sequential(nn.LayerNorm(width), _perceptron(width, dropout))
        # A norm over a single position would make every value its bias.
        norm = nn.LayerNorm(n_tokens) if n_tokens > 1 else nn.Identity()
        self.tokens = nn.Sequential(norm, _perceptron(n_tokens, dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.channels(x)
        return x + self.tokens(x.transpose(1, 2)).transpose(1, 2)


def _perceptron(width: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width))


class Projector(nn.Sequential):
    """Three layers (LayerNorm, GELU, Linear) into the space where samples are contrasted, token by token."""

    def __init__(self, width: int, hidden: int, n_out: int | None = None) -> None:
        sizes = [width, hidden, hidden, n_out or width]
        super().__init__(
            *[
                layer
                for before, after in pairwise(sizes)
                for layer in (nn.LayerNorm(before), nn.GELU(), nn.Linear(before, after))
            ]
        )


class SwiGLU(nn.Module):
    """Feed-forward layer with a gate (Shazeer 2020): ``W2 (a * silu(b))`` with ``[a, b] = W1 norm(x)``."""

    def __init__(self, width: int, expansion: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.inward = nn.Linear(width, 2 * expansion * width, bias=False)
        self.outward = nn.Linear(expansion * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.inward(self.norm(x)).chunk(2, dim=-1)
        return self.outward(self.dropout(value * functional.silu(gate)))


class Attention(nn.Module):
    """Attention, with pre-norm by default, from x to itself or to a context.

    Parameters
    ----------
    width : int
    n_heads : int
    head_width : int, optional
        ``width // n_heads`` by default.
    shared : bool
        One key and one value head for all query heads (multi-query attention, Shazeer 2019).
    context_width : int, optional
        Channels of the context; those of x by default.
    norm : bool
        LayerNorm of x first.
    causal : bool
        A token attends to itself and those before it.
    linear : bool
        Of cost linear in the number of tokens (Shen et al. 2021, "Efficient attention", eq. 2): queries are
        normalised over their channels and keys over the tokens, each by a softmax, and ``q (k'v)`` is formed. No
        causal form, and no dropout of weights, which are never there.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        *,
        head_width: int | None = None,
        shared: bool = False,
        context_width: int | None = None,
        dropout: float = 0.0,
        norm: bool = True,
        causal: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        if causal and linear:
            raise DataError("linear attention has no causal form here", fix="causal=False or linear=False")
        self.causal, self.linear = causal, linear
        self.n_heads, self.head_width = n_heads, head_width or width // n_heads
        inner, other = n_heads * self.head_width, self.head_width if shared else n_heads * self.head_width
        self.norm = nn.LayerNorm(width, bias=False) if norm else nn.Identity()
        self.to_query = nn.Linear(width, inner, bias=False)
        self.to_key_value = nn.Linear(context_width or width, 2 * other, bias=False)
        self.outward = nn.Linear(inner, width, bias=False)
        self.dropout = dropout

    def forward(
        self, x: torch.Tensor, context: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Values (n, n_tokens, width); a `mask` (n, n_context) is True where the context may be attended to."""
        queries, keys, values = self._projected(x, context)
        if self.linear:
            queries, keys = _normalised(queries, keys, mask)
            return self.outward((queries @ (keys.transpose(2, 3) @ values)).transpose(1, 2).flatten(2))
        drop = self.dropout if self.training else 0.0
        shown = None if mask is None else mask[:, None, None]
        made = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=shown, dropout_p=drop, is_causal=self.causal
        )
        return self.outward(made.transpose(1, 2).flatten(2))

    def weights(self, x: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """How much each token takes from each of a context, (n, n_heads, n_tokens, n_context); rows add up to one."""
        queries, keys, _ = self._projected(x, context)
        if self.linear:
            queries, keys = _normalised(queries, keys, mask)
            return queries @ keys.transpose(2, 3)
        scores = queries @ keys.transpose(2, 3) / math.sqrt(self.head_width)
        return (scores if mask is None else scores.masked_fill(~mask[:, None, None], -math.inf)).softmax(dim=3)

    def _projected(self, x: torch.Tensor, context: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        x = self.norm(x)
        queries = self.to_query(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        both = self.to_key_value(x if context is None else context).chunk(2, dim=-1)
        keys, values = (one.unflatten(-1, (-1, self.head_width)).transpose(1, 2) for one in both)
        if keys.shape[1] != queries.shape[1]:
            keys, values = (one.expand(-1, self.n_heads, -1, -1) for one in (keys, values))
        return queries, keys, values


def _normalised(queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """Queries by a softmax over channels and keys by one over the tokens shown: their products are the weights."""
    shown = keys if mask is None else keys.masked_fill(~mask[:, None, :, None], -math.inf)
    return queries.softmax(dim=3), shown.softmax(dim=2)


class TransformerBlock(nn.Module):
    """Self-attention, attention to a context where there is one, and a gated feed-forward layer, all residual.

    Parameters
    ----------
    width, n_heads : int
    cross : bool
        Attend to a context (n, n_context, context_width) too.
    self_attention : bool
        False leaves out the attention of x to itself.
    head_width, shared, context_width, dropout, causal, linear
        See `Attention`; a context is seen whole.

    Examples
    --------
    >>> block = TransformerBlock(8, 2, cross=True, context_width=5)
    >>> block(torch.zeros(3, 4, 8), torch.zeros(3, 6, 5)).shape
    torch.Size([3, 4, 8])
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        *,
        cross: bool = False,
        self_attention: bool = True,
        head_width: int | None = None,
        shared: bool = False,
        context_width: int | None = None,
        dropout: float = 0.0,
        expansion: int = 4,
        causal: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        like = {"head_width": head_width, "shared": shared, "dropout": dropout, "linear": linear}
        self.to_self = Attention(width, n_heads, causal=causal, **like) if self_attention else None  # type: ignore[arg-type]
        self.to_context = Attention(width, n_heads, context_width=context_width, **like) if cross else None  # type: ignore[arg-type]
        self.feed_forward = SwiGLU(width, expansion, dropout)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Tokens (n, n_tokens, width); a `mask` is True where the context (of x itself without one) is attended to."""
        if self.to_self is not None:
            x = x + self.to_self(x, None, mask if self.to_context is None else None)
        if self.to_context is not None:
            x = x + self.to_context(x, context, mask)
        return x + self.feed_forward(x)


class Upsampler(nn.Module):
    """Vectors to maps: a coarse grid of channels, then convolutions that double it until the size is reached.

    Parameters
    ----------
    n_in : int
    shape : (int, int, int)
        Channels, height and width of the maps; any size, the last doubling is cut to it.
    n_channels : int
        Of the coarse grid.
    n_doublings : int
        At most; fewer where the maps are small (the coarse grid has at least 2 cells a side).

    Examples
    --------
    >>> Upsampler(10, (4, 28, 28), n_channels=8)(torch.zeros(2, 10)).shape
    torch.Size([2, 4, 28, 28])
    """

    def __init__(self, n_in: int, shape: tuple[int, int, int], *, n_channels: int = 64, n_doublings: int = 2) -> None:
        super().__init__()
        n_out, self.height, self.width = shape
        while n_doublings and min(self.height, self.width) < 2 ** (n_doublings + 1):
            n_doublings -= 1
        self.coarse = tuple(math.ceil(side / 2**n_doublings) for side in shape[1:])
        self.n_channels = n_channels
        self.inward = nn.Linear(n_in, n_channels * self.coarse[0] * self.coarse[1], bias=False)
        self.norm = nn.GroupNorm(1, n_channels)
        self.stages = nn.ModuleList([_refine(n_channels) for _ in range(n_doublings)])
        self.outward = nn.Conv2d(n_channels, n_out, 3, padding=1)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """The coarse grid, (n, n_channels, h, w)."""
        return self.norm(self.inward(x).unflatten(1, (self.n_channels, *self.coarse)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maps(x)
        for stage in self.stages:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = x + stage(x)
        return self.outward(x)[:, :, : self.height, : self.width]


def _refine(n_channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(n_channels, n_channels, 3, padding=1), nn.GroupNorm(1, n_channels), nn.SiLU(),
        nn.Conv2d(n_channels, n_channels, 3, padding=1),
    )  # fmt: skip


def sinusoids(n_tokens: int, width: int) -> torch.Tensor:
    """Positions as sines and cosines of falling frequency, (n_tokens, width) (Vaswani et al. 2017, §3.5).

    Examples
    --------
    >>> sinusoids(3, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    rates = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(n_tokens)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
