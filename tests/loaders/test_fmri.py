"""fMRI files to single-trial responses: planted amplitudes come back, shuffled events find nothing, bad input fails."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders.events import events_from_labels, read_onset_files
from brainalign.loaders.fmri import load_fmri
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials
from tests.conftest import real_data
from tests.loaders.planted_fmri import AFFINE, N_TRIALS, N_VOLUMES, SHAPE, TR, make_subject, save


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("fmri"))


@pytest.fixture(scope="module")
def slow_subject(tmp_path_factory):
    """Blocks long enough for a mean over volumes."""
    return make_subject(tmp_path_factory.mktemp("blocks"), duration=6.0)


def similarity(a, b):
    """Mean correlation over voxels of each voxel's responses in two arrays (n_trials, n_voxels)."""
    return np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


def load(planted, **options):
    options = {"mask": planted.mask} | options
    return load_fmri(planted.bold, planted.events, **options)


class TestPlantedTruth:
    @pytest.mark.parametrize(("model", "threshold"), [("lss", 0.85), ("lsa", 0.85), ("block", 0.8)])
    def test_recovered(self, subject, slow_subject, model, threshold):
        which = slow_subject if model == "block" else subject
        trials = load(which, model=model)
        assert similarity(trials.responses, which.amplitudes) > threshold

    @pytest.mark.parametrize("model", ["lss", "lsa", "block"])
    def test_nothing_where_events_are_shuffled(self, subject, slow_subject, model):
        which = slow_subject if model == "block" else subject
        tables = [pd.read_csv(file, sep="\t") for file in which.events]
        rolled = [table.assign(onset=np.roll(table["onset"], 7)) for table in tables]
        trials = load_fmri(which.bold, rolled, mask=which.mask, model=model)
        assert abs(similarity(trials.responses, which.amplitudes)) < 0.15

    def test_percent_is_of_each_voxels_mean(self, subject):
        per_cent = load(subject).responses[:N_TRIALS]
        plain = load(subject, scale=None).responses[:N_TRIALS]
        mean = nibabel.load(subject.bold[0]).get_fdata()[subject.inside].mean(axis=1)
        np.testing.assert_allclose(per_cent, 100 * plain / mean, rtol=1e-4, atol=1e-5)

    def test_confounds_take_their_variance_along(self, subject, tmp_path):
        rng = np.random.default_rng(1)
        spike = rng.normal(size=(N_VOLUMES, 2))
        images = []
        for file in subject.bold:
            image = nibabel.load(file)
            dirty = image.get_fdata() + 100 * spike[:, 0]
            images.append(save(tmp_path / Path(file).name, dirty.astype(np.float32), TR))
        pd.DataFrame(spike, columns=["a", "b"]).to_csv(tmp_path / "confounds.tsv", sep="\t", index=False)
        confounds = [tmp_path / "confounds.tsv", pd.DataFrame(spike)]
        dirty = load_fmri(images, subject.events, mask=subject.mask)
        clean = load_fmri(images, subject.events, mask=subject.mask, confounds=confounds)
        assert similarity(dirty.responses, subject.amplitudes) < 0.5
        assert similarity(clean.responses, subject.amplitudes) > 0.85
        assert clean.history[0]["n_confounds"] == [2, 2]


class TestTables:
    def test_units_and_trials_say_where_and_what(self, subject):
        trials = load(subject, atlas=subject.atlas, labels={3: "V1", 7: "V2"}, subject="03", session="2")
        assert trials.shape == (2 * N_TRIALS, subject.inside.sum())
        assert trials.responses.dtype == np.float32
        names = np.where(subject.codes[subject.inside] == 3, "V1", "V2")
        assert (trials.units["roi"] == names).all()
        assert {"name", "i", "j", "k", "x", "y", "z"} <= set(trials.units)
        table = pd.concat([pd.read_csv(file, sep="\t") for file in subject.events], ignore_index=True)
        assert trials.stimulus_ids.tolist() == table["stimulus_id"].tolist()
        assert trials.trials["onset"].tolist() == table["onset"].tolist()
        assert trials.trials["run"].tolist() == [1] * N_TRIALS + [2] * N_TRIALS
        assert set(trials.trials["subject"]) == {"03"}
        assert set(trials.trials["session"]) == {2}
        assert trials.history[0]["model"] == "lss"
        assert trials.history[0]["tr"] == [TR]

    def test_one_region_alone(self, subject):
        trials = load(subject, atlas=subject.atlas, labels={3: "V1", 7: "V2"}, roi="V1")
        everything = load(subject, atlas=subject.atlas, labels={3: "V1", 7: "V2"})
        np.testing.assert_array_equal(trials.responses, everything.select(units="roi == 'V1'").responses)

    def test_values_go_back_to_their_voxels(self, subject):
        trials = load(subject)
        image = trials.to_nifti(np.arange(trials.n_units))
        np.testing.assert_allclose(image.affine, AFFINE)
        np.testing.assert_array_equal(image.get_fdata()[subject.inside], np.arange(trials.n_units))

    def test_rows_of_the_events_may_come_in_any_order(self, subject):
        table = pd.read_csv(subject.events[0], sep="\t")
        order = np.random.default_rng(0).permutation(N_TRIALS)
        plain = load_fmri(subject.bold[0], table, mask=subject.mask)
        shuffled = load_fmri(subject.bold[0], table.iloc[order], mask=subject.mask)
        np.testing.assert_allclose(shuffled.responses, plain.responses[order], rtol=1e-4, atol=1e-5)
        assert shuffled.stimulus_ids.tolist() == plain.stimulus_ids[order].tolist()

    def test_select_keeps_the_other_events_in_the_model(self, subject):
        table = pd.read_csv(subject.events[0], sep="\t")
        table["trial_type"] = ["target"] * 3 + ["image"] * (N_TRIALS - 3)
        trials = load_fmri(subject.bold[0], table, mask=subject.mask, select="trial_type == 'image'", model="lsa")
        assert trials.n_trials == N_TRIALS - 3
        without = load_fmri(subject.bold[0], table.iloc[3:], mask=subject.mask, model="lsa")
        assert similarity(trials.responses, without.responses) > 0.5
        assert np.abs(trials.responses[0] - without.responses[0]).max() > 1e-3

    def test_stimuli_come_along_and_must_know_every_id(self, subject):
        pictures = np.zeros((N_TRIALS, 4, 4, 3), np.uint8)
        names = [f"picture{number:02d}" for number in range(N_TRIALS)]
        trials = load(subject, stimuli=Stimuli.from_arrays(pictures, names))
        assert trials.stimuli.image(trials.stimulus_ids[0]).size == (4, 4)
        with pytest.raises(DataError, match="unknown stimulus_id"):
            load(subject, stimuli=Stimuli.from_arrays(pictures[1:], names[1:]))

    def test_saved_and_opened_again(self, subject, tmp_path):
        trials = load(subject)
        trials.save(tmp_path / "trials")
        again = Trials.open(tmp_path / "trials")
        np.testing.assert_array_equal(again.responses, trials.responses)
        assert again.history == trials.history


class TestBetas:
    def make(self, tmp_path, n=6):
        values = np.random.default_rng(0).normal(size=(*SHAPE, n)).astype(np.float32)
        return save(tmp_path / "betas.nii.gz", values), pd.DataFrame({"stimulus_id": list("abcabc")[:n]}), values

    def test_volumes_are_the_responses_of_the_rows(self, tmp_path, subject):
        path, table, values = self.make(tmp_path)
        trials = load_fmri(path, table, mask=subject.mask, model="beta")
        np.testing.assert_array_equal(trials.responses, values[subject.inside].T)
        assert trials.stimulus_ids.tolist() == list("abcabc")
        assert trials.trials["repetition"].tolist() == [0, 0, 0, 1, 1, 1]

    def test_one_image_per_trial(self, tmp_path, subject):
        _, table, values = self.make(tmp_path)
        images = [nibabel.Nifti1Image(values[..., number], AFFINE) for number in range(6)]
        rows = [table.iloc[[number]] for number in range(6)]
        trials = load_fmri(images, rows, mask=subject.mask, model="beta", run=["1"] * 6)
        np.testing.assert_array_equal(trials.responses, values[subject.inside].T)

    def test_another_number_of_rows_is_refused(self, tmp_path, subject):
        path, table, _ = self.make(tmp_path)
        with pytest.raises(DataError, match="beta volumes and trials differ in number"):
            load_fmri(path, table.iloc[1:], mask=subject.mask, model="beta")

    def test_nan_voxels_follow_the_policy(self, tmp_path, subject):
        _, table, values = self.make(tmp_path)
        first = tuple(np.argwhere(subject.inside)[0])
        values[(*first, 2)] = np.nan
        path = save(tmp_path / "nan.nii.gz", values)
        with pytest.raises(DataError, match="1 units hold NaN"):
            load_fmri(path, table, mask=subject.mask, model="beta")
        dropped = load_fmri(path, table, mask=subject.mask, model="beta", nan="drop")
        np.testing.assert_array_equal(dropped.responses, values[subject.inside].T[:, 1:])
        imputed = load_fmri(path, table, mask=subject.mask, model="beta", nan="impute")
        np.testing.assert_allclose(imputed.responses[2, 0], np.nanmean(values[first]), rtol=1e-5)


class TestRefusals:
    @pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.99, 0.999])
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_truncated_image(self, subject, tmp_path, share, suffix):
        path = tmp_path / f"cut{suffix}"
        nibabel.save(nibabel.load(subject.bold[0]), path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError) as caught:
            load_fmri(path, subject.events[0], mask=subject.mask)
        assert Path(caught.value.path) == path

    def test_truncated_mask(self, subject, tmp_path):
        path = tmp_path / "mask.nii.gz"
        path.write_bytes(Path(subject.mask).read_bytes()[:-5])
        with pytest.raises(DataError) as caught:
            load_fmri(subject.bold[0], subject.events[0], mask=path)
        assert Path(caught.value.path) == path

    def test_mask_of_another_shape(self, subject):
        mask = nibabel.Nifti1Image(np.ones((6, 5, 3), np.int8), AFFINE)
        with pytest.raises(DataError, match="mask and data differ in shape"):
            load(subject, mask=mask)

    def test_mask_with_left_and_right_flipped(self, subject):
        flipped = AFFINE.copy()
        flipped[0] *= -1
        with pytest.raises(DataError, match="left and right are flipped"):
            load(subject, mask=nibabel.Nifti1Image(np.ones(SHAPE, np.int8), flipped))

    def test_runs_on_different_grids(self, subject):
        image = nibabel.load(subject.bold[1])
        moved = nibabel.Nifti1Image(image.get_fdata(), AFFINE + np.eye(4)[:, [3, 0, 1, 2]], image.header)
        with pytest.raises(DataError, match="run and data differ in affine"):
            load_fmri([subject.bold[0], moved], subject.events, mask=subject.mask)

    def test_events_beyond_the_run_or_in_milliseconds(self, subject):
        table = pd.read_csv(subject.events[0], sep="\t")
        with pytest.raises(DataError, match="look like milliseconds"):
            load_fmri(subject.bold[0], table.assign(onset=table["onset"] * 1000), mask=subject.mask)
        with pytest.raises(DataError, match="beyond the recording"):
            load_fmri(subject.bold[0], table.assign(onset=table["onset"] + 60), mask=subject.mask)

    def test_unknown_region(self, subject):
        with pytest.raises(DataError, match=r"unknown region 'FFB'\. Did you mean 'FFA'\?"):
            load(subject, atlas=subject.atlas, labels={3: "V1", 7: "FFA"}, roi="FFB")

    def test_unknown_option_and_model(self, subject):
        with pytest.raises(DataError, match=r"unknown option 'confound'\. Did you mean 'confounds'\?"):
            load(subject, confound=None)
        with pytest.raises(DataError, match="unknown model"):
            load(subject, model="glmsingle")
        with pytest.raises(DataError, match="unknown nan policy"):
            load(subject, nan="ignore")

    def test_as_many_events_tables_as_runs(self, subject):
        with pytest.raises(DataError, match="events and runs differ in number"):
            load_fmri(subject.bold, subject.events[0], mask=subject.mask)

    def test_three_dimensional_series(self, subject):
        with pytest.raises(DataError, match="not a series of volumes"):
            load_fmri(subject.mask, subject.events[0])

    def test_confounds_of_another_length_or_with_gaps(self, subject):
        with pytest.raises(DataError, match="confounds and volumes differ"):
            load_fmri(subject.bold[0], subject.events[0], mask=subject.mask, confounds=np.ones((10, 2)))
        gaps = np.ones((N_VOLUMES, 2))
        gaps[0, 1] = np.nan
        with pytest.raises(DataError, match="1 confounds hold missing values"):
            load_fmri(subject.bold[0], subject.events[0], mask=subject.mask, confounds=gaps)

    def test_a_trial_that_cannot_be_seen_names_the_run(self, subject):
        table = pd.read_csv(subject.events[0], sep="\t")
        table.loc[0, "onset"] = N_VOLUMES * TR - 0.5
        with pytest.raises(DataError, match="run ends before 1 of 20") as caught:
            load_fmri(subject.bold[0], table, mask=subject.mask)
        assert caught.value.path == subject.bold[0]

    def test_image_larger_than_the_budget(self, subject):
        with pytest.raises(DataError, match="too much memory"):
            load(subject, max_bytes=1000)


def decode(trials, by="run"):
    """Accuracy of a linear classifier that leaves one run out, on responses z-scored within runs."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.preprocessing import StandardScaler

    X, runs = trials.responses.copy(), trials.trials[by].to_numpy()
    for run in np.unique(runs):
        X[runs == run] = StandardScaler().fit_transform(X[runs == run])
    labels = trials.trials["trial_type"].to_numpy().astype(str)
    predicted = cross_val_predict(
        LogisticRegression(C=0.01, max_iter=1000), X, labels, groups=runs, cv=LeaveOneGroupOut()
    )
    return float(np.mean(predicted == labels))


class TestHaxby:
    """Subject 1 of Haxby et al. 2001 by leave-one-run-out, where plain logistic regression on block means gives .72."""

    def slice_runs(self):
        root = real_data("haxby2001")
        image = nibabel.load(root / "bold.nii.gz")
        table = np.loadtxt(root / "attributes_literal.txt", dtype=str)
        runs = [table[:, 1] == str(run) for run in range(12)]
        images = [image.slicer[..., np.flatnonzero(run)[0] : np.flatnonzero(run)[-1] + 1] for run in runs]
        events = [events_from_labels(table[run, 0], tr=2.5) for run in runs]
        return images, events, root / "mask.nii.gz"

    def test_block_means_decode_eight_categories(self):
        images, events, mask = self.slice_runs()
        trials = load_fmri(images, events, mask=mask, model="block", delay=2.5, drift_order=1)
        assert trials.shape == (96, 530)
        assert decode(trials) > 0.69

    def test_shuffled_labels_decode_nothing(self):
        images, events, mask = self.slice_runs()
        rng = np.random.default_rng(0)
        shuffled = [table.assign(trial_type=rng.permutation(table["trial_type"])) for table in events]
        trials = load_fmri(images, shuffled, mask=mask, model="block", delay=2.5, drift_order=1)
        assert decode(trials) < 0.25

    def test_onset_files_of_the_openfmri_layout(self):
        root = real_data("haxby2001") / "haxby2001" / "sub001"
        key = [line.split() for line in (root.parent / "models/model001/condition_key.txt").read_text().splitlines()]
        bold, events = [], []
        for run in range(1, 13):
            folder = root / f"model/model001/onsets/task001_run{run:03d}"
            events.append(read_onset_files({name: folder / f"{condition}.txt" for _, condition, name in key}))
            bold.append(root / f"BOLD/task001_run{run:03d}/bold_1slice.nii.gz")
        for model, least in (("block", 0.69), ("lss", 0.5), ("lsa", 0.5)):
            trials = load_fmri(
                bold, events, mask=real_data("haxby2001") / "mask.nii.gz", model=model, drift_order=1, delay=2.5
            )
            assert trials.n_trials == 96
            assert decode(trials) > least
