"""Model ids: the prefix names the family, the rest goes to that family's loader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from brainalign.arrays import resolve_device
from brainalign.errors import DataError, closest

if TYPE_CHECKING:
    from brainalign.latents.network import Network

__all__ = ["check_options", "load_model"]

_FAMILIES = {
    "open_clip": ("brainalign.latents.clip", "open_clip:MODEL/TAG, open_clip:MODEL//abs/weights.pt, open_clip:/folder"),
    "timm": ("brainalign.latents.vision", "timm:NAME or timm:NAME@weights.safetensors"),
    "torchvision": ("brainalign.latents.vision", "torchvision:NAME or torchvision:NAME@weights.safetensors"),
    "vae": ("brainalign.latents.autoencoder", "vae:HUB_ID or vae:/folder"),
    "pixels": ("brainalign.latents.pixels", "pixels:SIZE or pixels:SIZE:grey"),
    "sentence": ("brainalign.latents.sentence", "sentence:HUB_ID or sentence:/folder"),
    "offline": ("brainalign.latents.offline", "offline:conse, offline:efficientnet_lite0 or offline:minilm"),
    "mini": ("brainalign.latents.mini", "mini or mini:vae"),
    "maps": ("brainalign.latents.maps", "maps:torchvision:vgg16_bn or maps:mini"),
}
_DEFAULTS = {"mini": "image"}


def load_model(model: str, *, device: str = "auto", **options: Any) -> Network:
    """Load a network by id.

    ==================  =================================================================================
    id                  gives
    ==================  =================================================================================
    ``open_clip:``      image and text embeddings in one space; options ``normalize``, ``tokens``
    ``timm:``           the pooled features before the classifier
    ``torchvision:``    the last map of a convolutional feature stack (AlexNet, VGG, ...)
    ``vae:``            image latents (their mode, scaled), with ``decode``; option ``image_size``
    ``pixels:``         resized pixels in [0, 1]: the baseline
    ``sentence:``       sentence embeddings; option ``normalize``
    ``offline:``        networks whose weights come with pip: ``conse`` (joint image-text space; options ``top``,
                        ``normalize``), ``efficientnet_lite0`` and ``minilm``
    ``mini``            the embedded CLIP for drawn scenes: unit embeddings of pictures and captions;
                        ``mini:vae``: latents of the embedded autoencoder
    ``maps:``           maps of several depths as tokens, the layout branch of Brain-IT: ``maps:torchvision:vgg16_bn``,
                        ``maps:mini``; option ``image_size``
    ==================  =================================================================================

    Parameters
    ----------
    model : str
        For example ``"open_clip:ViT-H-14/laion2b_s32b_b79k"`` or ``"timm:resnet50@weights.safetensors"``.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    **options
        Of the family.

    Returns
    -------
    Network
        With ``encode_image``, ``encode_text``, ``image_transform``, ``name`` and ``dimension``.

    Raises
    ------
    DataError
        When the family, the model or an option is unknown, or the weights cannot be had.
    """
    family, _, rest = str(model).partition(":")
    rest = rest or _DEFAULTS.get(family, "")
    if family not in _FAMILIES or not rest:
        raise DataError(
            f"unknown model '{model}'.{closest(family, _FAMILIES)}",
            expected="; ".join(form for _, form in _FAMILIES.values()),
            found=model,
        )
    loader = getattr(import_module(_FAMILIES[family][0]), f"load_{family}")
    check_options(loader, options, name=model)
    return loader(rest, device=resolve_device(device), **options)


def check_options(loader: Callable[..., Any], options: Mapping[str, Any], *, name: str) -> None:
    """Refuse options that a family's loader does not take, naming the closest that it does."""
    parameters = signature(loader).parameters
    if any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    known = [one for one in parameters if one not in ("rest", "device")]
    if unknown := [one for one in options if one not in known]:
        raise DataError(
            f"'{name}' has no option '{unknown[0]}'.{closest(unknown[0], known)}",
            expected=f"options {known}" if known else "no options",
            found=unknown,
        )
