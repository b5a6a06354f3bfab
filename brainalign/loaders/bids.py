"""fMRI from a BIDS folder: runs, events, sidecars and the derivatives of fMRIPrep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, closest
from brainalign.loaders.bids_layout import BidsFile, applicable_files, find_files, inherited_json, subject_label
from brainalign.loaders.events import read_table
from brainalign.loaders.fmri import VolumeRun, load_volume_runs
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_volume
from brainalign.loaders.runs import FmriOptions
from brainalign.specs import resolve_inside
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["BidsOptions", "load_bids_fmri"]

_NIFTI = (".nii", ".nii.gz")
_DERIVED = ("space", "res", "den", "desc")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, kw_only=True)
class BidsOptions(FmriOptions):
    """Options of `load_bids_fmri` besides those of `load_fmri`.

    Attributes
    ----------
    session, run : str, optional
        Keep these alone; all by default.
    derivatives : path, optional
        Folder of preprocessed data: a name under ``ROOT/derivatives`` (``"fmriprep"``) or a path. None loads the raw
        runs.
    space : str, optional
        Space entity of the preprocessed runs (``"T1w"``, ``"MNI152NLin2009cAsym"``).
    entities : mapping, optional
        Further entities that tell versions of a run apart: ``{"acq": "mb", "res": "2", "desc": "preproc"}``.
    confounds : sequence of str, optional
        Columns of the derivative's confounds table, with wildcards: ``["trans_*", "rot_*"]``. A missing value in the
        first row, where a derivative has none, counts as 0; the history says in which columns.
    """

    derivatives: str | PathLike[str] | None = None
    space: str | None = None
    entities: Mapping[str, str] = field(default_factory=dict)


def load_bids_fmri(
    root: str | PathLike[str],
    *,
    subject: str | int,
    task: str,
    mask: Any = None,
    atlas: Any = None,
    model: str = "lss",
    **options: Any,
) -> Trials:
    """Load a subject's runs of a task from a BIDS dataset as single-trial responses.

    Parameters
    ----------
    root : path-like
        Folder that holds ``sub-.../``.
    subject, task : str
        Labels without their prefix.
    mask : path or nibabel image, optional
        As in `load_fmri`; ``"brain"`` takes the voxels inside the brain masks of all runs (fMRIPrep's).
    atlas, model
        As in `load_fmri`.
    **options
        See `BidsOptions`.

    Returns
    -------
    Trials
        As from `load_fmri`, runs in the order of their names, with the session and run of the file names. Pictures that
        the events name by ``stim_file`` and that lie in ``stimuli/`` are at hand as `Trials.stimuli`.

    Raises
    ------
    DataError
        When nothing matches or a run exists in several versions, a path leads out of the dataset, events or sidecars
        are missing or contradict each other, and as `load_fmri` says.
    """
    top = Path(root).expanduser()
    given = BidsOptions.of(options)
    label = subject_label(top, subject)
    base = _derivative_folder(top, given) or top
    files = _runs(base, label, task, given)
    masks = [_sibling(base, file, suffix="mask", desc="brain") for file in files] if _is_brain(mask) else []
    found, zeroed = _confounds(base, files, given.confounds)
    runs = [
        VolumeRun(
            bold=resolve_inside(base, file.path.relative_to(base).as_posix()),
            events=_events(top, file),
            confounds=table,
            sidecar=inherited_json(top, file, ignore=_DERIVED) | (inherited_json(base, file) if base != top else {}),
            entities={"subject": label} | _session_and_run(file),
        )
        for file, table in zip(files, found, strict=True)
    ]
    trials = load_volume_runs(
        runs,
        mask=_common_mask(masks) if masks else mask,
        atlas=atlas,
        model=model,
        options=replace(given, subject=label, session=None, run=None, confounds=None),
    )
    trials.info |= {"task": task, "space": given.space or "native", "derivatives": base.name if base != top else None}
    if zeroed:
        trials.history += ({"step": "confounds", "first_row_set_to_zero": zeroed},)
    return _with_pictures(trials, top) if given.stimuli is None else trials


def _derivative_folder(top: Path, options: BidsOptions) -> Path | None:
    if options.derivatives is None:
        if options.space is not None:
            fix = "give derivatives='fmriprep' (or its path) too"
            raise DataError(
                "raw runs have no space", path=top, found=f"space={options.space!r}", fix=fix, expected="no space"
            )
        return None
    given = Path(options.derivatives).expanduser()
    inside = top / "derivatives" / given
    folder = inside if inside.is_dir() else given
    if not folder.is_dir():
        raise DataError(
            "no such derivatives",
            path=inside,
            expected="a folder of preprocessed data",
            found="none",
            fix="give the name of a folder under derivatives/, or a path",
        )
    return folder


def _runs(base: Path, subject: str, task: str, options: BidsOptions) -> list[BidsFile]:
    """The runs asked for, one file each."""
    every = find_files(base, subject, suffix="bold", extensions=_NIFTI, entities={})
    wanted: dict[str, Any] = {"task": task, "session": options.session, "run": options.run, "space": options.space}
    wanted |= options.entities
    if options.derivatives is not None:
        wanted = {"desc": "preproc"} | wanted
    files = [file for file in every if file.has(wanted)]
    if not files:
        tasks = sorted({file.entities.get("task", "none") for file in every})
        raise DataError(
            f"no run of task '{task}' matches.{closest(task, tasks)}",
            path=base / f"sub-{subject}",
            expected={key: value for key, value in wanted.items() if value is not None},
            found=f"tasks {tasks}; {[file.path.name for file in every[:5]]}",
            fix="name a task, session, run or space that is there",
        )
    versions: dict[tuple[str | None, str | None], BidsFile] = {}
    for file in files:
        key = (file.entities.get("ses"), file.entities.get("run"))
        other = versions.setdefault(key, file)
        if other is not file:
            differing = dict(set(file.entities.items()) ^ set(other.entities.items()))
            raise DataError(
                "a run exists in several versions",
                path=file.path,
                expected="one file per session and run",
                found=[other.path.name, file.path.name],
                fix=f"say which: space=... or entities={{...}} with one of {sorted(differing) or 'their extensions'}",
            )
    return files


def _session_and_run(file: BidsFile) -> dict[str, str]:
    return {"session": file.entities.get("ses", "1"), "run": file.entities.get("run", "1")}


def _events(top: Path, file: BidsFile) -> Path:
    tables = applicable_files(top, file, suffix="events", extension=".tsv", ignore=_DERIVED)
    if not tables:
        raise DataError(
            "this run has no events",
            path=file.path,
            expected="an events.tsv beside the raw run, or above it",
            found="none",
            fix="add it; a run at rest cannot be loaded as trials",
        )
    return resolve_inside(top, tables[-1].relative_to(top).as_posix())


def _sibling(base: Path, file: BidsFile, *, suffix: str, desc: str, extensions: Sequence[str] = _NIFTI) -> Path:
    """The derivative that belongs to a run, such as its brain mask; confounds have no space in their name."""
    shared = {key: value for key, value in file.entities.items() if key != "desc"}
    if suffix == "timeseries":
        shared = {key: value for key, value in shared.items() if key not in _DERIVED}
    every = find_files(base, file.entities["sub"], suffix=suffix, extensions=extensions, entities={"desc": desc})
    for candidate in every:
        if {**candidate.entities} == shared | {"desc": desc}:
            return resolve_inside(base, candidate.path.relative_to(base).as_posix())
    raise DataError(
        f"this run has no desc-{desc}_{suffix}",
        path=file.path,
        expected="_".join(f"{key}-{value}" for key, value in shared.items()) + f"_desc-{desc}_{suffix}",
        found=[candidate.path.name for candidate in every[:5]],
        fix="add the derivative, or ask for what is there",
    )


def _is_brain(mask: Any) -> bool:
    return isinstance(mask, str) and mask == "brain"


def _common_mask(paths: Sequence[Path]) -> Any:
    """Voxels inside every run's mask."""
    import nibabel

    images = [open_nifti(path) for path in paths]
    for image in images[1:]:
        check_same_grid(image, images[0])
    inside = np.logical_and.reduce([read_volume(image) > 0 for image in images])
    return nibabel.Nifti1Image(inside.astype(np.uint8), images[0].affine)


def _confounds(base: Path, files: Sequence[BidsFile], columns: Any) -> tuple[list[pd.DataFrame | None], list[str]]:
    """Columns asked for of every run's confounds table, and those whose undefined first value became 0."""
    if not columns:
        return [None] * len(files), []
    patterns = [columns] if isinstance(columns, str) else list(columns)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise DataError(
            "confounds are chosen by name",
            expected='column names, as ["trans_*"]',
            found=type(columns),
            fix="give a list of names",
        )
    tables: list[pd.DataFrame | None] = []
    zeroed: set[str] = set()
    for file in files:
        path = _sibling(base, file, suffix="timeseries", desc="confounds", extensions=(".tsv",))
        table = read_table(path)
        names = [_matching(pattern, list(table.columns), path) for pattern in patterns]
        chosen = table[list(dict.fromkeys(name for some in names for name in some))].copy()
        first = chosen.columns[chosen.iloc[:1].isna().any()]
        chosen.loc[chosen.index[:1], first] = 0.0
        zeroed |= set(first)
        tables.append(chosen)
    return tables, sorted(zeroed)


def _matching(pattern: str, columns: Sequence[str], path: Path) -> list[str]:
    found = [column for column in columns if fnmatchcase(column, pattern)]
    if not found:
        raise DataError(
            f"no confound '{pattern}'.{closest(pattern, columns)}",
            path=path,
            expected=pattern,
            found=columns[:20],
            fix="name columns of this table; * stands for any text",
        )
    return found


def _with_pictures(trials: Trials, top: Path) -> Trials:
    """Give the pictures of ``stimuli/`` along, where the trials name them and all are there."""
    folder = top / "stimuli"
    ids = list(dict.fromkeys(trials.stimulus_ids))
    if "stim_file" not in trials.trials or not folder.is_dir() or not all(_is_picture(name) for name in ids):
        return trials
    paths = {name: resolve_inside(folder, name) for name in ids}
    if not all(path.is_file() for path in paths.values()):
        return trials
    return trials.with_stimuli(Stimuli(ids, images=paths))


def _is_picture(name: str) -> bool:
    return name.lower().endswith(_PICTURES)
