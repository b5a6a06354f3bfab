"""Scores of class decisions: accuracy, balanced accuracy, confusion matrix, AUC, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import DataError
from brainalign.scoring.correlation import average_ranks
from brainalign.scoring.resampling import bootstrap_weights, interval, permutation_p
from brainalign.scoring.score import Score

__all__ = [
    "accuracy",
    "auc",
    "balanced_accuracy",
    "chance_accuracy",
    "check_classes",
    "classification_score",
    "clopper_pearson",
    "confusion_matrix",
]


def check_classes(labels: ArrayLike, classes: Sequence | None = None, *, where: str = "the data") -> NDArray:
    """The classes to decode, each of which must have a trial.

    Parameters
    ----------
    labels : array (n_trials,)
    classes : sequence, optional
        What was asked for; default all classes found.
    where : str
        What to call the set of trials in an error.

    Raises
    ------
    DataError
        Naming every class without a trial, or when there are fewer than two classes.
    """
    found = np.unique(np.asarray(labels))
    wanted = found if classes is None else np.asarray(list(classes))
    missing = [str(c) for c in wanted if c not in found]
    if missing:
        raise DataError(
            f"no trial of class {', '.join(repr(c) for c in missing)} in {where}",
            expected="at least one trial of every class",
            found=f"classes {[str(c) for c in found]}",
            fix="drop the class, or split so that each part holds every class",
        )
    if len(wanted) < 2:
        raise DataError(
            f"{where} holds a single class",
            expected="two or more",
            found=[str(c) for c in wanted],
            fix="take trials of two classes, or another column as labels",
        )
    return wanted


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float64]:
    """Share of correct decisions, over the last axis.

    Parameters
    ----------
    y_true : array (n_trials,)
    y_pred : array (..., n_trials)

    Returns
    -------
    array (...)

    Examples
    --------
    >>> float(accuracy([0, 1, 1, 0], [0, 1, 0, 0]))
    0.75
    """
    true, pred = _pair(y_true, y_pred)
    return np.mean(pred == true, axis=-1)


def balanced_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float64]:
    """Mean over classes of the share of their trials that were decided correctly, over the last axis.

    Examples
    --------
    >>> float(balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0]))
    0.5
    """
    true, pred = _pair(y_true, y_pred)
    return (pred == true) @ _balancing_weights(true)


def confusion_matrix(y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence | None = None) -> NDArray[np.int64]:
    """Counts of trials: row is the true class, column the decided one.

    Examples
    --------
    >>> confusion_matrix(["a", "a", "b"], ["a", "b", "b"])
    array([[1, 1],
           [0, 1]])
    """
    true, pred = _pair(y_true, y_pred)
    labels = list(np.unique(np.concatenate([true, pred]))) if classes is None else list(classes)
    position = {label: i for i, label in enumerate(labels)}
    unknown = {str(v) for v in np.concatenate([true, pred]) if v not in position}
    if unknown:
        raise DataError("labels outside the classes given", expected=[str(c) for c in labels], found=sorted(unknown))
    table = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(table, ([position[v] for v in true], [position[v] for v in pred]), 1)
    return table


def auc(is_positive: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Area under the ROC curve: how often a positive trial scores above a negative one (ties half).

    Parameters
    ----------
    is_positive : array of bool (n_trials,)
    scores : array (..., n_trials)

    Returns
    -------
    array (...)

    Examples
    --------
    >>> float(auc([False, False, True, True], [0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    positive, values = _pair(is_positive, scores)
    check_classes(positive, [False, True])
    n_positive = int(positive.sum())
    rank_sum = average_ranks(values)[..., positive.astype(bool)].sum(axis=-1)
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * (len(positive) - n_positive))


def chance_accuracy(labels: ArrayLike, metric: str = "accuracy") -> float:
    """What a classifier blind to the data can reach: the share of the largest class, or 1 / n_classes if balanced.

    Examples
    --------
    >>> chance_accuracy(["a", "a", "a", "b"]), chance_accuracy(["a", "a", "a", "b"], "balanced_accuracy")
    (0.75, 0.5)
    """
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return float(1.0 / len(counts)) if metric == "balanced_accuracy" else float(counts.max() / counts.sum())


def clopper_pearson(n_correct: int, n_trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial confidence interval of a share of independent trials (Clopper & Pearson 1934, Biometrika 26).

    Examples
    --------
    >>> tuple(round(end, 3) for end in clopper_pearson(8, 10))
    (0.444, 0.975)
    """
    from scipy.special import betaincinv

    if not 0 <= n_correct <= n_trials or n_trials < 1:
        raise DataError("not a count of correct trials", expected=f"0 to {n_trials}", found=n_correct)
    tail, wrong = (1.0 - level) / 2.0, n_trials - n_correct
    low = float(betaincinv(n_correct, wrong + 1, tail)) if n_correct else 0.0
    high = float(betaincinv(n_correct + 1, wrong, 1.0 - tail)) if wrong else 1.0
    return low, high


def classification_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    metric: str = "accuracy",
    clusters: ArrayLike | None = None,
    null: ArrayLike | None = None,
    protocol: str = "one set of predictions",
) -> Score:
    """Accuracy or balanced accuracy with its chance level and 95 % interval.

    Parameters
    ----------
    y_true, y_pred : array (n_trials,)
    metric : {"accuracy", "balanced_accuracy"}
    clusters : array (n_trials,), optional
        Trials that are not independent (one run, one stimulus): the interval is then a bootstrap over clusters. A
        plain accuracy without clusters gets the exact binomial interval.
    null : array (n_permutations,), optional
        Scores of decoders trained on permuted labels: their mean becomes the chance level, and `how` says the p-value.
    protocol : str

    Returns
    -------
    Score

    Raises
    ------
    DataError
        When a predicted class has no trial in `y_true`.
    """
    true, pred = _pair(y_true, y_pred)
    check_classes(true, list(np.unique(np.concatenate([true, pred]))), where="the scored trials")
    score = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}.get(metric)
    if score is None:
        raise DataError(f"no classification metric {metric!r}", expected="accuracy or balanced_accuracy")
    value = float(score(true, pred))
    low, high, how = _accuracy_interval(true, pred, metric, clusters)
    chance = chance_accuracy(true, metric)
    if null is not None:
        null = np.asarray(null, dtype=np.float64)
        how += f"; chance is the mean of {len(null)} permutations, p = {float(permutation_p(value, null)):.4g}"
        chance = float(null.mean())
    return Score(
        metric.replace("_", " "),
        value,
        ceiling=None,
        chance=chance,
        low=low,
        high=high,
        n=len(true),
        split=None,
        protocol=protocol,
        how=how,
        why={"ceiling": "not defined for class decisions", "split": "arrays carry no split"},
    )


def _accuracy_interval(
    true: NDArray, pred: NDArray, metric: str, clusters: ArrayLike | None
) -> tuple[float, float, str]:
    correct = (true == pred).astype(np.float64)
    if clusters is None and metric == "accuracy":
        return *clopper_pearson(int(correct.sum()), len(correct)), "Clopper-Pearson interval over trials"
    classes = np.unique(true) if metric == "balanced_accuracy" else [None]
    members = np.stack([np.ones(len(true)) if c is None else (true == c).astype(np.float64) for c in classes])
    draws = []
    for weights in bootstrap_weights(2000, len(true), clusters=clusters):
        with np.errstate(invalid="ignore"):
            draws.append(np.nanmean((weights * correct) @ members.T / (weights @ members.T), axis=1))
    low, high = interval(np.concatenate(draws))
    unit = "trials" if clusters is None else f"{len(np.unique(np.asarray(clusters)))} clusters of trials"
    return float(low), float(high), f"percentile bootstrap over {unit}"


def _balancing_weights(true: NDArray) -> NDArray[np.float64]:
    """Weights of trials that give every class the same say and sum to 1."""
    codes, counts = np.unique(true, return_inverse=True, return_counts=True)[1:]
    return 1.0 / (counts[codes] * len(counts))


def _pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray, NDArray]:
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 1 or pred.ndim < 1 or pred.shape[-1] != len(true) or len(true) == 0:
        raise DataError(
            "true and predicted values do not match",
            expected="(n_trials,) and (..., n_trials)",
            found=f"{true.shape} and {pred.shape}",
        )
    return true, pred
