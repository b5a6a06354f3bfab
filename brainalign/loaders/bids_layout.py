"""The BIDS folder tree: names taken apart into entities, files found by them, sidecars inherited from above."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainalign.errors import DataError, closest
from brainalign.loaders.damage import absent
from brainalign.loaders.sidecars import read_json
from brainalign.specs import find_inside

__all__ = ["BidsFile", "applicable_files", "find_files", "inherited_json", "parse_name", "subject_label"]

_NAME = re.compile(r"((?:[a-zA-Z]+-[A-Za-z0-9+]+_)*)([A-Za-z0-9]+)(\.[A-Za-z0-9.]+)")
_SHORT = {"subject": "sub", "session": "ses"}


@dataclass(frozen=True)
class BidsFile:
    """A file of a BIDS tree: ``path``, ``entities`` by their short keys (sub, ses, task, run, ...) and ``suffix``."""

    path: Path
    entities: Mapping[str, str]
    suffix: str
    extension: str

    def has(self, entities: Mapping[str, str | int | None]) -> bool:
        """Whether these entities are in the name; None stands for any, and run 1 matches ``run-01``."""
        return all(
            value is None or _same_label(self.entities.get(_SHORT.get(key, key)), value)
            for key, value in entities.items()
        )


def parse_name(path: Path) -> BidsFile | None:
    """Entities, suffix and extension of a file name, or None where it is no BIDS name.

    Examples
    --------
    >>> parse_name(Path("sub-01_task-view_run-2_bold.nii.gz")).entities
    {'sub': '01', 'task': 'view', 'run': '2'}
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    entities = dict(part.split("-", 1) for part in match[1].split("_") if part)
    return BidsFile(path, entities, match[2], match[3])


def subject_label(root: Path, subject: str | int) -> str:
    """Label of a subject that is in the tree; ``1``, ``"01"`` and ``"sub-01"`` all find ``sub-01``.

    Raises
    ------
    DataError
        When there is no folder for it, naming the closest.
    """
    if not root.is_dir():
        raise absent(root, "a BIDS dataset", kind="folder")
    known = [folder.name.removeprefix("sub-") for folder in find_inside(root, "sub-*") if folder.is_dir()]
    wanted = str(subject).removeprefix("sub-")
    for label in known:
        if label == wanted or (isinstance(subject, int) and _same_label(label, subject)):
            return label
    what, fix = f"no subject '{wanted}'.{closest(wanted, known)}", "name one that has a folder"
    raise DataError(what, path=root, expected=f"one of {known[:20]}", found=wanted, fix=fix)


def find_files(
    root: Path, subject: str, *, suffix: str, extensions: Iterable[str], entities: Mapping[str, Any]
) -> list[BidsFile]:
    """Functional files of a subject with this suffix and these entities, sorted by name; all inside `root`.

    Raises
    ------
    DataError
        When a link leads out of the dataset.
    """
    paths = [path for where in ("func", "ses-*/func") for path in find_inside(root, f"sub-{subject}/{where}/*")]
    files = [file for path in paths if (file := parse_name(path)) is not None]
    wanted = tuple(extensions)
    found = [file for file in files if file.suffix == suffix and file.extension in wanted and file.has(entities)]
    return sorted(found, key=lambda file: str(file.path))


def applicable_files(
    root: Path, target: BidsFile, *, suffix: str, extension: str, ignore: Iterable[str] = ()
) -> list[Path]:
    """Files that hold for `target` by the inheritance principle, the farthest and least specific first.

    A file of that suffix applies when it lies on the way from `root` to the target's folder and every entity in its
    name is in the target's, too.

    Parameters
    ----------
    root : Path
        May be another dataset than the target's: the raw one of a derivative.
    target : BidsFile
    suffix, extension : str
        As in ``events`` and ``.tsv``.
    ignore : iterable of str
        Entities that the target has, but that files sought must not have: those of a derivative.

    Raises
    ------
    DataError
        When two files of one folder apply equally.
    """
    entities = {key: value for key, value in target.entities.items() if key not in set(ignore)}
    folders = [".", f"sub-{entities['sub']}"]
    if "ses" in entities:
        folders.append(f"{folders[-1]}/ses-{entities['ses']}")
    folders.append(f"{folders[-1]}/func")
    found: list[Path] = []
    for folder in folders:
        pattern = f"*{suffix}{extension}" if folder == "." else f"{folder}/*{suffix}{extension}"
        here = [file for path in find_inside(root, pattern) if (file := parse_name(path)) is not None]
        fitting = [file for file in here if file.suffix == suffix and file.entities.items() <= entities.items()]
        fitting.sort(key=lambda file: len(file.entities))
        if len(fitting) > 1 and len(fitting[-1].entities) == len(fitting[-2].entities):
            raise DataError(
                f"two files of one folder apply to {target.path.name}",
                path=fitting[-1].path,
                expected="one per folder",
                found=[file.path.name for file in fitting[-2:]],
                fix="name the more specific one with more entities",
            )
        found += [file.path for file in fitting]
    return found


def inherited_json(root: Path, target: BidsFile, *, ignore: Iterable[str] = ()) -> dict[str, Any]:
    """Sidecar of a file with all that it inherits; what lies closest to the file wins, key by key."""
    merged: dict[str, Any] = {}
    for path in applicable_files(root, target, suffix=target.suffix, extension=".json", ignore=ignore):
        merged |= read_json(path)
    return merged


def _same_label(label: str | None, wanted: str | int) -> bool:
    if label is None:
        return False
    text = str(wanted)
    return label == text or (label.isdigit() and text.isdigit() and int(label) == int(text))
