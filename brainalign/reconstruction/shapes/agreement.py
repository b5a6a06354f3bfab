"""How alike two solids are: the chamfer distance, and whether a solid is nearest to its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.reconstruction.shapes.solid import Solid

__all__ = ["chamfer", "distance_field", "shape_agreement"]


def chamfer(first: ArrayLike, second: ArrayLike) -> float:
    """Mean distance from each point of one cloud to the nearest of the other, both ways, averaged.

    Parameters
    ----------
    first, second : array (n_points, 3)
        The clouds may differ in size.

    Raises
    ------
    DataError
        When a cloud is empty, of another shape or not finite.

    Examples
    --------
    >>> chamfer([[0.0, 0, 0]], [[0.0, 0, 1], [0.0, 0, 3]])
    1.5
    """
    left, right = _cloud(first), _cloud(second)
    return _between(left, KDTree(left), right, KDTree(right))


def shape_agreement(
    predicted: Mapping[str, Solid], true: Mapping[str, Solid], *, n_points: int = 1024, seed: int = 0
) -> pd.DataFrame:
    """Chamfer distance of each predicted solid to its own, and how often it is nearer to that than to others.

    Parameters
    ----------
    predicted, true : mapping of id to Solid
        Joined by id.
    n_points : int
        Drawn from each surface. Two draws of one surface are some way apart: compare distances of one `n_points`.
    seed : int

    Returns
    -------
    DataFrame
        By id: ``chamfer``; ``percentile``, the share of the other true solids that are farther (ties half), chance
        0.5; NaN for a single solid.

    Raises
    ------
    DataError
        When the ids differ, or nothing is there.
    """
    if not predicted or set(predicted) != set(true):
        raise DataError("predicted and true solids are of different stimuli", expected=sorted(true)[:3],
                        found=sorted(predicted)[:3])  # fmt: skip
    guesses, targets = (
        [(points, KDTree(points)) for points in (solids[one].points(n_points, seed=seed) for one in predicted)]
        for solids in (predicted, true)
    )
    far = np.array([[_between(*guess, *target) for target in targets] for guess in guesses])
    own = np.diagonal(far)
    wins = (far > own[:, None]) + 0.5 * (far == own[:, None])
    n_others = len(own) - 1
    share = (wins.sum(1) - 0.5) / n_others if n_others else np.full(1, np.nan)
    return pd.DataFrame({"chamfer": own, "percentile": share}, index=pd.Index(list(predicted), name="stimulus_id"))


def distance_field(solid: Solid, *, side: int = 8, n_points: int = 4096) -> NDArray[np.float32]:
    """Distance of a regular grid of places in the cube from -1 to 1 to the surface, (side,) * 3.

    A description of fixed length: solids whose surfaces lie within some distance have fields that differ by no more.
    """
    axis = np.linspace(-1, 1, side)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    return KDTree(solid.points(n_points)).query(places)[0].astype(np.float32)


def _between(left: NDArray, left_tree: KDTree, right: NDArray, right_tree: KDTree) -> float:
    return float(right_tree.query(left)[0].mean() + left_tree.query(right)[0].mean()) / 2


def _cloud(points: ArrayLike) -> NDArray[np.float64]:
    cloud = np.asarray(points, dtype=np.float64)
    if cloud.ndim != 2 or cloud.shape[1] != 3 or not len(cloud):
        raise DataError("a cloud of points", expected="(n, 3), n from 1", found=cloud.shape)
    check_finite(cloud, name="points")
    return cloud
