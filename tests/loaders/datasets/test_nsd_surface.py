"""NSD on fsaverage: planted responses by id, NaN vertices left out by union, memory near the region's own size."""

from __future__ import annotations

import shutil
import tracemalloc

import nibabel
import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.loaders import load
from brainalign.loaders.check import check_dataset
from brainalign.loaders.trees import make_tree

SUBJECT, WHERE = 2, "nsddata_betas/ppdata/subj02/fsaverage/betas_fithrf_GLMdenoise_RR"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("nsd", tmp_path_factory.mktemp("nsd"))


@pytest.fixture
def copy(tree, tmp_path):
    shutil.copytree(tree.root, tmp_path / "copy")
    return tmp_path / "copy"


def surface(spec, root, **options):
    return load(spec, root=root, subject=SUBJECT, space="fsaverage", **options)


def stored(root):
    """Betas of both sessions and hemispheres, (n_trials, 2 * n_vertices), by nibabel alone."""
    parts = [
        np.hstack([nibabel.load(root / WHERE / f"{side}.betas_session{session:02d}.mgh").get_fdata()[:, 0, 0].T
                   for side in ("lh", "rh")])
        for session in (1, 2)
    ]  # fmt: skip
    return np.vstack(parts).astype(np.float32)


def test_the_planted_responses_without_what_is_missing_in_any_session(tree):
    trials = surface(tree.spec, tree.root, nan="drop")
    kept = tree.truth["streams"] > 0
    lost = [vertex for vertex in tree.truth["missing"] if kept[vertex]]
    assert lost
    kept[lost] = False
    np.testing.assert_array_equal(trials.responses, stored(tree.root)[:, kept])
    half = len(kept) // 2
    names = [f"left-{v}" if v < half else f"right-{v - half}" for v in np.flatnonzero(kept)]
    assert trials.units["name"].tolist() == names
    means, features = trials.average("stimulus_id"), tree.truth["features"]
    weights = tree.truth["weights"]["surface", SUBJECT][kept]
    clean = np.array([features[int(one.rpartition("-")[2])] for one in means.stimulus_ids]) @ weights.T
    assert np.corrcoef(means.responses.ravel(), clean.ravel())[0, 1] > 0.98
    assert abs(np.corrcoef(means.responses.ravel(), np.roll(clean, 1, axis=0).ravel())[0, 1]) < 0.6
    np.testing.assert_allclose(trials.units["ncsnr"], np.linalg.norm(weights, axis=1) / 0.2, rtol=1e-5)
    assert trials.history[-1] == {"step": "drop units", "why": "NaN in some trials", "n": len(lost)}
    assert trials.info["space"] == "fsaverage" and trials.info["unit"] == "percent signal change"


def test_the_trials_are_those_of_the_volume(tree):
    volume, vertices = load(tree.spec, root=tree.root, subject=SUBJECT), surface(tree.spec, tree.root, nan="drop")
    assert volume.trials.equals(vertices.trials)


def test_nan_vertices_need_a_policy_and_count_only_in_the_sessions_loaded(tree):
    with pytest.raises(DataError, match=r"(?s)units are NaN in some trials.*fsaverage.*nan='drop'"):
        surface(tree.spec, tree.root)
    with pytest.raises(DataError, match="unknown nan policy 'keep'"):
        surface(tree.spec, tree.root, nan="keep")
    missing, kept = tree.truth["missing"], tree.truth["streams"] > 0
    n_units = [surface(tree.spec, tree.root, nan="drop", sessions=[session]).n_units for session in (1, 2)]
    assert n_units == [kept.sum() - kept[missing[session]] for session in (0, 1)]


@pytest.mark.parametrize("cache", ["float32", "float16"])
def test_the_cache_holds_what_is_kept(tree, cache):
    wanted = surface(tree.spec, tree.root, nan="drop")
    for _ in range(2):
        found = surface(tree.spec, tree.root, nan="drop", cache=cache)
        assert isinstance(found.responses, np.memmap) and found.responses.dtype == cache
        np.testing.assert_allclose(found.responses, wanted.responses, rtol=1e-3)
        assert found.units["name"].tolist() == wanted.units["name"].tolist() and found.history[-1]["n"] > 0


def test_labels_and_the_way_back_to_the_surface(tree):
    trials = surface(tree.spec, tree.root, roi=["early", "ventral"], nan="drop")
    codes = tree.truth["streams"]
    half = len(codes) // 2
    at = trials.units["vertex"] + half * (trials.units["hemi"] == "right")
    assert trials.units["roi"].tolist() == ["early" if codes[one] == 1 else "ventral" for one in at]
    assert set(codes[at]) == {1, 5} and (trials.units["nsdgeneral"] == "nsdgeneral").all()
    maps = trials.space.to_gifti(at.to_numpy(float), trials.units)
    for hemi, offset in (("left", 0), ("right", half)):
        values = maps[hemi].darrays[0].data
        here = np.flatnonzero(np.isfinite(values))
        np.testing.assert_array_equal(values[here], here + offset)
    with pytest.raises(DataError, match="unknown region 'V1v'"):
        surface(tree.spec, tree.root, roi="V1v")
    with pytest.raises(DataError, match=r"unknown space 'fsaverag'\. Did you mean 'fsaverage'"):
        load(tree.spec, root=tree.root, subject=SUBJECT, space="fsaverag")


def test_only_the_vertices_of_the_region_are_read(tmp_path):
    sizes = {"n_fsaverage_vertices": 20000, "trials_per_session": 60, "trials": 60}
    sizes |= {"sessions": {1: 1}, "sessions_used": {1: 1}}
    large = make_tree("nsd", tmp_path, subjects=[1], sizes=sizes)
    few = np.full((20000, 1, 1), -1, np.int32)
    few[::200] = 1
    for side in ("lh", "rh"):
        path = large.root / f"nsddata/freesurfer/fsaverage/label/{side}.nsdgeneral.mgz"
        nibabel.save(nibabel.MGHImage(few, np.eye(4)), path)
        (path.with_name(f"{side}.streams.mgz")).unlink()
    load(large.spec, root=large.root, space="fsaverage", nan="drop")  # imports are not counted
    tracemalloc.start()
    trials = load(large.spec, root=large.root, space="fsaverage", nan="drop")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trials.n_units == 200 and peak < 0.6 * 60 * 40000 * 4


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_cut_hemisphere_is_refused_and_found_by_the_check(tree, copy, share):
    path = copy / WHERE / "rh.betas_session02.mgh"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"(?s)rh\.betas_session02\.mgh.*mend"):
        surface(tree.spec, copy, nan="drop")
    (problem,) = check_dataset(tree.spec, copy).problems
    assert problem.file.endswith("rh.betas_session02.mgh") and problem.status == "unreadable"


def test_a_missing_hemisphere_and_another_surface(tree, copy):
    (copy / WHERE / "lh.betas_session01.mgh").unlink()
    with pytest.raises(DataError, match=r"(?s)1 of 2 sessions have no betas.*both hemispheres"):
        surface(tree.spec, copy, nan="drop")
    path = copy / WHERE / "lh.betas_session02.mgh"
    nibabel.save(nibabel.MGHImage(np.zeros((23, 1, 1, 12), np.float32), np.eye(4)), path)
    with pytest.raises(DataError, match=r"(?s)not what the spec says.*lh\.betas_session02.*23"):
        surface(tree.spec, copy, sessions=[2])
    shutil.rmtree(copy / "nsddata/freesurfer")
    with pytest.raises(DataError, match="no regions in this copy"):
        surface(tree.spec, copy)


def test_betas_of_another_affine_than_the_regions(tree, copy):
    where = copy / WHERE.replace("fsaverage", "func1pt8mm")
    for session in (1, 2):
        (where / f"betas_session{session:02d}.hdf5").unlink()
    path = where / "betas_session02.nii.gz"
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 1.8
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)
    with pytest.raises(DataError, match=r"(?s)affine by up to 1.8 mm.*betas_session02.*one release"):
        load(tree.spec, root=copy, subject=SUBJECT)
    assert load(tree.spec, root=copy, subject=SUBJECT, sessions=1).n_trials == 12


def test_labels_of_the_spec_where_the_copy_has_no_colour_table(tree):
    units = load(tree.spec, root=tree.root, subject=SUBJECT, roi="OFA").units
    assert len(units) == (tree.truth["areas"][SUBJECT] == 1).sum() and set(units["floc_faces"]) == {"OFA"}
    labels = {roi.name: roi.labels for roi in tree.spec.rois}
    assert labels["floc-faces"][2] == "FFA-1" and labels["prf-visualrois"][7] == "hV4"
