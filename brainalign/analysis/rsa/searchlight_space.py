"""What lies around each place: voxels in a ball, vertices along the surface, sensors and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import DataError
from brainalign.spaces import VolumeSpace

__all__ = [
    "Neighbours",
    "SensorNeighbours",
    "SurfaceNeighbours",
    "VolumeNeighbours",
    "sensor_neighbours",
    "surface_neighbours",
    "volume_neighbours",
]

# A voxel whose centre lies on the ball's surface is inside, whatever rounding does to its distance.
_SLACK = 1e-6


class Neighbours(Protocol):
    """Places, and for each the columns of the patterns that lie around it."""

    @property
    def n_centres(self) -> int:
        """How many places there are."""
        ...

    def around(self, centres: NDArray[np.intp]) -> NDArray[np.int32]:
        """Columns around each of these centres, (n_centres, width); -1 fills rows that have fewer."""
        ...


@dataclass(frozen=True)
class VolumeNeighbours:
    """Voxels of a grid within a radius: the same offsets everywhere, and a table of which voxel is which column."""

    position: NDArray[np.int64]
    offsets: NDArray[np.int64]
    column: NDArray[np.int32]

    @property
    def n_centres(self) -> int:
        """One per voxel."""
        return len(self.position)

    def around(self, centres: NDArray[np.intp]) -> NDArray[np.int32]:
        """Columns of the voxels around each centre, the centre included."""
        return self.column[self.position[centres][:, None] + self.offsets]


def volume_neighbours(ijk: ArrayLike, radius: float, *, affine: ArrayLike | None = None) -> VolumeNeighbours:
    """Balls of voxels, the boundary included; voxels that are not in the list (outside the mask) are left out.

    Parameters
    ----------
    ijk : array (n_voxels, 3) of int
        Grid positions of the voxels there are.
    radius : float
        In voxels, or in millimetres when an affine is given.
    affine : array (4, 4) or (3, 3), optional
        Voxel indices to millimetres; voxels need not be cubes.

    Examples
    --------
    >>> line = volume_neighbours([[0, 0, 0], [1, 0, 0], [2, 0, 0], [4, 0, 0]], 2.0)
    >>> [sorted(set(row.tolist()) - {-1}) for row in line.around(np.arange(4))]
    [[0, 1, 2], [0, 1, 2], [0, 1, 2, 3], [2, 3]]
    """
    positions = np.asarray(ijk, dtype=np.int64)
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
        raise DataError("voxels need grid positions", expected="(n_voxels >= 1, 3)", found=positions.shape)
    if not radius >= 0:
        raise DataError("a searchlight needs a radius", expected="0 or more", found=radius)
    scale = np.eye(3) if affine is None else np.asarray(affine, dtype=np.float64)[:3, :3]
    # How far along each grid axis a ball reaches, for voxels of any shape and tilt.
    reach = np.floor(radius * np.sqrt(np.diagonal(np.linalg.inv(scale.T @ scale))) + _SLACK).astype(int)
    box = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    box = box[np.linalg.norm(box @ scale.T, axis=1) <= radius + _SLACK]
    low = positions.min(axis=0) - reach
    shape = positions.max(axis=0) + reach - low + 1
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    flat = (positions - low) @ strides
    column = np.full(int(np.prod(shape)), -1, dtype=np.int32)
    column[flat] = np.arange(len(positions), dtype=np.int32)
    if np.sum(column >= 0) < len(positions):
        raise DataError("two units lie in one voxel", fix="give every voxel its own i, j, k")
    return VolumeNeighbours(flat, box @ strides, column)


@dataclass(frozen=True)
class SurfaceNeighbours:
    """Vertices within a distance along the edges of a mesh, listed once."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]

    @property
    def n_centres(self) -> int:
        """One per vertex among the units."""
        return len(self.starts) - 1

    def around(self, centres: NDArray[np.intp]) -> NDArray[np.int32]:
        """Columns of the vertices around each centre, the centre included."""
        sizes = np.diff(self.starts)[centres]
        table = np.full((len(centres), int(sizes.max(initial=1))), -1, dtype=np.int32)
        for row, centre in zip(table, centres):
            found = self.columns[self.starts[centre] : self.starts[centre + 1]]
            row[: len(found)] = found
        return table


def surface_neighbours(
    units: pd.DataFrame, meshes: Mapping[str, tuple[ArrayLike, ArrayLike]], radius_mm: float
) -> SurfaceNeighbours:
    """Geodesic discs: vertices whose shortest path along mesh edges is at most the radius.

    Parameters
    ----------
    units : DataFrame
        Columns ``hemi`` and ``vertex``, one row per column of the patterns. Paths may pass through vertices that are
        not among the units; only units are neighbours.
    meshes : mapping of hemisphere to (coordinates (n_vertices, 3) in mm, faces (n_faces, 3))
    radius_mm : float
    """
    missing = {"hemi", "vertex"} - set(units.columns)
    if missing or not set(units["hemi"]) <= set(meshes):
        raise DataError(
            "units and meshes do not fit",
            expected="columns hemi and vertex, a mesh for every hemi",
            found=f"columns {list(units.columns)}, meshes {list(meshes)}",
        )
    found: list[NDArray] = [np.empty(0, dtype=np.int32)] * len(units)
    for hemi, (coordinates, faces) in meshes.items():
        columns = np.flatnonzero(units["hemi"] == hemi)
        graph = _mesh_graph(np.asarray(coordinates, dtype=np.float64), np.asarray(faces))
        vertices = units["vertex"].to_numpy(int)[columns]
        if len(vertices) and vertices.max() >= graph.shape[0]:
            raise DataError(f"no such vertex on the {hemi} mesh", expected=f"< {graph.shape[0]}", found=vertices.max())
        for centre, near in zip(columns, _within(graph, vertices, radius_mm)):
            found[centre] = columns[near].astype(np.int32)
    starts = np.r_[0, np.cumsum([len(near) for near in found])]
    return SurfaceNeighbours(starts, np.concatenate(found))


def _mesh_graph(coordinates: NDArray, faces: NDArray) -> Any:
    """Sparse matrix of the lengths of the edges of the triangles."""
    from scipy.sparse import csr_array

    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]]), axis=1), axis=0)
    length = np.linalg.norm(coordinates[edges[:, 0]] - coordinates[edges[:, 1]], axis=1)
    return csr_array((length, (edges[:, 0], edges[:, 1])), shape=(len(coordinates), len(coordinates)))


def _within(graph: Any, vertices: NDArray, radius: float) -> list[NDArray]:
    """For each vertex, which of the `vertices` a path of at most `radius` reaches."""
    from scipy.sparse.csgraph import dijkstra

    near: list[NDArray] = []
    for start in range(0, len(vertices), 64):
        paths = dijkstra(graph, directed=False, indices=vertices[start : start + 64], limit=radius + _SLACK)
        near.extend(np.flatnonzero(np.isfinite(row)) for row in paths[:, vertices])
    return near


@dataclass(frozen=True)
class SensorNeighbours:
    """Sensors within a distance, at times within a window; columns are channels times samples, flattened."""

    sensors: NDArray[np.int32]
    n_times: int
    half_width: int

    @property
    def n_centres(self) -> int:
        """One per channel and sample."""
        return len(self.sensors) * self.n_times

    def around(self, centres: NDArray[np.intp]) -> NDArray[np.int32]:
        """Columns of the samples around each channel and time, its own included."""
        channels = self.sensors[centres // self.n_times]
        samples = (centres % self.n_times)[:, None] + np.arange(-self.half_width, self.half_width + 1)
        inside = (channels >= 0)[:, :, None] & ((samples >= 0) & (samples < self.n_times))[:, None, :]
        columns = channels[:, :, None] * self.n_times + samples[:, None, :]
        return np.where(inside, columns, -1).reshape(len(centres), -1).astype(np.int32)


def sensor_neighbours(
    positions: ArrayLike, radius_mm: float, *, n_times: int = 1, half_width: int = 0
) -> SensorNeighbours:
    """Sensors within `radius_mm`, and `half_width` samples before and after.

    Parameters
    ----------
    positions : array (n_channels, 3)
        In metres, as MNE has them.
    radius_mm : float
        Use ``inf`` for all sensors (a searchlight over time alone).
    n_times : int
        Samples of the responses.
    half_width : int
        The window holds ``2 * half_width + 1`` samples, fewer at the ends.
    """
    where = np.asarray(positions, dtype=np.float64)
    if where.ndim != 2 or not np.isfinite(where).all():
        raise DataError("sensors need positions", expected="finite (n_channels, 3)", found=where.shape)
    distance = np.linalg.norm(where[:, None] - where[None], axis=-1) * 1000
    near = distance <= radius_mm + _SLACK
    table = np.full((len(where), int(near.sum(axis=1).max())), -1, dtype=np.int32)
    for row, mine in zip(table, near):
        row[: mine.sum()] = np.flatnonzero(mine)
    return SensorNeighbours(table, n_times, half_width)


def units_neighbours(space: Any, units: pd.DataFrame, radius_mm: float, *, n_times: int) -> Neighbours:
    """Neighbours of the units of Trials: balls of voxels, or sensors at each time on its own."""
    if isinstance(space, VolumeSpace) and {"i", "j", "k"} <= set(units.columns):
        return volume_neighbours(units[["i", "j", "k"]].to_numpy(int), radius_mm, affine=space.affine)
    if {"x", "y", "z"} <= set(units.columns) and not isinstance(space, VolumeSpace):
        return sensor_neighbours(units[["x", "y", "z"]].to_numpy(float), radius_mm, n_times=n_times)
    raise DataError(
        "these units have no places to search around",
        expected="a VolumeSpace with i, j, k, or sensors with x, y, z",
        found=f"{type(space).__name__}, columns {list(units.columns)}",
        fix="make neighbours yourself: rsa.surface_neighbours, rsa.volume_neighbours, rsa.sensor_neighbours",
    )
