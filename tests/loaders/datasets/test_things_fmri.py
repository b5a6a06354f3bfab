"""THINGS-fMRI: tables matched by label and voxel id, only the region read, nothing unpickled."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from tests.loaders.planted import assert_planted


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("things_fmri", tmp_path_factory.mktemp("things"))


@pytest.fixture
def root(tree, tmp_path):
    shutil.copytree(tree.root, tmp_path / "copy")
    return tmp_path / "copy"


def planted(tree, subject):
    responses = tree.truth["features"] @ tree.truth["weights"][subject].T
    return {name.removesuffix(".jpg"): row for name, row in zip(tree.truth["stimuli"], responses, strict=True)}


def change_csv(path, change):
    change(pd.read_csv(path)).to_csv(path, index=False)


@pytest.mark.parametrize("subject", [1, 2])
def test_planted_responses_come_back(tree, subject):
    trials = load(tree.spec, root=tree.root, subject=subject)
    assert_planted(trials, planted(tree, subject))
    assert trials.units["roi"].tolist() == tree.truth["roi"][subject].tolist()
    assert (trials.units["nc_testset"] == 90).all()
    assert trials.history[0]["trials matched by"] == "label"


def test_zero_shot_leaves_out_tested_concepts(tree, root):
    path = tree.spec.path(root, "trials", subject=1)
    shared = tree.truth["concepts"][0]
    change_csv(path, lambda table: table.replace({"concept": {"test0": shared}}))
    table = load(tree.spec, root=root, subject=1).trials
    train, test = (table[table["zero_shot"] == name] for name in ("train", "test"))
    assert not set(train["concept"]) & set(test["concept"])
    left = table[table["zero_shot"] == "left out"]
    assert set(left["concept"]) == {shared} and set(left["split"]) == {"train"}
    assert len(left) + len(train) == (table["split"] == "train").sum()


def test_regions(tree):
    for roi in ("V2", ["FFA", "V1"]):
        trials = load(tree.spec, root=tree.root, subject=2, roi=roi)
        wanted = np.flatnonzero(np.isin(tree.truth["roi"][2], roi))
        assert trials.units["voxel_id"].tolist() == wanted.tolist()
        assert_planted(trials, {one: row[wanted] for one, row in planted(tree, 2).items()})
    with pytest.raises(DataError, match="Did you mean 'FFA'"):
        load(tree.spec, root=tree.root, roi="FFAA")


def test_order_of_columns_and_rows_does_not_matter(tree, root):
    before = load(tree.spec, root=root, subject=1)
    rng = np.random.default_rng(2)
    with h5py.File(tree.spec.path(root, "responses", subject=1), "r+") as file:
        data = file["ResponseData"]
        columns, voxels = rng.permutation(24), rng.permutation(30)
        data["block0_values"][...] = data["block0_values"][()][voxels][:, columns]
        data["block0_items"][...] = data["block0_items"][()][columns]
        data["block1_values"][...] = data["block1_values"][()][voxels]
    change_csv(tree.spec.path(root, "voxels", subject=1), lambda table: table.sample(frac=1, random_state=0))
    after = load(tree.spec, root=root, subject=1)
    at = [after.units["name"].tolist().index(name) for name in before.units["name"]]
    assert np.array_equal(after.responses[:, at], before.responses)
    pd.testing.assert_frame_equal(after.units.iloc[at].reset_index(drop=True), before.units)


def test_pickled_labels_are_not_read(tree, root):
    """pandas stores labels of mixed kinds as a pickle in a ragged array of bytes."""
    with h5py.File(tree.spec.path(root, "responses", subject=1), "r+") as file:
        del file["ResponseData/block0_items"]
        labels = file.create_dataset("ResponseData/block0_items", (1,), dtype=h5py.vlen_dtype(np.uint8))
        labels[0] = np.frombuffer(b"cos\nsystem\n(S'false'\ntR.", np.uint8)
    trials = load(tree.spec, root=root, subject=1)
    assert trials.history[0]["trials matched by"] == "position"
    assert_planted(trials, planted(tree, 1))


def _no_labels(file):
    file["ResponseData/block0_items"][0] = b"9999"


def _no_values(file):
    del file["ResponseData/block0_values"]


def _other_ids(file):
    file["ResponseData/block1_values"][0] = 77


@pytest.mark.parametrize("harm", [_no_labels, _no_values, _other_ids])
def test_tables_that_do_not_match(tree, root, harm):
    with h5py.File(tree.spec.path(root, "responses", subject=1), "r+") as file:
        harm(file)
    with pytest.raises(DataError, match=r"(?s)sub-01_.*expected.*found"):
        load(tree.spec, root=root, subject=1)


def test_wrong_files_are_refused(tree, root):
    responses, trials = (tree.spec.path(root, name, subject=1) for name in ("responses", "trials"))
    content = trials.read_text()
    change_csv(trials, lambda table: table.iloc[:-1])
    with pytest.raises(DataError, match="StimulusMetadata"):
        load(tree.spec, root=root, subject=1)
    trials.write_text(content)
    change_csv(trials, lambda table: table.drop(columns="concept"))
    with pytest.raises(DataError, match="concept"):
        load(tree.spec, root=root, subject=1)
    trials.write_text(content)
    with h5py.File(responses, "r+") as file:
        file["ResponseData/block0_values"][4, 7] = np.nan
    with pytest.raises(DataError, match=r"(?s)NaN.*voxel-4"):
        load(tree.spec, root=root, subject=1)
    assert load(tree.spec, root=root, subject=1, nan="drop").n_units == 29
    responses.write_bytes(responses.read_bytes()[:3000])
    with pytest.raises(DataError, match=responses.name):
        load(tree.spec, root=root, subject=1)
