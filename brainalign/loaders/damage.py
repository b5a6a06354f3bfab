"""What is said of files that are absent or damaged: the same words in every loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainalign.errors import DataError

__all__ = ["AGAIN", "absent", "damaged", "first_line", "wrong_size"]

AGAIN = "download or copy the file again"


def absent(path: Any, expected: str, *, kind: str = "file") -> DataError:
    """The error for a file or folder that is not there."""
    found = "a folder" if Path(path).is_dir() else "a file" if Path(path).exists() else "nothing"
    return DataError(f"no such {kind}", path=path, expected=expected, found=found, fix="check the path")


def damaged(path: Any, expected: str, error: BaseException, *, what: str | None = None) -> DataError:
    """The error for a file on which its reader failed."""
    what = what or f"not {expected}, or damaged"
    return DataError(what, path=path, expected=expected, found=first_line(error), fix=AGAIN)


def wrong_size(path: Any, expected: int, found: int, *, more: str = "") -> DataError:
    """The error for a file that is not as long as its header says."""
    what = "file is truncated" if found < expected else "file is longer than its header says"
    return DataError(what, path=path, expected=f"{expected} bytes", found=f"{found} bytes{more}", fix=AGAIN)


def first_line(error: BaseException) -> str:
    """Kind and first line of what a reader raised."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".removesuffix(": ")
