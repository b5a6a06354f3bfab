"""Model RDMs from files, as square tables labelled by the conditions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from brainalign.analysis.rsa import RDMs, from_square
from brainalign.errors import DataError
from brainalign.loaders.damage import absent, damaged

__all__ = ["check_model", "condensed", "read_model"]


def read_model(path: str | Path) -> pd.DataFrame:
    """A labelled square table from a CSV file, or the mean of a folder of RDMs.

    Raises
    ------
    DataError
        When there is no such file, or it holds something else.
    """
    file = Path(path)
    if file.is_dir():
        rdms = RDMs.open(file)
        return pd.DataFrame(rdms.mean().square()[0], rdms.conditions, rdms.conditions)
    try:
        table = pd.read_csv(file, index_col=0, dtype={0: str})
    except FileNotFoundError as error:
        raise absent(file, "a CSV table, or a folder that RDMs.save wrote") from error
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise damaged(file, "a CSV table with labels as header and first column", error) from error
    try:
        return table.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise damaged(file, "a table of numbers", error) from error


def check_model(table: pd.DataFrame, name: str) -> None:
    """Refuse a table that is no RDM: labels unique and the same on both sides, finite, symmetric, zero diagonal."""
    rows, columns = table.index.astype(str), table.columns.astype(str)
    if rows.has_duplicates or columns.has_duplicates or set(rows) != set(columns):
        found = sorted(set(rows[rows.duplicated()]) | set(columns[columns.duplicated()]) | (set(rows) ^ set(columns)))
        raise DataError(
            f"rows and columns of model '{name}' are not the same labels", expected="each label once", found=found[:5]
        )
    if len(rows) < 3:
        raise DataError(f"model '{name}' has no geometry", expected="3 or more conditions", found=len(rows))
    square = table.set_axis(rows).set_axis(columns, axis=1)[list(rows)].to_numpy(np.float64)
    if not np.isfinite(square).all():
        raise DataError(f"model '{name}' has pairs without a number", found=f"{int((~np.isfinite(square)).sum())} NaN")
    if np.abs(np.diagonal(square)).max() > 1e-8 * max(np.abs(square).max(), 1e-300):
        raise DataError(f"model '{name}' holds no dissimilarities", expected="zeros on the diagonal", found="others")
    from_square(square)


def condensed(table: pd.DataFrame, conditions: tuple[str, ...], name: str) -> np.ndarray:
    """The model's dissimilarities of these conditions, in this order.

    Raises
    ------
    DataError
        When the model has other conditions.
    """
    table = table.set_axis(table.index.astype(str)).set_axis(table.columns.astype(str), axis=1)
    if set(table.index) != set(conditions):
        only = sorted(set(table.index) ^ set(conditions))
        raise DataError(
            f"model '{name}' and the data have different conditions",
            expected=f"the data's {len(conditions)}, such as {list(conditions[:3])}",
            found=f"{len(only)} in one of the two only: {only[:5]}",
        )
    return from_square(table.loc[list(conditions), list(conditions)].to_numpy(np.float64))
