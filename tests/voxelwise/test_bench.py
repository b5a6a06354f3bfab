"""`scripts/bench/bench_ridge.py` runs at small size, agrees with its peers, and writes the rows it promises."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

COLUMNS = {
    "case": str,
    "ours": str,
    "peer": str,
    "ours_cpu_s": float,
    "peer_cpu_s": float,
    "ours_wall_s": float,
    "peer_wall_s": float,
    "ours_peak_mb": float,
    "peer_peak_mb": float,
    "ratio": float,
    "max_abs_diff": float,
    "floor_cpu_s": float,
}
TOLERANCE = {"wide": 1e-3, "search": 5e-3, "bfloat16": 5e-3, "bfloat16-loo": 5e-3}
SAME = {"search": 0.0, "bfloat16": 0.9, "bfloat16-loo": 0.9}


def run(tmp_path, *arguments: str) -> list[dict]:
    script = REPOSITORY / "scripts" / "bench" / "bench_ridge.py"
    command = [sys.executable, str(script), "--quick", "--json", str(tmp_path / "rows.json"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert all(row["case"] in done.stdout for row in rows)
    return rows


def check(row: dict) -> None:
    for name, kind in COLUMNS.items():
        assert isinstance(row[name], kind), f"{name} is {row[name]!r}"
    assert row["ratio"] == pytest.approx(row["peer_cpu_s"] / row["ours_cpu_s"])
    assert min(row["ours_cpu_s"], row["peer_cpu_s"], row["floor_cpu_s"]) > 0
    assert 0 < row["max_abs_diff"] < TOLERANCE.get(row["case"], 1e-5)
    assert row.get("same_alphas", row.get("same_choice")) >= SAME.get(row["case"], 0.97)


def test_one_case_beside_its_peers(tmp_path):
    pytest.importorskip("himalaya")
    rows = run(tmp_path, "--case", "kfold")
    assert [(row["case"], row["peer"]) for row in rows] == [
        ("kfold", "himalaya RidgeCV torch"),
        ("kfold", "himalaya RidgeCV numpy"),
        ("kfold", "sklearn Ridge"),
    ]
    for row in rows:
        check(row)
    assert len({row["ours_cpu_s"] for row in rows}) == 1  # ours is run once


@pytest.mark.slow
def test_every_case_beside_its_peers(tmp_path):
    pytest.importorskip("himalaya")
    rows = run(tmp_path)
    cases = {"kfold", "nsd", "wide", "loo", "float64", "search", "bfloat16", "bfloat16-loo", "banded", "banded-float32"}
    assert {row["case"] for row in rows} == cases
    for row in rows:
        check(row)


def test_the_verdict_names_what_is_missed(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts" / "bench"))
    from _harness import verdict

    ours = {"case": "kfold", "ours_cpu_s": 3.0, "ours_peak_mb": 60.0, "floor_cpu_s": 2.0}
    peers = {"slow and lean": (30.0, 100.0), "fast": (12.0, 150.0)}
    rows = [
        ours | {"peer": name, "peer_cpu_s": cpu, "peer_peak_mb": mb, "ratio": cpu / 3}
        for name, (cpu, mb) in peers.items()
    ]
    said = verdict(rows, {"ratio": 5.0, "memory": 0.5, "floor": 1.6})
    assert "4.00 times fewer CPU seconds than fast [MISSED: >= 5]" in said
    assert "0.40 of its memory (60 MB; leanest peer 100 MB) [met: <= 0.5]" in said
    assert "1.50 times the floor [met: <= 1.6]" in said


def test_an_unknown_case_is_refused(tmp_path):
    script = REPOSITORY / "scripts" / "bench" / "bench_ridge.py"
    done = subprocess.run(
        [sys.executable, str(script), "--case", "fastest"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "invalid choice: 'fastest'" in done.stderr
