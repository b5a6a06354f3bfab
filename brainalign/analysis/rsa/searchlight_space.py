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

    Raises
    ------
    DataError
        For no voxel (an empty mask), two units in one voxel, or a radius that is negative, NaN or infinite.

    Examples
    --------
    >>> line = volume_neighbours([[0, 0, 0], [1, 0, 0], [2, 0, 0], [4, 0, 0]], 2.0)
    >>> [sorted(set(row.tolist()) - {-1}) for row in line.around(np.arange(4))]
    [[0, 1, 2], [0, 1, 2], [0, 1, 2, 3], [2, 3]]
    """
    positions = np.asarray(ijk, dtype=np.int64)
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
        raise DataError("voxels need grid positions", expected="(n_voxels >= 1, 3)", found=positions.shape)
    _check_radius(radius, "a finite number, 0 or more", radius < np.inf)
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


def _check_radius(radius: float, expected: str = "0 or more", also: bool = True) -> None:
    if not (radius >= 0 and also):
        raise DataError("a searchlight needs a radius", expected=expected, found=radius)


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
        The white or mid-thickness surface: an inflated one has other distances.
    radius_mm : float

    Raises
    ------
    DataError
        For no unit, a unit that is listed twice or that its mesh does not have, or a radius below zero.

    Examples
    --------
    A strip of cortex, 1 mm between vertices, and a searchlight along it:

    >>> from brainalign.spaces import SurfaceSpace
    >>> from brainalign.trials import Trials
    >>> from brainalign.analysis import rsa
    >>> rng = np.random.default_rng(0)
    >>> coordinates = np.array([[x, y, 0.0] for x in range(5) for y in (0, 1)])
    >>> faces = np.array([[i, i + 1, i + 2] for i in range(8)])
    >>> units = pd.DataFrame({"hemi": "left", "vertex": np.arange(10)})
    >>> strip = Trials(
    ...     rng.normal(size=(6, 10)),
    ...     pd.DataFrame({"stimulus_id": list("abcdef")}),
    ...     units,
    ...     space=SurfaceSpace({"left": 10, "right": 10}),
    ... )
    >>> discs = rsa.surface_neighbours(strip.units, {"left": (coordinates, faces)}, radius_mm=1.0)
    >>> found = rsa.searchlight(strip, {"model": rng.random(15)}, radius_mm=discs)
    >>> found.n_units.tolist()
    [3, 3, 4, 4, 4, 4, 4, 4, 3, 3]
    >>> sorted(found.map())  # GIFTI images; .to_filename("left.func.gii") writes one
    ['left', 'right']
    """
    _check_radius(radius_mm)
    missing = {"hemi", "vertex"} - set(units.columns)
    if missing or not set(units["hemi"]) <= set(meshes):
        raise DataError(
            "units and meshes do not fit",
            expected="columns hemi and vertex, a mesh for every hemi",
            found=f"columns {list(units.columns)}, meshes {list(meshes)}",
        )
    repeated = units.duplicated(["hemi", "vertex"])
    if not len(units) or repeated.any():
        raise DataError(
            "units are no set of vertices",
            expected="one unit or more, each vertex of a hemisphere once",
            found=f"{len(units)} units, {int(repeated.sum())} listed again",
        )
    found: list[NDArray] = [np.empty(0, dtype=np.int32)] * len(units)
    for hemi, (coordinates, faces) in meshes.items():
        columns = np.flatnonzero(units["hemi"] == hemi)
        graph = _mesh_graph(np.asarray(coordinates, dtype=np.float64), np.asarray(faces))
        vertices = units["vertex"].to_numpy(int)[columns]
        outside = vertices[(vertices < 0) | (vertices >= graph.shape[0])]
        if len(outside):
            expected = f"0 to {graph.shape[0] - 1}"
            raise DataError(f"no such vertex on the {hemi} mesh", expected=expected, found=outside[:5].tolist())
        for centre, near in zip(columns, _within(graph, vertices, radius_mm)):
            found[centre] = columns[near].astype(np.int32)
    starts = np.r_[0, np.cumsum([len(near) for near in found])]
    return SurfaceNeighbours(starts, np.concatenate(found))


def _mesh_graph(coordinates: NDArray, faces: NDArray) -> Any:
    """Sparse matrix of the lengths of the edges of the triangles."""
    from scipy.sparse import csr_array

    sound = coordinates.ndim == faces.ndim == 2 and coordinates.shape[1] == faces.shape[1] == 3 and len(faces)
    if not sound or not np.isfinite(coordinates).all() or faces.min() < 0 or faces.max() >= len(coordinates):
        raise DataError(
            "not a mesh",
            expected="finite coordinates (n_vertices, 3) and faces (n_faces, 3) of their numbers",
            found=(coordinates.shape, faces.shape),
        )
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

    Raises
    ------
    DataError
        For a sensor without a position, no sample, or a radius or window below zero.

    Examples
    --------
    Three sensors in a row, 2 cm apart; each looks at its neighbours, one sample to both sides:

    >>> row = sensor_neighbours([[0.0, 0, 0], [0.02, 0, 0], [0.04, 0, 0]], 20.0, n_times=4, half_width=1)
    >>> np.sum(row.around(np.arange(row.n_centres)) >= 0, axis=1).reshape(3, 4)
    array([[4, 6, 6, 4],
           [6, 9, 9, 6],
           [4, 6, 6, 4]])
    """
    where = np.asarray(positions, dtype=np.float64)
    if where.ndim != 2 or not len(where) or not np.isfinite(where).all():
        lost = np.flatnonzero(~np.isfinite(where).all(axis=1))[:5].tolist() if where.ndim == 2 else []
        raise DataError(
            "sensors need positions",
            expected="finite (n_channels >= 1, 3)",
            found=f"{where.shape}, none for channels {lost}",
            fix="set a montage, or drop these channels",
        )
    _check_radius(radius_mm)
    if n_times < 1 or half_width < 0:
        raise DataError("no such window", expected="n_times >= 1, half_width >= 0", found=(n_times, half_width))
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
