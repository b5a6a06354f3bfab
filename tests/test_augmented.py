"""Augmented pictures: the same ids, another look, each its own."""

from __future__ import annotations

import numpy as np
import pytest

import brainalign as ba
from brainalign.errors import DataError
from brainalign.stimuli import augmented


def test_each_picture_is_changed_by_itself_and_the_same_way_again():
    scenes = ba.draw_scenes(6, seed=0)
    one, two, other = augmented(scenes), augmented(scenes.select(scenes.ids[::-1])), augmented(scenes, seed=1)
    assert one.ids == scenes.ids and one.table.equals(scenes.table)
    for name in scenes.ids:
        assert one.array(name).shape == scenes.array(name).shape
        np.testing.assert_array_equal(one.array(name), two.array(name))
        assert (one.array(name) != scenes.array(name)).any() and (one.array(name) != other.array(name)).any()


def test_each_change_is_what_it_says():
    scenes = ba.draw_scenes(4, seed=0)
    still = {"crop": 1.0, "jitter": 0.0, "grey": 0.0, "flip": 0.0}
    for change, expected in (
        ({}, lambda picture: picture),
        ({"flip": 1.0}, lambda picture: picture[:, ::-1]),
    ):
        made = augmented(scenes, **(still | change))
        for name in scenes.ids:
            np.testing.assert_array_equal(made.array(name), expected(scenes.array(name)))
    grey = augmented(scenes, **(still | {"grey": 1.0}))
    assert all((np.ptp(grey.array(name), axis=2) == 0).all() for name in scenes.ids)
    with pytest.raises(DataError, match="out of range"):
        augmented(scenes, crop=0)
