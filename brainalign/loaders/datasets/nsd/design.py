"""NSD's experiment: which picture on which trial, how often before, and the pictures themselves, read one at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.containers import hdf5_dataset, open_hdf5, read_mat, readable
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.datasets.shared import agree
from brainalign.loaders.events import read_table
from brainalign.specs import DatasetSpec, Name
from brainalign.stimuli import Stimuli

__all__ = ["nsd_stimuli", "nsd_trials", "stimulus_id"]


def stimulus_id(row: int) -> str:
    """Id of a picture: ``nsd-`` and its row of imgBrick, counted from 0 (NSD's 73k id less one).

    Examples
    --------
    >>> stimulus_id(12)
    'nsd-00012'
    """
    return f"nsd-{row:05d}"


def nsd_trials(spec: DatasetSpec, root: Path, *, subject: Name, sessions: Sequence[int]) -> pd.DataFrame:
    """Trials of some sessions, in the order of the betas.

    Returns
    -------
    DataFrame
        stimulus_id, subject, session, repetition (0 is the first time this person sees the picture, in whatever
        session), shared1000, split ("test" for the shared pictures); run, where the trial log tells it.

    Raises
    ------
    DataError
        When the design is not of the form that the spec states, or the trial log contradicts it.
    """
    image, shared = _design(spec, root, subject)
    per_session = spec.fact("trials_per_session")
    table = pd.DataFrame({"image": image, "session": np.arange(len(image)) // per_session + 1, "shared1000": shared})
    table["repetition"] = table.groupby("image").cumcount()
    wanted = pd.concat([table[table["session"] == session] for session in sessions], ignore_index=True)
    run = _logged_runs(spec, root, subject, wanted)
    wanted = wanted.assign(
        stimulus_id=[stimulus_id(row) for row in wanted.pop("image")],
        subject=str(subject),
        split=np.where(wanted["shared1000"], "test", "train"),
    )
    return wanted if run is None else wanted.assign(run=run)


def _design(spec: DatasetSpec, root: Path, subject: Name) -> tuple[np.ndarray, np.ndarray]:
    """Row of imgBrick of every planned trial, and whether it is one of the shared pictures."""
    path = spec.path(root, "design")
    design = read_mat(path, ["masterordering", "subjectim", "sharedix"])
    ordering, shared = (np.asarray(design[key]).ravel().astype(int) - 1 for key in ("masterordering", "sharedix"))
    pictures = np.asarray(design["subjectim"]).astype(int) - 1
    n_pictures, n_shared = spec.fact("images_per_subject"), spec.fact("n_shared")
    n_needed = spec.fact("sessions", subject) * spec.fact("trials_per_session")
    expected = {"subjectim": (spec.fact("n_design_rows"), n_pictures), "sharedix": n_shared, "enough trials": True}
    found = {"subjectim": pictures.shape, "sharedix": len(shared), "enough trials": len(ordering) >= n_needed}
    agree("the design has another form", path=path, expected=expected, found=found)
    in_range = {
        "masterordering": ordering.min() >= 0 and ordering.max() < n_pictures,
        "subjectim": pictures.min() >= 0 and pictures.max() < spec.fact("n_stimuli"),
    }
    agree("indices of the design are out of range", path=path, expected=dict.fromkeys(in_range, True), found=in_range)
    mine = pictures[int(subject) - 1]
    if set(mine[:n_shared].tolist()) != set(shared.tolist()):
        raise DataError(
            "the shared pictures do not come first",
            path=path,
            expected=f"the first {n_shared} columns of subjectim to be sharedix",
            found=f"{len(set(mine[:n_shared].tolist()) - set(shared.tolist()))} others",
            fix=AGAIN,
        )
    return mine[ordering], ordering < n_shared


def _logged_runs(spec: DatasetSpec, root: Path, subject: Name, trials: pd.DataFrame) -> np.ndarray | None:
    """Runs as the behavioural log has them, once it agrees with the design on every picture."""
    path = spec.path(root, "responses", subject=subject)
    if not path.is_file():
        return None
    log = read_table(path, ["SESSION", "73KID"])
    log = log.assign(image=pd.to_numeric(log["73KID"], errors="coerce") - 1)
    parts = [log[log["SESSION"] == session] for session in trials["session"].unique()]
    logged = pd.concat(parts, ignore_index=True)
    if len(logged) != len(trials) or not np.array_equal(logged["image"], trials["image"]):
        raise DataError(
            "trial log and design disagree",
            path=path,
            expected=f"{len(trials)} trials with the pictures of the design",
            found=f"{len(logged)} trials, others or in another order",
            fix="take both files from the same release",
        )
    return logged["RUN"].to_numpy() if "RUN" in logged else None


def nsd_stimuli(spec: DatasetSpec, root: Path, ids: Sequence[str]) -> Stimuli:
    """Pictures by id, each read from imgBrick when asked for; without that file, the ids alone."""
    path, table_path = spec.path(root, "stimuli"), spec.path(root, "stimulus_table")
    table = None
    if table_path.is_file():
        table = read_table(table_path)
        agree("another number of pictures", path=table_path, expected=spec.fact("n_stimuli"), found=len(table))
        table = table.set_axis([stimulus_id(row) for row in range(len(table))])[["cocoId", "cocoSplit"]]
    if not path.is_file():
        return Stimuli(ids, table=table)
    entry = spec.entry("stimuli")
    return Stimuli(ids, images=_Brick(path, str(entry.key), spec.shape_of(entry)), table=table)


class _Brick:
    """Rows of one HDF5 dataset by stimulus id; each process opens the file for itself, when first asked."""

    def __init__(self, path: Path, key: str, shape: Any) -> None:
        self.path, self.key = path, key
        self._file: Any = None
        self._owner = 0
        with open_hdf5(path) as file:
            data = hdf5_dataset(file, key, path)
            found = (data.shape, data.dtype.name)
            agree("pictures are not what the spec says", path=path, expected=(shape, "uint8"), found=found)

    def __call__(self, one: str) -> np.ndarray:
        if self._owner != os.getpid():
            # A handle that was open before a fork is not ours: HDF5 keeps state that two processes must not share.
            self._file, self._owner = open_hdf5(self.path), os.getpid()
        with readable(self.path):
            return self._file[self.key][int(one.rpartition("-")[2])]

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: everything but the open file."""
        return {**self.__dict__, "_file": None, "_owner": 0}
