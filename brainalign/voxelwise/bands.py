"""Feature spaces side by side: several arrays or Latents as one design, and which columns are whose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.voxelwise.samples import is_latents, is_trials, stimulus_rows

__all__ = ["BandLatents", "Bands", "join_bands", "split_columns"]


@dataclass(frozen=True, eq=False)
class Bands:
    """Names and columns of bands that lie one after the other, and the design where there is one.

    Parameters
    ----------
    names : tuple of str
    slices : tuple of slice
    design : array (n_samples, n_features) or None
    """

    names: tuple[str, ...]
    slices: tuple[slice, ...]
    design: np.ndarray | None = None


class BandLatents:
    """Several Latents as one: rows by stimulus id, features side by side.

    Parameters
    ----------
    parts : mapping of str to Latents
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = list(parts.values())
        widths = {name: int(np.prod(one.values.shape[1:], dtype=np.int64)) for name, one in parts.items()}
        self.bands = _side_by_side(widths)
        common = set(self._parts[0].ids).intersection(*(one.ids for one in self._parts[1:]))
        self.ids = tuple(one for one in self._parts[0].ids if one in common)
        self.space = " + ".join(one.space for one in self._parts)

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, ids: Iterable[Any]) -> np.ndarray:
        """Rows (n, n_features) of the given stimuli; `DataError` where a band lacks one."""
        wanted = list(ids)
        return np.concatenate([stimulus_rows(one, wanted) for one in self._parts], axis=1)

    @property
    def values(self) -> np.ndarray:
        """Rows of all stimuli that every band has."""
        return self.at(self.ids)


def join_bands(X: Any, *, names: Sequence[str] | None = None) -> Any:
    """Put a dict or list of bands side by side; anything else is returned as it is.

    Parameters
    ----------
    X : dict or list of arrays (n_samples, ...) or of Latents; or anything else
    names : sequence of str, optional
        The bands there must be, in this order.

    Returns
    -------
    Bands, BandLatents, or X

    Raises
    ------
    DataError
        When bands are missing, empty, or differ in samples, or arrays are mixed with Latents.

    Examples
    --------
    >>> join_bands({"a": np.zeros((3, 2)), "b": np.ones((3, 4))}).slices
    (slice(0, 2, None), slice(2, 6, None))
    """
    if isinstance(X, (list, tuple)) and X and all(is_latents(one) or np.ndim(one) > 1 for one in X):
        X = {f"band{number}": one for number, one in enumerate(X)}
    if not isinstance(X, Mapping) or hasattr(X, "shape"):  # some sparse matrices are dicts too
        return X
    parts = {str(name): one for name, one in X.items()}
    if names is not None and set(parts) != set(names):
        raise DataError("other bands than those fitted on", expected=list(names), found=list(parts))
    if not parts:
        raise DataError("there are no bands", expected="at least one array or Latents")
    parts = {name: parts[name] for name in names or parts}
    latent = [is_latents(one) for one in parts.values()]
    if all(latent):
        return BandLatents(parts)
    if any(latent) or any(is_trials(one) for one in parts.values()):
        kinds = {name: type(one).__name__ for name, one in parts.items()}
        raise DataError("bands are of different kinds", expected="arrays only, or Latents only", found=kinds)
    return _join_arrays({name: np.asarray(one) for name, one in parts.items()})


def _join_arrays(parts: dict[str, np.ndarray]) -> Bands:
    for name, one in parts.items():
        if one.dtype.kind not in "fiub" or one.ndim < 2:
            raise DataError(
                f"band '{name}' is not a numeric design",
                expected="shape (n_samples, n_features)",
                found=f"shape {one.shape}, {one.dtype}",
                fix="reshape(-1, 1) for a single feature",
            )
    if len({len(one) for one in parts.values()}) > 1:
        raise DataError(
            "bands differ in samples",
            expected="the same rows in each",
            found={name: len(one) for name, one in parts.items()},
            fix="give Latents and Trials, which are joined by stimulus_id",
        )
    flat = {name: one.reshape(len(one), int(np.prod(one.shape[1:], dtype=np.int64))) for name, one in parts.items()}
    made = _side_by_side({name: one.shape[1] for name, one in flat.items()})
    return Bands(made.names, made.slices, np.concatenate(list(flat.values()), axis=1))


def split_columns(n_features: int, bands: Any) -> Bands:
    """Divide the columns of one design into adjacent bands.

    Parameters
    ----------
    n_features : int
    bands : int, sequence of int, mapping of str to int, or None
        How many bands of about equal size; or their sizes; or one band of all.

    Raises
    ------
    DataError
        When a band would be empty, or sizes do not add up.

    Examples
    --------
    >>> split_columns(5, 2).slices
    (slice(0, 3, None), slice(3, 5, None))
    >>> split_columns(5, {"pixels": 4, "label": 1}).names
    ('pixels', 'label')
    """
    if bands is None:
        bands = 1
    if isinstance(bands, (int, np.integer)):
        if bands < 1:
            raise DataError("there are no bands", expected="bands >= 1", found=bands)
        bands = [len(part) for part in np.array_split(np.arange(n_features), bands)]
    if not isinstance(bands, Mapping):
        bands = {f"band{number}": size for number, size in enumerate(bands)}
    made = _side_by_side({str(name): int(size) for name, size in bands.items()}, n_features)
    if made.slices[-1].stop != n_features:
        raise DataError("bands do not cover the features", expected=f"sizes that sum to {n_features}", found=bands)
    return made


def _side_by_side(widths: dict[str, int], n_features: int | None = None) -> Bands:
    empty = [name for name, width in widths.items() if width < 1]
    if empty or not widths:
        raise DataError(
            f"bands without features: {empty}" if widths else "there are no bands",
            expected="at least one feature in each",
            found=widths if n_features is None else f"n_features = {n_features} for bands of {list(widths.values())}",
        )
    edges = np.concatenate([[0], np.cumsum(list(widths.values()))]).tolist()
    return Bands(tuple(widths), tuple(slice(a, b) for a, b in pairwise(edges)))
