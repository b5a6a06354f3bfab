"""BOLD5000: planted responses by picture name, whatever the order; wrong counts and NaN refused."""

from __future__ import annotations

import shutil

import nibabel
import numpy as np
import pytest
from PIL import Image

from brainalign.errors import DataError
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from tests.loaders.planted import assert_planted, copy_with


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("bold5000", tmp_path_factory.mktemp("bold5000"))


@pytest.fixture
def root(tree, tmp_path):
    shutil.copytree(tree.root, tmp_path / "copy")
    return tmp_path / "copy"


def change_betas(path, change):
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(change(np.array(image.dataobj)), image.affine), path)


@pytest.mark.parametrize("subject", ["CSI1", "CSI4"])
def test_planted_responses_come_back(tree, subject):
    trials = load(tree.spec, root=tree.root, subject=subject)
    responses = tree.truth["features"] @ tree.truth["weights"][subject].T
    assert_planted(trials, dict(zip(tree.truth["names"], responses, strict=True)))
    repeated = {tree.truth["names"][row] for row in tree.truth["repeated"]}
    assert all(
        (split == "test") == (one in repeated) for one, split in zip(trials.stimulus_ids, trials.trials["split"])
    )
    assert trials.trials["repetition"].max() == tree.spec.fact("repeats") - 1
    assert set(trials.trials["source"]) == {"coco", "imagenet", "scenes"}
    assert trials.trials["session"].tolist() == [1] * 12 + [2] * 12


def test_order_of_trials_does_not_matter(tree, root):
    before = load(tree.spec, root=root, subject="CSI1").average("stimulus_id")
    order = np.random.default_rng(1).permutation(12)
    change_betas(tree.spec.paths(root, "betas", subject="CSI1")[0], lambda data: data[..., order])
    names = tree.spec.path(root, "image_names", subject="CSI1")
    copy_with(names, lambda lines: [lines[at] for at in order] + lines[12:])
    after = load(tree.spec, root=root, subject="CSI1").average("stimulus_id")
    at = [after.stimulus_ids.tolist().index(one) for one in before.stimulus_ids]
    np.testing.assert_allclose(after.responses[at], before.responses, rtol=1e-5, atol=1e-6)


def test_repetition_prefix_is_the_same_picture(tree, root):
    names = tree.spec.path(root, "image_names", subject="CSI1")
    repeated = tree.truth["names"][0]
    copy_with(names, lambda lines: [f"rep_{line}" if line == repeated else line for line in lines])
    found = load(tree.spec, root=root, subject="CSI1").stimulus_ids
    assert found.tolist() == [tree.truth["names"][row] for row in tree.truth["image"]["CSI1"]]


def test_masks_and_nan(tree, root):
    files = tree.spec.paths(root, "betas", subject="CSI1")

    def spoil(data):
        data[0, 0, 0, 5] = np.nan  # in one trial only
        data[1, 1, 1, :] = np.nan  # outside this session's coverage
        return data

    change_betas(files[1], spoil)
    with pytest.raises(DataError, match=r"(?s)1 of 209 units are NaN.*nan='drop'"):
        load(tree.spec, root=root, subject="CSI1")
    dropped = load(tree.spec, root=root, subject="CSI1", nan="drop")
    assert dropped.n_units == 208 and dropped.history[0]["n"] == 1
    assert not {"0-0-0", "1-1-1"} & set(dropped.units["name"])
    image = nibabel.load(files[0])
    mask = np.random.default_rng(0).random(image.shape[:3]) < 0.3
    mask[0, 0, 0] = mask[1, 1, 1] = False
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.int16), image.affine), root / "mask.nii.gz")
    chosen = load(tree.spec, root=root, subject="CSI1", mask=root / "mask.nii.gz")
    assert np.array_equal(chosen.units[["i", "j", "k"]].to_numpy(), np.argwhere(mask))
    np.testing.assert_array_equal(chosen.responses[:12], np.asarray(image.dataobj)[mask].T)
    with pytest.raises(DataError, match="unknown nan policy"):
        load(tree.spec, root=root, subject="CSI1", nan="keep")


def test_pictures_are_found_by_name(tree, root):
    for number, name in enumerate(tree.truth["names"]):
        folder = root / "pictures" / f"folder{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(folder / name, quality=100)
    stimuli = load(tree.spec, root=root, subject="CSI1", pictures=root / "pictures").stimuli
    assert abs(int(stimuli.array(tree.truth["names"][7])[0, 0, 0]) - 7) <= 2
    (root / "pictures" / "folder1" / tree.truth["names"][7]).unlink()
    with pytest.raises(DataError, match=tree.truth["names"][7]):
        load(tree.spec, root=root, subject="CSI1", pictures=root / "pictures")


def test_wrong_files_are_refused(tree, root):
    names = tree.spec.path(root, "image_names", subject="CSI1")
    good = names.read_text()
    lines = good.splitlines()
    once = next(at for at, line in enumerate(lines) if lines.count(line) == 1)
    for wrong in (lines[:-1], [*lines[:once], tree.truth["names"][0], *lines[once + 1 :]]):
        names.write_text("\n".join(wrong))
        with pytest.raises(DataError, match=r"(?s)CSI1_imgnames.*expected.*found"):
            load(tree.spec, root=root, subject="CSI1")
    names.write_text(good)
    listed = tree.spec.path(root, "repeated")
    for wrong in (tree.truth["names"][:1], tree.truth["names"][4:6]):
        listed.write_text("\n".join(wrong))
        with pytest.raises(DataError, match="repeated_stimuli"):
            load(tree.spec, root=root, subject="CSI1")
    listed.unlink()
    assert set(load(tree.spec, root=root, subject="CSI1").trials["split"]) == {"train", "test"}
    betas = tree.spec.paths(root, "betas", subject="CSI1")[1]
    content = betas.read_bytes()
    betas.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=betas.name):
        load(tree.spec, root=root, subject="CSI1")
    betas.unlink()
    with pytest.raises(DataError, match=r"(?s)number of beta files.*expected: 2.*found: 1"):
        load(tree.spec, root=root, subject="CSI1")
