"""Stimuli and the folds that hold them out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainalign.errors import DataError
from brainalign.splits import Fold
from brainalign.trials import Trials

__all__ = ["fold_of_stimuli", "gap_of", "rows_of_stimuli", "within_folds"]


def rows_of_stimuli(trials: Trials) -> dict[str, int]:
    """Rows of stimuli in order of first appearance, the order of ``average("stimulus_id")``."""
    return {one: row for row, one in enumerate(dict.fromkeys(trials.stimulus_ids))}


def fold_of_stimuli(trials: Trials, division: Sequence[Fold]) -> np.ndarray:
    """The one fold that holds out each stimulus, (n_stimuli,)."""
    row_of = rows_of_stimuli(trials)
    number_of = np.full(len(row_of), -1)
    for number, fold in enumerate(division):
        rows = [row_of[one] for one in dict.fromkeys(trials.stimulus_ids[fold.test])]
        if (number_of[rows] >= 0).any():
            raise DataError("a stimulus is held out by two folds", fix="make folds with brainalign.splits.folds")
        number_of[rows] = number
    if (number_of < 0).any():
        missed = [one for one, row in row_of.items() if number_of[row] < 0][:5]
        raise DataError(
            "a stimulus is held out by no fold", found=missed, fix="make folds with brainalign.splits.folds"
        )
    return number_of


def gap_of(fold: Fold) -> int:
    """Rows left out between train and test of a contiguous fold."""
    before, after = fold.train[fold.train < fold.test[0]], fold.train[fold.train > fold.test[-1]]
    return int(fold.test[0] - before[-1] if len(before) else after[0] - fold.test[-1]) - 1


def within_folds(values: np.ndarray, fold_of: np.ndarray, *, scale: bool = False) -> np.ndarray:
    """Rows about the mean of their fold, in float64; with `scale` of unit variance in each fold too.

    What a fold holds out and what its model was trained on add up to the same whole: where one lies above, the other
    lies below. Pooled over folds, predictions of pure noise thus correlate negatively with the responses. Centring both
    within the fold takes that from their means, and scaling the predictions from their slopes; what is left is the
    mean over folds of the correlation within the fold, weighed by the spread of the responses.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
    fold_of : ndarray of int, shape (n_stimuli,)
    scale : bool
        For predictions; a fold in which they do not vary becomes zero.

    Examples
    --------
    >>> within_folds(np.array([[1.0], [3.0], [10.0], [14.0]]), np.array([0, 0, 1, 1])).ravel()
    array([-1.,  1., -2.,  2.])
    """
    made = np.array(values, dtype=np.float64)
    for number in np.unique(fold_of):
        rows = fold_of == number
        if rows.sum() < 2:
            raise DataError(
                "a fold with a single stimulus leaves nothing to compare within it",
                expected="at least 2 held-out stimuli in each fold",
                found=f"fold {number}",
                fix="take fewer folds",
            )
        part = made[rows] - made[rows].mean(axis=0)
        spread = np.sqrt((part**2).mean(axis=0))
        made[rows] = np.divide(part, spread, out=np.zeros_like(part), where=spread > 1e-12) if scale else part
    return made
