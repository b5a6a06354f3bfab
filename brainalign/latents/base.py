"""`Latents`: what a network makes of the stimuli, in a named space, by stimulus id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from brainalign.cache import read_artefact, write_artefact
from brainalign.errors import DataError, closest

__all__ = ["Latents"]


class Latents:
    """Activations, embeddings or image latents of stimuli.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, \\*space)
        Memory maps stay on disk.
    ids : sequence of str
        Unique stimulus ids, one a row.
    space : str
        Name of the space, for example ``"offline:conse"`` or ``"timm:resnet50/layer4"``.
    meta : mapping
        Model id, weights hash, layer, preprocessing.

    Raises
    ------
    DataError
        When ids repeat or do not match the rows.

    Examples
    --------
    >>> latents = Latents(np.eye(3), ["a", "b", "c"], space="toy")
    >>> latents.at(["c", "a"])[:, 0]
    array([0., 1.])
    """

    def __init__(self, values: Any, ids: Iterable[Any], *, space: str, meta: Mapping[str, Any] | None = None) -> None:
        self.values = values if isinstance(values, np.ndarray) else np.asarray(values)
        self.ids = tuple(str(one) for one in ids)
        self.space = str(space)
        self.meta = dict(meta or {})
        self._index = pd.Index(self.ids, dtype=object)
        if self.values.ndim < 2 or len(self.values) != len(self.ids):
            raise DataError(
                "latents need one row per stimulus id",
                expected=f"({len(self.ids)}, ...)",
                found=self.values.shape,
            )
        if not self._index.is_unique:
            repeated = self._index[self._index.duplicated()].unique()[:5].tolist()
            raise DataError("stimulus ids of latents must be unique", found=f"repeated: {repeated}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_stimuli, \\*space)."""
        return self.values.shape

    def __len__(self) -> int:
        return len(self.ids)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"Latents({len(self)} stimuli × {self.shape[1:]} in {self.space})"

    def at(self, ids: Iterable[Any]) -> np.ndarray:
        """Latents of the given ids, in their order (repeats allowed).

        Raises
        ------
        DataError
            Listing the first five ids that are not here.
        """
        return np.asarray(self.values[self.rows(ids)])

    def rows(self, ids: Iterable[Any]) -> np.ndarray:
        """Row number of each of the given ids.

        Raises
        ------
        DataError
            Listing the first five ids that are not here.
        """
        wanted = pd.Index([str(one) for one in ids], dtype=object)
        rows = self._index.get_indexer(wanted)
        if (rows < 0).any():
            unknown = wanted[rows < 0].unique().tolist()
            raise DataError(
                f"{len(unknown)} stimulus_id without latents: {unknown[:5]}.{closest(unknown[0], self.ids)}",
                expected=f"ids among the {len(self)} of {self.space}, such as {list(self.ids[:3])}",
                found=unknown[:5],
                fix="extract latents for these stimuli too, or select the trials that have them",
            )
        return rows

    def flat(self) -> np.ndarray:
        """Rows as vectors: (n_stimuli, n_features) float32."""
        return np.asarray(self.values, dtype=np.float32).reshape(len(self), -1)

    def select(self, ids: Iterable[Any]) -> Latents:
        """Latents of some ids, in the order given."""
        wanted = [str(one) for one in ids]
        return Latents(self.at(wanted), wanted, space=self.space, meta=self.meta)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write as an artefact (see `brainalign.cache`)."""
        meta = {"kind": "latents", "space": self.space, "ids": list(self.ids), "meta": self.meta}
        write_artefact(folder, {"values": self.values}, meta)

    @classmethod
    def open(cls, folder: str | PathLike[str], *, mmap: bool = True) -> Latents:
        """Open what `save` wrote, memory-mapped and checked."""
        arrays, meta = read_artefact(folder, mmap=mmap)
        if meta.get("kind") != "latents":
            raise DataError("this artefact holds no latents", path=folder, expected="latents", found=meta.get("kind"))
        return cls(arrays["values"], meta["ids"], space=meta["space"], meta=meta["meta"])
