"""Maps put each value where it belongs: left is left, a slab is enough, nothing is fetched."""

from __future__ import annotations

import socket

import matplotlib
import mne
import nibabel as nib
import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.report import Report, plots
from tests.conftest import real_data
from tests.report.pages import read_page

FLIPPED = np.diag([-3.0, 3.75, 3.75, 1])
STRAIGHT = np.diag([3.0, 3.75, 3.75, 1])


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a plot reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def volume(affine=STRAIGHT, shape=(10, 12, 8), fill=None):
    data = np.random.default_rng(0).uniform(0.1, 0.9, shape) if fill is None else fill
    return nib.Nifti1Image(data.astype(np.float32), affine)


@pytest.mark.parametrize("affine", [STRAIGHT, FLIPPED], ids=["straight", "flipped"])
def test_right_is_drawn_right_and_front_on_top(affine):
    data = np.full((8, 10, 1), 0.1)
    affine = affine.copy()
    affine[:3, 3] = [10 * np.sign(-affine[0, 0]), -15, 20]
    # The voxel at the most positive x (right) and y (front) of the world, wherever it lies in the array.
    corners = {(i, j): (affine @ [i, j, 0, 1])[:2].sum() for i in (0, 7) for j in (0, 9)}
    data[max(corners, key=corners.get)] = 0.9
    axes = plots.brain_slices(volume(affine, fill=data)).axes[0]
    shown = np.asarray(axes.images[0].get_array())
    assert axes.images[0].origin == "lower"
    assert np.unravel_index(shown.argmax(), shown.shape) == (9, 7)
    assert axes.get_title().split() == ["L", "z", "20", "mm", "R"]


def test_slices_show_the_values_of_the_slab():
    image = volume(shape=(40, 20, 1))
    shown = plots.brain_slices(image).axes[0].images[0].get_array()
    np.testing.assert_allclose(np.asarray(shown), np.asarray(image.dataobj)[:, :, 0].T)


def test_zero_and_nan_are_nothing_and_empty_slices_are_left_out():
    data = np.zeros((9, 9, 9))
    data[2:5, 3:6, 4:7] = 0.5
    data[3, 4, 5] = np.nan
    figure = plots.brain_slices(volume(fill=data))
    slices = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert len(slices) == 3
    middle = np.asarray(np.ma.filled(slices[1].images[0].get_array().astype(float), np.nan))
    assert middle.shape == (3, 3)
    assert np.isnan(middle).sum() == 1


def test_a_whole_volume_becomes_at_most_so_many_slices():
    figure = plots.brain_slices(volume(shape=(6, 6, 40)), n_slices=9)
    assert sum(bool(axes.images) for axes in figure.axes if axes.get_title()) == 9


def test_the_colour_scale_follows_the_signs():
    both = plots.brain_slices(volume(fill=np.random.default_rng(0).standard_normal((6, 6, 2)))).axes[0].images[0]
    assert both.norm.vmin == pytest.approx(-both.norm.vmax)
    assert plots.brain_slices(volume()).axes[0].images[0].norm.vmin == 0
    fixed = plots.brain_slices(volume(), limits=(-0.3, 0.4)).axes[0].images[0]
    assert (fixed.norm.vmin, fixed.norm.vmax) == (-0.3, 0.4)


@pytest.mark.parametrize(
    "image, message",
    [
        (volume(fill=np.zeros((4, 4, 4))), "the map is empty"),
        (volume(fill=np.full((4, 4, 4), np.nan)), "the map is empty"),
        (volume(shape=(4, 4, 4, 5)), r"not one volume[\s\S]*choose one"),
    ],
)
def test_what_is_no_map_is_refused(image, message):
    with pytest.raises(DataError, match=message):
        plots.brain_slices(image)


def test_a_background_on_another_grid_is_refused():
    with pytest.raises(DataError, match="another grid"):
        plots.brain_slices(volume(), background=volume(shape=(10, 12, 9)))


def test_a_file_is_as_good_as_an_image(tmp_path):
    nib.save(volume(), tmp_path / "map.nii.gz")
    from_file, from_image = (plots.brain_slices(some).axes[0].images[0] for some in (tmp_path / "map.nii.gz", volume()))
    np.testing.assert_allclose(np.asarray(from_file.get_array()), np.asarray(from_image.get_array()))


@pytest.mark.parametrize("shape", [(10, 12, 8), (40, 20, 1)])
def test_the_interactive_view_stands_alone(shape, tmp_path, no_network):
    html = plots.brain_view(volume(FLIPPED, shape), background=volume(FLIPPED, shape))
    page = read_page(Report("r").add_html_view(html, "Drag.").save(tmp_path / "report.html"))
    (frame,) = page.all("iframe")
    assert "brainsprite" in frame["srcdoc"]
    assert "http" not in frame["srcdoc"].replace("http-equiv", "")


def test_the_glass_brain_needs_no_template(no_network):
    affine = np.diag([6.0, 6, 6, 1])
    affine[:3, 3] = [-80, -110, -70]
    data = np.zeros((27, 32, 27))
    data[8:12, 5:12, 8:14] = 0.7
    figure = plots.glass_brain(volume(affine, fill=data), label="r", title="V1")
    figure.canvas.draw()
    assert len(figure.axes) > 3


@pytest.fixture(scope="module")
def cap():
    info = mne.create_info(mne.channels.make_standard_montage("biosemi32").ch_names, 256.0, "eeg")
    return info.set_montage("biosemi32")


def positions_of(info):
    return np.array([channel["loc"][:3] for channel in info["chs"]])


def test_a_topography_rises_where_its_sensors_do(cap):
    """Values equal to x (right) and y (front) must grow along the picture's own axes."""
    places = positions_of(cap)
    figure = plots.topomap(places[:, :2], cap, titles=["right", "front"])
    for axes, axis in zip(figure.axes[:2], (1, 0)):
        shown = np.asarray(axes.images[0].get_array(), dtype=float)
        profile = np.nanmean(shown[20:-20, 20:-20], axis=1 - axis)
        assert axes.images[0].origin == "lower"
        assert profile[-1] > 0 > profile[0]
        assert np.corrcoef(profile, np.arange(len(profile)))[0, 1] > 0.95
    assert [axes.get_title() for axes in figure.axes[:2]] == ["right", "front"]


def test_an_array_of_positions_is_as_good_as_an_info(cap):
    values = positions_of(cap)[:, 2]
    by_info, by_array = (
        plots.topomap(values, sensors).axes[0].images[0].get_array() for sensors in (cap, positions_of(cap))
    )
    np.testing.assert_allclose(np.asarray(by_info), np.asarray(by_array), atol=1e-6)


def test_channels_without_a_place_are_left_out(cap):
    places = positions_of(cap)
    lost, values = places.copy(), places[:, 0].copy()
    lost[3], values[3] = np.nan, 1e6
    shown = np.asarray(plots.topomap(values, lost).axes[0].images[0].get_array())
    assert np.nanmax(np.abs(shown)) < 1


def test_too_few_places_are_refused(cap):
    with pytest.raises(DataError, match=r"too few sensors[\s\S]*at least 4"):
        plots.topomap(np.ones(5), np.full((5, 3), np.nan))
    with pytest.raises(DataError, match="do not fit"):
        plots.topomap(np.ones(5), positions_of(cap))


def test_a_helmet_that_sits_lower_gives_the_same_picture(cap):
    """The centre of the head is found from the sensors: moving all of them changes nothing."""
    places = positions_of(cap)
    here, lower = (plots.topomap(places[:, 1], places + shift).axes[0] for shift in (0, [0, 0.01, -0.05]))
    np.testing.assert_allclose(sensors_on(here), sensors_on(lower), atol=1e-9)


def sensors_on(axes):
    return next(mark for mark in axes.collections if type(mark).__name__ == "PathCollection").get_offsets()


def test_a_real_helmet_lies_within_the_head():
    raw = mne.io.read_raw_fif(next(real_data("meg_sample").glob("*.fif")), verbose="error")
    info = mne.pick_info(raw.info, mne.pick_types(raw.info, meg="mag"))
    axes = plots.topomap(np.arange(102.0), info).axes[0]
    places = sensors_on(axes)
    assert len(places) == 102
    assert np.linalg.norm(places, axis=1).max() < 0.095
    # Names tell the side: MEG 01xx and 15xx sit at the left temple, 13xx and 26xx at the right.
    sides = {"MEG 01": -1, "MEG 15": -1, "MEG 13": 1, "MEG 26": 1}
    for (x, _), name in zip(places, info["ch_names"]):
        assert np.sign(x) == sides.get(name[:6], np.sign(x))


def test_paired_gradiometers_become_their_root_mean_square():
    raw = mne.io.read_raw_fif(next(real_data("meg_sample").glob("*.fif")), verbose="error")
    info = mne.pick_info(raw.info, mne.pick_types(raw.info, meg="grad"))
    axes = plots.topomap(np.tile([3.0, -4.0], 102), info).axes[0]
    assert len(sensors_on(axes)) == 102
    shown = np.asarray(np.ma.filled(axes.images[0].get_array(), np.nan))
    np.testing.assert_allclose(shown[28:36, 28:36], np.sqrt(12.5), rtol=1e-6)


def test_marks_on_the_head_keep_their_colour_in_the_dark(cap):
    figure = plots.topomap(positions_of(cap)[:, 0], cap)
    for mark in figure.axes[0].collections:
        colours = {matplotlib.colors.to_hex(colour) for colour in mark.get_edgecolor()}
        assert colours <= {"#16181d"}
