"""Events tables: what happened when, in seconds, checked against the recording they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, closest
from brainalign.loaders.damage import first_line

__all__ = ["ID_COLUMNS", "events_from_labels", "read_events", "read_onset_files", "read_table", "stimulus_ids"]

ID_COLUMNS = ("stimulus_id", "stim_file", "trial_type", "value")
"""Columns that may name the stimulus, the most specific first."""

_MISSING = ("n/a", "N/A", "NA", "nan", "NaN", "")


def read_table(source: str | PathLike[str] | pd.DataFrame, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a TSV or CSV table as BIDS writes it: UTF-8 (a byte-order mark is taken off), ``n/a`` for missing.

    Columns of numbers become numbers, but columns that name things (`ID_COLUMNS` and whatever ends in ``id``)
    stay text, so that a picture called ``0001`` keeps its zeros.

    Parameters
    ----------
    source : path or DataFrame
    columns : sequence of str
        Columns that must be there.

    Raises
    ------
    DataError
        When the file is absent, empty, not UTF-8 text, its rows have unequal lengths, or a column is missing.
    """
    if isinstance(source, pd.DataFrame):
        table = source.reset_index(drop=True).copy()
    else:
        table = _read_text(Path(source))
    _need_columns(table, columns, None if isinstance(source, pd.DataFrame) else Path(source))
    return table


def _read_text(path: Path) -> pd.DataFrame:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "cannot read the table",
            path=path,
            expected="UTF-8 text with tab-separated columns",
            found=first_line(error),
            fix="check the path, or save the table again as UTF-8",
        ) from error
    separator = "," if path.suffix == ".csv" else "\t"
    try:
        table = pd.read_csv(StringIO(text), sep=separator, dtype=str, keep_default_na=False, na_values=_MISSING)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise DataError(
            "the table is malformed",
            path=path,
            expected=f"one header row and {'comma' if separator == ',' else 'tab'}-separated columns",
            found=first_line(error),
            fix="save it again as TSV with one value per column in every row",
        ) from error
    table.columns = [str(column).strip() for column in table.columns]
    for column in table.columns:
        if column not in ID_COLUMNS and not column.lower().endswith("id"):
            table[column] = _numbers_or_text(table[column])
    return table


def read_events(
    source: str | PathLike[str] | pd.DataFrame,
    *,
    duration: float | None = None,
    sfreq: float | None = None,
    required: Sequence[str] = ("onset", "duration"),
    earliest: float = 0.0,
) -> pd.DataFrame:
    """Read and check the events of one recording; nothing is repaired.

    Parameters
    ----------
    source : path or DataFrame
        A BIDS ``events.tsv`` (or a CSV), or the table itself.
    duration : float, optional
        Length of the recording in seconds; events must begin within it.
    sfreq : float, optional
        Sampling rate in hertz. A table without ``onset`` but with ``sample`` then gets its onsets from the
        samples; where both are present they must agree to one sample.
    required : sequence of str
        Columns that must be present and whole. Without ``"duration"`` among them, absent durations are 0.
    earliest : float
        Onsets before this second are refused; negative for fMRI runs that lost their first volumes.

    Returns
    -------
    DataFrame
        The rows in the order of the file with ``onset`` and ``duration`` in seconds (float), ``stimulus_id`` (str:
        the first of `ID_COLUMNS` that the row fills), and every other column of the file.

    Raises
    ------
    DataError
        On missing columns, NaN or non-numeric onsets or durations, negative durations, onsets outside the
        recording, and times that are evidently milliseconds.

    Examples
    --------
    >>> table = pd.DataFrame({"onset": [1.0, 4.0], "duration": 1.0, "trial_type": ["face", "house"]})
    >>> read_events(table, duration=10.0)["stimulus_id"].tolist()
    ['face', 'house']
    """
    path = None if isinstance(source, pd.DataFrame) else Path(source)
    events = read_table(source)
    if "onset" not in events and "sample" in events and sfreq:
        events["onset"] = _seconds(events, "sample", path) / sfreq
    _need_columns(events, required, path)
    events["onset"] = _seconds(events, "onset", path)
    if "duration" not in events:
        events["duration"] = 0.0
    if "duration" in required:
        events["duration"] = _seconds(events, "duration", path)
    else:
        events["duration"] = pd.to_numeric(events["duration"], errors="coerce").fillna(0.0).astype(float)
    if sfreq and "sample" in events:
        _check_samples(events, sfreq, path)
    _check_times(events, duration, earliest, path)
    events["stimulus_id"] = stimulus_ids(events, path=path)
    return events


def read_onset_files(files: Mapping[str, str | PathLike[str]]) -> pd.DataFrame:
    """Join three-column onset files (onset, duration, amplitude; FSL and OpenfMRI), one per condition.

    Parameters
    ----------
    files : mapping
        ``{condition: path}``. A file without rows is a condition that did not occur.

    Returns
    -------
    DataFrame
        Columns onset, duration, trial_type and modulation, sorted by onset; pass it on to `read_events`.
    """
    tables = []
    for condition, file in files.items():
        path = Path(file)
        try:
            rows = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
            numbers = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise DataError(
                f"cannot read the onsets of '{condition}'",
                path=path,
                expected="three columns of numbers: onset, duration, amplitude (seconds)",
                found=first_line(error),
                fix="write one row per event, three numbers each",
            ) from error
        table = pd.DataFrame(numbers, columns=["onset", "duration", "modulation"])
        tables.append(table.assign(trial_type=str(condition)))
    if not tables:
        raise DataError("no onset files given", expected="{condition: path}", found="{}", fix="name the files")
    return pd.concat(tables).sort_values("onset", kind="stable", ignore_index=True)


def events_from_labels(labels: Sequence[str] | np.ndarray, *, tr: float, rest: str = "rest") -> pd.DataFrame:
    """Turn one label per volume into events: every stretch of the same label is one event.

    Parameters
    ----------
    labels : sequence of str, length n_volumes
        Of one run; a stretch that crosses two runs would be one event.
    tr : float
        Seconds per volume.
    rest : str
        The label that is no event.

    Examples
    --------
    >>> events_from_labels(["rest", "face", "face", "rest"], tr=2.5)
       onset  duration trial_type
    0    2.5       5.0       face
    """
    names = np.asarray(labels).astype(str)
    if names.ndim != 1 or not names.size:
        fix = "give the labels of one run, one after the other"
        raise DataError("one label per volume is needed", expected="a flat sequence", found=names.shape, fix=fix)
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    lengths = np.diff(np.r_[starts, len(names)])
    table = pd.DataFrame({"onset": starts * tr, "duration": lengths * tr, "trial_type": names[starts]})
    return table[table["trial_type"] != rest].reset_index(drop=True)


def stimulus_ids(events: pd.DataFrame, *, path: str | PathLike[str] | None = None) -> pd.Series:
    """Name of each row's stimulus: the first of `ID_COLUMNS` that the row fills, as text.

    Raises
    ------
    DataError
        When a row fills none of them.
    """
    named = [column for column in ID_COLUMNS if column in events]
    ids: Any = pd.Series(None, index=events.index, dtype=object)
    for column in named:
        ids = ids.where(ids.notna(), events[column])
    nameless = np.flatnonzero(ids.isna())
    if nameless.size:
        raise DataError(
            f"{nameless.size} events name no stimulus",
            path=path,
            expected=f"one of the columns {list(ID_COLUMNS)} in every row",
            found=f"columns {list(events.columns)}; first nameless row {nameless[0] + 1}",
            fix="add a stimulus_id (or trial_type) column, or drop these rows",
        )
    return ids.map(_as_id).astype(object)


def _numbers_or_text(column: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def _need_columns(table: pd.DataFrame, required: Sequence[str], path: Path | None) -> None:
    missing = [column for column in required if column not in table]
    if missing:
        hints = {
            "onset": "add onsets in seconds (or give sfreq and `sample`)",
            "duration": "add it; 0 models an impulse",
        }
        raise DataError(
            f"the table has no column {missing}.{closest(missing[0], table.columns)}",
            path=path,
            expected=list(required),
            found=list(table.columns),
            fix=hints.get(missing[0], "add the column, or rename the one that holds it"),
        )


def _seconds(events: pd.DataFrame, column: str, path: Path | None) -> pd.Series:
    numbers = pd.to_numeric(events[column], errors="coerce").astype(float)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise DataError(
            f"{bad.size} events have no usable {column}",
            path=path,
            expected="finite numbers in every row",
            found=f"{events[column].iloc[bad[0]]!r} in row {bad[0] + 1}; rows {(bad[:5] + 1).tolist()}",
            fix="drop these rows from the table, or fill them in, before loading",
        )
    return numbers


def _check_samples(events: pd.DataFrame, sfreq: float, path: Path | None) -> None:
    samples = _seconds(events, "sample", path)
    wrong = np.flatnonzero(np.abs(samples - events["onset"] * sfreq) > 1.0 + 1e-6)
    if wrong.size:
        row = wrong[0]
        raise DataError(
            f"`sample` and `onset` disagree in {wrong.size} of {len(events)} events",
            path=path,
            expected=f"sample = onset x {sfreq:g} Hz within one sample",
            found=f"row {row + 1}: sample {samples.iloc[row]:g}, onset {events['onset'].iloc[row]:g} s",
            fix="check the sampling rate, or drop the column that is wrong",
        )


def _check_times(events: pd.DataFrame, duration: float | None, earliest: float, path: Path | None) -> None:
    onset, length = events["onset"].to_numpy(), events["duration"].to_numpy()
    if (length < 0).any():
        found, fix = f"{length.min():g} s in row {length.argmin() + 1}", "correct the row; 0 is an impulse"
        raise DataError("negative durations", path=path, expected=">= 0 s", found=found, fix=fix)
    early = np.flatnonzero(onset < earliest)
    if early.size:
        raise DataError(
            f"{early.size} events begin before the recording",
            path=path,
            expected=f"onsets from {earliest:g} s on",
            found=f"{onset[early[0]]:g} s in row {early[0] + 1}",
            fix="count onsets from the first sample that is in the file",
        )
    if duration is not None and onset.size:
        _check_within(onset, length, duration, path)


def _check_within(onset: np.ndarray, length: np.ndarray, duration: float, path: Path | None) -> None:
    late, long = onset > duration, length > duration
    if not late.any() and not long.any():
        return
    what = "onsets" if late.any() else "durations"
    values, wrong = (onset, late) if late.any() else (length, long)
    # A few stray late events would also fit when divided by 1000; most of them being late means another unit.
    if np.median(values) > duration and values.max() / 1000 <= duration:
        raise DataError(
            f"{what} look like milliseconds",
            path=path,
            expected=f"seconds within the recording of {duration:g} s",
            found=f"median {np.median(values):g}, largest {values.max():g}; a thousandth of each fits",
            fix="divide onset and duration by 1000 (BIDS wants seconds)",
        )
    raise DataError(
        f"{int(wrong.sum())} of {len(onset)} {what} lie beyond the recording",
        path=path,
        expected=f"at most {duration:g} s",
        found=f"{values.max():g} s in row {int(values.argmax()) + 1}",
        fix="check that events and recording belong together, and the TR or sampling rate",
    )


def _as_id(name: Any) -> str:
    # A column of whole numbers with a gap arrives as floats; picture 7 is "7", not "7.0".
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)
