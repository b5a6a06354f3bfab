"""Time-resolved decoding against one classifier per time point, and intervals against a real bootstrap."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from brainalign.analysis import decode, decode_over_time
from brainalign.analysis.decoding.over_time import intervals, placements
from brainalign.errors import DataError, LeakageError
from brainalign.splits import contiguous_folds
from brainalign.trials import Trials

GROUPS = np.arange(80) % 5
LABELS = np.repeat(["left", "right"], 40)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainalign.learning import NeuralClassifier


def planted(seed: int = 0, n_times: int = 6, size: float = 1.5) -> np.ndarray:
    """A code in times 2 and 3, another one in time 5, noise elsewhere."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(80, 8, n_times))
    codes = rng.normal(size=(2, 8)) * size
    sign = np.where(LABELS == "left", 1.0, -1.0)[:, None]
    X[:, :, 2] += sign * codes[0]
    X[:, :, 3] += sign * codes[0]
    X[:, :, 5] += sign * codes[1]
    return X


def test_each_time_point_equals_plain_decoding() -> None:
    X = planted()
    result = decode_over_time(X, LABELS, by=GROUPS, estimator="lda")
    expected = [decode(X[:, :, t], LABELS, by=GROUPS, estimator="lda").score.value for t in range(6)]
    np.testing.assert_allclose(result.values, expected, atol=1e-12)
    assert np.all(result.low <= result.values) and np.all(result.values <= result.high)


def test_information_is_found_only_where_it_is() -> None:
    result = decode_over_time(planted(1), LABELS, by=GROUPS, metric="auc")
    assert np.all(result.low[[2, 3, 5]] > 0.7)
    assert np.all(result.low[[0, 1, 4]] < 0.5) and np.all(result.high[[0, 1, 4]] > 0.5)
    assert result.chance == 0.5
    assert result.table().index.name == "time"


def test_generalisation_shows_a_stable_and_a_changed_code() -> None:
    result = decode_over_time(planted(2, size=2.5), LABELS, by=GROUPS, generalise=True)
    grid = result.generalisation
    np.testing.assert_allclose(np.diag(grid), result.values)
    assert grid[2, 3] > 0.9 and grid[3, 2] > 0.9
    assert abs(grid[2, 0] - 0.5) < 0.2
    plain = decode_over_time(planted(2, size=2.5), LABELS, by=GROUPS)
    np.testing.assert_allclose(plain.values, result.values)


def test_auc_is_the_mean_of_fold_aucs_when_folds_are_alike() -> None:
    X = planted(3)[:, :, 2:4]
    expected = []
    for t in range(2):
        scores = []
        for group in range(5):
            test = group == GROUPS
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X[~test, :, t], LABELS[~test])
            scores.append(roc_auc_score(LABELS[test] == "right", model.decision_function(X[test, :, t])))
        expected.append(np.mean(scores))
    estimator = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    result = decode_over_time(X, LABELS, by=GROUPS, estimator=estimator, metric="auc", generalise=True)
    np.testing.assert_allclose(result.values, expected, atol=1e-12)
    np.testing.assert_allclose(np.diag(result.generalisation), expected, atol=1e-12)


def test_auc_interval_equals_a_bootstrap_of_trials() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], [90, 40])
    scores = np.round(rng.normal(size=130) + labels, 1)
    draws = []
    for _ in range(1500):
        rows = rng.integers(0, 130, 130)
        draws.append(roc_auc_score(labels[rows], scores[rows]))
    low, high = intervals(placements(labels == 1, scores[None]), labels, "auc", None)
    np.testing.assert_allclose([low[0], high[0]], np.quantile(draws, [0.025, 0.975]), atol=0.015)


def test_trials_bring_times_and_workers_change_nothing() -> None:
    table = pd.DataFrame({"stimulus_id": np.arange(80).astype(str), "label": LABELS})
    trials = Trials(planted(5), table, times=np.linspace(-0.1, 0.4, 6))
    serial = decode_over_time(trials, "label", by="stimulus_id")
    with joblib.parallel_config(backend="threading", n_jobs=2):
        parallel = decode_over_time(trials, "label", by="stimulus_id")
    np.testing.assert_array_equal(serial.values, parallel.values)
    np.testing.assert_array_equal(serial.low, parallel.low)
    np.testing.assert_allclose(serial.times, np.linspace(-0.1, 0.4, 6))
    assert serial.protocol == "5 folds by stimulus_id"


def test_bad_input_is_refused() -> None:
    X = planted(6)
    with pytest.raises(DataError, match="not time-resolved"):
        decode_over_time(X[:, :, 0], LABELS, by=GROUPS)
    with pytest.raises(DataError, match="two classes"):
        decode_over_time(X, np.arange(80) % 3, by=GROUPS, metric="auc")
    with pytest.raises(DataError, match="no trial of class 'right' in the test part of fold 0"):
        decode_over_time(X, LABELS, by=np.where((GROUPS == 0) & (LABELS == "right"), 1, GROUPS), metric="auc")
    with pytest.raises(DataError, match="no metric 'f1'"):
        decode_over_time(X, LABELS, by=GROUPS, metric="f1")


def test_windows_decode_what_no_single_time_holds():
    rng = np.random.default_rng(0)
    labels, X = np.tile([0, 1], 40), rng.standard_normal((80, 2, 30))
    X[labels == 1, 0, 12:19] += 0.9
    single = decode_over_time(X, labels, by=np.arange(80) % 5)
    window = decode_over_time(X, labels, by=np.arange(80) % 5, window=7, step=3)
    assert window.times.tolist() == [3, 6, 9, 12, 15, 18, 21, 24]
    best = window.values.argmax()
    assert window.times[best] == 15 and window.values[best] > single.values.max()
    for wrong in ({"window": 4}, {"window": 31}, {"step": 0}, {"window": 3, "generalise": True}):
        with pytest.raises(DataError, match="no such window"):
            decode_over_time(X, labels, by=np.arange(80) % 5, **wrong)


def test_networks_and_the_area_under_the_curve():
    rng = np.random.default_rng(0)
    labels, X = np.tile(["a", "b"], 30), rng.standard_normal((60, 3, 40))
    X[labels == "b", 1] += 1.5 * np.sin(np.arange(40) / 4)
    network = NeuralClassifier("tsconv", {"kernel": 5, "pool": 9, "n_filters": 8}, training={"n_epochs": 15})
    found = decode(X, labels, by=np.arange(60) % 3, estimator=network, with_auc=True)
    assert found.auc.value > 0.8 and found.auc.low > 0.5 and found.auc.chance == 0.5
    linear = decode(X, labels, by=np.arange(60) % 3, estimator="lda", with_auc=True)
    own = []
    for fold in range(3):
        test = np.arange(60) % 3 == fold
        model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
        model.fit(X[~test].reshape(40, -1), labels[~test])
        own.append(roc_auc_score(labels[test], model.decision_function(X[test].reshape(20, -1))))
    assert linear.auc.value == pytest.approx(np.mean(own))


def test_epochs_that_share_samples_across_folds_are_refused():
    table = pd.DataFrame({"stimulus_id": range(24), "label": ["a", "b"] * 12, "onset": 0.5 * np.arange(24)})
    table["run"] = np.repeat([1, 2], 12)
    X = np.random.default_rng(0).standard_normal((24, 2, 9))
    trials = Trials(X, table, times=np.arange(9) / 10)  # 0.8 s of each 0.5 s
    for by in ("stimulus_id", contiguous_folds(24, n_splits=4)):
        with pytest.raises(LeakageError, match="they share samples"):
            decode(trials, "label", by=by)
    for by in ("run", contiguous_folds(24, n_splits=4, gap=1)):
        assert decode(trials, "label", by=by).score.n == 24
    decode(trials.select(times=(0.0, 0.4)), "label", by="stimulus_id")
