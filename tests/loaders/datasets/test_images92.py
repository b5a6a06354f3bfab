"""92 images: dissimilarities in the order of the pictures, from the tree and from the real files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from brainalign.errors import DataError
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from tests.conftest import real_data


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("images92", tmp_path_factory.mktemp("images"))


@pytest.fixture
def root(tree, tmp_path):
    shutil.copytree(tree.root, tmp_path / "copy")
    return tmp_path / "copy"


def test_planted_geometry_comes_back(tree):
    loaded = load(tree.spec, root=tree.root)
    for region, truth in tree.truth["rdm"].items():
        mean = loaded.rdms[region].mean(axis=0)
        assert loaded.rdms[region].shape == (4, 28)
        assert np.corrcoef(mean, squareform(truth, checks=False))[0, 1] > 0.95
        turned = np.roll(np.roll(truth, 1, axis=0), 1, axis=1)
        assert np.corrcoef(mean, squareform(turned, checks=False))[0, 1] < 0.7
    assert loaded.stimulus_ids == loaded.stimuli.ids == tuple(f"image_{number:02d}" for number in range(1, 9))
    assert loaded.stimuli.array("image_03").shape == (16, 16, 3)


def test_one_subject(tree):
    every, one = load(tree.spec, root=tree.root), load(tree.spec, root=tree.root, subject=3)
    assert np.array_equal(one.rdms["IT"], every.rdms["IT"][2:3])


def test_regions(tree):
    assert list(load(tree.spec, root=tree.root, regions=["IT"]).rdms) == ["IT"]
    with pytest.raises(DataError, match="Did you mean 'EVC'"):
        load(tree.spec, root=tree.root, regions=["EVCs"])


def test_wrong_files_are_refused(tree, root):
    path = tree.spec.path(root, "rdms", roi="EVC")
    good = np.load(path)["Net_RDM"]
    skewed = good.copy()
    skewed[0, 1, 2] += 1
    missing = good.copy()
    missing[1, 2, 3] = missing[1, 3, 2] = np.nan
    for wrong in (good[:, :-1], good[0], skewed, good[:, :-1, :-1], missing, good[:-1]):
        np.savez(path, Net_RDM=wrong)
        with pytest.raises(DataError):
            load(tree.spec, root=root)
    np.savez(path, other=good)
    with pytest.raises(DataError, match="Net_RDM"):
        load(tree.spec, root=root)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=path.name):
        load(tree.spec, root=root)
    np.savez(path, Net_RDM=good)
    tree.spec.path(root, "image", image=2).unlink()
    with pytest.raises(DataError, match="image_02"):
        load(tree.spec, root=root)


def test_real_files():
    loaded = load("images92", root=real_data("images92"))
    assert {region: one.shape for region, one in loaded.rdms.items()} == {"EVC": (15, 4186), "IT": (15, 4186)}
    assert len(loaded.stimuli) == 92 and loaded.stimuli.array("image_92").ndim == 3
    for rdms in loaded.rdms.values():  # people agree more than chance
        rest = [np.corrcoef(rdms[who], np.delete(rdms, who, axis=0).mean(axis=0))[0, 1] for who in range(15)]
        assert np.mean(rest) > 0.1
