"""A classifier chosen, or several joined, inside the training trials: settings never see the trials that are scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from brainalign.errors import DataError
from brainalign.scoring.classification import auc
from brainalign.splits import Fold, contiguous_folds, folds

__all__ = ["ChosenClassifier", "EpochShape"]

_FEWEST_TRIALS = 2
"""Of each class, on both sides of an inner fold."""


class EpochShape(TransformerMixin, BaseEstimator):
    """Epochs cut to a range, averaged over stretches of samples, and laid flat, as linear classifiers want them.

    Parameters
    ----------
    clip : float or None
        Samples further from the training median of their channel than this many robust SD (1.48 times the median
        absolute deviation) are cut to it: single artefacts weigh less.
    bins : int
        Samples that are averaged; what is left at the end is dropped. A low pass.
    start, stop : int, int or None
        Samples of the epoch that are kept.
    detrend : bool
        Take a straight line off each channel of each epoch, before anything is cut: slow drifts of dry electrodes.
    flat : bool

    Examples
    --------
    >>> EpochShape(bins=4).fit_transform(np.arange(24.0).reshape(1, 2, 12))
    array([[ 1.5,  5.5,  9.5, 13.5, 17.5, 21.5]])
    """

    def __init__(
        self,
        clip: float | None = None,
        bins: int = 1,
        *,
        start: int = 0,
        stop: int | None = None,
        detrend: bool = False,
        flat: bool = True,
    ) -> None:
        self.clip = clip
        self.bins = bins
        self.start = start
        self.stop = stop
        self.detrend = detrend
        self.flat = flat

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn the range of each channel from (n_trials, n_channels, n_times)."""
        signals = _signals(X)
        n_times = signals.shape[2]
        kept = signals[:, :, self.start : self.stop]
        if self.start < 0 or not 1 <= self.bins <= kept.shape[2] or not (self.clip is None or self.clip > 0):
            raise DataError(
                "an option is out of range",
                expected=f"0 <= start < stop <= {n_times}, bins no more samples than are kept, clip > 0 or None",
                found=f"start={self.start}, stop={self.stop}, bins={self.bins}, clip={self.clip}",
            )
        signals = self._levelled(kept)
        self.median_ = np.median(signals, axis=(0, 2))[:, None]
        self.spread_ = 1.4826 * np.median(np.abs(signals - self.median_), axis=(0, 2))[:, None]
        return self

    def _levelled(self, signals: NDArray[Any]) -> NDArray[Any]:
        if not self.detrend:
            return signals
        from scipy.signal import detrend

        return detrend(signals, axis=2)

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """(n_trials, n_channels, n_bins), or (n_trials, n_channels * n_bins)."""
        check_is_fitted(self, "median_")
        signals = _signals(X)
        if signals.shape[1] != len(self.median_):
            raise DataError("these epochs have other channels", expected=len(self.median_), found=signals.shape[1])
        signals = self._levelled(signals[:, :, self.start : self.stop])
        if self.clip is not None:
            reach = self.clip * self.spread_
            signals = np.clip(signals, self.median_ - reach, self.median_ + reach)
        n = signals.shape[2] // self.bins
        binned = signals[:, :, : n * self.bins].reshape(*signals.shape[:2], n, self.bins).mean(axis=3)
        return binned.reshape(len(binned), -1) if self.flat else binned


class ChosenClassifier(ClassifierMixin, BaseEstimator):
    """The best of several classifiers of two classes, or their votes, by inner folds of the training trials alone.

    Inner folds keep groups (runs) together where there are two or more, and are stretches of trials otherwise. Each
    candidate is scored by its mean AUC over inner folds. With several `votes`, candidates are added one by one, again
    and again where that helps, as long as the AUC of the joint decision grows (Caruana et al. 2004, "Ensemble selection
    from libraries of models", ICML); a decision counts in SD of the candidate's held-out decisions. What is chosen is
    fitted again to all training trials.

    Parameters
    ----------
    candidates : mapping of str to estimator
        Of signals (n_trials, n_channels, n_times), with ``decision_function`` or ``predict_proba``.
    n_splits : int
        Inner folds, at most as many as there are groups.
    gap : int
        Trials left out beside each inner stretch.
    votes : int
        1 takes the best candidate.

    Attributes
    ----------
    scores_ : dict of str to float
        Mean inner AUC of each candidate.
    votes_ : dict of str to int
        Of the candidates chosen.

    Examples
    --------
    >>> from brainalign.analysis.decoding.inputs import signal_classifier
    >>> rng = np.random.default_rng(0)
    >>> y, X = np.tile([0, 1], 40), rng.standard_normal((80, 3, 12))
    >>> X[y == 1, :, 4:8] += 0.5
    >>> made = ChosenClassifier({"fine": signal_classifier("lda"), "coarse": signal_classifier("lda", bins=4)})
    >>> list(made.fit(X, y).votes_)
    ['coarse']
    """

    takes_signals = True
    takes_groups = True

    def __init__(self, candidates: Mapping[str, Any], *, n_splits: int = 3, gap: int = 0, votes: int = 1) -> None:
        self.candidates = candidates
        self.n_splits = n_splits
        self.gap = gap
        self.votes = votes

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Choose, and fit what is chosen.

        Parameters
        ----------
        X : array (n_trials, n_channels, n_times)
            In the order of time.
        y : array (n_trials,)
        groups : array (n_trials,), optional
            What inner folds keep together.

        Raises
        ------
        DataError
            When there are no candidates, other than two classes, or a class is too rare for the inner folds.
        """
        signals, labels = _signals(X), np.asarray(y)
        self.classes_ = np.unique(labels)
        if len(self.classes_) != 2 or not self.candidates or self.votes < 1:
            raise DataError(
                "a classifier of two classes is chosen among candidates",
                expected="two classes, one candidate or more, votes >= 1",
                found=f"{len(self.classes_)} classes, {len(self.candidates)} candidates, votes={self.votes}",
            )
        second = labels == self.classes_[1]
        inner = _inner_folds(second, groups, self.n_splits, self.gap)
        held = {name: self._held_out(one, signals, labels, inner) for name, one in self.candidates.items()}
        self.scores_ = {name: _mean_auc(second, one, inner) for name, one in held.items()}
        tested = np.concatenate([fold.test for fold in inner])
        self.scales_ = {name: max(float(one[tested].std()), 1e-12) for name, one in held.items()}
        self.votes_ = self._choose({name: one / self.scales_[name] for name, one in held.items()}, second, inner)
        self.fitted_ = {name: clone(self.candidates[name]).fit(signals, labels) for name in self.votes_}
        return self

    @staticmethod
    def _held_out(candidate: Any, signals: np.ndarray, labels: np.ndarray, inner: list[Fold]) -> NDArray[np.float64]:
        sides = np.zeros(len(labels))
        for fold in inner:
            sides[fold.test] = _sides(clone(candidate).fit(signals[fold.train], labels[fold.train]), signals[fold.test])
        return sides

    def _choose(
        self, held: Mapping[str, NDArray[np.float64]], second: NDArray[np.bool_], inner: list[Fold]
    ) -> dict[str, int]:
        """Candidates with their votes, added while the joint AUC grows; of equals the first."""
        votes: dict[str, int] = {}
        together, reached = np.zeros(len(second)), -1.0
        for _ in range(self.votes):
            grown = {name: _mean_auc(second, together + one, inner) for name, one in held.items()}
            best = max(grown, key=lambda name: grown[name])
            if grown[best] <= reached:
                break
            reached, together = grown[best], together + held[best]
            votes[best] = votes.get(best, 0) + 1
        return votes

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Above 0 for the second class, (n_trials,)."""
        check_is_fitted(self, "fitted_")
        signals = _signals(X)
        parts = [n * _sides(self.fitted_[name], signals) / self.scales_[name] for name, n in self.votes_.items()]
        return np.sum(parts, axis=0) / sum(self.votes_.values())

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class of each trial, (n_trials,)."""
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


def _signals(X: ArrayLike) -> NDArray[Any]:
    from brainalign.learning.classifier import as_signals  # needs torch, which takes seconds to import

    return as_signals(X)


def _sides(model: Any, signals: np.ndarray) -> NDArray[np.float64]:
    """Above 0 for the second class."""
    if hasattr(model, "decision_function"):
        return np.asarray(model.decision_function(signals), dtype=np.float64)
    chance = np.clip(model.predict_proba(signals), 1e-12, 1)
    return np.log(chance[:, 1]) - np.log(chance[:, 0])


def _mean_auc(second: NDArray[np.bool_], sides: NDArray[np.float64], inner: list[Fold]) -> float:
    return float(np.mean([auc(second[fold.test], sides[fold.test]) for fold in inner]))


def _inner_folds(second: NDArray[np.bool_], groups: ArrayLike | None, n_splits: int, gap: int) -> list[Fold]:
    """By groups where several hold several trials each, else stretches."""
    known = np.zeros(len(second), dtype=int) if groups is None else np.asarray(groups)
    n_groups = len(np.unique(known))
    if 1 < n_groups < len(known):
        made = folds(known, "group", n_splits=min(n_splits, n_groups))
    else:
        made = contiguous_folds(len(second), n_splits=n_splits, gap=gap)
    for fold in made:
        counts = [np.sum(second[rows] == which) for rows in (fold.train, fold.test) for which in (False, True)]
        if min(counts) < _FEWEST_TRIALS:
            raise DataError(
                "a class is too rare to choose a classifier inside the training trials",
                expected=f"{_FEWEST_TRIALS} trials of each class on both sides of every inner fold",
                found=f"{min(counts)}, of {len(second)} training trials",
                fix="fewer inner folds, or more trials",
            )
    return made
