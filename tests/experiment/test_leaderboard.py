"""The BCI leaderboard from the command line, and BCI analyses of an experiment, on planted recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from brainalign.cli import app
from brainalign.errors import DataError
from brainalign.experiment import run_experiment
from brainalign.experiment.leaderboard import Leaderboard, find_dataset, run_leaderboard, summarise
from brainalign.experiment.schema import Experiment
from brainalign.loaders.trees import make_tree


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_tree("ssvep_exo", root / "ssvep_exo", sizes={"trials_per_session": 12})
    make_tree("eegmmidb_s001", root / "eegmmidb_s001")
    return root


def test_the_command_finds_what_was_planted_and_resumes(data: Path, tmp_path: Path) -> None:
    command = ["bench", "bci", "--datasets", "ssvep_exo", "--pipelines", "cca_lda,bands_mdm", "--n-splits", "3"]
    command += ["--protocols", "within_session,cross_session,cross_subject", "--scorer", "accuracy"]
    command += ["--subjects", "1,2", "--root", str(data), "--out", str(tmp_path)]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    table = pd.read_csv(tmp_path / "results.csv")
    counts = table.groupby(["protocol", "pipeline"])["score"].agg(["size", "mean"])
    assert counts["size"].to_dict() == {
        (protocol, pipeline): n
        for protocol, n in {"within_session": 12, "cross_session": 4, "cross_subject": 4}.items()
        for pipeline in ("cca_lda", "bands_mdm")
    }
    assert (counts["mean"] > 0.7).all() and (table["chance"] == 0.25).all()
    page = (tmp_path / "report.html").read_text()
    assert "cross subject" in page and "data:image/svg+xml" in page and "fit_seconds" in page
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("folds/*/*.json")}
    assert CliRunner().invoke(app, command).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("folds/*/*.json")} == times
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results.csv"), table)


def test_shuffled_labels_are_at_chance(data: Path, tmp_path: Path) -> None:
    """The same tree with its event codes shuffled (planted signals stay): nothing is left to find."""
    import mne

    tree = make_tree("ssvep_exo", tmp_path / "ssvep_exo", sizes={"trials_per_session": 24})
    for path in tree.root.rglob("*-eve.fif"):
        events = mne.read_events(path, verbose="error")
        events[:, 2] = np.random.default_rng(len(path.name)).permutation(events[:, 2])
        mne.write_events(path, events, overwrite=True, verbose="error")
    asked = Leaderboard(["ssvep_exo"], ["cca_lda"], subjects=[1, 2], protocols=["cross_session"], scorer="accuracy")
    run_leaderboard(asked, out=tmp_path / "out", root=tmp_path)
    scores = pd.read_csv(tmp_path / "out" / "results.csv")["score"]
    assert abs(scores.mean() - 0.25) < 0.15


def test_what_it_cannot_do_is_said(data: Path, tmp_path: Path) -> None:
    one = Leaderboard(["eegmmidb_s001"], ["mdm"], protocols=["cross_subject"])
    with pytest.raises(DataError, match="can do any of these protocols"):
        run_leaderboard(one, out=tmp_path, root=data)
    for wrong, told in (
        ({"datasets": ["ssvep_exx"]}, "Did you mean 'ssvep_exo'"),
        ({"pipelines": ["mdn"]}, "Did you mean 'mdm'"),
        ({"events": ["hand"]}, "class of"),
        ({"protocols": ["cross_sesion"]}, "Did you mean"),
    ):
        asked = Leaderboard(**{"datasets": ["eegmmidb_s001"], "pipelines": ["mdm"], **wrong})
        with pytest.raises(DataError, match=told):
            run_leaderboard(asked, out=tmp_path, root=data)
    told_back = CliRunner().invoke(app, ["bench", "bci", "--datasets", "eegmmidb_s001", "--band", "8"])
    assert told_back.exit_code == 1 and "not a span" in told_back.output


def test_datasets_by_the_name_of_moabb() -> None:
    dataset = find_dataset("BNCI2014_001", subjects=[1, 3])
    assert dataset.code == "BNCI2014-001" and dataset.subject_list == [1, 3]


def test_interval_of_one_subject_counts_its_trials() -> None:
    table = pd.DataFrame({"score": [1.0, 0.5], "n_test": [8, 8], "fit_seconds": 0.1, "chance": 0.5, "session": "1"})
    table = table.assign(dataset="D", subject="1", pipeline="p", scorer="accuracy")
    row = summarise(table).iloc[0]
    assert row["mean"] == 0.75 and row["low"] == pytest.approx(0.476, abs=1e-3) and row["trials"] == 16
    assert summarise(table.assign(scorer="roc_auc"))["low"].isna().all()


def test_an_experiment_offline_and_along_the_runs(data: Path, tmp_path: Path) -> None:
    common = {"pipelines": ["mdm"], "events": ["hands", "feet"], "band": (6.0, 20.0)}
    experiment = Experiment.model_validate(
        {
            "name": "planted",
            "title": "Planted",
            "dataset": {"name": "eegmmidb_s001", "root": str(data / "eegmmidb_s001")},
            "analyses": [
                {
                    "kind": "bci",
                    "name": "trials",
                    "protocol": "cross_run",
                    "scorer": "accuracy",
                    "moabb": True,
                    **common,
                },
                {
                    "kind": "bci_online",
                    "name": "online",
                    "task": 4.0,
                    "step": 0.5,
                    "n_splits": 2,
                    "shuffled": True,
                    **common,
                },
            ],
        }
    )
    run = run_experiment(experiment, out=tmp_path / "run")
    assert run.scores["trials/mdm"].value > 0.8 and run.scores["trials/mdm"].n == 12
    assert run.scores["online/mdm/nmcc"].value > 0.65 and "online/mdm/latency" in run.scores
    assert "leaks" in run.scores["online/mdm/nmcc, shuffled (leaks)"].protocol
    page = run.report.read_text()
    assert "largest difference of a session" in page and "along the first run" in page
