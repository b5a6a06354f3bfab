"""The shipped experiments on real recordings: at least the plain baselines' yardsticks, each ending in a report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from brainalign.experiment import load_experiment, run_experiment
from tests.conftest import REPOSITORY, data_root, real_data
from tests.report.chromium import open_in_chromium

NEEDS = {
    "digits69": "digits69",
    "haxby_category": "haxby2001",
    "images92": "images92",
    "fingers7t_rsa": "fingers7t",
    "images92_rsa": "images92",
    "meg_sample": "meg_sample",
    "ieeg_bids": "ieeg_bids",
    "ssvep_exo": "ssvep_exo",
    "eegmmidb_pseudo_online": "eegmmidb_s001",
    "eegmmidb_time": "eegmmidb_s001",
    "muse_chosen": "muse_erp",
    "muse_n170": "muse_erp",
}


@pytest.fixture
def do(tmp_path, monkeypatch):
    def run(name):
        real_data(NEEDS[name])
        monkeypatch.setenv("BRAINALIGN_DATA", str(data_root()))
        experiment = load_experiment(REPOSITORY / "scripts" / "experiments" / f"{name}.yaml")
        made = run_experiment(experiment, out=tmp_path / name)
        page = open_in_chromium(made.report)
        assert page.console_errors == page.broken_images == page.requests == []
        assert page.n_images >= 2
        assert json.loads((made.folder / "summary.json").read_text()).keys() == made.scores.keys()
        return made

    return run


def test_digits69(do):
    scores = do("digits69").scores
    assert scores["six_or_nine/accuracy"].value >= 0.94
    assert scores["identify/pixels/two-way"].value >= 0.80
    assert scores["identify/pixels/two-way within"].value >= 0.69
    for name in ("identify/pixels/two-way", "identify/pixels/two-way within", "areas_and_layers/V2/pixels"):
        assert scores[name].low > scores[name].chance
    assert scores["areas_and_layers/V2/pixels"].value > scores["areas_and_layers/other/pixels"].value + 0.05


def test_haxby_category_beside_a_plain_svm(do):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, LinearSVC

    from brainalign.loaders.registry import load

    made = do("haxby_category")
    trials = load("haxby_slice", root=real_data("haxby2001"))
    X, labels, runs = trials.matrix(), trials.trials["label"].to_numpy(), trials.trials["run"].to_numpy()
    score = made.scores["category/accuracy"]
    for svm in (SVC(kernel="linear"), LinearSVC()):
        correct = []
        for run in np.unique(runs):
            plain = make_pipeline(StandardScaler(), svm).fit(X[runs != run], labels[runs != run])
            correct.extend(plain.predict(X[runs == run]) == labels[runs == run])
        assert score.value >= np.mean(correct) - 0.03
    assert score.low > score.chance == pytest.approx(0.125)
    confusion = np.load(made.folder / "steps" / "category" / "confusion.npy")
    assert confusion.sum() == 96 and np.trace(confusion) / 96 == pytest.approx(score.value)
    assert made.scores["zero_shot/accuracy"].chance == 0.5


@pytest.mark.slow
def test_images92(do):
    made = do("images92")
    ceilings = {region: made.scores[f"geometry/{region}/pixels"].ceiling for region in ("EVC", "IT")}
    assert ceilings["IT"] == pytest.approx(0.449, abs=0.01)
    assert ceilings["EVC"] == pytest.approx(0.239, abs=0.01)
    value = {name.split("/", 1)[1]: score.value for name, score in made.scores.items()}
    assert value["EVC/pixels"] > max(value["EVC/efficientnet blocks.6"], value["EVC/alexnet features.11"])
    blocks = [value[f"IT/efficientnet blocks.{number}"] for number in range(7)]
    assert int(np.argmax(blocks)) >= 4, "IT is closest to a late layer"


def test_meg_sample(do):
    scores = do("meg_sample").scores
    assert scores["modality/accuracy"].low > scores["modality/accuracy"].chance
    assert scores["modality/accuracy"].value >= 0.9
    assert scores["modality_over_time/auc"].value > 0.65


def test_ieeg_bids(do):
    made = do("ieeg_bids")
    assert 0 < made.scores["high_gamma/responding"].value < 1
    mean = np.load(made.folder / "steps" / "high_gamma" / "mean.npy")
    assert np.isfinite(mean).all()
    assert len(mean) < 50, "bipolar derivations are fewer than contacts"


def test_fingers7t_rsa(do):
    scores = do("fingers7t_rsa").scores
    for model in ("muscle", "natural statistics", "somatotopy"):
        assert scores[f"people/M1/{model}"].low > 0.5
        assert scores[f"people_and_fingers/M1/{model}"].value == pytest.approx(scores[f"people/M1/{model}"].value)
    assert scores["people/M1/natural statistics"].value > scores["people/M1/somatotopy"].value
    assert scores["people/M1/muscle"].ceiling == pytest.approx(0.937, abs=0.005)
    both, people = (scores[f"{name}/M1/muscle"] for name in ("people_and_fingers", "people"))
    assert both.high - both.low > people.high - people.low


@pytest.mark.slow
def test_images92_rsa(do):
    scores = do("images92_rsa").scores
    assert scores["layers/IT/animacy"].low > 0 > scores["layers/EVC/animacy"].low
    assert scores["layers/IT/animacy"].value > scores["layers/EVC/animacy"].value + 0.1
    assert scores["layers/IT/animacy"].ceiling == pytest.approx(0.449, abs=0.01)
    assert scores["regions/distances"].low > 0.5 and scores["regions_of_12/distances"].low > 0.5


@pytest.mark.slow
def test_ssvep_exo(do):
    made = do("ssvep_exo")
    scores = made.scores
    assert max(one.value for name, one in scores.items() if name.startswith("within_session/")) >= 0.6
    for protocol in ("within_session", "cross_session", "cross_subject"):
        assert scores[f"{protocol}/cca_lda"].low > scores[f"{protocol}/cca_lda"].chance == 0.25
        facts = json.loads((made.folder / "steps" / protocol / "manifest.json").read_text())["meta"]["facts"]
        assert max(facts["moabb"]["largest difference of a session"]) < 1e-6
    assert scores["three_frequencies/trca"].low < 1 / 3 < scores["three_frequencies/cca"].low


@pytest.mark.slow
def test_eegmmidb_pseudo_online(do):
    made = do("eegmmidb_pseudo_online")
    value = {name: score.value for name, score in made.scores.items()}
    assert max(value[f"fists_feet/{name}"] for name in ("csp_lda", "ts_lr", "fgmdm", "mdm")) >= 43 / 45
    assert value["left_right/csp_lda"] >= 0.67 and value["left_right_folds/csp_lda"] >= 0.73
    for name in ("csp_lda", "ts_lr", "mdm"):
        online = made.scores[f"online/{name}/nmcc"]
        assert online.low > online.chance == 0.5
        assert value[f"online/{name}/nmcc, shuffled (leaks)"] > online.value


@pytest.mark.slow
def test_muse_n170(do):
    made = do("muse_n170")
    # 10-fold yardsticks .70, .67, .66 and .61. Subject 3 stays below: its runs were worn differently.
    for name, least in {"runs/1": 0.70, "runs/2": 0.65, "runs/3": 0.57, "stretches/11": 0.61}.items():
        assert made.scores[f"{name}/auc"].value >= least and made.scores[f"{name}/auc"].low > 0.5
        linear = f"linear/{name[-1]}/auc" if name.startswith("runs") else "linear_stretches/11/auc"
        assert made.scores[f"{name}/auc"].value > made.scores[linear].value
    values, times = (np.load(made.folder / "steps" / "over_time" / f"{part}-1.npy") for part in ("values", "times"))
    assert 0.1 < times[values.argmax()] < 0.3


@pytest.mark.slow
def test_muse_chosen(do):
    """Nothing was set on these runs; only subjects 1 and 11 reach the 10-fold yardstick."""
    scores = do("muse_chosen").scores
    for name, least in {"runs/1": 0.70, "runs/2": 0.54, "runs/3": 0.55, "stretches/11": 0.61}.items():
        assert scores[f"{name}/auc"].value >= least and scores[f"{name}/auc"].low > 0.5


@pytest.mark.slow
def test_eegmmidb_time(do):
    made = do("eegmmidb_time")
    assert made.scores["chosen/accuracy"].value >= 0.95
    assert made.scores["fists_or_feet/accuracy"].value >= 0.9 and made.scores["fists_or_feet/auc"].value >= 0.95
    values, times = (np.load(made.folder / "steps" / "over_time" / f"{part}.npy") for part in ("values", "times"))
    assert values[times > 0.5].mean() > 0.75
