"""The tables behind the containers: checked on the way in, queried by name, written as plain JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, closest

__all__ = [
    "check_unique_ids",
    "frame_from_json",
    "frame_to_json",
    "positions_of",
    "select_rows",
    "trial_table",
    "unit_table",
]

_DEFAULTS = {"subject": "1", "session": 1, "run": 1}


def frame_to_json(frame: pd.DataFrame) -> dict[str, Any]:
    """Columns as lists with their dtype; missing values become null.

    Examples
    --------
    >>> frame_from_json(frame_to_json(pd.DataFrame({"a": [1, 2], "b": ["x", None]})))["b"].tolist()
    ['x', None]
    """
    columns = []  # a list: manifests sort the keys of mappings
    for name in frame:
        series = frame[name]
        kind = series.dtype.kind if isinstance(series.dtype, np.dtype) else "O"
        dtype = str(series.dtype) if kind in "fiub" else "object"
        values = [None if pd.isna(value) else value for value in series.tolist()]
        columns.append({"name": str(name), "dtype": dtype, "values": values})
    return {"n_rows": len(frame), "columns": columns}


def frame_from_json(plain: dict[str, Any]) -> pd.DataFrame:
    """The reverse of `frame_to_json`."""
    frame = pd.DataFrame(index=range(plain["n_rows"]))
    for column in plain["columns"]:
        name = column["name"]
        values = [np.nan if value is None else value for value in column["values"]]
        if column["dtype"] == "object":
            frame[name] = pd.Series(column["values"], dtype=object)
        else:
            frame[name] = np.asarray(values).astype(column["dtype"]) if values else np.empty(0, column["dtype"])
    return frame


def check_unique_ids(ids: Sequence[str], *, what: str = "stimulus_id") -> None:
    """Raise `DataError` naming the first five repeated ids."""
    repeated = pd.Index(ids)[pd.Index(ids).duplicated()].unique()[:5].tolist()
    if repeated:
        raise DataError(f"{what} must be unique", found=f"repeated: {repeated}", fix="keep one row per id")


def positions_of(wanted: Iterable[Any], known: Sequence[str], *, what: str) -> np.ndarray:
    """Positions of `wanted` ids in `known`, or a `DataError` that lists the first five unknown ones."""
    ids = [str(one) for one in wanted]
    positions = pd.Index(known).get_indexer(pd.Index(ids, dtype=object))
    if (positions < 0).any():
        unknown = list(dict.fromkeys(one for one, at in zip(ids, positions, strict=True) if at < 0))
        raise DataError(
            f"{len(unknown)} unknown stimulus_id in {what}: {unknown[:5]}.{closest(unknown[0], known)}",
            expected=f"ids among the {len(known)} known, such as {list(known[:3])}",
            found=unknown[:5],
            fix="check that responses and stimuli name pictures the same way, or select the common ids first",
        )
    return positions


def select_rows(table: pd.DataFrame, selector: Any, *, what: str) -> np.ndarray:
    """Turn a table query, a boolean mask or row numbers into row numbers.

    Raises
    ------
    DataError
        When the query names an unknown column or value, or the mask has another length.
    """
    if selector is None:
        return np.arange(len(table))
    if isinstance(selector, str):
        try:
            mask = table.eval(selector).to_numpy()
        except (KeyError, NameError, SyntaxError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"cannot evaluate {what} query {selector!r}: {error}",
                expected=f"columns {list(table.columns)}",
                fix='for example "roi == \'V1\'" or "session <= 3"',
            ) from error
    else:
        mask = np.asarray(selector)
        mask = mask if mask.size else mask.astype(int)  # an empty list is of floats
    if mask.dtype == bool:
        if mask.shape != (len(table),):
            raise DataError(f"{what} mask has another length", expected=len(table), found=mask.shape)
        rows = np.flatnonzero(mask)
    elif mask.dtype.kind in "iu":
        if mask.size and (mask.min() < -len(table) or mask.max() >= len(table)):
            raise DataError(f"{what} index out of range", expected=f"below {len(table)}", found=int(mask.max()))
        rows = np.arange(len(table))[mask]
    else:
        raise DataError(f"{what} selector is neither query, mask nor row numbers", found=mask.dtype)
    if rows.size == 0:
        raise DataError(
            f"{what} selection {_short(selector)} is empty",
            expected=_values_seen(table, selector) or "at least one row",
            found=f"0 of {len(table)} rows",
            fix="ask for values that the table holds",
        )
    return rows


def _short(selector: Any) -> str:
    return repr(selector) if isinstance(selector, str) else type(selector).__name__


def _values_seen(table: pd.DataFrame, selector: Any) -> str | None:
    if not isinstance(selector, str):
        return None
    named = [column for column in table.columns if str(column) in selector]
    return "; ".join(f"{column} among {table[column].unique()[:12].tolist()}" for column in named) or None


def trial_table(trials: pd.DataFrame, n_trials: int) -> pd.DataFrame:
    """Checked copy of a trials table with the columns that every `Trials` has."""
    if "stimulus_id" not in trials:
        raise DataError("the trials table has no stimulus_id", expected="stimulus_id", found=list(trials.columns))
    if len(trials) != n_trials:
        raise DataError("trials table and responses differ in length", expected=n_trials, found=len(trials))
    missing = np.flatnonzero(trials["stimulus_id"].isna())
    if missing.size:
        raise DataError("trials without stimulus_id", found=f"rows {missing[:5].tolist()}", fix="drop or name them")
    table = trials.reset_index(drop=True).copy()
    table["stimulus_id"] = [str(one) for one in table["stimulus_id"]]
    for name, default in _DEFAULTS.items():
        if name not in table:
            table[name] = default
    for name in ("session", "run"):
        table[name] = _numbers_as_integers(table[name])
    if "repetition" not in table:
        table["repetition"] = table.groupby(["subject", "stimulus_id"]).cumcount()
    return _text_as_objects(table)


def unit_table(units: pd.DataFrame | None, n_units: int) -> pd.DataFrame:
    """Checked copy of a units table; names are numbered when absent."""
    table = pd.DataFrame(index=range(n_units)) if units is None else units.reset_index(drop=True).copy()
    if len(table) != n_units:
        raise DataError("units table and responses differ in length", expected=n_units, found=len(table))
    if "name" not in table:
        table.insert(0, "name", [f"unit{number}" for number in range(n_units)])
    table["name"] = table["name"].astype(str)
    check_unique_ids(table["name"].tolist(), what="unit names")
    return _text_as_objects(table)


def _numbers_as_integers(column: pd.Series) -> pd.Series:
    """``"01"`` and ``"1"`` as 1, so that ``session <= 3`` means what it says; names stay names."""
    if column.dtype.kind in "iuf" or not all(str(value).isdecimal() for value in column):
        return column
    return column.astype(str).astype(np.int64)


def _text_as_objects(table: pd.DataFrame) -> pd.DataFrame:
    """One form for text columns, whatever the pandas version and its options."""
    return table.astype({name: object for name in table if not isinstance(table[name].dtype, np.dtype)})
