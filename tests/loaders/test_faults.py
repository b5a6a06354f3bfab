"""Voxels that hold NaN or never vary are refused by name, dropped everywhere, or imputed, as asked."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.loaders.fmri import load_fmri
from tests.loaders.planted_fmri import N_TRIALS, N_VOLUMES, SHAPE, TR, make_subject, save


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("fmri"))


class TestFaultyVoxels:
    @pytest.fixture
    def faulty(self, subject, tmp_path):
        """Second run: one voxel with a NaN, one constant, one zero throughout."""
        image = nibabel.load(subject.bold[1])
        series = image.get_fdata().astype(np.float32)
        spots = np.argwhere(subject.inside)
        series[(*spots[2], 40)] = np.nan
        series[tuple(spots[5])] = 300
        series[tuple(spots[9])] = 0
        return [subject.bold[0], save(tmp_path / "faulty_bold.nii.gz", series, TR)], [
            "-".join(map(str, s)) for s in spots
        ]

    def test_raise_counts_and_names_them(self, subject, faulty):
        bold, names = faulty
        with pytest.raises(DataError, match="1 units hold NaN or infinity, 2 are constant") as caught:
            load_fmri(bold, subject.events, mask=subject.mask)
        assert caught.value.path == bold[1]
        assert all(names[position] in caught.value.found for position in (2, 5, 9))
        assert "nan='drop'" in caught.value.fix

    def test_drop_leaves_them_out_of_all_runs(self, subject, faulty):
        trials = load_fmri(faulty[0], subject.events, mask=subject.mask, nan="drop")
        keep = np.delete(np.arange(subject.inside.sum()), [2, 5, 9])
        whole = load_fmri(subject.bold, subject.events, mask=subject.mask)
        assert trials.units["name"].tolist() == [faulty[1][position] for position in keep]
        np.testing.assert_allclose(trials.responses, whole.responses[:, keep], rtol=1e-5, atol=1e-6)
        step = trials.history[1]
        assert (step["policy"], step["n_nan"], step["n_constant"]) == ("drop", 1, 2)

    def test_impute_fills_gaps_and_lets_constant_voxels_answer_zero(self, subject, faulty):
        trials = load_fmri(faulty[0], subject.events, mask=subject.mask, nan="impute")
        second = trials.select("run == 2").responses
        assert np.isfinite(trials.responses).all()
        np.testing.assert_array_equal(second[:, [5, 9]], 0)
        assert np.corrcoef(second[:, 2], subject.amplitudes[N_TRIALS:, 2])[0, 1] > 0.5

    def test_a_voxel_without_any_number_cannot_be_imputed(self, subject, tmp_path):
        series = nibabel.load(subject.bold[0]).get_fdata().astype(np.float32)
        series[tuple(np.argwhere(subject.inside)[0])] = np.nan
        path = save(tmp_path / "empty_bold.nii.gz", series, TR)
        with pytest.raises(DataError, match="no number at all"):
            load_fmri(path, subject.events[0], mask=subject.mask, nan="impute")

    def test_nothing_left(self, subject, tmp_path):
        path = save(tmp_path / "flat_bold.nii.gz", np.ones((*SHAPE, N_VOLUMES), np.float32), TR)
        with pytest.raises(DataError, match="every unit is faulty"):
            load_fmri(path, subject.events[0], mask=subject.mask, nan="drop")
