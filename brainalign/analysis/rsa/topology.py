"""Topological RSA: which conditions are neighbours at all, not how far apart the far ones are.

Distances below a lower threshold are noise, those above an upper one are all "far". After Lin & Kriegeskorte 2024
("The topology and geometry of neural representations", PNAS 121). rsatoolbox's geo-topological transform differs from
these equations: it changes its input, takes quantiles over all RDMs of an object together, and thresholds distances
below 1 that it has already scaled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.rdm import n_conditions, to_square
from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.scoring.correlation import average_ranks

__all__ = ["Geodesics", "rgdm", "rgtm", "threshold_grid"]


class Geodesics(NamedTuple):
    """Geodesic distances, and how many pairs no path connects."""

    distances: NDArray[np.float64]
    n_disconnected: NDArray[np.int64]


def rgtm(d: ArrayLike, *, low: float = 0.2, high: float = 0.8, ranked: bool = True) -> NDArray[np.float64]:
    """Geo-topological matrices: distances clipped between two of their quantiles, and scaled to 0 to 1.

    ``clip((x - q_low) / (q_high - q_low), 0, 1)`` of each RDM on its own, after ranking (average ranks, scaled to 0
    to 1), which makes the result invariant to monotone changes of the distances.

    Parameters
    ----------
    d : array (..., n_pairs)
    low, high : float
        Quantiles, ``0 <= low <= high <= 1``. (0, 1) keeps all geometry; with ``low == high`` only the graph of
        neighbours is left: 0 below the threshold and 1 above.
    ranked : bool
        Rank the distances first.

    Returns
    -------
    array (..., n_pairs)
        NaN for an RDM of equal distances.

    Examples
    --------
    >>> rgtm([1.0, 2.0, 3.0, 40.0, 50.0, 60.0], low=0.2, high=0.8).round(2)
    array([0.  , 0.  , 0.33, 0.67, 1.  , 1.  ])
    """
    if not 0 <= low <= high <= 1:
        raise DataError("quantiles do not fit", expected="0 <= low <= high <= 1", found=(low, high))
    x = _unit_range(d, ranked=ranked)
    bounds = np.quantile(x, [low, high], axis=-1)[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.clip((x - bounds[0]) / (bounds[1] - bounds[0]), 0.0, 1.0)
    binary = np.where(np.isnan(x), np.nan, (x > bounds[0]).astype(np.float64))
    return np.where(bounds[1] > bounds[0], scaled, binary)


def threshold_grid(step: float = 0.05) -> NDArray[np.float64]:
    """All (low, high) with ``low < high`` on a grid from 0 to 1: (n_thresholds, 2).

    Examples
    --------
    >>> threshold_grid(0.5)
    array([[0. , 0.5],
           [0. , 1. ],
           [0.5, 1. ]])
    """
    values = np.linspace(0, 1, round(1 / step) + 1)
    low, high = np.triu_indices(len(values), 1)
    return np.column_stack([values[low], values[high]])


def rgdm(
    d: ArrayLike, *, low: float = 0.0, high: float = 0.5, n_neighbours: int | None = None, ranked: bool = True
) -> Geodesics:
    """Geodesic distances: lengths of shortest paths over the graph of neighbours.

    Parameters
    ----------
    d : array (..., n_pairs)
    low, high : float
        As for `rgtm`: an edge is as long as its value there, and pairs at 1 (above the upper quantile) have none.
    n_neighbours : int, optional
        Keep the edges of each condition to its nearest neighbours only (either end suffices).
    ranked : bool

    Returns
    -------
    Geodesics
        distances (..., n_pairs), and n_disconnected (...): pairs without a path, whose distance is that of the
        longest finite path of their RDM.
    """
    edges = rgtm(d, low=low, high=high, ranked=ranked)
    check_finite(edges.reshape(-1, edges.shape[-1]), name="RDMs (equal distances have no graph)")
    rows = to_square(edges).reshape(-1, *(n_conditions(edges.shape[-1]),) * 2)
    source = to_square(_unit_range(d, ranked=ranked)).reshape(rows.shape)
    found = [_shortest(square, near, n_neighbours) for square, near in zip(rows, source)]
    distances, counts = zip(*found)
    return Geodesics(np.stack(distances).reshape(edges.shape), np.array(counts).reshape(edges.shape[:-1]))


def _shortest(square: NDArray, distances: NDArray, n_neighbours: int | None) -> tuple[NDArray, int]:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import shortest_path

    n = len(square)
    edge = square < 1
    np.fill_diagonal(edge, False)
    if n_neighbours is not None:
        others = np.where(np.eye(n, dtype=bool), np.inf, distances)
        nearest = others <= np.sort(others, axis=1)[:, [min(n_neighbours, n - 1) - 1]]
        edge &= nearest | nearest.T
    rows, columns = np.nonzero(edge)
    # Explicit zeros are edges of no length; a dense zero would be no edge.
    graph = csr_array((square[rows, columns], (rows, columns)), shape=(n, n))
    paths = shortest_path(graph, method="D", directed=False)[np.triu_indices(n, 1)]
    apart = ~np.isfinite(paths)
    paths[apart] = paths[~apart].max(initial=0.0) if not apart.all() else 1.0
    return paths, int(apart.sum())


def _unit_range(d: ArrayLike, *, ranked: bool) -> NDArray[np.float64]:
    """A copy of the RDMs (ranked, if asked for), each scaled to 0 to 1; NaN where all distances are equal."""
    x = np.asarray(d, dtype=np.float64)
    if x.ndim < 1 or n_conditions(x.shape[-1]) < 3:
        raise DataError("not RDMs with a topology", expected="(..., n_pairs) of 3 or more conditions", found=x.shape)
    check_finite(x.reshape(-1, x.shape[-1]), name="RDMs")
    x = average_ranks(x) if ranked else x
    smallest = x.min(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x - smallest) / (x.max(axis=-1, keepdims=True) - smallest)
