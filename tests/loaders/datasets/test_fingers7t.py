"""Fingers at 7 T: planted patterns and models, from the tree and from the real file; wrong files are refused."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from brainalign.errors import DataError
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from tests.conftest import real_data

FILE = "data_recipe_finger7T.mat"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("fingers7t", tmp_path_factory.mktemp("fingers"))


def content_of(tree):
    return {key: value for key, value in loadmat(tree.root / FILE).items() if not key.startswith("__")}


def test_planted_patterns_and_models_come_back(tree):
    for subject in (1, 3):
        trials = load(tree.spec, root=tree.root, subject=subject)
        finger = tree.truth["finger"][subject]
        clean = tree.truth["features"][finger - 1] @ tree.truth["weights"][subject].T
        assert np.abs(trials.responses - clean).std() < 0.3
        assert trials.trials["stimulus_id"].tolist() == [f"finger-{one}" for one in finger]
        assert trials.trials["run"].tolist() == tree.truth["run"][subject].tolist()
    for name, truth in zip(("muscle", "natural statistics", "somatotopy"), tree.truth["models"].values()):
        table = pd.DataFrame(trials.info["model_rdms"][name])
        assert table.index.tolist() == table.columns.tolist() == [f"finger-{one}" for one in range(1, 6)]
        np.testing.assert_allclose(table.to_numpy(), truth)


def test_order_of_trials_does_not_matter(tree, tmp_path):
    before, content = load(tree.spec, root=tree.root, subject=2), content_of(tree)
    order = np.random.default_rng(0).permutation(len(content["Y"][0, 1]))
    for key in ("Y", "condVec", "partVec"):
        content[key][0, 1] = content[key][0, 1][order]
    savemat(tmp_path / FILE, content)
    after = load(tree.spec, root=tmp_path, subject=2)
    keys = ["run", "stimulus_id"]
    a, b = (one.trials.sort_values(keys).index for one in (before, after))
    assert np.array_equal(before.responses[a], after.responses[b])


@pytest.mark.parametrize("key", ["Y", "condVec", "partVec", "Model"])
@pytest.mark.parametrize("damage", ["absent", "short", "values"])
def test_wrong_files_are_refused(tree, tmp_path, key, damage):
    content = content_of(tree)
    if damage == "absent":
        content.pop(key)
    elif damage == "short":
        content[key] = content[key][:, :-1]
    elif key == "Model":
        content[key][0, 0]["RDM"] = content[key][0, 0]["RDM"][:-1]
    else:
        content[key][0, 0] = np.where(np.arange(content[key][0, 0].size) == 0, np.nan, content[key][0, 0].ravel())[
            :, None
        ].reshape(content[key][0, 0].shape)
    savemat(tmp_path / FILE, content)
    with pytest.raises(DataError, match="finger7T"):
        load(tree.spec, root=tmp_path, subject=1)


def test_a_truncated_file_is_refused(tree, tmp_path):
    shutil.copy(tree.root / FILE, tmp_path / FILE)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:200])
    with pytest.raises(DataError, match="finger7T"):
        load(tree.spec, root=tmp_path)


def test_real_file():
    root = real_data("fingers7t")
    shapes = [load("fingers7t", root=root, subject=subject).shape for subject in range(1, 8)]
    assert [shape[0] for shape in shapes] == [40, 35, 35, 35, 40, 40, 40]
    trials = load("fingers7t", root=root, subject=6)
    even = (trials.trials["run"] % 2 == 0).to_numpy()
    halves = [trials.select(half).average("stimulus_id") for half in (even, ~even)]
    assert halves[0].stimulus_ids.tolist() == halves[1].stimulus_ids.tolist()
    similar = np.corrcoef(*[np.concatenate([half.responses]) for half in halves])[:5, 5:]
    assert np.all(similar.argmax(axis=1) == np.arange(5))  # each finger is most like itself in the other runs
