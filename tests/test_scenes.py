"""Drawn scenes: the same picture for the same id, objects that stand out, factors that vary independently."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import chi2_contingency

from brainalign.errors import DataError
from brainalign.scenes import CATEGORIES, KINDS, describe_scene, draw_scene, draw_scenes, scene_mask


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(480, seed=3)


def test_picture_depends_on_its_id_alone(scenes) -> None:
    late = scenes.ids[-1]
    alone = np.asarray(draw_scene(late))
    describe_scene.cache_clear()
    other_n = draw_scenes(490, seed=3)
    backwards = [other_n.array(one) for one in reversed(scenes.ids[-3:])]
    np.testing.assert_array_equal(backwards[0], alone)
    np.testing.assert_array_equal(scenes.array(late), alone)


def test_category_filter_keeps_the_pictures_of_the_full_series(scenes) -> None:
    food = draw_scenes(40, seed=3, categories=["food", "face"])
    assert set(food.ids) < set(scenes.ids)
    assert set(food.table["category"]) == {"food", "face"}
    assert food.table.loc[food.ids[7]].equals(scenes.table.loc[food.ids[7]])


def test_seeds_are_other_series_and_their_ids_never_meet(scenes) -> None:
    other = draw_scenes(480, seed=4)
    assert not set(other.ids) & set(scenes.ids)
    same_number = [(a, b) for a, b in zip(scenes.ids[:40], other.ids[:40], strict=True)]
    assert sum(np.array_equal(scenes.array(a), other.array(b)) for a, b in same_number) == 0


def test_no_two_pictures_are_the_same(scenes) -> None:
    assert scenes.duplicates() == []


def test_every_category_is_equally_frequent_and_every_kind_appears(scenes) -> None:
    counts = scenes.table["category"].value_counts()
    assert dict(counts) == dict.fromkeys(CATEGORIES, 60)
    assert set(draw_scenes(2400).table["kind"]) == set(KINDS)
    assert len(KINDS) >= 26


@pytest.mark.parametrize("factor", ["colour", "background", "pattern", "position", "size"])
def test_category_cannot_be_told_from_a_nuisance_factor(factor: str) -> None:
    table = draw_scenes(8000, seed=0).table
    test = chi2_contingency(table.groupby(["category", factor]).size().unstack(fill_value=0))
    assert test.pvalue > 0.001


def test_caption_names_everything_that_varies(scenes) -> None:
    for one, row in scenes.table.head(80).iterrows():
        for word in row[["kind", "colour", "background", "pattern", "position", "size"]]:
            assert word in scenes.caption(one)
    assert not any(" a orange" in scenes.caption(one) for one in scenes.ids)


def test_objects_stand_out_from_their_background(scenes) -> None:
    """CIEDE2000 between each solid pixel near the outline and the nearest pixel of background."""
    color = pytest.importorskip("skimage.color")
    visible = []
    for one in scenes.ids:
        mask, lab = scenes.mask(one), color.rgb2lab(scenes.array(one))
        rim = mask & ~ndimage.binary_erosion(mask, iterations=3)
        solid = rim & ndimage.binary_erosion(mask)
        rim = solid if solid.sum() >= 10 else rim  # thin strokes have no pixel that is not blended at the edge
        around = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask)
        nearest = ndimage.distance_transform_edt(~around, return_distances=False, return_indices=True)
        difference = color.deltaE_ciede2000(lab[rim], lab[nearest[0][rim], nearest[1][rim]])
        visible.append(np.mean(difference > 15))
    assert min(visible) > 0.6
    assert np.percentile(visible, 5) > 0.9


def test_objects_lie_wholly_inside_and_where_the_table_says(scenes) -> None:
    for one, row in scenes.table.iterrows():
        mask = scenes.mask(one)
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()), scenes.caption(one)
        y, x = (np.argwhere(mask).mean(axis=0) + 0.5) / len(mask)
        assert np.hypot(x - row["x"], y - row["y"]) < 0.3 * row["width"]
        assert 0.03 < mask.mean() < 0.65


def test_mask_is_where_the_picture_differs_from_its_background() -> None:
    """On a plain background the object is what is not the background colour."""
    plain = draw_scenes(300, seed=8)
    chosen = plain.table.index[plain.table["pattern"] == "plain"]
    assert len(chosen) > 20
    covered = []
    for one in chosen:
        difference = np.abs(plain.array(one).astype(int) - np.array(describe_scene(one).tone)).max(axis=2)
        inside = plain.mask(one)
        assert np.mean(difference[~inside] > 60) < 0.02
        covered.append(np.mean(difference[inside] > 30))
    # Windows and cheese may have the background's colour; outlines may not (see the test of contrast).
    assert min(covered) > 0.6
    assert np.median(covered) > 0.98


@pytest.mark.parametrize("size", [32, 64, 96])
def test_size_changes_resolution_and_not_content(size: int) -> None:
    large = draw_scene("scene-1-000005", 192)
    small = np.asarray(draw_scene("scene-1-000005", size), dtype=float)
    assert small.shape == (size, size, 3)
    shrunk = np.asarray(large.resize((size, size), resample=4), dtype=float)
    assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.93
    mask = scene_mask("scene-1-000005", size)
    assert mask.mean() == pytest.approx(scene_mask("scene-1-000005", 192).mean(), rel=0.1 if size >= 64 else 0.2)


def test_kinds_look_unlike_each_other() -> None:
    """Nearest mean shape of the mask names the category far above chance: the outlines carry what is drawn."""
    train, test = draw_scenes(1600, seed=1), draw_scenes(400, seed=2)
    shapes = {
        side: np.array([_centred(s.mask(one)) for one in s.ids]) for side, s in (("train", train), ("test", test))
    }
    kinds = train.table["kind"].to_numpy()
    means = {kind: shapes["train"][kinds == kind].mean(axis=0) for kind in KINDS}
    names = list(means)
    distance = ((shapes["test"][:, None] - np.array(list(means.values()))) ** 2).sum(axis=(2, 3))
    named = np.array([KINDS[names[k]].category for k in distance.argmin(axis=1)])
    assert np.mean(named == test.table["category"].to_numpy()) > 0.6


def _centred(mask: np.ndarray) -> np.ndarray:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)
    side = max(box.shape)
    padded = np.zeros((side, side))
    top, left = (side - box.shape[0]) // 2, (side - box.shape[1]) // 2
    padded[top : top + box.shape[0], left : left + box.shape[1]] = box
    return ndimage.zoom(padded, 24 / side, order=1, grid_mode=True, mode="nearest")[:24, :24]


def test_drawing_is_fast() -> None:
    scenes = draw_scenes(400, seed=9)
    start = time.process_time()
    for one in scenes.ids:
        scenes.image(one)
    assert 400 / (time.process_time() - start) > 800


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n": 0}, "n of drawn scenes"),
        ({"n": 3, "size": 4}, "size of drawn scenes"),
        ({"n": 3, "seed": -1}, "seed of drawn scenes"),
        ({"n": 3, "categories": ["faces"]}, "Did you mean 'face'"),
        ({"n": 3, "categories": "face"}, "list of names"),
        ({"n": 3, "categories": []}, "list of names"),
    ],
)
def test_bad_requests_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_scenes(**arguments)


@pytest.mark.parametrize("one", ["scene-000012", "cat", "scene-0-12", "../scene-0-000012"])
def test_foreign_ids_are_refused(one: str) -> None:
    with pytest.raises(DataError, match="scene-<seed>-<number>"):
        draw_scene(one)
