"""A BIDS folder gives the same responses as its files named one by one; what is ambiguous or hostile is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders.bids import load_bids_fmri
from brainalign.loaders.bids_layout import applicable_files, find_files, inherited_json, parse_name, subject_label
from brainalign.loaders.fmri import load_fmri
from tests.loaders.planted_fmri import AFFINE, N_TRIALS, N_VOLUMES, SHAPE, TR, make_subject, save


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("fmri"))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pd.DataFrame):
        content.to_csv(path, sep="\t", index=False, na_rep="n/a")
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def root(tmp_path, planted):
    """Two sessions of one run each for sub-01, one events table inherited by both, another task beside."""
    top = tmp_path / "dataset"
    write(top / "dataset_description.json", {"Name": "planted", "BIDSVersion": "1.8.0"})
    write(top / "task-view_bold.json", {"RepetitionTime": TR, "TaskName": "view"})
    for number, (bold, events) in enumerate(zip(planted.bold, planted.events, strict=True), start=1):
        func = top / f"sub-01/ses-{number}/func"
        func.mkdir(parents=True)
        stem = f"sub-01_ses-{number}_task-view_run-01"
        os.link(bold, func / f"{stem}_bold.nii.gz")
        write(func / f"{stem}_events.tsv", Path(events).read_text())
        os.link(bold, func / f"sub-01_ses-{number}_task-rest_bold.nii.gz")
    (top / "sub-02").mkdir()
    return top


@pytest.fixture
def derived(root, planted):
    """fMRIPrep's names beside the raw data: two spaces, brain masks, confounds."""
    base = root / "derivatives" / "fmriprep"
    rng = np.random.default_rng(0)
    for number, bold in enumerate(planted.bold, start=1):
        func = base / f"sub-01/ses-{number}/func"
        func.mkdir(parents=True)
        stem = f"sub-01_ses-{number}_task-view_run-01"
        for space in ("T1w", "MNI152NLin2009cAsym"):
            os.link(bold, func / f"{stem}_space-{space}_desc-preproc_bold.nii.gz")
            inside = planted.inside.copy()
            inside.ravel()[np.flatnonzero(inside)[number]] = False  # each run's mask lacks another voxel
            save(func / f"{stem}_space-{space}_desc-brain_mask.nii.gz", inside.astype(np.uint8))
            write(func / f"{stem}_space-{space}_desc-preproc_bold.json", {"RepetitionTime": TR, "StartTime": TR / 2})
        confounds = pd.DataFrame(rng.normal(size=(N_VOLUMES, 3)), columns=["trans_x", "trans_y", "trans_x_derivative1"])
        confounds.loc[0, "trans_x_derivative1"] = np.nan
        write(func / f"{stem}_desc-confounds_timeseries.tsv", confounds)
    return base


class TestLoading:
    def test_equals_the_files_named_one_by_one(self, root, planted):
        trials = load_bids_fmri(root, subject="01", task="view", mask=planted.mask)
        plain = load_fmri(planted.bold, planted.events, mask=planted.mask)
        np.testing.assert_array_equal(trials.responses, plain.responses)
        assert trials.stimulus_ids.tolist() == plain.stimulus_ids.tolist()
        assert trials.trials["session"].tolist() == [1] * N_TRIALS + [2] * N_TRIALS
        assert set(trials.trials["run"]) == {1}
        assert set(trials.trials["subject"]) == {"01"}
        assert trials.info["task"] == "view"

    @pytest.mark.parametrize("session", [2, "2", "02"])
    def test_one_session(self, root, planted, session):
        trials = load_bids_fmri(root, subject=1, task="view", session=session, mask=planted.mask)
        assert set(trials.trials["session"]) == {2}
        assert trials.n_trials == N_TRIALS

    def test_events_are_inherited_and_the_closest_win(self, root, planted):
        for number in (1, 2):
            (root / f"sub-01/ses-{number}/func/sub-01_ses-{number}_task-view_run-01_events.tsv").unlink()
        table = pd.read_csv(planted.events[0], sep="\t")
        write(root / "task-view_events.tsv", table.assign(stimulus_id="far"))
        write(root / "sub-01/ses-2/sub-01_ses-2_task-view_events.tsv", table.assign(stimulus_id="near"))
        trials = load_bids_fmri(root, subject="01", task="view", mask=planted.mask)
        assert trials.stimulus_ids.tolist() == ["far"] * N_TRIALS + ["near"] * N_TRIALS

    def test_preprocessed_runs_take_raw_events_and_their_own_start_time(self, root, derived, planted):
        trials = load_bids_fmri(root, subject="01", task="view", derivatives="fmriprep", space="T1w", mask="brain")
        expected = planted.inside.sum() - 2  # inside the masks of both runs
        assert trials.n_units == expected
        by_hand = load_fmri(planted.bold, planted.events, mask=planted.mask, slice_time_ref=0.5)
        shared = by_hand.units["name"].isin(trials.units["name"]).to_numpy()
        np.testing.assert_allclose(trials.responses, by_hand.responses[:, shared], rtol=1e-5, atol=1e-6)
        assert trials.info["space"] == "T1w"

    def test_derivatives_may_lie_elsewhere(self, root, derived, tmp_path, planted):
        elsewhere = derived.rename(tmp_path / "prep")
        trials = load_bids_fmri(root, subject="01", task="view", derivatives=elsewhere, space="T1w", mask=planted.mask)
        assert trials.n_trials == 2 * N_TRIALS

    def test_confounds_by_name_and_wildcard(self, root, derived, planted):
        options = {"derivatives": "fmriprep", "space": "T1w", "mask": planted.mask}
        trials = load_bids_fmri(root, subject="01", task="view", confounds=["trans_?", "*derivative1"], **options)
        assert trials.history[0]["n_confounds"] == [3, 3]
        assert trials.history[-1] == {"step": "confounds", "first_row_set_to_zero": ["trans_x_derivative1"]}
        tables = []
        for number in (1, 2):
            stem = derived / f"sub-01/ses-{number}/func/sub-01_ses-{number}_task-view_run-01"
            tables.append(pd.read_csv(f"{stem}_desc-confounds_timeseries.tsv", sep="\t").fillna(0.0))
        by_hand = load_fmri(planted.bold, planted.events, mask=planted.mask, slice_time_ref=0.5, confounds=tables)
        np.testing.assert_allclose(trials.responses, by_hand.responses, rtol=1e-4, atol=1e-5)
        with pytest.raises(DataError, match=r"no confound 'trans_z'\. Did you mean 'trans_"):
            load_bids_fmri(root, subject="01", task="view", confounds=["trans_z"], **options)

    def test_pictures_named_by_the_events_come_along(self, root, planted):
        from PIL import Image

        names = [f"set/{number:02d}.png" for number in range(N_TRIALS)]
        for number in (1, 2):
            path = root / f"sub-01/ses-{number}/func/sub-01_ses-{number}_task-view_run-01_events.tsv"
            write(path, pd.read_csv(path, sep="\t").drop(columns="stimulus_id").assign(stim_file=names))
        plain = load_bids_fmri(root, subject="01", task="view", mask=planted.mask)
        assert plain.stimuli is None
        for name in names:
            (root / "stimuli" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (3, 2)).save(root / "stimuli" / name)
        trials = load_bids_fmri(root, subject="01", task="view", mask=planted.mask)
        assert trials.stimuli.image(trials.stimulus_ids[0]).size == (3, 2)


class TestRefusals:
    def load(self, root, **options):
        return load_bids_fmri(root, **({"subject": "01", "task": "view"} | options))

    def test_unknown_subject_task_session_and_folder(self, root, tmp_path):
        with pytest.raises(DataError, match=r"no subject '03'\. Did you mean '0"):
            self.load(root, subject="03")
        with pytest.raises(DataError, match=r"no run of task 'veiw' matches\. Did you mean 'view'"):
            self.load(root, task="veiw")
        with pytest.raises(DataError, match="no run of task 'view' matches"):
            self.load(root, session="7")
        with pytest.raises(DataError, match="no such folder"):
            self.load(tmp_path / "nowhere")
        with pytest.raises(DataError, match="no such derivatives"):
            self.load(root, derivatives="fmriprep")

    def test_two_versions_of_a_run_must_be_told_apart(self, root, derived):
        with pytest.raises(DataError, match="a run exists in several versions") as caught:
            self.load(root, derivatives="fmriprep")
        assert "space" in caught.value.fix

    def test_space_of_raw_runs(self, root):
        with pytest.raises(DataError, match="raw runs have no space"):
            self.load(root, space="T1w")

    def test_run_without_events(self, root, planted):
        with pytest.raises(DataError, match="this run has no events"):
            self.load(root, task="rest", mask=planted.mask)

    def test_run_without_brain_mask(self, root, derived):
        next((derived / "sub-01/ses-2/func").glob("*T1w_desc-brain_mask*")).unlink()
        with pytest.raises(DataError, match="no desc-brain_mask"):
            self.load(root, derivatives="fmriprep", space="T1w", mask="brain")

    def test_sidecar_and_header_that_disagree(self, root, planted):
        write(root / "sub-01/ses-2/func/sub-01_ses-2_task-view_run-01_bold.json", {"RepetitionTime": 2.0})
        with pytest.raises(DataError, match="disagree on the TR"):
            self.load(root, mask=planted.mask)

    def test_unknown_option(self, root):
        with pytest.raises(DataError, match="Did you mean 'space'"):
            self.load(root, spaces="T1w")

    @pytest.mark.parametrize("subject", ["../../etc", "/etc", "*", "01/../02"])
    def test_hostile_subjects(self, root, subject):
        with pytest.raises(DataError, match="no subject"):
            self.load(root, subject=subject)

    def test_link_out_of_the_dataset(self, root, planted, tmp_path):
        run = root / "sub-01/ses-1/func/sub-01_ses-1_task-view_run-01_bold.nii.gz"
        run.unlink()
        run.symlink_to(planted.bold[0])
        with pytest.raises(DataError, match="leads out of the dataset"):
            self.load(root, mask=planted.mask)

    def test_link_within_the_dataset_is_followed(self, root, planted):
        run = root / "sub-01/ses-1/func/sub-01_ses-1_task-view_run-01_bold.nii.gz"
        (root / ".git/annex/objects").mkdir(parents=True)
        run.symlink_to(run.rename(root / ".git/annex/objects/key.nii.gz"))
        assert self.load(root, mask=planted.mask).n_trials == 2 * N_TRIALS

    def test_stimulus_path_out_of_the_dataset(self, root, planted):
        (root / "stimuli").mkdir()
        for number in (1, 2):
            path = root / f"sub-01/ses-{number}/func/sub-01_ses-{number}_task-view_run-01_events.tsv"
            table = pd.read_csv(path, sep="\t").drop(columns="stimulus_id")
            write(path, table.assign(stim_file="../../secret.png"))
        with pytest.raises(DataError, match="leaves its folder"):
            self.load(root, mask=planted.mask)

    def test_runs_on_other_grids(self, root, planted):
        run = root / "sub-01/ses-2/func/sub-01_ses-2_task-view_run-01_bold.nii.gz"
        run.unlink()
        data = np.ones((*SHAPE[:2], 3, N_VOLUMES), np.float32)
        nibabel.save(nibabel.Nifti1Image(data, AFFINE), run)
        with pytest.raises(DataError, match="run and data differ in shape"):
            self.load(root, mask=planted.mask)


class TestLayout:
    def test_names(self):
        file = parse_name(Path("sub-01_ses-a_task-view_acq-mb_run-02_space-T1w_desc-preproc_bold.nii.gz"))
        assert file.entities["desc"] == "preproc"
        assert (file.suffix, file.extension) == ("bold", ".nii.gz")
        assert file.has({"run": 2, "session": "a", "echo": None})
        assert not file.has({"run": 20})
        assert not file.has({"echo": "1"})
        assert parse_name(Path("README")) is None
        assert parse_name(Path(".DS_Store")) is None

    def test_sidecars_merge_from_far_to_near(self, tmp_path):
        write(tmp_path / "task-view_bold.json", {"a": 1, "b": 1, "c": 1, "d": 1})
        write(tmp_path / "sub-01/sub-01_bold.json", {"b": 2, "c": 2, "d": 2})
        write(tmp_path / "sub-01/ses-1/sub-01_ses-1_task-view_bold.json", {"c": 3, "d": 3})
        write(tmp_path / "sub-01/ses-1/func/sub-01_ses-1_task-view_run-1_bold.json", {"d": 4})
        write(tmp_path / "task-rest_bold.json", {"a": 9})
        write(tmp_path / "sub-01/ses-1/func/sub-01_ses-1_task-view_run-2_bold.json", {"d": 9})
        target = parse_name(tmp_path / "sub-01/ses-1/func/sub-01_ses-1_task-view_run-1_bold.nii.gz")
        assert inherited_json(tmp_path, target) == {"a": 1, "b": 2, "c": 3, "d": 4}

    def test_more_specific_names_win_within_a_folder_and_ties_are_refused(self, tmp_path):
        target = parse_name(tmp_path / "sub-01/func/sub-01_task-view_run-1_bold.nii.gz")
        write(tmp_path / "bold.json", {"a": 1, "b": 1})
        write(tmp_path / "task-view_bold.json", {"b": 2})
        assert inherited_json(tmp_path, target) == {"a": 1, "b": 2}
        write(tmp_path / "run-1_bold.json", {"b": 3})
        with pytest.raises(DataError, match="two files of one folder apply"):
            inherited_json(tmp_path, target)

    def test_nothing_applies_in_an_empty_tree(self, tmp_path):
        target = parse_name(tmp_path / "sub-01/func/sub-01_task-view_bold.nii.gz")
        assert applicable_files(tmp_path, target, suffix="events", extension=".tsv") == []

    def test_files_with_and_without_sessions(self, root):
        write(root / "sub-02/func/sub-02_task-view_bold.nii.gz", "")
        found = find_files(root, "02", suffix="bold", extensions=(".nii.gz",), entities={"task": "view"})
        assert [file.path.name for file in found] == ["sub-02_task-view_bold.nii.gz"]
        assert len(find_files(root, "01", suffix="bold", extensions=(".nii.gz",), entities={})) == 4

    def test_subject_labels(self, root):
        assert [subject_label(root, one) for one in (1, "01", "sub-01", 2)] == ["01", "01", "01", "02"]
