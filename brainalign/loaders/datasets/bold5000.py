"""BOLD5000, release 2.0: single-trial betas of GLMsingle, one NIfTI a session, and the list of pictures shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.datasets.shared import agree, drop_nan, pictures_by_name, read_lines
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_voxels
from brainalign.loaders.regions import volume_units
from brainalign.spaces import VolumeSpace
from brainalign.specs import DatasetSpec, Name
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["load_bold5000"]


def load_bold5000(
    spec: DatasetSpec, root: Path, *, subject: Name, mask: Any = None, nan: str = "raise", pictures: Any = None
) -> Trials:
    """Single-trial responses of one subject.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    mask : path or nibabel image, optional
        Voxels above zero become units. By default those that are finite and not zero at the start of every session.
    nan : {"raise", "drop"}
        What to do with voxels that are NaN in some trials.
    pictures : path-like, optional
        Folder with the pictures; they may lie in folders of their own in it.

    Returns
    -------
    Trials
        `stimulus_id` is the file name of the picture (without ``rep_``), `source` coco, imagenet or scenes, `split`
        "test" for the repeated pictures.
    """
    files = sorted(spec.paths(root, "betas", subject=subject), key=_natural)
    where = root / spec.relative("betas", subject=subject)
    agree("another number of beta files", path=where, expected=spec.fact("sessions", subject), found=len(files))
    # Without a mask the first volumes are looked at before the files are read through, so they are verified now.
    images = [open_nifti(file, verify=mask is None) for file in files]
    inside, units, space = _voxels(images, mask)
    table = _trial_table(spec, root, subject, [image.shape[3] if len(image.shape) == 4 else 1 for image in images])
    responses = np.empty((len(table), int(inside.sum())), dtype=np.float32)
    for number, image in enumerate(images):
        responses[(table["session"] == number + 1).to_numpy()] = read_voxels(image, inside)
    responses, units, history = drop_nan(responses, units, nan=nan, path=where)
    ids = list(dict.fromkeys(table["stimulus_id"]))
    about = table.drop_duplicates("stimulus_id").set_index("stimulus_id")[["source"]]
    found = None if pictures is None else pictures_by_name(pictures, ids)
    info = {"sessions_used": len(files)}
    stimuli = Stimuli(ids, images=found, table=about)
    return Trials(responses, table, units, stimuli=stimuli, space=space, history=history, info=info)


def _voxels(images: list[Any], mask: Any) -> tuple[np.ndarray, pd.DataFrame, VolumeSpace]:
    for image in images[1:]:
        check_same_grid(image, images[0], what="session")
    space = VolumeSpace(images[0].shape[:3], images[0].affine)
    if mask is not None:
        return (*volume_units(images[0], mask=mask), space)
    inside = np.logical_and.reduce([_alive(image) for image in images])
    if not inside.any():
        path = images[0].get_filename()
        raise DataError(
            "no voxel has a response in every session",
            path=path,
            fix="give a mask",
            expected="voxels that are finite and not zero",
            found="none",
        )
    return inside, space.units(inside), space


def _natural(path: Path) -> list[Any]:
    """Sort key that puts session 2 before session 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _alive(image: Any) -> np.ndarray:
    first = np.asarray(image.dataobj[..., 0] if len(image.shape) == 4 else image.dataobj)
    return np.isfinite(first) & (first != 0)


def _trial_table(spec: DatasetSpec, root: Path, subject: Name, n_volumes: list[int]) -> pd.DataFrame:
    path = spec.path(root, "image_names", subject=subject)
    names = [line.removeprefix("rep_") for line in read_lines(path)]
    agree("image names and betas differ in number", path=path, expected=sum(n_volumes), found=len(names))
    table = pd.DataFrame({"stimulus_id": names, "subject": str(subject), "source": [_source(name) for name in names]})
    table["session"] = np.repeat(np.arange(len(n_volumes)) + 1, n_volumes)
    counts = table["stimulus_id"].value_counts()
    every = max(spec.fact("sessions", one) for one in spec.subjects)
    if spec.fact("sessions", subject) == every:
        expected = {"trials": spec.fact("trials"), "pictures": spec.fact("n_stimuli")}
        agree(
            "files and spec disagree",
            path=path,
            expected=expected,
            found={"trials": len(names), "pictures": len(counts)},
        )
    repeated = set(counts.index[counts > 1])
    listed = spec.path(root, "repeated")
    if listed.is_file():
        known = {line.removeprefix("rep_") for line in read_lines(listed)}
        agree("another number of repeated pictures", path=listed, expected=spec.fact("n_repeated"), found=len(known))
        if strangers := sorted(repeated - known):
            raise DataError(
                "pictures repeat that are not listed",
                path=listed,
                expected="all of them",
                found=strangers[:5],
                fix="take both lists from the same release",
            )
        repeated = known
    return table.assign(split=np.where(table["stimulus_id"].isin(repeated), "test", "train"))


def _source(name: str) -> str:
    if name.startswith("COCO_"):
        return "coco"
    return "imagenet" if re.match(r"n\d{8}_", name) else "scenes"
