"""NSD's single-trial betas, read voxel by voxel where the file allows it and never a whole session at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.loaders.containers import hdf5_dataset, open_hdf5, readable
from brainalign.loaders.datasets.nsd.regions import Region, hemispheres
from brainalign.loaders.datasets.shared import agree
from brainalign.loaders.mgh import mgh_header
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_voxels
from brainalign.loaders.surface import read_hemispheres
from brainalign.spaces import SurfaceSpace
from brainalign.specs import DatasetSpec, Name, resolve_inside

__all__ = ["Session", "find_session", "read_hdf5_voxels", "read_session"]

_BUDGET = 64 * 2**20
_FEW_VOXELS = 8
_NOT_AS_STATED = "betas are not what the spec says"
_ONE_RELEASE = "take regions and betas of one release; its HDF5 betas carry no affine"


@dataclass(frozen=True)
class Session:
    """Betas of one session: the file entry of the spec that describes them, and where they lie."""

    kind: str
    files: dict[str, Path]


def find_session(spec: DatasetSpec, root: Path, *, space: Name, **entities: Name) -> Session | None:
    """Betas of a session: both hemispheres, or HDF5, else ``.nii``, else ``.nii.gz``; None when there are none."""
    if space == "fsaverage":
        sides = hemispheres(spec, root, "betas_fsaverage", **entities)
        return Session("betas_fsaverage", sides) if all(path.is_file() for path in sides.values()) else None
    hdf5, packed = (spec.path(root, kind, space=space, **entities) for kind in ("betas_hdf5", "betas_nifti"))
    plain = packed.with_suffix("")
    resolve_inside(root, str(plain.relative_to(root)))
    for kind, path in (("betas_hdf5", hdf5), ("betas_nifti", plain), ("betas_nifti", packed)):
        if path.is_file():
            return Session(kind, {"volume": path})
    return None


def read_session(spec: DatasetSpec, session: Session, region: Region, *, subject: Name) -> np.ndarray:
    """Betas of one session inside a region, float32 (n_trials, n_units), in the unit that the spec names.

    Raises
    ------
    DataError
        When a file is damaged, not of the shape and dtype that the spec states, or on another grid than the region.
    """
    entry = spec.entry(session.kind)
    stated, dtype = spec.shape_of(entry, subject), str(entry.dtype)
    expected = {"shape": stated, "dtype": dtype}
    if isinstance(region.space, SurfaceSpace):
        for path in session.files.values():
            header = mgh_header(path)
            shape = (header.n_volumes, header.n_vertices)
            agree(_NOT_AS_STATED, path=path, expected=expected, found={"shape": shape, "dtype": header.dtype.name})
        betas = read_hemispheres(session.files, region.space, region.mask)
    elif session.kind == "betas_hdf5":
        betas = read_hdf5_voxels(session.files["volume"], str(entry.key), region.mask, shape=stated, dtype=dtype)
    else:
        path = session.files["volume"]
        image = open_nifti(path, verify=False)
        found = {"shape": tuple(image.shape), "dtype": image.get_data_dtype().name}
        agree(_NOT_AS_STATED, path=path, expected=expected, found=found)
        check_same_grid(image, region.space, what="betas", fix=_ONE_RELEASE)
        betas = read_voxels(image, region.mask)
    if entry.scale is not None:
        betas /= np.float32(entry.scale)
    return betas


def read_hdf5_voxels(
    path: Path, key: str, mask: np.ndarray, *, shape: Any, dtype: str, budget: int = _BUDGET
) -> np.ndarray:
    """Values of a (trial, z, y, x) dataset inside a mask (x, y, z), as float32 (n_trials, n_voxels).

    Chunks of one voxel by many trials, as NSD has them, are read by stretches of voxels along x, so that a small
    region costs a small part of the file. Any other layout is read in blocks that respect its chunks, each within
    `budget` bytes where a chunk is, leaving out blocks without a voxel.
    """
    with open_hdf5(path) as file:
        data = hdf5_dataset(file, key, path)
        found = {"shape": data.shape, "dtype": data.dtype.name}
        agree(_NOT_AS_STATED, path=path, expected={"shape": shape, "dtype": dtype}, found=found)
        values = np.empty((data.shape[0], int(mask.sum())), dtype=np.float32)
        # Position in the result of each voxel, laid out as the file lies.
        position = np.full(mask.shape, -1)
        position[mask] = np.arange(values.shape[1])
        position = position.T
        by_voxel = data.chunks is not None and prod(data.chunks[1:]) <= _FEW_VOXELS and data.chunks[0] > 1
        with readable(path):
            (_read_stretches if by_voxel else _read_blocks)(data, position, values, budget)
    return values


def _read_stretches(data: Any, position: np.ndarray, values: np.ndarray, budget: int) -> None:
    """One read per stretch of neighbours along x; the whole dataset of a voxel is one chunk or a few."""
    zyx = np.argwhere(position >= 0)
    n_trials, step = data.shape[0], max(1, budget // (data.shape[0] * 8))
    flat = np.ravel_multi_index(tuple(zyx.T), position.shape)
    row = flat // position.shape[2]
    starts = np.flatnonzero((np.diff(flat, prepend=-2) != 1) | (np.diff(row, prepend=-1) != 0))
    stops = np.append(starts[1:], len(zyx))
    # Filled voxel by voxel and turned around some thousand at a time: writing columns one by one would be slow.
    pending = np.empty((min(step, len(zyx)), n_trials), dtype=data.dtype)
    columns: list[np.ndarray] = []
    filled = 0
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        z, y, x = zyx[start].tolist()
        for first in range(0, stop - start, len(pending)):
            width = min(stop - start - first, len(pending))
            if filled + width > len(pending):
                values[:, np.concatenate(columns)] = pending[:filled].T
                columns, filled = [], 0
            pending[filled : filled + width] = data[:, z, y, x + first : x + first + width].T
            columns.append(position[z, y, x + first : x + first + width])
            filled += width
    values[:, np.concatenate(columns)] = pending[:filled].T


def _read_blocks(data: Any, position: np.ndarray, values: np.ndarray, budget: int) -> None:
    for trials, *place in _blocks(data, position, budget):
        inside = position[tuple(place)]
        here = inside >= 0
        if here.any():
            values[trials, inside[here]] = data[(trials, *place)][:, here]


def _blocks(data: Any, position: np.ndarray, budget: int) -> Iterator[tuple[slice, ...]]:
    """Blocks made of whole chunks that cover the voxels' bounding box, grown along x, y, z, then trials."""
    chunk = list(data.chunks or (1, 1, 1, data.shape[3]))
    box = [(0, data.shape[0])]
    for axis in range(3):
        used = np.flatnonzero((position >= 0).any(axis=tuple({0, 1, 2} - {axis})))
        box.append((int(used[0]) // chunk[axis + 1] * chunk[axis + 1], int(used[-1]) + 1))
    size = list(chunk)
    for axis in (3, 2, 1, 0):
        room = max(1, budget // (prod(size) * data.dtype.itemsize))
        size[axis] = min(size[axis] * room, box[axis][1] - box[axis][0])
        if size[axis] < box[axis][1] - box[axis][0]:
            break
    yield from product(
        *(
            [slice(at, min(at + step, stop)) for at in range(start, stop, step)]
            for (start, stop), step in zip(box, size)
        )
    )
