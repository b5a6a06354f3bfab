"""Cross-validated classification of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.decoding.inputs import ESTIMATORS, Task, classifier, prepare, takes_signals
from brainalign.analysis.decoding.over_time import check_metric, decision, intervals, mean_of, placements
from brainalign.parallel import parallel_map
from brainalign.scoring.classification import accuracy, classification_score, confusion_matrix
from brainalign.scoring.resampling import permutation_p, permutations
from brainalign.scoring.score import Score
from brainalign.splits import Fold

__all__ = ["ESTIMATORS", "DecodingResult", "decode"]


@dataclass(frozen=True)
class DecodingResult:
    """What a decoder decided, out of fold.

    Attributes
    ----------
    score : Score
        Accuracy over all trials.
    classes : tuple of str
    confusion : array (n_classes, n_classes)
        Counts; row is the true class, column the decided one.
    predictions : DataFrame
        `true`, `predicted` and `fold` of every decision.
    fold_scores : array (n_folds,)
    null : array (n_permutations,)
        Accuracies of decoders trained and scored on permuted labels; empty without permutations.
    auc : Score or None
        Area under the ROC curve, trials compared within their fold, where that was asked for.
    choices : tuple of dict
        Of a `ChosenClassifier`, in each fold: ``scores`` and ``votes``.
    """

    score: Score
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    predictions: pd.DataFrame
    fold_scores: NDArray[np.float64]
    null: NDArray[np.float64]
    auc: Score | None = None
    choices: tuple[dict[str, Any], ...] = ()

    @property
    def p_value(self) -> float | None:
        """Permutation p-value of the accuracy; None without permutations."""
        value = self.score.value
        return float(permutation_p(value, self.null)) if value is not None and len(self.null) else None

    @property
    def split(self) -> str | None:
        """Hash of the folds."""
        return self.score.split

    def per_class(self) -> pd.Series:
        """Share of correct decisions in each class."""
        correct = np.diag(self.confusion) / self.confusion.sum(axis=1)
        return pd.Series(correct, index=pd.Index(self.classes, name="class"), name="accuracy")

    def table(self) -> pd.DataFrame:
        """The confusion matrix with class names."""
        return pd.DataFrame(
            self.confusion,
            index=pd.Index(self.classes, name="true"),
            columns=pd.Index(self.classes, name="predicted"),
        )


def decode(
    trials: Any,
    labels: str | ArrayLike,
    *,
    by: str | ArrayLike | Sequence[Fold] = "run",
    estimator: Any = "logistic",
    n_permutations: int = 0,
    with_auc: bool = False,
    seed: int = 0,
) -> DecodingResult:
    """Decode the class of every trial, each by a classifier that did not see its run.

    Parameters
    ----------
    trials : Trials or array (n_trials, ...features)
    labels : str or array (n_trials,)
        Class of each trial, or the column of the trials or stimuli table that holds it.
    by : str, array (n_trials,) or list of Fold
        What stays together. Runs, sessions, subjects and arrays of groups are left out one at a time; other columns
        (``"stimulus_id"``) are dealt to five folds.
    estimator : {"logistic", "svm", "lda", "ridge", "eegnet", "recurrent", "shallow", "tsconv"} or classifier
        Names are linear classifiers after standardisation, or networks of signals (a
        `brainalign.learning.NeuralClassifier` gives them sizes and schedule); all is fitted on the training part of
        a fold.
    n_permutations : int
        Repeat the whole cross-validation this often with labels permuted: within groups, or between groups where
        all trials of a group share a label. Runs in parallel inside ``joblib.parallel_config(n_jobs=...)``.
    with_auc : bool
        Also score by the AUC; needs two classes, both in every test part.
    seed : int
        Of the permutations.

    Returns
    -------
    DecodingResult

    Raises
    ------
    DataError
        When a class has no trial in the training part of a fold, naming the class.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.tile(["face", "house"], 20)
    >>> X = rng.normal(size=(40, 5)) + 3.0 * (labels == "face")[:, None]
    >>> decode(X, labels, by=np.repeat([1, 2, 3, 4], 10)).score
    Score(accuracy 1.000 [0.912, 1.000], chance 0.500, n 40, leave-one-group-out, 4 folds)
    """
    from joblib import effective_n_jobs

    task = prepare(trials, labels, by, over_time=takes_signals(estimator))
    if with_auc:
        check_metric(task, "auc")
    sides = np.full(len(task.labels), np.nan)
    choices: list[dict[str, Any]] = []
    predicted = _predict_out_of_fold(task, estimator, sides if with_auc else None, choices)
    orders = _label_orders(task, n_permutations, seed)
    null = parallel_map(
        partial(_permuted_accuracy, task=task, estimator=estimator),
        orders,
        n_jobs=effective_n_jobs(None),
        description="permutations" if n_permutations else None,
    )
    result = replace(summarise(task, predicted, np.asarray(null)), choices=tuple(choices))
    return replace(result, auc=_auc_score(task, sides)) if with_auc else result


def summarise(task: Task, predicted: NDArray, null: NDArray) -> DecodingResult:
    """Gather out-of-fold decisions into a result; trials that no fold tested are left out."""
    rows = np.concatenate([fold.test for fold in task.folds])
    number = np.repeat(np.arange(len(task.folds)), [len(fold.test) for fold in task.folds])
    decisions = pd.DataFrame(
        {"trial": rows, "true": task.labels[rows], "predicted": predicted[rows], "fold": number}
    ).set_index("trial")
    true, decided = decisions["true"].to_numpy(), decisions["predicted"].to_numpy()
    clusters = None if task.clusters is None else task.clusters[rows]
    score = classification_score(
        true, decided, clusters=clusters, null=null if len(null) else None, protocol=task.protocol
    )
    classes = np.unique(task.labels)
    return DecodingResult(
        score=replace(score, split=task.split),
        classes=tuple(str(c) for c in classes),
        confusion=confusion_matrix(true, decided, classes.tolist()),
        predictions=decisions.sort_index(),
        fold_scores=np.array([accuracy(task.labels[f.test], predicted[f.test]) for f in task.folds]),
        null=null,
    )


def _predict_out_of_fold(
    task: Task, estimator: Any, sides: NDArray | None = None, choices: list[dict[str, Any]] | None = None
) -> NDArray:
    """Decisions; `sides` takes up the share of the other class that each trial is on the right side of.

    `choices` takes up what a `ChosenClassifier` chose in each fold.
    """
    predicted = task.labels.copy()
    for fold in task.folds:
        model = classifier(estimator)
        # One that chooses among others does so by folds within the training trials.
        more = {"groups": task.groups[fold.train]} if getattr(model, "takes_groups", False) else {}
        model.fit(task.X[fold.train], task.labels[fold.train], **more)
        if choices is not None and hasattr(model, "votes_"):
            choices.append({"scores": model.scores_, "votes": model.votes_})
        predicted[fold.test] = model.predict(task.X[fold.test])
        if sides is not None:
            positive = task.labels[fold.test] == model.classes_[1]
            sides[fold.test] = placements(positive, decision(model, task.X[fold.test], 1))[:, 0]
    return predicted


def _auc_score(task: Task, sides: NDArray) -> Score:
    rows = np.concatenate([fold.test for fold in task.folds])
    labels, clusters = task.labels[rows], None if task.clusters is None else task.clusters[rows]
    low, high = intervals(sides[rows, None], labels, "auc", clusters)
    unit = "trials" if clusters is None else "groups of trials"
    return Score(
        "AUC",
        float(mean_of(sides[rows, None], labels, "auc")[0]),
        ceiling=None,
        chance=0.5,
        low=float(low[0]),
        high=float(high[0]),
        n=len(rows),
        split=task.split,
        protocol=task.protocol,
        how=f"trials compared within their fold; bootstrap of the linear part over {unit} (DeLong et al. 1988)",
        why={"ceiling": "not defined for class decisions"},
    )


def _permuted_accuracy(order: NDArray, *, task: Task, estimator: Any) -> float:
    permuted = replace(task, labels=task.labels[order])
    rows = np.concatenate([fold.test for fold in task.folds])
    return float(accuracy(permuted.labels[rows], _predict_out_of_fold(permuted, estimator)[rows]))


def _label_orders(task: Task, n_permutations: int, seed: int) -> list[NDArray[np.intp]]:
    """Orders of the labels under which the data would look the same if they told nothing."""
    names, first, codes = np.unique(task.groups, return_index=True, return_inverse=True)
    constant = bool(np.all(task.labels == task.labels[first][codes]))
    if not constant:
        return list(permutations(len(task.labels), n_permutations, groups=codes, seed=seed))
    return [first[order][codes] for order in permutations(len(names), n_permutations, seed=seed)]
