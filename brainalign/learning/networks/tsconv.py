"""The temporal-spatial convolution of NICE, and its head."""

from __future__ import annotations

import torch
from torch import nn

from brainalign.errors import DataError

__all__ = ["ResidualHead", "TSConvNetwork", "length_after"]


class TSConvNetwork(nn.Module):
    """Filters in time, an average over neighbouring times, then filters over all channels.

    Song et al. 2024, "Decoding natural images from EEG for object recognition" (NICE), with its sizes as defaults.

    Parameters
    ----------
    n_channels, n_times : int
    n_filters : int
    kernel : int
        Samples of a filter in time.
    pool, stride : int
        Samples that are averaged, and from one average to the next.
    dropout : float

    Attributes
    ----------
    width : int
        Features made, ``n_filters`` times what is left of the times.

    Raises
    ------
    DataError
        When an epoch is too short for the filters.

    Examples
    --------
    >>> network = TSConvNetwork(63, 250)
    >>> network(torch.zeros(2, 63, 250)).shape, sum(one.numel() for one in network.parameters())
    (torch.Size([2, 1440]), 103680)
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        *,
        n_filters: int = 40,
        kernel: int = 25,
        pool: int = 51,
        stride: int = 5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        n_left = length_after(n_times, (kernel, 1), (pool, stride))
        self.width = n_filters * n_left
        self.temporal = nn.Sequential(
            nn.Conv2d(1, n_filters, (1, kernel)), nn.AvgPool2d((1, pool), (1, stride)), nn.BatchNorm2d(n_filters)
        )
        self.spatial = nn.Sequential(nn.Conv2d(n_filters, n_filters, (n_channels, 1)), nn.BatchNorm2d(n_filters))
        self.activation, self.dropout = nn.ELU(), nn.Dropout(dropout)
        self.outward = nn.Conv2d(n_filters, n_filters, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.activation(self.temporal(x[:, None]))
        made = self.dropout(self.activation(self.spatial(made)))
        return self.outward(made).flatten(1)


class ResidualHead(nn.Module):
    """Features to a latent space: a linear map, a residual layer, LayerNorm (the projector of NICE and ATM-S).

    Examples
    --------
    >>> sum(one.numel() for one in ResidualHead(1440, 768).parameters())
    1698816
    """

    def __init__(self, width: int, n_out: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.linear = nn.Linear(width, n_out)
        self.residual = nn.Sequential(nn.GELU(), nn.Linear(n_out, n_out), nn.Dropout(dropout))
        self.norm = nn.LayerNorm(n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.linear(x)
        return self.norm(made + self.residual(made))


def length_after(n_times: int, *layers: tuple[int, int]) -> int:
    """Samples left of an epoch after layers of (kernel, stride) without padding.

    Raises
    ------
    DataError
        When none is left, with the shortest epoch that would do.

    Examples
    --------
    >>> length_after(250, (25, 1), (51, 5))
    36
    """
    needed = 1
    for kernel, stride in reversed(layers):
        needed = (needed - 1) * stride + kernel
    if n_times < needed:
        raise DataError(
            "an epoch is too short for this network",
            expected=f"at least {needed} samples",
            found=f"n_times = {n_times}",
            fix="longer epochs, a higher sampling rate, or shorter kernels and pools",
        )
    for kernel, stride in layers:
        n_times = (n_times - kernel) // stride + 1
    return n_times
