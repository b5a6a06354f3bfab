"""Header, sidecar and argument must agree on the TR; sidecars and confounds are read whole or refused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders.fmri import load_fmri
from brainalign.loaders.sidecars import agreed_tr, read_confounds, read_json
from tests.loaders.planted_fmri import AFFINE, N_TRIALS, N_VOLUMES, SHAPE, TR, make_subject, save


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("fmri"))


class TestRepetitionTime:
    def test_sidecar_header_and_argument_must_agree(self, subject, tmp_path):
        image = nibabel.load(subject.bold[0])
        path = Path(save(tmp_path / "sub-01_bold.nii.gz", image.get_fdata().astype(np.float32), TR))
        table = subject.events[0]
        (tmp_path / "sub-01_bold.json").write_text(json.dumps({"RepetitionTime": TR}))
        assert load_fmri(path, table, mask=subject.mask, tr=TR).n_trials == N_TRIALS
        with pytest.raises(DataError, match="disagree on the TR") as caught:
            load_fmri(path, table, mask=subject.mask, tr=2.0)
        assert "argument 2 s" in caught.value.found and "header 1.5 s" in caught.value.found
        (tmp_path / "sub-01_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
        with pytest.raises(DataError, match="disagree on the TR"):
            load_fmri(path, table, mask=subject.mask)

    def test_a_header_put_right_in_memory_is_believed(self, subject):
        image = nibabel.load(subject.bold[0])
        image.header["pixdim"][4] = 1.6
        assert load_fmri(image, subject.events[0], mask=subject.mask, tr=1.6).history[0]["tr"] == [1.6]

    def test_milliseconds_of_the_header_are_converted(self, subject):
        image = nibabel.load(subject.bold[0])
        image.header.set_xyzt_units("mm", "msec")
        image.header["pixdim"][4] = 1500
        assert load_fmri(image, subject.events[0], mask=subject.mask).history[0]["tr"] == [1.5]

    def test_unknown_and_impossible_values_are_refused(self, subject):
        series = np.random.default_rng(0).normal(100, 1, (*SHAPE, N_VOLUMES)).astype(np.float32)
        image = nibabel.Nifti1Image(series, AFFINE)
        with pytest.raises(DataError, match="TR is unknown"):
            load_fmri(image, subject.events[0])
        with pytest.raises(DataError, match="impossible TR"):
            load_fmri(image, subject.events[0], tr=1500)

    def test_start_time_of_the_sidecar_moves_the_model(self, subject, tmp_path):
        image = nibabel.load(subject.bold[0])
        path = save(tmp_path / "a_bold.nii.gz", image.get_fdata().astype(np.float32), TR)
        plain = load_fmri(path, subject.events[0], mask=subject.mask)
        (tmp_path / "a_bold.json").write_text(json.dumps({"StartTime": TR / 2}))
        moved = load_fmri(path, subject.events[0], mask=subject.mask)
        asked = load_fmri(subject.bold[0], subject.events[0], mask=subject.mask, slice_time_ref=0.5)
        np.testing.assert_allclose(moved.responses, asked.responses, rtol=1e-5, atol=1e-6)
        assert np.abs(moved.responses - plain.responses).max() > 0.01


def test_the_stated_tr_wins_over_the_rounding_of_the_header():
    assert agreed_tr(argument=None, header=np.float32(0.8) + 1e-7, sidecar=0.8) == 0.8
    with pytest.raises(DataError, match="disagree"):
        agreed_tr(argument=None, header=0.802, sidecar=0.8)


def test_repetition_time_that_is_no_number_is_refused(subject, tmp_path):
    image = nibabel.load(subject.bold[0])
    path = save(tmp_path / "a_bold.nii.gz", image.get_fdata().astype(np.float32), TR)
    (tmp_path / "a_bold.json").write_text(json.dumps({"RepetitionTime": "1.5 s"}))
    with pytest.raises(DataError, match="RepetitionTime of the sidecar is no number"):
        load_fmri(path, subject.events[0], mask=subject.mask)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_malformed_sidecars_are_refused(tmp_path, content):
    path = tmp_path / "bold.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_json(path)
    assert caught.value.path == path


def test_confounds_come_from_tables_arrays_and_files(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 2))
    path = tmp_path / "confounds.tsv"
    pd.DataFrame(values, columns=["x", "y"]).to_csv(path, sep="\t", index=False)
    for source in (values, pd.DataFrame(values), path):
        np.testing.assert_allclose(read_confounds(source, 5), values)
    assert read_confounds(None, 5) is None
