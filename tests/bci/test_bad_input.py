"""Bad trials through every named pipeline and the pseudo-online evaluation: an error that says why, never a NaN."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from brainalign.bci import AugmentedSVC, Covariances, PseudoOnline, TangentSpace, build_pipeline, pipeline_names
from brainalign.errors import DataError
from tests.bci.test_pipelines import FACTS, SMALL
from tests.bci.test_pseudo_online import LOGISTIC, recording

pytest.importorskip("pyriemann")
NAMES = [name for name in pipeline_names() if name not in ("eegnet", "shallow_convnet")]


def trials() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    return rng.standard_normal((24, 5, 120)) * np.where(y, 2.0, 1.0)[:, None, None], y


def flat(X: np.ndarray) -> np.ndarray:
    X = X.copy()
    X[3, 2] = 0.7
    return X


def not_a_number(X: np.ndarray) -> np.ndarray:
    X = X.copy()
    X[5, 1, 17] = np.nan
    return X


@pytest.mark.parametrize("name", NAMES)
def test_flat_and_nan_channels_are_refused(name):
    X, y = trials()
    model = build_pipeline(name, **FACTS, **SMALL.get(name, {}))
    with pytest.raises(DataError, match="do not vary"):
        clone(model).fit(flat(X), y)
    with pytest.raises(DataError, match="NaN"):
        clone(model).fit(not_a_number(X), y)
    fitted = clone(model).fit(X, y)
    with pytest.raises(DataError, match="NaN"):
        fitted.predict(not_a_number(X))


@pytest.mark.parametrize("name", NAMES)
def test_one_class_is_refused(name):
    X, _ = trials()
    with pytest.raises(ValueError, match="class"):
        build_pipeline(name, **FACTS, **SMALL.get(name, {})).fit(X, np.zeros(24))


def test_a_lost_rank_is_refused_where_nothing_regularises_it():
    X, y = trials()
    referenced = X - X.mean(axis=1, keepdims=True)
    plain = np.stack([np.cov(one) for one in referenced])
    with pytest.raises(DataError, match="not positive definite"):
        TangentSpace().fit(plain)
    with pytest.raises(DataError, match="not positive definite"):
        AugmentedSVC([1, 2], [2], retain=None).fit(referenced, y)
    # One such trial among good ones.
    mixed = np.where(np.arange(24)[:, None, None] == 4, referenced, X)
    with pytest.raises(DataError, match="not positive definite: 1 of"):
        AugmentedSVC([1], [1], retain=None).fit(mixed, y)


def test_embeddings_longer_than_trials_are_refused():
    X, y = trials()
    with pytest.raises(DataError, match="too short"):
        AugmentedSVC([2, 12], [10]).fit(X, y)
    with pytest.raises(DataError, match="too short"):
        build_pipeline("acm_mdm", order=6, lag=20).fit(X, y)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_a_fold_without_a_class_is_named():
    X, y = trials()
    y = np.where(np.arange(24) == 3, 1, 0)
    with pytest.raises(DataError, match="lacks a class"):
        AugmentedSVC([1], [1], cv=2).fit(X, y)


def test_pseudo_online_refuses_what_it_cannot_score():
    raw, events = recording(n_tasks=8)
    with pytest.raises(DataError, match="one class"):  # a window so long that idle always wins
        in_turn = events.assign(trial_type=list("abcdabcd"))
        PseudoOnline(window=11.0, gap=0.0, n_splits=2).evaluate(raw, in_turn, LOGISTIC)
    broken = raw.copy()
    broken._data[2, 500] = np.nan
    with pytest.raises(DataError, match="NaN"):
        PseudoOnline().evaluate(broken, events, LOGISTIC)
    dead = raw.copy()
    dead._data[2] = 0.0
    with pytest.raises(DataError, match="do not vary"):
        PseudoOnline().evaluate(dead, events, make_pipeline(Covariances(), TangentSpace(), LogisticRegression()))


def test_pseudo_online_scores_are_numbers_with_one_task_of_a_class():
    raw, events = recording(n_tasks=8)
    events = events.assign(trial_type=["a", "b", "a", "a", "b", "a", "b", "c"])
    result = PseudoOnline(window=1.0, step=0.5, n_splits=4).evaluate(raw, events, LOGISTIC)
    table = result.table()
    values = table.loc[table["score"] != "latency", ["value", "low", "high"]].to_numpy(dtype=float)
    assert np.isfinite(values).all()
