"""EEGNet: few parameters, by convolutions that take each filter's channels apart."""

from __future__ import annotations

import torch
from torch import nn

from brainalign.learning.networks.tsconv import length_after

__all__ = ["EEGNetwork"]


class EEGNetwork(nn.Module):
    """Filters in time, spatial filters for each of them, and a separable convolution over what they make.

    Lawhern et al. 2018, "EEGNet: a compact convolutional neural network for EEG-based brain-computer interfaces",
    table 2: spatial filters have at most length 1.

    Parameters
    ----------
    n_channels, n_times : int
    n_filters : int
        In time (F1).
    depth : int
        Spatial filters for each of them (D).
    kernel : int
        Samples of a filter in time: half the sampling rate in the paper.
    kernel_after : int
        Of the separable convolution, at a quarter of the sampling rate.
    pools : (int, int)
        Samples averaged after each of the two stages.
    dropout : float
        The paper takes 0.5 within and 0.25 across subjects.

    Attributes
    ----------
    width : int

    Examples
    --------
    >>> network = EEGNetwork(22, 1000)
    >>> network.width, sum(one.numel() for one in network.parameters())
    (496, 1456)
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        *,
        n_filters: int = 8,
        depth: int = 2,
        kernel: int = 64,
        kernel_after: int = 16,
        pools: tuple[int, int] = (4, 8),
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        inner = n_filters * depth
        n_padded = n_times + 2 * (kernel // 2)
        n_middle = length_after(n_padded, (kernel, 1), (pools[0], pools[0]))
        n_left = length_after(n_middle + 2 * (kernel_after // 2), (kernel_after, 1), (pools[1], pools[1]))
        self.width = inner * n_left
        self.temporal = nn.Sequential(
            nn.Conv2d(1, n_filters, (1, kernel), padding=(0, kernel // 2), bias=False), nn.BatchNorm2d(n_filters)
        )
        self.spatial = nn.Conv2d(n_filters, inner, (n_channels, 1), groups=n_filters, bias=False)
        self.middle = nn.Sequential(nn.BatchNorm2d(inner), nn.ELU(), nn.AvgPool2d((1, pools[0])), nn.Dropout(dropout))
        self.separable = nn.Sequential(
            nn.Conv2d(inner, inner, (1, kernel_after), padding=(0, kernel_after // 2), groups=inner, bias=False),
            nn.Conv2d(inner, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ELU(),
            nn.AvgPool2d((1, pools[1])),
            nn.Dropout(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.temporal(x[:, None])
        weight = torch.renorm(self.spatial.weight, 2, 0, 1.0)
        made = nn.functional.conv2d(made, weight, groups=self.spatial.groups)
        return self.separable(self.middle(made)).flatten(1)
