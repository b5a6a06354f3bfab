"""Which units share a query."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.errors import DataError, closest

__all__ = ["label_units"]


def label_units(queries: Any, units: Any, n_units: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the queries, sorted, and the number of each unit's query.

    Parameters
    ----------
    queries : str, list of str, array (n_units,) or None
        See `brainalign.voxelwise.ROIQueryEncoder`.
    units : DataFrame or None
        The units table, where there is one; its rows repeat for responses that are resolved in time.
    n_units : int

    Raises
    ------
    DataError
        When there is no such column, or not a label for every unit.

    Examples
    --------
    >>> label_units(["V2", "V1", "V2"], None, 3)
    (('V1', 'V2'), array([1, 0, 1]))
    """
    if queries is None:
        return ("all",), np.zeros(n_units, dtype=np.int64)
    if isinstance(queries, str) and queries == "unit":
        names = [f"unit{number}" for number in range(n_units)]
        if units is not None and len(units) == n_units:
            names = [str(one) for one in units["name"]]
        return tuple(names), np.arange(n_units, dtype=np.int64)
    labels = _labels(queries, units, n_units)
    if any(one is None or one != one for one in labels):
        raise DataError(
            "some units belong to no query",
            expected="a label for every unit",
            found=f"{sum(one is None or one != one for one in labels)} of {len(labels)} units without one",
            fix='select the units that have one: trials.select(units="roi == roi")',
        )
    found, query_of_unit = np.unique([str(one) for one in labels], return_inverse=True)
    return tuple(found.tolist()), query_of_unit.astype(np.int64)


def _labels(queries: Any, units: Any, n_units: int) -> list[Any]:
    if isinstance(queries, str):
        queries = [queries]
        if units is None:
            raise DataError(
                f"responses as an array have no column '{queries[0]}'",
                fix="fit(latents, trials), or give queries a label per unit, 'unit', or None",
            )
    listed = list(queries)
    if units is not None and all(isinstance(one, str) and one in units for one in listed):
        rows = units[listed].itertuples(index=False)
        labels = [None if any(one != one or one is None for one in row) else " ".join(map(str, row)) for row in rows]
        return [label for label in labels for _ in range(n_units // len(labels))]
    if len(listed) != n_units:
        hint = "" if units is None else closest(str(listed[0]), units.columns)
        raise DataError(
            f"queries neither label every unit nor name columns of the units table.{hint}",
            expected=f"{n_units} labels" + ("" if units is None else f", or columns among {list(units.columns)}"),
            found=f"{len(listed)}: {listed[:3]} ...",
        )
    return listed
