"""Haxby 2001: planted categories come back, blocks are what a loop over volumes says, wrong files are refused."""

from __future__ import annotations

import shutil

import nibabel
import numpy as np
import pytest
from scipy.signal import detrend
from sklearn.svm import SVC

from brainalign.errors import DataError
from brainalign.loaders.datasets.shared import block_means
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from tests.conftest import real_data


@pytest.fixture(scope="module")
def slice_tree(tmp_path_factory):
    return make_tree("haxby_slice", tmp_path_factory.mktemp("slice"))


@pytest.fixture(scope="module")
def full_tree(tmp_path_factory):
    return make_tree("haxby2001", tmp_path_factory.mktemp("full"))


@pytest.fixture
def broken(slice_tree, tmp_path):
    shutil.copytree(slice_tree.root, tmp_path / "copy")
    return tmp_path / "copy"


def leave_one_run_out(trials, labels):
    runs = trials.trials["run"].to_numpy()
    hits = []
    for run in np.unique(runs):
        model = SVC(kernel="linear", C=1.0).fit(trials.matrix()[runs != run], labels[runs != run])
        hits.append(np.mean(model.predict(trials.matrix()[runs == run]) == labels[runs == run]))
    return float(np.mean(hits))


def assert_planted(trials, tree, subject, mask):
    """Category means are the planted features times weights, up to the scale of each voxel."""
    features, weights = tree.truth["features"], tree.truth["weights"][subject]
    weights = weights[mask[tree.truth["mask"][subject]]]
    categories = tree.spec.fact("categories")
    means = np.array([trials.responses[trials.trials["label"] == name].mean(axis=0) for name in categories])
    clean = features @ weights.T
    matched = [np.corrcoef(means[:, unit], clean[:, unit])[0, 1] for unit in range(trials.n_units)]
    shuffled = [np.corrcoef(np.roll(means[:, unit], 3), clean[:, unit])[0, 1] for unit in range(trials.n_units)]
    assert np.median(matched) > 0.95
    assert np.median(shuffled) < 0.5


def test_slice_recovers_what_was_planted(slice_tree):
    trials = load(slice_tree.spec, root=slice_tree.root, subject=1)
    assert trials.n_trials == slice_tree.spec.fact("runs") * 8
    assert_planted(trials, slice_tree, 1, slice_tree.truth["mask"][1])
    units = trials.units[["i", "j", "k"]].to_numpy()
    assert np.array_equal(units, np.argwhere(slice_tree.truth["mask"][1]))
    assert {"zscore", "detrend", "block mean"} == {step["step"] for step in trials.history}


def test_full_reads_regions_and_subjects(full_tree):
    trials = load(full_tree.spec, root=full_tree.root, subject="2")
    mask = full_tree.truth["mask"][2]
    assert trials.n_units == mask.sum() and set(trials.units["roi"]) == {"VT"}
    assert_planted(trials, full_tree, 2, mask)
    face = load(full_tree.spec, root=full_tree.root, subject=2, roi=["face"])
    image = nibabel.load(full_tree.spec.path(full_tree.root, "mask", subject=2, mask="mask8_face_vt"))
    assert np.array_equal(face.units[["i", "j", "k"]].to_numpy(), np.argwhere(image.get_fdata() > 0))
    both = load(full_tree.spec, root=full_tree.root, subject=2, roi=["face", "VT"])
    assert both.n_units == trials.n_units and (both.units["roi"] == "face").sum() == face.n_units


def test_block_means_equal_a_loop_over_volumes():
    rng = np.random.default_rng(0)
    series = rng.normal(size=(24, 3)) * [1, 50, 0] + [0, 1000, 7]
    labels = ["rest", "a", "a", "rest", "b", "b", "b", "rest", "a", "rest", "b", "b"] * 2
    runs = ["0"] * 12 + ["1"] * 12
    responses, table, _ = block_means(series, labels, runs, tr=2.0, delay=2.0)
    row = 0
    for first in (0, 12):
        part = detrend(series[first : first + 12, :2], axis=0)
        part = part / part.std(axis=0)
        for start, stop in ((1, 3), (4, 7), (8, 9), (10, 12)):
            wanted = part[start + 1 : stop + 1].mean(axis=0)
            np.testing.assert_allclose(responses[row, :2], wanted, rtol=1e-5, atol=1e-6)
            assert table["label"][row] == labels[start] and table["onset"][row] == start * 2.0
            row += 1
    assert row == len(table) and (responses[:, 2] == 0).all()


def test_wrong_files_are_refused(broken, slice_tree):
    spec, bold = slice_tree.spec, broken / "bold.nii.gz"
    good = {path: path.read_bytes() for path in broken.iterdir()}
    bold.write_bytes(good[bold][: len(good[bold]) // 2])
    with pytest.raises(DataError, match=r"bold\.nii\.gz"):
        load(spec, root=broken)
    bold.write_bytes(good[bold])
    labels = broken / "attributes_literal.txt"
    lines = labels.read_text().splitlines()
    for wrong in (lines[:-1], ["ghost 0", *lines[1:]], ["rest", *lines[1:]], [line[:-1] + "0" for line in lines]):
        labels.write_text("\n".join(wrong))
        with pytest.raises(DataError, match=r"(?s)attributes_literal.*expected.*found"):
            load(spec, root=broken)
    labels.unlink()
    with pytest.raises(DataError, match="attributes_literal"):
        load(spec, root=broken)
    labels.write_bytes(good[labels])
    image = nibabel.load(broken / "mask.nii.gz")
    for data in (np.ones((3, 3, 1), np.int16), np.zeros(image.shape, np.int16), np.ones(image.shape, np.int16)):
        nibabel.save(nibabel.Nifti1Image(data, image.affine), broken / "mask.nii.gz")
        with pytest.raises(DataError, match=r"mask\.nii\.gz"):
            load(spec, root=broken)


def test_unknown_options(full_tree, slice_tree):
    with pytest.raises(DataError, match="Did you mean 'face'"):
        load(full_tree.spec, root=full_tree.root, roi="fase")
    with pytest.raises(DataError, match="delay"):
        load(slice_tree.spec, root=slice_tree.root, delay=-1.0)


def test_real_slice_reaches_the_known_accuracy():
    trials = load("haxby_slice", root=real_data("haxby2001"), subject=1)
    assert trials.shape == (96, 530)
    labels = trials.trials["label"].to_numpy()
    assert leave_one_run_out(trials, labels) >= 0.68
    shuffled = np.random.default_rng(0).permutation(labels)
    assert leave_one_run_out(trials, shuffled) < 0.3
