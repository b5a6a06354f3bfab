"""NSD's regions, in volume and on fsaverage: families of labels (prf-visualrois, streams) and masks (nsdgeneral)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.datasets.shared import agree
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_volume
from brainalign.loaders.regions import read_labels
from brainalign.loaders.surface import read_hemispheres, vertex_units
from brainalign.spaces import SurfaceSpace, VolumeSpace
from brainalign.specs import DatasetSpec, Name

__all__ = ["Region", "hemispheres", "nsd_region"]


@dataclass(frozen=True)
class Region:
    """The units asked for.

    Attributes
    ----------
    mask : ndarray of bool, shape (x, y, z), or (2 * n_vertices,) with the left hemisphere first
    units : DataFrame
        Where each lies; roi (the first one asked for that holds it); a column per family in the copy with the unit's
        label there, "" for none.
    space : VolumeSpace or SurfaceSpace
    rois : list of str
    """

    mask: np.ndarray
    units: pd.DataFrame
    space: VolumeSpace | SurfaceSpace
    rois: list[str]


def nsd_region(
    spec: DatasetSpec, root: Path, *, subject: Name, roi: str | Sequence[str], space: Name = "func1pt8mm"
) -> Region:
    """Voxels or vertices of the regions asked for.

    Parameters
    ----------
    spec, root, subject, roi, space
        As for `load_nsd`.

    Raises
    ------
    DataError
        When a file is damaged or on another grid, or a region is unknown.
    """
    read = _surface_families if space == "fsaverage" else _volume_families
    families, place, path = read(spec, root, subject, space)
    rois = [roi] if isinstance(roi, str) else list(roi)
    masks = {name: _members(name, families, path) for name in rois}
    inside = np.logical_or.reduce(list(masks.values()))
    if rois == ["nsdgeneral"] and isinstance(place, VolumeSpace):
        expected = spec.fact("nsdgeneral_voxels", subject)
        agree("nsdgeneral of another size", path=path / "nsdgeneral.nii.gz", expected=expected, found=int(inside.sum()))
    units = place.units(inside) if isinstance(place, VolumeSpace) else vertex_units(place)[inside]
    units = units.reset_index(drop=True)
    units["roi"] = np.select([one[inside] for one in masks.values()], rois, default="")
    for name, family in families.items():
        units[name.replace("-", "_")] = np.asarray(family.labels, dtype=object)[family.numbers[inside]]
    return Region(inside, units, place, rois)


def hemispheres(spec: DatasetSpec, root: Path, name: str, **entities: Name) -> dict[str, Path]:
    """Files of the left and the right hemisphere."""
    sides = zip(("left", "right"), spec.values("hemisphere"), strict=True)
    return {side: spec.path(root, name, hemisphere=hemisphere, **entities) for side, hemisphere in sides}


class _Family:
    """Labels of all places: `numbers` index `labels`, whose first is "" for no region (codes <= 0)."""

    def __init__(self, name: str, codes: np.ndarray, names: dict[int, str], path: Path) -> None:
        if not np.isfinite(codes).all() or (codes != np.rint(codes)).any():
            what = "a region file holds values that are no codes"
            raise DataError(what, path=path, expected="integers", found="others", fix=AGAIN)
        present = [int(code) for code in np.unique(codes) if code > 0]
        plain = present == [1] and not names
        self.labels = ["", *(names.get(code, name if plain else f"{name}-{code}") for code in present)]
        self.numbers = np.where(codes > 0, np.searchsorted(present, codes) + 1, 0).astype(np.int16)


Families = tuple[dict[str, _Family], Any, Path]


def _volume_families(spec: DatasetSpec, root: Path, subject: Name, space: Name) -> Families:
    where = {"subject": subject, "space": space}
    plain = [spec.path(root, "roi", roi=family, **where) for family in spec.values("roi")]
    found = [path for path in [*plain, *spec.paths(root, "roi_floc", **where)] if path.is_file()]
    if not found:
        raise _no_regions(root, spec, "roi")
    grid = open_nifti(found[0])
    families = {}
    for path in found:
        name, image = path.name.removesuffix(".nii.gz"), open_nifti(path)
        agree("regions on another grid", path=path, expected=tuple(spec.fact("grid", subject)), found=image.shape)
        check_same_grid(image, grid, what="region file")
        families[name] = _Family(name, read_volume(image), _names(spec, root, name, subject), path)
    return families, VolumeSpace(grid.shape, grid.affine), found[0].parent


def _surface_families(spec: DatasetSpec, root: Path, subject: Name, space: Name) -> Families:
    n_vertices = spec.fact("n_fsaverage_vertices")
    place = SurfaceSpace({"left": n_vertices, "right": n_vertices})
    every = np.ones(2 * n_vertices, dtype=bool)
    families = {}
    for family in map(str, spec.values("surface_roi")):
        files = hemispheres(spec, root, "roi_fsaverage", surface_roi=family)
        if all(path.is_file() for path in files.values()):
            codes = read_hemispheres(files, place, every)[0]
            families[family] = _Family(family, codes, _names(spec, root, family, subject), files["left"])
    if not families:
        raise _no_regions(root, spec, "roi_fsaverage")
    return families, place, files["left"].parent


def _no_regions(root: Path, spec: DatasetSpec, name: str) -> DataError:
    expected, fix = spec.entry(name).pattern, "download these files, or take another space"
    return DataError("no regions in this copy", path=root, expected=expected, found="none", fix=fix)


def _names(spec: DatasetSpec, root: Path, family: str, subject: Name) -> dict[int, str]:
    """Names of a family's codes: of the copy's colour table, else of the spec."""
    if family in spec.values("roi_family"):
        path = spec.path(root, "colour_table", subject=subject, roi_family=family)
        if path.is_file():
            return {code: name for code, name in read_labels(path).items() if code > 0}
    return next((roi.labels for roi in spec.rois if roi.name == family), {})


def _members(name: str, families: dict[str, _Family], path: Path) -> np.ndarray:
    """Places of a family, of a label in one, or of an area whose halves are labels."""
    if name in families:
        return families[name].numbers > 0
    for family in families.values():
        wanted = [number for number, label in enumerate(family.labels) if label in (name, f"{name}v", f"{name}d")]
        if wanted and 0 not in wanted:
            return np.isin(family.numbers, wanted)
    labels = {label for family in families.values() for label in family.labels if label}
    halves = {label[:-1] for label in labels if {label[:-1] + "v", label[:-1] + "d"} <= labels}
    raise unknown("region", name, sorted({*families, *labels, *halves}), path=path)
