"""BCI IV 2a from its MATLAB files and through MOABB: the same trials, and the planted rhythm in them."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from brainalign.errors import DataError
from brainalign.loaders import load
from brainalign.loaders.datasets.bci_iv_2a import load_bci_iv_2a
from brainalign.loaders.trees import Tree, make_tree
from brainalign.specs import DatasetSpec


@pytest.fixture(scope="module")
def bci(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return make_tree("bci_iv_2a", tmp_path_factory.mktemp("tree"))


def test_bci_trials_hold_the_planted_rhythm(bci: Tree) -> None:
    trials = load("bci_iv_2a", root=bci.root, subject=1, l_freq=6.0, h_freq=14.0)
    assert trials.shape == (32, 22, 1001) and trials.times[0] == 2.0 and trials.times[-1] == 6.0
    names = ["left_hand", "right_hand", "feet", "tongue"]
    labels = np.concatenate([bci.truth["labels"][1][part] for part in "TE"])
    assert trials.stimulus_ids.tolist() == [names[label - 1] for label in labels]
    assert trials.trials["session"].value_counts().to_dict() == {"0train": 16, "1test": 16}
    assert set(trials.trials["run"]) == {0, 1}
    strongest = trials.responses.var(axis=-1).argmax(axis=1)
    np.testing.assert_array_equal(strongest, np.array(bci.truth["electrode"])[labels - 1])
    assert 1e-6 < trials.responses.std() < 1e-5  # volts


def test_bci_equals_moabb_on_the_same_files(bci: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle is MOABB's own reader of these MATLAB files, given them instead of the network."""
    module = pytest.importorskip("moabb.datasets.bnci.bnci_2014")
    folder = bci.root / "001-2014"
    monkeypatch.setattr("moabb.datasets.bnci.base._enrich_run_with_metadata", lambda *_: None)  # age and sex
    monkeypatch.setattr(module, "data_path", lambda url, *_: [str(folder / url.rpartition("/")[2])])
    monkeypatch.setattr(
        module.BNCI2014_001,
        "get_data",
        lambda self, subjects: {one: self._get_single_subject_data(one) for one in subjects},
    )
    ours, theirs = load("bci_iv_2a", root=bci.root, subject=2), load_bci_iv_2a(bci.spec, None, subject=2)
    np.testing.assert_allclose(ours.responses, theirs.responses, rtol=1e-5, atol=1e-12)
    columns = ["stimulus_id", "subject", "session", "run", "onset", "repetition"]
    pd.testing.assert_frame_equal(ours.trials[columns], theirs.trials[columns])
    assert ours.units["name"].tolist() == theirs.units["name"].tolist()
    assert ours.units[["x", "y", "z"]].notna().all(axis=None)


def test_bci_through_a_stand_in_for_moabb(monkeypatch: pytest.MonkeyPatch) -> None:
    moabb_datasets = pytest.importorskip("moabb.datasets")
    rng = np.random.default_rng(0)
    info = mne.create_info(["C3", "C4", "EOG1", "STI"], 250.0, ["eeg", "eeg", "eog", "stim"])
    data = 1e-6 * rng.standard_normal((4, 250 * 30))
    data[3] = 0
    data[3, [250, 2500, 4500]] = [2, 3, 1]
    raw = mne.io.RawArray(data, info, verbose="error")

    class Dataset:
        def get_data(self, subjects: list[int]) -> dict:
            return {subjects[0]: {"0train": {"0": raw}, "1test": {"0": raw}}}

    monkeypatch.setattr(moabb_datasets, "BNCI2014_001", Dataset)
    trials = load_bci_iv_2a(DatasetSpec.load("bci_iv_2a"), None, subject=4, tmin=0.0, tmax=1.0)
    assert trials.stimulus_ids.tolist() == ["right_hand", "feet", "left_hand"] * 2
    np.testing.assert_allclose(trials.responses[1], data[:2, 2500:2751], rtol=1e-6)
    assert trials.units["name"].tolist() == ["C3", "C4"]


def test_bci_files_that_are_something_else(bci: Tree, tmp_path: Path) -> None:
    (tmp_path / "001-2014").mkdir()
    path = tmp_path / "001-2014" / "A01T.mat"
    savemat(path, {"data": np.zeros(3)})
    with pytest.raises(DataError, match="not a file of BCI IV 2a"):
        load("bci_iv_2a", root=tmp_path, subject=1)
    whole = (bci.root / "001-2014" / "A01T.mat").read_bytes()
    for fraction in (0, 0.01, 0.5, 0.99):
        path.write_bytes(whole[: int(fraction * len(whole))])
        with pytest.raises(DataError, match=r"A01T\.mat"):
            load("bci_iv_2a", root=tmp_path, subject=1)
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"A01E\.mat"):
        load("bci_iv_2a", root=tmp_path, subject=1)
    content = loadmat(path, struct_as_record=False, squeeze_me=True)["data"][1]
    assert content.X.shape[1] == 25
