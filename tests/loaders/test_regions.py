"""Masks, atlases and label tables: every voxel gets the region the atlas gives it, or the atlas is refused."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainalign.errors import DataError
from brainalign.loaders.regions import name_codes, read_labels, volume_units

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -8], [0, 0, 3, -6], [0, 0, 0, 1]])
SHAPE = (5, 4, 3)
LABELS = {10: "V1", 20: "V2", 35: "FFA"}


def image(data, affine=AFFINE):
    return nibabel.Nifti1Image(np.asarray(data), affine)


@pytest.fixture
def reference():
    return image(np.zeros((*SHAPE, 6), np.float32))


@pytest.fixture
def codes():
    return np.random.default_rng(0).choice([0, 10, 20, 35], SHAPE).astype(np.int16)


def test_units_carry_place_and_region_of_every_voxel(reference, codes):
    mask = np.random.default_rng(1).random(SHAPE) < 0.6
    inside, units = volume_units(reference, mask=image(mask.astype(np.uint8)), atlas=image(codes), labels=LABELS)
    np.testing.assert_array_equal(inside, mask)
    for row in units.itertuples():
        assert row.roi == LABELS.get(codes[row.i, row.j, row.k], "none")
        np.testing.assert_allclose([row.x, row.y, row.z], (AFFINE @ [row.i, row.j, row.k, 1])[:3])
    assert units["name"].is_unique


def test_without_a_mask_the_named_codes_are_the_mask(reference, codes):
    inside, units = volume_units(reference, atlas=image(codes), labels={10: "V1"})
    np.testing.assert_array_equal(inside, codes == 10)
    assert set(units["roi"]) == {"V1"}


def test_without_labels_regions_are_named_after_their_code(reference, codes):
    _, units = volume_units(reference, atlas=image(codes))
    assert set(units["roi"]) == {"10", "20", "35"}


def test_without_mask_and_atlas_every_voxel_is_a_unit(reference):
    inside, units = volume_units(reference)
    assert inside.all()
    assert len(units) == np.prod(SHAPE)


def test_negative_voxels_of_a_mask_are_outside(reference):
    mask = np.ones(SHAPE, np.float32)
    mask[0] = -1
    mask[1] = np.nan
    inside, _ = volume_units(reference, mask=image(mask))
    np.testing.assert_array_equal(inside, mask > 0)


def test_regions_can_be_chosen(reference, codes):
    inside, units = volume_units(reference, atlas=image(codes), labels=LABELS, roi=["V1", "FFA"])
    np.testing.assert_array_equal(inside, np.isin(codes, [10, 35]))
    assert set(units["roi"]) == {"V1", "FFA"}


def test_unknown_region_names_the_closest(reference, codes):
    with pytest.raises(DataError, match=r"unknown region 'V11'\. Did you mean 'V1'\?") as caught:
        volume_units(reference, atlas=image(codes), labels=LABELS, roi="V11")
    assert "FFA" in caught.value.expected


def test_region_without_an_atlas_is_refused(reference):
    with pytest.raises(DataError, match="chosen from an atlas"):
        volume_units(reference, roi="V1")


def test_other_grids_are_refused_and_resampled_on_request(reference, codes):
    fine = np.repeat(np.repeat(np.repeat(codes, 2, 0), 2, 1), 2, 2)
    affine = AFFINE.copy()
    affine[:3, :3] /= 2
    affine[:3, 3] -= AFFINE[:3, :3].sum(axis=1) / 4  # the corner, not the centre, of the first voxel stays
    with pytest.raises(DataError, match="atlas and data differ in shape"):
        volume_units(reference, atlas=image(fine, affine))
    inside, units = volume_units(reference, atlas=image(fine, affine), labels=LABELS, resample=True)
    np.testing.assert_array_equal(inside, codes > 0)
    expected = np.array([LABELS.get(code, "none") for code in codes.ravel()]).reshape(SHAPE)[inside]
    assert (units["roi"] == expected).all()


def test_flipped_mask_is_refused(reference):
    flipped = AFFINE.copy()
    flipped[:3, 0] *= -1
    with pytest.raises(DataError, match="left and right are flipped"):
        volume_units(reference, mask=image(np.ones(SHAPE, np.int8), flipped))


@pytest.mark.parametrize("mask", [np.zeros(SHAPE, np.int8), np.full(SHAPE, np.nan, np.float32)])
def test_empty_masks_are_refused(reference, mask):
    with pytest.raises(DataError, match="no voxel lies inside the mask"):
        volume_units(reference, mask=image(mask))


def test_mask_and_atlas_that_do_not_meet_are_refused(reference):
    mask, codes = np.zeros(SHAPE, np.int8), np.zeros(SHAPE, np.int16)
    mask[0], codes[1] = 1, 10
    with pytest.raises(DataError, match="mask and atlas together"):
        volume_units(reference, mask=image(mask), atlas=image(codes), labels=LABELS, roi="V1")


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_atlases_of_probabilities_are_refused(reference, value):
    codes = np.zeros(SHAPE, np.float32)
    codes[2, 2, 2] = value
    with pytest.raises(DataError, match="values that are no codes"):
        volume_units(reference, atlas=image(codes))


def test_labels_of_other_codes_are_refused(reference, codes):
    with pytest.raises(DataError, match="no code of the atlas has a label"):
        volume_units(reference, atlas=image(codes), labels={1: "V1"})


@given(st.lists(st.integers(-5, 3000), min_size=1, max_size=30), st.sets(st.integers(-5, 3000)))
def test_names_follow_codes_for_any_atlas(values, named):
    labels = {code: f"region {code}" for code in named}
    array = np.array(values, dtype=float)
    if not {code for code in named if code} & set(values):
        with pytest.raises(DataError):
            name_codes(array, labels)
        return
    numbers, names = name_codes(array, labels)
    found = [names.get(int(number), "none") for number in numbers]
    assert found == [labels.get(code, "none") if code else "none" for code in values]


class TestLabels:
    def test_mappings_either_way_round_and_sequences(self):
        expected = {1: "V1", 2: "V2"}
        assert read_labels({1: "V1", 2: "V2"}) == expected
        assert read_labels({"V1": 1, "V2": 2}) == expected
        assert read_labels(["Background", "V1", "V2"]) == {0: "Background", **expected}

    def test_bids_table(self, tmp_path):
        path = tmp_path / "atlas_dseg.tsv"
        path.write_text("index\tname\tcolor\n10\tV1\t#ff0000\n20\tV2\t#00ff00\n")
        assert read_labels(path) == {10: "V1", 20: "V2"}

    def test_freesurfer_colour_table(self, tmp_path):
        path = tmp_path / "FreeSurferColorLUT.txt"
        path.write_text("#$Id: table\n\n0   Unknown  0 0 0 0\n17  Left-Hippocampus  220 216 20 0\n")
        assert read_labels(path) == {0: "Unknown", 17: "Left-Hippocampus"}

    @pytest.mark.parametrize(
        ("name", "text"),
        [("a.tsv", "code\tcolour\n1\tred\n"), ("a.txt", "1\n"), ("a.txt", ""), ("a.txt", "one V1\n")],
    )
    def test_malformed_tables_are_refused(self, tmp_path, name, text):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(DataError) as caught:
            read_labels(path)
        assert caught.value.path == path

    def test_absent_table_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="cannot read the labels"):
            read_labels(tmp_path / "none.txt")

    def test_two_names_for_one_code_are_refused(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("1 V1\n1 V2\n")
        with pytest.raises(DataError, match="two names"):
            read_labels(path)
