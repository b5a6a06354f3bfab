"""Cross-validated decoding against scikit-learn's own, with planted, shuffled and leaking labels, and real fMRI."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from brainalign.analysis import decode
from brainalign.errors import DataError
from brainalign.splits import folds, split_hash
from brainalign.trials import Trials
from tests.conftest import real_data

RUNS = np.repeat(np.arange(6), 12)
LABELS = np.tile(["face", "house", "cat"], 24)


def planted(seed: int, size: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(3, 10))
    drift = 3.0 * rng.normal(size=(6, 10))[RUNS]
    return size * means[np.unique(LABELS, return_inverse=True)[1]] + drift * 0.1 + rng.normal(size=(72, 10))


@pytest.mark.parametrize("estimator", ["svm", GaussianNB()])
def test_equals_sklearn_leave_one_run_out(estimator) -> None:
    X = planted(0)
    peer = make_pipeline(StandardScaler(), SVC(kernel="linear")) if estimator == "svm" else GaussianNB()
    expected = cross_val_predict(peer, X, LABELS, groups=RUNS, cv=LeaveOneGroupOut())
    result = decode(X, LABELS, by=RUNS, estimator=estimator)
    np.testing.assert_array_equal(result.predictions["predicted"], expected)
    assert result.score.value == pytest.approx(np.mean(expected == LABELS))
    assert result.confusion.trace() == np.sum(expected == LABELS)
    assert result.table().loc["cat"].sum() == 24
    np.testing.assert_allclose(result.per_class(), np.diag(result.confusion) / 24)
    per_fold = [np.mean((expected == LABELS)[run == RUNS]) for run in range(6)]
    np.testing.assert_allclose(result.fold_scores, per_fold)


@pytest.mark.parametrize("estimator", ["logistic", "svm", "lda", "ridge"])
def test_planted_classes_are_found_by_every_classifier(estimator) -> None:
    score = decode(planted(1, size=2.0), LABELS, by=RUNS, estimator=estimator).score
    assert score.low > 0.6 > score.chance
    assert score.chance == pytest.approx(1 / 3)
    assert score.protocol == "leave-one-group-out, 6 folds"
    assert "Clopper-Pearson" in score.how


def test_permutations_separate_signal_from_none() -> None:
    found = decode(planted(2), LABELS, by=RUNS, estimator="lda", n_permutations=39)
    assert found.p_value == pytest.approx(1 / 40)
    assert found.score.chance == pytest.approx(1 / 3, abs=0.04)
    nothing = decode(planted(3, size=0.0), LABELS, by=RUNS, estimator="lda", n_permutations=39)
    assert nothing.p_value > 0.05
    assert nothing.score.low < 1 / 3 < nothing.score.high


def test_permutations_do_not_depend_on_workers() -> None:
    serial = decode(planted(4), LABELS, by=RUNS, estimator=GaussianNB(), n_permutations=4, seed=7)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        parallel = decode(planted(4), LABELS, by=RUNS, estimator=GaussianNB(), n_permutations=4, seed=7)
    np.testing.assert_array_equal(serial.null, parallel.null)


def test_repetitions_of_a_stimulus_stay_together() -> None:
    """Random labels of stimuli with stimulus-specific responses: a naive split reads the labels out."""
    grouped, p_values = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        stimulus = np.repeat(np.arange(30), 4)
        X = rng.normal(size=(30, 40))[stimulus] + 0.5 * rng.normal(size=(120, 40))
        labels = rng.permutation(np.repeat(["a", "b"], 15))[stimulus]
        trials = Trials(X, pd.DataFrame({"stimulus_id": stimulus.astype(str), "label": labels}))
        result = decode(trials, "label", by="stimulus_id", estimator="lda", n_permutations=9)
        grouped.append(result.score.value)
        p_values.append(result.p_value)
    assert np.mean(grouped) == pytest.approx(0.5, abs=0.07)
    assert np.mean(p_values) > 0.25
    naive = decode(X, labels, by=np.arange(120) % 5)
    assert naive.score.value > 0.85


def test_folds_can_be_given() -> None:
    made = folds(RUNS.astype(str), "run", n_splits=3, seed=1)
    result = decode(planted(6), LABELS, by=made)
    assert result.split == split_hash(made)
    assert result.score.protocol == "3 folds by run"
    assert set(result.predictions["fold"]) == {0, 1, 2}


def test_a_class_missing_from_training_is_named() -> None:
    labels = np.where((RUNS == 2) & (LABELS == "cat"), "zebra", LABELS)
    with pytest.raises(DataError, match="no trial of class 'zebra' in the training part of fold 2"):
        decode(planted(7), labels, by=RUNS)


def test_bad_input_is_refused() -> None:
    table = pd.DataFrame({"stimulus_id": np.arange(72).astype(str), "run": RUNS, "label": LABELS})
    trials = Trials(planted(8), table)
    with pytest.raises(DataError, match=r"no column 'lable' for labels\. Did you mean 'label'"):
        decode(trials, "lable")
    with pytest.raises(DataError, match="no classifier 'logit'"):
        decode(trials, "label", estimator="logit")
    with pytest.raises(DataError, match="one label per trial"):
        decode(trials, LABELS[:-1])
    with pytest.raises(DataError, match="labels are missing"):
        decode(trials, np.where(RUNS == 1, None, LABELS))
    with pytest.raises(DataError, match="responses contains NaN"):
        decode(np.where(planted(8) > 3, np.nan, planted(8)), LABELS, by=RUNS)
    with pytest.raises(DataError, match="single class"):
        decode(trials, np.full(72, "face"))


@pytest.fixture(scope="module")
def haxby() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Volumes of eight categories, detrended and scaled within run."""
    import nibabel
    from scipy.signal import detrend

    root = real_data("haxby2001")
    volumes = np.asarray(nibabel.load(root / "bold.nii.gz").dataobj, dtype=np.float64)
    X = volumes[np.asarray(nibabel.load(root / "mask.nii.gz").dataobj) > 0].T
    labels, runs = np.loadtxt(root / "attributes_literal.txt", dtype=str).T
    for run in np.unique(runs):
        block = detrend(X[runs == run], axis=0)
        X[runs == run] = block / np.maximum(block.std(axis=0), 1e-9)
    return X[labels != "rest"], labels[labels != "rest"], runs[labels != "rest"]


def test_eight_categories_from_real_fmri(haxby) -> None:
    X, labels, runs = haxby
    result = decode(X, labels, by=runs, estimator="lda")
    assert result.score.value > 0.69
    assert result.score.chance == pytest.approx(0.125)
    assert result.score.n == 864
    assert "12 clusters" in result.score.how
    shuffled = np.concatenate([np.random.default_rng(0).permutation(labels[runs == run]) for run in np.unique(runs)])
    order = np.concatenate([np.flatnonzero(runs == run) for run in np.unique(runs)])
    assert decode(X[order], shuffled, by=runs[order], estimator="lda").score.value < 0.17
