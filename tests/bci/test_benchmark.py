"""Scores are MOABB's own at equal folds; results are kept fold by fold under keys that tell different results apart."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from moabb.datasets.fake import FakeDataset
from moabb.evaluations import CrossSessionEvaluation, CrossSubjectEvaluation, WithinSessionEvaluation
from moabb.paradigms import LeftRightImagery
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from brainalign.bci import build_pipeline
from brainalign.bci import energy as energy_module
from brainalign.bci.benchmark import evaluate_pipelines, moabb_results
from brainalign.bci.moabb_datasets import as_moabb_dataset
from brainalign.bci.protocols import Protocol, moabb_evaluation
from brainalign.bci.results import ResultStore, data_hash, described, result_key, versions
from brainalign.errors import DataError
from brainalign.trials import Trials
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore:Montage name 'standard_1005' is deprecated:FutureWarning")

CLASSES = ["left_hand", "right_hand"]
EVALUATIONS = {
    "within_session": WithinSessionEvaluation,
    "cross_session": CrossSessionEvaluation,
    "cross_subject": CrossSubjectEvaluation,
}


def fake(seed: int = 0) -> FakeDataset:
    return FakeDataset(CLASSES, n_subjects=2, n_sessions=2, n_runs=1, seed=seed)


def power() -> FunctionTransformer:
    return FunctionTransformer(log_power)


def log_power(X: np.ndarray) -> np.ndarray:
    return np.log(np.var(X, axis=-1))


def quick() -> dict:
    return {"lr": make_pipeline(power(), LogisticRegression())}


@pytest.mark.parametrize("name", EVALUATIONS)
def test_scores_are_those_of_moabb(name: str, tmp_path: Path) -> None:
    pipelines = {**quick(), "ts_lr": build_pipeline("ts_lr")}
    if name == "cross_session":  # a network too
        pipelines["eegnet"] = build_pipeline("eegnet", sizes={"kernel": 16}, training={"n_epochs": 1})
    paradigm = LeftRightImagery()
    ours = moabb_results(evaluate_pipelines([fake()], pipelines, paradigm, protocol=Protocol(name, seed=7)))
    evaluation = EVALUATIONS[name](paradigm, [fake()], random_state=7, hdf5_path=str(tmp_path), overwrite=True)
    theirs = evaluation.process(pipelines)
    both = ours.merge(theirs, on=["dataset", "subject", "session", "pipeline"], suffixes=("", "_moabb"))
    assert len(both) == len(ours) == len(theirs) == 4 * len(pipelines)
    for column in ("score", "samples", "samples_test", "n_classes", "channels", "n_sessions"):
        assert (both[column].astype("f4") == both[f"{column}_moabb"].astype("f4")).all(), column


def test_folds_come_from_the_store_and_only_the_right_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResultStore(tmp_path)

    def run(dataset=None, protocol=Protocol("within_session", n_splits=3), pipelines=None, scorer=None) -> set[str]:
        """Names of the files that a run added."""
        before = {path.name for path in tmp_path.rglob("*.json")}
        evaluate_pipelines(
            [dataset or fake()], pipelines or quick(), LeftRightImagery(scorer=scorer), protocol=protocol, store=store
        )
        return {path.name for path in tmp_path.rglob("*.json")} - before

    assert len(run()) == 12
    assert not run()
    # Each of these is answered from its own folds, not from those of the first run.
    for changes in (
        {"protocol": Protocol("within_session", n_splits=4)},
        {"protocol": Protocol("within_session", n_splits=3, seed=1)},
        {"protocol": Protocol("cross_session")},
        {"scorer": "accuracy"},
        {"dataset": fake(seed=5)},
        {"pipelines": {"lr": make_pipeline(power(), LogisticRegression(C=0.5))}},
    ):
        assert len(run(**changes)) >= 4, changes
    # Another version of a library may score otherwise.
    monkeypatch.setattr("brainalign.bci.benchmark.versions", lambda: versions() | {"scikit-learn": "0.1"})
    assert len(run()) == 12
    table = store.table()
    assert len(table) == len(store) == 6 * 12 + 16 + 4 and table["key"].is_unique


def test_what_moabb_confuses_is_told_apart(tmp_path: Path) -> None:
    """MOABB answers a run with other folds from the scores of the first (which is why the store is ours)."""
    paradigm, pipelines = LeftRightImagery(), {"coin": DummyClassifier(strategy="uniform", random_state=0)}
    pipelines["lr"] = quick()["lr"]
    options = {"hdf5_path": str(tmp_path / "moabb")}
    theirs = [WithinSessionEvaluation(paradigm, [fake()], random_state=s, **options).process(pipelines) for s in (0, 1)]
    pd.testing.assert_frame_equal(*theirs)
    ours = [
        evaluate_pipelines([fake()], pipelines, paradigm, protocol=Protocol(seed=seed), store=tmp_path / "ours")
        for seed in (0, 1)
    ]
    assert (ours[0]["fold_hash"] != ours[1]["fold_hash"]).all() and (ours[0]["score"] != ours[1]["score"]).any()


def test_description_of_estimators() -> None:
    weights = np.arange(3.0)
    assert described(LogisticRegression()) == described(LogisticRegression())
    different = [
        LogisticRegression(),
        LogisticRegression(C=2),
        make_pipeline(power(), LogisticRegression()),
        make_pipeline(FunctionTransformer(np.log), LogisticRegression()),
        FunctionTransformer(lambda X: X + 1),
        FunctionTransformer(lambda X: X + 2),
        FunctionTransformer(log_power, kw_args={"w": weights}),
        FunctionTransformer(log_power, kw_args={"w": weights + 1}),
    ]
    keys = [result_key({"pipeline": described(one)}) for one in different]
    assert len(set(keys)) == len(different)
    with pytest.raises(DataError, match="only its address"):
        described(object())


def test_networks_that_differ_in_weights_alone_have_two_descriptions() -> None:
    import torch

    nets = [torch.nn.Linear(2, 2) for _ in range(2)]
    assert described(nets[0]) == described(nets[0]) != described(nets[1])


def test_data_hash_sees_samples_labels_and_order() -> None:
    X, y, table = np.arange(6.0).reshape(2, 3), ["a", "b"], pd.DataFrame({"run": [1, 2]})
    hashes = [data_hash(X, y, table), data_hash(X, y[::-1], table), data_hash(X + 1e-12, y, table)]
    hashes += [data_hash(X[::-1], y, table), data_hash(X, y, table.assign(run=3))]
    assert len(set(hashes)) == 5 and data_hash(X.copy(), y, table.copy()) == hashes[0]


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.write({"a": 1}, [{"score": 0.5}])
    (path,) = tmp_path.rglob("*.json")
    path.write_text(path.read_text().replace('"a": 1', '"a": 2'))
    with pytest.raises(DataError, match="not a result"):
        store.read({"a": 1})
    path.write_text(path.read_text()[:20])
    with pytest.raises(DataError, match="not a result"):
        store.table()


SLOW = """
import sys, time
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from moabb.datasets.fake import FakeDataset
from moabb.paradigms import LeftRightImagery
from brainalign.bci.benchmark import evaluate_pipelines

class Slow(ClassifierMixin, BaseEstimator):
    seconds, n_fits = 0.0, 0
    def fit(self, X, y):
        Slow.n_fits += 1
        print("fit", flush=True)
        time.sleep(Slow.seconds)
        self.classes_ = np.unique(y)
        return self
    def decision_function(self, X):
        return X.mean(axis=(1, 2))

def run(store):
    fake = FakeDataset(["left_hand", "right_hand"], n_subjects=1, n_sessions=2, n_runs=1, seed=0)
    return evaluate_pipelines([fake], {"slow": Slow()}, LeftRightImagery(), store=store)
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_model.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = "import sys, slow_model as m; m.Slow.seconds = 1.0; m.run(sys.argv[1])"
    killed = subprocess.Popen(
        [sys.executable, "-c", command, str(tmp_path / "store")],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert killed.stdout is not None
    assert [killed.stdout.readline() for _ in range(2)] == ["fit\n"] * 2  # in the second fold
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    n_done = len(ResultStore(tmp_path / "store"))
    assert n_done == 1
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("slow_model")
    again = module.run(tmp_path / "store")
    assert module.Slow.n_fits == 9
    fresh = module.run(tmp_path / "other")
    assert module.Slow.n_fits == 19
    same = [name for name in fresh if not name.endswith("_seconds")]
    pd.testing.assert_frame_equal(again[same], fresh[same])


def test_energy_is_measured_where_codecarbon_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tracker:
        def __init__(self, **options: object) -> None:
            assert options["save_to_file"] is False

        def start_task(self, name: str) -> None:
            self.name = name

        def stop_task(self, name: str) -> types.SimpleNamespace:
            assert name == self.name
            return types.SimpleNamespace(energy_consumed=2e-6, emissions=3e-6)

    monkeypatch.setitem(
        sys.modules, "codecarbon", types.SimpleNamespace(OfflineEmissionsTracker=Tracker, __spec__=object())
    )
    monkeypatch.setattr(energy_module, "find_spec", lambda name: name)
    energy_module._tracker.cache_clear()
    table = evaluate_pipelines([fake()], quick(), LeftRightImagery(), protocol="cross_session")
    assert (table["energy_kwh"] == 2e-6).all() and "carbon_g" not in table
    monkeypatch.setenv("CODECARBON_COUNTRY_ISO_CODE", "FRA")
    table = evaluate_pipelines([fake()], quick(), LeftRightImagery(), protocol="cross_session")
    assert np.allclose(table["carbon_g"], 3e-3) and np.allclose(moabb_results(table)["carbon_emission"], 3e-3)
    energy_module._tracker.cache_clear()


@pytest.mark.parametrize("name", ["within_session", "cross_run", "cross_session", "cross_subject"])
def test_moabbs_evaluation_of_a_protocol_has_its_folds(name: str, tmp_path: Path) -> None:
    dataset = FakeDataset(CLASSES, n_subjects=2, n_sessions=2, n_runs=2, seed=0)
    protocol = Protocol(name, n_splits=2 if name == "cross_subject" else None, seed=3)
    ours = moabb_results(evaluate_pipelines([dataset], quick(), LeftRightImagery(), protocol=protocol))
    theirs = moabb_evaluation(protocol, LeftRightImagery(), [dataset], hdf5_path=str(tmp_path)).process(quick())
    both = ours.merge(theirs, on=["dataset", "subject", "session", "pipeline"], suffixes=("", "_moabb"))
    assert len(both) == 4 and (both["score"].astype("f4") == both["score_moabb"].astype("f4")).all()


def test_p300_by_a_baseline_of_the_set() -> None:
    from moabb.paradigms import P300

    speller = FakeDataset(["Target", "NonTarget"], paradigm="p300", n_subjects=1, n_sessions=1, n_runs=1, seed=0)
    table = evaluate_pipelines(
        [speller], {"xdawn": build_pipeline("xdawn_ts_lr")}, P300(), protocol=Protocol(n_splits=2)
    )
    assert len(table) == 2 and table["score"].between(0, 1).all() and (table["chance"] == 0.5).all()


def planted(labels: list[str], *, flat: bool = False, session: list[int] | None = None) -> Trials:
    data = np.random.default_rng(0).standard_normal((len(labels), 2, 257)) * 1e-5
    if flat:
        data[:] = 0
    table = pd.DataFrame({"stimulus_id": labels, "session": session or [1] * len(labels)})
    return Trials(data, table, times=np.arange(257) / 128)


@pytest.mark.parametrize(
    ("labels", "session", "protocol", "told"),
    [
        (["left_hand"] * 8 + ["right_hand"] * 8, [1] * 8 + [2] * 8, "cross_session", "one class"),
        (CLASSES * 4, None, "cross_session", "two sessions"),
        (CLASSES * 4, None, "cross_subject", "two subjects"),
        (CLASSES * 4, None, "pseudo_online", "say not where windows lie"),
    ],
)
def test_what_a_protocol_cannot_do_is_refused(labels, session, protocol, told) -> None:
    dataset = as_moabb_dataset(planted(labels, session=session), code="Planted1")
    with pytest.raises(DataError, match=told):
        evaluate_pipelines([dataset], quick(), LeftRightImagery(), protocol=protocol)


def test_more_that_is_refused() -> None:
    paradigm = LeftRightImagery()
    with pytest.raises(DataError, match="each dataset of its own code"):
        evaluate_pipelines([fake(), fake(seed=1)], quick(), paradigm)
    with pytest.raises(DataError, match="protocol"):
        Protocol("within_sesion")
    other = as_moabb_dataset(planted(["a", "b"] * 4), code="Other1")
    with pytest.raises(DataError, match="does not fit"):
        evaluate_pipelines([other], quick(), paradigm)
    three = planted([*(CLASSES * 4), *(["feet"] * 2), *(CLASSES * 4)], session=[1] * 8 + [2] * 10)
    from moabb.paradigms import MotorImagery

    with pytest.raises(DataError, match="never trained on"):
        evaluate_pipelines(
            [as_moabb_dataset(three, code="Three1")], quick(), MotorImagery(n_classes=3), protocol="cross_session"
        )


@pytest.mark.parametrize("spoil", ["flat", "nan"])
def test_flat_and_missing_channels_are_refused(spoil: str) -> None:
    trials = planted(CLASSES * 10, flat=spoil == "flat")
    if spoil == "nan":
        trials.responses[3, 0, 5] = np.nan
    dataset = as_moabb_dataset(trials, code="Spoilt1")
    with pytest.raises(DataError, match="do not vary" if spoil == "flat" else "NaN|finite"):
        evaluate_pipelines([dataset], {"mdm": build_pipeline("mdm")}, LeftRightImagery())


def test_an_average_reference_is_no_obstacle() -> None:
    trials = planted(CLASSES * 10)
    trials.responses[::2, 0] *= 3
    trials.responses[:] -= trials.responses.mean(axis=1, keepdims=True)
    dataset = as_moabb_dataset(trials, code="Referenced1")
    pipelines = {name: build_pipeline(name) for name in ("mdm", "ts_lr", "acm_mdm")}
    table = evaluate_pipelines([dataset], pipelines, LeftRightImagery(), protocol=Protocol(n_splits=2))
    assert np.isfinite(table["score"]).all() and table["score"].mean() > 0.9


def test_a_score_that_is_no_number_is_refused() -> None:
    def nothing(model, X, y) -> float:
        return float("nan")

    with pytest.raises(DataError, match="scores no number"):
        evaluate_pipelines([fake()], quick(), LeftRightImagery(scorer=nothing), protocol="cross_session")


def test_moabb_draws_and_tests_our_results() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from moabb.analysis.meta_analysis import compute_dataset_statistics, find_significant_differences
    from moabb.analysis.plotting import paired_plot, score_plot, summary_plot

    pipelines = {**quick(), "coin": make_pipeline(power(), DummyClassifier(strategy="uniform", random_state=0))}
    table = moabb_results(evaluate_pipelines([fake()], pipelines, LeftRightImagery(), protocol="cross_session"))
    statistics = compute_dataset_statistics(table)
    p_values, effects = find_significant_differences(statistics)
    assert p_values.shape == effects.shape == (2, 2) and statistics["nsub"].eq(2).all()
    assert score_plot(table)[0] is not None and paired_plot(table, "lr", "coin") is not None
    assert summary_plot(p_values, effects) is not None
    pyplot.close("all")
