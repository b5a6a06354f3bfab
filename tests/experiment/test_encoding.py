"""The encoding section: planted layers are found where they were planted, and nothing in a shuffled copy."""

from __future__ import annotations

import json

import mne
import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from brainalign.errors import DataError, LeakageError
from brainalign.experiment import context, report_run, run_experiment
from brainalign.experiment.maps import write_maps
from tests.experiment import planted
from tests.report.chromium import open_in_chromium
from tests.report.test_preference_plots import octahedron

LAYERS = {"kind": "encoding", "name": "layers", "latents": ["first", "second"], "n_splits": 5, "n_draws": 300}
STRETCHES = {"by": "contiguous", "n_splits": 4, "gap": 5, "block": 20}


@pytest.fixture
def do(tmp_path, monkeypatch):
    def run(trials, *analyses, **changes):
        monkeypatch.setattr(context, "open_source", lambda *_, **__: trials)
        return run_experiment(planted.experiment(*analyses, **changes), out=tmp_path / "run")

    return run


def arrays_of(made, name):
    return {path.stem: np.load(path) for path in (made.folder / "steps" / name).glob("*.npy")}


def test_each_area_prefers_the_layer_that_drives_it(do):
    made = do(planted.two_areas(), LAYERS)
    for area, right, wrong in (("A", "first", "second"), ("B", "second", "first")):
        score, other = (made.scores[f"layers/{area}/{layer}"] for layer in (right, wrong))
        assert score.low > 0.5 and other.low < 0.05 and abs(score.value - score.ceiling) < 0.05
        lead = made.scores[f"layers/{area}/lead"]
        assert lead.low > 0.4 and lead.name.endswith(f"{right} less {wrong}")
        assert made.scores[f"layers/{area}/explained"].value > 0.95
    arrays = arrays_of(made, "layers")
    assert (arrays["preferred"][:20] == 0).mean() > 0.95 and (arrays["preferred"][20:] == 1).mean() > 0.95
    assert np.median(arrays["stability"]) == 1.0
    assert (arrays["margin"] >= arrays["low"]).all()
    ceiling = np.sqrt(arrays["ceiling"])
    np.testing.assert_allclose(arrays["r_normalised"][0], arrays["r"][0] / ceiling, rtol=1e-6)


def test_a_shuffled_copy_has_no_preference(do):
    made = do(planted.shuffled(planted.two_areas()), LAYERS)
    arrays = arrays_of(made, "layers")
    assert (arrays["preferred"] >= 0).mean() <= 0.05
    for area in "AB":
        assert made.scores[f"layers/{area}/explained"].value <= 0.05
        assert all(abs(made.scores[f"layers/{area}/{layer}"].value) < 0.2 for layer in ("first", "second"))


def test_maps_hold_each_value_in_its_voxel(do):
    trials = planted.two_areas()
    made = do(trials, LAYERS)
    arrays = arrays_of(made, "layers")
    folder = made.folder / "maps" / "layers"
    names = {path.name.removesuffix(".nii.gz") for path in folder.iterdir()}
    assert names == {"best_r", "r_first", "r_second", "preferred_layer", "margin", "q"}
    preferred = nib.load(folder / "preferred_layer.nii.gz")
    np.testing.assert_array_equal(preferred.affine, trials.space.affine)
    where = tuple(trials.units[axis] for axis in "ijk")
    np.testing.assert_array_equal(preferred.get_fdata()[where], arrays["preferred"] + 1)
    np.testing.assert_allclose(nib.load(folder / "best_r.nii.gz").get_fdata()[where], arrays["r"].max(0), rtol=1e-6)
    before = (folder / "best_r.nii.gz").read_bytes()
    (folder / "best_r.nii.gz").unlink()
    report_run(made.folder)
    assert (folder / "best_r.nii.gz").read_bytes() == before, "the same values give the same bytes"


def test_the_report_shows_preferences_and_opens_without_a_fault(do):
    made = do(planted.two_areas(), LAYERS)
    page = open_in_chromium(made.report)
    assert page.console_errors == page.broken_images == page.requests == []
    text = made.report.read_text()
    for said in (
        "The layer each explained unit prefers",
        "Which layer the units of each region prefer",
        "How units spread",
    ):
        assert said in text
    summary = json.loads((made.folder / "summary.json").read_text())
    assert summary["layers/A/first"]["protocol"] == "5 folds by stimulus_id, repetitions averaged"
    assert summary["layers/A/first"]["split"] == summary["layers/B/lead"]["split"]


def test_more_workers_change_nothing(do):
    one = do(planted.two_areas(), LAYERS)
    first = {name: score.to_row() for name, score in one.scores.items()}
    (one.folder / "steps" / "layers" / "r.npy").unlink()
    two = do(planted.two_areas(), LAYERS, n_jobs=2)
    assert {name: score.to_row() for name, score in two.scores.items()} == first


def test_surfaces_become_gifti_and_are_drawn_on_meshes_of_ones_own(do, tmp_path):
    points, faces = octahedron()
    points = np.vstack([points, 0.5 * np.random.default_rng(0).standard_normal((14, 3))])
    kinds = ("NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE")
    parts = [points.astype(np.float32), faces.astype(np.int32)]
    mesh = tmp_path / "lh.surf.gii"
    nib.save(nib.gifti.GiftiImage(darrays=[nib.gifti.GiftiDataArray(*one) for one in zip(parts, kinds)]), mesh)
    made = do(planted.on_surface(planted.two_areas()), {**LAYERS, "meshes": {"left": str(mesh)}})
    values = nib.load(made.folder / "maps" / "layers" / "r_first.left.func.gii").darrays[0].data
    np.testing.assert_allclose(values, arrays_of(made, "layers")["r"][0, :20], rtol=1e-6)
    assert "left hemisphere" in made.report.read_text() and "right hemisphere" not in made.report.read_text()


def test_sensors_over_time_keep_their_times_apart(do):
    made = do(planted.at_sensors(planted.two_areas()), LAYERS)
    best = arrays_of(made, "layers")["preferred"].reshape(20, 2)
    assert (best[:, 0] == 0).mean() > 0.9 and (best[:, 1] == 1).mean() > 0.9
    evoked = mne.read_evokeds(made.folder / "maps" / "layers" / "best_r-ave.fif", verbose="error")[0]
    assert evoked.ch_names == [f"E{number}" for number in range(20)] and (evoked.data > 0.2).all()


def test_units_without_a_place_make_no_maps(tmp_path):
    assert write_maps(tmp_path / "maps", planted.continuous(n_rows=20), {"r": np.zeros(10)}) == []
    assert not (tmp_path / "maps").exists()


def test_units_that_lead_are_found_at_negative_delays_alone(do):
    ahead, late = (
        {**LAYERS, **STRETCHES, "name": name, "delays": delays}
        for name, delays in (("a", [-3, -2, -1]), ("b", [0, 1, 2]))
    )
    made = do(planted.continuous(), ahead, late)
    assert made.scores["a/all units/first"].low > 0.8
    assert made.scores["a/all units/second"].low < 0.05
    assert abs(made.scores["b/all units/first"].value) < 0.1
    assert made.scores["a/all units/explained"].value == 1.0 and made.scores["b/all units/explained"].value <= 0.1
    assert "contiguous folds, 5 rows between" in made.scores["a/all units/first"].protocol


def test_variance_goes_to_the_space_that_drives_each_area(do):
    variance = {"kind": "variance", "name": "shares", "latents": ["first", "second"], "n_splits": 5, "n_draws": 200}
    made = do(planted.two_areas(), variance)
    for area, right, wrong in (("A", "first", "second"), ("B", "second", "first")):
        own, other, all_of_it = (made.scores[f"shares/{area}/{name}"] for name in (right, wrong, "together"))
        assert own.low > 0.5 and abs(other.value) < 0.05
        assert own.value + other.value == pytest.approx(all_of_it.value)
    maps = {path.name.removesuffix(".nii.gz") for path in (made.folder / "maps" / "shares").iterdir()}
    assert maps == {"share_first", "share_second", "r2"}


def test_of_a_shuffled_copy_no_variance_is_explained(do):
    variance = {"kind": "variance", "name": "shares", "latents": ["first", "second"], "n_splits": 5, "n_draws": 200}
    made = do(planted.shuffled(planted.two_areas()), variance)
    assert all(score.value < 0.03 for score in made.scores.values())


def test_columns_are_read_back_from_responses_that_came_before(do):
    analysis = {"kind": "regress", **STRETCHES, "columns": ["f0", "s0"], "delays": [0, 1, 2, 3], "name": "back"}
    made = do(planted.continuous(), analysis)
    assert made.scores["back/f0"].low > 0.5
    assert made.scores["back/s0"].value < 0.05
    predicted, true = (np.load(made.folder / "steps" / "back" / f"{name}.npy") for name in ("predicted", "true"))
    expected = 1 - ((true - predicted) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)
    assert [made.scores[f"back/{name}"].value for name in ("f0", "s0")] == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"by": "contiguous", "delays": [0, 4], "gap": 3, "block": 9}, "at least the longest delay, 4"),
        ({"by": "contiguous", "gap": 3}, "give a block"),
        ({"by": "contiguous", "n_splits": None, "block": 9}, "need n_splits"),
        ({"gap": 3}, "between contiguous folds"),
        ({"delays": [1]}, "whole runs or stretches"),
        ({"delays": []}, "delays"),
        ({"latents": []}, "latents"),
        ({"meshes": {"top": "x"}}, "meshes"),
        ({"n_permutations": 10}, "n_permutations"),
    ],
)
def test_experiments_that_could_not_be_right_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        planted.experiment({**LAYERS, **changes})


@pytest.mark.parametrize("wanted", [{}, {"model": "pixels:8", "columns": ["f0"]}])
def test_latents_have_one_source(wanted):
    with pytest.raises(ValidationError, match="one of the three"):
        planted.experiment(LAYERS, latents={"first": wanted, "second": {"columns": ["s0"]}})


def test_columns_that_cannot_be_latents_are_refused(do):
    trials = planted.two_areas()
    columns = lambda name: {"first": {"columns": [name]}, "second": {"columns": ["s0"]}}  # noqa: E731
    with pytest.raises(DataError, match=r"no column 'f9'\. Did you mean"):
        do(trials, LAYERS, latents=columns("f9"))
    with pytest.raises(DataError, match="holds no numbers"):
        do(trials, LAYERS, latents=columns("stimulus_id"))
    with pytest.raises(DataError, match="differ between trials of one stimulus"):
        do(trials.with_trials(f0=np.arange(len(trials))), LAYERS, latents=columns("f0"))
    with pytest.raises(DataError, match=r"NaN|finite"):
        do(trials.with_trials(f0=np.nan), LAYERS, latents=columns("f0"))


def test_repetitions_may_not_stand_on_both_sides(do):
    trials = planted.two_areas()
    with pytest.raises(LeakageError, match="both train and test"):
        do(trials.with_trials(run=np.repeat([1, 2], 90)), {**LAYERS, "by": "run", "n_splits": None})
