"""A recording from whatever a command line can name: a data spec, a folder, or the files themselves."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders import load, load_bids_ephys, load_bids_fmri, load_ephys, load_fmri
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["open_recording", "open_source"]

_IMAGES = (".nii", ".nii.gz")
_SPECS = (".yaml", ".yml")


def open_recording(
    data: str,
    options: Mapping[str, Any] | None = None,
    *,
    root: str | PathLike[str] | None = None,
    subject: str | None = None,
) -> Trials:
    """Trials of a data spec, of a folder, or of files.

    ========================================  ============================================================
    data                                      read by
    ========================================  ============================================================
    name or file of a data spec               `brainalign.load`
    folder written by `Trials.save`           `Trials.open`
    BIDS folder                               `load_bids_fmri` where it holds ``func``, else `load_bids_ephys`
    ``.nii`` or ``.nii.gz``, or a pattern     `brainalign.load_fmri`, one run a file
    any other file, or a pattern              `brainalign.load_ephys`, one run a file
    ========================================  ============================================================

    Parameters
    ----------
    data : str
        Runs of one recording may be named by a pattern, such as ``"sub-01_run-*_bold.nii.gz"``, and are taken in the
        order of their names.
    options : mapping, optional
        Of the loader. ``stimuli``, where it is text, is a folder of pictures whose names are the stimulus ids, and
        ``captions`` beside it a CSV table with the columns ``stimulus_id`` and ``caption``.
    root : path-like, optional
        Folder of the data set, or the one that relative names of files start from.
    subject : str, optional

    Raises
    ------
    DataError
        When nothing has this name, or what has it holds no trials.
    """
    found = open_source(data, options, root=root, subject=subject)
    if not isinstance(found, Trials):
        raise DataError(f"'{data}' holds no responses to fit an encoder on", found=type(found).__name__)
    return found


def open_source(
    data: str,
    options: Mapping[str, Any] | None = None,
    *,
    root: str | PathLike[str] | None = None,
    subject: int | str | None = None,
) -> Any:
    """As `open_recording`; geometries too, where a data set comes as such."""
    given = dict(options or {})
    pictures = given.pop("stimuli") if isinstance(given.get("stimuli"), str) else None
    captions = None if pictures is None else _captions(given.pop("captions", None))
    place = Path(root or "") / Path(data).expanduser()
    if (place / "manifest.json").is_file():
        if given:
            raise DataError("saved trials take no options of a loader", path=place, found=sorted(given))
        trials: Any = Trials.open(place)
    elif place.is_dir() and any(place.glob("sub-*/")):
        trials = _bids(place, subject, given)
    elif (files := [Path(one) for one in sorted(glob.glob(str(place)))]) and files[0].suffix not in _SPECS:
        trials = _files(files, subject, given)
    else:
        trials = load(data, root=root, subject=subject, **given)
        trials = trials[0] if isinstance(trials, tuple) else trials
    return (
        trials
        if pictures is None
        else trials.with_stimuli(Stimuli.from_folder(pictures, "*.[pj][np]*g", captions=captions))
    )


def _captions(file: str | None) -> dict[str, str] | None:
    if file is None:
        return None
    try:
        table = pd.read_csv(Path(file).expanduser(), dtype=str)
        return dict(zip(table["stimulus_id"], table["caption"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read the captions: {error}", path=file,
                        expected="a CSV table with the columns stimulus_id and caption") from error  # fmt: skip


def _bids(folder: Path, subject: int | str | None, options: dict[str, Any]) -> Trials:
    functional = any(folder.glob("sub-*/func")) or any(folder.glob("sub-*/ses-*/func"))
    wanted = {"subject": subject or sorted(one.name for one in folder.glob("sub-*") if one.is_dir())[0][4:], **options}
    if "task" not in wanted:
        raise DataError("a BIDS folder holds tasks", path=folder, fix="--option task=NAME")
    return (load_bids_fmri if functional else load_bids_ephys)(folder, **wanted)


def _files(files: list[Path], subject: int | str | None, options: dict[str, Any]) -> Trials:
    if strange := {_kind(one) for one in files} - {_kind(files[0])}:
        raise DataError("the pattern matches files of several kinds", found=sorted(strange | {_kind(files[0])}))
    several: Any = files if len(files) > 1 else files[0]
    if _kind(files[0]) == "image":
        if "events" not in options:
            raise DataError("fMRI needs its events", path=files[0], fix="--option events=events.tsv")
        return load_fmri(several, **({} if subject is None else {"subject": subject}), **options)
    trials = load_ephys(several, **options)
    return trials if subject is None else trials.with_trials(subject=subject)


def _kind(path: Path) -> str:
    return "image" if path.name.endswith(_IMAGES) else "recording"
