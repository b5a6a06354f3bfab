"""What every decoder needs: samples, a label for each, folds, and a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite
from brainalign.errors import DataError, closest, unknown
from brainalign.scoring.classification import check_classes
from brainalign.splits import Fold, check_windows_apart, folds, split_hash
from brainalign.trials import Trials

__all__ = ["ESTIMATORS", "Task", "classifier", "prepare", "signal_classifier"]

# A group of trials whose number is a matter of design is left out one at a time; others are dealt to five folds.
_LEFT_OUT_ONE_BY_ONE = ("run", "session", "subject")
# A bootstrap over fewer clusters than this gives intervals that are too narrow.
_FEWEST_CLUSTERS = 10


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _svm() -> Any:
    from sklearn.svm import SVC

    return SVC(kernel="linear")


def _lda() -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def _ridge() -> Any:
    from sklearn.linear_model import RidgeClassifierCV

    return RidgeClassifierCV(alphas=np.logspace(-1, 5, 7))


ESTIMATORS: dict[str, Callable[[], Any]] = {"logistic": _logistic, "svm": _svm, "lda": _lda, "ridge": _ridge}
"""Linear classifiers by name; each is preceded by standardisation, fitted on the training part of a fold."""

NETWORK_NAMES = ("chosen", "du_in", "eegnet", "recurrent", "shallow", "tsconv")
"""Classifiers of signals, which need channels by times; see `network_classifier`."""


@dataclass(frozen=True)
class Task:
    """Samples with labels and the folds in which they are decoded; `groups` holds what folds keep together."""

    X: NDArray
    labels: NDArray
    folds: list[Fold]
    groups: NDArray

    @property
    def split(self) -> str:
        return split_hash(self.folds)

    @property
    def protocol(self) -> str:
        by, n_folds = self.folds[0].by, len(self.folds)
        one_by_one = n_folds == len(np.unique(self.groups))
        return f"leave-one-{by}-out, {n_folds} folds" if one_by_one else f"{n_folds} folds by {by}"

    @property
    def clusters(self) -> NDArray | None:
        """Groups to bootstrap, where there are enough of them and they hold several trials."""
        n_groups = len(np.unique(self.groups))
        return self.groups if _FEWEST_CLUSTERS <= n_groups < len(self.groups) else None


def takes_signals(estimator: Any) -> bool:
    """Whether a classifier is a network that wants channels and times apart."""
    if isinstance(estimator, str):
        return estimator in NETWORK_NAMES
    from brainalign.learning import NeuralClassifier

    return isinstance(estimator, NeuralClassifier) or getattr(estimator, "takes_signals", False)


def network_classifier(name: str, params: Mapping[str, Any] | None = None) -> Any:
    """A classifier of signals by name: `DuINClassifier` with options, a `NeuralClassifier`, or one that is "chosen".

    The `candidates` of a chosen one are mappings with the arguments of `signal_classifier`.

    Raises
    ------
    DataError
        When a parameter is unknown.
    """
    if name == "chosen":
        from brainalign.analysis.decoding.chosen import ChosenClassifier

        given = dict(params or {})
        made = {one: signal_classifier(**settings) for one, settings in given.pop("candidates", {}).items()}
        try:
            return ChosenClassifier(made, **given)
        except TypeError as error:
            raise DataError(
                "a chosen classifier takes other params", expected=sorted(ChosenClassifier({}).get_params())
            ) from error
    if name == "du_in":
        from brainalign.encoders.du_in import DuINClassifier

        return DuINClassifier(dict(params or {}))
    from brainalign.learning import NeuralClassifier

    try:
        return NeuralClassifier(name, **(params or {}))
    except TypeError as error:
        raise DataError(f"{name} takes other params", expected=sorted(NeuralClassifier().get_params())) from error


def signal_classifier(classifier: str, *, params: Mapping[str, Any] | None = None, **shape: Any) -> Any:
    """A classifier of signals (n_trials, n_channels, n_times) by name, after `EpochShape`.

    Parameters
    ----------
    classifier : str
        A linear one of `ESTIMATORS`, on flat and standardised epochs; a network of `NETWORK_NAMES`; or a pipeline of
        `brainalign.bci.pipeline_names`, such as "xdawn_ts_lr".
    params : mapping, optional
        Of a network or pipeline.
    **shape
        Of `EpochShape`: clip, bins, start, stop, detrend.

    Raises
    ------
    DataError
        When there is no such classifier, or it takes no such params.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from brainalign.analysis.decoding.chosen import EpochShape
    from brainalign.bci.pipelines import PIPELINES, build_pipeline

    known = ("bins", "clip", "detrend", "start", "stop")
    for name in shape:
        if name not in known:
            raise unknown("option of a candidate", name, known)
    cut = EpochShape(**shape, flat=classifier in ESTIMATORS)
    if classifier in ESTIMATORS:
        return make_pipeline(cut, StandardScaler(), ESTIMATORS[classifier]())
    if classifier in NETWORK_NAMES and classifier != "chosen":
        return make_pipeline(cut, network_classifier(classifier, params))
    if classifier in PIPELINES:
        return make_pipeline(cut, build_pipeline(classifier, **(params or {})))
    raise unknown("classifier", classifier, [*ESTIMATORS, *NETWORK_NAMES, *PIPELINES])


def classifier(estimator: Any) -> Any:
    """A fresh classifier: a named one with standardisation before it, or a clone of a scikit-learn estimator."""
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not isinstance(estimator, str):
        return clone(estimator)
    if estimator in NETWORK_NAMES:
        return network_classifier(estimator)
    if estimator not in ESTIMATORS:
        known = [*ESTIMATORS, *NETWORK_NAMES]
        raise DataError(f"no classifier {estimator!r}.{closest(estimator, known)}", expected=known)
    return make_pipeline(StandardScaler(), ESTIMATORS[estimator]())


def prepare(trials: Any, labels: str | ArrayLike, by: Any, *, over_time: bool = False) -> Task:
    """Check samples and labels, and make the folds.

    Parameters
    ----------
    trials : Trials or array (n_trials, ...)
    labels : column of the trials or stimuli table, or array (n_trials,)
    by : column, array (n_trials,) of groups, or list of Fold
    over_time : bool
        Keep channels and times apart.

    Raises
    ------
    DataError
        When lengths differ, a label is missing, or a class has no trial in the training part of a fold.
    """
    responses = trials.responses if hasattr(trials, "responses") else np.asarray(trials)
    if over_time and responses.ndim != 3:
        raise DataError("not time-resolved", expected="(n_trials, n_channels, n_times)", found=responses.shape)
    X = responses if over_time else responses.reshape(len(responses), -1)
    check_finite(X, name="responses")
    y = column(trials, labels, what="labels")
    if len(y) != len(X):
        raise DataError("one label per trial is needed", expected=len(X), found=len(y))
    check_classes(y)
    made, groups = _folds(trials, by, y)
    for number, fold in enumerate(made):
        check_classes(y[fold.train], np.unique(y).tolist(), where=f"the training part of fold {number}")
        if isinstance(trials, Trials):
            check_windows_apart(trials, fold.train, fold.test)
    return Task(X, y, made, groups)


def column(trials: Any, values: str | ArrayLike, *, what: str) -> NDArray:
    """A column of the trials or of their stimuli by name, or an array as it is; nothing may be missing."""
    if isinstance(values, str):
        table = getattr(trials, "trials", None)
        stimuli = getattr(getattr(trials, "stimuli", None), "table", None)
        if table is not None and values in table:
            series = table[values]
        elif table is not None and stimuli is not None and values in stimuli:
            series = stimuli[values].reindex(table["stimulus_id"])
        else:
            known = [] if table is None else [*table.columns, *([] if stimuli is None else stimuli.columns)]
            raise DataError(f"no column '{values}' for {what}.{closest(values, known)}", expected=known)
    else:
        series = pd.Series(np.asarray(values))
    if series.isna().any():
        rows = np.flatnonzero(series.isna())[:5].tolist()
        raise DataError(f"{what} are missing for some trials", found=f"rows {rows}", fix="select the labelled trials")
    array = series.to_numpy()
    return array.astype(str) if array.dtype == object else array


def _folds(trials: Any, by: Any, labels: NDArray) -> tuple[list[Fold], NDArray]:
    if isinstance(by, (list, tuple)) and by and isinstance(by[0], Fold):
        name = by[0].by
        groups = np.arange(len(labels))
        if hasattr(trials, "trials") and name in trials.trials:
            groups = column(trials, name, what="groups")
        return list(by), groups
    groups = column(trials, by, what="groups")
    if len(groups) != len(labels):
        raise DataError("one group per trial is needed", expected=len(labels), found=len(groups))
    name = by if isinstance(by, str) else "group"
    table = pd.DataFrame({name: groups})
    if name in _LEFT_OUT_ONE_BY_ONE or name == "group":
        return folds(table, name, n_splits=None), groups
    one_label_each = (pd.Series(labels).groupby(groups).nunique() == 1).all()
    return folds(table, name, n_splits=5, stratify=labels if one_label_each else None), groups
