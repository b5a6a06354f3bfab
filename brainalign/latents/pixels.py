"""Resized pixels: the baseline that every network has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainalign.errors import DataError
from brainalign.latents.network import Network

__all__ = ["load_pixels"]


class _Pixels(Network):
    libraries = ("torch", "pillow")

    @property
    def dimension(self) -> int:
        """Numbers a picture gives."""
        return int(np.prod(self.info["shape"]))


def load_pixels(rest: str, *, device: str) -> Network:
    """``SIZE`` for (SIZE, SIZE, 3) colour or ``SIZE:grey`` for (SIZE, SIZE) luminance, in [0, 1]."""
    size_text, _, mode = rest.partition(":")
    if not size_text.isdigit() or int(size_text) < 1 or mode not in ("", "rgb", "grey"):
        raise DataError("pixels are named by size and mode", expected="pixels:64, pixels:28:grey", found=rest)
    size = int(size_text)

    def transform(image: Any) -> Tensor:
        from PIL import Image

        image = image.convert("L" if mode == "grey" else "RGB")
        if image.size != (size, size):
            # Bilinear in Pillow averages over the source pixels when it shrinks, so nothing aliases.
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)

    shape = (size, size) if mode == "grey" else (size, size, 3)
    words = f"stretched to {size} x {size} (bilinear), {'luminance' if mode == 'grey' else 'RGB'} in [0, 1]"
    return _Pixels(
        f"pixels:{rest}", nn.Identity(), transform, preprocessing=words, info={"shape": shape}, device=device
    )
