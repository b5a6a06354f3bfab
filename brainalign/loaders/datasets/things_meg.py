"""THINGS-MEG (Hebart et al. 2023): the preprocessed epochs of four people."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.loaders.datasets.shared import one_file
from brainalign.loaders.ephys import load_ephys
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_things_meg"]

_SPLITS = {"exp": "train", "test": "test", "catch": "catch"}


def load_things_meg(
    spec: DatasetSpec, root: Path, *, subject: Name, split: str | None = None, **options: Any
) -> Trials:
    """Load the preprocessed epochs of THINGS-MEG (Hebart et al. 2023): four people, 22,448 pictures.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
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
        raise unknown("split", split, ["train", "test", None])
    # The first of several parts, which leads to the others.
    path = one_file(root, spec.relative("epochs", subject=subject).replace("*", ""))
    trials = load_ephys(path, **options)
    if "trial_type" not in trials.trials or "image_nr" not in trials.trials:
        raise DataError(
            "not the epochs of THINGS-MEG",
            path=path,
            expected="metadata with trial_type and image_nr",
            found=list(trials.trials.columns),
            fix="take the preprocessed epochs of the release",
        )
    table = _named(trials.trials, subject)
    kept = table["split"].isin(["train", "test"] if split is None else [split]).to_numpy()
    if not kept.any():
        found = sorted(set(table["split"].astype(str)))
        raise DataError(f"no trial of split '{split}'", path=path, expected="some", found=found, fix="split=None")
    trials = trials if kept.all() else trials.select(kept)
    # A new table, so that repetitions are counted per picture and not per event code.
    history, space, times = trials.history, trials.space, trials.times
    return Trials(trials.responses, table[kept], trials.units, times=times, space=space, history=history)


def _named(table: pd.DataFrame, subject: Name) -> pd.DataFrame:
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
