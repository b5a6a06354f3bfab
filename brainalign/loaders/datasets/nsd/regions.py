"""NSD's regions: families of labelled volumes (prf-visualrois, floc-faces, streams) and plain masks (nsdgeneral)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.datasets.shared import agree
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_volume
from brainalign.loaders.regions import read_labels
from brainalign.spaces import VolumeSpace
from brainalign.specs import DatasetSpec, Name, resolve_inside

__all__ = ["nsd_units"]

# Codes where the release's colour tables (nsddata/freesurfer/.../label/*.mgz.ctab) are not in the copy.
_LABELS = {
    "prf-visualrois": ["V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"],
    "streams": ["early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"],
}
_COLOUR_TABLE = "nsddata/freesurfer/subj{subject:02d}/label/{family}.mgz.ctab"


def nsd_units(
    spec: DatasetSpec, root: Path, *, subject: Name, roi: str | Sequence[str]
) -> tuple[np.ndarray, pd.DataFrame, VolumeSpace, list[str]]:
    """Voxels of the regions asked for.

    Parameters
    ----------
    spec, root, subject, roi
        As for `load_nsd`.

    Returns
    -------
    mask : ndarray of bool, shape (x, y, z)
    units : DataFrame
        name, i, j, k, x, y, z; roi (the first one asked for that holds the voxel); a column per family in the copy
        with the voxel's label there, "" for none.
    space : VolumeSpace
    rois : list of str
    """
    files = _family_files(spec, root, subject)
    if not files:
        raise DataError(
            "no regions in this copy",
            path=root,
            expected=spec.entry("roi").pattern,
            found="none",
            fix="download the folder roi of this subject",
        )
    reference = open_nifti(next(iter(files.values())))
    families = {}
    for name, path in files.items():
        image = open_nifti(path)
        agree("regions on another grid", path=path, expected=tuple(spec.fact("grid", subject)), found=image.shape)
        check_same_grid(image, reference, what="region file")
        families[name] = _Family(name, read_volume(image), _names(root, name, subject), path)
    rois = [roi] if isinstance(roi, str) else list(roi)
    masks = {name: _region(name, families, path=files[next(iter(files))].parent) for name in rois}
    inside = np.logical_or.reduce(list(masks.values()))
    if rois == ["nsdgeneral"]:
        expected = spec.fact("nsdgeneral_voxels", subject)
        agree("nsdgeneral of another size", path=files["nsdgeneral"], expected=expected, found=int(inside.sum()))
    volume = VolumeSpace(inside.shape, reference.affine)  # type: ignore[arg-type]
    units = volume.units(inside)
    units["roi"] = np.select([one[inside] for one in masks.values()], rois, default="")
    for name, family in families.items():
        units[name.replace("-", "_")] = np.asarray(family.labels, dtype=object)[family.numbers[inside]]
    return inside, units, volume, rois


class _Family:
    """Volume of labels: `numbers` (x, y, z) index `labels`, whose first is "" for no region (codes <= 0)."""

    def __init__(self, name: str, codes: np.ndarray, names: dict[int, str], path: Path) -> None:
        if not np.isfinite(codes).all() or (codes != np.rint(codes)).any():
            raise DataError(
                "a region file holds values that are no codes",
                path=path,
                expected="integers",
                found="others",
                fix=AGAIN,
            )
        present = [int(code) for code in np.unique(codes) if code > 0]
        plain = present == [1] and not names
        self.labels = ["", *(names.get(code, name if plain else f"{name}-{code}") for code in present)]
        self.numbers = np.where(codes > 0, np.searchsorted(present, codes) + 1, 0).astype(np.int16)


def _family_files(spec: DatasetSpec, root: Path, subject: Name) -> dict[str, Path]:
    where = {"subject": subject, "space": spec.values("space")[0]}
    plain = [spec.path(root, "roi", roi=family, **where) for family in spec.values("roi")]
    found = [path for path in [*plain, *spec.paths(root, "roi_floc", **where)] if path.is_file()]
    return {path.name.removesuffix(".nii.gz"): path for path in found}


def _names(root: Path, family: str, subject: Name) -> dict[int, str]:
    path = resolve_inside(root, _COLOUR_TABLE.format(subject=int(subject), family=family))
    if path.is_file():
        return {code: name for code, name in read_labels(path).items() if code > 0}
    return dict(enumerate(_LABELS.get(family, []), start=1))


def _region(name: str, families: dict[str, _Family], *, path: Path) -> np.ndarray:
    if name in families:
        return families[name].numbers > 0
    for family in families.values():
        wanted = [number for number, label in enumerate(family.labels) if label in (name, f"{name}v", f"{name}d")]
        if wanted and 0 not in wanted:
            return np.isin(family.numbers, wanted)
    labels = {label for family in families.values() for label in family.labels if label}
    halves = {label[:-1] for label in labels if {label[:-1] + "v", label[:-1] + "d"} <= labels}
    every = sorted({*families, *labels, *halves})
    raise unknown("region", name, every, path=path)
