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
