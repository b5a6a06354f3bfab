"""Activation maximisation in a prior over embeddings, and one picture for each facet of what is preferred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.latents.base import Latents

__all__ = ["Drawn", "Multifaceted", "PlugAndPlay", "Score", "Work", "role_of"]

Score = Callable[[Tensor], Tensor]
"""Pictures (n, 3, height, width) in [0, 1] to one value each."""


@dataclass(frozen=True, eq=False)
class Work:
    """What a sampler works with.

    Parameters
    ----------
    guide : PictureEncoder, or any function of pictures to responses (n, n_units)
    generator : Diffusion or GaussianMixture
    target : callable
        Responses (n, n_units) to one value each.
    """

    guide: Any
    generator: Any
    target: Callable[[Tensor], Tensor]

    def score(self, pictures: Tensor) -> Tensor:
        """The target's value of each picture."""
        return self.target(self.guide(pictures))


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pictures (n, height, width, 3) in [0, 1], the value of each, and what else is known of them, by column."""

    pictures: np.ndarray
    values: np.ndarray
    extra: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PlugAndPlay:
    """Embeddings that are likely and preferred, handed to a generator of embeddings (Nguyen et al. 2017, CVPR).

    The prior is a Gaussian over the embeddings of natural pictures. In its whitened coordinates u each step is
    u <- r u + (1 - r) s grad S(u) + sqrt(1 - r^2) T noise, with r = 1 - `rate`: for a linear S its distribution is
    exactly the prior tilted by exp(s S) at temperature T = 1, and its mode, mean + s covariance w, at T = 0.

    Parameters
    ----------
    bank : Latents
        Embeddings of natural pictures, in the space that the guide reads and the generator takes.
    scale : float
        How many SD of the natural pictures' values the target is to move, in the mean and as far as it is linear.
    steps : int
    rate : float
        In (0, 1].
    temperature : float
        0 searches the mode and makes one picture again and again but for the generator's own chance.
    batch_size : int

    Examples
    --------
    >>> bank = Latents(np.random.default_rng(0).standard_normal((50, 4)), range(50), space="x")
    >>> PlugAndPlay(bank, scale=2.0).covariance.shape
    torch.Size([4, 4])
    """

    bank: Latents
    scale: float = 3.0
    steps: int = 60
    rate: float = 0.1
    temperature: float = 0.5
    batch_size: int = 16

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.steps >= 1 and 0 < self.rate <= 1 and self.temperature >= 0):
            raise DataError("a latent prior cannot be searched like this", found=self,
                            expected="a finite scale, steps from 1, rate in (0, 1], temperature from 0")  # fmt: skip
        if not isinstance(self.bank, Latents):
            raise DataError("the natural pictures of a prior are one bank in a named space", expected="Latents",
                            found=type(self.bank).__name__, fix="ba.extract(pictures, network)")  # fmt: skip
        check_finite(self.bank.flat(), name="the bank")
        if len(self.bank) < 2:
            raise DataError("a prior needs natural pictures", expected="2 or more embeddings", found=len(self.bank))

    @cached_property
    def mean(self) -> Tensor:
        """Of the natural embeddings, (n_features,) in float64."""
        return torch.from_numpy(self.bank.flat().astype(np.float64)).mean(0)

    @cached_property
    def covariance(self) -> Tensor:
        """Of the natural embeddings, shrunk as Ledoit & Wolf (2004) have it, (n_features, n_features)."""
        from sklearn.covariance import ledoit_wolf

        return torch.from_numpy(ledoit_wolf(self.bank.flat().astype(np.float64))[0])

    def draw(self, work: Work, numbers: Sequence[int], seeds: Sequence[int]) -> Drawn:
        """Pictures of these numbers, one for each seed; the value is that of the embedding drawn."""
        embeddings, extra = self.embeddings(work, numbers, seeds)
        ids = [str(one) for one in seeds]
        made = work.generator.generate({role_of(work): Latents(embeddings, ids, space=self.bank.space)}, seed=0)
        pictures = np.stack([made.array(one) for one in made.ids]).astype(np.float32) / 255
        with torch.no_grad():
            values = work.target(work.guide.respond(torch.tensor(embeddings))).numpy()
        return Drawn(pictures, values, extra)

    def embeddings(
        self, work: Work, numbers: Sequence[int], seeds: Sequence[int]
    ) -> tuple[np.ndarray, dict[str, list[Any]]]:
        """Embeddings (n, n_features) of these numbers, and what else is known of them."""
        self._check(work)
        return self._search(work, seeds, self.mean, self.covariance), {}

    def _check(self, work: Work) -> None:
        if not hasattr(work.guide, "respond"):
            raise DataError("a latent prior needs a guide that reads embeddings", expected="a PictureEncoder",
                            found=type(work.guide).__name__)  # fmt: skip
        reads = work.guide.network.space
        if reads != self.bank.space:
            raise DataError("the guide reads another space than the bank's", expected=reads, found=self.bank.space)
        role_of(work)

    def _natural(self, work: Work) -> Tensor:
        """The target's value of every natural embedding."""
        with torch.no_grad():
            return work.target(work.guide.respond(torch.tensor(self.bank.flat())))

    def _search(self, work: Work, seeds: Sequence[int], mean: Tensor, covariance: Tensor) -> np.ndarray:
        root = torch.linalg.cholesky(covariance)
        keep = 1 - self.rate
        natural = self._natural(work)
        strength = self.scale / max(float(natural.std()), 1e-12)
        chances = [torch.Generator().manual_seed(one) for one in seeds]

        def noise() -> Tensor:
            return torch.stack([torch.randn(len(mean), dtype=torch.float64, generator=one) for one in chances])

        u = self.temperature * noise()
        for _ in range(self.steps):
            u = u.detach().requires_grad_()
            value = work.target(work.guide.respond(mean + u @ root.T))
            (gradient,) = torch.autograd.grad(value.sum(), u)
            u = keep * u.detach() + self.rate * strength * gradient
            u = u + (1 - keep**2) ** 0.5 * self.temperature * noise()
        return (mean + u @ root.T).detach().numpy().astype(np.float32)


@dataclass(frozen=True, eq=False)
class Multifaceted(PlugAndPlay):
    """One picture for each facet of what is preferred (Nguyen et al. 2016): picture i is of facet i mod `n_facets`.

    The natural pictures with the highest values are clustered; each search has the mean of one cluster for its
    prior's mean, and the covariance within clusters.

    Parameters
    ----------
    n_facets : int
    n_preferred : int
        How many natural pictures count as preferred.
    seed : int
        Of the clustering.
    """

    n_facets: int = 4
    n_preferred: int = 100
    seed: int = 0

    def embeddings(
        self, work: Work, numbers: Sequence[int], seeds: Sequence[int]
    ) -> tuple[np.ndarray, dict[str, list[Any]]]:
        """As `PlugAndPlay.embeddings`, with a column ``facet``."""
        self._check(work)
        centres, within = self._facets(work)
        facets = [number % self.n_facets for number in numbers]
        found = np.empty((len(seeds), len(self.mean)), dtype=np.float32)
        for facet in sorted(set(facets)):
            rows = [row for row, one in enumerate(facets) if one == facet]
            found[rows] = self._search(work, [seeds[row] for row in rows], centres[facet], within)
        return found, {"facet": facets}

    def _facets(self, work: Work) -> tuple[Tensor, Tensor]:
        from sklearn.cluster import KMeans
        from sklearn.covariance import ledoit_wolf

        if not 1 <= self.n_facets <= self.n_preferred <= len(self.bank):
            raise DataError("facets are clusters of the preferred pictures",
                            expected=f"n_facets <= n_preferred <= {len(self.bank)}, the bank",
                            found=f"{self.n_facets} facets of {self.n_preferred}")  # fmt: skip
        values = self._natural(work).numpy()
        best = self.bank.flat()[np.argsort(-values, kind="stable")[: self.n_preferred]].astype(np.float64)
        fitted = KMeans(self.n_facets, n_init=10, random_state=self.seed).fit(best)
        away = best - fitted.cluster_centers_[fitted.labels_]
        return torch.from_numpy(fitted.cluster_centers_), torch.from_numpy(ledoit_wolf(away, assume_centered=True)[0])


def role_of(work: Work) -> str:
    """Under which name the generator takes embeddings of the space that the guide reads.

    Raises
    ------
    DataError
        When it takes other latents.
    """
    reads = work.guide.network.space
    roles = {one.space: one.role for one in work.generator.accepts}
    if reads not in roles:
        raise DataError(
            "encoder and generator are of different latent spaces",
            expected=f"a generator that takes '{reads}'",
            found=[space for space in roles if space],
            fix="fit the voxelwise model to the embeddings that the generator takes, or guide by pixels: Guided()",
        )
    return roles[reads]
