"""Spikes and cursor: every spike in its bin, kinematics beside it, planted tuning found; damaged files refused."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.loaders.check import check_dataset
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec
from tests.conftest import real_data

FILE = "c_20131023_center_out_reaching.h5"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("spikes_reaching", tmp_path_factory.mktemp("spikes"))


@pytest.fixture
def damaged(tree, tmp_path):
    shutil.copytree(tree.root, tmp_path / "copy")
    return tmp_path / "copy"


def test_every_spike_is_in_its_bin(tree):
    trials = load(tree.spec, root=tree.root)
    times, unit = tree.truth["spikes"]
    edges = np.arange(trials.n_trials + 1) * 0.05
    for number in range(trials.n_units):
        np.testing.assert_array_equal(trials.responses[:, number], np.histogram(times[unit == number], edges)[0])
    assert trials.trials["stimulus_id"].is_unique
    assert trials.units["region"].tolist() == ["M1"] * 4
    assert trials.units["name"].tolist() == [f"M1/elec{number}/unit_{number}" for number in range(4)]


def test_kinematics_are_means_over_the_bin(tree):
    trials = load(tree.spec, root=tree.root, bin_width=0.1)
    with h5py.File(tree.root / FILE) as file:
        velocity = file["cursor/vel"][:]
        start, end = file["trials/start"][:], file["trials/end"][:]
    np.testing.assert_allclose(trials.trials[["vel_x", "vel_y"]], velocity.reshape(-1, 10, 2).mean(axis=1))
    for onset, reach in trials.trials[["onset", "reach"]].to_numpy():
        inside = np.flatnonzero((start <= onset) & (onset < end))
        assert reach == (inside[0] if inside.size else -1)


def test_planted_tuning_comes_back_and_not_from_shuffled_bins(tree):
    trials = load(tree.spec, root=tree.root, bin_width=0.1)
    design = np.column_stack([trials.trials[["vel_x", "vel_y"]], np.ones(len(trials))])
    planted = tree.truth["weights"]["c"][:, :2].T.ravel()

    def recovered(rows):
        found = np.linalg.lstsq(design[rows], np.log(trials.responses + 0.5), rcond=None)[0][:2]
        return np.corrcoef(found.ravel(), planted)[0, 1]

    assert recovered(np.arange(len(trials))) > 0.9
    shuffled = [abs(recovered(np.random.default_rng(seed).permutation(len(trials)))) for seed in range(20)]
    assert np.mean(shuffled) < 0.5


@pytest.mark.parametrize(
    "width, message", [(0.0, "bin_width"), (-1.0, "bin_width"), (100.0, "bin_width"), (0.004, "no sample")]
)
def test_bins_that_cannot_be(tree, width, message):
    with pytest.raises(DataError, match=message):
        load(tree.spec, root=tree.root, bin_width=width)


def test_damaged_files_are_refused(tree, damaged):
    path = damaged / FILE
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=FILE):
        load(tree.spec, root=damaged)
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        file["spikes/unit_index"][3] = 99
    with pytest.raises(DataError, match=r"(?s)unknown unit.*expected.*0 to 3"):
        load(tree.spec, root=damaged)
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        file["cursor/vel"][5, 1] = np.nan
    with pytest.raises(DataError, match="cursor/vel"):
        load(tree.spec, root=damaged)


def test_an_array_that_lies_elsewhere_is_not_followed(tree, damaged, tmp_path):
    with h5py.File(tmp_path / "elsewhere.h5", "w") as file:
        file["pos"] = np.zeros((6000, 2))
    with h5py.File(damaged / FILE, "r+") as file:
        del file["cursor/pos"]
        file["cursor/pos"] = h5py.ExternalLink(str(tmp_path / "elsewhere.h5"), "pos")
    with pytest.raises(DataError, match="cursor/pos"):
        load(tree.spec, root=damaged)


def test_real_file():
    root = real_data("spikes_reaching")
    assert check_dataset(DatasetSpec.load("spikes_reaching"), root).ok
    trials = load("spikes_reaching", root=root)
    assert trials.shape == (14332, 61)
    assert trials.responses.sum() == 415937 - np.sum(_spike_times(root) >= 14332 * 0.05)
    # Spikes tell the velocity of the hand 100 ms later, and hardly that of another time.
    velocity = trials.trials[["vel_x", "vel_y"]].to_numpy()
    counts = (trials.responses - trials.responses.mean(0)) / trials.responses.std(0)
    near = np.abs(counts[:-2].T @ (velocity[2:] / velocity.std(0))).max() / len(trials)
    far = np.abs(counts[:-2000].T @ (velocity[2000:] / velocity.std(0))).max() / len(trials)
    assert near > 0.2 > 2 * far


def _spike_times(root):
    with h5py.File(root / FILE) as file:
        return file["spikes/timestamps"][:]
