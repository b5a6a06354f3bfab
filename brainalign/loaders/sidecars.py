"""What lies beside a run: JSON sidecars, the TR on which all sources must agree, tables of confounds."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.damage import AGAIN, damaged
from brainalign.loaders.events import read_table

__all__ = ["agreed_tr", "read_confounds", "read_json"]

_MAX_JSON_BYTES = 1 << 24


def agreed_tr(path: Any = None, **sources: float | None) -> float:
    """The TR in seconds that all sources which name one agree on (to a millisecond).

    Raises
    ------
    DataError
        When they disagree, none names one, or it is no time in seconds.

    Examples
    --------
    >>> agreed_tr(argument=None, header=2.0, sidecar=2.0)
    2.0
    """
    named = {name: float(value) for name, value in sources.items() if value is not None}
    if not named:
        raise DataError("the TR is unknown", path=path, expected="seconds per volume", found="none", fix="give tr=...")
    if max(named.values()) - min(named.values()) > 1e-3:
        raise DataError(
            "sources disagree on the TR",
            path=path,
            expected="one TR",
            found=", ".join(f"{name} {value:g} s" for name, value in named.items()),
            fix="put the wrong one right: the sidecar's RepetitionTime, or the header of an image opened in memory "
            "(image.header['pixdim'][4] = 2.0), or leave out tr=",
        )
    # Headers hold float32; the argument or the sidecar is what was meant.
    tr = next((named[name] for name in ("argument", "sidecar") if name in named), next(iter(named.values())))
    if not 0.05 <= tr <= 60:
        fix = "TR is in seconds; divide milliseconds by 1000"
        raise DataError("impossible TR", path=path, expected="0.05 to 60 s per volume", found=f"{tr:g}", fix=fix)
    return tr


def read_confounds(source: Any, n_volumes: int) -> np.ndarray | None:
    """Confounds as a finite matrix (n_volumes, n_confounds), from a table, an array or a TSV.

    Raises
    ------
    DataError
        When rows and volumes differ in number, or a value is missing or no number.
    """
    if source is None:
        return None
    path = source if isinstance(source, str | PathLike) else None
    table = read_table(path) if path is not None else pd.DataFrame(source)
    numbers = table.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if len(numbers) != n_volumes:
        raise DataError(
            "confounds and volumes differ in number",
            path=path,
            expected=n_volumes,
            found=len(numbers),
            fix="give the confounds of this run, one row per volume",
        )
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=0))
    if bad.size:
        column = numbers[:, bad[0]]
        raise DataError(
            f"{bad.size} confounds hold missing values",
            path=path,
            expected="finite numbers",
            found=f"'{table.columns[bad[0]]}' in row {int(np.flatnonzero(~np.isfinite(column))[0]) + 1}",
            fix="leave these columns out, or set the first row of a derivative to 0",
        )
    return numbers


def read_json(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a JSON sidecar.

    Raises
    ------
    DataError
        When it is too large, not UTF-8 JSON, or not a mapping.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > _MAX_JSON_BYTES:
            raise DataError(
                "sidecar too large", path=path, expected=f"at most {_MAX_JSON_BYTES} bytes", found=size, fix=AGAIN
            )
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise damaged(path, "a JSON object", error, what="cannot read the sidecar") from error
    if not isinstance(content, dict):
        raise DataError(
            "the sidecar is no JSON object", path=path, expected="{...}", found=type(content).__name__, fix=AGAIN
        )
    return content
