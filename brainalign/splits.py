"""Splits that cannot leak: grouped by stimulus, run, session or concept, or contiguous with a gap; each with a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, LeakageError, closest
from brainalign.trials import Trials

__all__ = [
    "Fold",
    "check_disjoint",
    "check_same_pictures",
    "check_windows_apart",
    "contiguous_folds",
    "folds",
    "split",
    "split_hash",
]


@dataclass(frozen=True, eq=False)
class Fold:
    """Row numbers of one train/test division.

    Parameters
    ----------
    train, test : ndarray of int
    by : str
        What was kept together.
    hash : str
        Of the groups in train and test, whatever the order of the rows.
    """

    train: np.ndarray
    test: np.ndarray
    by: str
    hash: str

    def __iter__(self) -> Any:
        """Unpack as (train, test), the form scikit-learn takes as ``cv``."""
        return iter((self.train, self.test))


def check_disjoint(train_ids: Iterable[Any], test_ids: Iterable[Any], *, what: str = "stimulus_id") -> None:
    """Raise `LeakageError` listing the first five values that stand on both sides.

    Examples
    --------
    >>> check_disjoint(["a", "b"], ["c"])
    """
    shared = sorted({str(one) for one in train_ids} & {str(one) for one in test_ids})
    if shared:
        raise LeakageError(
            f"{len(shared)} {what} in both train and test: {shared[:5]}",
            expected=f"no {what} on both sides",
            found=f"{len(shared)} shared",
            fix=f"split by '{what}': brainalign.split(trials, by='{what}')",
        )


def check_windows_apart(trials: Trials, train: np.ndarray, test: np.ndarray) -> None:
    """Raise `LeakageError` when a test epoch overlaps a training epoch of the same run: they share samples.

    Nothing is checked where trials have no times or no ``onset``, or several trials of a run the same one (the column
    then does not tell when they were).

    Examples
    --------
    >>> table = pd.DataFrame({"stimulus_id": list("abc"), "onset": [0.0, 0.5, 2.0]})
    >>> trials = Trials(np.zeros((3, 1, 2)), table, times=[0.0, 0.8])
    >>> check_windows_apart(trials, np.array([0, 1]), np.array([2]))
    """
    if trials.times is None or "onset" not in trials.trials or trials.trials["onset"].dtype.kind not in "fi":
        return
    length = float(trials.times[-1] - trials.times[0])
    side = np.zeros(len(trials), dtype=int)
    side[train], side[test] = 1, 2
    for run, rows in trials.trials.groupby(["subject", "session", "run"], sort=False).indices.items():
        used = rows[side[rows] > 0]
        used = used[np.argsort(trials.trials["onset"].to_numpy()[used], kind="stable")]
        onset = trials.trials["onset"].to_numpy(dtype=float)[used]
        if len(np.unique(onset)) < len(onset) or not np.isfinite(onset).all():
            continue
        near = (np.diff(onset) < length - 1e-9) & (np.diff(side[used]) != 0)
        if near.any():
            raise LeakageError(
                f"{int(near.sum())} epochs of run {run} overlap between train and test: they share samples",
                expected=f"onsets {length:.3g} s apart across the split",
                found=f"{float(np.diff(onset)[near].min()):.3g} s",
                fix="split by run or session, or contiguous folds with a gap; or shorter epochs",
            )


def split_hash(divisions: Sequence[Fold]) -> str:
    """One hash for a whole set of folds."""
    return _digest([fold.hash for fold in divisions])


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _fold(values: np.ndarray, test_rows: np.ndarray, by: str, train_rows: np.ndarray | None = None) -> Fold:
    """Build a fold; its hash depends on which groups are on each side, not on the order of rows."""
    if train_rows is None:
        train_rows = np.setdiff1d(np.arange(len(values)), test_rows)
    sides = [sorted({str(one) for one in values[rows]}) for rows in (train_rows, test_rows)]
    return Fold(train_rows, np.sort(test_rows), by, _digest([by, *sides[0], "|", *sides[1]]))


def _column(source: Trials | pd.DataFrame | Sequence[Any] | np.ndarray, by: str) -> np.ndarray:
    table = source.trials if isinstance(source, Trials) else source
    if not isinstance(table, pd.DataFrame):
        return np.asarray(table, dtype=object)
    if by in table:
        values = table[by]
    elif isinstance(source, Trials) and source.stimuli is not None and by in source.stimuli.table:
        values = source.stimuli.table[by].reindex(table["stimulus_id"])
    else:
        raise DataError(f"nothing to split by called '{by}'.{closest(by, table.columns)}", expected=list(table.columns))
    if values.isna().any():
        raise DataError(
            f"'{by}' is missing for some trials", found=f"rows {np.flatnonzero(values.isna())[:5].tolist()}"
        )
    return values.to_numpy(dtype=object)


def _groups(values: np.ndarray, by: str, n_needed: int) -> np.ndarray:
    groups = pd.unique(pd.Series(values, dtype=object))
    if len(groups) < n_needed:
        raise DataError(
            f"too few groups to split by '{by}'",
            expected=f"at least {n_needed}",
            found=f"{len(groups)} different values",
        )
    return np.array(sorted(groups, key=_natural), dtype=object)


def _natural(value: Any) -> tuple[int, float, str]:
    """Sort numbers as numbers and the rest as text, so that run 10 comes after run 9."""
    text = str(value)
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)


def folds(
    source: Trials | pd.DataFrame | Sequence[Any] | np.ndarray,
    by: str = "stimulus_id",
    *,
    n_splits: int | None = 5,
    seed: int | None = 0,
    stratify: Sequence[Any] | np.ndarray | None = None,
) -> list[Fold]:
    """Cross-validation folds in which all rows of a group stay together.

    Parameters
    ----------
    source : Trials, DataFrame or sequence
        Trials, their table, or the group of each row.
    by : str
        Column to keep together: "stimulus_id", "run", "session", "subject", "concept", ...
    n_splits : int or None
        None leaves one group out at a time, in natural order.
    seed : int or None
        Order in which groups are dealt to folds.
    stratify : sequence, optional
        A label per row; groups are dealt so that each fold holds every label in proportion (each group must
        have one label).

    Returns
    -------
    list of Fold

    Raises
    ------
    DataError
        When there are fewer groups than folds, or a label has fewer groups than two.
    LeakageError
        When epochs of trials overlap between train and test (`check_windows_apart`).

    Examples
    --------
    >>> [fold.test.tolist() for fold in folds(["a", "b", "a", "c"], n_splits=None)]
    [[0, 2], [1], [3]]
    """
    values = _column(source, by)
    made = [_fold(values, rows, by) for rows in _dealt(values, by, n_splits, seed, stratify)]
    if isinstance(source, Trials):
        for fold in made:
            check_windows_apart(source, fold.train, fold.test)
    return made


def _dealt(
    values: np.ndarray, by: str, n_splits: int | None, seed: int | None, stratify: Sequence[Any] | np.ndarray | None
) -> list[np.ndarray]:
    """Rows of the test of each fold."""
    groups = _groups(values, by, n_splits or 2)
    if n_splits is None:
        return [np.flatnonzero(values == group) for group in groups]
    if n_splits < 2:
        raise DataError("n_splits must be at least 2", found=n_splits)
    order = np.random.default_rng(seed).permutation(len(groups))
    if stratify is not None:
        label_of = _label_of_group(values, np.asarray(stratify, dtype=object), groups)
        order = order[np.argsort([label_of[group] for group in groups[order]], kind="stable")]
    dealt = [groups[order[start::n_splits]] for start in range(n_splits)]
    return [np.flatnonzero(np.isin(values, some)) for some in dealt]


def _label_of_group(values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[Any, str]:
    if len(labels) != len(values):
        raise DataError("stratify needs one label per row", expected=len(values), found=len(labels))
    label_of: dict[Any, str] = {}
    for group in groups:
        mine = {str(one) for one in labels[values == group]}
        if len(mine) > 1:
            raise DataError(f"group '{group}' has several labels and cannot be stratified", found=sorted(mine)[:5])
        label_of[group] = mine.pop()
    counts = pd.Series(list(label_of.values())).value_counts()
    if (counts < 2).any():
        raise DataError(
            f"class '{counts.idxmin()}' has too few groups to stand in train and test",
            expected="at least 2 groups per class",
            found=int(counts.min()),
        )
    return label_of


def contiguous_folds(n_samples: int, *, n_splits: int = 5, gap: int = 0) -> list[Fold]:
    """Blocks of continuous data as test sets, with `gap` samples left out on both sides.

    Parameters
    ----------
    n_samples : int
    n_splits : int
    gap : int
        Samples dropped from train on each side of the test block, at least the length of any temporal
        dependence (filter, delays, haemodynamic response).

    Examples
    --------
    >>> contiguous_folds(6, n_splits=3, gap=1)[1].train.tolist()
    [0, 5]
    """
    if n_splits < 2 or gap < 0 or n_samples < n_splits:
        raise DataError(
            "cannot cut into contiguous folds",
            expected="n_splits >= 2, gap >= 0 and n_samples >= n_splits",
            found=f"n_samples={n_samples}, n_splits={n_splits}, gap={gap}",
        )
    edges = np.linspace(0, n_samples, n_splits + 1).round().astype(int)
    rows = np.arange(n_samples)
    made = []
    for start, stop in pairwise(edges.tolist()):
        train = rows[(rows < start - gap) | (rows >= stop + gap)]
        if not train.size:
            raise DataError("the gap leaves nothing to train on", found=f"gap={gap} of {n_samples} samples")
        digest = _digest(["contiguous", str(n_samples), str(start), str(stop), str(gap)])
        made.append(Fold(train, rows[start:stop], "contiguous", digest))
    return made


def split(
    trials: Trials, by: str = "stimulus_id", *, test_size: float | int = 0.2, seed: int | None = 0
) -> tuple[Trials, Trials]:
    """Divide trials into train and test with every group on one side.

    Parameters
    ----------
    trials : Trials
    by : str
        Column to keep together; repetitions of a stimulus never part when it is "stimulus_id".
        ``by="split"`` takes the division that the data set came with (values "train" and "test").
    test_size : float or int
        Share or number of groups in the test set.
    seed : int or None

    Returns
    -------
    train, test : Trials
        Both carry ``info["split"]``: hash, by and side.

    Raises
    ------
    LeakageError
        When a stimulus would stand on both sides although the split is by something else (by="split"), the same
        picture hides under two ids, or epochs of both sides share samples (`check_windows_apart`).
    """
    if by == "split":
        values = _column(trials, by)
        fold = _fold(trials.stimulus_ids, np.flatnonzero(values == "test"), by, np.flatnonzero(values == "train"))
        if not fold.train.size or not fold.test.size:
            raise DataError(
                "no train or no test trials",
                expected="'train' and 'test' in the split column",
                found=sorted({str(value) for value in values}),
                fix="split by 'stimulus_id', or write both values into the column",
            )
        check_disjoint(trials.stimulus_ids[fold.train], trials.stimulus_ids[fold.test])
    else:
        values = _column(trials, by)
        groups = _groups(values, by, 2)
        n_test = round(test_size * len(groups)) if isinstance(test_size, float) else int(test_size)
        if not 1 <= n_test < len(groups):
            raise DataError("test_size leaves one side empty", expected=f"1 to {len(groups) - 1} groups", found=n_test)
        chosen = groups[np.random.default_rng(seed).permutation(len(groups))[:n_test]]
        fold = _fold(values, np.flatnonzero(np.isin(values, chosen)), by)
    check_same_pictures(trials, fold)
    check_windows_apart(trials, fold.train, fold.test)
    sides = {"train": fold.train, "test": fold.test}
    made = []
    for side, rows in sides.items():
        part = trials.select(rows)
        part.info["split"] = {"hash": fold.hash, "by": by, "side": side, "seed": seed}
        made.append(part)
    return made[0], made[1]


def check_same_pictures(trials: Trials, fold: Fold) -> None:
    """Refuse a division by stimulus in which the same pixels stand on both sides under different ids.

    `split` does so by itself. `folds` do not, since every picture would be read for divisions that need none.

    Raises
    ------
    LeakageError
    """
    if trials.stimuli is None or fold.by not in ("stimulus_id", "split", "concept"):
        return
    train, test = (set(trials.stimulus_ids[rows]) for rows in (fold.train, fold.test))
    pairs = trials.stimuli.select(sorted(train | test)).duplicates()
    across = [pair for pair in pairs if (pair[0] in train) != (pair[1] in train)]
    if across:
        raise LeakageError(
            f"the same picture stands in train and test under two ids: {across[:5]}",
            expected="each picture on one side",
            found=f"{len(across)} pairs",
            fix="give duplicates one stimulus_id, or split by a column that keeps them together",
        )
