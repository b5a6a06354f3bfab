"""Parts of a region that like different things: found in one half of the stimuli, tested in the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions.bank import bank_space
from brainalign.analysis.captions.manifold import project_to_manifold
from brainalign.analysis.captions.scores import Embed, embedder
from brainalign.analysis.captions.units import Captions, voxel_weights
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.scoring.resampling import permutation_p
from brainalign.splits import split
from brainalign.trials import Trials
from brainalign.voxelwise.ridge import Ridge

__all__ = ["Subdivisions", "caption_clusters", "subdivide"]


@dataclass(frozen=True, eq=False)
class Subdivisions:
    """A region parted by what its units like, and whether the parting holds in other data.

    Parameters
    ----------
    labels : ndarray of int, shape (n_units,)
        Part of each unit, by both halves together.
    agrees : ndarray of bool, shape (n_units,)
        Whether both halves put the unit into the same part.
    stability : float
        Adjusted Rand index of the partings of the two halves: 1 the same, 0 as by chance.
    p_stable : float
        Share of relabelled units that reach it.
    separation : float
        Share of the spread of units' embeddings in one half that the parts found in the other half explain.
    p_differ : float
        Share of relabelled units that reach it.
    embeddings : Latents
        (n_parts, n_features): mean direction of each part; give it to a captioner or to `category_scores`.
    units : DataFrame
    """

    labels: np.ndarray
    agrees: np.ndarray
    stability: float
    p_stable: float
    separation: float
    p_differ: float
    embeddings: Latents
    units: pd.DataFrame


def caption_clusters(captions: Captions, n_clusters: int, *, embed: Embed | str | None = None, seed: int = 0) -> Any:
    """Clusters of units that like the same, by k-means on directions.

    Parameters
    ----------
    captions : Captions
    n_clusters : int
    embed : callable or str, optional
        Cluster what the captions say, by a text model; by default the units' embeddings.
    seed : int

    Returns
    -------
    ndarray of int, shape (n_units,)
        Numbered by size, the largest 0.
    """
    rows = captions.embeddings.flat() if embed is None else np.asarray(embedder(embed)(list(captions.texts)))
    return _clusters(_unit(rows), n_clusters, seed)


def subdivide(
    latents: Latents,
    trials: Trials,
    bank: Any,
    *,
    where: Any = None,
    n_parts: int = 2,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Subdivisions:
    """Part a region by what its units like, with a split-half check.

    The stimuli are halved; a ridge model is fitted to each half and its weights brought into the manifold of the
    bank. Units are clustered in each half. The parting is stable where the halves agree on it more than relabelled
    units do, and the parts differ where those of one half explain the spread of the other half's embeddings.
    Both tests ask whether units keep their differences: a region whose units differ gradually passes them too.

    Parameters
    ----------
    latents : Latents
        Of the stimuli shown.
    trials : Trials
    bank : as in `project_to_manifold`
    where : query, mask or rows, optional
        The region: ``"roi == 'FFA'"``.
    n_parts, n_permutations : int
    seed : int
        Of the halves, the clusters and the relabelling.

    Returns
    -------
    Subdivisions

    Raises
    ------
    DataError
        When the region is empty or has too few units, or spaces differ.
    """
    region = trials.select(units=where) if where is not None else trials
    if not 2 <= n_parts <= region.n_units // 2:
        raise DataError("parts of a region", expected=f"2 to {region.n_units // 2} for {region.n_units} units",
                        found=n_parts)  # fmt: skip
    halves = []
    for half in split(region, by="stimulus_id", test_size=0.5, seed=seed):
        weights = voxel_weights(Ridge().fit(latents, half), bank_space(bank))
        halves.append(_unit(project_to_manifold(weights, bank)))
    labels = [_clusters(half, n_parts, seed) for half in halves]
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(region.n_units) for _ in range(n_permutations)]
    stability = _agreement(*labels)
    separation = _separation(halves, labels)
    null = np.array(
        [(_agreement(labels[0], labels[1][o]), _separation(halves, [one[o] for one in labels])) for o in orders]
    )
    matched = _matched(labels[0], labels[1])
    together = _matched(labels[0], _clusters(_unit(halves[0] + halves[1]), n_parts, seed))
    means = np.stack([(halves[0] + halves[1])[together == part].mean(0) for part in range(n_parts)])
    return Subdivisions(
        together,
        labels[0] == matched,
        stability,
        float(permutation_p(stability, null[:, 0])),
        separation,
        float(permutation_p(separation, null[:, 1])),
        Latents(means, [f"part {part}" for part in range(n_parts)], space=latents.space),
        region.units,
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _clusters(rows: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    if not 1 <= n_clusters <= len(rows):
        raise DataError("clusters of units", expected=f"1 to {len(rows)}, the units", found=n_clusters)
    found = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(rows.astype(np.float64))
    order = np.argsort(-np.bincount(found, minlength=n_clusters), kind="stable")
    return np.argsort(order)[found]


def _agreement(left: np.ndarray, right: np.ndarray) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(left, right))


def _separation(halves: list[np.ndarray], labels: list[np.ndarray]) -> float:
    """Share of the spread in each half explained by the parts of the other, on average."""
    shares = []
    for rows, parts in ((halves[1], labels[0]), (halves[0], labels[1])):
        centred = rows - rows.mean(0)
        between = sum((parts == one).sum() * (centred[parts == one].mean(0) ** 2).sum() for one in np.unique(parts))
        shares.append(between / (centred**2).sum())
    return float(np.mean(shares))


def _matched(reference: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`labels` renamed to agree with `reference` as often as can be."""
    from scipy.optimize import linear_sum_assignment

    n = int(max(reference.max(), labels.max())) + 1
    together = np.zeros((n, n))
    np.add.at(together, (labels, reference), 1)
    return np.asarray(linear_sum_assignment(-together)[1])[labels]
