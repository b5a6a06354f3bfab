"""NSD's single-trial betas, read voxel by voxel where the file allows it and never a whole session at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.loaders.containers import hdf5_dataset, open_hdf5, readable
from brainalign.loaders.datasets.shared import agree
from brainalign.loaders.nifti import open_nifti, read_voxels
from brainalign.specs import DatasetSpec, Name, resolve_inside

__all__ = ["beta_file", "read_betas", "read_hdf5_voxels"]

_BUDGET = 64 * 2**20
_FEW_VOXELS = 8


def beta_file(spec: DatasetSpec, root: Path, **entities: Name) -> tuple[str, Path] | None:
    """Kind and path of a session's betas: HDF5, else ``.nii``, else ``.nii.gz``; None when there are none."""
    hdf5 = spec.path(root, "betas_hdf5", **entities)
    packed = spec.path(root, "betas_nifti", **entities)
    plain = packed.with_suffix("")
    resolve_inside(root, str(plain.relative_to(root)))
    for kind, path in (("betas_hdf5", hdf5), ("betas_nifti", plain), ("betas_nifti", packed)):
        if path.is_file():
            return kind, path
    return None


def read_betas(spec: DatasetSpec, kind: str, path: Path, mask: np.ndarray, *, subject: Name) -> np.ndarray:
    """Betas of one session inside a mask, in the unit that the spec names.

    Parameters
    ----------
    spec : DatasetSpec
    kind : {"betas_hdf5", "betas_nifti"}
        File entry of the spec: its shape, dtype and scale.
    path : Path
    mask : ndarray of bool, shape (x, y, z)
    subject : str or int

    Returns
    -------
    ndarray of float32, shape (n_trials, n_voxels)
        Voxels in the order of ``np.argwhere(mask)``.

    Raises
    ------
    DataError
        When the file is damaged, or not of the shape and dtype that the spec states.
    """
    entry = spec.entry(kind)
    shape, dtype, scale = spec.shape_of(entry, subject), str(entry.dtype), entry.scale or 1.0
    if kind == "betas_hdf5":
        betas = read_hdf5_voxels(path, str(entry.key), mask, shape=shape, dtype=dtype)
        betas /= np.float32(scale)
        return betas
    image = open_nifti(path, verify=False)
    found = {"shape": tuple(image.shape), "dtype": image.get_data_dtype().name}
    agree("betas are not what the spec says", path=path, expected={"shape": shape, "dtype": dtype}, found=found)
    betas = read_voxels(image, mask)
    betas /= np.float32(scale)
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
        agree("betas are not what the spec says", path=path, expected={"shape": shape, "dtype": dtype}, found=found)
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
