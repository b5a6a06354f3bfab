"""Generators without diffusion: pixels as they are, an autoencoder's decoder, a linear map, the nearest picture.

They say what a latent holds by itself, where a strong generator adds what it has learnt of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents
from brainalign.latents.pixels import load_pixels
from brainalign.reconstruction.controls import PictureMaker, training_bank
from brainalign.reconstruction.generators.base import Drawing, Generator
from brainalign.reconstruction.generators.inputs import Accepted
from brainalign.reconstruction.generators.simple import VaeDecoder
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials
from brainalign.voxelwise.ridge import Ridge

__all__ = ["SIMPLE", "LinearPixels", "Pixels", "simple_generator"]


class Pixels(Drawing):
    """Latents that are pixels in [0, 1], (height, width) or (height, width, 3).

    Examples
    --------
    >>> Pixels().generate(Latents(np.ones((1, 4, 4)), ["a"], space="pixels:4:grey")).image("a").size
    (4, 4)
    """

    name = "pixels"
    accepts = (Accepted("pixels"),)

    def _draw(self, values: dict[str, np.ndarray], seeds: list[int]) -> np.ndarray:
        pixels = values["pixels"]
        if pixels.ndim not in (3, 4):
            raise DataError(
                "these latents are no pixels",
                expected="(n, height, width[, 3])",
                found=pixels.shape,
                fix="decode into pixels: --latents pixels:32",
            )
        return pixels


class LinearPixels(Drawing):
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

    name = "ridge to pixels"

    def __init__(self, latents: Latents, train: Trials, *, size: int = 32, grey: bool = False) -> None:
        if train.stimuli is None:
            raise DataError("a map to pixels needs the training pictures", fix="trials.with_stimuli(stimuli)")
        ids = list(dict.fromkeys(train.stimulus_ids))
        network = load_pixels(f"{size}:grey" if grey else str(size), device="cpu")
        pixels = network.as_batch([train.stimuli.image(one) for one in ids]).numpy()
        self._shape = pixels.shape[1:]
        self.accepts = (Accepted("latents", space=latents.space, shape=latents.shape[1:]),)
        self._ridge = Ridge(cv=5).fit(latents.select(ids).flat(), pixels.reshape(len(ids), -1))

    def _draw(self, values: dict[str, np.ndarray], seeds: list[int]) -> np.ndarray:
        latents = values["latents"]
        return self._ridge.predict(latents.reshape(len(latents), -1)).reshape(len(latents), *self._shape)


class _OfFirst:
    """A generator that of several latent spaces takes the first."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        first = next(iter(latents.values())) if isinstance(latents, Mapping) else latents
        return self._generator.generate(first, n, seed)


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
        Of `LinearPixels` (size, grey) or `VaeDecoder` (device).
    """
    first = next(iter(latents.values())) if isinstance(latents, Mapping) else latents
    if name == "pixels":
        return _OfFirst(Pixels(**options))
    if name == "decode":
        return _OfFirst(VaeDecoder(first.meta.get("model", first.space), **{"device": "cpu", **options}))
    if name == "linear":
        return _OfFirst(LinearPixels(first, train, **options))
    if name == "nearest":
        return _OfFirst(training_bank(first, train, **options))
    raise unknown("generator", name, SIMPLE)
