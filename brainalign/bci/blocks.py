"""Folds for overlapping windows that respect time, as a scikit-learn splitter that MOABB's evaluations take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut

from brainalign.errors import DataError

__all__ = ["BlockedWindows", "window_groups"]


def window_groups(metadata: pd.DataFrame) -> NDArray[np.float64]:
    """What `BlockedWindows` needs of each window: number of its run, onset, stop and purity, (n_windows, 4)."""
    needed = ["onset", "stop", "purity"]
    if missing := [name for name in needed if name not in metadata]:
        raise DataError(
            "metadata say not where windows lie", expected=needed, found=missing, fix="PseudoOnlineParadigm"
        )
    return np.column_stack([pd.factorize(metadata["run"])[0], metadata[needed].to_numpy(dtype=float)])


class BlockedWindows(LeaveOneGroupOut):
    """Folds for overlapping windows: block k of the time of every run is tested, with a gap before and after it.

    Parameters
    ----------
    n_splits : int
    gap : float, optional
        Seconds between the last train and the first test sample on both sides; one window by default.
    min_purity : float
        Train only on windows of which this share carries their label; all are tested.

    Examples
    --------
    >>> onset = np.arange(0.0, 10.0, 0.5)
    >>> groups = np.column_stack([0 * onset, onset, onset + 1, 0 * onset + 1])
    >>> train, test = next(BlockedWindows(n_splits=5).split(onset, [0, 1] * 10, groups))
    >>> onset[test].tolist(), float(onset[train].min())
    ([0.0, 0.5, 1.0, 1.5], 3.5)
    """

    # MOABB hands groups only to splitters that descend from one of scikit-learn's splitters by group.

    def __init__(self, n_splits: int = 5, gap: float | None = None, min_purity: float = 0.0) -> None:
        if n_splits < 2 or (gap is not None and gap < 0) or not 0 <= min_purity <= 1:
            raise DataError("cannot cut so", expected="n_splits >= 2, gap >= 0, 0 <= min_purity <= 1")
        self.n_splits, self.gap, self.min_purity = n_splits, gap, min_purity

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """The number of folds."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[NDArray, NDArray]]:
        """Train and test rows; `groups` as `window_groups` gives them."""
        if groups is None or np.ndim(groups) != 2 or np.shape(groups)[1] != 4:
            raise DataError("blocks of time need to know when windows are", expected="groups=window_groups")
        run, onset, stop, purity = np.asarray(groups, dtype=float).T
        length = float(np.median(stop - onset))
        fold, distance = _blocks(run, onset, self.n_splits)
        gap = length if self.gap is None else self.gap
        for number in range(self.n_splits):
            tested = fold == number
            # Starts of two windows lie a window and the gap apart; half a microsecond for sums of floats.
            far = distance[number] >= length + gap - 5e-7
            train = np.flatnonzero(far & (purity >= self.min_purity))
            if y is not None and len(np.unique(np.asarray(y)[train])) < 2:
                raise DataError(
                    f"fold {number} would train on one class",
                    found=np.unique(np.asarray(y)[train]).tolist(),
                    fix="fewer folds, a smaller gap, or idle=True",
                )
            yield train, np.flatnonzero(tested)


def _blocks(run: NDArray, onset: NDArray, n_splits: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which block of its run's time each window lies in, and how far (seconds) it starts from each block's starts.

    Blocks have equally many steps, whether or not a window of each step is there.
    """
    fold, distance = np.empty(len(run), dtype=np.int64), np.empty((n_splits, len(run)))
    for one in np.unique(run):
        here = run == one
        times = onset[here] - onset[here].min()
        gaps = np.diff(np.unique(times.round(6)))
        if len(gaps) + 1 < n_splits:
            raise DataError("a run has fewer windows than folds", expected=f">= {n_splits}", found=len(gaps) + 1)
        place = np.round(times / gaps.min()).astype(int)
        edges = np.linspace(0, place.max() + 1, n_splits + 1).round()
        fold[here] = np.searchsorted(edges, place, side="right") - 1
        before, after = edges[:-1, None] - place, place - (edges[1:, None] - 1)
        distance[:, here] = gaps.min() * np.maximum(before, after)
    return fold, distance
