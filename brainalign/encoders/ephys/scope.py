"""What preprocessing of signals may learn from: the training trials, group by group."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.errors import DataError, LeakageError, unknown
from brainalign.learning.classifier import as_signals
from brainalign.voxelwise.samples import is_trials

__all__ = ["ScopedTransformer"]

_ALL = ""


class ScopedTransformer(TransformerMixin, BaseEstimator):
    """Base of transformers that learn something per group of trials, from training trials alone.

    Parameters
    ----------
    by : str or None
        Column of the trials, such as "session", whose groups are learnt from on their own; None takes all together.
        Arrays have no columns: they are one group.
    fit_on : {"train", "all"}
        "train" learns from the rows marked so in a ``split`` column, from all where there is no such column, and
        refuses trials that are the test side of a split. "all" learns from whatever it is given.
    """

    by: str | None
    fit_on: str

    @abstractmethod
    def _learn(self, X: np.ndarray, conditions: np.ndarray, units: Any) -> Any:
        """What to keep of a group of training trials (n, n_channels, n_times)."""

    @abstractmethod
    def _apply(self, X: np.ndarray, learnt: Any) -> np.ndarray:
        """A group of trials, changed."""

    def _units_after(self, units: Any) -> Any:
        """The units table of what `_apply` makes; None where it stays."""
        return None

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from training trials.

        Parameters
        ----------
        X : Trials, or array (n_trials, n_channels, n_times)
        y : array (n_trials,), optional
            Condition of each trial of an array; Trials know their stimulus.

        Raises
        ------
        LeakageError
            When Trials are the test side of a split.
        DataError
            When signals are not finite, have no time, or a group has no training trial.
        """
        if self.fit_on not in ("train", "all"):
            raise unknown("fit scope", self.fit_on, ("train", "all"))
        signals, groups = self._signals(X)
        rows = np.arange(len(signals))
        if is_trials(X):
            conditions = X.stimulus_ids.astype(str)
            if self.fit_on == "train":
                rows = _training_rows(X)
        else:
            conditions = np.zeros(len(signals)) if y is None else np.asarray(y)
            if conditions.shape != (len(signals),):
                raise DataError("one condition a trial is needed", expected=(len(signals),), found=conditions.shape)
        self.channels_ = tuple(X.units["name"]) if is_trials(X) else None
        self.n_channels_ = signals.shape[1]
        self.learnt_ = {}
        units = X.units if is_trials(X) else None
        for name in dict.fromkeys(groups):
            here = rows[groups[rows] == name]
            if not here.size:
                raise DataError(f"no training trial of {self.by} '{name}' to learn from", fix="by=None")
            self.learnt_[name] = self._learn(signals[here], conditions[here], units)
        return self

    def transform(self, X: Any) -> Any:
        """The same trials, changed by what was learnt.

        Parameters
        ----------
        X : Trials, or array (n_trials, n_channels, n_times)

        Raises
        ------
        DataError
            When channels are not those learnt from, or a group was not.
        """
        check_is_fitted(self, "learnt_")
        signals, groups = self._signals(X)
        names = tuple(X.units["name"]) if is_trials(X) else None
        if signals.shape[1] != self.n_channels_ or (names and self.channels_ and names != self.channels_):
            differing = next((pair for pair in zip(self.channels_ or (), names or ()) if pair[0] != pair[1]), None)
            raise DataError(
                "these are other channels than those learnt from",
                expected=f"{self.n_channels_} channels",
                found=f"{signals.shape[1]} channels; first difference: {differing}",
                fix="select the same channels in the same order",
            )
        if strangers := sorted(set(groups) - set(self.learnt_)):
            raise DataError(
                f"nothing was learnt of {self.by} '{strangers[0]}'", expected=sorted(self.learnt_), fix="by=None"
            )
        made: Any = None
        for name in dict.fromkeys(groups):
            here = groups == name
            part = self._apply(signals[here], self.learnt_[name]).astype(signals.dtype, copy=False)
            made = np.empty((len(signals), *part.shape[1:]), dtype=part.dtype) if made is None else made
            made[here] = part
        if not is_trials(X):
            return made
        step = {"step": type(self).__name__, **self.get_params()}
        return X.with_responses(made, self._units_after(X.units), step=step)

    def _signals(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Responses, and the group of each trial."""
        if not is_trials(X):
            signals = as_signals(X)
            return signals, np.full(len(signals), _ALL, dtype=object)
        signals = as_signals(X.responses, name="responses")
        if self.by is None:
            return signals, np.full(len(signals), _ALL, dtype=object)
        if self.by not in X.trials:
            raise unknown("column", self.by, X.trials.columns)
        return signals, X.trials[self.by].astype(str).to_numpy(dtype=object)


def _training_rows(trials: Any) -> np.ndarray:
    if trials.info.get("split", {}).get("side") == "test":
        raise LeakageError(
            "these trials are the test side of a split",
            expected="training trials",
            found="split side 'test'",
            fix="fit on the training side, then transform both; fit_on='all' takes what it is given",
        )
    if "split" not in trials.trials:
        return np.arange(len(trials))
    rows = np.flatnonzero(trials.trials["split"].astype(str) == "train")
    if not rows.size:
        raise LeakageError(
            "none of these trials is marked 'train'",
            found=sorted(trials.trials["split"].astype(str).unique()),
            fix="fit on training trials; fit_on='all' takes what it is given",
        )
    return rows
