"""Kay 2008: planted responses, a policy for NaN that must be named, pictures beside their responses."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from brainalign.errors import DataError
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from tests.loaders.planted import assert_planted


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("kay2008", tmp_path_factory.mktemp("kay"))


@pytest.fixture
def root(tree, tmp_path):
    shutil.copytree(tree.root, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("subject", [1, 2])
def test_planted_responses_come_back(tree, subject):
    trials = load(tree.spec, root=tree.root, subject=subject, nan="drop")
    weights = np.delete(tree.truth["weights"][subject], tree.truth["missing"][subject], axis=0)
    ids = [f"train-{row:04d}" for row in range(14)] + [f"validation-{row:03d}" for row in range(6)]
    assert_planted(trials, dict(zip(ids, tree.truth["features"] @ weights.T, strict=True)))
    assert trials.trials["split"].tolist() == ["train"] * 14 + ["test"] * 6
    assert trials.units["roi_code"].tolist() == tree.truth["roi"][subject][2:].tolist()
    assert trials.units["voxel"].tolist() == list(range(2, trials.n_units + 2))
    assert trials.history[0]["n"] == 2


def test_nan_needs_a_policy(tree):
    with pytest.raises(DataError, match=r"(?s)2 of 30 units are NaN.*EstimatedResponses.*nan='drop'"):
        load(tree.spec, root=tree.root, subject=1)


def test_regions_and_pictures(tree):
    code = int(tree.truth["roi"][1][5])
    every = load(tree.spec, root=tree.root, subject=1, nan="drop")
    name = every.units.loc[every.units["voxel"] == 5, "roi"].item()
    some = load(tree.spec, root=tree.root, subject=1, nan="drop", roi=name)
    wanted = np.flatnonzero(tree.truth["roi"][1] == code)
    assert some.units["voxel"].tolist() == wanted[wanted > 1].tolist()
    with pytest.raises(DataError, match="Did you mean 'LatOcc'"):
        load(tree.spec, root=tree.root, roi="LatOc")
    pictures = loadmat(tree.spec.path(tree.root, "stimuli"))
    assert np.corrcoef(every.stimuli.array("train-0003")[..., 0].ravel(), pictures["stimTrn"][3].ravel())[0, 1] > 0.999
    assert (
        np.corrcoef(every.stimuli.array("validation-005")[..., 0].ravel(), pictures["stimVal"][5].ravel())[0, 1] > 0.999
    )


def test_wrong_files_are_refused(tree, root):
    responses, stimuli = root / "EstimatedResponses.mat", root / "Stimuli.mat"
    pictures = loadmat(stimuli)
    for change in (lambda a: a[:-1], lambda a: a[:, :-1], lambda a: a * 0):
        savemat(stimuli, {"stimTrn": change(pictures["stimTrn"]), "stimVal": change(pictures["stimVal"])})
        with pytest.raises(DataError, match=r"(?s)Stimuli\.mat.*expected.*found"):
            load(tree.spec, root=root, subject=1, nan="drop")
    savemat(stimuli, {"stimTrn": pictures["stimTrn"]})
    with pytest.raises(DataError, match=r"stimVal.*\n.*Stimuli\.mat"):
        load(tree.spec, root=root, subject=1, nan="drop")
    stimuli.unlink()
    with pytest.raises(DataError, match=r"Stimuli\.mat"):
        load(tree.spec, root=root, subject=1, nan="drop")
    with h5py.File(responses, "r+") as file:
        values = file["dataValS1"][()]
        del file["dataValS1"]
        with pytest.raises(DataError, match="dataValS1"):
            load(tree.spec, root=root, subject=1)
        file["dataValS1"] = values[:-1]
        with pytest.raises(DataError, match="not what the spec says"):
            load(tree.spec, root=root, subject=1)
    responses.write_bytes(responses.read_bytes()[:4000])
    with pytest.raises(DataError, match="EstimatedResponses"):
        load(tree.spec, root=root, subject=2)
