"""Searchlights against loops over centres, networkx paths, and rsatoolbox's spheres."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from brainalign.analysis import rsa
from brainalign.analysis.rsa import rdm
from brainalign.analysis.rsa.searchlight import pattern_parts, searchlight, searchlight_scores
from brainalign.analysis.rsa.searchlight_space import sensor_neighbours, surface_neighbours, volume_neighbours
from brainalign.errors import DataError
from brainalign.spaces import SensorSpace, SurfaceSpace, VolumeSpace
from brainalign.trials import Trials

RNG = np.random.default_rng(0)
AFFINE = np.array([[2.0, 0.5, 0, -10], [0, 3.0, 0, 4], [0, 0, 2.5, 1], [0, 0, 0, 1]])


def listed(neighbours) -> list[set[int]]:
    return [set(row.tolist()) - {-1} for row in neighbours.around(np.arange(neighbours.n_centres))]


@pytest.mark.parametrize("affine", [None, AFFINE])
@pytest.mark.parametrize("radius", [0.0, 2.0, 4.5])
def test_balls_are_the_voxels_within_the_radius(affine, radius) -> None:
    ijk = np.argwhere(RNG.random((6, 5, 7)) < 0.7)
    places = ijk if affine is None else ijk @ affine[:3, :3].T
    expected = [set(np.flatnonzero(row <= radius + 1e-6)) for row in cdist(places, places)]
    assert listed(volume_neighbours(ijk, radius, affine=affine)) == expected


def test_the_boundary_belongs_to_the_ball() -> None:
    ijk = np.argwhere(np.ones((9, 9, 9)))
    centre = int(np.flatnonzero((ijk == 4).all(axis=1))[0])
    assert [len(listed(volume_neighbours(ijk, r))[centre]) for r in (1, 2, 3)] == [7, 33, 123]


def test_spheres_of_rsatoolbox_are_ours_without_the_boundary() -> None:
    toolbox = pytest.importorskip("rsatoolbox.util.searchlight")
    mask = np.ones((6, 6, 6))
    centres, peer = toolbox.get_volume_searchlight(mask, radius=2, threshold=0.1)
    ours = listed(volume_neighbours(np.argwhere(mask), 1.999))
    assert [set(np.asarray(p).tolist()) for p in peer] == [ours[c] for c in centres]


def test_discs_follow_the_mesh() -> None:
    networkx = pytest.importorskip("networkx")
    from scipy.spatial import Delaunay

    points = np.c_[RNG.random((60, 2)) * 10, np.zeros(60)]
    points[:, 2] = np.sin(points[:, 0])
    faces = Delaunay(points[:, :2]).simplices
    vertices = np.sort(RNG.choice(60, 45, replace=False))
    units = pd.DataFrame({"hemi": ["right"] * 45 + ["left"], "vertex": [*vertices, 0]})
    found = listed(surface_neighbours(units, {"left": (points, faces), "right": (points, faces)}, 2.5))
    graph = networkx.Graph()
    for face in faces:
        for a, b in ((0, 1), (1, 2), (0, 2)):
            graph.add_edge(face[a], face[b], weight=float(np.linalg.norm(points[face[a]] - points[face[b]])))
    for row, vertex in enumerate(vertices):
        near = networkx.single_source_dijkstra_path_length(graph, vertex, cutoff=2.5)
        assert found[row] == {column for column, v in enumerate(vertices) if v in near}
    assert found[45] == {45}


def test_sensors_within_reach_at_times_within_the_window() -> None:
    positions = RNG.random((5, 3)) * 0.1
    found = listed(sensor_neighbours(positions, 50.0, n_times=6, half_width=1))
    apart = cdist(positions, positions) * 1000
    for channel in range(5):
        for time in range(6):
            near = {c * 6 + t for c in range(5) for t in range(6) if apart[channel, c] <= 50 and abs(t - time) <= 1}
            assert found[channel * 6 + time] == near


def volume_trials(n_conditions: int = 8, dtype: type = float) -> Trials:
    mask = np.random.default_rng(1).random((7, 6, 6)) < 0.8
    space = VolumeSpace((7, 6, 6), np.diag([2.0, 2, 2, 1]))
    units = space.units(mask)
    table = pd.DataFrame(
        {"stimulus_id": np.tile([f"s{i}" for i in range(n_conditions)], 3), "run": np.repeat([1, 2, 3], n_conditions)}
    )
    data = np.random.default_rng(2).normal(size=(len(table), len(units))) + 5.0
    return Trials(data.astype(dtype), table, units, space=space)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "sqeuclidean", "crossnobis"])
@pytest.mark.parametrize("method", ["spearman", "cosine"])
def test_scores_equal_a_loop_over_centres(metric, method) -> None:
    trials = volume_trials()
    models = {"a": RNG.random(28), "b": RNG.random(28)}
    result = searchlight(trials, models, radius_mm=4.0, method=method, rdm_options={"metric": metric})
    ijk = trials.units[["i", "j", "k"]].to_numpy()
    options = {"groups": "run"} if metric == "crossnobis" else {}
    similarity = {"spearman": lambda a, b: stats.spearmanr(a, b)[0]}.get(
        method, lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    )
    for centre in range(0, len(ijk), 17):
        near = np.flatnonzero(np.linalg.norm(ijk - ijk[centre], axis=1) <= 2)
        assert result.n_units[centre] == len(near)
        if metric == "crossnobis":
            d = rdm(trials.select(units=near), metric=metric, labels="stimulus_id", **options)
        else:
            means = trials.average("stimulus_id").responses[:, near]
            d = pdist(means, metric)
        for name, model in models.items():
            assert result.scores[name][centre] == pytest.approx(similarity(d, model), abs=1e-9)


def test_results_do_not_depend_on_workers_or_blocks(monkeypatch) -> None:
    trials = volume_trials()
    models = RNG.random((2, 28))
    module = sys.modules[searchlight.__module__]  # the room names the function, not the file
    monkeypatch.setattr(module, "_CENTRES", 40)
    whole = searchlight(trials, models, radius_mm=4.0)
    spread = searchlight(trials, models, radius_mm=4.0, n_jobs=2)
    for name, values in whole.scores.items():
        np.testing.assert_array_equal(values, spread.scores[name])
    monkeypatch.setattr(module, "_BLOCK_BYTES", 30_000)
    small = searchlight(trials, models, radius_mm=4.0)
    np.testing.assert_allclose(small.scores["model0"], whole.scores["model0"], atol=1e-12)


def test_a_planted_geometry_is_found_where_it_is_and_nowhere_else() -> None:
    trials = volume_trials(n_conditions=12)
    ijk = trials.units[["i", "j", "k"]].to_numpy()
    inside = np.linalg.norm(ijk - [2, 2, 2], axis=1) <= 1.5
    geometry = np.random.default_rng(5).normal(size=(12, inside.sum()))
    responses = trials.responses.copy()
    responses[:, inside] += 4 * np.tile(geometry, (3, 1))
    planted = Trials(responses, trials.trials, trials.units, space=trials.space)
    order = trials.average("stimulus_id").stimulus_ids.argsort()
    truth = pdist(geometry[order], "correlation")
    result = searchlight(planted, {"truth": truth}, radius_mm=3.0)
    best = ijk[np.nanargmax(result.scores["truth"])]
    assert np.linalg.norm(best - [2, 2, 2]) <= 1.5
    assert np.nanmax(result.scores["truth"]) > 0.7
    far = np.linalg.norm(ijk - [2, 2, 2], axis=1) > 4
    assert abs(np.nanmean(result.scores["truth"][far])) < 0.1
    shuffled = searchlight(planted, {"shuffled": np.random.default_rng(6).permutation(truth)}, radius_mm=3.0)
    assert np.nanmax(shuffled.scores["shuffled"]) < 0.6


def test_maps_go_back_to_the_brain() -> None:
    trials = volume_trials()
    result = searchlight(trials, {"a": RNG.random(28)}, radius_mm=2.0)
    image = result.map()
    i, j, k = trials.units.loc[10, ["i", "j", "k"]]
    assert image.get_fdata()[i, j, k] == pytest.approx(result.scores["a"][10], abs=1e-6)
    with pytest.raises(DataError, match="unknown model"):
        result.map("b")

    units = pd.DataFrame({"hemi": ["left"] * 4, "vertex": [0, 1, 2, 3]})
    table = pd.DataFrame({"stimulus_id": list("abcd")})
    surface = Trials(RNG.normal(size=(4, 4)), table, units, space=SurfaceSpace({"left": 4, "right": 4}))
    square = (np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.0]]), np.array([[0, 1, 2], [1, 2, 3]]))
    neighbours = surface_neighbours(units, {"left": square}, 1.0)
    found = searchlight(surface, {"a": RNG.random(6)}, radius_mm=neighbours)
    assert found.n_units.tolist() == [3, 3, 3, 3]
    values = found.map()["left"].darrays[0].data
    np.testing.assert_allclose(values, found.scores["a"], atol=1e-6)

    sensors = pd.DataFrame({"name": ["A", "B", "C"], "type": "eeg", "x": [0.0, 0.01, 0.02], "y": 0.0, "z": 0.0})
    evoked = Trials(RNG.normal(size=(4, 3, 5)), table, sensors, times=np.arange(5) / 100, space=SensorSpace(100.0))
    found = searchlight(evoked, {"a": RNG.random(6)}, radius_mm=np.float64(15.0).item())
    assert found.scores["a"].shape == (3, 5)
    d = pdist(evoked.responses[:, [0, 1], 3], "correlation")
    assert np.isfinite(d).all() and found.n_units[0, 3] == 2
    assert found.map().data.shape == (3, 5)


def test_undefined_searchlights_are_nan_and_bad_input_is_refused() -> None:
    trials = volume_trials()
    with pytest.raises(DataError, match=r"no searchlight holds two units[\s\S]*larger radius"):
        searchlight(trials, RNG.random(28), radius_mm=1.9)
    alone = searchlight(trials, RNG.random(28), radius_mm=0.0, rdm_options={"metric": "sqeuclidean"})
    assert np.isfinite(alone.scores["model0"]).all() and (alone.n_units == 1).all()
    constant = trials.responses.copy()
    constant[:, :] = constant[:, :1]
    flat = Trials(constant, trials.trials, trials.units, space=trials.space)
    assert np.isnan(searchlight(flat, RNG.random(28), radius_mm=3.0).scores["model0"]).all()
    with pytest.raises(DataError, match="different conditions"):
        searchlight(trials, RNG.random(21), radius_mm=2.0)
    with pytest.raises(DataError, match="Did you mean 'run'"):
        searchlight(trials, RNG.random(28), radius_mm=2.0, rdm_options={"metric": "crossnobis", "groups": "runs"})
    with pytest.raises(DataError, match="searchlight metric"):
        searchlight(trials, RNG.random(28), radius_mm=2.0, rdm_options={"metric": "corelation"})
    with pytest.raises(DataError, match="no places"):
        searchlight(Trials(trials.responses, trials.trials), RNG.random(28), radius_mm=2.0)
    with pytest.raises(DataError, match="two units lie in one voxel"):
        volume_neighbours([[0, 0, 0], [0, 0, 0]], 1.0)
    with pytest.raises(DataError, match="NaN"):
        pattern_parts(np.full((4, 3), np.nan), list("abcd"))


def test_float32_patterns_give_nearly_the_same_scores() -> None:
    models = RNG.random((1, 28))
    exact = searchlight(volume_trials(), models, radius_mm=4.0, method="pearson").scores["model0"]
    coarse = searchlight(volume_trials(dtype=np.float32), models, radius_mm=4.0, method="pearson").scores["model0"]
    np.testing.assert_allclose(coarse, exact, atol=1e-4)


def test_scores_of_arrays() -> None:
    parts = pattern_parts(RNG.normal(size=(6, 4)), np.arange(6))
    neighbours = volume_neighbours([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]], 9.0)
    scores, sizes = searchlight_scores(parts, neighbours, RNG.random((3, 15)))
    assert scores.shape == (4, 3)
    assert sizes.tolist() == [4, 4, 4, 4]
    np.testing.assert_allclose(scores, np.broadcast_to(scores[0], (4, 3)), atol=1e-12)


def test_rdms_are_joined_to_trials_by_label():
    rng = np.random.default_rng(0)
    ijk = np.argwhere(np.ones((3, 3, 3), dtype=bool))
    units = pd.DataFrame(ijk, columns=list("ijk")).assign(name=[f"v{i}" for i in range(27)])
    table = pd.DataFrame({"stimulus_id": list("dbac")})
    trials = Trials(rng.normal(size=(4, 27)), table, units, space=VolumeSpace((3, 3, 3), np.diag([2.0, 2, 2, 1])))
    d = rng.random(6)
    labelled = rsa.RDMs(d, list("abcd"), table={"model": ["m"]}).select(conditions=list("cadb"))
    by_label = rsa.searchlight(trials, labelled, radius_mm=2.0).scores["m"]
    np.testing.assert_allclose(by_label, rsa.searchlight(trials, {"m": d}, radius_mm=2.0).scores["m"])
    with pytest.raises(DataError, match="different conditions"):
        rsa.searchlight(trials, rsa.RDMs(d, list("abce")), radius_mm=2.0)
