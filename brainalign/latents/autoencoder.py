"""Image latents of diffusers' autoencoders, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainalign.errors import DataError
from brainalign.latents.network import Network, hub_errors, precision

__all__ = ["Autoencoder", "load_vae"]

_CLASSES = ("AutoencoderKL", "AutoencoderTiny")


class Autoencoder(Network):
    """An autoencoder: a picture's latent is the mode of its posterior, scaled as a diffusion model expects it.

    ``latent = (mode - shift_factor) * scaling_factor``; `decode` takes that back. Both factors are recorded.
    """

    libraries = ("torch", "diffusers")

    def __init__(self, name: str, module: nn.Module, *, image_size: int, device: str) -> None:
        from diffusers.image_processor import VaeImageProcessor

        factor = 2 ** (len(module.config.get("block_out_channels") or module.config.encoder_block_out_channels) - 1)
        if image_size % factor:
            raise DataError("image_size does not suit this autoencoder", expected=f"a multiple of {factor}",
                            found=image_size)  # fmt: skip
        processor = VaeImageProcessor(vae_scale_factor=factor)
        self.scaling_factor = float(module.config.get("scaling_factor") or 1.0)
        self.shift_factor = float(module.config.get("shift_factor") or 0.0)
        super().__init__(
            name,
            module,
            lambda image: processor.preprocess(image, height=image_size, width=image_size)[0],
            preprocessing=f"stretched to {image_size} x {image_size} (Lanczos), scaled to [-1, 1]",
            info={"scaling_factor": self.scaling_factor, "shift_factor": self.shift_factor, "image_size": image_size},
            device=device,
        )

    def _encode_image(self, batch: Tensor) -> Tensor:
        encoded = self.module.encode(batch)
        latent = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return (latent - self.shift_factor) * self.scaling_factor

    def decode(self, latents: Any) -> Tensor:
        """Pictures (n, 3, height, width) in [0, 1] of latents (n, channels, height, width) as `encode_image` gives."""
        with torch.inference_mode():
            scaled = torch.as_tensor(latents, dtype=torch.float32).to(self.device)
            images = self.module.decode(scaled / self.scaling_factor + self.shift_factor).sample
            return (images / 2 + 0.5).clamp(0, 1)


def load_vae(rest: str, *, device: str, image_size: int | None = None) -> Autoencoder:
    """A hub id or folder of an autoencoder, or of a whole pipeline with a ``vae`` part.

    ``image_size`` defaults to the size that the autoencoder's configuration names, else 256.
    """
    import diffusers

    name = f"vae:{rest}"
    folder = Path(rest).expanduser()
    place: dict[str, Any] = {"local_files_only": folder.is_dir()}
    source = str(folder) if folder.is_dir() else rest
    with hub_errors(name, local="vae:/folder with config.json and diffusion_pytorch_model.safetensors"):
        if (folder / "vae" / "config.json").is_file() and not (folder / "config.json").is_file():
            source = str(folder / "vae")
        kind = _class_name(source, place)
        module = getattr(diffusers, kind).from_pretrained(source, **precision(torch.float32), **place)
    default = module.config.get("sample_size") or 256
    size = image_size or int(default if isinstance(default, int) else default[0])
    return Autoencoder(name, module, image_size=size, device=device)


def _class_name(source: str, place: dict[str, Any]) -> str:
    from diffusers import AutoencoderKL

    if place["local_files_only"] and (Path(source) / "config.json").is_file():
        config = json.loads((Path(source) / "config.json").read_text())
    else:
        config = AutoencoderKL.load_config(source, **place)
    kind = config.get("_class_name")
    if kind not in _CLASSES:
        raise DataError(f"'{source}' is not an autoencoder that is known here", expected=_CLASSES, found=kind)
    return str(kind)
