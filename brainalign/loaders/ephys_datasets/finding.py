"""Which file, which subject: the same answers for every released layout."""

from __future__ import annotations

import re
from pathlib import Path

from brainalign.errors import DataError
from brainalign.specs import find_inside

__all__ = ["one_file", "subject_number"]


def one_file(root: Path, *patterns: str, without: str | None = None) -> Path:
    """The one file that matches the first pattern that matches at all.

    Parameters
    ----------
    root : Path
    *patterns : str
        Relative, each component may hold ``*``; tried in this order.
    without : str, optional
        Files whose name holds this are passed over.

    Raises
    ------
    DataError
        When none or several match.
    """
    for pattern in patterns:
        found = [path for path in find_inside(root, pattern) if without is None or without not in path.name]
        if len(found) == 1:
            return found[0]
        if found:
            names = [path.relative_to(root).as_posix() for path in found]
            fix = "give the one folder that holds it as root"
            raise DataError(f"{len(found)} files match", path=root, expected=f"one '{pattern}'", found=names, fix=fix)
    expected = " or ".join(patterns)
    raise DataError("a file is missing", path=root, expected=expected, fix="check root and subject")


def subject_number(subject: int | str) -> int:
    """Number of a subject given as 1, "01", "sub-01" or with the letters of a release.

    Examples
    --------
    >>> subject_number("sub-BIGMEG3"), subject_number("P1"), subject_number(2)
    (3, 1, 2)
    """
    digits = re.fullmatch(r"(?:sub-)?(?:BIGMEG|P|S)?(\d+)", str(subject))
    if digits is None:
        raise DataError("not a subject", expected="a number, or 'sub-01'", found=subject)
    return int(digits[1])
