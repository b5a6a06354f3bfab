"""`scripts/bench/bench_banded.py` runs at small size and agrees with its peers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


def run(tmp_path, *arguments: str) -> list[dict]:
    script = REPOSITORY / "scripts" / "bench" / "bench_banded.py"
    command = [sys.executable, str(script), "--quick", "--json", str(tmp_path / "rows.json"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "rows.json").read_text())


def check(row: dict) -> None:
    assert row["ratio"] == pytest.approx(row["peer_cpu_s"] / row["ours_cpu_s"])
    assert 0 < row["max_abs_diff"] < 1e-4 and row["same_choice"] > 0.95


@pytest.mark.slow
def test_one_case_beside_its_peer(tmp_path):
    pytest.importorskip("himalaya")
    (row,) = run(tmp_path, "--case", "banded-float32")
    check(row)
    assert row["floor_cpu_s"] > 0


@pytest.mark.slow
def test_every_peer(tmp_path):
    pytest.importorskip("himalaya")
    rows = run(tmp_path, "--case", "banded")
    assert len({row["peer"] for row in rows}) == 4
    for row in rows:
        check(row)
