"""Generators without diffusion: a decoder alone, retrieval, inversion of features, and the best of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.latents.registry import load_model
from brainalign.reconstruction.generators.base import Drawing, Generator, draws_of
from brainalign.reconstruction.generators.inputs import Accepted, match_inputs
from brainalign.scoring.cosine import similarity
from brainalign.stimuli import Stimuli

__all__ = ["BestOf", "Inversion", "Retrieval", "VaeDecoder", "best_of"]


class VaeDecoder(Drawing):
    """The autoencoder's decoder alone, on latents as ``vae:`` and ``mini:vae`` give them."""

    def __init__(self, model: str, *, device: str = "auto") -> None:
        self.network: Any = load_model(model, device=device)
        if not hasattr(self.network, "decode"):
            raise DataError(f"{model} has no decoder", expected="an autoencoder, vae:...", found=model)
        self.name = f"decoder of {model}"
        channels = int(self.network.module.config.latent_channels)
        self._channels = channels
        self.accepts = (Accepted("vae", space=self.network.name, weights_sha256=lambda: self.network.weights_sha256),)

    def _draw(self, values: dict[str, np.ndarray], seeds: list[int]) -> np.ndarray:
        latents = values["vae"]
        if latents.ndim != 4 or latents.shape[1] != self._channels:
            raise DataError(f"{self.name} cannot decode this shape", expected=f"(n, {self._channels}, height, width)",
                            found=latents.shape)  # fmt: skip
        return self.network.decode(latents).permute(0, 2, 3, 1).float().cpu().numpy()


class Retrieval(Generator):
    """The picture of a bank whose latent is nearest by cosine: the baseline that a generator has to beat.

    With `n` pictures asked for, the nearest `n`. The bank must not hold the pictures that are to be reconstructed.

    Parameters
    ----------
    bank : Stimuli
        Pictures of one size.
    latents : Latents
        Of the bank.
    centred : bool
        Take the cosine about the mean of the bank: regressed latents lie near it, and angles to them say little.

    Examples
    --------
    >>> bank = Stimuli.from_arrays(np.stack([np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)]), ["a", "b"])
    >>> retrieval = Retrieval(bank, Latents(np.eye(2), ["a", "b"], space="toy"))
    >>> retrieval.generate(Latents([[0.1, 0.9]], ["x"], space="toy")).array("x").max()
    np.uint8(1)
    """

    def __init__(self, bank: Stimuli, latents: Latents, *, centred: bool = False) -> None:
        self.bank, self.bank_latents = bank, latents.select(bank.ids)
        flat = self.bank_latents.flat()
        self._origin = flat.mean(axis=0, dtype=np.float64) if centred else np.zeros(1)
        self.name = f"nearest of {len(bank)} pictures"
        self.accepts = (Accepted("clip", space=latents.space, shape=latents.shape[1:]),)

    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        """The nearest `n` pictures of each row; see `Generator.generate`. `seed` changes nothing."""
        if int(n) != n or not 1 <= n <= len(self.bank):
            raise DataError("n pictures of each stimulus", expected=f"1 to {len(self.bank)}, the bank", found=n)
        ids, values = match_inputs(latents, self.accepts, name=self.name)
        guess, known = values["clip"].reshape(len(ids), -1), self.bank_latents.flat()
        similar = similarity(guess - self._origin, known - self._origin)
        nearest = np.argsort(-similar, axis=1, kind="stable")[:, :n].ravel()
        chosen = [self.bank.ids[row] for row in nearest]
        table = draws_of(ids, n, self.name).assign(bank_id=chosen)
        shown = dict(zip(table.index, chosen))
        return Stimuli(list(table.index), images=lambda one: self.bank.image(shown[one]), table=table)


class Inversion(Drawing):
    """Pictures whose network features come near those predicted.

    Parameters
    ----------
    prior : object
        With ``invert(maps)``, a list of one array (n, ...) a layer (or tokens, where it has a ``scheme``) to pictures
        (n, height, width, 3) in [0, 1], and an attribute ``seed``: a deep image prior.
    accepts : sequence of Accepted
        The layers in the order of the prior, or the tokens alone.
    """

    batch_size = 1

    def __init__(self, prior: Any, accepts: Sequence[Accepted]) -> None:
        self.prior, self.name = prior, "inversion of features"
        self.accepts = tuple(accepts)

    def _draw(self, values: dict[str, np.ndarray], seeds: list[int]) -> np.ndarray:
        pictures = []
        for row, seed in enumerate(seeds):
            prior = copy(self.prior)
            prior.seed = seed
            maps = [values[one.role][row : row + 1] for one in self.accepts]
            pictures.append(prior.invert(maps[0] if getattr(prior, "scheme", None) is not None else maps)[0])
        return np.stack([np.asarray(one) for one in pictures])


class BestOf(Generator):
    """The best of `k` pictures of another generator, with `k` disclosed in name and table.

    A score of such pictures profits from the choice: compare it only with others of the same `k`.
    """

    def __init__(self, generator: Generator, k: int, scorer: Callable[[Stimuli, Any], Any]) -> None:
        if int(k) != k or k < 1:
            raise DataError("best of k pictures", expected="an integer from 1", found=k)
        self.generator, self.k, self.scorer = generator, int(k), scorer
        self.name, self.accepts = f"best of {k} by {generator.name}", generator.accepts

    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        """See `Generator.generate`; the table also holds ``best_of`` and the ``score`` by which it was chosen."""
        ids, _ = match_inputs(latents, self.accepts, name=self.name)
        drawn = self.generator.generate(latents, n * self.k, seed=seed)
        scores = np.asarray(self.scorer(drawn, latents), dtype=np.float64).ravel()
        if len(scores) != len(drawn) or not np.isfinite(scores).all():
            raise DataError("the scorer must give one finite number for each picture", expected=len(drawn),
                            found=scores.shape)  # fmt: skip
        best = scores.reshape(len(ids) * n, self.k).argmax(1) + self.k * np.arange(len(ids) * n)
        table = drawn.table.iloc[best].set_axis(draws_of(ids, n, self.name).index)
        table = table.assign(**draws_of(ids, n, self.name), best_of=self.k, score=scores[best])
        shown = dict(zip(table.index, [drawn.ids[row] for row in best]))
        return Stimuli(list(table.index), images=lambda one: drawn.image(shown[one]), table=table)


def best_of(generator: Generator, k: int, scorer: Callable[[Stimuli, Any], Any] | None = None, *,
            model: str | None = None) -> BestOf:  # fmt: skip
    """Keep the best of `k` pictures.

    Parameters
    ----------
    generator : Generator
    k : int
    scorer : callable, optional
        ``scorer(pictures, latents)``: one number a picture, the more the better. Default: cosine between the
        embedding of the picture by `model` and the latent it was made from.
    model : str, optional
        Default: the generator's own space.
    """
    return BestOf(generator, k, scorer or _nearness(generator, model or generator.space))


def _nearness(generator: Generator, model: str | None) -> Callable[[Stimuli, Any], np.ndarray]:
    if model is None:
        raise DataError(f"no scorer for {generator.name}, whose space is not known", fix="give scorer= or model=")

    def score(pictures: Stimuli, latents: Any) -> np.ndarray:
        from brainalign.latents.extraction import extract

        ids, values = match_inputs(latents, generator.accepts, name=generator.name)
        own = extract(pictures, model, cache=False).flat()
        rows = {one: row for row, one in enumerate(ids)}
        target = values[generator.accepts[0].role].reshape(len(ids), -1)
        target = target[[rows[one] for one in pictures.table["source_id"]]]
        norms = np.linalg.norm(own, axis=1) * np.linalg.norm(target, axis=1)
        return (own * target).sum(1) / np.maximum(norms, 1e-12)

    return score
