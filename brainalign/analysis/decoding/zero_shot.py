"""Zero-shot decoding: classes that were never trained on, named by the nearest class embedding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.decoding.classify import DecodingResult
from brainalign.analysis.decoding.inputs import column
from brainalign.errors import DataError, LeakageError
from brainalign.scoring.classification import balanced_accuracy, check_classes, confusion_matrix
from brainalign.scoring.cosine import similarity
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score
from brainalign.splits import Fold, check_disjoint, split_hash

__all__ = ["zero_shot_decode"]

# Beyond this many pairs of classes, each class meets two others only.
_MOST_PAIRS = 66


def zero_shot_decode(
    predicted: Any,
    class_embeddings: Mapping[str, ArrayLike] | Any,
    labels: str | ArrayLike,
    *,
    encoder: Any = None,
    trained_on: Iterable[Any] | None = None,
    seed: int = 0,
) -> DecodingResult:
    """Name the class of each trial by the class embedding (for example of the class name) closest in angle.

    Parameters
    ----------
    predicted : array (n_trials, n_latent) or Latents; with `encoder`, Trials or array (n_trials, n_features)
        Predicted latents; with `encoder`, the responses to predict them from.
    class_embeddings : mapping of class to array (n_latent,), or Latents with classes as ids
        All classes that may be answered.
    labels : str or array (n_trials,)
        True class of each trial.
    encoder : estimator with fit(X, Y) and predict(X), optional
        Leave-two-classes-out: a clone is trained on the trials of all other classes, whose targets are their class
        embeddings, and decides between the two left out (Palatucci et al. 2009, NIPS), by the angle around the mean
        embedding of the classes trained on. All pairs of up to 12 classes; with more, every class meets two others.
    trained_on : iterable, optional
        Classes that `predicted` was trained on.
    seed : int
        Which pairs are formed, where there are many classes.

    Returns
    -------
    DecodingResult
        The score is the mean over classes of their accuracy; its interval is a bootstrap over *classes*, which is
        what a zero-shot claim generalises to. Chance is 1 / n_classes, or 1/2 with `encoder`.

    Raises
    ------
    LeakageError
        When a tested class was trained on.
    DataError
        When a class has no embedding or no trial.

    Examples
    --------
    >>> embeddings = {"cat": [1.0, 0.0], "dog": [0.0, 1.0]}
    >>> result = zero_shot_decode([[0.9, 0.1], [0.2, 0.7]], embeddings, ["cat", "dog"])
    >>> result.predictions["predicted"].tolist()
    ['cat', 'dog']
    """
    truth = column(predicted, labels, what="labels").astype(str)
    tested = [str(c) for c in check_classes(truth, where="the tested trials")]
    names, table = _embeddings(class_embeddings, tested)
    if trained_on is not None:
        _refuse_seen(trained_on, tested)
    if encoder is not None:
        return _leave_pairs_out(predicted, truth, (names, table), encoder, seed)
    latents = _matrix(predicted, len(truth))
    decided = np.array(names)[similarity(latents, table).argmax(axis=1)]
    decisions = pd.DataFrame({"true": truth, "predicted": decided, "fold": 0})
    how = "nearest class embedding by cosine"
    if trained_on is None:
        how += "; training classes were not declared"
    return _result(decisions, names, 1 / len(names), f"zero-shot among {len(names)} classes", how)


def _leave_pairs_out(
    responses: Any, truth: NDArray, embeddings: tuple[list[str], NDArray], encoder: Any, seed: int
) -> DecodingResult:
    from sklearn.base import clone

    X = _matrix(responses, len(truth))
    names, table = embeddings
    targets = table[[names.index(c) for c in truth]]
    tested = np.unique(truth).tolist()
    if len(tested) < 3:
        raise DataError("leave-two-classes-out needs a third class to train on", expected="3 or more", found=tested)
    made, decisions = [], []
    for number, pair in enumerate(_pairs(tested, seed)):
        test = np.flatnonzero(np.isin(truth, pair))
        train = np.setdiff1d(np.arange(len(truth)), test)
        check_disjoint(truth[train], truth[test], what="class")
        made.append(Fold(train, test, "class", "|".join(pair)))
        predicted = np.asarray(clone(encoder).fit(X[train], targets[train]).predict(X[test]))
        candidates = table[[names.index(c) for c in pair]]
        # Predictions shrink towards the mean of what was trained on: unless it is taken out, the class near it wins.
        centre = table[[names.index(c) for c in tested if c not in pair]].mean(axis=0)
        decided = np.array(pair)[similarity(predicted - centre, candidates - centre).argmax(axis=1)]
        decisions.append(pd.DataFrame({"true": truth[test], "predicted": decided, "fold": number}, index=test))
    how = "nearer of two class embeddings, around the mean of those trained on"
    result = _result(pd.concat(decisions), tested, 0.5, f"leave-two-classes-out, {len(made)} pairs", how)
    return replace(result, score=replace(result.score, split=split_hash(made)))


def _pairs(classes: list[str], seed: int) -> list[tuple[str, str]]:
    everyone = list(combinations(classes, 2))
    if len(everyone) <= _MOST_PAIRS:
        return everyone
    ring = np.random.default_rng(seed).permutation(len(classes))
    return [(classes[a], classes[b]) for a, b in zip(ring, np.roll(ring, 1))]


def _result(decisions: pd.DataFrame, names: list[str], chance: float, protocol: str, how: str) -> DecodingResult:
    true, predicted = decisions["true"].to_numpy(), decisions["predicted"].to_numpy()
    correct = pd.Series(true == predicted)
    per_class = correct.groupby(true).mean()
    low, high = mean_ci(per_class.to_numpy())
    score = Score(
        "zero-shot accuracy",
        float(balanced_accuracy(true, predicted)),
        ceiling=None,
        chance=chance,
        low=float(low),
        high=float(high),
        n=len(per_class),
        split=None,
        protocol=protocol,
        how=f"{how}; mean over classes, percentile bootstrap over classes",
        why={"ceiling": "not defined for class decisions", "split": "the predictions were made elsewhere"},
    )
    return DecodingResult(
        score=score,
        classes=tuple(names),
        confusion=confusion_matrix(true, predicted, names),
        predictions=decisions.rename_axis("trial"),
        fold_scores=correct.groupby(decisions["fold"].to_numpy()).mean().to_numpy(),
        null=np.empty(0),
    )


def _embeddings(class_embeddings: Any, tested: list[str]) -> tuple[list[str], NDArray]:
    if hasattr(class_embeddings, "at") and hasattr(class_embeddings, "ids"):
        names = [str(one) for one in class_embeddings.ids]
        table = np.asarray(class_embeddings.at(class_embeddings.ids)).reshape(len(names), -1)
    else:
        names = [str(one) for one in class_embeddings]
        table = np.stack([np.ravel(np.asarray(one, dtype=np.float64)) for one in class_embeddings.values()])
    missing = [one for one in tested if one not in names]
    if missing:
        raise DataError(f"no embedding of class {missing[:5]}", expected="one per tested class", found=names[:10])
    return names, table


def _refuse_seen(trained_on: Iterable[Any], tested: list[str]) -> None:
    seen = sorted({str(one) for one in trained_on} & set(tested))
    if seen:
        raise LeakageError(
            f"{len(seen)} tested classes were in training: {seen[:5]}",
            expected="classes never trained on",
            found=seen[:5],
            fix="train without the trials of these classes, or pass encoder= to leave them out here",
        )


def _matrix(values: Any, n_trials: int) -> NDArray:
    if hasattr(values, "matrix"):
        matrix = values.matrix()
    else:
        matrix = values.flat() if callable(getattr(values, "flat", None)) else np.asarray(values)
    if matrix.ndim != 2 or len(matrix) != n_trials:
        raise DataError("one row per label is needed", expected=f"({n_trials}, n_features)", found=matrix.shape)
    return matrix
