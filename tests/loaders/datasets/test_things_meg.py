"""THINGS-MEG on a tree in which the truth is planted: names, splits, sessions, and epochs that are cut."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders import load
from brainalign.loaders.trees import Tree, make_tree
from tests.loaders.planted import weights_found


@pytest.fixture(scope="module")
def meg(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return make_tree("things_meg", tmp_path_factory.mktemp("tree"), sizes={"n_train_images": 40})


def test_things_meg_gives_back_what_wasweights_found(meg: Tree) -> None:
    trials = load("things_meg", root=meg.root, subject=1)
    image = meg.truth["image"][1]
    assert trials.stimulus_ids.tolist() == [str(number + 1) for number in image]
    expected = np.where(image < meg.truth["n_train"], "train", "test")
    assert trials.trials["split"].tolist() == expected.tolist()
    peak = trials.select(times=(0.12, 0.18)).responses.mean(axis=-1) * 1e13
    right, shuffled = weights_found(meg.truth["features"][image], peak, meg.truth["weights"][1])
    assert right > 0.95 > 0.8 > shuffled
    test = load("things_meg", root=meg.root, subject="BIGMEG1", split="test")
    assert test.trials.groupby("stimulus_id")["session"].nunique().eq(2).all()  # once a session
    assert test.trials["repetition"].max() == 1
    assert not set(test.stimulus_ids) & set(load("things_meg", root=meg.root, subject=1, split="train").stimulus_ids)
    assert set(trials.units["type"]) == {"mag"}


def test_things_meg_names_pictures_by_file_and_leaves_catch_trials_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    metadata = pd.DataFrame(
        {
            "trial_type": ["exp", "test", "catch", "exp"],
            "image_nr": [5, 1, 999, 6],
            "image_path": [
                "images_meg/aardvark/aardvark_05s.jpg",
                "images_test_meg/bed_frame_14s.jpg",
                "x.jpg",
                "a\\b_2.jpg",
            ],
            "session_nr": [1.0, 1.0, 2.0, 2.0],
            "run_nr": [1.0, 2.0, 1.0, 10.0],
        }
    )
    info = mne.create_info(["MLO11", "MLO12"], 100.0, "mag")
    events = np.column_stack([np.arange(4) * 50, np.zeros(4, int), np.arange(4) + 1])
    epochs = mne.EpochsArray(1e-13 * rng.standard_normal((4, 2, 30)), info, events, metadata=metadata, verbose="error")
    folder = tmp_path / "derivatives" / "preprocessed"
    folder.mkdir(parents=True)
    epochs.save(folder / "preprocessed_P2-epo.fif", verbose="error")
    trials = load("things_meg", root=tmp_path, subject=2)
    assert trials.stimulus_ids.tolist() == ["aardvark_05s", "bed_frame_14s", "b_2"]
    assert trials.trials["concept"].tolist() == ["aardvark", "bed_frame", "b"]
    assert trials.trials[["session", "run"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 10]]
    np.testing.assert_allclose(trials.responses, epochs.get_data()[[0, 1, 3]], rtol=1e-6)
    with pytest.raises(DataError, match="unknown split"):
        load("things_meg", root=tmp_path, subject=2, split="val")
    with pytest.raises(DataError, match="a file is missing"):
        load("things_meg", root=tmp_path, subject=1)
    epochs.metadata = None
    epochs.save(folder / "preprocessed_P1-epo.fif", verbose="error")
    with pytest.raises(DataError, match="metadata"):
        load("things_meg", root=tmp_path, subject=1)


def test_things_meg_cut(meg: Tree, tmp_path: Path) -> None:
    source = next((meg.root / "derivatives" / "preprocessed").glob("*P1-epo.fif"))
    folder = tmp_path / "derivatives" / "preprocessed"
    folder.mkdir(parents=True)
    (folder / source.name).write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(DataError, match=r"preprocessed_P1-epo\.fif"):
        load("things_meg", root=tmp_path, subject=1)
