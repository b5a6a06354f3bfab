"""`Generator`: the one protocol of everything that turns latents into pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.latents.streaming import Draft, stream
from brainalign.reconstruction.generators.inputs import Accepted, match_inputs, picture_seed
from brainalign.stimuli import Stimuli

__all__ = ["Drawing", "Generator", "draws_of", "to_uint8"]


class Generator(ABC):
    """Latents to pictures.

    Attributes
    ----------
    name : str
        Recorded with every picture.
    accepts : tuple of Accepted
        The first is what a bare array or `Latents` is taken for.
    """

    name: str
    accepts: tuple[Accepted, ...]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @property
    def space(self) -> str | None:
        """Name of the space accepted, where it is known."""
        return self.accepts[0].space

    @abstractmethod
    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        """Make `n` pictures of each row of `latents`.

        Parameters
        ----------
        latents : Latents, array (n_stimuli, \\*space), or mapping of role to these
            For example ``{"clip": ..., "vae": ...}``; rows of a mapping meet by id.
        n : int
            Pictures a row.
        seed : int
            Each picture has a seed of its own, made of this, its stimulus id and its number: neither the size of a
            batch nor the order of rows changes it.

        Returns
        -------
        Stimuli
            In memory. Ids are those of the latents; with ``n > 1``, ``"<id>#<draw>"``. The table holds ``source_id``,
            ``draw`` and ``generator``.

        Raises
        ------
        DataError
            When the latents are of another space, revision or shape, or not finite.
        """


class Drawing(Generator):
    """A generator that draws pictures in batches: a subclass names what it `accepts` and writes `_draw`.

    Attributes
    ----------
    batch_size : int
        Pictures at a time; halved when memory runs out.
    """

    batch_size: int = 16

    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        """See `Generator.generate`."""
        if int(n) != n or n < 1:
            raise DataError("n pictures of each stimulus", expected="an integer from 1", found=n)
        ids, values = match_inputs(latents, self.accepts, name=self.name)
        table = draws_of(ids, n, self.name)
        sources, draws = np.repeat(np.arange(len(ids)), n), table["draw"].to_numpy()

        def compute(rows: Sequence[int]) -> dict[str, np.ndarray]:
            chosen = {role: array[sources[list(rows)]] for role, array in values.items()}
            seeds = [picture_seed(seed, ids[sources[row]], int(draws[row])) for row in rows]
            return {"pictures": to_uint8(self._draw(chosen, seeds))}

        draft = Draft(None, len(sources), "uint8")
        text = f"pictures by {self.name}"
        stream({"pictures": draft}, compute, range(len(sources)), batch_size=self.batch_size, description=text)
        return Stimuli.from_arrays(draft.values, list(table.index), table=table)

    @abstractmethod
    def _draw(self, values: dict[str, np.ndarray], seeds: list[int]) -> np.ndarray:
        """Pictures (n, height, width[, 3]) in [0, 1] or uint8, one for each row and seed."""


def draws_of(ids: Sequence[str], n: int, generator: str) -> pd.DataFrame:
    """The table of `n` pictures of each stimulus, by the id of the picture.

    Examples
    --------
    >>> draws_of(["a", "b"], 2, "toy")["source_id"].to_dict()
    {'a#0': 'a', 'a#1': 'a', 'b#0': 'b', 'b#1': 'b'}
    """
    parents, draws = [one for one in ids for _ in range(n)], np.tile(np.arange(n), len(ids))
    names = parents if n == 1 else [f"{one}#{draw}" for one, draw in zip(parents, draws)]
    return pd.DataFrame({"source_id": parents, "draw": draws, "generator": generator}, index=names)


def to_uint8(pictures: np.ndarray) -> np.ndarray:
    """[0, 1] to 0 ... 255, rounded."""
    if pictures.dtype == np.uint8:
        return pictures
    return (np.clip(pictures, 0, 1) * 255).round().astype(np.uint8)
