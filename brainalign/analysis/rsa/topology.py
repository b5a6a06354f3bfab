"""Topological RSA: which conditions are neighbours at all, not how far apart the far ones are.

Distances below a lower threshold are noise, those above an upper one are all "far". After Lin & Kriegeskorte 2024
("The topology and geometry of neural representations", PNAS 121). rsatoolbox's geo-topological transform differs from
these equations: it changes its input, takes quantiles over all RDMs of an object together, and thresholds distances
below 1 that it has already scaled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.rsa.backend import as_doubles, check_numbers, namespace, on_device, ranks
from brainalign.analysis.rsa.condensed import n_conditions, to_square, triangle
from brainalign.arrays import row_blocks
from brainalign.errors import DataError

__all__ = ["Geodesics", "rgdm", "rgtm", "threshold_grid"]


class Geodesics(NamedTuple):
    """Geodesic distances, and how many pairs no path connects."""

    distances: Any
    n_disconnected: Any


def rgtm(d: Any, *, low: float = 0.2, high: float = 0.8, ranked: bool = True) -> Any:
    """Geo-topological matrices: distances clipped between two of their quantiles, and scaled to 0 to 1.

    ``clip((x - q_low) / (q_high - q_low), 0, 1)`` of each RDM on its own, after ranking (average ranks, scaled to 0
    to 1), which makes the result invariant to monotone changes of the distances.

    Parameters
    ----------
    d : array or tensor (..., n_pairs)
    low, high : float
        Quantiles, ``0 <= low <= high <= 1``. (0, 1) keeps all geometry; with ``low == high`` only the graph of
        neighbours is left: 0 below the threshold and 1 above.
    ranked : bool
        Rank the distances first.

    Returns
    -------
    array or tensor (..., n_pairs)
        NaN for an RDM of equal distances.

    Examples
    --------
    >>> rgtm([1.0, 2.0, 3.0, 40.0, 50.0, 60.0], low=0.2, high=0.8).round(2)
    array([0.  , 0.  , 0.33, 0.67, 1.  , 1.  ])
    """
    if not 0 <= low <= high <= 1:
        raise DataError("quantiles do not fit", expected="0 <= low <= high <= 1", found=(low, high))
    x = _unit_range(d, ranked=ranked)
    xp = namespace(x)
    lower, upper = _quantiles(x, low, high)
    width = upper - lower
    scaled = xp.clip((x - lower) / xp.where(width > 0, width, xp.ones_like(width)), 0.0, 1.0)
    binary = xp.where(x > lower, xp.ones_like(x), xp.where(xp.isnan(x), x, xp.zeros_like(x)))
    return xp.where(width > 0, scaled, binary)


def _quantiles(x: Any, low: float, high: float) -> tuple[Any, Any]:
    """Two quantiles of every row, with a last axis of length one."""
    xp = namespace(x)
    if xp is np:
        found = np.quantile(x, [low, high], axis=-1)[..., None]
        return found[0], found[1]
    rows = x.reshape(-1, x.shape[-1])
    at = xp.as_tensor([low, high], dtype=x.dtype, device=x.device)
    # torch refuses more than 2**24 entries at once.
    parts = [xp.quantile(rows[block], at, dim=-1) for block in row_blocks(len(rows), x.shape[-1], budget=2**23)]
    found = xp.concatenate(parts, 1).reshape(2, *x.shape[:-1], 1)
    return found[0], found[1]


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
    d: Any, *, low: float = 0.0, high: float = 0.5, n_neighbours: int | None = None, ranked: bool = True
) -> Geodesics:
    """Geodesic distances: lengths of shortest paths over the graph of neighbours.

    Parameters
    ----------
    d : array or tensor (..., n_pairs)
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
    xp, n = namespace(edges), n_conditions(edges.shape[-1])
    check_numbers(edges, name="RDMs (equal distances have no graph)")
    lengths = to_square(edges).reshape(-1, n, n)
    near = to_square(_unit_range(d, ranked=ranked)).reshape(-1, n, n)
    lengths = xp.where(_edges(lengths, near, n_neighbours), lengths, xp.full_like(lengths, float("inf")))
    paths = triangle(xp.stack([_shortest(one) for one in lengths]) if xp is np else _floyd_warshall(lengths))
    apart = xp.isinf(paths)
    longest = xp.amax(xp.where(apart, xp.zeros_like(paths), paths), -1)[..., None]
    longest = xp.where(apart.all(-1)[..., None], xp.ones_like(longest), longest)
    paths = xp.where(apart, longest, paths)
    return Geodesics(paths.reshape(edges.shape), apart.sum(-1).reshape(edges.shape[:-1]))


def _edges(lengths: Any, near: Any, n_neighbours: int | None) -> Any:
    """Which pairs (n_rdms, n, n) are joined by an edge."""
    xp, n = namespace(lengths), lengths.shape[-1]
    own = on_device(np.eye(n, dtype=bool), lengths)
    edge = (lengths < 1) & ~own
    if n_neighbours is None:
        return edge
    others = xp.where(own, xp.full_like(near, float("inf")), near)
    ordered = np.sort(others, axis=-1) if xp is np else xp.sort(others, dim=-1).values
    nearest = others <= ordered[..., min(n_neighbours, n - 1) - 1, None]
    return edge & (nearest | nearest.swapaxes(-1, -2))


def _shortest(lengths: NDArray) -> NDArray[np.float64]:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import shortest_path

    rows, columns = np.nonzero(np.isfinite(lengths))
    # Explicit zeros are edges of no length; a dense zero would be no edge.
    graph = csr_array((lengths[rows, columns], (rows, columns)), shape=lengths.shape)
    return shortest_path(graph, method="D", directed=False)


def _floyd_warshall(lengths: Any) -> Any:
    """Shortest paths of all graphs at once: on a device, a step for each condition."""
    xp, paths = namespace(lengths), lengths
    for via in range(lengths.shape[-1]):
        paths = xp.minimum(paths, paths[:, :, via, None] + paths[:, None, via, :])
    return paths


def _unit_range(d: Any, *, ranked: bool) -> Any:
    """A copy of the RDMs (ranked, if asked for), each scaled to 0 to 1; NaN where all distances are equal."""
    x = as_doubles(d)
    xp = namespace(x)
    if x.ndim < 1 or n_conditions(x.shape[-1]) < 3:
        raise DataError(
            "not RDMs with a topology", expected="(..., n_pairs) of 3 or more conditions", found=tuple(x.shape)
        )
    check_numbers(x, name="RDMs")
    x = ranks(x) if ranked else x
    smallest = xp.amin(x, -1)[..., None]
    width = xp.amax(x, -1)[..., None] - smallest
    return (x - smallest) / xp.where(width > 0, width, xp.full_like(width, float("nan")))
