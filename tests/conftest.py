"""Shared fixtures: where the real recordings lie, and one thread per process."""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def data_root() -> Path:
    """Folder of real recordings: ``$BRAINALIGN_DATA``, else ``../shared/data`` beside the checkout."""
    return Path(os.environ.get("BRAINALIGN_DATA") or REPOSITORY.parent / "shared" / "data")


def real_data(name: str) -> Path:
    """Path of one real data set, or skip the test with the reason."""
    path = data_root() / name
    if not path.exists():
        pytest.skip(f"real data '{name}' is not at {path}; set BRAINALIGN_DATA to the folder that holds it")
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache out of the tests, and the tests out of the user's cache."""
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
