"""Time-resolved decoding: one classifier per time point, and how long a code stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.decoding.inputs import Task, classifier, prepare, takes_signals
from brainalign.errors import DataError
from brainalign.parallel import parallel_map
from brainalign.scoring.classification import chance_accuracy, check_classes
from brainalign.scoring.correlation import average_ranks
from brainalign.scoring.resampling import bootstrap_weights, interval, mean_ci
from brainalign.splits import Fold

__all__ = ["TimeDecodingResult", "decode_over_time"]


@dataclass(frozen=True)
class TimeDecodingResult:
    """Decoding at every time point.

    Attributes
    ----------
    times : array (n_times,)
        Seconds, or indices where the trials carry no times.
    values, low, high : array (n_times,)
        Accuracy (or AUC) with its 95 % interval, pointwise.
    chance : float
    generalisation : array (n_train_times, n_test_times) or None
        Trained at one time and tested at another.
    metric, split, protocol : str
    n : int
        Trials.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    chance: float
    generalisation: NDArray[np.float64] | None
    metric: str
    split: str
    protocol: str
    n: int

    def table(self) -> pd.DataFrame:
        """One row per time point."""
        columns = {"value": self.values, "low": self.low, "high": self.high}
        return pd.DataFrame(columns, index=pd.Index(self.times, name="time")).assign(chance=self.chance)


def decode_over_time(
    trials: Any,
    labels: str | ArrayLike,
    *,
    by: str | ArrayLike | Sequence[Fold] = "stimulus_id",
    estimator: Any = "logistic",
    metric: str = "accuracy",
    generalise: bool = False,
    window: int = 1,
    step: int = 1,
) -> TimeDecodingResult:
    """Decode the class of every trial from all channels, at each time point on its own or in a window around it.

    Time points run in parallel inside ``joblib.parallel_config(n_jobs=...)``.

    Parameters
    ----------
    trials : Trials or array (n_trials, n_channels, n_times)
    labels, by, estimator
        As :func:`decode` takes them.
    metric : {"accuracy", "auc"}
        AUC needs two classes, both in every test part; trials are compared within their fold.
    generalise : bool
        Also test every time point's classifier at all other times (King & Dehaene 2014, Trends Cogn. Sci. 18).
    window : int
        Odd number of samples, centred, that a classifier is given together: linear ones as features, networks as
        signals. Times without a whole window are left out.
    step : int
        Samples from one decoded time to the next.

    Returns
    -------
    TimeDecodingResult
        Intervals are bootstraps over groups (over trials, where groups are few or single trials); for the AUC of its
        linear part, whose variance is that of DeLong et al. (1988, Biometrics 44).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.tile([0, 1], 30)
    >>> X = rng.normal(size=(60, 4, 3))
    >>> X[labels == 1, :, 2] += 2.0                    # a difference that comes late
    >>> decode_over_time(X, labels, by=np.arange(60) % 5).values > 0.9
    array([False, False,  True])
    """
    from joblib import effective_n_jobs

    task = prepare(trials, labels, by, over_time=True)
    check_metric(task, metric)
    if window < 1 or window % 2 == 0 or window > task.X.shape[2] or step < 1 or (window > 1 and generalise):
        raise DataError(
            "no such window or step",
            expected=f"an odd window of at most {task.X.shape[2]} samples, 1 with generalise; step >= 1",
            found=f"window {window}, step {step}",
        )
    times = np.arange(task.X.shape[2], dtype=np.float64) if getattr(trials, "times", None) is None else trials.times
    times = np.asarray(times)[window // 2 : len(times) - window // 2 : step]
    X = task.X if window == 1 else np.lib.stride_tricks.sliding_window_view(task.X, window, axis=2)
    task, n_times = replace(task, X=X[:, :, ::step]), len(times)
    work = partial(_at_one_time, task=task, estimator=estimator, metric=metric, generalise=generalise)
    outputs = parallel_map(work, range(n_times), n_jobs=effective_n_jobs(None), description="time points")
    tested = np.concatenate([fold.test for fold in task.folds])
    per_trial = np.stack([own for own, _ in outputs], axis=1)[tested]
    labels_tested = task.labels[tested]
    low, high = intervals(per_trial, labels_tested, metric, None if task.clusters is None else task.clusters[tested])
    return TimeDecodingResult(
        times=times,
        values=mean_of(per_trial, labels_tested, metric),
        low=low,
        high=high,
        chance=0.5 if metric == "auc" else chance_accuracy(labels_tested),
        generalisation=np.stack([row for _, row in outputs]) if generalise else None,
        metric=metric,
        split=task.split,
        protocol=task.protocol,
        n=len(tested),
    )


def check_metric(task: Task, metric: str) -> None:
    classes = np.unique(task.labels).tolist()
    if metric not in ("accuracy", "auc"):
        raise DataError(f"no metric {metric!r}", expected="accuracy or auc")
    if metric == "auc":
        if len(classes) != 2:
            raise DataError("AUC compares two classes", expected=2, found=classes, fix="metric='accuracy'")
        for number, fold in enumerate(task.folds):
            check_classes(task.labels[fold.test], classes, where=f"the test part of fold {number}")


def _at_one_time(
    time: int, *, task: Task, estimator: Any, metric: str, generalise: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Value of every trial at its own time, and mean value at every test time (empty without generalisation)."""
    n_trials, n_times = len(task.X), task.X.shape[2]
    tests = np.arange(n_times) if generalise else np.array([time])
    values = np.full((n_trials, len(tests)), np.nan)
    signals = takes_signals(estimator) and task.X.ndim == 4

    def features(rows: NDArray, at: NDArray) -> NDArray:
        chosen = np.moveaxis(task.X[rows][:, :, at], 2, 0)  # times, trials, channels[, window]
        return chosen.reshape(-1, *chosen.shape[2:]) if signals else chosen.reshape(len(at) * len(rows), -1)

    for fold in task.folds:
        model = classifier(estimator).fit(features(fold.train, np.array([time])), task.labels[fold.train])
        samples = features(fold.test, tests)
        true = task.labels[fold.test]
        if metric == "accuracy":
            values[fold.test] = (model.predict(samples).reshape(len(tests), -1) == true).T
        else:
            values[fold.test] = placements(true == model.classes_[1], decision(model, samples, len(tests)))
    tested = np.concatenate([fold.test for fold in task.folds])
    row = mean_of(values[tested], task.labels[tested], metric) if generalise else np.empty(0)
    return values[:, time if generalise else 0], row


def decision(model: Any, samples: NDArray, n_times: int) -> NDArray:
    if hasattr(model, "decision_function"):
        return model.decision_function(samples).reshape(n_times, -1)
    return model.predict_proba(samples)[:, 1].reshape(n_times, -1)


def placements(is_positive: NDArray, scores: NDArray) -> NDArray[np.float64]:
    """For each trial, the share of the other class on its right side (ties half); AUC is their mean in either class.

    Parameters
    ----------
    is_positive : array of bool (n_trials,)
    scores : array (n_times, n_trials)

    Returns
    -------
    array (n_trials, n_times)
    """
    out = np.empty(scores.shape)
    everyone = average_ranks(scores)
    for members, flip in ((is_positive, False), (~is_positive, True)):
        below = (everyone[:, members] - average_ranks(scores[:, members])) / np.sum(~members)
        out[:, members] = 1.0 - below if flip else below
    return out.T


def mean_of(values: NDArray, labels: NDArray, metric: str) -> NDArray[np.float64]:
    """Mean over trials; for placements, the mean of the two classes' means."""
    if metric == "accuracy":
        return values.mean(axis=0)
    return np.mean([values[labels == one].mean(axis=0) for one in np.unique(labels)], axis=0)


def intervals(
    values: NDArray, labels: NDArray, metric: str, clusters: NDArray | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if metric == "accuracy":
        return mean_ci(values, clusters=clusters)
    point = mean_of(values, labels, metric)
    members = [(labels == one).astype(np.float64) for one in np.unique(labels)]
    draws = []
    for weights in bootstrap_weights(2000, len(values), clusters=clusters):
        # Resampling one class also moves the placements of the other: both deviations count in full.
        with np.errstate(invalid="ignore"):
            parts = [(weights * m) @ values / (weights @ m)[:, None] for m in members]
        draws.append(parts[0] + parts[1] - point)
    low, high = interval(np.concatenate(draws))
    return np.clip(low, 0, 1), np.clip(high, 0, 1)
