"""Masks and atlases: which voxels are units, where they lie, and to which region they belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.loaders.damage import first_line
from brainalign.loaders.events import read_table
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_volume
from brainalign.spaces import VolumeSpace

__all__ = ["NO_ROI", "choose_rois", "name_codes", "read_labels", "read_mask", "volume_units"]

NO_ROI = "none"
"""Region of a unit that the atlas leaves out."""


def volume_units(
    reference: Any,
    *,
    mask: Any = None,
    atlas: Any = None,
    labels: Any = None,
    roi: str | Sequence[str] | None = None,
    resample: bool = False,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Voxels of an image that become units.

    Parameters
    ----------
    reference : nibabel image
        Whose grid counts.
    mask : path or image, optional
        Voxels above zero are kept. Without one, those that the atlas names; without an atlas, all.
    atlas : path or image, optional
        One integer code per voxel; 0 is no region.
    labels : optional
        Names of the codes, as `read_labels` takes them.
    roi : str or sequence of str, optional
        Keep these regions alone.
    resample : bool
        Bring a mask or atlas on another grid onto that of `reference` (nearest neighbour) instead of refusing it.

    Returns
    -------
    mask : ndarray of bool, shape of one volume
    units : DataFrame
        One row per voxel in the order of ``np.argwhere(mask)``: name, i, j, k, x, y, z (mm) and, with an atlas, roi.

    Raises
    ------
    DataError
        When grids differ, no voxel is left, the atlas is not of integer codes, or a region is unknown.
    """
    shape = tuple(int(size) for size in reference.shape[:3])
    space = VolumeSpace(shape, reference.affine)  # type: ignore[arg-type]
    inside = np.ones(shape, dtype=bool)
    if mask is not None:
        inside = read_mask(mask, reference, resample=resample)
    if atlas is None:
        if roi is not None:
            what, found = "regions are chosen from an atlas", f"roi={roi!r} without one"
            raise DataError(what, expected="an atlas", found=found, fix="give atlas=... too")
        return inside, space.units(inside)
    codes, names = name_codes(_on_grid(atlas, reference, "atlas", resample), labels, path=_path(atlas))
    if mask is None:
        inside = codes != 0
    rois = np.asarray([NO_ROI, *names.values()], dtype=object)[codes]
    if roi is not None:
        inside = inside & choose_rois(rois, roi, list(names.values()), path=_path(atlas))
    _need_voxels(inside, "mask and atlas together", atlas)
    return inside, space.units(inside).assign(roi=rois[inside])


def read_mask(source: Any, reference: Any, *, resample: bool = False) -> np.ndarray:
    """Voxels above zero of a mask on the grid of `reference`, bool (x, y, z).

    Raises
    ------
    DataError
        When the grids differ, or no voxel is above zero.
    """
    inside = _on_grid(source, reference, "mask", resample) > 0
    _need_voxels(inside, "the mask", source)
    return inside


def name_codes(values: np.ndarray, labels: Any, *, path: Any = None) -> tuple[np.ndarray, dict[int, str]]:
    """Renumber an atlas 1, 2, ... in the order of its codes, 0 for no region, and name the numbers.

    Without labels a region is named after its code; with labels, codes that have none are no region.

    Raises
    ------
    DataError
        When a value is no integer, or no label belongs to any code present.
    """
    whole = np.rint(values)
    if not np.isfinite(values).all() or np.abs(whole - values).max() > 1e-3:
        odd = values[~(np.abs(whole - values) <= 1e-3)].flat[0]
        raise DataError(
            "the atlas holds values that are no codes",
            path=path,
            expected="one integer per voxel",
            found=f"{odd:g}",
            fix="give a label image (maximum-probability map), resampled by nearest neighbour",
        )
    present = [int(code) for code in np.unique(whole) if code != 0]
    known = {code: str(code) for code in present} if labels is None else read_labels(labels)
    named = [code for code in present if code in known]
    if not named:
        raise DataError(
            "no code of the atlas has a label",
            path=path,
            expected=f"labels for some of the codes {present[:10]}",
            found=f"labels of codes {list(known)[:10]}",
            fix="give the labels of this atlas, {code: name}",
        )
    numbers = np.searchsorted(named, whole)
    numbers = np.where(np.isin(whole, named), numbers + 1, 0)
    return numbers, {number + 1: known[code] for number, code in enumerate(named)}


def choose_rois(rois: np.ndarray, wanted: str | Sequence[str], known: Sequence[str], *, path: Any = None) -> np.ndarray:
    """Boolean array of the entries of `rois` that are among those wanted.

    Raises
    ------
    DataError
        When a name is unknown, with the closest one that is known.
    """
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in known:
            raise unknown("region", name, sorted(set(known)), path=path)
    return np.isin(rois.astype(str), names)


def read_labels(source: Any) -> dict[int, str]:
    """Names of atlas codes.

    Parameters
    ----------
    source : mapping, sequence of str, or path
        ``{code: name}`` or ``{name: code}``; names in the order of their codes from 0 on (as nilearn gives them); a
        BIDS ``dseg.tsv`` with columns ``index`` and ``name``; or a FreeSurfer colour table (code and name first).

    Raises
    ------
    DataError
        When the table cannot be read, or a code has two names.

    Examples
    --------
    >>> read_labels({"V1": 1, "V2": 2})
    {1: 'V1', 2: 'V2'}
    >>> read_labels(["Background", "V1"])
    {0: 'Background', 1: 'V1'}
    """
    if isinstance(source, Mapping):
        pairs = [(name, code) if _is_code(name) else (code, name) for name, code in source.items()]
    elif isinstance(source, str | PathLike):
        pairs = _read_label_file(Path(source))
    else:
        pairs = list(enumerate(source))
    path = source if isinstance(source, str | PathLike) else None
    names: dict[int, str] = {}
    for code, name in pairs:
        if not _is_code(code):
            what, fix = "an atlas code must be an integer", "give {code: name}"
            raise DataError(what, path=path, expected="{code: name}", found=(code, name), fix=fix)
        if names.setdefault(int(float(code)), str(name)) != str(name):
            raise DataError(
                "a code has two names",
                path=path,
                expected="one name per code",
                found=f"{code}: {names[int(code)]}, {name}",
                fix="correct the table of labels",
            )
    return names


def _read_label_file(path: Path) -> list[tuple[Any, Any]]:
    if path.suffix in (".tsv", ".csv"):
        table = read_table(path)
        columns = next(
            (pair for pair in (("index", "name"), ("index", "label"), ("code", "name")) if {*pair} <= {*table}), None
        )
        if columns is None:
            expected, fix = "columns index and name", "rename its columns"
            raise DataError("not a table of labels", path=path, expected=expected, found=list(table.columns), fix=fix)
        return list(zip(table[columns[0]], table[columns[1]], strict=True))
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        expected, fix = "UTF-8 text: code and name on each line", "check the path, or save the labels as UTF-8"
        found = first_line(error)
        raise DataError("cannot read the labels", path=path, expected=expected, found=found, fix=fix) from error
    rows = [words for words in lines if words and not words[0].startswith("#")]
    short = [words for words in rows if len(words) < 2]
    if short or not rows:
        expected, fix = "code and name on each line", "give a dseg.tsv, a FreeSurfer colour table, or {code: name}"
        raise DataError("not a table of labels", path=path, expected=expected, found=short[:1] or "no line", fix=fix)
    return [(words[0], words[1]) for words in rows]


def _is_code(value: Any) -> bool:
    try:
        return float(value).is_integer()
    except (TypeError, ValueError):
        return False


def _on_grid(source: Any, reference: Any, what: str, resample: bool) -> np.ndarray:
    image = open_nifti(source)
    if resample:
        image = _resampled(image, reference)
    check_same_grid(image, reference, what=what)
    return read_volume(image)


def _resampled(image: Any, reference: Any) -> Any:
    import nibabel
    from nilearn.image import resample_img

    still = nibabel.Nifti1Image(read_volume(image), image.affine)
    return resample_img(
        still, target_affine=reference.affine, target_shape=tuple(reference.shape[:3]), interpolation="nearest"
    )


def _path(source: Any) -> Any:
    return source if isinstance(source, str | PathLike) else None


def _need_voxels(inside: np.ndarray, what: str, source: Any) -> None:
    if not inside.any():
        expected, fix = "at least one voxel above zero", "check the mask, or choose other regions"
        raise DataError(f"no voxel lies inside {what}", path=_path(source), expected=expected, found=0, fix=fix)
