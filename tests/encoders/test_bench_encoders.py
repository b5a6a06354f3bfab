"""`scripts/bench/bench_encoders.py` runs at small size: the trainer takes the steps of the bare loop."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.slow
def test_the_trainer_beside_a_bare_loop(tmp_path):
    script = REPOSITORY / "scripts" / "bench" / "bench_encoders.py"
    command = [sys.executable, str(script), "--quick", "--json", str(tmp_path / "rows.json"), "--case", "mindeye2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["max_abs_diff"] < 1e-4 and row["ours_steps_per_s"] > 0


@pytest.mark.slow
def test_every_system_reaches_its_table(tmp_path):
    script = REPOSITORY / "scripts" / "bench" / "bench_encoders.py"
    cases = [f"table_{name}" for name in ("linear", "mindeye", "mindeye2", "brain_it")]
    asked = [part for one in cases for part in ("--case", one)]
    command = [sys.executable, str(script), "--quick", "--json", str(tmp_path / "rows.json"), *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = {row["case"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    for name in cases:
        assert 0 < rows[name]["fit_s"] < rows[name]["table_s"] and rows[name]["ours_peak_mb"] > 0
    assert all(rows[name]["ours_steps_per_s"] > 0 for name in cases[1:])
