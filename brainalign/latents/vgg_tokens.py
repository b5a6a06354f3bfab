"""Maps of several depths of a convolutional network as tokens of one width, and back.

Brain-IT predicts five maps of VGG16 as 7190 tokens of 512 channels (for pictures of 112 px): patches of the two finest
maps, and pixels of the coarser ones, channels repeated where there are fewer than 512.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from brainalign.errors import DataError
from brainalign.latents.hooks import activations

__all__ = ["MapTokens", "VGGFeatures"]

VGG16_LAYERS = ("features.3", "features.8", "features.15", "features.22", "features.29")
"""Last ReLU of each of the five blocks of torchvision's VGG16."""
VGG16_BN_LAYERS = ("features.5", "features.12", "features.22", "features.32", "features.42")
"""The same of VGG16 with batch norm, the network of the paper."""


@dataclass(frozen=True)
class MapTokens:
    """How maps of several depths become tokens of one width.

    Map k, (n, c_k, h_k, w_k), is cut into patches of ``kernels[k]`` squared pixels every ``strides[k]`` pixels; the
    c_k · kernel² values of a patch are repeated until they fill `width`. The way back averages the repeats, and
    where patches overlap, their pixels: it is exact for tokens that come from maps, and the least-squares map for any
    others.

    Parameters
    ----------
    shapes : sequence of (channels, height, width)
        Of the maps, from fine to coarse.
    width : int
        Channels of a token: a multiple of each map's channels times its kernel squared.
    kernels, strides : sequence of int

    Raises
    ------
    DataError
        When a map does not fit.

    Examples
    --------
    >>> published = MapTokens.vgg16(112)
    >>> published.sizes, published.n_tokens
    ((3136, 3025, 784, 196, 49), 7190)
    """

    shapes: tuple[tuple[int, int, int], ...]
    width: int
    kernels: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.shapes) == len(self.kernels) == len(self.strides) > 0:
            raise DataError("every map needs a kernel and a stride", expected=len(self.shapes), found=self.kernels)
        for shape, kernel, stride in zip(self.shapes, self.kernels, self.strides, strict=True):
            channels, height, width = shape
            if self.width % (channels * kernel**2):
                raise DataError(
                    "the values of a patch do not fill a token",
                    expected=f"width {self.width} a multiple of {channels} × {kernel}²",
                    found=channels * kernel**2,
                )
            if not 1 <= stride <= kernel or any(side < kernel or (side - kernel) % stride for side in (height, width)):
                raise DataError(
                    "these patches leave pixels of a map out",
                    expected="1 <= stride <= kernel, and sides of kernel + k · stride",
                    found=f"map {height} × {width}, kernel {kernel}, stride {stride}",
                    fix="an image size that the network halves without rest (a multiple of 32 for VGG16)",
                )

    @classmethod
    def vgg16(cls, image_size: int = 112) -> MapTokens:
        """The scheme of the paper: 2 × 2 patches, apart in the first map and overlapping in the second."""
        channels = (64, 128, 256, 512, 512)
        return cls.pyramid([(n, image_size >> depth, image_size >> depth) for depth, n in enumerate(channels)])

    @classmethod
    def pyramid(cls, shapes: Sequence[tuple[int, int, int]]) -> MapTokens:
        """That scheme for any maps, fine to coarse, in the narrowest tokens that hold whole patches of each."""
        kernels, strides = ((2, 2) + (1,) * len(shapes))[: len(shapes)], ((2,) + (1,) * len(shapes))[: len(shapes)]
        width = math.lcm(*(shape[0] * kernel**2 for shape, kernel in zip(shapes, kernels, strict=True)))
        return cls(tuple(shapes), width, kernels, strides)

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the tokens of each map."""
        return tuple(
            ((height - kernel) // stride + 1, (width - kernel) // stride + 1)
            for (_, height, width), kernel, stride in zip(self.shapes, self.kernels, self.strides, strict=True)
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens of each map."""
        return tuple(rows * columns for rows, columns in self.grids)

    @property
    def n_tokens(self) -> int:
        """Tokens of all maps."""
        return sum(self.sizes)

    def to_tokens(self, maps: Sequence[Tensor]) -> Tensor:
        """Tokens (n, n_tokens, width) of maps, each (n, channels, height, width).

        Raises
        ------
        DataError
            When maps have other shapes.
        """
        if [tuple(one.shape[1:]) for one in maps] != list(self.shapes):
            raise DataError("other maps than these tokens are for", expected=self.shapes, found=[m.shape for m in maps])
        parts = []
        for one, kernel, stride in zip(maps, self.kernels, self.strides, strict=True):
            patches = functional.unfold(one, kernel, stride=stride).transpose(1, 2)
            parts.append(patches.repeat(1, 1, self.width // patches.shape[2]))
        return torch.cat(parts, dim=1)

    def to_maps(self, tokens: Tensor) -> list[Tensor]:
        """Maps, each (n, channels, height, width), of tokens (n, n_tokens, width).

        Raises
        ------
        DataError
            When there is another number of tokens or channels.
        """
        if tuple(tokens.shape[1:]) != (self.n_tokens, self.width):
            raise DataError(
                "these are not tokens of such maps", expected=(self.n_tokens, self.width), found=tuple(tokens.shape[1:])
            )
        maps = []
        for part, shape, kernel, stride in zip(
            tokens.split(self.sizes, dim=1), self.shapes, self.kernels, self.strides, strict=True
        ):
            patches = part.unflatten(2, (-1, shape[0] * kernel**2)).mean(dim=2).transpose(1, 2)
            total = functional.fold(patches, shape[1:], kernel, stride=stride)
            shares = functional.fold(torch.ones_like(patches[:1]), shape[1:], kernel, stride=stride)
            maps.append(total / shares)
        return maps


class VGGFeatures:
    """Maps of several layers of a convolutional network, with gradients back to the pixels.

    Parameters
    ----------
    model : str or Network
        ``"torchvision:vgg16"``, ``"torchvision:vgg16@weights.safetensors"``, ``"torchvision:vgg16_bn"``, or a network
        whose module takes normalised pictures.
    layers : sequence of str, optional
        From fine to coarse; by default the last ReLU of each block of VGG16, with or without batch norm.
    image_size : int
        Pictures are resized to this many pixels a side.
    mean, std : sequence of 3 float
        Of the pixels that the network was trained on.
    device : str

    Examples
    --------
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
    >>> features = VGGFeatures(network, ["1"], image_size=8)
    >>> [tuple(one.shape) for one in features(torch.rand(2, 3, 16, 16))]
    [(2, 4, 8, 8)]
    """

    def __init__(
        self,
        model: Any = "torchvision:vgg16",
        layers: Sequence[str] | None = None,
        *,
        image_size: int = 112,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        device: str = "cpu",
    ) -> None:
        default = VGG16_LAYERS
        if isinstance(model, str):
            from brainalign.latents.registry import load_model

            default = VGG16_BN_LAYERS if "vgg16_bn" in model else VGG16_LAYERS
            model = load_model(model, device=device)
        self.module = getattr(model, "module", model).eval().to(device)
        self.module.requires_grad_(False)
        self.layers = tuple(layers or default)
        self.image_size, self.device = image_size, device
        self._mean, self._std = (torch.tensor(one, device=device).view(3, 1, 1) for one in (mean, std))

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Maps of pictures (n, 3, height, width) in [0, 1]."""
        size = (self.image_size, self.image_size)
        if images.shape[2:] != size:
            images = functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        batch = (images - self._mean) / self._std
        found = activations(self.module, batch, self.layers, gradients=True)
        return [found[layer] for layer in self.layers]
