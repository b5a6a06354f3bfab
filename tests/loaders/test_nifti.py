"""A damaged NIfTI never yields numbers; a whole one yields exactly what nibabel reads."""

from __future__ import annotations

import gzip
import time

import nibabel
import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_volume, read_voxels

AFFINE = np.array([[-3.0, 0, 0, 30], [0, 3, 0, -20], [0, 0, 3.5, -10], [0, 0, 0, 1]])
CUTS = (0, 0.01, 0.1, 0.5, 0.99, 0.999)


def make(path, shape=(7, 6, 5, 40), dtype=np.int16, slope=None, seed=0):
    data = np.random.default_rng(seed).integers(-300, 300, shape).astype(dtype)
    image = nibabel.Nifti1Image(data, AFFINE, dtype=dtype)
    if slope:
        image.header.set_slope_inter(*slope)
    nibabel.save(image, path)
    return path


@pytest.fixture(params=["bold.nii", "bold.nii.gz"])
def path(request, tmp_path):
    return make(tmp_path / request.param)


def read_all(path):
    image = open_nifti(path, verify=False)
    return read_voxels(image, np.ones(image.shape[:3], dtype=bool))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, ">i2", ">f8"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_are_what_nibabel_reads(tmp_path, dtype, name):
    path = make(tmp_path / name, dtype=dtype)
    image = open_nifti(path)
    mask = np.random.default_rng(1).random(image.shape[:3]) < 0.3
    expected = nibabel.load(path).get_fdata()[mask].T.astype(np.float32)
    np.testing.assert_array_equal(read_voxels(image, mask), expected)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_scale_factors_of_the_header_are_applied(tmp_path, name):
    path = tmp_path / name
    image = nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(4, 3, 2, 6)), AFFINE)
    image.header.set_data_dtype(np.int16)  # nibabel chooses slope and intercept while saving
    nibabel.save(image, path)
    mask = np.ones((4, 3, 2), dtype=bool)
    expected = nibabel.load(path).get_fdata()[mask].T.astype(np.float32)
    assert nibabel.load(path).dataobj.slope != 1
    np.testing.assert_array_equal(read_voxels(open_nifti(path), mask), expected)


def test_images_in_memory_and_three_dimensional_ones_are_read_too(path):
    image = nibabel.load(path)
    mask = np.random.default_rng(2).random(image.shape[:3]) < 0.5
    expected = image.get_fdata()[mask].T
    np.testing.assert_array_equal(read_voxels(open_nifti(image.slicer[..., 3:9]), mask), expected[3:9])
    np.testing.assert_array_equal(read_voxels(image.slicer[..., 4], mask), expected[4:5])


@pytest.mark.parametrize("share", CUTS)
def test_truncation_is_refused_at_the_door_and_while_reading(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    for read in (open_nifti, read_all):
        with pytest.raises(DataError) as caught:
            read(path)
        assert caught.value.path == path
        assert caught.value.expected and caught.value.found and caught.value.fix


def test_every_short_cut_of_a_compressed_file_is_refused(tmp_path):
    path = make(tmp_path / "small.nii.gz", shape=(3, 3, 2, 3))
    whole = path.read_bytes()
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            open_nifti(path)


def test_a_flipped_byte_of_a_compressed_file_never_changes_numbers(tmp_path):
    path = make(tmp_path / "bold.nii.gz")
    whole, truth = path.read_bytes(), read_all(path)
    rng = np.random.default_rng(0)
    n_refused = 0
    for position in rng.choice(len(whole), 100, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read_all(path), truth)  # a byte of the gzip header may not matter
        except DataError:
            n_refused += 1
    assert n_refused > 90


def test_bytes_after_the_last_voxel_are_refused(path):
    whole = path.read_bytes()
    longer = gzip.compress(gzip.decompress(whole) + b"tail") if path.suffix == ".gz" else whole + b"tail"
    path.write_bytes(longer)
    for read in (open_nifti, read_all):
        with pytest.raises(DataError, match="longer than its header says"):
            read(path)


def header_of(shape, dtype=np.float32, affine=np.eye(4)):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header["dim"][: len(shape) + 1] = (len(shape), *shape)
    header["vox_offset"], header["magic"], header["sform_code"] = 352, b"n+1", 1
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    return header.binaryblock + bytes(4)


@pytest.mark.parametrize("name", ["giant.nii", "giant.nii.gz"])
def test_giant_headers_are_refused_before_anything_is_allocated(tmp_path, name):
    path = tmp_path / name
    raw = header_of((32767, 32767, 32767, 32767)) + bytes(1000)
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    start = time.process_time()
    with pytest.raises(DataError, match="too much memory") as caught:
        open_nifti(path)
    assert time.process_time() - start < 1
    assert "max_bytes" in caught.value.fix


def test_a_bomb_is_refused_without_unpacking_it(tmp_path):
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header_of((2, 2, 2, 2)) + bytes(300_000_000), compresslevel=1))
    start = time.process_time()
    with pytest.raises(DataError, match="longer than its header"):
        open_nifti(path)
    assert time.process_time() - start < 0.2


def test_the_budget_is_an_option(path):
    with pytest.raises(DataError, match="too much memory"):
        open_nifti(path, max_bytes=1000)
    assert open_nifti(path, max_bytes=10**6).shape == (7, 6, 5, 40)


@pytest.mark.parametrize("shape", [(4, -3, 2, 5), (4, 0, 2, 5), (-1, 3, 2)])
def test_impossible_shapes_are_refused(tmp_path, shape):
    path = tmp_path / "shape.nii"
    path.write_bytes(header_of(shape) + bytes(1000))
    with pytest.raises(DataError):
        open_nifti(path)


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_colours_and_complex_numbers_are_refused(tmp_path, dtype):
    path = tmp_path / "rgb.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), dtype=dtype), AFFINE), path)
    with pytest.raises(DataError, match="plain numbers"):
        open_nifti(path)


@pytest.mark.parametrize("affine", [np.diag([2.0, 2, 0, 1]), np.full((4, 4), np.nan)])
def test_affine_that_places_nothing_is_refused(tmp_path, affine):
    path = tmp_path / "flat.nii"
    path.write_bytes(header_of((3, 3, 3), np.int16, affine) + bytes(54))
    with pytest.raises(DataError, match="places the voxels nowhere"):
        open_nifti(path)


def test_absent_files_other_names_and_other_contents_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        open_nifti(tmp_path / "none.nii")
    with pytest.raises(DataError, match="not a NIfTI file name"):
        open_nifti(tmp_path / "scan.mgz")
    for content in (b"not an image at all" * 100, bytes(4000)):
        (tmp_path / "text.nii").write_bytes(content)
        with pytest.raises(DataError):
            open_nifti(tmp_path / "text.nii")


def test_mask_of_another_shape_is_refused(path):
    with pytest.raises(DataError, match="differ in shape"):
        read_voxels(open_nifti(path), np.ones((7, 6, 4), dtype=bool))


def test_one_volume_is_read_and_several_are_refused(path):
    image = nibabel.load(path)
    np.testing.assert_array_equal(read_volume(image.slicer[..., :1]), image.get_fdata()[..., 0])
    with pytest.raises(DataError, match="one volume"):
        read_volume(image)


class TestGrid:
    data = nibabel.Nifti1Image(np.zeros((4, 5, 6, 7), np.int16), AFFINE)

    def mask(self, affine=AFFINE, shape=(4, 5, 6)):
        return nibabel.Nifti1Image(np.ones(shape, np.int16), affine)

    def test_equal_grids_pass(self):
        check_same_grid(self.mask(), self.data)
        check_same_grid(self.mask(AFFINE + 1e-6), self.data)

    def test_another_shape_is_refused(self):
        with pytest.raises(DataError, match="mask and data differ in shape"):
            check_same_grid(self.mask(shape=(4, 5, 5)), self.data)

    def test_a_shifted_affine_is_refused(self):
        shifted = AFFINE.copy()
        shifted[2, 3] += 0.5
        with pytest.raises(DataError, match=r"by up to 0\.5 mm") as caught:
            check_same_grid(self.mask(shifted), self.data, what="atlas")
        assert "resample" in caught.value.fix

    def test_a_small_error_of_the_axes_counts_where_it_has_grown(self):
        scaled = AFFINE.copy()
        scaled[1, 1] += 0.01
        with pytest.raises(DataError, match=r"by up to 0\.05 mm"):
            check_same_grid(self.mask(scaled), self.data)

    def test_flipped_hemispheres_are_called_by_their_name(self):
        flipped = AFFINE.copy()
        flipped[:3, 0] *= -1
        flipped[0, 3] *= -1
        with pytest.raises(DataError, match="left and right are flipped"):
            check_same_grid(self.mask(flipped), self.data)
