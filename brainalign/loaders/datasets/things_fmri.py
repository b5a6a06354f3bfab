"""THINGS-fMRI, table release: single-trial responses in an HDF5 table, voxels and trials in CSV files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.containers import hdf5_dataset, open_hdf5, readable
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.datasets.shared import agree, choose, drop_nan, pictures_by_name
from brainalign.loaders.events import read_table
from brainalign.specs import DatasetSpec, Name
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["load_things_fmri"]

_PLACE = ["voxel_x", "voxel_y", "voxel_z"]


def load_things_fmri(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Name,
    roi: str | Sequence[str] | None = None,
    nan: str = "raise",
    pictures: Any = None,
) -> Trials:
    """Single-trial responses of one subject; of the table, only the voxels of the regions are read.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    roi : str or sequence of str, optional
        Columns of 0 and 1 of the voxel table; several are joined. All voxels by default, which takes gigabytes.
    nan : {"raise", "drop"}
        What to do with voxels that are NaN in some trials.
    pictures : path-like, optional
        Folder with the pictures; they may lie in folders of their own in it.

    Returns
    -------
    Trials
        `stimulus_id` is the picture's file name without its ending; `concept`; `split` "train" or "test"; `zero_shot`
        the same, but "left out" for training trials whose concept is tested. `units` hold the noise ceilings as the
        release states them, the regions as booleans, and in `roi` the first one.
    """
    table = _trial_table(spec, root, subject)
    path = spec.path(root, "responses", subject=subject)
    units, rois = _voxels(spec, root, subject, _voxel_ids(path))
    wanted = choose(roi, rois, what="region") if roi is not None else []
    rows = np.flatnonzero(units[wanted].any(axis=1)) if wanted else np.arange(len(units))
    if not rows.size:
        raise DataError(
            "no voxel in these regions", path=path, expected="at least one", found=wanted, fix="choose other regions"
        )
    responses, by = _responses(path, rows, len(table))
    responses, units, history = drop_nan(responses, units.iloc[rows].reset_index(drop=True), nan=nan, path=path)
    ids = list(dict.fromkeys(table["stimulus_id"]))
    about = table.drop_duplicates("stimulus_id").set_index("stimulus_id")[["concept"]]
    found = None if pictures is None else pictures_by_name(pictures, ids, stems=True)
    info = {"roi": wanted or "all"}
    history = [{"step": "load", "trials matched by": by}, *history]
    return Trials(responses, table, units, stimuli=Stimuli(ids, images=found, table=about), history=history, info=info)


def _trial_table(spec: DatasetSpec, root: Path, subject: Name) -> pd.DataFrame:
    path = spec.path(root, "trials", subject=subject)
    raw = read_table(path, ["trial_type", "session", "run", "stimulus", "concept"])
    kinds = raw["trial_type"].astype(str).value_counts().to_dict()
    expected = {"train": spec.fact("n_train_images"), "test": spec.fact("n_test_images") * spec.fact("repeats")}
    agree("trials and spec disagree", path=path, expected=expected, found=kinds)
    agree("another number of trials", path=path, expected=spec.fact("trials"), found=len(raw))
    table = raw.drop(columns=["stimulus", "trial_type"]).assign(subject=str(subject), split=raw["trial_type"])
    table["stimulus_id"] = [Path(str(name)).stem for name in raw["stimulus"]]
    test = table["split"] == "test"
    leaks = ~test & table["concept"].isin(table.loc[test, "concept"])
    return table.assign(zero_shot=np.where(leaks, "left out", table["split"]))


def _voxels(spec: DatasetSpec, root: Path, subject: Name, ids: np.ndarray) -> tuple[pd.DataFrame, list[str]]:
    """Units in the order of the responses, matched by voxel_id, and the names of the regions."""
    path = spec.path(root, "voxels", subject=subject)
    known = ["voxel_id", *_PLACE, "nc_singletrial", "nc_testset"]
    table = read_table(path, known)
    table["voxel_id"] = pd.to_numeric(table["voxel_id"]).astype(int)
    same = sorted(table["voxel_id"]) == sorted(ids.tolist()) and bool(table["voxel_id"].is_unique)
    found = f"{len(table)} voxels" + ("" if same else ", of other or repeated ids")
    agree("the voxels of the two tables differ", path=path, expected=f"{len(ids)} voxels", found=found)
    table = table.set_index("voxel_id").loc[ids].reset_index()
    others = [column for column in table if column not in known]
    rois = [column for column in others if table[column].isin([0, 1]).all() and table[column].any()]
    units = pd.DataFrame({"name": [f"voxel-{one}" for one in ids], "voxel_id": ids})
    units[["i", "j", "k"]] = table[_PLACE].to_numpy(int)
    units["roi"] = np.select([table[name] == 1 for name in rois], rois, default="") if rois else ""
    rest = table[["nc_singletrial", "nc_testset", *others]].astype(dict.fromkeys(rois, bool))
    return units.join(rest), rois


def _voxel_ids(path: Path) -> np.ndarray:
    with open_hdf5(path) as file, readable(path):
        return hdf5_dataset(file, "ResponseData/block1_values", path)[:, 0].astype(int)


def _responses(path: Path, rows: np.ndarray, n_trials: int) -> tuple[np.ndarray, str]:
    """Responses (n_trials, n_rows) in the order of the trial table, and how the two were matched."""
    with open_hdf5(path) as file, readable(path):
        values = hdf5_dataset(file, "ResponseData/block0_values", path)
        agree("responses and trials differ in number", path=path, expected=n_trials, found=values.shape[1])
        order, by = _columns(hdf5_dataset(file, "ResponseData/block0_items", path), n_trials, path)
        responses = np.empty((n_trials, rows.size), dtype=np.float32)
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        for start, stop in zip(starts, np.append(starts[1:], rows.size), strict=True):
            for first in range(start, stop, 256):
                last = min(first + 256, stop)
                responses[:, first:last] = values[rows[first] : rows[last - 1] + 1].T[order]
    return responses, by


def _columns(items: Any, n_trials: int, path: Path) -> tuple[np.ndarray, str]:
    """Column of each trial. pandas pickles mixed labels: those are not read, and the columns stand in their order."""
    if items.dtype.kind not in "SiuU":
        return np.arange(n_trials), "position"
    labels = [label.decode() if isinstance(label, bytes) else str(label) for label in items[()]]
    if sorted(labels) != sorted(str(trial) for trial in range(n_trials)):
        raise DataError(
            "trials of the table are not numbered from 0", path=path, expected="0, 1, ...", found=labels[:5], fix=AGAIN
        )
    return np.argsort([int(label) for label in labels]), "label"
