"""The hand that writes a synthetic tree: paths, dtypes, scales and keys come from the spec, values from a plant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.loaders.trees.writers import WRITERS
from brainalign.specs import ArrayEntry, DatasetSpec, Name, resolve_inside
from brainalign.specs.dataset import fill

__all__ = ["Planting"]

_NEVER_WRITTEN = {"pickle", "ctf"}


class Planting:
    """One tree in the making.

    Parameters
    ----------
    spec : DatasetSpec
        With the tree's small numbers.
    root : Path
    seed : int
    writers : dict
        Writers for further formats.

    Attributes
    ----------
    truth : dict
        What the plant wants known.
    skipped : list of str
        Entries that no writer could write.
    """

    n_features = 3
    noise = 0.2

    def __init__(
        self, spec: DatasetSpec, root: Path, *, seed: int, writers: dict[str, Callable[[Path, dict], object]]
    ) -> None:
        self.spec, self.root, self.seed, self.writers = spec, root, seed, writers
        self.truth: dict[str, Any] = {}
        self.skipped: list[str] = []

    def fact(self, name: str, subject: Name | None = None) -> Any:
        """A fact of the small spec."""
        return self.spec.fact(name, subject)

    def rng(self, *what: object) -> np.random.Generator:
        """A generator of its own for each thing planted, so that leaving one out does not change another."""
        return np.random.default_rng([self.seed, *"/".join(map(str, what)).encode()])

    def features(self, n_stimuli: int, what: str = "features") -> np.ndarray:
        """Draw and note down what drives the units: (n_stimuli, n_features)."""
        drawn = self.rng(what).standard_normal((n_stimuli, self.n_features))
        self.truth[what] = drawn
        return drawn

    def weights(self, subject: Name, n_units: int) -> np.ndarray:
        """Draw and note down how a subject's units weigh the features: (n_units, n_features)."""
        drawn = self.rng("weights", subject).standard_normal((n_units, self.n_features))
        self.truth.setdefault("weights", {})[subject] = drawn
        return drawn

    def respond(self, features: np.ndarray, weights: np.ndarray, *what: object) -> np.ndarray:
        """Responses with noise: (n_trials, n_units)."""
        clean = features @ weights.T
        return clean + self.noise * self.rng("noise", *what).standard_normal(clean.shape)

    def write(self, name: str, content: Any, *, wildcard: str | None = None, **entities: Name) -> Path | None:
        """Write one file of an entry; values are physical, the spec's scale and dtype are applied here.

        Parameters
        ----------
        name : str
            The file entry.
        content : ndarray, dict of ndarray, DataFrame, list of str, dict or MNE object
            As the entry's format asks for it.
        wildcard : str, optional
            What ``*`` stands for; default the entry's first wildcard.
        **entities
            Every placeholder of the pattern.
        """
        entry = self.spec.files[name]
        writer = self.writers.get(entry.format, WRITERS.get(entry.format))
        if writer is None or entry.format in _NEVER_WRITTEN:
            self.skipped += [name] if name not in self.skipped else []
            return None
        relative = self.spec.relative(name, **entities)
        if "*" in relative:
            relative = relative.replace("*", _expand(wildcard or entry.wildcards[0], entities))
        path = resolve_inside(self.root, relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, np.ndarray):
            content = {fill(entry.key, entities) if entry.key else "": _store(content, entry)}
        elif isinstance(content, dict):
            arrays = {array.key or "": array for array in entry.contents}
            content = {key: _store(value, arrays.get(key)) for key, value in content.items()}
        writer(path, content)
        return path


def _expand(wildcard: str, entities: dict[str, Name]) -> str:
    return fill(wildcard, entities) if "{" in wildcard else wildcard


def _store(value: Any, entry: ArrayEntry | None) -> Any:
    """Scale, round and cast as the spec says."""
    if entry is None or not isinstance(value, np.ndarray):
        return value
    stored = value if entry.scale is None else value * entry.scale
    if entry.dtype in (None, "number", "table", "str"):
        return stored
    dtype = np.dtype(entry.dtype)
    if dtype.kind in "iu" and stored.dtype.kind == "f":
        stored = np.clip(np.rint(stored), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return stored.astype(dtype)
