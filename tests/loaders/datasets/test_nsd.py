"""NSD: every layout of the betas gives the planted responses by id, in memory near the region's own size."""

from __future__ import annotations

import multiprocessing
import shutil
import tracemalloc

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from brainalign.errors import DataError
from brainalign.loaders.datasets.nsd import load as nsd_load
from brainalign.loaders.datasets.nsd.betas import read_hdf5_voxels
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree

SUBJECT = 2
LAYOUTS = {
    "as released": {"chunks": (12, 1, 1, 1)},
    "contiguous": {"chunks": None},
    "by volume": {"chunks": (1, 5, 6, 7), "compression": "gzip"},
    "bricks": {"chunks": (5, 2, 4, 3), "compression": "gzip", "shuffle": True},
    "half a voxel": {"chunks": (6, 1, 1, 2)},
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("nsd", tmp_path_factory.mktemp("nsd"))


@pytest.fixture
def copy(tree, tmp_path):
    """A tree of one's own to change: (spec, root, path of an entry)."""
    root = tmp_path / "copy"
    shutil.copytree(tree.root, root)
    where = {"subject": SUBJECT, "space": "func1pt8mm", "beta_version": "fithrf_GLMdenoise_RR"}

    def path(name, **more):
        wanted = where if "beta" in name or name in ("roi", "ncsnr") else {"subject": SUBJECT}
        wanted = {} if name in ("design", "stimuli", "stimulus_table") else wanted
        wanted = {key: value for key, value in wanted.items() if name != "roi" or key != "beta_version"}
        return tree.spec.path(root, name, **wanted, **more)

    return tree.spec, root, path


def rewrite_hdf5(path, **layout):
    with h5py.File(path) as file:
        betas = file["betas"][()]
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=betas, **layout)
    return betas


def stored(path, spec, tree):
    """Betas of both sessions straight from the NIfTI files, by nibabel alone."""
    volumes = [np.asarray(nibabel.load(path("betas_nifti", session=session)).dataobj) for session in (1, 2)]
    inside = np.concatenate([one[tree.truth["mask"][SUBJECT]].T for one in volumes])
    return inside.astype(np.float32) / np.float32(300)


def test_responses_are_the_planted_ones(tree):
    trials = load(tree.spec, root=tree.root, subject=str(SUBJECT))
    mask, image = tree.truth["mask"][SUBJECT], tree.truth["image"][SUBJECT]
    assert np.array_equal(trials.units[["i", "j", "k"]].to_numpy(), np.argwhere(mask))
    np.testing.assert_allclose(trials.units["ncsnr"], tree.truth["ncsnr"][SUBJECT][mask])
    features = {f"nsd-{row:05d}": feature for row, feature in enumerate(tree.truth["features"])}
    weights = tree.truth["weights"][SUBJECT][mask.ravel()]
    means = trials.average("stimulus_id")
    clean = np.array([features[one] for one in means.stimulus_ids]) @ weights.T
    assert np.corrcoef(means.responses.ravel(), clean.ravel())[0, 1] > 0.98
    assert abs(np.corrcoef(means.responses.ravel(), np.roll(clean, 1, axis=0).ravel())[0, 1]) < 0.6
    assert trials.stimulus_ids.tolist() == [f"nsd-{row:05d}" for row in image]
    assert trials.info["sessions_used"] == [1, 2]


def test_table_counts_like_a_loop(tree):
    table = load(tree.spec, root=tree.root, subject=SUBJECT).trials
    seen: dict[str, int] = {}
    shared = {f"nsd-{row:05d}" for row in tree.truth["shared"]}
    for row in table.itertuples():
        assert row.repetition == seen.setdefault(row.stimulus_id, 0)
        seen[row.stimulus_id] += 1
        assert row.shared1000 == (row.stimulus_id in shared)
        assert row.split == ("test" if row.stimulus_id in shared else "train")
    assert table["session"].tolist() == [1] * 12 + [2] * 12
    later = load(tree.spec, root=tree.root, subject=SUBJECT, sessions=[2]).trials
    pd.testing.assert_frame_equal(later, table.iloc[12:].reset_index(drop=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_hdf5_layout_gives_the_same(copy, tree, layout):
    spec, root, path = copy
    for session in (1, 2):
        rewrite_hdf5(path("betas_hdf5", session=session), **LAYOUTS[layout])
    assert np.array_equal(load(spec, root=root, subject=SUBJECT).responses, stored(path, spec, tree))


@pytest.mark.parametrize("budget", [1, 200, 3000, 10**6])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_mask_and_budget_reads_what_indexing_reads(tmp_path, layout, budget):
    rng = np.random.default_rng(3)
    betas = rng.integers(-9999, 9999, (12, 5, 6, 7), dtype=np.int16)
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file.create_dataset("betas", data=betas, **LAYOUTS[layout])
    single = np.zeros((7, 6, 5), dtype=bool)
    single[6, 5, 4] = True
    for mask in (rng.random((7, 6, 5)) < 0.3, np.ones((7, 6, 5), dtype=bool), single):
        found = read_hdf5_voxels(tmp_path / "b.hdf5", "betas", mask, shape=betas.shape, dtype="int16", budget=budget)
        assert np.array_equal(found, betas.transpose(0, 3, 2, 1)[:, mask])


def test_a_grid_one_voxel_deep_keeps_its_rows_apart(tmp_path):
    betas = np.arange(4 * 3 * 1 * 5, dtype=np.int16).reshape(4, 3, 1, 5)
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file.create_dataset("betas", data=betas, chunks=(4, 1, 1, 1))
    mask = np.ones((5, 1, 3), dtype=bool)
    found = read_hdf5_voxels(tmp_path / "b.hdf5", "betas", mask, shape=betas.shape, dtype="int16")
    assert np.array_equal(found, betas.transpose(0, 3, 2, 1)[:, mask])


@pytest.mark.parametrize("compressed", [True, False])
def test_nifti_gives_the_same(copy, tree, compressed):
    spec, root, path = copy
    wanted = stored(path, spec, tree)
    for session in (1, 2):
        path("betas_hdf5", session=session).unlink()
        packed = path("betas_nifti", session=session)
        if not compressed:
            nibabel.save(nibabel.load(packed), packed.with_suffix(""))
            packed.unlink()
    assert np.array_equal(load(spec, root=root, subject=SUBJECT).responses, wanted)


def test_order_of_trials_does_not_matter(copy):
    """The same trials in another order within the session: nothing that goes by id changes."""
    spec, root, path = copy
    before = load(spec, root=root, subject=SUBJECT).average("stimulus_id")
    order = np.random.default_rng(5).permutation(12)
    design = loadmat(path("design"))
    design["masterordering"][:, :12] = design["masterordering"][:, order]
    savemat(path("design"), {key: design[key] for key in ("masterordering", "subjectim", "sharedix")})
    betas = path("betas_hdf5", session=1)
    content = rewrite_hdf5(betas)
    with h5py.File(betas, "w") as file:
        file["betas"] = content[order]
    with pytest.raises(DataError, match="trial log and design disagree"):
        load(spec, root=root, subject=SUBJECT)
    path("responses").unlink()
    after = load(spec, root=root, subject=SUBJECT).average("stimulus_id")
    assert sorted(after.stimulus_ids) == sorted(before.stimulus_ids)
    at = [after.stimulus_ids.tolist().index(one) for one in before.stimulus_ids]
    np.testing.assert_allclose(after.responses[at], before.responses, rtol=1e-5, atol=1e-6)


def test_regions_by_family_label_and_area(copy, tree):
    spec, root, _ = copy
    areas = tree.truth["areas"][SUBJECT]
    wanted = {"V1v": [1], "V1": [1, 2], "hV4": [7], "prf-visualrois": list(range(1, 8))}
    for roi, codes in wanted.items():
        units = load(spec, root=root, subject=SUBJECT, roi=roi).units
        assert np.array_equal(units[["i", "j", "k"]].to_numpy(), np.argwhere(np.isin(areas, codes)))
        assert set(units["roi"]) == {roi}
    both = load(spec, root=root, subject=SUBJECT, roi=["V2v", "floc-faces", "V1"])
    assert both.units["roi"].value_counts().to_dict() == {
        "V2v": (areas == 3).sum(), "floc-faces": (areas == 1).sum(), "V1": (areas == 2).sum(),
    }  # fmt: skip
    table = root / "nsddata/freesurfer/subj02/label/floc-faces.mgz.ctab"
    table.parent.mkdir(parents=True)
    table.write_text("0 Unknown 0 0 0 0\n1 OFA 255 0 0 0\n")
    assert len(load(spec, root=root, subject=SUBJECT, roi="OFA").units) == (areas == 1).sum()
    for wrong, hint in (("V1w", "V1"), ("nsdgenral", "nsdgeneral"), ("", "")):
        with pytest.raises(DataError, match=f"unknown region.*{hint}"):
            load(spec, root=root, subject=SUBJECT, roi=wrong)


def test_cache_streams_and_opens_again(copy, tree, monkeypatch):
    spec, root, path = copy
    wanted = stored(path, spec, tree)
    first = load(spec, root=root, subject=SUBJECT, cache="float32")
    assert isinstance(first.responses, np.memmap) and np.array_equal(first.responses, wanted)
    half = load(spec, root=root, subject=SUBJECT, cache="float16")
    assert half.responses.dtype == np.float16
    np.testing.assert_allclose(half.responses, wanted, rtol=1e-3)
    with monkeypatch.context() as patch:
        patch.setattr(nsd_load, "read_session", lambda *_, **__: pytest.fail("read again"))
        assert np.array_equal(load(spec, root=root, subject=SUBJECT, cache="float32").responses, wanted)
    betas = path("betas_hdf5", session=2)
    content = rewrite_hdf5(betas)
    with h5py.File(betas, "w") as file:
        file["betas"] = content // 2
    changed = load(spec, root=root, subject=SUBJECT, cache="float32").responses
    assert np.array_equal(changed[:12], wanted[:12]) and not np.array_equal(changed[12:], wanted[12:])


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    sizes = {"grid": {1: [24, 30, 28]}, "trials_per_session": 300, "trials": 600, "nsdgeneral_voxels": {1: 60}}
    sizes |= {"sessions": {1: 2}, "sessions_used": {1: 2}, "roi": ["nsdgeneral"]}
    return make_tree("nsd", tmp_path_factory.mktemp("large"), subjects=[1], sizes=sizes)


@pytest.mark.parametrize("kind", ["voxel chunks", "contiguous", "nifti"])
def test_memory_stays_near_the_size_of_the_region(large, tmp_path, kind):
    """Two sessions hold 24 MB of int16, the region 144 kB of float32."""
    shutil.copytree(large.root, tmp_path / "copy")
    where = {"subject": 1, "space": "func1pt8mm", "beta_version": "fithrf_GLMdenoise_RR"}
    for session in (1, 2):
        path = large.spec.path(tmp_path / "copy", "betas_hdf5", session=session, **where)
        if kind == "nifti":
            path.unlink()
        elif kind == "contiguous":
            rewrite_hdf5(path, chunks=None)
    load(large.spec, root=tmp_path / "copy", subject=1, sessions=1)  # imports are not counted
    tracemalloc.start()
    trials = load(large.spec, root=tmp_path / "copy", subject=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trials.shape == (600, 60)
    whole = 600 * 24 * 30 * 28 * 2
    # The blocks of a contiguous file may take their own budget, 64 MB, which exceeds this session: one session then.
    assert peak < (0.7 * whole if kind == "contiguous" else 0.06 * whole)


def test_blocks_keep_to_their_budget(large):
    where = {"subject": 1, "space": "func1pt8mm", "beta_version": "fithrf_GLMdenoise_RR"}
    path = large.spec.path(large.root, "betas_hdf5", session=1, **where)
    copy = path.with_name("contiguous.hdf5")
    with h5py.File(path) as file, h5py.File(copy, "w") as other:
        other["betas"] = file["betas"][()]
    mask = large.truth["mask"][1]
    tracemalloc.start()
    found = read_hdf5_voxels(copy, "betas", mask, shape=(300, 28, 30, 24), dtype="int16", budget=2**18)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    copy.unlink()
    assert found.shape == (300, 60) and peak < 2**18 + 8 * mask.size * 3 + found.nbytes * 2


def _read_in_child(stimuli, one, queue):
    queue.put(stimuli.array(one))


def test_pictures_are_lazy_and_survive_a_fork(tree):
    stimuli = load(tree.spec, root=tree.root, subject=SUBJECT).stimuli
    row = int(tree.truth["image"][SUBJECT][3])
    one = f"nsd-{row:05d}"
    with h5py.File(tree.spec.path(tree.root, "stimuli")) as file:
        wanted = file["imgBrick"][row]
    assert np.array_equal(stimuli.array(one), wanted)
    assert stimuli.table.loc[one, "cocoId"] == str(1000 + row)
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        queue = context.SimpleQueue()
        child = context.Process(target=_read_in_child, args=(stimuli, one, queue))
        child.start()
        assert np.array_equal(queue.get(), wanted)
        child.join()
    assert np.array_equal(stimuli.array(one), wanted)


def _truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def _flip_in_compressed(path):
    betas = rewrite_hdf5(path)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("betas", data=betas, chunks=betas.shape, compression="gzip", fletcher32=True)
        at, size = data.id.get_chunk_info(0).byte_offset, data.id.get_chunk_info(0).size
    content = bytearray(path.read_bytes())
    content[at + size // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def _float_betas(path):
    betas = rewrite_hdf5(path)
    with h5py.File(path, "w") as file:
        file["betas"] = betas / 300


def _other_key(path):
    with h5py.File(path, "r+") as file:
        file.move("betas", "beta")


def _other_shape(path):
    betas = rewrite_hdf5(path)
    with h5py.File(path, "w") as file:
        file["betas"] = betas.transpose(0, 3, 2, 1)


DAMAGE = {
    "truncated": ("betas_hdf5", _truncate),
    "flipped byte": ("betas_hdf5", _flip_in_compressed),
    "floats": ("betas_hdf5", _float_betas),
    "other key": ("betas_hdf5", _other_key),
    "axes turned": ("betas_hdf5", _other_shape),
    "empty": ("betas_hdf5", lambda path: path.write_bytes(b"")),
    "truncated nifti": ("betas_nifti", _truncate),
    "no design": ("design", lambda path: path.unlink()),
    "truncated design": ("design", _truncate),
    "truncated pictures": ("stimuli", _truncate),
    "truncated region": ("roi", _truncate),
    "truncated ncsnr": ("ncsnr", _truncate),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_names_the_file(copy, damage):
    spec, root, path = copy
    name, harm = DAMAGE[damage]
    more = {"session": 2} if "betas" in name else {"roi": "nsdgeneral"} if name == "roi" else {}
    if name == "betas_nifti":
        path("betas_hdf5", session=2).unlink()
    harm(path(name, **more))
    with pytest.raises(DataError) as caught:
        load(spec, root=root, subject=SUBJECT)
    assert path(name, **more).name in str(caught.value)


@pytest.mark.parametrize("key", ["masterordering", "subjectim", "sharedix", "short"])
def test_a_design_that_cannot_be_is_refused(copy, key):
    spec, root, path = copy
    design = loadmat(path("design"))
    if key == "short":
        design["masterordering"] = design["masterordering"][:, :20]
    elif key == "sharedix":
        design[key] = design[key][:, ::-1] + 1
    else:
        design[key] = design[key] - 1  # someone counted from 0
    savemat(path("design"), {one: design[one] for one in ("masterordering", "subjectim", "sharedix")})
    with pytest.raises(DataError, match=r"(?s)nsd_expdesign\.mat.*expected.*found"):
        load(spec, root=root, subject=SUBJECT)


def test_missing_sessions_and_unknown_choices(copy):
    spec, root, path = copy
    path("betas_hdf5", session=2).unlink()
    path("betas_nifti", session=2).unlink()
    with pytest.raises(DataError, match=r"(?s)1 of 2 sessions.*session02.*sessions=37"):
        load(spec, root=root, subject=SUBJECT)
    assert load(spec, root=root, subject=SUBJECT, sessions=1).n_trials == 12
    for wrong in (0, 3, [1, 1], [0], []):
        with pytest.raises(DataError, match="no such sessions"):
            load(spec, root=root, subject=SUBJECT, sessions=wrong)
    with pytest.raises(DataError, match="float16"):
        load(spec, root=root, subject=SUBJECT, sessions=1, cache="float61")
    with pytest.raises(DataError, match="subject"):
        load(spec, root=root, subject=9)


def test_without_pictures_log_and_ceiling(copy):
    spec, root, path = copy
    for name in ("stimuli", "stimulus_table", "responses", "ncsnr"):
        path(name).unlink()
    trials = load(spec, root=root, subject=SUBJECT)
    assert "ncsnr" not in trials.units and not trials.stimuli.has_images
    assert set(trials.stimuli.ids) == set(trials.stimulus_ids)


def test_region_size_that_differs_from_the_spec(copy):
    spec, root, path = copy
    file = path("roi", roi="nsdgeneral")
    image = nibabel.load(file)
    data = np.asarray(image.dataobj).copy()
    data[tuple(np.argwhere(data > 0)[0])] = 0
    nibabel.save(nibabel.Nifti1Image(data, image.affine), file)
    with pytest.raises(DataError, match=r"(?s)nsdgeneral of another size.*expected: 60.*found: 59"):
        load(spec, root=root, subject=SUBJECT)
