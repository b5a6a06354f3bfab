"""Handwritten sixes and nines in V1 to V3 (van Gerven et al. 2010), one MATLAB file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.containers import read_mat
from brainalign.spaces import VolumeSpace
from brainalign.specs import DatasetSpec
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["load_digits69"]

_LABELS = {1: "six", 2: "nine"}


def load_digits69(spec: DatasetSpec, root: Path, *, subject: Any = None) -> Trials:
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
    if volume.sum() != responses.shape[1] or len(content["I"]) != len(responses):
        raise DataError(
            "voxels, trials and pictures do not match",
            path=file,
            expected=f"{int(volume.sum())} voxels in the mask, one picture per trial",
            found=f"responses {responses.shape}, {len(content['I'])} pictures",
        )
    space = VolumeSpace(volume.shape, np.eye(4))
    units, order = _units(space, masks, names)
    images = np.asarray(content["I"], dtype=np.uint8).reshape(-1, 28, 28).transpose(0, 2, 1)
    labels = [_LABELS[int(code)] for code in np.ravel(content["Y"])]
    ids = [f"digit-{number:03d}" for number in range(len(images))]
    table = pd.DataFrame({"label": labels}, index=ids)
    captions = {one: f"a handwritten {label}" for one, label in zip(ids, labels, strict=True)}
    return Trials(
        responses[:, order],
        pd.DataFrame({"stimulus_id": ids, "label": labels}),
        units,
        stimuli=Stimuli.from_arrays(images, ids, captions=captions, table=table),
        space=space,
        info={"dataset": spec.id, "modality": spec.modality},
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
