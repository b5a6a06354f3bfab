"""A recurrent network over time: what a sequence of signals says, forwards or in both directions."""

from __future__ import annotations

import torch
from torch import nn

from brainalign.learning.networks.tsconv import length_after

__all__ = ["RecurrentNetwork"]


class RecurrentNetwork(nn.Module):
    """Means over short stretches, a long short-term memory over them, and the mean of its states.

    Parameters
    ----------
    n_channels, n_times : int
    n_units : int
        States in each direction.
    n_layers : int
    pool : int
        Samples that are averaged before each step.
    bidirectional : bool
        False reads forwards only, for use while signals come in: a state then depends on nothing later.
    dropout : float

    Attributes
    ----------
    width : int

    Examples
    --------
    >>> network = RecurrentNetwork(16, 100, n_units=8, pool=5)
    >>> network.width, network(torch.zeros(3, 16, 100)).shape
    (16, torch.Size([3, 16]))
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        *,
        n_units: int = 32,
        n_layers: int = 1,
        pool: int = 4,
        bidirectional: bool = True,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        length_after(n_times, (pool, pool))
        self.width = n_units * (2 if bidirectional else 1)
        self.pool, self.dropout = nn.AvgPool1d(pool), nn.Dropout(dropout)
        self.memory = nn.LSTM(n_channels, n_units, n_layers, batch_first=True, bidirectional=bidirectional)

    def states(self, x: torch.Tensor) -> torch.Tensor:
        """State after each stretch, (n, n_steps, width), of signals (n, n_channels, n_times)."""
        return self.memory(self.pool(x).transpose(1, 2))[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.states(x).mean(dim=1))
