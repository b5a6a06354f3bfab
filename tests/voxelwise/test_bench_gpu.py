"""`scripts/bench/bench_gpu.py` runs on the CPU too, and agrees with numpy and himalaya."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


def test_the_device_agrees_with_numpy_and_himalaya(tmp_path):
    pytest.importorskip("himalaya")
    script = REPOSITORY / "scripts" / "bench" / "bench_gpu.py"
    options = [
        "--quick",
        "--device",
        "cpu",
        "--case",
        "kfold",
        "--case",
        "banded",
        "--json",
        str(tmp_path / "rows.json"),
    ]
    done = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "rows.json").read_text())
    assert [row["case"] for row in made["rows"]] == ["kfold", "banded"]
    assert all(0 < row["max_abs_diff"] < 1e-4 and row["same_alphas"] > 0.95 for row in made["rows"])
    exact = {name: one for name, one in made["check"].items() if "gradient" not in name}
    assert all(one < (1e-5 if name.endswith("float32") else 1e-10) for name, one in exact.items())
