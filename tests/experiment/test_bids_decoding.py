"""A BIDS folder through ``brainalign fit``, ``reconstruct`` and ``score``: planted pictures found from raw runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainalign.scenes import draw_scenes
from tests.experiment.test_decoding import run
from tests.loaders.planted_fmri import N_TRIALS, TR, make_subject

PIXELS = ("--latents", "pixels:2:grey")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two runs of one subject who saw drawn scenes, whose four coarse pixels drive the voxels."""
    top = tmp_path_factory.mktemp("bids")
    scenes = draw_scenes(N_TRIALS, seed=0)
    grey = np.stack([np.asarray(scenes.image(one).convert("L").resize((2, 2)), float).ravel() for one in scenes.ids])
    planted = make_subject(top, drive=(grey - grey.mean(0)) / grey.std(0))
    (top / "stimuli" / "scenes").mkdir(parents=True)
    for number, one in enumerate(scenes.ids):
        scenes.image(one).save(top / "stimuli" / "scenes" / f"picture{number:02d}.png")
    (top / "dataset_description.json").write_text(json.dumps({"Name": "planted", "BIDSVersion": "1.8.0"}))
    (top / "task-view_bold.json").write_text(json.dumps({"RepetitionTime": TR, "TaskName": "view"}))
    func = top / "sub-01" / "func"
    func.mkdir(parents=True)
    for number, (bold, events) in enumerate(zip(planted.bold, planted.events, strict=True), start=1):
        Path(bold).rename(func / f"sub-01_task-view_run-{number}_bold.nii.gz")
        table = pd.read_csv(events, sep="\t")
        table["stim_file"] = [f"scenes/{one}.png" for one in table.pop("stimulus_id")]
        table.to_csv(func / f"sub-01_task-view_run-{number}_events.tsv", sep="\t", index=False)
    return top


def test_from_raw_runs_to_pictures_and_scores(folder, tmp_path):
    out = tmp_path / "run"
    data = (folder, "--option", "task=view", "--option", f"mask={folder / 'mask.nii.gz'}")
    run("fit", *data, *PIXELS, "--test-size", 0.4, "--average", "--param", "cv=loo", "--out", out)
    run("reconstruct", out, "--generator", "pixels")
    assert len(list((out / "pictures").rglob("*.png"))) == 8
    told = run("score", out, "--metric", "PixCorr")
    rows = json.loads((out / "scores.json").read_text())
    assert rows["latents/identification"]["value"] > 0.75 and rows["latents/identification"]["n"] == 8
    assert rows["reconstruction/PixCorr"]["value"] > rows["shuffled brain/PixCorr"]["value"] + 0.1
    assert "nearest training picture" in told


def test_what_a_bids_folder_lacks_is_told(folder, tmp_path):
    out = ("--out", tmp_path / "run")
    assert "--option task=NAME" in run("fit", folder, *PIXELS, *out, fails=True)
    told = run("fit", folder, "--option", "task=veiw", *PIXELS, *out, fails=True)
    assert "Did you mean 'view'" in told
    told = run("fit", folder, "--subject", "02", "--option", "task=view", *PIXELS, *out, fails=True)
    assert "no subject '02'" in told and "'01'" in told
    assert not (tmp_path / "run").exists()
