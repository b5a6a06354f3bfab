"""Kay 2008 (CRCNS vim-1): estimated responses of early visual cortex to natural photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.containers import hdf5_dataset, open_hdf5, read_mat, readable
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.datasets.shared import agree, choose, drop_nan
from brainalign.specs import DatasetSpec, Name
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["load_kay2008"]

# The file holds codes alone; their names are recalled from the release, so `roi_code` stands beside `roi`.
_REGIONS = ["other", "V1", "V2", "V3", "V3A", "V3B", "V4", "LatOcc"]


def load_kay2008(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Name,
    roi: str | Sequence[str] | None = None,
    nan: str = "raise",
) -> Trials:
    """Responses, averaged over repetitions by the release, to the training and the validation photographs.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    roi : str or sequence of str, optional
        V1, V2, V3, V3A, V3B, V4, LatOcc, other; all by default.
    nan : {"raise", "drop"}
        What to do with voxels that are NaN in some trials. The released file has such voxels, so name a policy.

    Returns
    -------
    Trials
        `stimulus_id` is ``train-0000`` or ``validation-000`` and so on, counted from 0; `split` "train" or "test".
        Pictures are grey, scaled from the smallest to the largest value of the file to 0-255.
    """
    path = spec.path(root, "responses")
    parts, codes = _read_responses(spec, path, subject)
    regions = np.asarray(_REGIONS, dtype=object)[codes]
    keep = np.isin(codes, [_REGIONS.index(name) for name in choose(roi, _REGIONS, what="region")])
    if not keep.any():
        raise DataError(
            "no voxel in these regions", path=path, expected=sorted(set(regions)), found=roi, fix="choose other regions"
        )
    voxel = np.flatnonzero(keep)
    units = pd.DataFrame(
        {"name": [f"voxel-{one}" for one in voxel], "voxel": voxel, "roi": regions[keep], "roi_code": codes[keep]}
    )
    responses = np.concatenate([part[:, keep] for part in parts])
    responses, units, history = drop_nan(responses, units, nan=nan, path=path)
    ids = [f"train-{row:04d}" for row in range(len(parts[0]))]
    ids += [f"validation-{row:03d}" for row in range(len(parts[1]))]
    table = pd.DataFrame({"stimulus_id": ids, "subject": str(subject)})
    table["split"] = np.repeat(["train", "test"], [len(part) for part in parts])
    stimuli = Stimuli.from_arrays(_read_pictures(spec, spec.path(root, "stimuli")), ids)
    return Trials(responses, table, units, stimuli=stimuli, history=history)


def _read_responses(spec: DatasetSpec, path: Path, subject: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """Training and validation responses (n_trials, n_voxels), and the region code of each voxel."""
    keys = [f"dataTrnS{subject}", f"dataValS{subject}", f"roiS{subject}"]
    with open_hdf5(path) as file, readable(path):
        train, validation, roi = (np.asarray(hdf5_dataset(file, key, path)[()], dtype=np.float32) for key in keys)
    n_voxels = train.shape[-1]
    expected = [(spec.fact("n_train"), n_voxels), (spec.fact("n_validation"), n_voxels), n_voxels]
    agree(
        "arrays are not what the spec says",
        path=path,
        expected=expected,
        found=[train.shape, validation.shape, roi.size],
    )
    codes = roi.ravel()
    if not np.isin(codes, range(len(_REGIONS))).all():
        raise DataError(
            "unknown region codes",
            path=path,
            expected=f"0 to {len(_REGIONS) - 1}",
            found=np.unique(codes)[:10],
            fix=AGAIN,
        )
    return [train, validation], codes.astype(int)


def _read_pictures(spec: DatasetSpec, path: Path) -> np.ndarray:
    """uint8 (n_pictures, height, width), training pictures first."""
    content = read_mat(path, ["stimTrn", "stimVal"])
    arrays = [np.asarray(content[key], dtype=np.float32) for key in ("stimTrn", "stimVal")]
    size = (spec.fact("image_size"),) * 2
    expected = [(spec.fact("n_train"), *size), (spec.fact("n_validation"), *size)]
    agree("pictures are not what the spec says", path=path, expected=expected, found=[one.shape for one in arrays])
    low, high = min(one.min() for one in arrays), max(one.max() for one in arrays)
    if not np.isfinite([low, high]).all() or low == high:
        raise DataError(
            "pictures hold no picture", path=path, expected="finite, varying values", found=(low, high), fix=AGAIN
        )
    return np.concatenate([np.rint((one - low) * (255 / (high - low))).astype(np.uint8) for one in arrays])
