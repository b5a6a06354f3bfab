"""An experiment runs, resumes, leaves what it promises, and finds what was planted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from brainalign.cli import app
from brainalign.errors import DataError
from brainalign.experiment import report_run, run_experiment, steps
from tests.conftest import REPOSITORY
from tests.experiment.small import small
from tests.report.chromium import open_in_chromium

FIELDS = {"value", "ceiling", "chance", "low", "high", "n", "split", "protocol", "why"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_experiment(small(), out=tmp_path_factory.mktemp("runs") / "small")


def test_a_run_leaves_what_it_promises(run):
    summary = json.loads((run.folder / "summary.json").read_text())
    assert set(summary) == set(run.scores)
    for name, row in summary.items():
        assert set(row) == FIELDS, name
        assert all(row[field] is not None or row["why"].get(field) for field in FIELDS - {"why"}), name
    assert json.loads((run.folder / "config.json").read_text())["name"] == "small"
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["packages"]["numpy"] == np.__version__
    steps_logged = [json.loads(line)["step"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert steps_logged == ["identify", "category", "layers", "geometry"]
    assert "identify/pixels/two-way" in run.table()


def test_the_planted_link_is_found(run):
    assert run.scores["identify/pixels/two-way"].low > 0.55
    assert run.scores["layers/V1/pixels"].low > 0.2
    assert run.scores["layers/V1/pixels"].value < run.scores["layers/V1/pixels"].ceiling + 0.1
    assert run.scores["geometry/V1/pixels"].low > 0


def test_a_second_run_does_nothing_again(run, monkeypatch):
    monkeypatch.setattr(steps, "compute", lambda *_: pytest.fail("a finished step was done again"))
    again = run_experiment(small(), out=run.folder)
    assert {name: score.to_row() for name, score in again.scores.items()} == {
        name: score.to_row() for name, score in run.scores.items()
    }
    assert report_run(run.folder) == run.report


def test_a_changed_analysis_is_done_again_and_the_others_are_not(run, monkeypatch):
    plain = small().model_dump()
    plain["analyses"][1]["classifier"] = "lda"
    done = []
    real = steps.compute
    monkeypatch.setattr(
        steps, "compute", lambda analysis, context: done.append(analysis.name) or real(analysis, context)
    )
    run_experiment(small(analyses=plain["analyses"]), out=run.folder)
    assert done == ["category"]
    run_experiment(small(), out=run.folder)


def test_a_damaged_step_is_done_again(run):
    array = next((run.folder / "steps" / "geometry").glob("models.npy"))
    array.write_bytes(array.read_bytes()[:-5])
    again = run_experiment(small(), out=run.folder)
    assert again.scores["geometry/V1/pixels"].value == run.scores["geometry/V1/pixels"].value


def test_another_experiment_does_not_overwrite_a_run(run):
    with pytest.raises(DataError, match="another experiment"):
        run_experiment(small(name="other"), out=run.folder)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path, run):
    code = textwrap.dedent(
        """
        import sys
        from brainalign.experiment import run_experiment
        from tests.experiment.small import small
        run_experiment(small(), out=sys.argv[1])
        """
    )
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], cwd=REPOSITORY, env=os.environ.copy())
    deadline = time.monotonic() + 120
    while not (out / "steps" / "identify").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "report.html").exists()
    resumed = run_experiment(small(), out=out)
    logged = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert logged.count("identify") <= 1 and sorted(set(logged) | {"identify"}) == [
        "category",
        "geometry",
        "identify",
        "layers",
    ]
    assert {name: score.value for name, score in resumed.scores.items()} == {
        name: score.value for name, score in run.scores.items()
    }


def test_the_report_opens_without_a_fault(run):
    page = open_in_chromium(run.report)
    assert page.console_errors == []
    assert page.n_images > 5
    assert page.broken_images == []
    text = run.report.read_text()
    assert "Small &lt;b&gt;&amp; quick&lt;/b&gt;" in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_the_command_line_runs_and_reports(tmp_path, run):
    result = CliRunner().invoke(app, ["report", str(run.folder)])
    assert result.exit_code == 0, result.output
    assert "report.html" in result.output
    missing = CliRunner().invoke(app, ["run", str(tmp_path / "none.yaml")])
    assert missing.exit_code == 1
    assert "SpecError" in missing.output
    nothing = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert nothing.exit_code == 1
    assert "not a run folder" in nothing.output
    listed = CliRunner().invoke(app, ["datasets"])
    assert "nsd" in listed.output


def test_a_shuffled_copy_scores_at_chance(tmp_path, monkeypatch):
    from brainalign.experiment.context import Context

    source = Context.source.func

    def shuffled(self):
        trials = source(self)
        ids = trials.trials["stimulus_id"].unique()
        other = dict(zip(ids, np.random.default_rng(3).permutation(ids), strict=True))
        return trials.with_trials(stimulus_id=[other[one] for one in trials.stimulus_ids])

    prop = type(Context.source)(shuffled)
    prop.__set_name__(Context, "source")
    monkeypatch.setattr(Context, "source", prop)
    scores = run_experiment(small(), out=tmp_path / "shuffled").scores
    assert scores["identify/pixels/two-way"].low < 0.5 < scores["identify/pixels/two-way"].high + 0.05
    assert scores["layers/V1/pixels"].value < 0.1
    assert abs(scores["geometry/V1/pixels"].value) < 0.1
