"""The network behind `judge_scenes`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["JudgeNetwork"]


class JudgeNetwork(nn.Module):
    """A small convolutional classifier of drawn scenes, with one head per attribute.

    Parameters
    ----------
    classes : mapping of str to int
        Number of values of each attribute.
    """

    def __init__(self, classes: Mapping[str, int]) -> None:
        super().__init__()
        widths = (3, 24, 48, 80, 112)
        blocks = []
        for before, after in itertools.pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            blocks += [nn.Conv2d(after, after, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.trunk = nn.Sequential(*blocks, nn.Conv2d(112, 32, 1), nn.ReLU(), nn.Flatten())
        self.heads = nn.ModuleDict({name: nn.Linear(32 * 16, n) for name, n in classes.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits per attribute of pictures (n, 3, 64, 64) in [0, 1]."""
        features = self.trunk(torch.as_tensor(images) * 2 - 1)
        return {name: head(features) for name, head in self.heads.items()}
