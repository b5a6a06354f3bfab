"""NIfTI files opened with suspicion: sizes are proved before anything is allocated, checksums before anything is used.

nibabel alone opens a file cut in half, believes a header that claims 32767 voxels a side, and stops reading a
``.nii.gz`` before its checksum, so that a flipped byte passes silently.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders.damage import AGAIN, absent, wrong_size

__all__ = ["check_same_grid", "memory_budget", "open_nifti", "read_volume", "read_voxels"]

_CHUNK = 1 << 20


def memory_budget() -> int:
    """Half of this machine's memory in bytes: the most that one file may ask for unless told otherwise."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # no such question on Windows
        return 4 * 2**30


def open_nifti(source: Any, *, max_bytes: int | None = None, verify: bool = True) -> Any:
    """Open a ``.nii`` or ``.nii.gz`` file after proving that it holds what its header says.

    Parameters
    ----------
    source : path-like or nibabel image
        An image passes the same checks, those of its file too where it lies in one; so a wrong TR or affine in a
        header can be put right in memory first.
    max_bytes : int, optional
        The most that the voxels may take, by the header's word; half of the memory by default (`memory_budget`).
    verify : bool
        Read a ``.nii.gz`` to its end, so that truncation and flipped bytes surface here. Turn it off only where
        `read_voxels` follows, which checks the same while it reads.

    Returns
    -------
    nibabel.Nifti1Image or Nifti2Image
        Its voxels are still on disk.

    Raises
    ------
    DataError
        When the file is absent, not NIfTI, truncated, longer than its header says, damaged, of an impossible or
        huge shape, of colours or complex numbers, or placed by an affine that cannot be inverted.

    Examples
    --------
    >>> open_nifti("nowhere.nii.gz")
    Traceback (most recent call last):
        ...
    brainalign.errors.DataError: no such file
      file: nowhere.nii.gz
      expected: a NIfTI file
      found: nothing
      mend: check the path
    """
    image = _load_header(Path(source)) if isinstance(source, str | PathLike) else source
    path = _own_file(image)
    n_bytes = _check_header(image, memory_budget() if max_bytes is None else max_bytes)
    if path is None:
        return image
    expected = int(image.dataobj.offset) + n_bytes
    if not _is_compressed(path):
        if path.stat().st_size != expected:
            raise wrong_size(path, expected, path.stat().st_size)
    elif verify:
        for _ in _unpack(path, [_CHUNK] * (expected // _CHUNK) + [expected % _CHUNK]):
            pass
    return image


def read_voxels(image: Any, mask: np.ndarray) -> np.ndarray:
    """Values of the voxels inside `mask`, one volume after the other, without holding the whole image.

    Parameters
    ----------
    image : nibabel image
        Three- or four-dimensional; opened by `open_nifti`, or made in memory.
    mask : ndarray of bool, shape of one volume

    Returns
    -------
    ndarray of float32, shape (n_volumes, n_voxels)
        Scaled as the header says; voxels in the order of ``np.argwhere(mask)``.

    Raises
    ------
    DataError
        When the mask has another shape, or a compressed file turns out truncated or damaged.
    """
    shape = tuple(image.shape)
    if len(shape) not in (3, 4) or shape[:3] != mask.shape:
        raise DataError(
            "image and mask differ in shape",
            path=_path_of(image),
            expected=f"{mask.shape} (x n_volumes)",
            found=shape,
            fix="take a mask of the image's own grid",
        )
    # NIfTI keeps the first axis fastest, so voxel positions within a volume are counted in Fortran order.
    positions = np.ravel_multi_index(tuple(np.argwhere(mask).T), mask.shape, order="F")
    voxels = np.empty((shape[3] if len(shape) == 4 else 1, positions.size), dtype=np.float32)
    for number, volume in enumerate(_volumes(image)):
        voxels[number] = volume(positions)
    return voxels


def read_volume(image: Any) -> np.ndarray:
    """The one volume of a mask or atlas, float64 (n_x, n_y, n_z); a fourth axis of length one is dropped.

    Raises
    ------
    DataError
        When there are several volumes.
    """
    shape = tuple(image.shape)
    if len(shape) < 3 or prod(shape[3:]) != 1:
        raise DataError(
            "one volume is needed",
            path=_path_of(image),
            expected="three dimensions",
            found=shape,
            fix="choose one volume of the series",
        )
    return np.asarray(image.dataobj, dtype=np.float64).reshape(shape[:3])


def check_same_grid(
    image: Any, reference: Any, *, what: str = "mask", tolerance_mm: float = 1e-3, fix: str | None = None
) -> None:
    """Require two images (or an image and a `VolumeSpace`) to have the same shape (of one volume) and affine.

    Raises
    ------
    DataError
        Naming both shapes or affines; a flip of left and right is called by its name.
    """
    path, other = _path_of(image), _path_of(reference) or "the data"
    shape, expected = tuple(image.shape[:3]), tuple(reference.shape[:3])
    fix = fix or f"resample the {what} onto the grid of {other} (resample=True does so for masks and atlases)"
    if shape != expected:
        raise DataError(f"{what} and data differ in shape", path=path, expected=expected, found=shape, fix=fix)
    affine, wanted = np.asarray(image.affine), np.asarray(reference.affine)
    # Compared at the far corners, where a small error of the axes has grown to its full size.
    corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])]).T
    gap = float(np.abs((affine - wanted) @ corners)[:3].max())
    if gap <= tolerance_mm:
        return
    mirrored = np.allclose(affine[:3, 0], -wanted[:3, 0], atol=1e-3) and np.allclose(
        affine[:3, 1:3], wanted[:3, 1:3], atol=1e-3
    )
    hint = "; left and right are flipped" if mirrored else ""
    raise DataError(
        f"{what} and data differ in affine by up to {gap:.3g} mm{hint}",
        path=path,
        expected=_short(wanted),
        found=_short(affine),
        fix=fix,
    )


def _load_header(path: Path) -> Any:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    if not path.name.endswith((".nii", ".nii.gz")):
        raise DataError(
            "not a NIfTI file name",
            path=path,
            expected=".nii or .nii.gz",
            found=path.name,
            fix="convert the image to NIfTI",
        )
    if not path.is_file():
        raise absent(path, "a NIfTI file")
    faults = (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, OverflowError)
    try:
        image: Any = nibabel.load(path)
    except (*faults, TypeError, KeyError, struct.error, zlib.error) as error:
        raise DataError(
            f"not a readable NIfTI file: {error}",
            path=path,
            expected="a NIfTI header of 348 (or 540) bytes",
            found=f"a file of {path.stat().st_size} bytes",
            fix=AGAIN,
        ) from error
    if not isinstance(image, nibabel.Nifti1Image | nibabel.Nifti2Image):
        raise DataError(
            "not a NIfTI file",
            path=path,
            expected="NIfTI-1 or NIfTI-2",
            found=type(image).__name__,
            fix="convert the image to NIfTI",
        )
    return image


def _check_header(image: Any, max_bytes: int) -> int:
    """Bytes that the voxels take, once shape, dtype, size and affine have been found possible."""
    path = _path_of(image)
    shape, dtype = tuple(int(size) for size in image.shape), image.get_data_dtype()
    if not shape or any(size < 1 for size in shape):
        raise DataError("impossible shape in the header", path=path, expected="sizes >= 1", found=shape, fix=AGAIN)
    if dtype.kind not in "iuf":
        raise DataError(
            "not an image of plain numbers",
            path=path,
            expected="integers or floats",
            found=dtype,
            fix="save it as integers or floats",
        )
    n_bytes = prod(shape) * int(dtype.itemsize)
    if n_bytes > max_bytes:
        raise DataError(
            "the header asks for too much memory",
            path=path,
            expected=f"at most {max_bytes / 2**30:.3g} GiB",
            found=f"shape {shape} of {dtype}: {n_bytes / 2**30:.3g} GiB",
            fix="if the file really is that large, raise max_bytes; otherwise its header is damaged",
        )
    offset = float(getattr(image.dataobj, "offset", 352))
    affine = image.affine
    if offset < 348 or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(
            "the header places the voxels nowhere",
            path=path,
            expected="data after the header, a finite affine that can be inverted",
            found=f"offset {offset:g}, affine {_short(affine)}",
            fix="set a right sform or qform, or " + AGAIN,
        )
    return n_bytes


def _unpack(path: Path, sizes: Sequence[int]) -> Iterator[bytes]:
    """Pieces of these sizes from a compressed file, which must end right after the last, its checksum correct."""
    expected, n_read = sum(sizes), 0
    with gzip.open(path) as stream:
        try:
            for size in sizes:
                piece = stream.read(size)
                n_read += len(piece)
                if len(piece) < size:
                    break
                yield piece
            else:
                # Reading past the end is what makes gzip compare its checksum.
                n_read += len(stream.read(1))
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"compressed file is truncated or damaged: {error}",
                path=path,
                expected=f"{expected} bytes once unpacked, checksum correct",
                found=f"failure after {n_read} bytes",
                fix=AGAIN,
            ) from error
    if n_read != expected:
        raise wrong_size(path, expected, n_read, more=" or more")


def _volumes(image: Any) -> Iterator[Any]:
    """One function per volume: Fortran positions -> scaled float32 values."""
    path, proxy = _own_file(image), image.dataobj
    n_volumes = image.shape[3] if len(image.shape) == 4 else 1
    if path is None:
        array = np.asanyarray(proxy).reshape(*image.shape[:3], n_volumes)
        for number in range(n_volumes):
            yield lambda at, number=number: array[..., number].ravel(order="F")[at].astype(np.float32)
        return
    size = prod(image.shape[:3])
    scale = (float(proxy.slope), float(proxy.inter))
    blocks = _stream_volumes if _is_compressed(path) else _map_volumes
    for block in blocks(path, proxy, size, n_volumes):
        yield lambda at, block=block: _scaled(block[at], scale)


def _stream_volumes(path: Path, proxy: Any, size: int, n_volumes: int) -> Iterator[np.ndarray]:
    n_bytes = size * proxy.dtype.itemsize
    pieces = _unpack(path, [int(proxy.offset)] + [n_bytes] * n_volumes)
    next(pieces, None)  # the header
    for piece in pieces:
        yield np.frombuffer(piece, dtype=proxy.dtype)


def _map_volumes(path: Path, proxy: Any, size: int, n_volumes: int) -> Iterator[np.ndarray]:
    yield from np.memmap(path, dtype=proxy.dtype, mode="r", offset=int(proxy.offset), shape=(n_volumes, size))


def _scaled(values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    slope, inter = scale
    if (slope, inter) == (1.0, 0.0):
        return values.astype(np.float32)
    return (values.astype(np.float64) * slope + inter).astype(np.float32)


def _is_compressed(path: Path) -> bool:
    return path.name.endswith(".gz")


def _own_file(image: Any) -> Path | None:
    """The NIfTI file that an image's voxels still lie in, if they do."""
    path = Path(_path_of(image) or "")
    return path if hasattr(image.dataobj, "offset") and path.name.endswith((".nii", ".nii.gz")) else None


def _path_of(image: Any) -> str | None:
    filename = image.get_filename() if hasattr(image, "get_filename") else None
    return str(filename) if filename else None


def _short(affine: np.ndarray) -> str:
    return np.array2string(np.asarray(affine)[:3], precision=4, suppress_small=True).replace("\n", "")
