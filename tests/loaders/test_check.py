"""`check_dataset` finds every kind of damage, names the file, and runs nothing."""

from __future__ import annotations

import gzip
import shutil
import struct
import time
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat
from typer.testing import CliRunner

from brainalign.cli import app
from brainalign.errors import DataError, SpecError
from brainalign.loaders.check import CheckResult, check_dataset
from brainalign.loaders.headers import read_contents
from brainalign.loaders.trees import Tree, make_tree
from brainalign.specs import DatasetSpec, list_specs
from tests.conftest import real_data
from tests.loaders.pickled import write_npy_dict

ON_DISK = [name for name in list_specs() if DatasetSpec.load(name).modality != "simulated"]
SAME_NAME = (
    "digits69",
    "fingers7t",
    "images92",
    "meg_sample",
    "ieeg_bids",
    "muse_erp",
    "spikes_reaching",
    "story_hubs",
)
REAL = {name: name for name in SAME_NAME}
REAL |= {"haxby_slice": "haxby2001", "eegmmidb_s001": "eegmmidb_s001", "ssvep_exo": "ssvep_exo"}
BINARY = (".nii.gz", ".hdf5", ".h5", ".mat", ".npy", ".npz", ".fif", ".edf", ".eeg", ".jpg", ".json")


@pytest.fixture(scope="module")
def forest(tmp_path_factory) -> dict[str, Tree]:
    """One tree per dataset, made once; tests copy what they damage."""
    top = tmp_path_factory.mktemp("forest")
    writers = {"npy_dict": write_npy_dict}
    return {name: make_tree(name, top / name, writers=writers) for name in ON_DISK if name != "bci_iv_2a"} | {
        "bci_iv_2a": make_tree("bci_iv_2a", top / "bci_iv_2a", sizes={"runs": 1, "trials_per_run": 4}, subjects=[1])
    }


@pytest.fixture
def copy(forest, tmp_path):
    """Return a function that copies a tree: ``(spec, root)``."""

    def make(name: str) -> tuple[DatasetSpec, Path]:
        shutil.copytree(forest[name].root, tmp_path / name)
        return forest[name].spec, tmp_path / name

    return make


def problem(result: CheckResult, file: str):
    """The one problem of that file."""
    rows = [row for row in result.problems if row.file == file]
    assert len(rows) == 1, result.summary()
    return rows[0]


@pytest.mark.parametrize("name", ON_DISK)
def test_a_whole_tree_is_ok(forest, name):
    result = check_dataset(forest[name].spec, forest[name].root)
    assert result.ok, result.summary()
    assert {row.status for row in result.rows} <= {"ok", "missing"}
    assert str(result).endswith("complete")


@pytest.mark.parametrize("name", REAL)
def test_the_real_recordings_are_as_their_specs_say(name):
    result = check_dataset(DatasetSpec.load(name), real_data(REAL[name]))
    assert result.ok, result.summary()
    assert all(row.status == "ok" for row in result.rows)
    told = CliRunner().invoke(app, ["check", name, str(real_data(REAL[name]))])
    assert told.exit_code == 0 and told.output.rstrip().endswith("complete")


@pytest.mark.parametrize("name", ON_DISK)
def test_every_file_that_is_taken_away_is_missed_unless_it_may(copy, name):
    spec, root = copy(name)
    for row in check_dataset(spec, root).rows:
        path = root / row.file
        if row.status != "ok":
            continue
        kept = path.read_bytes()
        path.unlink()
        result = check_dataset(spec, root)
        if row.required and spec.files[row.entry].group is None:
            (problem,) = result.problems
            assert problem.status == "missing"
            assert problem.mend
            assert problem.file == row.file or "*" in problem.file
        else:
            assert row.file not in [each.file for each in result.rows if each.status == "ok"]
        path.write_bytes(kept)
    assert check_dataset(spec, root).ok


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("name", ON_DISK)
def test_every_cut_file_is_found(copy, name, fraction):
    spec, root = copy(name)
    pickles = {row.file for row in check_dataset(spec, root).rows if spec.files[row.entry].format == "npy_dict"}
    for path in sorted(root.rglob("*")):
        if not path.is_file() or not path.name.endswith(BINARY):
            continue
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * fraction)])
        result = check_dataset(spec, root)
        relative = str(path.relative_to(root))
        named = {row.file for row in result.problems} | {row.found for row in result.problems}
        # BrainVision's data file is reported under its header, which is what the spec lists.
        assert relative in named or relative.replace(".eeg", ".vhdr") in named, (relative, result.summary())
        if relative in pickles:
            assert problem(result, relative).status == "unreadable"
        path.write_bytes(whole)


def test_a_flipped_bit_in_compressed_data_is_found_or_harmless(copy):
    spec, root = copy("haxby2001")
    path, rng = root / "subj1" / "bold.nii.gz", np.random.default_rng(0)
    whole = path.read_bytes()
    original, n_found = gzip.decompress(whole), 0
    for position in rng.choice(len(whole), 60, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        if check_dataset(spec, root, subjects=[1]).ok:
            assert gzip.decompress(path.read_bytes()) == original
        else:
            n_found += 1
    assert n_found > 50


def test_a_flipped_bit_in_a_mat_file_is_found_or_harmless(forest, tmp_path):
    path = tmp_path / "design.mat"
    whole = (forest["nsd"].root / "nsddata/experiments/nsd/nsd_expdesign.mat").read_bytes()
    path.write_bytes(whole)
    original, n_found = loadmat(path), 0
    for position in range(128, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 16
        path.write_bytes(damaged)
        try:
            found = read_contents(path, "mat")
        except DataError:
            n_found += 1
            continue
        again = loadmat(path)
        for key in found:
            np.testing.assert_array_equal(again[key], original[key])
    assert n_found > 0.8 * (len(whole) - 128)


def test_wrong_shapes_dtypes_keys_columns_and_counts(copy):
    spec, root = copy("nsd")
    folder = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    betas = folder / "betas_session01.hdf5"
    relative = str(betas.relative_to(root))
    with h5py.File(betas, "r") as file:
        data = file["betas"][:]

    def replaced(key: str, array: np.ndarray) -> object:
        with h5py.File(betas, "w") as file:
            file[key] = array
        return problem(check_dataset(spec, root), relative)

    assert replaced("betas", data[:-1]).expected == "betas of shape 12 x 5 x 7 x 6: 12 where there are 11"
    assert "5 x 7 x 6" in replaced("betas", data.transpose(0, 3, 2, 1)).expected
    assert replaced("betas", data.astype(np.float32)).found == "float32"
    missing = replaced("beta", data)
    assert missing.expected == "array 'betas'"
    assert "beta" in missing.found
    assert replaced("betas", data[0]).found == "5 x 7 x 6"

    spec, root = copy("things_fmri")
    table = root / "sub-01_StimulusMetadata.csv"
    frame = pd.read_csv(table)
    frame.iloc[:-1].to_csv(table, index=False)
    assert "24 where there are 23" in problem(check_dataset(spec, root), table.name).expected
    frame.drop(columns="trial_type").to_csv(table, index=False)
    assert problem(check_dataset(spec, root), table.name).expected == "column 'trial_type'"


def test_a_mask_of_another_grid_is_found_though_the_spec_leaves_the_grid_free(copy):
    spec, root = copy("haxby2001")
    mask = root / "subj2" / "mask4_vt.nii.gz"
    image = nibabel.load(mask)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine), mask)
    row = problem(check_dataset(spec, root), "subj2/mask4_vt.nii.gz")
    assert row.status == "wrong"
    assert "subj2/bold.nii.gz" in row.expected
    assert row.found == "5 x 7 x 5"


def test_subjects_missing_partial_wanted_and_unknown(copy):
    spec, root = copy("bold5000")
    for path in root.glob("CSI4*"):
        path.unlink()
    result = check_dataset(spec, root)
    row = problem(result, "subject CSI4")
    assert row.status == "missing"
    assert "check only the subjects you have" in row.mend
    assert check_dataset(spec, root, subjects=["CSI1"]).ok
    with pytest.raises(SpecError, match="Did you mean 'CSI4'"):
        check_dataset(spec, root, subjects=["CSI5"])


@pytest.mark.parametrize(
    ("name", "stranger"),
    [("nsd", "nsddata/ppdata/subj09"), ("haxby2001", "subj7"), ("things_eeg2", "sub-11"), ("podcast_ecog", "sub-10")],
)
def test_unexpected_subjects_are_named(copy, name, stranger):
    spec, root = copy(name)
    (root / stranger).mkdir(parents=True)
    (root / stranger / "notes.txt").write_text("x")
    (root / "README").write_text("not a subject")
    result = check_dataset(spec, root)
    assert [row.file for row in result.problems] == [stranger]
    assert problem(result, stranger).status == "wrong"


def test_one_of_several_forms_suffices(copy):
    spec, root = copy("nsd")
    for path in root.rglob("betas_session*.nii.gz"):
        path.unlink()
    assert check_dataset(spec, root).ok
    shutil.copy(next(root.rglob("betas_session01.hdf5")), root / "spare")
    next(root.rglob("subj01/**/betas_session02.hdf5")).unlink()
    row = check_dataset(spec, root).problems[0]
    assert (row.status, Path(row.file).name) == ("missing", "betas_session02.hdf5")
    for path in root.rglob("betas_session*.hdf5"):
        path.unlink()
    rows = check_dataset(spec, root).problems
    assert len(rows) == 2
    assert " or " in rows[0].expected


def test_links_out_of_the_dataset_and_links_inside_hdf5_are_refused(copy, tmp_path):
    spec, root = copy("nsd")
    inside = next(root.rglob("subj01/**/nsdgeneral.nii.gz"))
    inside.rename(tmp_path / "elsewhere.nii.gz")
    inside.symlink_to(tmp_path / "elsewhere.nii.gz")
    row = problem(check_dataset(spec, root), str(inside.relative_to(root)))
    assert (row.status, "leads out" in row.found) == ("wrong", True)
    stimuli = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    stimuli.rename(tmp_path / "other.hdf5")
    with h5py.File(stimuli, "w") as file:
        file["imgBrick"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "imgBrick")
    row = problem(check_dataset(spec, root), str(stimuli.relative_to(root)))
    assert (row.status, "external link" in row.found) == ("unreadable", True)


def test_an_unfetched_annex_link_says_how_to_fetch(copy):
    spec, root = copy("haxby_slice")
    (root / ".git" / "annex" / "objects").mkdir(parents=True)
    (root / "bold.nii.gz").unlink()
    (root / "bold.nii.gz").symlink_to(".git/annex/objects/absent")
    assert "datalad get" in problem(check_dataset(spec, root), "bold.nii.gz").mend


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_arrays_are_refused_and_never_opened(copy, tmp_path):
    spec, root = copy("du_in")
    sentinel = tmp_path / "sentinel"
    np.save(root / "converted" / "001" / "data.npy", np.array([_Runs(sentinel)], dtype=object))
    row = problem(check_dataset(spec, root), "converted/001/data.npy")
    assert (row.status, "pickled" in row.found) == ("unreadable", True)
    spec, root = copy("things_eeg2")
    write_npy_dict(root / "sub-01" / "preprocessed_eeg_training.npy", {"preprocessed_eeg_data": _Runs(sentinel)})
    released = root / "data/seeg.he2023xuanwu/001/word-recitation/run1/dataset.bipolar.default.aligned"
    released.mkdir(parents=True)
    (released / "data").write_bytes(b"cos\nsystem\n")
    check_dataset(spec, root)
    assert not sentinel.exists()


def test_hostile_headers_cost_nothing(tmp_path):
    giant = nibabel.Nifti1Header()
    giant.set_data_shape((32767,) * 4)
    (tmp_path / "giant.nii").write_bytes(giant.binaryblock + b"\0" * 4)
    negative = bytearray(nibabel.Nifti1Header().binaryblock)
    negative[40:56] = struct.pack("<8h", 3, -5, 5, 5, 1, 1, 1, 1)
    (tmp_path / "negative.nii").write_bytes(bytes(negative) + b"\0" * 1000)
    small = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes()
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=9) as stream:
        stream.write(small)
        for _ in range(200):
            stream.write(b"\0" * (1 << 20))
    savemat(tmp_path / "ok.mat", {"a": np.zeros(3)})
    for name, kind in (("giant.nii", "nifti"), ("negative.nii", "nifti"), ("bomb.nii.gz", "nifti"), ("ok.mat", "hdf5")):
        start = time.process_time()
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            read_contents(tmp_path / name, kind)
        assert time.process_time() - start < 1


def test_brainvision_headers_that_point_elsewhere_are_refused(copy):
    spec, root = copy("ieeg_bids")
    header = next(root.rglob("*.vhdr"))
    text = header.read_text(encoding="utf-8")
    for target in ("../../../secret.eeg", "/etc/passwd", "absent.eeg"):
        header.write_text(text.replace(header.with_suffix(".eeg").name, target), encoding="utf-8")
        row = problem(check_dataset(spec, root), str(header.relative_to(root)))
        assert row.status == "unreadable"


@pytest.mark.parametrize(
    "kind", ["nifti", "hdf5", "mat", "npy", "npy_dict", "npz", "image", "fif", "edf", "gdf", "brainvision"]
)
def test_rubbish_is_unreadable_in_every_format(tmp_path, kind):
    rng = np.random.default_rng(1)
    suffix = ".nii.gz" if kind == "nifti" else ".bin"
    for number, content in enumerate([b"", b"\0" * 4000, rng.bytes(4000), b"PK\x03\x04" + rng.bytes(400)]):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataError, match=path.name.replace(".", r"\.")):
            read_contents(path, kind)


def test_the_summary_can_be_read_and_the_table_be_used(copy):
    spec, root = copy("haxby_slice")
    (root / "mask.nii.gz").unlink()
    result = check_dataset(spec, root)
    text = str(result)
    for part in ("haxby_slice", "CC BY-SA 3.0", "mask: 1 missing", "missing: mask.nii.gz", "mend:", "1 problems"):
        assert part in text
    assert list(pd.DataFrame(result.table()).columns) == ["entry", "file", "status", "expected", "found", "mend"]
    with pytest.raises(DataError, match="not found"):
        check_dataset(spec, root / "absent")
