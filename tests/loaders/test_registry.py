"""`load` by name: every spec has a loader, and wrong names, options, subjects and folders say what would be right."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import brainalign.loaders
from brainalign.errors import DataError, SpecError
from brainalign.loaders import registry
from brainalign.loaders.registry import data_root, load
from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec, list_specs
from tests.conftest import real_data
from tests.loaders.pickled import write_npy_dict
from tests.loaders.test_check import ON_DISK


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("haxby_slice", tmp_path_factory.mktemp("slice"))


@pytest.mark.parametrize("name", list_specs())
def test_every_spec_has_a_loader_of_the_common_form(name):
    module, _, function = registry._LOADERS[DatasetSpec.load(name).loader].partition(":")
    parameters = signature(getattr(import_module(f"brainalign.loaders.{module}"), function)).parameters
    assert list(parameters)[:3] == ["spec", "root", "subject"]
    assert all(one.kind in (one.KEYWORD_ONLY, one.VAR_KEYWORD) for one in list(parameters.values())[2:])


def test_the_package_offers_it():
    assert brainalign.loaders.load is load


def test_unknown_dataset():
    with pytest.raises(SpecError, match="Did you mean 'nsd'"):
        load("nsdd")


def test_unknown_option_is_named_before_anything_is_read(tree):
    with pytest.raises(DataError, match=r"has no option 'delai'\. Did you mean 'delay'"):
        load(tree.spec, root="nowhere", delai=1.0)
    with pytest.raises(DataError, match="no options"):
        load("digits69", root="nowhere", roi="V1")


def test_unknown_subject_lists_those_there_are(tree):
    with pytest.raises(DataError, match="subject"):
        load(tree.spec, root=tree.root, subject=7)
    assert load(tree.spec, root=tree.root, subject="1").n_trials == load(tree.spec, root=tree.root).n_trials


def test_missing_folder_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
    assert data_root() == tmp_path
    with pytest.raises(DataError, match=r"(?s)no folder with 'nsd'.*BRAINALIGN_DATA.*brainalign fetch nsd") as caught:
        load("nsd", subject=1)
    assert str(tmp_path / "nsd") in str(caught.value)
    monkeypatch.delenv("BRAINALIGN_DATA")
    assert data_root() == Path("..") / "shared" / "data"


def test_default_folder_and_spec_files(tree, tmp_path, monkeypatch):
    (tmp_path / "haxby_slice").symlink_to(tree.root)
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
    assert load(tree.spec).n_trials == load(tree.spec, root=str(tree.root)).n_trials


@pytest.mark.parametrize(
    "name",
    ["nsd", "bold5000", "things_fmri", "kay2008", "miyawaki2008", "haxby2001", "haxby_slice", "digits69", "images92"],
)
def test_an_empty_folder_is_one_error_that_names_a_file(name, tmp_path):
    with pytest.raises(DataError) as caught:
        load(name, root=tmp_path)
    assert str(tmp_path) in str(caught.value.path)


# Voxels that are NaN, as in the released file, want a policy.
ASKED_FOR = {"kay2008": {"nan": "drop"}}


@pytest.mark.parametrize("name", ON_DISK)
def test_every_tree_loads_with_the_defaults(name, tmp_path):
    tree = make_tree(name, tmp_path / name, writers={"npy_dict": write_npy_dict})
    loaded = load(tree.spec, root=tree.root, **ASKED_FOR.get(name, {}))
    assert loaded.info["dataset"] == name and loaded.info["modality"] == tree.spec.modality
    if name != "images92":
        assert np.isfinite(loaded.responses).all()
        assert set(loaded.trials["subject"].astype(str)) <= {str(tree.spec.subjects[0]), f"{tree.spec.subjects[0]:0>2}"}


@pytest.mark.parametrize(("name", "n_trials", "n_units"), [("meg_sample", 30, 366), ("ieeg_bids", 61, 50)])
def test_real_recordings_load_with_the_defaults(name, n_trials, n_units):
    trials = load(name, root=real_data(name))
    assert trials.shape[:2] == (n_trials, n_units) and np.isfinite(trials.responses).all()


def test_muse_runs_are_taken_once_and_hold_the_n170(tmp_path) -> None:
    tree = make_tree("muse_erp", tmp_path / "tree")
    trials = load(tree.spec, root=tree.root, subject=2)
    assert trials.trials["label"].tolist() == np.concatenate(tree.truth["labels"][2]).tolist()
    difference = [
        trials.responses[(trials.trials["label"] == one).to_numpy()].mean(axis=0) for one in ("face", "house")
    ]
    late = np.abs(difference[0] - difference[1])[0]
    assert abs(trials.times[late.argmax()] - 0.17) < 0.02 and late.max() > 1e-5
    trials = load("muse_erp", root=real_data("muse_erp"), subject=3, peak_to_peak=150e-6, l_freq=1.0)
    assert trials.trials.groupby("session")["run"].nunique().to_dict() == {1: 2, 2: 1, 3: 1}
    assert [one["why"] for one in trials.info["left_out"]][:2] == ["the same run lies in another folder", "7 trials"]
    assert np.ptp(trials.responses, axis=2).max() <= 150e-6


def test_bci_runs_load_as_trials_of_named_classes() -> None:
    trials = load("eegmmidb_s001", root=real_data("eegmmidb_s001"), tmin=0.5, tmax=1.5)
    counts = trials.trials.groupby("run")["label"].agg(lambda labels: "/".join(sorted(set(labels))))
    assert counts.to_dict() == dict.fromkeys((4, 8, 12), "left_hand/right_hand") | dict.fromkeys(
        (6, 10, 14), "feet/hands"
    )
    assert trials.shape == (90, 64, 161) and {"C3", "Fp1", "Iz", "T10"} <= set(trials.units["name"])
    trials = load("ssvep_exo", root=real_data("ssvep_exo"), subject=3)
    assert trials.trials.groupby(["session", "label"]).size().eq(8).all() and trials.shape == (64, 8, 1025)
