"""The network behind `ROIQueryEncoder`: learned queries that look into a grid of features by cross-attention."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

__all__ = ["QueryNetwork", "sine_positions"]


def sine_positions(grid: tuple[int, int], width: int) -> torch.Tensor:
    """Sines and cosines of row and column at geometric wavelengths, (h * w, width).

    Half of the channels tell the row and half the column (Vaswani et al. 2017, §3.5, in two dimensions); wavelengths
    go from two cells to four times the side.

    Examples
    --------
    >>> positions = sine_positions((4, 4), 16)
    >>> positions.shape, torch.cdist(positions, positions).add(torch.eye(16) * 9).min().item() > 0.5
    (torch.Size([16, 16]), True)
    """
    n_waves = width // 4
    parts = []
    for side, shape in zip(grid, ((-1, 1), (1, -1)), strict=True):
        wavelengths = 2.0 * (2.0 * max(side, 2)) ** torch.linspace(0, 1, n_waves)
        phase = 2 * math.pi * torch.arange(side)[:, None] / wavelengths
        waves = torch.cat([phase.sin(), phase.cos()], dim=1)
        parts.append(waves.reshape(*shape, 2 * n_waves).expand(*grid, 2 * n_waves))
    return torch.cat(parts, dim=-1).reshape(-1, 4 * n_waves)


class QueryNetwork(nn.Module):
    """Tokens to responses through one routed feature vector per query.

    With tokens x_t standardised per channel and embedded as e_t = E x_t, positions p_t, and a learned query q_r,
    each head computes ``a_rt = softmax_t(<Q q_r, K (e_t + p_t)> / sqrt(d))`` and ``z_r = sum_t a_rt V e_t``: keys
    from positions and features, values from features alone. Heads are joined and mixed; a unit of query r responds
    ``w_v · z_r + b_v``.

    Parameters
    ----------
    grid : (int, int)
    n_channels : int
    query_of_unit : tensor of int, shape (n_units,)
        Which query each unit reads, 0 ... n_queries - 1.
    width, n_heads, feed_forward, dropout
        As in `ROIQueryEncoder`.
    by_content : bool
        Whether keys see features, or positions only.
    """

    no_weight_decay = frozenset({"queries"})

    def __init__(
        self,
        grid: tuple[int, int],
        n_channels: int,
        query_of_unit: torch.Tensor,
        *,
        width: int,
        n_heads: int,
        feed_forward: int = 0,
        dropout: float = 0.0,
        by_content: bool = True,
    ) -> None:
        super().__init__()
        n_units, n_queries = len(query_of_unit), int(query_of_unit.max()) + 1
        self.n_heads, self.by_content = n_heads, by_content
        self.embed = nn.Linear(n_channels, width)
        self.queries = nn.Parameter(torch.randn(n_queries, width))
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key = nn.Linear(width, width, bias=False)
        self.to_value = nn.Linear(width, width, bias=False)
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = _feed_forward(width, feed_forward, dropout) if feed_forward else None
        self.readout = nn.Parameter(torch.randn(n_units, width) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(n_units))
        # The readout is kept by query, so that each is one product with its own units only.
        order = torch.argsort(query_of_unit, stable=True)
        self.register_buffer("place_of_unit", torch.argsort(order))
        self.n_units_of_query = torch.bincount(query_of_unit).tolist()
        self.register_buffer("positions", sine_positions(grid, width))
        for name, size in {"x_mean": n_channels, "x_scale": n_channels, "y_mean": n_units, "y_scale": n_units}.items():
            self.register_buffer(name, torch.zeros(size) if name.endswith("mean") else torch.ones(size))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Responses in units of their standard deviation, (n, n_units), to tokens (n, n_tokens, n_channels)."""
        return self._read(self.route(tokens))

    def route(self, tokens: torch.Tensor) -> torch.Tensor:
        """What each query brings home, (n, n_queries, width)."""
        embedded = self.embed((tokens - self.x_mean) / self.x_scale)
        queries, keys = self._queries_and_keys(embedded)
        values = self._heads(self.to_value(embedded))
        routed = functional.scaled_dot_product_attention(queries, keys, values)
        routed = self.dropout(self.mix(routed.transpose(1, 2).flatten(2)))
        if self.feed_forward is not None:
            routed = routed + self.feed_forward(routed)
        return routed

    def attention(self, tokens: torch.Tensor) -> torch.Tensor:
        """Weights of the tokens, (n, n_heads, n_queries, n_tokens), each row summing to one."""
        queries, keys = self._queries_and_keys(self.embed((tokens - self.x_mean) / self.x_scale))
        scale = math.sqrt(queries.shape[-1])
        return (queries @ keys.transpose(-1, -2) / scale).softmax(dim=-1)

    def head_shares(self) -> torch.Tensor:
        """How much of what the units of each query read comes through each head, (n_queries, n_heads), summing to one.

        The Frobenius norm of the map from a token, as embedded from its channels, through one head to the units. A
        head that no unit reads may look anywhere; a mean over heads without these shares would show that.
        """
        values = self.to_value.weight @ self.embed.weight
        by_head = values.unflatten(0, (self.n_heads, -1))
        shares = []
        for block in self.readout.split(self.n_units_of_query):
            mixed = (block @ self.mix.weight).unflatten(1, (self.n_heads, -1)).transpose(0, 1)
            shares.append((mixed @ by_head).flatten(1).norm(dim=1))
        norms = torch.stack(shares)
        return norms / norms.sum(dim=1, keepdim=True)

    def standardise(self, responses: torch.Tensor) -> torch.Tensor:
        """Responses in units of their standard deviation; a constant one is zero."""
        scale = torch.where(self.y_scale > 0, self.y_scale, torch.ones_like(self.y_scale))
        return (responses - self.y_mean) / scale

    def unstandardise(self, responses: torch.Tensor) -> torch.Tensor:
        """The reverse of `standardise`."""
        return responses * self.y_scale + self.y_mean

    def _queries_and_keys(self, embedded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        queries = self._heads(self.to_query(self.queries)[None])
        looked_at = embedded + self.positions if self.by_content else self.positions[None]
        keys = self._heads(self.to_key(looked_at))
        return queries.expand(len(embedded), -1, -1, -1), keys.expand(len(embedded), -1, -1, -1)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def _read(self, routed: torch.Tensor) -> torch.Tensor:
        """Each unit from the routed features of its own query; no masked product over all queries."""
        if max(self.n_units_of_query) == 1:
            by_query = torch.einsum("nqd,qd->nq", routed, self.readout)
        else:
            blocks = self.readout.split(self.n_units_of_query)
            by_query = torch.cat([routed[:, number] @ block.T for number, block in enumerate(blocks)], dim=1)
        return (by_query + self.bias)[:, self.place_of_unit]


def _feed_forward(width: int, n_hidden: int, dropout: float) -> nn.Module:
    layers = [nn.LayerNorm(width), nn.Linear(width, n_hidden), nn.GELU(), nn.Linear(n_hidden, width)]
    return nn.Sequential(*layers, nn.Dropout(dropout))
