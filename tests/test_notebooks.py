"""Every notebook runs from top to bottom, offline, and draws what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, data_root

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.py"))
N_FIGURES = {
    "01_fmri_and_network_in_ten_minutes": 9,
    "02_eeg": 7,
    "03_bring_your_own_data": 4,
    "04_geometries": 6,
    "05_from_brain_to_pictures": 2,
    "06_bci_pseudo_online": 2,
    "07_ask_a_voxel": 4 + (data_root() / "digits69").is_dir(),
}


def test_every_notebook_is_listed() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(N_FIGURES)


SLOW = ["05_from_brain_to_pictures", "07_ask_a_voxel"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in SLOW else []) for p in NOTEBOOKS]
)
def test_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws into the notebook
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("BRAINALIGN_DATA", str(data_root()))
    notebook = jupytext.read(path)
    assert any(cell.cell_type == "markdown" for cell in notebook.cells)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == N_FIGURES[path.stem]
    assert min(len(picture) for picture in pictures) > 4000


@pytest.mark.slow
def test_geometries_without_data_say_that_they_are_synthetic(tmp_path: Path) -> None:
    where = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    changes = {"BRAINALIGN_DATA": str(tmp_path / "nowhere"), "PYTHONPATH": where, "MPLBACKEND": "Agg"}
    script = REPOSITORY / "notebooks" / "04_geometries.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, **changes, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("SYNTHETIC") == 4  # images92, and three people of fingers7t
    assert "Warning" not in done.stderr
