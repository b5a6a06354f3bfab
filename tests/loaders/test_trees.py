"""Trees: read by other people's readers, each gives back what was planted, and a shuffled copy does not."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from brainalign.errors import DataError, SpecError
from brainalign.loaders.npy_dict import read_npy_dict
from brainalign.loaders.trees import Tree, make_tree
from brainalign.loaders.trees.writers import write_brainvision, write_edf
from brainalign.specs import DatasetSpec
from tests.loaders.pickled import write_npy_dict
from tests.loaders.test_check import ON_DISK


def recovered(features: np.ndarray, responses: np.ndarray, weights: np.ndarray) -> float:
    """Correlation of the planted weights with least-squares ones from what was read: (n_trials, ...)."""
    design = np.column_stack([features, np.ones(len(features))])
    found = np.linalg.lstsq(design, responses, rcond=None)[0][:-1]
    return float(np.corrcoef(found.ravel(), weights.T.ravel())[0, 1])


def assert_planted(features: np.ndarray, responses: np.ndarray, weights: np.ndarray) -> None:
    """The planted weights come back, and do not when trials and stimuli are paired at random."""
    shuffled = np.random.default_rng(0).permutation(len(features))
    assert recovered(features, responses, weights) > 0.95
    assert recovered(features[shuffled], responses, weights) < 0.8


def make(name: str, root: Path, **options) -> Tree:
    return make_tree(name, root / name, writers={"npy_dict": write_npy_dict}, **options)


def test_nsd_by_the_published_indexing(tmp_path):
    tree = make("nsd", tmp_path)
    design = loadmat(tree.root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    with h5py.File(tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        assert (file["imgBrick"].shape, file["imgBrick"].dtype) == ((20, 16, 16, 3), np.uint8)
    for subject in (1, 2):
        folder = tree.root / f"nsddata_betas/ppdata/subj0{subject}/func1pt8mm/betas_fithrf_GLMdenoise_RR"
        responses, volumes = [], []
        for session in (1, 2):
            with h5py.File(folder / f"betas_session0{session}.hdf5") as file:
                assert file["betas"].dtype == np.int16
                assert file["betas"].chunks == (12, 1, 1, 1)
                responses.append(file["betas"][:].transpose(0, 3, 2, 1) / 300.0)  # MATLAB order back to x, y, z
            image = nibabel.load(folder / f"betas_session0{session}.nii.gz")
            assert image.get_data_dtype() == np.int16
            volumes.append(np.asarray(image.dataobj).transpose(3, 0, 1, 2) / 300.0)
        np.testing.assert_array_equal(np.concatenate(responses), np.concatenate(volumes))
        trial = np.arange(24)
        image = (design["subjectim"][subject - 1, design["masterordering"].ravel()[trial].astype(int) - 1] - 1).astype(
            int
        )
        np.testing.assert_array_equal(image, tree.truth["image"][subject])
        assert_planted(
            tree.truth["features"][image], np.concatenate(responses).reshape(24, -1), tree.truth["weights"][subject]
        )
        shared = np.isin(image, tree.truth["shared"])
        np.testing.assert_array_equal(shared, design["masterordering"].ravel()[trial] <= 3)
        np.testing.assert_array_equal(design["sharedix"].ravel() - 1, tree.truth["shared"])
        mask = nibabel.load(tree.root / f"nsddata/ppdata/subj0{subject}/func1pt8mm/roi/nsdgeneral.nii.gz").get_fdata()
        assert (mask > 0).sum() == 60
        assert (mask < 0).any()
        np.testing.assert_array_equal(mask > 0, tree.truth["mask"][subject])


def test_bold5000_joins_by_file_name(tmp_path):
    tree = make("bold5000", tmp_path)
    names = (tree.root / "CSI1_imgnames.txt").read_text().splitlines()
    files = sorted(tree.root.glob("CSI1_GLMbetas-*"))
    assert len(files) == 2
    betas = np.concatenate([nibabel.load(file).get_fdata() for file in files], axis=3).reshape(-1, len(names)).T
    image = np.array([tree.truth["names"].index(name) for name in names])
    assert_planted(tree.truth["features"][image], betas, tree.truth["weights"]["CSI1"])
    repeated = (tree.root / "repeated_stimuli_113_list.txt").read_text().split()
    assert {names.count(name) for name in repeated} == {4}
    assert {names.count(name) for name in set(names) - set(repeated)} == {1}


def test_things_fmri_tables(tmp_path):
    tree = make("things_fmri", tmp_path)
    trials = pd.read_csv(tree.root / "sub-02_StimulusMetadata.csv")
    voxels = pd.read_csv(tree.root / "sub-02_VoxelMetadata.csv")
    with h5py.File(tree.root / "sub-02_ResponseData.h5") as file:
        values = file["ResponseData/block0_values"][:]
        assert file["ResponseData/axis0"][0] == b"voxel_id"
        np.testing.assert_array_equal(file["ResponseData/block1_values"][:, 0], voxels["voxel_id"])
    image = [tree.truth["stimuli"].index(name) for name in trials["stimulus"]]
    assert_planted(tree.truth["features"][image], values.T, tree.truth["weights"][2])
    counts = trials.groupby("trial_type")["stimulus"].value_counts()
    assert set(counts["test"]) == {3}
    assert set(counts["train"]) == {1}
    assert not set(trials.query("trial_type == 'test'")["concept"]) & set(
        trials.query("trial_type == 'train'")["concept"]
    )
    assert (voxels[["V1", "V2", "FFA"]].sum(axis=1) == 1).all()


def test_kay2008_is_matlab_7_3_with_nan(tmp_path):
    tree = make("kay2008", tmp_path)
    path = tree.root / "EstimatedResponses.mat"
    assert path.read_bytes()[:10] == b"MATLAB 7.3"
    with pytest.raises(NotImplementedError, match="HDF"):
        loadmat(path)  # scipy knows the version by its header
    with h5py.File(path) as file:
        train, validation = file["dataTrnS2"][:], file["dataValS2"][:]
    assert np.isnan(train[:, tree.truth["missing"][2]]).all()
    responses, weights = np.concatenate([train, validation])[:, 2:], tree.truth["weights"][2][2:]
    assert_planted(tree.truth["features"], responses, weights)
    assert loadmat(tree.root / "Stimuli.mat")["stimTrn"].shape == (14, 16, 16)


@pytest.mark.parametrize("name", ["haxby2001", "haxby_slice"])
def test_haxby_blocks(tmp_path, name):
    tree = make(name, tmp_path)
    if name == "haxby2001":
        folder, mask_name = tree.root / "subj1", "mask4_vt.nii.gz"
        labels = pd.read_csv(folder / "labels.txt", sep=" ")["labels"].to_numpy()
    else:
        folder, mask_name = tree.root, "mask.nii.gz"
        labels = np.loadtxt(folder / "attributes_literal.txt", dtype=str)[:, 0]
    image = nibabel.load(folder / "bold.nii.gz")
    mask = nibabel.load(folder / mask_name).get_fdata() > 0
    assert image.header.get_zooms()[3] == 2.5
    bold = np.asarray(image.dataobj, dtype=float)
    categories = tree.spec.fact("categories")
    features = np.array([tree.truth["features"][categories.index(x)] if x != "rest" else np.zeros(3) for x in labels])
    assert_planted(features, bold[mask].T, tree.truth["weights"][1])
    outside = np.var(bold[~mask], axis=1).mean()
    assert outside < 2 < np.var(bold[mask], axis=1).mean()


def test_miyawaki2008_patches(tmp_path):
    tree = make("miyawaki2008", tmp_path)
    mask = nibabel.load(tree.root / "mask/mask.nii.gz").get_fdata() > 0
    for run in (1, 2, 3):
        patches = np.loadtxt(tree.root / f"label/data_random_run{run:02d}_label.csv", delimiter=",")
        assert patches.shape == (10, 100)
        assert (patches[0] == -1).all()
        bold = nibabel.load(tree.root / f"func/data_random_run{run:02d}.nii.gz").get_fdata()[mask].T
        predicted = np.maximum(patches, 0) @ tree.truth["patch_weights"].T
        assert np.corrcoef(predicted.ravel(), bold.ravel())[0, 1] > 0.9
        assert abs(np.corrcoef(predicted[::-1][[1, 2, 3, 4, 5, 6, 7, 8]].ravel(), bold[1:-1].ravel())[0, 1]) < 0.5


def test_digits69_as_matlab_keeps_it(tmp_path):
    tree = make("digits69", tmp_path)
    content = loadmat(tree.root / "69digits.mat")
    assert_planted(tree.truth["features"], content["X"], tree.truth["weights"][1])
    upright = content["I"].reshape(-1, 28, 28, order="C").transpose(0, 2, 1)
    np.testing.assert_array_equal(upright, tree.truth["images"])
    assert content["funloc"][0, 1][0] == "lh.V1d.nii"
    np.testing.assert_array_equal(content["masks"][0, 0] > 0, tree.truth["masks"]["primary"])


def test_images92_rdms_correlate_with_the_planted_geometry(tmp_path):
    tree = make("images92", tmp_path)
    upper = np.triu_indices(8, 1)
    for roi in ("EVC", "IT"):
        rdms = np.load(tree.root / f"brain_data/92images/fmri_{roi}_RDMs.npz")["Net_RDM"]
        for rdm in rdms:
            assert np.corrcoef(rdm[upper], tree.truth["rdm"][roi][upper])[0, 1] > 0.95
    assert np.corrcoef(tree.truth["rdm"]["EVC"][upper], tree.truth["rdm"]["IT"][upper])[0, 1] < 0.95


def test_things_eeg2_dictionaries(tmp_path):
    tree = make("things_eeg2", tmp_path)
    content = read_npy_dict(tree.root / "sub-01" / "preprocessed_eeg_training.npy")
    data, times = np.asarray(content["preprocessed_eeg_data"]), np.asarray(content["times"])
    assert data.shape == (8, 2, 5, 20)
    peak = data[..., np.argmin(np.abs(times - tree.truth["bump"][0]))].mean(axis=1)
    assert_planted(tree.truth["features"], peak, tree.truth["weights"][1])
    raw = read_npy_dict(tree.root / "sub-01" / "ses-02" / "raw_eeg_test.npy")
    stim = np.asarray(raw["raw_eeg_data"])[-1]
    (samples,) = np.nonzero(stim)
    assert stim[samples[-1]] == 99999
    events = np.column_stack([samples[:-1], stim[samples[:-1]]])
    np.testing.assert_array_equal(events, tree.truth["events"][1]["test"][1])
    assert raw["ch_types"][-1] == "stim"
    assert list(raw["ch_names"])[:-1] == list(content["ch_names"])


def test_things_eeg2_is_left_out_where_nobody_may_pickle(tmp_path):
    tree = make_tree("things_eeg2", tmp_path / "tree")
    assert "raw" in tree.skipped
    assert not list(tmp_path.rglob("*.npy"))


def test_things_meg_epochs(tmp_path):
    mne = pytest.importorskip("mne")
    tree = make("things_meg", tmp_path)
    epochs = mne.read_epochs(tree.root / "derivatives/preprocessed/preprocessed_P2-epo.fif", verbose="error")
    image = epochs.events[:, 2] - 1
    np.testing.assert_array_equal(image, tree.truth["image"][2])
    data = epochs.get_data(copy=False)[:, :, np.argmin(np.abs(epochs.times - tree.truth["bump"][0]))] * 1e13
    assert_planted(tree.truth["features"][image], data, tree.truth["weights"][2])
    assert (epochs.metadata["trial_type"] == "test").sum() == 2 * 3


def test_bci_iv_2a_is_read_by_moabb(tmp_path):
    pytest.importorskip("moabb")
    from moabb.datasets.bnci.base import _convert_mi

    tree = make("bci_iv_2a", tmp_path, subjects=[2], sizes={"runs": 2, "trials_per_run": 4})
    runs, events = _convert_mi(str(tree.root / "001-2014/A02E.mat"), None, None)
    assert set(events) == {"left_hand", "right_hand", "feet", "tongue"}
    stim = [run.get_data(picks="STI")[0] for run in runs]
    labels = np.concatenate([each[each > 0] for each in stim])
    np.testing.assert_array_equal(labels, tree.truth["labels"][2]["E"])
    for run, each, samples in zip(runs, stim, tree.truth["samples"][2]["E"][1:], strict=True):
        np.testing.assert_array_equal(np.flatnonzero(each), samples)
        for sample in samples:
            power = np.var(run.get_data(picks="eeg")[:, sample + 500 : sample + 1500], axis=1)
            assert np.argmax(power) == tree.truth["electrode"][int(each[sample]) - 1]


def test_podcast_in_edf_and_fif(tmp_path):
    mne = pytest.importorskip("mne")
    tree = make("podcast_ecog", tmp_path)
    edf = {s: mne.io.read_raw_edf(next(tree.root.glob(f"sub-0{s}/ieeg/*.edf")), verbose="error") for s in (1, 7)}
    assert [edf[s].info["sfreq"] for s in (1, 7)] == [512.0, 2048.0]
    assert edf[7].times[-1] == pytest.approx(6, abs=0.01)
    path = next(tree.root.glob("derivatives/ecogprep/sub-07/ieeg/*_desc-highgamma_ieeg.fif"))
    envelope = mne.io.read_raw_fif(path, verbose="error")
    lags = envelope.time_as_index(tree.truth["onsets"] + tree.truth["bump"][0])
    assert_planted(tree.truth["features"], envelope.get_data()[:, lags].T - 5, tree.truth["weights"][7])
    channels = next(tree.root.glob("sub-01/ieeg/*_channels.tsv"))
    assert channels.read_bytes()[:3] == b"\xef\xbb\xbf"
    assert list(pd.read_csv(channels, sep="\t", encoding="utf-8-sig")["name"]) == edf[1].ch_names


def test_du_in_converted(tmp_path):
    tree = make("du_in", tmp_path)
    data = np.load(tree.root / "converted/002/data.npy", allow_pickle=False)
    info = json.loads((tree.root / "converted/002/info.json").read_text())
    times = info["tmin"] + np.arange(data.shape[2]) / info["sfreq"]
    labels = np.array([int(word.removeprefix("word")) for word in info["labels"]])
    assert data.dtype == np.float32
    assert data.shape[:2] == (len(info["runs"]), len(info["ch_names"]))
    peak = data[:, :, np.argmin(np.abs(times - tree.truth["bump"][0]))]
    assert_planted(tree.truth["features"][labels], peak, tree.truth["weights"]["002"])


def test_meg_sample_and_ieeg_bids(tmp_path):
    mne = pytest.importorskip("mne")
    tree = make("meg_sample", tmp_path)
    raw = mne.io.read_raw_fif(tree.root / "test_raw.fif", verbose="error")
    events = mne.find_events(raw, verbose="error")
    np.testing.assert_array_equal(events[:, [0, 2]], tree.truth["events"])
    data = raw.get_data(picks="mag")[:, events[:, 0] + round(0.15 * raw.info["sfreq"])].T * 1e13
    assert_planted(tree.truth["features"][events[:, 2] - 1], data, tree.truth["weights"][1])

    tree = make("ieeg_bids", tmp_path)
    raw = mne.io.read_raw_brainvision(next(tree.root.rglob("*.vhdr")), verbose="error")
    events = pd.read_csv(next(tree.root.rglob("*_events.tsv")), sep="\t", encoding="utf-8-sig")
    for onset, kind, contact in zip(events["onset"], events["trial_type"], tree.truth["events"][:, 1], strict=True):
        start = round(onset * raw.info["sfreq"])
        power = np.var(raw.get_data()[:, start : start + 30], axis=1)
        assert set(np.argsort(power)[-2:]) == {contact, contact + 1}
        assert kind == f"burst_{raw.ch_names[int(contact)]}"


def test_edf_and_brainvision_hold_what_they_were_given(tmp_path):
    mne = pytest.importorskip("mne")
    data = np.random.default_rng(0).standard_normal((3, 500)) * 40
    content = {"data": data, "ch_names": ["A1", "A2", "B1"], "sfreq": 100.0}
    write_edf(tmp_path / "a.edf", content)
    raw = mne.io.read_raw_edf(tmp_path / "a.edf", verbose="error")
    np.testing.assert_allclose(raw.get_data() * 1e6, data, atol=0.01)
    write_brainvision(tmp_path / "a.vhdr", content)
    raw = mne.io.read_raw_brainvision(tmp_path / "a.vhdr", verbose="error")
    np.testing.assert_allclose(raw.get_data() * 1e6, data, rtol=1e-6)
    assert (raw.ch_names, raw.info["sfreq"]) == (content["ch_names"], 100.0)


def flattened(value: object) -> list[np.ndarray]:
    """All arrays of a nested truth, in order."""
    if isinstance(value, dict):
        return [array for key in value for array in flattened(value[key])]
    return [array for each in value for array in flattened(each)] if isinstance(value, list) else [np.asarray(value)]


@pytest.mark.parametrize("name", [name for name in ON_DISK if name != "bci_iv_2a"])
def test_the_seed_decides_all(tmp_path, name):
    one, two, other = (make(name, tmp_path / str(i), seed=seed) for i, seed in enumerate((3, 3, 4)))
    for first, second in zip(flattened(one.truth), flattened(two.truth), strict=True):
        np.testing.assert_array_equal(first, second)
    for path in one.root.rglob("*.nii.gz"):
        again = two.root / path.relative_to(one.root)
        np.testing.assert_array_equal(nibabel.load(path).dataobj, nibabel.load(again).dataobj)
    same = [np.array_equal(a, b) for a, b in zip(flattened(one.truth), flattened(other.truth), strict=True)]
    assert not all(same)


def test_a_subject_is_the_same_whoever_else_is_made(tmp_path):
    both, alone = make("nsd", tmp_path / "both"), make("nsd", tmp_path / "alone", subjects=["2"])
    assert alone.spec.subjects == (2,)
    assert not (alone.root / "nsddata/ppdata/subj01").exists()
    np.testing.assert_array_equal(both.truth["weights"][2], alone.truth["weights"][2])
    name = "nsddata_betas/ppdata/subj02/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session02.nii.gz"
    np.testing.assert_array_equal(nibabel.load(both.root / name).dataobj, nibabel.load(alone.root / name).dataobj)


def test_sizes_can_be_chosen_and_requests_be_wrong(tmp_path):
    tree = make(
        "nsd", tmp_path, sizes={"sessions": {1: 3}, "grid": {1: [4, 5, 6]}, "nsdgeneral_voxels": {1: 40}}, subjects=[1]
    )
    assert len(list(tree.root.rglob("betas_session*.hdf5"))) == 3
    with h5py.File(next(tree.root.rglob("betas_session03.hdf5"))) as file:
        assert file["betas"].shape == (12, 6, 5, 4)
    with pytest.raises(DataError, match="not empty"):
        make_tree("nsd", tree.root)
    with pytest.raises(SpecError, match="no files"):
        make_tree("simulated", tmp_path / "none")
    with pytest.raises(SpecError, match="no subject"):
        make_tree("nsd", tmp_path / "none", subjects=[7])
    with pytest.raises(SpecError, match="has no fact"):
        make_tree(DatasetSpec.load("nsd"), tmp_path / "none", sizes={"voxels": 3})
