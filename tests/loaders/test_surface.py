"""Surface series of GIFTI and FreeSurfer files: planted responses come back with their vertices, damage is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders.surface import load_surface
from brainalign.loaders.surface_files import read_series, read_vertex_labels, series_header
from tests.loaders.planted_fmri import N_TRIALS, N_VOLUMES, TR, response_to

N_VERTICES = {"left": 30, "right": 24}
NAMES = {0: "???", 1: "V1", 2: "V2"}


def save_gifti(path, values):
    """One array per volume of values (n_volumes, n_vertices)."""
    arrays = [
        nibabel.gifti.GiftiDataArray(np.asarray(one, np.float32), intent="NIFTI_INTENT_TIME_SERIES") for one in values
    ]
    nibabel.save(nibabel.GiftiImage(darrays=arrays), path)
    return path


def save_mgh(path, values, tr=None):
    image = nibabel.MGHImage(np.asarray(values, np.float32).T[:, None, None, :], np.eye(4))
    if tr:
        image.header.set_zooms((1, 1, 1, tr * 1000))
    nibabel.save(image, path)
    return path


def save_gifti_labels(path, keys):
    table = nibabel.gifti.GiftiLabelTable()
    for key, name in NAMES.items():
        label = nibabel.gifti.GiftiLabel(key)
        label.label = name
        table.labels.append(label)
    array = nibabel.gifti.GiftiDataArray(np.asarray(keys, np.int32), intent="NIFTI_INTENT_LABEL")
    nibabel.save(nibabel.GiftiImage(darrays=[array], labeltable=table), path)
    return path


def save_annot(path, keys):
    colours = np.array([[25 * key, 5, 25, 0, 0] for key in NAMES], dtype=np.int32)
    nibabel.freesurfer.write_annot(path, np.asarray(keys), colours, list(NAMES.values()), fill_ctab=True)
    return path


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    onset = (4 + 11 * np.arange(N_TRIALS) + rng.uniform(0, 2, N_TRIALS)).round(1)
    events = pd.DataFrame({"onset": onset, "duration": 2.0, "trial_type": [f"p{k}" for k in range(N_TRIALS)]})
    courses = np.stack([response_to(one, 2.0) for one in onset], axis=1)
    amplitudes = {hemi: rng.normal(size=(N_TRIALS, n)) for hemi, n in N_VERTICES.items()}
    series = {
        hemi: 500 + 10 * courses @ values / courses.max() + 2 * rng.normal(size=(N_VOLUMES, values.shape[1]))
        for hemi, values in amplitudes.items()
    }
    return events, amplitudes, series


@pytest.fixture(params=["gifti", "mgh", "mgz"])
def files(request, tmp_path, truth):
    series = truth[2]
    if request.param == "gifti":
        return {hemi: save_gifti(tmp_path / f"{hemi}.func.gii", values) for hemi, values in series.items()}
    return {hemi: save_mgh(tmp_path / f"{hemi}.{request.param}", values, TR) for hemi, values in series.items()}


def similarity(a, b):
    return np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


class TestLoading:
    def test_planted_responses_come_back_at_their_vertices(self, files, truth):
        events, amplitudes, _ = truth
        trials = load_surface(files, events, tr=TR)
        both = np.hstack([amplitudes["left"], amplitudes["right"]])
        assert trials.shape == (N_TRIALS, 54)
        assert similarity(trials.responses, both) > 0.85
        assert trials.units["hemi"].tolist() == ["left"] * 30 + ["right"] * 24
        assert trials.units["vertex"].tolist() == [*range(30), *range(24)]
        rolled = load_surface(files, events.assign(onset=np.roll(events["onset"], 7)), tr=TR)
        assert abs(similarity(rolled.responses, both)) < 0.15

    def test_values_go_back_to_the_surface(self, files, truth):
        trials = load_surface(files, truth[0], tr=TR)
        images = trials.space.to_gifti(np.arange(trials.n_units), trials.units)
        np.testing.assert_array_equal(images["left"].darrays[0].data, np.arange(30))
        np.testing.assert_array_equal(images["right"].darrays[0].data, 30 + np.arange(24))

    def test_one_hemisphere_under_its_freesurfer_name(self, files, truth):
        trials = load_surface({"rh": files["right"]}, truth[0], tr=TR)
        assert set(trials.units["hemi"]) == {"right"}
        assert trials.n_units == 24

    @pytest.mark.parametrize("save_labels", [save_gifti_labels, save_annot])
    def test_labels_name_regions_and_choose_them(self, files, truth, tmp_path, save_labels):
        extension = "label.gii" if save_labels is save_gifti_labels else "annot"
        rng = np.random.default_rng(1)
        keys = {hemi: rng.integers(0, 3, n) for hemi, n in N_VERTICES.items()}
        labels = {hemi: save_labels(tmp_path / f"{hemi}.{extension}", one) for hemi, one in keys.items()}
        trials = load_surface(files, truth[0], labels=labels, tr=TR)
        expected = [{**NAMES, 0: "none"}[key] for key in [*keys["left"], *keys["right"]]]
        assert trials.units["roi"].tolist() == expected
        chosen = load_surface(files, truth[0], labels=labels, tr=TR, roi="V2")
        np.testing.assert_array_equal(chosen.responses, trials.select(units="roi == 'V2'").responses)
        with pytest.raises(DataError, match=r"unknown region 'V3'\. Did you mean 'V"):
            load_surface(files, truth[0], labels=labels, tr=TR, roi="V3")

    def test_several_runs(self, files, truth):
        events = truth[0]
        trials = load_surface({hemi: [path, path] for hemi, path in files.items()}, [events, events], tr=TR)
        assert trials.trials["run"].tolist() == [1] * N_TRIALS + [2] * N_TRIALS
        np.testing.assert_array_equal(trials.responses[:N_TRIALS], trials.responses[N_TRIALS:])

    def test_betas(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
        path = save_mgh(tmp_path / "lh.betas.mgh", values)
        table = pd.DataFrame({"stimulus_id": list("abcab")})
        trials = load_surface({"lh": path}, table, model="beta")
        np.testing.assert_array_equal(trials.responses, values)

    def test_medial_wall_is_dropped_on_request(self, tmp_path, truth):
        events, _, series = truth
        values = series["left"].copy()
        values[:, :4], values[:, 4:6] = 0, np.nan
        path = save_gifti(tmp_path / "left.func.gii", values)
        with pytest.raises(DataError, match="2 units hold NaN or infinity, 4 are constant"):
            load_surface({"left": path}, events, tr=TR)
        trials = load_surface({"left": path}, events, tr=TR, nan="drop")
        assert trials.units["vertex"].tolist() == [*range(6, 30)]

    def test_repetition_time_from_header_or_sidecar(self, tmp_path, truth):
        events, _, series = truth
        mgh = save_mgh(tmp_path / "lh.mgz", series["left"], TR)
        assert load_surface({"lh": mgh}, events).history[0]["tr"] == [TR]
        with pytest.raises(DataError, match="disagree on the TR"):
            load_surface({"lh": mgh}, events, tr=2.0)
        gifti = save_gifti(tmp_path / "sub-01_hemi-L_bold.func.gii", series["left"])
        with pytest.raises(DataError, match="TR is unknown"):
            load_surface({"lh": gifti}, events)
        (tmp_path / "sub-01_hemi-L_bold.json").write_text(json.dumps({"RepetitionTime": TR}))
        assert load_surface({"lh": gifti}, events).history[0]["tr"] == [TR]


class TestFiles:
    def test_values_are_what_was_saved(self, files, truth):
        for hemi, path in files.items():
            np.testing.assert_array_equal(read_series(path), truth[2][hemi].astype(np.float32))
            assert series_header(path)[:2] == (N_VERTICES[hemi], N_VOLUMES)

    def test_one_array_of_all_maps(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
        array = nibabel.gifti.GiftiDataArray(values.T, intent="NIFTI_INTENT_NONE")
        nibabel.save(nibabel.GiftiImage(darrays=[array]), tmp_path / "a.shape.gii")
        np.testing.assert_array_equal(read_series(tmp_path / "a.shape.gii"), values)

    @pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.99, 0.999])
    def test_truncation_is_refused(self, files, share):
        path = Path(files["left"])
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError) as caught:
            read_series(path)
        assert caught.value.path == path

    @pytest.mark.parametrize("kind", ["mgh", "mgz"])
    def test_the_footer_of_four_numbers_that_matlab_writes(self, tmp_path, kind):
        values = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
        path = save_mgh(tmp_path / "a.mgh", values, TR)
        content = path.read_bytes()[:-4]
        path = path.with_suffix(f".{kind}")
        path.write_bytes(content if kind == "mgh" else gzip.compress(content))
        np.testing.assert_array_equal(read_series(path), values)
        keep = np.arange(7) % 3 == 0
        np.testing.assert_array_equal(read_series(path, keep), values[:, keep])
        with pytest.raises(DataError, match="differ in vertices"):
            read_series(path, keep[1:])

    @pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
    @pytest.mark.parametrize("save_labels", [save_gifti_labels, save_annot])
    def test_truncated_labels_are_refused(self, tmp_path, share, save_labels):
        path = save_labels(tmp_path / ("a.annot" if save_labels is save_annot else "a.label.gii"), [0, 1, 2] * 50)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError):
            read_vertex_labels(path, 150)

    def test_a_flipped_byte_of_an_mgz_is_refused(self, tmp_path, truth):
        path = save_mgh(tmp_path / "lh.mgz", truth[2]["left"], TR)
        whole, values = path.read_bytes(), read_series(path)
        rng = np.random.default_rng(0)
        n_refused = 0
        for position in rng.choice(len(whole), 40, replace=False):
            damaged = bytearray(whole)
            damaged[position] ^= 0x10
            path.write_bytes(damaged)
            try:
                np.testing.assert_array_equal(read_series(path), values)
            except DataError:
                n_refused += 1
        assert n_refused > 35

    def test_data_in_another_file_is_refused_unread(self, tmp_path, truth):
        path = save_gifti(tmp_path / "a.func.gii", truth[2]["left"][:1])
        text = path.read_text().replace('ExternalFileName=""', 'ExternalFileName="../secret.bin"')
        path.write_text(text)
        assert "secret" in text
        with pytest.raises(DataError, match="keeps its data in another file"):
            read_series(path)

    def test_claims_of_huge_arrays_are_refused(self, tmp_path, truth):
        path = save_gifti(tmp_path / "a.func.gii", truth[2]["left"][:1])
        path.write_text(path.read_text().replace('Dim0="30"', 'Dim0="300000000000"'))
        with pytest.raises(DataError, match="too much memory"):
            series_header(path)
        mgh = save_mgh(tmp_path / "lh.mgh", truth[2]["left"])
        with pytest.raises(DataError, match="too much memory"):
            series_header(mgh, max_bytes=1000)

    def test_a_geometry_is_no_series(self, tmp_path):
        points = nibabel.gifti.GiftiDataArray(np.zeros((9, 3), np.float32), intent="NIFTI_INTENT_POINTSET")
        nibabel.save(nibabel.GiftiImage(darrays=[points]), tmp_path / "lh.surf.gii")
        with pytest.raises(DataError, match="not a GIFTI of values per vertex"):
            read_series(tmp_path / "lh.surf.gii")

    def test_a_volume_is_no_surface(self, tmp_path):
        nibabel.save(nibabel.MGHImage(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / "brain.mgz")
        with pytest.raises(DataError, match="not a surface series"):
            read_series(tmp_path / "brain.mgz")

    def test_absent_and_other_files(self, tmp_path):
        with pytest.raises(DataError, match="no such file"):
            read_series(tmp_path / "none.gii")
        (tmp_path / "a.txt").write_text("1")
        with pytest.raises(DataError, match="not a surface file"):
            read_series(tmp_path / "a.txt")


class TestRefusals:
    def test_hemispheres_that_differ(self, tmp_path, truth):
        events, _, series = truth
        left = save_mgh(tmp_path / "lh.mgh", series["left"], TR)
        short = save_mgh(tmp_path / "rh.mgh", series["right"][:-5], TR)
        with pytest.raises(DataError, match="hemispheres differ in volumes"):
            load_surface({"lh": left, "rh": short}, events)
        with pytest.raises(DataError, match="hemispheres differ in number"):
            load_surface({"lh": [left, left], "rh": [short]}, [events, events])

    def test_runs_on_other_surfaces(self, tmp_path, truth):
        events, _, series = truth
        left = save_mgh(tmp_path / "lh.mgh", series["left"], TR)
        other = save_mgh(tmp_path / "lh2.mgh", series["right"], TR)
        with pytest.raises(DataError, match="runs differ in vertices"):
            load_surface({"lh": [left, other]}, [events, events])

    def test_labels_of_another_surface(self, tmp_path, truth):
        left = save_mgh(tmp_path / "lh.mgh", truth[2]["left"], TR)
        labels = save_annot(tmp_path / "lh.annot", [0, 1, 2])
        with pytest.raises(DataError, match="labels and data differ in vertices"):
            load_surface({"lh": left}, truth[0], labels={"lh": labels})
        with pytest.raises(DataError, match="no labels for the left hemisphere"):
            load_surface({"lh": left}, truth[0], labels={"rh": labels})

    def test_unknown_hemisphere_and_region_without_labels(self, tmp_path, truth):
        left = save_mgh(tmp_path / "lh.mgh", truth[2]["left"], TR)
        with pytest.raises(DataError, match="unknown hemisphere 'lft'"):
            load_surface({"lft": left}, truth[0])
        with pytest.raises(DataError, match="regions are chosen from labels"):
            load_surface({"lh": left}, truth[0], roi="V1")
