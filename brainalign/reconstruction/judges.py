"""The networks that judge reconstructions, with the layer, size and weights that the published recipe names.

Every picture is stretched to 256 and then to the network's size, without a centre crop (MindEye's evaluation). A
judge whose weights cannot be had is told as missing, with the reason; another network never stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainalign.errors import DataError, unknown
from brainalign.latents.network import Network, fill, hub_errors, load_weights
from brainalign.latents.registry import load_model
from brainalign.scoring.images import COMMON_SIZE, LPIPS_LAYERS, resized

__all__ = ["JUDGES", "Judge", "load_judge", "lpips_heads"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# LPIPS takes [-1, 1] and shifts by (-.030, -.088, -.188), scales by (.458, .448, .450): this is the same in [0, 1].
_LPIPS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SWAV_URL = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"


@dataclass(frozen=True)
class Judge:
    """One network and what of it is compared.

    Parameters
    ----------
    network : str
        Known to torchvision, or ``"clip"``, or ``"swav"``.
    layers : dict of str to str
        Metric to layer; the embedding where the layer is empty.
    size : int
        Pixels the network sees.
    kind : {"identification", "distance", "lpips"}
    files : str
        Pattern of the weights in a local folder.
    normalisation : tuple
        Mean and SD of the channels.
    """

    network: str
    layers: dict[str, str]
    size: int
    kind: str
    files: str
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET


JUDGES = {
    "AlexNet": Judge(
        "alexnet", {"AlexNet(2)": "features.4", "AlexNet(5)": "features.11"}, 256, "identification", "alexnet*"
    ),
    "Inception": Judge("inception_v3", {"Inception": "avgpool"}, 342, "identification", "inception_v3*"),
    "CLIP": Judge("clip", {"CLIP": ""}, 224, "identification", "ViT-L-14*", _CLIP),
    "EfficientNet": Judge("efficientnet_b1", {"EfficientNet": "avgpool"}, 255, "distance", "efficientnet_b1*"),
    "SwAV": Judge("swav", {"SwAV": "avgpool"}, 224, "distance", "swav*"),
    "LPIPS": Judge("alexnet", {"LPIPS": ",".join(LPIPS_LAYERS)}, 256, "lpips", "alexnet*", _LPIPS),
}
"""The judges of the published tables by name, and LPIPS on AlexNet."""


def load_judge(name: str, *, weights: str | PathLike[str] | None = None, device: str = "cpu") -> Network:
    """A judge as a network with its own resize and without a centre crop.

    Parameters
    ----------
    name : str
        A key of `JUDGES`.
    weights : path-like, optional
        Folder of weights; then nothing is downloaded. By default weights come by name, from the cache of torch or of
        the hub, or from the network.
    device : str

    Raises
    ------
    DataError
        When the name is unknown, or its weights are not to be had.
    """
    if name not in JUDGES:
        raise unknown("judge", name, JUDGES)
    judge = JUDGES[name]
    path = None if weights is None else _weights_file(judge, Path(weights).expanduser(), name)
    source = "by name" if path is None else path.name
    if judge.network == "clip":
        module = _clip(path)
    elif judge.network == "swav":
        module = _swav(path)
    else:
        module = _torchvision(judge.network, path)
    words = f"{COMMON_SIZE}, then {judge.size} pixels, bilinear, no crop; mean and SD {judge.normalisation}"
    return Network(
        f"judge:{name}",
        module,
        _transform(judge),
        preprocessing=words,
        info={"network": judge.network, "weights": source},
        device=device,
    )


def lpips_heads(weights: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The linear heads of LPIPS v0.1 for AlexNet, by layer, from ``lpips_linear/alex.pth`` or ``alex.pth``.

    Raises
    ------
    DataError
        When the file is missing or holds something else.
    """
    folder = Path(weights).expanduser()
    files = [folder / "lpips_linear" / "alex.pth", folder / "alex.pth"]
    found = load_weights(next((file for file in files if file.is_file()), files[0]))
    heads = {}
    for number, (layer, channels) in enumerate(LPIPS_LAYERS.items()):
        head = found.get(f"lin{number}.model.1.weight")
        if head is None or head.numel() != channels:
            raise DataError("not the linear heads of LPIPS on AlexNet", path=folder, expected=f"{channels} for {layer}")
        heads[layer] = head.reshape(-1).numpy()
    return heads


def _transform(judge: Judge) -> Callable[[Any], Tensor]:
    mean, deviation = (torch.tensor(part)[:, None, None] for part in judge.normalisation)

    def transform(image: Any) -> Tensor:
        picture = resized(np.asarray(image.convert("RGB"))[None], COMMON_SIZE, judge.size)[0]
        return (torch.from_numpy(picture).permute(2, 0, 1) - mean) / deviation

    return transform


def _weights_file(judge: Judge, folder: Path, name: str) -> Path:
    endings = (".safetensors", ".pt", ".pth", ".tar", ".bin")
    files = sorted(file for file in folder.glob(judge.files) if file.name.endswith(endings))
    if not files:
        raise DataError(
            f"no weights of {name} here",
            path=folder,
            expected=judge.files,
            found="no such file",
            fix="put the weights there, or leave the folder out to load them by name",
        )
    return files[0]


def _torchvision(network: str, path: Path | None) -> nn.Module:
    """A torchvision classifier; of AlexNet the convolutional stack is enough."""
    from torchvision import models

    if network == "alexnet":
        return load_model("torchvision:alexnet" if path is None else f"torchvision:alexnet@{path}", device="cpu").module
    if path is None:
        with hub_errors(f"torchvision:{network}", local=f"weights=/folder with {network}*.pth"):
            return models.get_model(network, weights=models.get_model_weights(network).DEFAULT)
    # As get_model builds it when it loads weights by name: Inception then takes ImageNet's mean and SD back.
    options = {"transform_input": True, "init_weights": False} if network == "inception_v3" else {}
    module = models.get_model(network, weights=None, **options)
    fill(module, load_weights(path), path=path, part=f"torchvision's {network}")
    return module


def _clip(path: Path | None) -> nn.Module:
    """The image tower of OpenAI's CLIP ViT-L/14."""
    weights = "openai" if path is None else str(path.resolve())
    return load_model(f"open_clip:ViT-L-14-quickgelu/{weights}", device="cpu").module.visual


def _swav(path: Path | None) -> nn.Module:
    """ResNet-50 with the weights that SwAV published: the classifier is not part of them and is not read."""
    from torchvision import models

    if path is None:
        with hub_errors("swav", local="weights=/folder with swav_800ep_pretrain.pth.tar"):
            found = torch.hub.load_state_dict_from_url(SWAV_URL, map_location="cpu", weights_only=True)
    else:
        found = load_weights(path)
    named = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    module = models.resnet50(weights=None)
    own = module.state_dict()
    kept = {name: tensor for name, tensor in named.items() if name in own and not name.startswith("fc.")}
    head = {name: own[name] for name in own if name.startswith("fc.")}
    fill(module, {**kept, **head}, path=path or SWAV_URL, part="a ResNet-50")
    return module
