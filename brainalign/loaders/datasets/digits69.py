"""Handwritten sixes and nines in V1 to V3 (van Gerven et al. 2010), one MATLAB file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.containers import read_mat
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.datasets.shared import agree
from brainalign.spaces import VolumeSpace
from brainalign.specs import DatasetSpec, Name
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["load_digits69"]

_LABELS = {1: "six", 2: "nine"}


def load_digits69(spec: DatasetSpec, root: Path, *, subject: Name) -> Trials:
    """Beta estimates of 100 digits, with the digits and the visual areas of each voxel.

    Voxels follow the mask in MATLAB's column-major order (neighbours then correlate, in row-major order they do not).
    A voxel in two areas gets the first; one in none is "other". The file has no affine: the grid is in voxels.

    Returns
    -------
    Trials
        (100, 3092); `label` is "six" or "nine", `roi` is V1, V2, V3 or other.
    """
    file = spec.path(root, "recording")
    content = read_mat(file, ["X", "Y", "I", "masks", "funloc"])
    responses = np.asarray(content["X"], dtype=np.float32)
    masks = [np.asarray(mask) > 0 for mask in np.ravel(content["masks"])]
    names = [_text(name) for name in np.ravel(content["funloc"])]
    volume = masks[0]
    n_trials, n_voxels, side = (spec.fact(name) for name in ("trials", "n_voxels", "image_size"))
    codes, pixels = np.ravel(content["Y"]), np.asarray(content["I"])
    expected = {"X": (n_trials, n_voxels), "I": (n_trials, side * side), "Y": n_trials, "mask": n_voxels}
    found = {"X": responses.shape, "I": pixels.shape, "Y": codes.size, "mask": int(volume.sum())}
    agree("voxels, trials and pictures do not match", path=file, expected=expected, found=found)
    if not set(codes.tolist()) <= set(_LABELS):
        raise DataError("unknown label", path=file, expected=_LABELS, found=sorted(set(codes.tolist())), fix=AGAIN)
    space = VolumeSpace(volume.shape, np.eye(4))
    units, order = _units(space, masks, names)
    images = pixels.astype(np.uint8).reshape(-1, side, side).transpose(0, 2, 1)  # column-major, as MATLAB has it
    labels = [_LABELS[int(code)] for code in codes]
    ids = [f"digit-{number:03d}" for number in range(len(images))]
    table = pd.DataFrame({"label": labels}, index=ids)
    captions = {one: f"a handwritten {label}" for one, label in zip(ids, labels, strict=True)}
    return Trials(
        responses[:, order],
        pd.DataFrame({"stimulus_id": ids, "label": labels}),
        units,
        stimuli=Stimuli.from_arrays(images, ids, captions=captions, table=table),
        space=space,
    )


def _text(name: Any) -> str:
    while isinstance(name, np.ndarray):
        name = name.ravel()[0]
    return str(name)


def _units(space: VolumeSpace, masks: list[np.ndarray], names: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Units in row-major order of the grid, and the columns of the file that they are."""
    units = space.units(masks[0])
    column = np.empty(masks[0].shape, dtype=int)
    column.T[masks[0].T] = np.arange(masks[0].sum())
    here = tuple(units[axis].to_numpy() for axis in "ijk")
    roi = np.full(len(units), "other", dtype=object)
    hemi = np.full(len(units), "", dtype=object)
    for mask, name in zip(masks[1:], names[1:], strict=True):
        side, area = name.split(".")[:2]
        free = mask[here] & (roi == "other")
        roi[free], hemi[free] = area[:2], {"lh": "left", "rh": "right"}[side]
    return units.assign(roi=roi, hemi=hemi), column[here]
