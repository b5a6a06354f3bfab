"""`scripts/bench/bench_linear_encoder.py` runs at small size and agrees with its peers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.slow
def test_every_case_beside_its_peers(tmp_path):
    script = REPOSITORY / "scripts" / "bench" / "bench_linear_encoder.py"
    command = [sys.executable, str(script), "--quick", "--json", str(tmp_path / "rows.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["case"], row["peer"]) for row in rows] == [("tenth", "sklearn Ridge"), ("nsd", "products alone")]
    for row in rows:
        assert 0 < row["max_abs_diff"] < 1e-4 and row["ours_cpu_s"] > 0
