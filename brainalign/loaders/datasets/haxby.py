"""Haxby 2001: blocks of eight categories in twelve runs; the whole brain (nilearn) or one slice of subject 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.datasets.shared import agree, block_means, choose, read_lines
from brainalign.loaders.nifti import open_nifti, read_voxels
from brainalign.loaders.regions import read_mask
from brainalign.spaces import VolumeSpace
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_haxby", "load_haxby_slice"]

_REGIONS = {
    "mask4_vt": "VT", "mask8_face_vt": "face", "mask8_house_vt": "house",
    "mask8b_face_vt": "face_narrow", "mask8b_house_vt": "house_narrow",
}  # fmt: skip


def load_haxby_slice(spec: DatasetSpec, root: Path, *, subject: Name, delay: float = 0.0) -> Trials:
    """One response per block: its mean, every voxel detrended and z-scored within its run.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    delay : float
        Seconds by which the responses lag behind the labels. The labels of these files are shifted already.

    Returns
    -------
    Trials
        `label` (and `stimulus_id`) is the category; leave one `run` out to test.
    """
    files = {name: spec.path(root, name) for name in ("bold", "mask", "labels")}
    image = open_nifti(files["bold"], verify=False)
    mask = read_mask(files["mask"], image)
    n_voxels = int(mask.sum())
    agree("mask of another size", path=files["mask"], expected=spec.fact("n_voxels"), found=n_voxels)
    return _block_trials(spec, image, mask, files["labels"], subject=subject, delay=delay)


def load_haxby(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Name,
    roi: str | Sequence[str] = "VT",
    delay: float = 0.0,
) -> Trials:
    """Block responses of one subject, processed as by `load_haxby_slice`.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    roi : str or sequence of str
        VT, face, house, face_narrow, house_narrow (or the masks' file names); several are joined. A voxel's `roi` is
        the first of those named that holds it.
    delay : float
        Seconds by which the responses lag behind the labels.
    """
    names = {_REGIONS.get(str(one), str(one)): str(one) for one in spec.values("mask")}
    wanted = [roi] if isinstance(roi, str) else list(roi)
    regions = choose([_REGIONS.get(one, one) for one in wanted], list(names), what="region")
    image = open_nifti(spec.path(root, "bold", subject=subject), verify=False)
    masks = {
        region: read_mask(spec.path(root, "mask", subject=subject, mask=names[region]), image) for region in regions
    }
    mask = np.logical_or.reduce(list(masks.values()))
    trials = _block_trials(spec, image, mask, spec.path(root, "labels", subject=subject), subject=subject, delay=delay)
    trials.units["roi"] = np.select([one[mask] for one in masks.values()], list(masks), default="")
    trials.info["roi"] = regions
    return trials


def _block_trials(
    spec: DatasetSpec, image: Any, mask: np.ndarray, label_file: Path, *, subject: Any, delay: float
) -> Trials:
    labels, runs = _read_labels(label_file)
    n_volumes = image.shape[3] if len(image.shape) == 4 else 1
    agree("labels and volumes differ in number", path=label_file, expected=n_volumes, found=len(labels))
    expected = {"n_volumes": spec.fact("n_volumes"), "runs": spec.fact("runs"), "unknown labels": []}
    strangers = sorted(set(labels) - {"rest", *spec.fact("categories")})
    found = {"n_volumes": n_volumes, "runs": len(set(runs)), "unknown labels": strangers}
    agree("files and spec disagree", path=label_file, expected=expected, found=found)
    space = VolumeSpace(mask.shape, image.affine)  # type: ignore[arg-type]
    responses, table, history = block_means(
        read_voxels(image, mask), labels, runs, tr=float(spec.fact("tr")), delay=delay
    )
    table = table.assign(stimulus_id=table["label"], subject=str(subject), session="1")
    return Trials(responses, table, space.units(mask), space=space, history=history)


def _read_labels(path: Path) -> tuple[list[str], list[str]]:
    """Label and run of each volume, from two columns, with or without a header."""
    rows = [line.replace('"', "").split() for line in read_lines(path)]
    if rows[0][:2] == ["labels", "chunks"]:
        rows = rows[1:]
    bad = [row for row in rows if len(row) != 2 or not row[1].isdigit()]
    if bad or not rows:
        raise DataError(
            "not a list of labels", path=path, expected="label and run on each line", found=bad[:1], fix=AGAIN
        )
    return [row[0] for row in rows], [row[1] for row in rows]
