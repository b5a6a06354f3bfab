"""The skip-network of the deep image prior: an hourglass of convolutions whose finer levels are joined across."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SkipNet"]


class SkipNet(nn.Module):
    """Noise maps to a picture in [0, 1] (Ulyanov, Vedaldi & Lempitsky 2018, Fig. 21).

    Parameters
    ----------
    n_inputs : int
        Channels of the noise.
    channels : sequence of int
        Of each level, from fine to coarse; every level halves the side.
    n_skip : int
        Channels that go across at each level.

    Examples
    --------
    >>> SkipNet(8, (16, 16)).eval()(torch.rand(1, 8, 32, 32)).shape
    torch.Size([1, 3, 32, 32])
    """

    def __init__(self, n_inputs: int = 32, channels: Sequence[int] = (128,) * 5, n_skip: int = 4) -> None:
        super().__init__()
        inputs = [n_inputs, *channels[:-1]]
        deeper = [*channels[1:], channels[-1]]
        self.down = nn.ModuleList(
            nn.Sequential(_convolve(before, n, stride=2), _convolve(n, n))
            for before, n in zip(inputs, channels, strict=True)
        )
        self.across = nn.ModuleList(_convolve(before, n_skip, kernel=1) for before in inputs)
        self.up = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(n_skip + below), _convolve(n_skip + below, n), _convolve(n, n, kernel=1))
            for n, below in zip(channels, deeper, strict=True)
        )
        self.to_picture = nn.Sequential(nn.Conv2d(channels[0], 3, 1), nn.Sigmoid())

    def forward(self, noise: Tensor) -> Tensor:
        """Picture (n, 3, height, width) from noise (n, n_inputs, height, width)."""
        skipped, x = [], noise
        for down, across in zip(self.down, self.across, strict=True):
            skipped.append(across(x))
            x = down(x)
        for up, other in zip(reversed(self.up), reversed(skipped), strict=True):
            x = functional.interpolate(x, other.shape[2:], mode="bilinear", align_corners=False)
            x = up(torch.cat([other, x], dim=1))
        return self.to_picture(x)


def _convolve(before: int, after: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
    """Convolution with reflected borders, batch norm over the pixels, leaky ReLU."""
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, padding_mode="reflect")
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.LeakyReLU(0.2))
