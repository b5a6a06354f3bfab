"""69 digits: planted tree and the real file; voxels where the masks say, whatever the order of trials."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from brainalign.errors import DataError
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from tests.conftest import real_data


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("digits69", tmp_path_factory.mktemp("digits"))


def test_planted_responses_come_back(tree):
    trials = load(tree.spec, root=tree.root)
    whole = tree.truth["masks"]["primary"]
    order = np.argsort(np.argsort(np.ravel_multi_index(np.argwhere(whole.T).T[::-1], whole.shape)))
    clean = tree.truth["features"] @ tree.truth["weights"][1].T  # in the file's order: MATLAB's, first axis fastest
    at = np.empty(len(order), int)
    at[order] = np.arange(len(order))
    assert np.abs(trials.responses - clean[:, at]).std() < 0.3
    assert np.array_equal(trials.units[["i", "j", "k"]].to_numpy(), np.argwhere(whole))
    assert trials.trials["label"].tolist() == [{1: "six", 2: "nine"}[code] for code in tree.truth["labels"]]
    for row, one in enumerate(trials.stimulus_ids):
        assert np.array_equal(trials.stimuli.array(one)[..., 0], tree.truth["images"][row])
    left, right = tree.truth["masks"]["lh.V1d"][whole], tree.truth["masks"]["rh.V1d"][whole]
    assert np.array_equal(trials.units["roi"] == "V1", left | right)
    assert np.array_equal(trials.units["hemi"] == "left", left)


def test_order_of_trials_does_not_matter(tree, tmp_path):
    before = load(tree.spec, root=tree.root)
    content = {key: value for key, value in loadmat(tree.root / "69digits.mat").items() if not key.startswith("__")}
    order = np.random.default_rng(0).permutation(len(content["X"]))
    savemat(tmp_path / "69digits.mat", content | {key: content[key][order] for key in ("X", "Y", "I")})
    after = load(tree.spec, root=tmp_path)
    pictures = {before.stimuli.array(one).tobytes(): row for row, one in enumerate(before.stimulus_ids)}
    at = [pictures[after.stimuli.array(one).tobytes()] for one in after.stimulus_ids]
    assert np.array_equal(after.responses, before.responses[at])
    assert after.trials["label"].tolist() == before.trials["label"].iloc[at].tolist()


def test_wrong_files_are_refused(tree, tmp_path):
    path = tmp_path / "copy" / "69digits.mat"
    shutil.copytree(tree.root, path.parent)
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"69digits\.mat"):
        load(tree.spec, root=path.parent)
    path.write_bytes(good)
    content = {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
    for key, wrong in (("X", content["X"][:, :-1]), ("X", content["X"][:-1]), ("I", content["I"][:-1]),
                       ("Y", content["Y"] + 2), ("Y", content["Y"][:-1]), ("I", content["I"][:, :-1])):  # fmt: skip
        savemat(path, content | {key: wrong})
        with pytest.raises(DataError, match=r"(?s)69digits\.mat.*expected.*found"):
            load(tree.spec, root=path.parent)
    savemat(path, {key: value for key, value in content.items() if key != "funloc"})
    with pytest.raises(DataError, match="funloc"):
        load(tree.spec, root=path.parent)


def test_real_file():
    trials = load("digits69", root=real_data("digits69"))
    assert trials.shape == (100, 3092) and len(trials.stimuli) == 100
    assert trials.trials["label"].value_counts().to_dict() == {"six": 50, "nine": 50}
    assert {"V1", "V2", "V3"} <= set(trials.units["roi"])
    places = trials.units[["i", "j", "k"]].to_numpy()
    neighbours = np.flatnonzero((np.diff(places, axis=0) == [0, 0, 1]).all(axis=1))
    z = (trials.responses - trials.responses.mean(0)) / trials.responses.std(0)
    near = np.mean([z[:, at] @ z[:, at + 1] for at in neighbours]) / 100
    far = np.mean([z[:, at] @ z[:, at - 500] for at in neighbours]) / 100
    assert near > far + 0.1  # voxels side by side respond alike only when they are put where they lie
