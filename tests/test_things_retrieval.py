"""The THINGS recipe from check to scores, on generated trees of the two releases' layouts."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

import brainalign as ba
from brainalign.loaders.trees import make_tree
from tests.conftest import REPOSITORY
from tests.loaders.pickled import write_npy_dict
from tests.test_reconstruct_nsd import plain

PARAMS = {"sizes": {"n_filters": 4, "kernel": 3, "pool": 3}, "training": {"n_epochs": 3, "batch_size": 8}}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "encoder"), [("things_eeg2", "TSConv"), ("things_meg", "ATM")])
def test_from_a_generated_tree_to_scores(tmp_path, name, encoder):
    tree = make_tree(name, tmp_path / "tree", writers={"npy_dict": write_npy_dict}, subjects=[1])
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(plain(tree.spec.model_dump())))
    sides = {"partition": ("training", "test")} if name == "things_eeg2" else {"split": ("train", "test")}
    ((option, values),) = sides.items()
    shown = {one for value in values for one in ba.load(tree.spec, root=tree.root, **{option: value}).stimulus_ids}
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, picture in enumerate(sorted(map(str, shown))):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{picture}.png")
    arguments = [
        name,
        tree.root,
        pictures,
        "--spec",
        tmp_path / "tiny.yaml",
        "--subject",
        "1",
        "--out",
        tmp_path / "run",
    ]
    arguments += ["--latents", "pixels:4", "--encoder", encoder, "--params", json.dumps(PARAMS), "--device", "cpu"]
    arguments += ["--whiten", "no" if name == "things_eeg2" else "yes"]
    command = [sys.executable, "scripts/things_retrieval.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "scores.json").read_text())
    n = len(ba.load(tree.spec, root=tree.root, **{option: values[1]}).average("stimulus_id"))
    row = rows[f"exact pictures/{n}-way top-1"]
    assert row["n"] == n and row["chance"] == pytest.approx(1 / n) and "gallery of exact pictures" in row["protocol"]
    assert (tmp_path / "run" / "encoder" / "model.safetensors").is_file()
