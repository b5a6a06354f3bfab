"""Searchlights from radius to image: every value of a NIfTI, GIFTI or Evoked equals a loop over places."""

from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.sparse.csgraph import floyd_warshall
from scipy.spatial.distance import cdist, pdist

from brainalign.analysis import rsa
from brainalign.errors import DataError
from brainalign.spaces import SensorSpace, SurfaceSpace, VolumeSpace
from brainalign.trials import Trials

AFFINE = np.array([[2.0, 0.5, 0, -10], [0, 3.0, 0, 4], [0, 0, 2.5, 1], [0, 0, 0, 1]])
TABLE = pd.DataFrame({"stimulus_id": list("fbdace")})
ORDER = np.argsort(TABLE["stimulus_id"])
MODEL = np.random.default_rng(9).random(15)


def brute_force(X: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Spearman with the model around every column, from the columns that are near it."""
    found = np.full(X.shape[1], np.nan)
    for centre, inside in enumerate(near):
        if inside.sum() > 1:
            # Two units correlate at 1 or -1: rounding must not break those ties.
            found[centre] = stats.spearmanr(pdist(X[ORDER][:, inside], "correlation").round(9), MODEL)[0]
    return found


def test_every_voxel_of_the_image_is_that_of_a_loop(tmp_path) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((5, 4, 6)) < 0.6
    mask[:, 2] = False  # a gap that balls reach across
    mask[0, 0, 0] = True
    mask[:2, :2, :2] &= np.array([[[True, False], [False, False]], [[False, False], [False, False]]])  # one voxel alone
    space = VolumeSpace(mask.shape, AFFINE)
    units = space.units(mask)
    trials = Trials(rng.normal(size=(6, len(units))), TABLE, units, space=space)
    radius = 2.5  # exactly one voxel along k, which the tilt of i does not reach
    apart = cdist(units[["x", "y", "z"]], units[["x", "y", "z"]])
    near = apart <= radius + 1e-9
    assert np.isclose(apart, radius).any(), "the boundary is tried"
    result = rsa.searchlight(trials, {"model": MODEL}, radius_mm=radius)
    np.testing.assert_array_equal(result.n_units, near.sum(axis=1))
    result.map().to_filename(tmp_path / "map.nii.gz")
    image = nibabel.load(tmp_path / "map.nii.gz")
    np.testing.assert_allclose(image.affine, AFFINE, rtol=1e-6)
    expected = np.full(mask.shape, np.nan)
    expected[mask] = brute_force(trials.responses, near)
    assert np.isnan(expected[0, 0, 0]) and np.isfinite(expected).sum() > 20
    np.testing.assert_allclose(image.get_fdata(), expected, atol=1e-6)


def test_what_is_outside_the_mask_is_never_used() -> None:
    rng = np.random.default_rng(1)
    space = VolumeSpace((4, 4, 4), np.diag([3.0, 3, 3, 1]))
    units = space.units(np.ones((4, 4, 4), dtype=bool))
    responses = rng.normal(size=(6, 64))
    inside = rng.random(64) < 0.6
    whole = Trials(responses, TABLE, units, space=space)
    wild = Trials(np.where(inside, responses, 1e6 * rng.normal(size=(6, 64))), TABLE, units, space=space)
    one, other = (rsa.searchlight(t.select(units=inside), [MODEL], radius_mm=5.0) for t in (whole, wild))
    np.testing.assert_array_equal(one.scores["model0"], other.scores["model0"])
    assert np.isnan(one.map().get_fdata()[~inside.reshape(4, 4, 4)]).all()


def folded_strip() -> tuple[np.ndarray, np.ndarray]:
    """A strip bent back upon itself: its ends are 1 mm apart through space and 20 mm along it."""
    path = [(x, 0.0) for x in range(10)] + [(x, 1.0) for x in range(9, -1, -1)]
    coordinates = np.array([[x, y, z] for x, z in path for y in (0.0, 1.0)])
    faces = [face for i in range(0, 38, 2) for face in ([i, i + 1, i + 2], [i + 1, i + 2, i + 3])]
    return coordinates, np.array(faces)


def test_every_vertex_of_the_surface_is_that_of_a_loop_along_it(tmp_path) -> None:
    rng = np.random.default_rng(2)
    coordinates, faces = folded_strip()
    lengths = np.full((40, 40), np.inf)
    for a, b in np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]]):
        lengths[a, b] = lengths[b, a] = np.linalg.norm(coordinates[a] - coordinates[b])
    vertices = rng.permutation(np.delete(np.arange(40), [4, 5, 21]))  # the rest is a medial wall
    units = pd.DataFrame({"hemi": "left", "vertex": vertices})
    units = pd.concat([units, pd.DataFrame({"hemi": "right", "vertex": [3, 2]})], ignore_index=True)
    trials = Trials(rng.normal(size=(6, 39)), TABLE, units, space=SurfaceSpace({"left": 40, "right": 40}))
    mesh = (coordinates, faces)
    discs = rsa.surface_neighbours(units, {"left": mesh, "right": mesh}, 2.0)
    result = rsa.searchlight(trials, {"model": MODEL}, radius_mm=discs)
    geodesic = floyd_warshall(lengths, directed=False)
    same = units["hemi"].to_numpy()[:, None] == units["hemi"].to_numpy()
    near = same & (geodesic[np.ix_(units["vertex"], units["vertex"])] <= 2.0 + 1e-9)
    through_space = same & (cdist(coordinates, coordinates)[np.ix_(units["vertex"], units["vertex"])] <= 2.0)
    assert (through_space & ~near).any()
    np.testing.assert_array_equal(result.n_units, near.sum(axis=1))
    expected = brute_force(trials.responses, near)
    for hemi, image in result.map().items():
        image.to_filename(tmp_path / f"{hemi}.func.gii")
        here = (units["hemi"] == hemi).to_numpy()
        whole = np.full(40, np.nan)
        whole[units["vertex"][here]] = expected[here]
        found = nibabel.load(tmp_path / f"{hemi}.func.gii").darrays[0].data
        np.testing.assert_allclose(found, whole, atol=1e-6)


def recording(n_channels: int = 6, n_times: int = 5) -> Trials:
    rng = np.random.default_rng(3)
    places = np.c_[0.02 * np.arange(n_channels), np.zeros((n_channels, 2))]
    places[-1, 0] = 1.0  # a sensor without neighbours
    units = pd.DataFrame({"name": [f"E{i}" for i in range(n_channels)], "type": "eeg"})
    units[["x", "y", "z"]] = places
    times = np.arange(n_times) / 100 - 0.02
    return Trials(rng.normal(size=(6, n_channels, n_times)), TABLE, units, times=times, space=SensorSpace(100.0))


@pytest.mark.parametrize("half_width", [0, 1])
def test_every_sensor_and_time_of_the_evoked_is_that_of_a_loop(half_width) -> None:
    trials = recording()
    places = trials.units[["x", "y", "z"]].to_numpy()
    window = rsa.sensor_neighbours(places, 20.0, n_times=5, half_width=half_width)  # 20 mm: the boundary
    result = rsa.searchlight(trials, {"model": MODEL}, radius_mm=window if half_width else 20)
    channel, sample = np.divmod(np.arange(30), 5)
    near = cdist(places, places)[np.ix_(channel, channel)] * 1000 <= 20 + 1e-6
    near &= np.abs(sample[:, None] - sample) <= half_width
    expected = brute_force(trials.responses.reshape(6, 30), near).reshape(6, 5)
    assert np.isnan(expected[-1]).all() == (half_width == 0), "a sensor alone has no correlation distance"
    evoked = result.map()
    np.testing.assert_allclose(evoked.data, expected, atol=1e-12)
    np.testing.assert_allclose(evoked.times, trials.times, atol=1e-12)
    assert evoked.ch_names == trials.units["name"].tolist()
    np.testing.assert_array_equal(result.n_units.ravel(), near.sum(axis=1))


def test_a_first_look() -> None:
    line = rsa.searchlight(recording(), {"model": MODEL}, radius_mm=20).plot().axes[0].lines[2]
    trials = recording()
    expected = rsa.searchlight(trials, {"model": MODEL}, radius_mm=20).scores["model"][2]
    np.testing.assert_array_equal(line.get_ydata(), expected)
    space = VolumeSpace((4, 4, 4), np.diag([3.0, 3, 3, 1]))
    units = space.units(np.ones((4, 4, 4), dtype=bool))
    volume = Trials(np.random.default_rng(4).normal(size=(6, 64)), TABLE, units, space=space)
    result = rsa.searchlight(volume, {"a": MODEL, "b": MODEL}, radius_mm=np.float32(3))
    assert result.plot("a").axes
    with pytest.raises(DataError, match="unknown model"):
        result.plot()


SQUARE = (np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.0]]), np.array([[0, 1, 2], [1, 2, 3]]))
LEFT = pd.DataFrame({"hemi": "left", "vertex": [0, 1, 2, 3]})
PLACES = np.zeros((3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rsa.volume_neighbours(np.argwhere(np.zeros((3, 3, 3))), 2.0), "n_voxels >= 1"),
        (lambda: rsa.volume_neighbours([[0, 0, 0]], -1.0), "0 or more"),
        (lambda: rsa.volume_neighbours([[0, 0, 0]], np.nan), "0 or more"),
        (lambda: rsa.volume_neighbours([[0, 0, 0]], np.inf), "finite"),
        (lambda: rsa.surface_neighbours(LEFT, {"left": SQUARE}, -1.0), "0 or more"),
        (lambda: rsa.surface_neighbours(LEFT[:0], {"left": SQUARE}, 1.0), "one unit or more"),
        (lambda: rsa.surface_neighbours(pd.concat([LEFT, LEFT]), {"left": SQUARE}, 1.0), "4 listed again"),
        (lambda: rsa.surface_neighbours(LEFT.assign(vertex=[0, 1, 2, -1]), {"left": SQUARE}, 1.0), "0 to 3"),
        (lambda: rsa.surface_neighbours(LEFT.assign(vertex=[0, 1, 2, 4]), {"left": SQUARE}, 1.0), "0 to 3"),
        (lambda: rsa.surface_neighbours(LEFT, {"right": SQUARE}, 1.0), "a mesh for every hemi"),
        (lambda: rsa.surface_neighbours(LEFT, {"left": (SQUARE[0][:3], SQUARE[1])}, 1.0), "not a mesh"),
        (lambda: rsa.sensor_neighbours(np.empty((0, 3)), 1.0), "n_channels >= 1"),
        (lambda: rsa.sensor_neighbours([[0, 0, 0], [np.nan, 0, 0]], 1.0), r"channels \[1\]"),
        (lambda: rsa.sensor_neighbours(PLACES, -1.0), "0 or more"),
        (lambda: rsa.sensor_neighbours(PLACES, 1.0, n_times=0), "n_times >= 1"),
        (lambda: rsa.sensor_neighbours(PLACES, 1.0, half_width=-1), "half_width >= 0"),
        (lambda: rsa.searchlight(recording(), [MODEL], radius_mm=5.0), "no searchlight holds two units"),
        (lambda: rsa.searchlight(recording(), [MODEL], radius_mm="20"), "found: str"),
        (lambda: rsa.searchlight(recording(), [MODEL], radius_mm=rsa.sensor_neighbours(PLACES, 1.0)), "30 columns"),
    ],
)
def test_empty_searchlights_and_bad_places_are_refused(call, message) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_voxels_over_time_are_not_taken_for_voxels() -> None:
    space = VolumeSpace((2, 2, 2), np.eye(4))
    units = space.units(np.ones((2, 2, 2), dtype=bool))
    movie = Trials(np.random.default_rng(5).normal(size=(6, 8, 3)), TABLE, units, times=np.arange(3.0), space=space)
    with pytest.raises(DataError, match="average voxels over time"):
        rsa.searchlight(movie, [MODEL], radius_mm=1.0)
