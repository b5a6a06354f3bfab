"""Parcel means against a loop over voxels, and windows after events against indexing by hand."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders.parcels import parcel_series, parcel_trials

LABELS = ["Background", "7Networks_LH_Vis_1", "7Networks_LH_Default_PFC_1", "7Networks_RH_Vis_1"]


def made() -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    rng = np.random.default_rng(0)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    bold = nib.Nifti1Image(rng.standard_normal((4, 5, 3, 20)).astype(np.float32) + 100, affine)
    bold.header.set_zooms((3.0, 3.0, 3.0, 2.0))
    return bold, nib.Nifti1Image(rng.integers(0, 4, (4, 5, 3)).astype(np.int16), affine)


def test_means_networks_and_centres():
    bold, atlas = made()
    series, units = parcel_series(bold, atlas, labels=LABELS)
    codes, values = np.asarray(atlas.dataobj), np.asarray(bold.dataobj)
    assert units["name"].tolist() == LABELS[1:] and units["network"].tolist() == ["Vis", "Default", "Vis"]
    for code in (1, 2, 3):
        here = np.argwhere(codes == code)
        mean = np.mean([values[tuple(voxel)] for voxel in here], axis=0)
        np.testing.assert_allclose(series[:, code - 1], mean, rtol=1e-6)
        np.testing.assert_allclose(units.loc[code - 1, ["x", "y", "z"]].astype(float), 3 * here.mean(axis=0))
        assert units.loc[code - 1, "n_voxels"] == len(here)
    table = pd.DataFrame({"name": ["2", "3"], "network": ["Default", None]})
    assert parcel_series(bold, atlas, networks=table)[1]["network"].tolist() == ["", "Default", ""]
    assert parcel_series(bold, atlas, networks={"1": "A"})[1]["network"].tolist() == ["A", "", ""]


def test_windows_after_events():
    bold, atlas = made()
    events = pd.DataFrame({"onset": [0.0, 5.0, 33.0], "duration": 1.0, "trial_type": ["a", "b", "c"]})
    trials = parcel_trials(bold, events, atlas, n_volumes=3, delay=4.0)
    assert trials.shape == (2, 3, 3) and trials.stimulus_ids.tolist() == ["a", "b"]  # c has no three volumes left
    np.testing.assert_allclose(trials.times, [4, 6, 8])
    series = parcel_series(bold, atlas)[0].astype(np.float64)
    line = np.stack([np.polyval(np.polyfit(np.arange(20), one, 1), np.arange(20)) for one in series.T], axis=1)
    np.testing.assert_allclose(trials.responses[0].T, (series - line)[2:5], atol=1e-4)
    np.testing.assert_allclose(trials.responses[1].T, (series - line)[5:8], atol=1e-4)  # 9 s: the volume at 10 s


def test_bad_input_is_refused():
    bold, atlas = made()
    events = pd.DataFrame({"onset": [36.0], "duration": 1.0, "trial_type": ["a"]})
    with pytest.raises(DataError, match="no event has all its volumes"):
        parcel_trials(bold, events, atlas)
    with pytest.raises(DataError, match="placed in time"):
        parcel_trials(bold, events, atlas, tr=0.0)
    with pytest.raises(DataError, match="no parcel of the atlas has a network"):
        parcel_series(bold, atlas, networks={"V1": "Vis"})
    with pytest.raises(DataError, match="lacks a column"):
        parcel_series(bold, atlas, networks=pd.DataFrame({"name": ["1"]}))
    with pytest.raises(DataError):
        parcel_series(bold, nib.Nifti1Image(np.ones((2, 2, 2), dtype=np.int16), np.eye(4)))
