"""The one error family: every refusal names the file, what was expected, what was found and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike

__all__ = ["BrainalignError", "DataError", "LeakageError", "SpecError", "closest", "unknown"]


class BrainalignError(Exception):
    """Base of every error that brainalign raises on purpose."""


class DataError(BrainalignError, ValueError):
    """Input that cannot be used as it stands.

    Parameters
    ----------
    what : str
        One sentence: what is wrong.
    path : path-like, optional
        The file concerned.
    expected, found : object, optional
        What should have been there, and what was.
    fix : str, optional
        How to mend it.

    Examples
    --------
    >>> print(DataError("wrong shape", path="mask.nii", expected=(2, 2), found=(3, 2), fix="resample the mask"))
    wrong shape
      file: mask.nii
      expected: (2, 2)
      found: (3, 2)
      mend: resample the mask
    """

    def __init__(
        self,
        what: str,
        *,
        path: str | PathLike[str] | None = None,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.path, self.expected, self.found, self.fix = what, path, expected, found, fix
        facts = {"file": path, "expected": expected, "found": found, "mend": fix}
        lines = [what, *(f"  {name}: {fact}" for name, fact in facts.items() if fact is not None)]
        super().__init__("\n".join(lines))


class SpecError(DataError):
    """A dataset spec or experiment file that is malformed, hostile or unknown."""


class LeakageError(DataError):
    """Something that was fitted on is about to be scored on."""


def closest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean '...'?`` for the nearest known name, or an empty string.

    Examples
    --------
    >>> closest("V11", ["V1", "V2", "FFA"])
    " Did you mean 'V1'?"
    """
    match = get_close_matches(str(name), [str(candidate) for candidate in known], n=1, cutoff=0.5)
    return f" Did you mean '{match[0]}'?" if match else ""


def unknown(
    what: str,
    name: object,
    known: Iterable[object],
    *,
    path: str | PathLike[str] | None = None,
    fix: str = "choose one of those expected",
) -> DataError:
    """The error for a name that does not exist: the names that do, and the nearest to the one asked for.

    Examples
    --------
    >>> print(unknown("region", "FFB", ["V1", "FFA"]))
    unknown region 'FFB'. Did you mean 'FFA'?
      expected: one of ['V1', 'FFA']
      found: 'FFB'
      mend: choose one of those expected
    """
    names = list(known)
    listed = f"one of {names[:20]}{' ...' if len(names) > 20 else ''}"
    hint = closest(str(name), map(str, names))
    return DataError(f"unknown {what} '{name}'.{hint}", path=path, expected=listed, found=repr(name), fix=fix)
