"""Layout and meaning in one picture: a predicted layout, denoised under predicted semantics from part of the way on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.reconstruction.generators.base import Drawing
from brainalign.reconstruction.generators.diffusion import Diffusion
from brainalign.reconstruction.generators.simple import Inversion

__all__ = ["Fusion"]


class Fusion(Drawing):
    """Pictures from a layout branch and a semantic branch, as Brain-IT joins them.

    The layout (predicted tokens of feature maps, inverted by a `DeepImagePrior`) is encoded by the autoencoder of the
    diffusion model and noised to the level of step `start`; from there it is denoised under the predicted semantics.
    An early `start` leaves more to the semantics, a late one more to the layout. Where asked for, the picture's
    contrast is then scaled and another image-to-image model polishes it.

    Parameters
    ----------
    diffusion : Diffusion
        Of image embeddings, which takes ``"vae"`` latents too. Its steps and strength are set by `start` and `n_steps`.
    inversion : Inversion
        Of tokens, under the role ``"layout"``.
    start, n_steps : int
        14 of 38 in the paper.
    contrast : float
        Distances from each picture's mean luminance are scaled by this; 1 leaves it, 0.8 in the paper.
    polish : Diffusion, optional
        An image-to-image model with a strength of its own, such as ``img2img:`` of Stable Diffusion XL.
    """

    def __init__(
        self,
        diffusion: Diffusion,
        inversion: Inversion,
        *,
        start: int = 14,
        n_steps: int = 38,
        contrast: float = 1.0,
        polish: Diffusion | None = None,
    ) -> None:
        if not 0 <= start < n_steps:
            raise DataError("denoising cannot start there", expected="0 <= start < n_steps", found=(start, n_steps))
        if contrast < 0:
            raise DataError("contrast is out of range", expected="at least 0", found=contrast)
        semantic = next((one for one in diffusion.accepts if one.role != "vae"), None)
        if semantic is None or not any(one.role == "vae" for one in diffusion.accepts):
            raise DataError(
                f"{diffusion.name} cannot join layout and meaning",
                expected="a generator of image embeddings that also starts from image latents",
                fix="mini, unclip: or ip-adapter:",
            )
        if polish is not None and polish.accepts[0].role != "vae":
            raise DataError(f"{polish.name} does not polish pictures", expected="an img2img: generator")
        self.diffusion, self.inversion, self.polish = diffusion, inversion, polish
        self.start, self.contrast = int(start), float(contrast)
        diffusion.steps, diffusion.strength = int(n_steps), (n_steps - start) / n_steps
        self.name = f"fusion in {diffusion.name}"
        self.accepts = (semantic, replace(inversion.accepts[0], required=True))

    def _draw(self, values: dict[str, np.ndarray], seeds: list[int]) -> np.ndarray:
        role = self.accepts[1].role
        layouts = self.inversion._draw({role: values[role]}, seeds)
        told = {name: one for name, one in values.items() if name != role}
        made = self.diffusion._draw({**told, "vae": self.diffusion.encode(layouts)}, seeds)
        made = scale_contrast(made, self.contrast)
        return made if self.polish is None else self.polish._draw({"vae": self.polish.encode(made)}, seeds)


def scale_contrast(pictures: Any, factor: float) -> np.ndarray:
    """Pictures (n, height, width, 3) in [0, 1] with distances from each one's mean luminance scaled.

    Examples
    --------
    >>> halves = np.stack([np.zeros((2, 2, 3)), np.ones((2, 2, 3))], axis=1).reshape(1, 4, 2, 3)
    >>> sorted(set(scale_contrast(halves, 0.5).ravel().round(2).tolist()))
    [0.25, 0.75]
    """
    pictures = np.asarray(pictures, dtype=np.float32)
    if factor == 1:
        return pictures
    luminance = pictures @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    mean = luminance.mean(axis=(1, 2))[:, None, None, None]
    return np.clip(mean + factor * (pictures - mean), 0, 1)
