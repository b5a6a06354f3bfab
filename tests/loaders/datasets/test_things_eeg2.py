"""THINGS-EEG2 in the layout of its release: what was planted comes back, hostile and broken files do not."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainalign.errors import DataError, SpecError
from brainalign.loaders import load
from brainalign.loaders.trees import Tree, make_tree
from brainalign.splits import folds
from tests.loaders.pickled import write_npy_dict
from tests.loaders.planted import weights_found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return make_tree("things_eeg2", tmp_path_factory.mktemp("tree"), writers={"npy_dict": write_npy_dict})


def _content(path: Path) -> dict[str, Any]:
    return np.load(path, allow_pickle=True).item()


@pytest.mark.parametrize("partition", ["training", "test"])
def test_preprocessed_trials_are_the_files_numbers(tree: Tree, partition: str) -> None:
    trials = load("things_eeg2", root=tree.root, subject=2, partition=partition)
    content = _content(tree.root / "sub-02" / f"preprocessed_eeg_{partition}.npy")
    data = content["preprocessed_eeg_data"]
    n_pictures, n_repetitions = data.shape[:2]
    assert trials.shape == (n_pictures * n_repetitions, *data.shape[2:])
    assert trials.responses.dtype == np.float32
    files = _content(tree.root / "image_metadata.npy")
    side = {"training": "train", "test": "test"}[partition]
    for row in (0, 1, n_repetitions, trials.n_trials - 1):
        picture, repetition = divmod(row, n_repetitions)
        np.testing.assert_allclose(trials.responses[row], data[picture, repetition], rtol=1e-6, atol=1e-30)
        assert trials.stimulus_ids[row] == files[f"{side}_img_files"][picture].removesuffix(".jpg")
        assert trials.trials["concept"][row] == files[f"{side}_img_concepts"][picture]
        assert trials.trials["repetition"][row] == repetition
    assert set(trials.trials["split"]) == {side} and set(trials.trials["subject"]) == {"02"}
    np.testing.assert_allclose(trials.times, content["times"])
    assert trials.units["name"].tolist() == content["ch_names"]
    assert trials.to_evoked().info["sfreq"] == pytest.approx(1 / np.diff(content["times"]).mean())


def test_what_was_planted_is_found_and_not_in_a_shuffled_copy(tree: Tree) -> None:
    trials = load("things_eeg2", root=tree.root, subject=1).average("stimulus_id")
    features = tree.truth["features"]
    responses = trials.responses.mean(axis=-1)
    assert weights_found(features, responses, tree.truth["weights"][1])[0] > 0.9
    assert weights_found(features[::-1], responses, tree.truth["weights"][1])[0] < 0.8
    # Concepts make the zero-shot split: no concept of the test set is in training.
    test = load("things_eeg2", root=tree.root, subject=1, partition="test")
    assert not set(trials.trials["concept"]) & set(test.trials["concept"])
    assert all(len(fold.test) for fold in folds(trials, by="concept", n_splits=2))


@pytest.mark.parametrize("partition", ["training", "test"])
def test_raw_sessions_are_cut_at_the_triggers(tree: Tree, partition: str) -> None:
    trials = load("things_eeg2", root=tree.root, subject=1, partition=partition, preprocessed=False, tmin=0.0, tmax=0.3)
    events = tree.truth["events"][1][partition]
    assert trials.n_trials == sum(len(one) for one in events)  # without the target trials
    assert trials.trials["session"].tolist() == [n + 1 for n, one in enumerate(events) for _ in one]
    files = _content(tree.root / "image_metadata.npy")[f"{'train' if partition == 'training' else 'test'}_img_files"]
    start = 0
    for session, one in enumerate(events, start=1):
        raw = _content(tree.root / "sub-01" / f"ses-{session:02d}" / f"raw_eeg_{partition}.npy")["raw_eeg_data"]
        for row, (sample, number) in enumerate(one, start=start):
            np.testing.assert_allclose(trials.responses[row], raw[:-1, sample : sample + 301], rtol=1e-5)
            assert trials.stimulus_ids[row] == files[number - 1].removesuffix(".jpg")
        start += len(one)
    features = tree.truth["features" if partition == "training" else "features_test"]
    numbers = np.concatenate(events)[:, 1] - 1
    peak = trials.select(times=(0.12, 0.18)).responses.mean(axis=-1) * 1e6
    assert weights_found(features[numbers], peak, tree.truth["weights"][1])[0] > 0.9


def test_raw_data_take_the_options_of_load_ephys(tree: Tree) -> None:
    options: dict[str, Any] = {"reference": "average", "resample": 100.0, "baseline": (None, 0.0), "l_freq": 0.5}
    trials = load("things_eeg2", root=tree.root, subject=1, preprocessed=False, tmin=-0.1, tmax=0.3, **options)
    assert trials.shape[2] == 41 and trials.space.sfreq == 100.0
    np.testing.assert_allclose(trials.responses.mean(axis=1), 0, atol=1e-9)
    assert trials.units[["x", "y", "z"]].notna().all(axis=None)  # standard positions of the 10-20 names
    with pytest.raises(DataError, match="preprocessed=False"):
        load("things_eeg2", root=tree.root, subject=1, l_freq=0.5)


def test_preprocessed_picks_and_window(tree: Tree) -> None:
    whole = load("things_eeg2", root=tree.root, subject=1)
    part = load("things_eeg2", root=tree.root, subject="sub-01", picks=["Oz", "O1"], tmin=0.0, tmax=0.4)
    assert part.units["name"].tolist() == ["Oz", "O1"]
    expected = whole.select(times=(0.0, 0.4)).responses[:, [1, 0]]
    np.testing.assert_array_equal(part.responses, expected)
    with pytest.raises(DataError, match="Did you mean 'Oz'"):
        load("things_eeg2", root=tree.root, subject=1, picks=["OZ"])
    with pytest.raises(DataError, match="no sample"):
        load("things_eeg2", root=tree.root, subject=1, tmin=5.0, tmax=6.0)


def test_folders_one_level_down_and_no_picture_table(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "Preprocessed_data_250Hz").mkdir()
    os.symlink(tree.root / "sub-01", tmp_path / "Preprocessed_data_250Hz" / "sub-01")
    with pytest.raises(DataError, match="out of the dataset"):
        load("things_eeg2", root=tmp_path, subject=1)
    (tmp_path / "Preprocessed_data_250Hz" / "sub-01").unlink()
    folder = tmp_path / "Preprocessed_data_250Hz" / "sub-01"
    folder.mkdir()
    name = "preprocessed_eeg_training.npy"
    # As the 250 Hz recipe writes it: a bare pickle under the name .npy.
    (folder / name).write_bytes(pickle.dumps(_content(tree.root / "sub-01" / name), 4))
    trials = load("things_eeg2", root=tmp_path, subject=1)
    np.testing.assert_array_equal(trials.responses, load("things_eeg2", root=tree.root, subject=1).responses)
    assert trials.stimulus_ids[0] == "training_00001" and "concept" not in trials.trials
    named = load("things_eeg2", root=tmp_path, subject=1, image_metadata=tree.root / "image_metadata.npy")
    assert named.stimulus_ids[0] == "train_00000"
    (tmp_path / "other" / "sub-01").mkdir(parents=True)
    (tmp_path / "other" / "sub-01" / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(DataError, match="2 files match"):
        load("things_eeg2", root=tmp_path, subject=1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"preprocessed_eeg_data": np.zeros((3, 2, 4))}, "not a preprocessed file"),
        ({"ch_names": ["O1"]}, "not a preprocessed file"),
        ({"ch_names": ["O1", "O1", "O2", "PO3", "POz"]}, "unique"),
        ({"times": np.zeros(20)}, "not a preprocessed file"),
        ({"times": None}, "not a preprocessed file"),
        ({"preprocessed_eeg_data": np.zeros((3, 2, 5, 20))}, "picture table differ"),
    ],
)
def test_dictionaries_that_do_not_fit(tree: Tree, tmp_path: Path, change: dict[str, Any], named: str) -> None:
    content = _content(tree.root / "sub-01" / "preprocessed_eeg_training.npy")
    (tmp_path / "sub-01").mkdir()
    write_npy_dict(tmp_path / "sub-01" / "preprocessed_eeg_training.npy", {**content, **change})
    (tmp_path / "image_metadata.npy").write_bytes((tree.root / "image_metadata.npy").read_bytes())
    with pytest.raises(DataError, match=named):
        load("things_eeg2", root=tmp_path, subject=1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sfreq": "fast"}, "not a raw file"),
        ({"ch_types": ["eeg"]}, "data and channels differ"),
        ({"ch_types": ["eeg"] * 6}, "no trigger channel"),
        ({"raw_eeg_data": None}, "data and channels differ"),
    ],
)
def test_raw_dictionaries_that_do_not_fit(tree: Tree, tmp_path: Path, change: dict[str, Any], named: str) -> None:
    content = _content(tree.root / "sub-01" / "ses-01" / "raw_eeg_training.npy")
    (tmp_path / "sub-01" / "ses-01").mkdir(parents=True)
    write_npy_dict(tmp_path / "sub-01" / "ses-01" / "raw_eeg_training.npy", {**content, **change})
    with pytest.raises(DataError, match=named):
        load("things_eeg2", root=tmp_path, subject=1, preprocessed=False, tmin=0, tmax=0.1)


class _Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_a_hostile_file_does_not_run(tree: Tree, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    content = _content(tree.root / "sub-01" / "preprocessed_eeg_training.npy")
    (tmp_path / "sub-01").mkdir()
    write_npy_dict(tmp_path / "sub-01" / "preprocessed_eeg_training.npy", {**content, "x": _Runs(f"touch {sentinel}")})
    with pytest.raises(DataError, match="system"):
        load("things_eeg2", root=tmp_path, subject=1)
    assert not sentinel.exists()


def test_requests_that_make_no_sense(tree: Tree) -> None:
    with pytest.raises(DataError, match="Did you mean 'training'"):
        load("things_eeg2", root=tree.root, subject=1, partition="train")
    with pytest.raises(DataError, match="a file is missing"):
        load("things_eeg2", root=tree.root, subject=9)
    with pytest.raises(DataError, match="no raw session"):
        load("things_eeg2", root=tree.root, subject=9, preprocessed=False)
    with pytest.raises(SpecError, match="no subject"):
        load("things_eeg2", root=tree.root, subject="../../etc")
