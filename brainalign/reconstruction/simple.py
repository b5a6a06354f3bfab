"""Generators without diffusion: pixels as they are, an autoencoder's decoder, a linear map, the nearest picture.

They say what a latent holds by itself, where a strong generator adds what it has learnt of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.arrays import row_blocks
from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents
from brainalign.latents.pixels import load_pixels
from brainalign.latents.registry import load_model
from brainalign.reconstruction.controls import PictureMaker, nearest_training
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials
from brainalign.voxelwise.ridge import Ridge

__all__ = ["SIMPLE", "Decoded", "LinearPixels", "Nearest", "Pixels", "simple_generator"]


class _OneSample:
    """Base of generators without chance: one picture a latent."""

    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        """Pictures by the ids of the latents; of several latent spaces the first is used."""
        if n != 1:
            raise DataError(f"{type(self).__name__} knows one picture a latent", expected="n=1", found=n)
        first = next(iter(latents.values())) if isinstance(latents, Mapping) else latents
        return Stimuli.from_arrays(self._pictures(first), first.ids)

    def _pictures(self, latents: Latents) -> NDArray[np.uint8]:
        raise NotImplementedError


class Pixels(_OneSample):
    """Latents that are pixels in [0, 1], (height, width) or (height, width, 3).

    Examples
    --------
    >>> Pixels().generate(Latents(np.ones((1, 4, 4)), ["a"], space="pixels:4:grey")).image("a").size
    (4, 4)
    """

    def _pictures(self, latents: Latents) -> NDArray[np.uint8]:
        if latents.values.ndim not in (3, 4):
            raise DataError("these latents are no pixels", expected="(n, height, width[, 3])", found=latents.shape)
        return as_uint8(latents.values)


class Decoded(_OneSample):
    """The decoder of the autoencoder that made the latents.

    Parameters
    ----------
    model : str or Autoencoder
        For example ``"vae:/folder"``.
    """

    def __init__(self, model: Any, *, device: str = "cpu") -> None:
        self.network: Any = load_model(model, device=device) if isinstance(model, str) else model
        if not hasattr(self.network, "decode"):
            raise DataError(f"{self.network.name} has no decoder", expected="an autoencoder, vae:...")

    def _pictures(self, latents: Latents) -> NDArray[np.uint8]:
        if latents.space != self.network.space:
            raise DataError("latents of another model", expected=self.network.space, found=latents.space)
        blocks = row_blocks(len(latents), 2**23)
        made = [self.network.decode(np.array(latents.values[rows])).permute(0, 2, 3, 1).cpu() for rows in blocks]
        return as_uint8(np.concatenate([one.numpy() for one in made]))


class LinearPixels(_OneSample):
    """Ridge from latents to pixels, fitted on training pictures.

    Parameters
    ----------
    latents : Latents
    train : Trials
        Whose pictures are fitted on.
    size : int
        Pixels a side.
    grey : bool
    """

    def __init__(self, latents: Latents, train: Trials, *, size: int = 32, grey: bool = False) -> None:
        if train.stimuli is None:
            raise DataError("a map to pixels needs the training pictures", fix="trials.with_stimuli(stimuli)")
        ids = list(dict.fromkeys(train.stimulus_ids))
        network = load_pixels(f"{size}:grey" if grey else str(size), device="cpu")
        pixels = network.as_batch([train.stimuli.image(one) for one in ids]).numpy()
        self._shape = pixels.shape[1:]
        self._space = latents.space
        self._ridge = Ridge(cv=5).fit(latents.select(ids).flat(), pixels.reshape(len(ids), -1))

    def _pictures(self, latents: Latents) -> NDArray[np.uint8]:
        if latents.space != self._space:
            raise DataError("latents of another model", expected=self._space, found=latents.space)
        return as_uint8(self._ridge.predict(latents.flat()).reshape(len(latents), *self._shape))


class Nearest:
    """The training picture whose latents lie nearest: retrieval in place of generation."""

    def __init__(self, latents: Any, train: Trials) -> None:
        self._latents, self._train = latents, train

    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        """Training pictures under the ids of the latents."""
        if n != 1:
            raise DataError("Nearest knows one picture a latent", expected="n=1", found=n)
        return nearest_training(latents, self._latents, self._train)


SIMPLE = ("pixels", "decode", "linear", "nearest")
"""Names that `simple_generator` knows."""


def simple_generator(name: str, latents: Any, train: Trials, **options: Any) -> PictureMaker:
    """One of `SIMPLE`, fitted where it is fitted on training pictures only.

    Parameters
    ----------
    name : {"pixels", "decode", "linear", "nearest"}
    latents : Latents, or dict of str to Latents
        Of the training pictures at least.
    train : Trials
    **options
        Of `LinearPixels` (size, grey) or `Decoded` (device).
    """
    first = next(iter(latents.values())) if isinstance(latents, Mapping) else latents
    if name == "pixels":
        return Pixels(**options)
    if name == "decode":
        return Decoded(first.meta.get("model", first.space), **options)
    if name == "linear":
        return LinearPixels(first, train, **options)
    if name == "nearest":
        return Nearest(latents, train, **options)
    raise unknown("generator", name, SIMPLE)


def as_uint8(values: Any) -> NDArray[np.uint8]:
    """Pictures in [0, 1], clipped."""
    return np.rint(np.clip(np.asarray(values, dtype=np.float32), 0, 1) * 255).astype(np.uint8)
