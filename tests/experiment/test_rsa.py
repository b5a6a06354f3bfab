"""The rsa section: several subjects and regions, models from files, inference, regions by topology, clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainalign.analysis import rsa
from brainalign.errors import DataError
from brainalign.experiment import Experiment, run_experiment
from brainalign.experiment.context import Context
from brainalign.experiment.steps import compute
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec

FINGERS = [f"finger-{number}" for number in range(1, 6)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Planted copies of both data sets where the experiment looks for them."""
    trees = {name: make_tree(name, tmp_path / name) for name in ("fingers7t", "images92")}
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
    released = DatasetSpec.load
    monkeypatch.setattr(DatasetSpec, "load", lambda name: trees[name].spec if name in trees else released(name))
    features = trees["fingers7t"].truth["features"]
    square = np.square(features[:, None] - features[None]).sum(-1)
    pd.DataFrame(square, FINGERS, FINGERS).iloc[::-1, [2, 0, 1, 4, 3]].to_csv(tmp_path / "truth.csv")
    rsa.RDMs(rsa.from_square(square), FINGERS).save(tmp_path / "saved")
    return tmp_path


def experiment(analysis, *, dataset="fingers7t", models=None, **changes):
    plain = {"name": "x", "title": "x", "dataset": {"name": dataset}, "models": models or {}, "analyses": [analysis]}
    if dataset == "fingers7t":
        plain["dataset"]["subjects"] = "all"
    return Experiment.model_validate({**plain, **changes})


def fingers(models=None, **options):
    models = models or {"truth": {"file": "${BRAINALIGN_DATA}/truth.csv"}, "muscle": {"dataset": "muscle"}}
    given = {"kind": "rsa", "name": "a", "models": list(models), "metric": "crossnobis", "method": "whitened_cosine"}
    return experiment({**given, "n_draws": 100, **options}, models=models)


def done(asked):
    return compute(asked.analyses[0], Context(asked))


def test_the_planted_geometry_wins_by_label_and_as_the_library_has_it(home):
    asked = fingers({"truth": {"file": "${BRAINALIGN_DATA}/truth.csv"}, "saved": {"file": str(home / "saved")},
                     "muscle": {"dataset": "muscle"}}, bootstrap="subjects", correct="holm")  # fmt: skip
    result = done(asked)
    value = {name.split("/")[2]: score.value for name, score in result.scores.items()}
    assert value["truth"] == pytest.approx(value["saved"]) and value["truth"] > 0.9 > value["muscle"]
    people = [load("fingers7t", subject=subject) for subject in (1, 2, 3)]
    rdms = np.stack([rsa.rdm(one, metric="crossnobis", labels="stimulus_id", groups="run") for one in people])
    np.testing.assert_allclose(result.arrays["rdm_0"], rdms, rtol=1e-4, atol=1e-6)
    assert result.scores["a/M1/truth - muscle"].value == pytest.approx(value["truth"] - value["muscle"])
    rows = {row["model"]: row for row in result.facts["results"]["M1"]["models"]}
    assert rows["truth"]["q_zero"] >= rows["truth"]["p_zero"]


def test_a_run_ends_in_a_report_and_a_summary(home):
    made = run_experiment(fingers(bootstrap="both"), out=home / "run")
    text = made.report.read_text()
    assert "finger" in text and "noise ceiling" in text
    assert set(made.scores) == {"a/M1/truth", "a/M1/muscle", "a/M1/truth - muscle"}


def test_noise_covariance_changes_distances(home):
    plain, white = (done(fingers(noise=noise)).arrays["rdm_0"] for noise in (None, "diagonal"))
    trials = load("fingers7t", subject=1)
    X, labels = trials.responses.astype(float), trials.trials["stimulus_id"].to_numpy()
    expected = rsa.whitened_crossnobis(X, labels=labels, groups=trials.trials["run"], shrinkage="diagonal")
    np.testing.assert_allclose(white[0], expected)
    assert not np.allclose(plain[0], expected)


def test_networks_as_mixtures_and_categories(home):
    latents = {"pixels": {"model": "pixels:8"}, "grey": {"model": "pixels:4:grey"}}
    analysis = {"kind": "rsa", "name": "a", "latents": ["pixels", "grey"], "models": ["kinds"], "method": "pearson"}
    asked = experiment({**analysis, "fit": "weighted", "n_draws": 20}, dataset="images92", latents=latents,
                       models={"kinds": {"column": "animate"}})  # fmt: skip
    result = done(asked)
    assert {"a/EVC/pixels", "a/IT/grey", "a/IT/kinds"} <= set(result.scores)
    kinds = result.arrays["models"][result.facts["labels"].index("kinds")]
    assert kinds.sum() == 4 * 4  # four animate pictures by four that are not


def test_regions_are_identified_by_every_summary_and_not_when_shuffled(home):
    summaries = {"distances": {}, "graph": {"low": 0.5, "high": 0.5}, "paths": {"high": 0.6, "geodesic": True}}
    asked = experiment({"kind": "rsa_regions", "name": "r", "summaries": summaries}, dataset="images92")
    scores = done(asked).scores
    assert scores["r/distances"].value == 1.0 and scores["r/distances"].chance == 0.5
    assert scores["r/graph - distances"].value <= 0
    some = experiment({"kind": "rsa_regions", "name": "r", "summaries": {"d": {}}, "n_conditions": 4, "n_sets": 20},
                      dataset="images92")  # fmt: skip
    assert 0.5 < done(some).scores["r/d"].value <= 1.0
    context = Context(asked)
    rng = np.random.default_rng(0)
    for d in context.source.rdms.values():
        d[:] = rng.random(d.shape)
    assert compute(asked.analyses[0], context).scores["r/distances"].value < 0.9


def test_over_time(home):
    options = {"n_stimuli": 8, "model": "pixels:4", "n_repetitions": 2, "modality": "eeg"}
    asked = experiment(
        {"kind": "rsa", "name": "a", "latents": ["pixels"], "window": 0.4, "n_draws": 20},
        dataset="simulated", latents={"pixels": {"model": "pixels:4"}},
    ).model_dump()  # fmt: skip
    asked["dataset"]["options"] = options
    made = run_experiment(Experiment.model_validate(asked), out=home / "time")
    assert made.scores and made.report.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": ["M2"]}, "Did you mean 'M1'"),
        ({"labels": "fingr"}, "fingr"),
        ({"labels": "roi"}, "roi"),
        ({"trials": "stimulus_id in ['finger-1', 'finger-2']"}, "3 or more"),
        ({"trials": "stimulus_id != 'finger-1'"}, "different conditions"),
        ({"groups": "rum"}, "rum"),
    ],
)
def test_bad_options_are_refused_before_any_compute(home, options, message):
    with pytest.raises(DataError, match=message):
        done(fingers(**options))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda table: table.iloc[:-1, :-1], "different conditions"),
        (lambda table: table.rename(index={"finger-2": "finger-1"}), "not the same labels"),
        (lambda table: table.mask(table == table.iloc[0, 1]), "without a number"),
        (lambda table: table + 1, "diagonal"),
        (lambda table: table.iloc[:2, :2], "3 or more|different"),
        (lambda table: table.astype(object).mask(table == table.iloc[0, 1], "x"), "numbers"),
    ],
)
def test_bad_model_files_are_refused(home, damage, message):
    path: Path = home / "truth.csv"
    table = pd.read_csv(path, index_col=0).loc[FINGERS, FINGERS]
    damage(table).to_csv(path)
    with pytest.raises(DataError, match=message):
        done(fingers())
    path.unlink()
    with pytest.raises(DataError, match=r"truth\.csv"):
        done(fingers())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"models": []}, "compares with something"),
        ({"models": ["muscles"]}, "Did you mean 'muscle'"),
        ({"fit": "weighted", "method": "spearman"}, "not fitted by ranks"),
        ({"metric": "correlation", "noise": "diagonal"}, "takes no noise"),
        ({"step": 0.1}, "give the window"),
        ({"kind": "regress", "columns": ["run"]}, "takes one subject"),
    ],
)
def test_contradictions_are_refused_by_the_schema(wrong, message):
    given = {"kind": "rsa", "name": "a", "models": ["muscle"], "metric": "crossnobis", "method": "cosine", **wrong}
    if given["kind"] == "regress":
        given = {name: given[name] for name in ("kind", "name", "columns")}
    with pytest.raises(ValueError, match=message):
        experiment(given, models={"muscle": {"dataset": "muscle"}})


def test_rdms_that_come_as_such_take_no_metric(home):
    asked = experiment({"kind": "rsa", "name": "a", "models": ["k"], "metric": "cosine"}, dataset="images92",
                       models={"k": {"column": "kind"}})  # fmt: skip
    with pytest.raises(DataError, match="comes as RDMs"):
        done(asked)
