"""`scripts/bench/bench_brain_it.py` runs at small size and agrees with its peer."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.slow
def test_pooling_beside_the_plain_scatter(tmp_path):
    script = REPOSITORY / "scripts" / "bench" / "bench_brain_it.py"
    command = [sys.executable, str(script), "--quick", "--json", str(tmp_path / "rows.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["case"] == "cluster_pool" and 0 < row["max_abs_diff"] < 1e-4 and row["ours_cpu_s"] > 0
