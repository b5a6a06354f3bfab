"""`DeepImagePrior`: the picture whose features are those that were predicted, among pictures that a network draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainalign.arrays import resolve_device
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.learning import seeded
from brainalign.parallel import progress
from brainalign.reconstruction.skip_net import SkipNet

__all__ = ["DeepImagePrior"]


class DeepImagePrior:
    """Inversion of feature maps through an untrained network (Ulyanov, Vedaldi & Lempitsky 2018), as in Brain-IT.

    For every picture a fresh `SkipNet` maps fixed noise to pixels, and its weights are fitted until the features of
    its picture are those asked for: the loss is the MSE of each layer, averaged over the layers. The noise is jittered
    in every step, and the picture returned is a running mean of those drawn. What the features do not fix (fine
    texture, exact colour) is filled in smoothly.

    Parameters
    ----------
    features : callable
        Pictures (n, 3, height, width) in [0, 1] to a list of maps, each (n, c, h, w), with gradients; such as
        `brainalign.latents.vgg_tokens.VGGFeatures`.
    image_size : int
        Side of the picture in pixels.
    n_steps : int
    learning_rate : float
        Of Adam.
    average : float
        Decay of the running mean.
    jitter : float
        SD of the noise added to the input in a step.
    channels : sequence of int
        Of the levels of the network.
    scheme : MapTokens, optional
        How tokens become maps; then `invert` takes tokens as well.
    relative : bool
        Divide the MSE of a layer by the mean square of its targets, so that no layer outweighs the others.
    device : str
    seed : int

    Examples
    --------
    >>> conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    >>> picture = torch.rand(1, 3, 16, 16)
    >>> prior = DeepImagePrior(lambda images: [conv(images)], 16, n_steps=5, channels=(8, 8))
    >>> prior.invert([conv(picture)]).shape
    (1, 16, 16, 3)
    """

    def __init__(
        self,
        features: Callable[[Tensor], Sequence[Tensor]],
        image_size: int = 112,
        *,
        n_steps: int = 1800,
        learning_rate: float = 1e-3,
        average: float = 0.99,
        jitter: float = 1 / 30,
        channels: Sequence[int] = (128,) * 5,
        scheme: Any = None,
        relative: bool = False,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        if n_steps < 1 or not 0 <= average < 1 or image_size < 2 ** (len(channels) + 1):
            raise DataError(
                "these options invert nothing",
                expected=f"n_steps >= 1, 0 <= average < 1, image_size >= {2 ** (len(channels) + 1)} for these channels",
                found=f"n_steps={n_steps}, average={average}, image_size={image_size}",
            )
        self.features, self.image_size, self.n_steps = features, image_size, n_steps
        self.learning_rate, self.average, self.jitter = learning_rate, average, jitter
        self.channels, self.scheme, self.relative = tuple(channels), scheme, relative
        self.device, self.seed = resolve_device(device), seed

    def invert(self, feature_targets: Any) -> np.ndarray:
        """Pictures that have these features.

        Parameters
        ----------
        feature_targets : list of tensor or array (n, c, h, w), or tokens (n, n_tokens, width), or Latents of such
            One map a layer, in the order in which `features` gives them; tokens where there is a `scheme`.

        Returns
        -------
        ndarray, shape (n, image_size, image_size, 3), float32
            In [0, 1]. Every picture has a seed of its own: its result does not depend on the others.

        Raises
        ------
        DataError
            When the targets do not match the layers, or are not finite.
        """
        maps = self._maps(feature_targets)
        seeds = np.random.SeedSequence(self.seed).generate_state(len(maps[0]))
        pictures = [
            self._invert_one([one[number : number + 1] for one in maps], int(seeds[number]))
            for number in progress(range(len(maps[0])), description="inverting features", total=len(maps[0]))
        ]
        return np.stack(pictures)

    def _maps(self, targets: Any) -> list[Tensor]:
        """Targets as one tensor a layer, checked against the layers."""
        values = targets.values if isinstance(targets, Latents) else targets
        if isinstance(values, list | tuple):
            maps = [
                torch.as_tensor(np.asarray(one, dtype=np.float32)) if not isinstance(one, Tensor) else one
                for one in values
            ]
        elif self.scheme is None:
            raise DataError(
                "tokens need a scheme to become maps",
                expected="a list of maps, one a layer",
                fix="scheme=MapTokens.vgg16(112)",
            )
        else:
            maps = self.scheme.to_maps(torch.as_tensor(np.asarray(values, dtype=np.float32)))
        maps = [one.detach().to(self.device, torch.float32) for one in maps]
        with torch.no_grad():
            made = self.features(torch.zeros(1, 3, self.image_size, self.image_size, device=self.device))
        expected, found = [tuple(one.shape[1:]) for one in made], [tuple(one.shape[1:]) for one in maps]
        if expected != found or len({len(one) for one in maps}) != 1 or not len(maps[0]):
            raise DataError(
                "the targets are not maps of these layers", expected=expected, found=[m.shape for m in maps]
            )
        if not all(torch.isfinite(one).all() for one in maps):
            raise DataError("feature targets contain NaN or infinity", expected="finite numbers")
        return maps

    def _invert_one(self, targets: Sequence[Tensor], seed: int) -> np.ndarray:
        weights = [1 / one.square().mean().clamp_min(1e-12) if self.relative else 1.0 for one in targets]
        with seeded(seed), torch.enable_grad():
            network = SkipNet(32, self.channels).to(self.device)
            noise = 0.1 * torch.rand(1, 32, self.image_size, self.image_size).to(self.device)
            optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
            mean: Tensor | None = None
            for _ in range(self.n_steps):
                picture = network(noise + self.jitter * torch.randn(noise.shape).to(self.device))
                made = zip(weights, self.features(picture), targets, strict=True)
                loss = torch.stack([weight * (one - target).square().mean() for weight, one, target in made]).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                drawn = picture.detach()
                mean = drawn if mean is None else self.average * mean + (1 - self.average) * drawn
        assert mean is not None
        return mean[0].permute(1, 2, 0).cpu().numpy()
