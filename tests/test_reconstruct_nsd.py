"""The NSD recipe from check to table, on a generated tree of NSD's layout."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

import pytest
import yaml

from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec
from tests.conftest import REPOSITORY


def plain(value):
    """Dicts and lists of what YAML holds; subjects stay numbers."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, int | float | str) else str(value)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nsd")
    sizes = {"n_stimuli": 40, "images_per_subject": 24, "n_shared": 8, "n_stimuli_seen": 24}
    made = make_tree(
        DatasetSpec.load("nsd"), folder / "nsd", subjects=[1], sizes=sizes | {"trials_per_session": 36, "trials": 72}
    )
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain(made.spec.model_dump())))
    return folder


def recipe(folder, *more: str) -> subprocess.CompletedProcess:
    small = ("--latents", "pixels:8", "--generator", "pixels", "--metrics", "PixCorr", "--device", "cpu")
    command = ["scripts/reconstruct_nsd.py", str(folder / "nsd"), "--spec", str(folder / "tiny.yaml"), *small, *more]
    return subprocess.run([sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_from_check_to_table(tree, tmp_path):
    done = recipe(tree, "--out", str(tmp_path / "run"), "--protocol", "dry run")
    assert done.returncode == 0, done.stderr
    assert "nsd at" in done.stdout and "shuffled brain" in done.stdout
    rows = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert rows["reconstruction/PixCorr"]["protocol"].startswith("dry run") and rows["reconstruction/PixCorr"]["n"] == 8
    assert len(list((tmp_path / "run" / "pictures").glob("nsd-*.png"))) == 8
    told = recipe(tree, "--out", str(tmp_path / "run"))
    assert told.returncode == 1 and "protocol 'nsd-1000' has another number of test pictures" in told.stderr


def test_an_incomplete_copy_is_told_before_anything_is_read(tree, tmp_path):
    lost = next((tree / "nsd").rglob("nsd_expdesign.mat"))
    content = lost.read_bytes()
    lost.unlink()
    done = recipe(tree, "--out", str(tmp_path / "run"))
    lost.write_bytes(content)
    assert done.returncode == 1 and lost.name in done.stdout and "mend your copy first" in done.stderr
    assert not (tmp_path / "run").exists()
