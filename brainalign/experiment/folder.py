"""The run folder: what was asked, where it ran, what came out; every step whole or absent, so that a run resumes."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.cache import atomic_write_text, read_artefact, to_json, write_artefact
from brainalign.errors import DataError
from brainalign.scoring.score import Score

__all__ = ["RunFolder", "StepResult", "environment"]

_PACKAGES = ("brainalign", "numpy", "scipy", "pandas", "scikit-learn", "torch", "nibabel", "nilearn", "mne", "timm")


@dataclass(frozen=True)
class StepResult:
    """What one analysis leaves: scores by name, arrays, and plain facts for the report."""

    scores: dict[str, Score] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def environment() -> dict[str, Any]:
    """Versions, machine class and threads: what a figure needs beside it to be read later."""
    from threadpoolctl import threadpool_info

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    pools = sorted({(pool["internal_api"], pool["num_threads"]) for pool in threadpool_info()})
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": [f"{api}: {count}" for api, count in pools],
        "packages": versions,
    }


class RunFolder:
    """Reads and writes one run.

    Parameters
    ----------
    path : path-like
        Made when absent.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def start(self, config: Mapping[str, Any]) -> None:
        """Record what was asked and where it runs; refuse a folder that holds another experiment."""
        known = self.path / "config.json"
        if known.exists():
            other = json.loads(known.read_text()).get("name")
            if other != config.get("name"):
                raise DataError(
                    "this folder holds a run of another experiment",
                    path=self.path,
                    expected=config.get("name"),
                    found=other,
                    fix="choose another --out",
                )
        atomic_write_text(known, json.dumps(config, indent=1) + "\n")  # in order: regions come in the order given
        atomic_write_text(self.path / "environment.json", to_json(environment(), indent=1))

    def config(self) -> dict[str, Any]:
        """What was asked."""
        try:
            return json.loads((self.path / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise DataError("not a run folder", path=self.path, expected="config.json", found=str(error)) from error

    def read_step(self, name: str, key: str | None = None) -> StepResult | None:
        """A finished step, or None when it is absent, damaged or was made from something else."""
        try:
            arrays, meta = read_artefact(self.path / "steps" / name)
        except DataError:
            return None
        if key is not None and meta["key"] != key:
            return None
        scores = {one: Score(**row) for one, row in meta["scores"].items()}
        return StepResult(scores, arrays, meta["facts"])

    def write_step(self, name: str, key: str, result: StepResult, seconds: float) -> None:
        """Store a finished step and add it to ``metrics.jsonl``."""
        rows = {one: {"name": score.name, "how": score.how, **score.to_row()} for one, score in result.scores.items()}
        write_artefact(self.path / "steps" / name, result.arrays, {"key": key, "scores": rows, "facts": result.facts})
        values = {one: score.value for one, score in result.scores.items()}
        self.log(step=name, seconds=round(seconds, 3), scores=values)

    def log(self, **record: Any) -> None:
        """Add one line to ``metrics.jsonl``; a line torn by an earlier kill is dropped first."""
        path = self.path / "metrics.jsonl"
        lines = []
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if _is_json(line)]
        record = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **record}
        atomic_write_text(path, "\n".join([*lines, to_json(record)]) + "\n")

    def finish(self, scores: Mapping[str, Score]) -> Path:
        """Write ``summary.json``: every headline score by name."""
        rows = {name: score.to_row() for name, score in scores.items()}
        return atomic_write_text(self.path / "summary.json", to_json(rows, indent=1) + "\n")


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
