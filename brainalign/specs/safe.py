"""Doors for what comes from outside: YAML text and relative paths. Nothing is opened before it has been judged."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import yaml

from brainalign.errors import DataError, SpecError

__all__ = ["find_inside", "read_yaml", "resolve_inside"]

_MAX_YAML_BYTES = 1 << 20
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
_MEND_PATH = "write the path relative to the dataset's folder, with forward slashes and no '..'"


def read_yaml(path: str | Path, *, max_bytes: int = _MAX_YAML_BYTES) -> dict:
    """Read one YAML mapping of plain values.

    Tags, aliases and repeated keys are refused: tags make objects, aliases hide size, and of two equal keys YAML
    silently keeps the last.

    Parameters
    ----------
    path : path-like
        The file.
    max_bytes : int
        Larger files are refused unread.

    Returns
    -------
    dict

    Raises
    ------
    SpecError
        If the file is absent, too large, not UTF-8, not YAML, or holds more than plain values.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise SpecError(
                "YAML file too large",
                path=path,
                expected=f"at most {max_bytes} bytes",
                found=size,
                fix="a spec is a page or two; is this the right file?",
            )
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_tricks(node, path, seen=set())
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise _unreadable(path, error) from error
    except ValueError as error:  # e.g. an integer of a million digits
        if isinstance(error, DataError):
            raise
        raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise SpecError(
            "not a YAML mapping",
            path=path,
            expected="key: value",
            found=type(content).__name__,
            fix="write one key: value per line",
        )
    return content


def _unreadable(path: Path, error: Exception) -> SpecError:
    fix = "check the path, and the line that is named"
    return SpecError("cannot read YAML file", path=path, expected="YAML text", found=_first_line(error), fix=fix)


def _refuse_tricks(node: yaml.Node | None, path: Path, *, seen: set[int]) -> None:
    if node is None:
        return
    where = f"line {node.start_mark.line + 1}" if node.start_mark else "?"
    if node.tag not in _PLAIN_TAGS:
        fix = "quote the value, or leave the tag out"
        raise SpecError(f"YAML tag refused at {where}", path=path, expected="plain values", found=node.tag, fix=fix)
    if isinstance(node, yaml.CollectionNode):
        if id(node) in seen:
            raise SpecError(
                f"YAML alias refused at {where}",
                path=path,
                fix="write the value out at each place",
                expected="plain values",
                found="*alias",
            )
        seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise SpecError(
                f"YAML keys given twice in the mapping at {where}",
                path=path,
                found=repeated,
                expected="each key once",
                fix="delete one of the two",
            )
        for key, value in node.value:
            _refuse_tricks(key, path, seen=seen)
            _refuse_tricks(value, path, seen=seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_tricks(value, path, seen=seen)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def check_relative(relative: str) -> PurePosixPath:
    """Judge a relative path by its text alone; `SpecError` if it could leave the folder it starts from.

    Examples
    --------
    >>> check_relative("sub-01/bold.nii.gz")
    PurePosixPath('sub-01/bold.nii.gz')
    >>> check_relative("../secrets")
    Traceback (most recent call last):
    brainalign.errors.SpecError: path leaves its folder
      expected: a relative path
      found: '../secrets'
      mend: write the path relative to the dataset's folder, with forward slashes and no '..'
    """
    text = str(relative)
    reasons = {
        "path is empty": not text.strip(),
        "path holds a control character": any(ord(character) < 32 or ord(character) == 127 for character in text),
        "path holds a backslash": "\\" in text,
        "path is absolute": text.startswith(("/", "~")) or re.match(r"[A-Za-z]:", text) is not None,
        "path leaves its folder": ".." in text.split("/"),
    }
    for what, refused in reasons.items():
        if refused:
            raise SpecError(what, expected="a relative path", found=repr(text), fix=_MEND_PATH)
    return PurePosixPath(text)


def resolve_inside(root: str | Path, relative: str) -> Path:
    """Resolve a path named by data (spec, sidecar, table) and require that it stays inside its dataset.

    Symbolic links are followed on paper only; nothing is opened. A link may point elsewhere in the dataset, which
    is how git-annex and DataLad keep contents: into ``.git/annex/objects`` of the dataset that holds `root`.

    Parameters
    ----------
    root : path-like
        The dataset's folder.
    relative : str
        A path below it, with forward slashes.

    Returns
    -------
    Path
        Absolute, free of links; the file need not exist.

    Raises
    ------
    SpecError
        If the text itself is hostile: absolute, ``..``, a backslash, a control character.
    DataError
        If a symbolic link leads out of the dataset, or in a circle.
    """
    tail = check_relative(relative)
    try:
        base = Path(root).resolve()
        target = (base / tail).resolve()
    except (RuntimeError, OSError) as error:  # a circle of links; a name too long for the file system
        raise DataError(
            "path cannot be resolved",
            path=Path(root) / tail,
            found=_first_line(error),
            expected="a path without a circle of links",
            fix="remove the link",
        ) from error
    if target.is_relative_to(base) or any(target.is_relative_to(store) for store in _annex_stores(base)):
        return target
    fix = "replace the link by a copy of the file, or give the folder it points to as the root"
    raise DataError("link leads out of the dataset", path=base / tail, expected=f"inside {base}", found=target, fix=fix)


def _annex_stores(base: Path) -> list[Path]:
    """The annex of the nearest enclosing repository, if there is one: `base` may be a folder below its top."""
    for folder in (base, *base.parents):
        if (folder / ".git").exists():
            return [folder / ".git" / "annex" / "objects"]
    return []


def find_inside(root: str | Path, pattern: str) -> list[Path]:
    """List the files that match a pattern with ``*`` or ``?``, every step of it inside the dataset.

    Parameters
    ----------
    root : path-like
        The dataset's folder.
    pattern : str
        A relative path; each component may hold ``*`` and ``?``, none spans a slash.

    Returns
    -------
    list of Path
        Paths below `root` as they are named there (links not replaced by their targets), sorted.
    """
    tail = check_relative(pattern)
    base = Path(root)
    found = [PurePosixPath()]
    for part in tail.parts:
        if not any(wild in part for wild in "*?["):
            found = [parent / part for parent in found]
            continue
        matches = []
        for parent in found:
            folder = resolve_inside(base, str(parent)) if parent.parts else base.resolve()
            names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
            matches += [parent / name for name in names if fnmatchcase(name, part)]
        found = matches
    for path in found:
        resolve_inside(base, str(path))
    return [base / path for path in found if (base / path).exists()]
