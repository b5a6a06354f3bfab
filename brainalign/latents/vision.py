"""timm networks, and the convolutional feature stacks of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from brainalign.errors import DataError, closest
from brainalign.latents.network import Network, fill, hub_errors, load_weights

__all__ = ["TimmNet", "load_timm", "load_torchvision"]


class TimmNet(Network):
    """A timm classifier: its embedding is the pooled feature vector before the classifier."""

    libraries = ("torch", "timm")

    @property
    def dimension(self) -> int:
        """Length of the pooled feature vector."""
        return int(getattr(self.module, "head_hidden_size", None) or self.module.num_features)

    def run(self, images: Tensor | Sequence[Any]) -> Tensor:
        """The whole network, classifier included, so that every layer can be listened to."""
        return self.module(self.as_batch(images))

    def _encode_image(self, batch: Tensor) -> Tensor:
        return self.module.forward_head(self.module.forward_features(batch), pre_logits=True)


def timm_net(name: str, module: nn.Module, *, device: str) -> TimmNet:
    """Wrap a timm module with the evaluation transform of its own data configuration."""
    from timm.data import create_transform, resolve_model_data_config

    config = resolve_model_data_config(module)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    return TimmNet(name, module, create_transform(**config, is_training=False), preprocessing=plain, device=device)


def load_timm(rest: str, *, device: str) -> TimmNet:
    """``NAME`` (hub weights), ``local-dir:/folder``, or ``NAME@file`` (local weights, loaded strictly)."""
    import timm

    name, path = split_file(rest)
    if path is None:
        with hub_errors(f"timm:{rest}", local=f"timm:{name}@/path/weights.safetensors"):
            return timm_net(f"timm:{rest}", timm.create_model(name, pretrained=True), device=device)
    if not timm.is_model(name.split(".")[0]):
        raise DataError(f"timm knows no model '{name}'.{closest(name, timm.list_models())}", found=name)
    weights = load_weights(path)
    module = timm.create_model(name, pretrained=False)
    fill(module, weights, path=path, part=f"timm's {name}")
    return timm_net(f"timm:{rest}", module, device=device)


class _FeatureStack(nn.Module):
    """The ``features`` of a torchvision model under their own names, without its fully connected layers."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, batch: Tensor) -> Tensor:
        return self.features(batch)


def load_torchvision(rest: str, *, device: str) -> Network:
    """``NAME`` (downloaded ImageNet weights) or ``NAME@file``; convolutional stacks only."""
    from torchvision import models

    name, path = split_file(rest)
    if name not in models.list_models():
        raise DataError(f"torchvision knows no model '{name}'.{closest(name, models.list_models())}", found=name)
    default = models.get_model_weights(name).DEFAULT
    with hub_errors(f"torchvision:{rest}", local=f"torchvision:{name}@/path/weights.safetensors"):
        whole = models.get_model(name, weights=default if path is None else None)
    if not isinstance(getattr(whole, "features", None), nn.Module):
        raise DataError(
            f"torchvision's {name} has no stack of features",
            expected="a model such as alexnet, vgg16 or densenet121",
            fix=f"use the timm model of that name: timm:{name}",
        )
    stack = _FeatureStack(whole.features)
    if path is not None:
        weights = {key: value for key, value in load_weights(path).items() if key.startswith("features.")}
        fill(stack, weights, path=path, part=f"the feature stack of torchvision's {name}")
    transform = default.transforms()
    network = Network(f"torchvision:{rest}", stack, transform, preprocessing=repr(transform), device=device)
    network.libraries = ("torch", "torchvision")
    return network


def split_file(rest: str) -> tuple[str, Path | None]:
    """Split ``NAME@file``; an ``@`` that is not followed by a weights file belongs to the name (a hub revision)."""
    name, mark, file = rest.rpartition("@")
    if mark and Path(file).suffix in {".safetensors", ".pt", ".pth", ".bin"}:
        return name, Path(file).expanduser()
    return rest, None
