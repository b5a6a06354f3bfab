"""THINGS-MEG (Hebart et al. 2023): the authors' preprocessed epochs."""

from __future__ import annotations

from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.ephys import load_ephys
from brainalign.loaders.ephys_datasets.finding import one_file, subject_number
from brainalign.trials import Trials

__all__ = ["load_things_meg"]

_SPLITS = {"exp": "train", "test": "test", "catch": "catch"}


def load_things_meg(
    root: str | PathLike[str], *, subject: int | str, split: str | None = None, **options: Any
) -> Trials:
    """Load the preprocessed epochs of THINGS-MEG (Hebart et al. 2023): four people, 22,448 pictures.

    Parameters
    ----------
    root : path-like
        Folder with ``derivatives/preprocessed/preprocessed_P1-epo.fif`` and its parts.
    subject : int or str
        1 to 4.
    split : str, optional
        "train" or "test"; both by default. Catch trials are always left out.
    **options
        ``tmin``, ``tmax`` and `EphysOptions`; with ``picks`` or ``resample`` the whole needs far less memory.

    Returns
    -------
    Trials
        stimulus_id is the picture's file name without suffix where the metadata have it, else its number; concept,
        split, session and run likewise. Responses in tesla.

    Raises
    ------
    DataError
        When the epochs are missing, cut, or carry no metadata.
    """
    if split not in (None, "train", "test"):
        raise DataError(f"unknown split '{split}'", expected=["train", "test", None])
    path = one_file(Path(root), f"derivatives/preprocessed/preprocessed_P{subject_number(subject)}-epo.fif")
    trials = load_ephys(path, **options)
    if "trial_type" not in trials.trials or "image_nr" not in trials.trials:
        expected, found = "metadata with trial_type and image_nr", list(trials.trials.columns)
        raise DataError("not the epochs of THINGS-MEG", path=path, expected=expected, found=found)
    table = _named(trials.trials, subject_number(subject))
    kept = table["split"].isin(["train", "test"] if split is None else [split]).to_numpy()
    if not kept.any():
        raise DataError(f"no trial of split '{split}'", path=path, found=sorted(set(table["split"].astype(str))))
    if not kept.all():
        trials = trials.select(kept)
    info = {**trials.info, "dataset": "things_meg"}
    history, space, times = trials.history, trials.space, trials.times
    return Trials(trials.responses, table[kept], trials.units, times=times, space=space, history=history, info=info)


def _named(table: pd.DataFrame, subject: int) -> pd.DataFrame:
    """Picture names, concepts and splits from the metadata of the epochs."""
    made = table.drop(columns="repetition").assign(subject=str(subject))
    made["split"] = made["trial_type"].map(_SPLITS)
    if "image_path" in made:
        made["stimulus_id"] = [PurePosixPath(str(name).replace("\\", "/")).stem for name in made["image_path"]]
        made["concept"] = made["stimulus_id"].str.replace(r"_\d+[a-z]*$", "", regex=True)
    else:
        made["stimulus_id"] = [str(int(number)) for number in made["image_nr"]]
    for name in ("session", "run"):
        if f"{name}_nr" in made:
            made[name] = [str(int(number)) for number in made[f"{name}_nr"]]
    return made
