"""The benchmark runs at a small size and both sides agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.slow
def test_both_sides_agree(tmp_path: Path) -> None:
    pytest.importorskip("pyriemann")
    script, rows = REPOSITORY / "scripts" / "bench" / "bench_bci.py", tmp_path / "rows.json"
    subprocess.run([sys.executable, str(script), "--quick", "--json", str(rows)], check=True, capture_output=True)
    for row in json.loads(rows.read_text()):
        assert row["max_abs_diff"] < (0.2 if row["case"] == "grid" else 1e-6), row
