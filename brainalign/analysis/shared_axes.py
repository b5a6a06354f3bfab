"""What modalities share: axes of a common space along which they order stimuli alike, and their geometries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.rdm import rdm
from brainalign.errors import DataError
from brainalign.scoring.correlation import pearson
from brainalign.scoring.resampling import fdr, permutation_p, permutations

__all__ = ["SharedAxes", "shared_axes"]


@dataclass(frozen=True)
class SharedAxes:
    """Agreement of modalities about the same stimuli.

    Attributes
    ----------
    table : DataFrame
        One row an axis, by falling variance: ``variance_share``, ``r`` (correlation over stimuli, mean over pairs of
        modalities), ``p`` by permutation and ``q`` over axes.
    axes : array (n_axes, width)
        Directions in the common space.
    geometry : DataFrame
        One row a pair of modalities: ``rho``, the Spearman correlation of their dissimilarities, and ``p``.
    n : int
        Stimuli that all modalities have.
    """

    table: pd.DataFrame
    axes: NDArray[np.float64]
    geometry: pd.DataFrame
    n: int


def shared_axes(
    embeddings: Mapping[str, Any],
    *,
    n_axes: int = 10,
    metric: str = "correlation",
    n_permutations: int = 1000,
    seed: int = 0,
) -> SharedAxes:
    """Axes of the common space that modalities share, and how alike their geometries are.

    Axes are the principal ones of all embeddings, each modality centred, one below the other: which rows belong
    together has no part in them, so that permuting the stimuli of a modality gives the null of both measures.

    Parameters
    ----------
    embeddings : mapping of modality to Latents
        Of held-out stimuli, such as `brainalign.encoders.UnifiedEncoder.embed` gives; joined by id.
    n_axes : int
    metric : str
        Of dissimilarities, see `brainalign.analysis.rsa.rdm`.
    n_permutations, seed : int

    Returns
    -------
    SharedAxes

    Raises
    ------
    DataError
        When there are fewer than two modalities, fewer than four common stimuli, or spaces of different width.

    Examples
    --------
    >>> from brainalign.latents import Latents
    >>> rng = np.random.default_rng(0)
    >>> common = rng.standard_normal((30, 1)) * [3.0, 0.0]
    >>> spaces = {m: Latents(common + rng.standard_normal((30, 2)), range(30), space="u") for m in ("eeg", "fmri")}
    >>> shared_axes(spaces, n_axes=2, n_permutations=99).table["q"].round(2).tolist()[0]
    0.02
    """
    stacks, ids = _common(embeddings)
    names = list(stacks)
    width = next(iter(stacks.values())).shape[1]
    _, spread, axes = np.linalg.svd(np.concatenate(list(stacks.values())), full_matrices=False)
    n_axes = min(n_axes, width, len(axes))
    places = {name: one @ axes[:n_axes].T for name, one in stacks.items()}
    distances = {name: squareform(rdm(one, metric=metric)) for name, one in stacks.items()}
    orders = [np.arange(len(ids)), *permutations(len(ids), n_permutations, seed=seed)]
    pairs = list(combinations(names, 2))
    r = np.empty((len(orders), len(pairs), n_axes))
    rho = np.empty((len(orders), len(pairs)))
    for draw, order in enumerate(orders):
        for number, (one, other) in enumerate(pairs):
            r[draw, number] = pearson(places[one], places[other][order])
            moved = squareform(distances[other][np.ix_(order, order)], checks=False)
            rho[draw, number] = compare(squareform(distances[one], checks=False), moved)
    mean = np.nan_to_num(r).mean(axis=1)
    p = permutation_p(mean[0], mean[1:])
    share = np.square(spread[:n_axes]) / np.square(spread).sum()
    table = pd.DataFrame({"variance_share": share, "r": mean[0], "p": p, "q": fdr(p)})
    geometry = pd.DataFrame(
        {
            "one": [a for a, _ in pairs],
            "other": [b for _, b in pairs],
            "rho": rho[0],
            "p": permutation_p(rho[0], rho[1:]),
        }
    )
    return SharedAxes(table.rename_axis("axis"), axes[:n_axes], geometry, len(ids))


def _common(embeddings: Mapping[str, Any]) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    if not isinstance(embeddings, Mapping) or len(embeddings) < 2:
        raise DataError("modalities are compared with each other", expected="a mapping of two or more to Latents")
    parts = list(embeddings.values())
    ids = [one for one in parts[0].ids if all(one in set(other.ids) for other in parts[1:])]
    widths = {name: int(np.prod(one.values.shape[1:])) for name, one in embeddings.items()}
    if len(set(widths.values())) > 1:
        raise DataError("embeddings lie in spaces of different width", expected="one common space", found=widths)
    if len(ids) < 4:
        raise DataError("too few stimuli that all modalities have", expected="4 or more", found=len(ids))
    made = {}
    for name, one in embeddings.items():
        values = np.asarray(one.at(ids), dtype=np.float64).reshape(len(ids), -1)
        made[str(name)] = values - values.mean(axis=0)
    return made, list(ids)
