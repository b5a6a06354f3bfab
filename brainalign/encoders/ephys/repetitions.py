"""Repetitions of a stimulus averaged: all of them, or a few at a time; in training, at test, or both."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from brainalign.errors import DataError
from brainalign.voxelwise.samples import is_trials

__all__ = ["AverageRepetitions", "average_repetitions"]


class AverageRepetitions(TransformerMixin, BaseEstimator):
    """Average the repetitions of each stimulus of Trials.

    As a step of a pipeline: `fit_transform`, which meets the training trials, averages only with ``train=True`` (NICE
    does, ATM-S learns from single trials); `transform`, which meets the test trials, always does. Nothing is learnt.

    Parameters
    ----------
    n : int or None
        Repetitions behind a mean: those of a stimulus are dealt at random into groups of n, and what is left over
        makes a smaller one. None averages all.
    train : bool
    seed : int

    Examples
    --------
    >>> import pandas as pd
    >>> from brainalign.trials import Trials
    >>> trials = Trials(np.arange(8.0).reshape(4, 2, 1), pd.DataFrame({"stimulus_id": list("aabb")}), times=[0.0])
    >>> AverageRepetitions().fit_transform(trials).n_trials, AverageRepetitions().fit(trials).transform(trials).n_trials
    (4, 2)
    """

    def __init__(self, n: int | None = None, *, train: bool = False, seed: int = 0) -> None:
        self.n = n
        self.train = train
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> Self:
        """Nothing to learn."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, X: Any) -> Any:
        """Means of repetitions; `n_averaged` of the trials table counts them.

        Raises
        ------
        DataError
            When X are no Trials: arrays do not know their stimuli, see `average_repetitions`.
        """
        if not is_trials(X):
            raise DataError(
                "arrays do not know which trials repeat a stimulus", found=type(X).__name__, fix="average_repetitions"
            )
        if self.n is None:
            return X.average("stimulus_id")
        subjects = X.trials["subject"].astype(str)
        group = _dealt((subjects + "\n" + X.trials["stimulus_id"].astype(str)).to_numpy(), self.n, self.seed)
        made = X.with_trials(repetition_group=group).average(["stimulus_id", "repetition_group"])
        return made.with_trials(repetition=made.trials["repetition_group"])

    def fit_transform(self, X: Any, y: Any = None, **options: Any) -> Any:
        """Training trials: averaged with ``train=True``, else as they are."""
        return self.transform(X) if self.train else X


def average_repetitions(
    X: np.ndarray, labels: Any, *, n: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Means over the trials of each label, of all or of groups of `n` dealt at random, and the label of each mean.

    Parameters
    ----------
    X : array (n_trials, ...)
    labels : array (n_trials,)

    Examples
    --------
    >>> average_repetitions(np.array([[1.0], [5.0], [3.0]]), ["a", "b", "a"])
    (array([[2.],
           [5.]]), array(['a', 'b'], dtype='<U1'))
    """
    labels = np.asarray(labels)
    if labels.shape != (len(X),):
        raise DataError("one label a trial is needed", expected=(len(X),), found=labels.shape)
    names, codes = np.unique(labels, return_inverse=True)
    group = _dealt(labels.astype(str), n, seed)
    pairs, place = np.unique(np.stack([codes, group]), axis=1, return_inverse=True)
    place = place.ravel()
    total = np.zeros((pairs.shape[1], *X.shape[1:]))
    np.add.at(total, place, X)
    return total / np.bincount(place).reshape(-1, *[1] * (X.ndim - 1)), names[pairs[0]]


def _dealt(labels: np.ndarray, n: int | None, seed: int) -> np.ndarray:
    """Number of the group of each trial among those of its label; each label has a seed of its own."""
    if n is not None and n < 1:
        raise DataError("a mean needs a trial", expected="n >= 1", found=n)
    group = np.zeros(len(labels), dtype=np.int64)
    for number, name in enumerate(np.unique(labels)):
        rows = np.flatnonzero(labels == name)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
        group[rng.permutation(rows)] = np.arange(len(rows)) // (n or len(rows))
    return group
