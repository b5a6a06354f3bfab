"""ShallowConvNet: the logarithm of band power, learnt from end to end."""

from __future__ import annotations

import torch
from torch import nn

from brainalign.learning.networks.tsconv import length_after

__all__ = ["ShallowNetwork"]


class ShallowNetwork(nn.Module):
    """Filters in time and over channels, squared, averaged, and the logarithm of that.

    Schirrmeister et al. 2017, "Deep learning with convolutional neural networks for EEG decoding and visualization":
    what filter-bank CSP does, as one network.

    Parameters
    ----------
    n_channels, n_times : int
    n_filters : int
    kernel : int
        Samples of a filter in time: 25 at 250 Hz in the paper.
    pool, stride : int
        Samples of a mean, and from one mean to the next.
    dropout : float

    Attributes
    ----------
    width : int

    Examples
    --------
    >>> network = ShallowNetwork(22, 1000)
    >>> network.width, sum(one.numel() for one in network.parameters())
    (2440, 36320)
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        *,
        n_filters: int = 40,
        kernel: int = 25,
        pool: int = 75,
        stride: int = 15,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.width = n_filters * length_after(n_times, (kernel, 1), (pool, stride))
        self.temporal = nn.Conv2d(1, n_filters, (1, kernel))
        self.spatial = nn.Conv2d(n_filters, n_filters, (n_channels, 1), bias=False)
        self.norm = nn.BatchNorm2d(n_filters)
        self.pool, self.dropout = nn.AvgPool2d((1, pool), (1, stride)), nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        power = self.pool(self.norm(self.spatial(self.temporal(x[:, None]))).square())
        return self.dropout(power.clamp_min(1e-6).log()).flatten(1)
