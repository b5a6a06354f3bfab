"""Feature maps of several depths as tokens, by model id: what Brain-IT's layout branch predicts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from brainalign.errors import DataError
from brainalign.latents.network import Network
from brainalign.latents.vgg_tokens import MapTokens, VGGFeatures

__all__ = ["FeatureMaps", "load_maps"]

MINI_LAYERS = ("trunk.act1", "trunk.layer1", "trunk.layer2", "trunk.layer3", "trunk.layer4")
"""Maps of 32, 16, 8, 4 and 2 pixels a side of the embedded CLIP's picture tower."""


class FeatureMaps(Network):
    """A convolutional network whose embedding of a picture are the tokens of its maps.

    ``features`` maps pictures to maps with gradients and ``scheme`` turns tokens into maps again, which is what
    `brainalign.reconstruction.DeepImagePrior` needs to invert predicted tokens.

    Parameters
    ----------
    name : str
    features : VGGFeatures
    scheme : MapTokens, optional
        By default that of the paper for the maps at hand.

    Examples
    --------
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
    >>> maps = FeatureMaps("mine", VGGFeatures(network, ["1"], image_size=8))
    >>> maps.encode_image(torch.rand(2, 3, 8, 8)).shape, maps.info["tokens_per_scale"]
    (torch.Size([2, 16, 16]), [16])
    """

    libraries = ("torch", "torchvision")

    def __init__(self, name: str, features: VGGFeatures, scheme: MapTokens | None = None) -> None:
        size = features.image_size
        if scheme is None:
            with torch.no_grad():
                made = features(torch.zeros(1, 3, size, size, device=features.device))
            scheme = MapTokens.pyramid([(one.shape[1], one.shape[2], one.shape[3]) for one in made])
        self.features, self.scheme = features, scheme
        super().__init__(
            name,
            features.module,
            self._resized,
            preprocessing=f"stretched to {size} x {size} (bilinear), then as the network was trained",
            info={"layers": list(features.layers), "image_size": size, "tokens_per_scale": list(scheme.sizes)},
            device=features.device,
        )

    def _resized(self, image: Any) -> Tensor:
        from torchvision.transforms.functional import InterpolationMode, resize, to_tensor

        size = [self.features.image_size] * 2
        return resize(to_tensor(image.convert("RGB")), size, InterpolationMode.BILINEAR, antialias=True)

    def _encode_image(self, batch: Tensor) -> Tensor:
        return self.scheme.to_tokens(self.features(batch))


def load_maps(rest: str, *, device: str, image_size: int | None = None) -> FeatureMaps:
    """``mini`` (the embedded CLIP, 64 px), or ``torchvision:vgg16_bn`` and the like (112 px, as in the paper)."""
    if rest == "mini":
        from brainalign.latents.registry import load_model

        half = (0.5, 0.5, 0.5)
        tower = load_model("mini", device=device).module.visual
        return FeatureMaps(
            "maps:mini",
            VGGFeatures(tower, MINI_LAYERS, image_size=image_size or 64, mean=half, std=half, device=device),
        )
    if not rest.startswith("torchvision:vgg16"):
        raise DataError(
            f"no tokens of maps are known for '{rest}'",
            expected="maps:mini, maps:torchvision:vgg16_bn or maps:torchvision:vgg16@weights.safetensors",
            fix="for another network: FeatureMaps(name, VGGFeatures(module, layers)), given to extract",
        )
    return FeatureMaps(f"maps:{rest}", VGGFeatures(rest, image_size=image_size or 112, device=device))
