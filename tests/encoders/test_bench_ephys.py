"""`scripts/bench/bench_ephys.py`: in every case the trainer ends at the weights of the bare loop, bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "bench" / "bench_ephys.py"
NAMES = (
    *("tsconv", "atm", "eegnet", "shallowconvnet", "du_in_codes", "du_in_mask", "du_in"),
    *("brain_mae_windows", "brain_mae", "wave", "unified", "lag_network"),
)


@pytest.fixture
def cases(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return {one.name: one for one in import_module("bench_ephys").CASES}


@pytest.mark.parametrize("name", NAMES)
def test_the_trainer_takes_the_steps_of_the_bare_loop(cases, name):
    assert set(cases) == set(NAMES)
    case = cases[name]
    inputs = case.make(True)
    before = np.concatenate([one.detach().numpy().ravel() for one in case.peer.build(inputs)[0].parameters()])
    made = [side.prepare()(side.build(inputs)) for side in (case.ours, case.peer)]
    found = case.compare(*made)
    assert found["max_abs_diff"] == 0 and found["samples"] >= 64 and found["share_reading"] > 0
    assert np.abs(made[0]["weights"] - before).max() > 1e-5  # it did train


@pytest.mark.slow
def test_rows_of_sides_that_take_turns(tmp_path):
    command = [sys.executable, str(SCRIPT), "--quick", "--json", str(tmp_path / "rows.json"), "--case", "wave"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["max_abs_diff"] == 0 and row["ours_peak_mb"] > 0
    assert row["ours_samples_per_s"] == pytest.approx(128 / row["ours_cpu_s"], rel=0.01)
    assert row["ratio"] > 0
