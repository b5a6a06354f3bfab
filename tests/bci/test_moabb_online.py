"""Pseudo-online evaluation inside MOABB: the windows and folds of `PseudoOnline`, and no leak."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from moabb.datasets.base import CacheConfig
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from brainalign.bci.benchmark import evaluate_pipelines, moabb_results
from brainalign.bci.blocks import BlockedWindows, window_groups
from brainalign.bci.moabb_datasets import as_moabb_dataset
from brainalign.bci.moabb_online import PseudoOnlineEvaluation, PseudoOnlineParadigm
from brainalign.bci.protocols import Protocol
from brainalign.bci.pseudo_online import PseudoOnline
from brainalign.errors import DataError

SFREQ, TASK = 80.0, 4.0


def recording(seed: int, *, signal: float = 0.0, drift: float = 0.0) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Twelve tasks of 4 s with 4 s between; a task raises the power of its channel, drift follows no label."""
    rng = np.random.default_rng(seed)
    n_samples = int(SFREQ * 104)
    onsets = np.arange(5.0, 101.0, 8.0)
    gain = np.ones((2, n_samples))
    for number, onset in enumerate(onsets):
        gain[number % 2, int(onset * SFREQ) : int((onset + TASK) * SFREQ)] += signal
    slow = np.cumsum(rng.standard_normal((2, n_samples)), axis=1) / np.sqrt(SFREQ)
    data = 1e-5 * gain * np.exp(drift * slow) * rng.standard_normal((2, n_samples))
    raw = mne.io.RawArray(data, mne.create_info(["C3", "C4"], SFREQ, "eeg"), verbose="error")
    return raw, pd.DataFrame({"onset": onsets, "duration": TASK, "trial_type": ["left_hand", "right_hand"] * 6})


def dataset_of(*seeds: int, code: str = "Online1", **options: float):
    runs = {run: recording(seed, **options) for run, seed in enumerate(seeds)}
    return as_moabb_dataset({1: {1: runs}}, code=code, interval=(0.0, TASK), events=["left_hand", "right_hand"])


def power() -> FunctionTransformer:
    return FunctionTransformer(log_power)


def log_power(X: np.ndarray) -> np.ndarray:
    return np.log(np.var(X, axis=-1))


@pytest.mark.parametrize("idle", [True, False])
def test_windows_and_folds_are_those_of_the_function(idle: bool) -> None:
    ours = PseudoOnline(window=2.0, step=0.5, idle=idle, band=(8.0, 20.0), n_splits=3, train_purity=0.7)
    runs = [recording(0), recording(1)]
    result = ours.evaluate(
        [raw for raw, _ in runs],
        [table for _, table in runs],
        make_pipeline(power(), StandardScaler(), LogisticRegression()),
    )
    paradigm = PseudoOnlineParadigm(8.0, 20.0, window=2.0, step=0.5, idle=idle)
    X, y, metadata = paradigm.get_data(dataset_of(0, 1))
    assert y.tolist() == result.windows["label"].tolist() and (result.windows["fold"] >= 0).all()
    np.testing.assert_allclose(metadata[["onset", "stop", "purity"]], result.windows[["start", "stop", "purity"]])
    predicted = np.empty(len(y), dtype=y.dtype)
    splitter = BlockedWindows(n_splits=3, min_purity=0.7)
    for number, (train, test) in enumerate(splitter.split(X, y, window_groups(metadata))):
        assert (result.windows["fold"].to_numpy()[test] == number).all()
        model = make_pipeline(power(), StandardScaler(), LogisticRegression()).fit(1e-6 * X[train], y[train])
        predicted[test] = model.predict(1e-6 * X[test])
    assert predicted.tolist() == result.windows["predicted"].tolist()


def test_no_train_window_comes_near_a_test_window() -> None:
    _, y, metadata = PseudoOnlineParadigm(window=1.0, step=0.1).get_data(dataset_of(0, 1))
    groups = window_groups(metadata)
    tested = np.zeros(len(y), dtype=int)
    for train, test in BlockedWindows(n_splits=4, gap=1.5).split(y, y, groups):
        tested[test] += 1
        for run in (0, 1):
            a, b = (groups[rows][groups[rows, 0] == run] for rows in (train, test))
            apart = np.maximum(a[:, None, 1] - b[None, :, 2], b[None, :, 1] - a[:, None, 2])
            assert apart.min() >= 1.5 - 1e-9 and apart.min() < 1.7
    assert (tested == 1).all()


def test_blocks_find_nothing_in_noise_where_shuffled_folds_do() -> None:
    """At 90 % overlap, drifting noise without any information in the labels."""
    datasets = [dataset_of(2 * seed, 2 * seed + 1, code=f"Noise{seed}", drift=0.3) for seed in range(5)]
    paradigm = PseudoOnlineParadigm(8.0, 20.0, window=2.0, step=0.2)
    pipelines = {"1nn": make_pipeline(power(), KNeighborsClassifier(1))}
    blocked = evaluate_pipelines(datasets, pipelines, paradigm, protocol="pseudo_online")
    with pytest.warns(UserWarning, match="shuffled folds leak"):
        shuffled = evaluate_pipelines(datasets, pipelines, paradigm, protocol="pseudo_online_shuffled")
    assert abs(blocked["score"].mean() - 0.5) < 0.03 and shuffled["score"].mean() > 0.8
    assert (blocked["chance"] == 0.5).all()


def test_blocks_find_what_was_planted() -> None:
    paradigm = PseudoOnlineParadigm(8.0, 20.0, window=2.0, step=0.5, events=["left_hand", "right_hand"])
    pipelines = {"lr": make_pipeline(power(), StandardScaler(), LogisticRegression())}
    found = evaluate_pipelines([dataset_of(0, 1, signal=2.0)], pipelines, paradigm, protocol="pseudo_online")
    assert found["score"].mean() > 0.75
    assert {"score_nmcc", "score_balanced_accuracy", "score_idle_false_per_minute"} <= set(found)
    assert found["score_idle_false_per_minute"].mean() < 60


@pytest.mark.parametrize("protocol", ["blocked", "shuffled"])
@pytest.mark.filterwarnings("ignore:shuffled folds leak")
def test_moabb_evaluates_as_we_do(protocol: str, tmp_path: Path) -> None:
    data, paradigm = dataset_of(0, 1, signal=0.5), PseudoOnlineParadigm(8.0, 20.0, window=2.0, step=0.5)
    pipelines = {"lr": make_pipeline(power(), StandardScaler(), LogisticRegression())}
    evaluation = PseudoOnlineEvaluation(
        paradigm, [data], protocol=protocol, n_splits=3, random_state=3, hdf5_path=str(tmp_path)
    )
    theirs = evaluation.process(pipelines)
    name = "pseudo_online" if protocol == "blocked" else "pseudo_online_shuffled"
    ours = moabb_results(evaluate_pipelines([data], pipelines, paradigm, protocol=Protocol(name, n_splits=3, seed=3)))
    for column in ("score", "score_balanced_accuracy", "samples_test"):
        assert theirs[column].astype("f4").tolist() == ours[column].astype("f4").tolist(), column


def test_moabb_keeps_results_of_other_folds_apart(tmp_path: Path) -> None:
    data, pipelines = (
        dataset_of(0, 1, signal=0.5),
        {"lr": make_pipeline(power(), StandardScaler(), LogisticRegression())},
    )
    scores = set()
    for changes in ({}, {"n_splits": 4}, {"gap": 8.0}, {"min_purity": 1.0}, {"step": 1.0}, {"causal": False}):
        options = {"window": 2.0, "step": 0.5} | {k: changes[k] for k in changes if k in ("step", "causal")}
        folds = {k: changes[k] for k in changes if k not in options}
        paradigm = PseudoOnlineParadigm(8.0, 20.0, **options)
        evaluation = PseudoOnlineEvaluation(paradigm, [data], hdf5_path=str(tmp_path), **folds)
        scores.add(float(evaluation.process(pipelines)["score"].iloc[0]))
    assert len(scores) == 6


def test_bad_stretches_leave_no_window() -> None:
    raw, table = recording(0)
    raw.set_annotations(mne.Annotations([20.0], [3.0], ["BAD_jump"]))
    source = {1: {1: {1: (raw, table)}}}
    made = as_moabb_dataset(source, code="Bad2", interval=(0.0, TASK), events=["left_hand", "right_hand"])
    _, _, metadata = PseudoOnlineParadigm(window=1.0, step=0.5).get_data(made)
    assert not ((metadata["stop"] > 20.0) & (metadata["onset"] < 23.0)).any()
    assert ((metadata["stop"] > 19.4) & (metadata["onset"] < 24.0)).any()
    whole = PseudoOnlineParadigm(window=1.0, step=0.5, reject_by_annotation=False).get_data(made)
    assert len(whole[2]) > len(metadata)


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    data, paradigm = dataset_of(0), PseudoOnlineParadigm(window=2.0)
    with pytest.raises(DataError, match="windows come as arrays"):
        paradigm.get_data(data, return_epochs=True)
    with pytest.raises(DataError, match="not what it should be"):
        PseudoOnlineParadigm(window=0.0)
    with pytest.raises(DataError, match="no protocol"):
        PseudoOnlineEvaluation(paradigm, [data], protocol="random")
    with pytest.raises(DataError, match="longer than the recording"):
        PseudoOnlineParadigm(window=500.0).get_data(data)
    with pytest.raises(DataError, match="one class"):
        list(
            BlockedWindows(2).split(
                [0] * 8, [0, 0, 0, 0, 1, 1, 1, 1], np.column_stack([[0] * 8, range(8), range(1, 9), [1] * 8])
            )
        )
    cached = CacheConfig(save_array=True, use=True, path=str(tmp_path))
    paradigm.get_data(data, cache_config=cached)
