"""Topological RSA against the equations, networkx and loops; identification of regions under distortion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata, spearmanr

from brainalign.analysis.rsa.dependence import adaptive_dependence
from brainalign.analysis.rsa.regions import identify_regions
from brainalign.analysis.rsa.topology import rgdm, rgtm, threshold_grid
from brainalign.errors import DataError

RNG = np.random.default_rng(0)
D = RNG.random((3, 66))


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("low, high", [(0.2, 0.8), (0.0, 1.0), (0.45, 0.55)])
def test_rgtm_equals_the_equation_and_leaves_its_input(ranked, low, high) -> None:
    before = D.copy()
    found = rgtm(D, low=low, high=high, ranked=ranked)
    for row, d in zip(found, D):
        x = rankdata(d) if ranked else d
        x = (x - x.min()) / (x.max() - x.min())
        lower, upper = np.quantile(x, low), np.quantile(x, high)
        np.testing.assert_allclose(row, np.clip((x - lower) / (upper - lower), 0, 1), atol=1e-12)
    np.testing.assert_array_equal(D, before)


def test_rgtm_is_per_rdm_and_rsatoolbox_is_not() -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    transform = pytest.importorskip("rsatoolbox.rdm.transform").geotopological_transform
    alone = np.stack([rgtm(d, ranked=False) for d in D])
    np.testing.assert_array_equal(rgtm(D, ranked=False), alone)
    peer = transform(toolbox.rdm.RDMs(D * [[0.1], [0.5], [1.0]]), low=0.2, up=0.8)
    assert np.abs(peer.dissimilarities - alone).max() > 0.1


def test_rgtm_limits() -> None:
    assert spearmanr(rgtm(D[0], low=0, high=1), D[0])[0] == pytest.approx(1)
    assert set(np.unique(rgtm(D, low=0.5, high=0.5))) == {0.0, 1.0}
    np.testing.assert_allclose(rgtm(D**3), rgtm(D), atol=1e-12)
    assert not np.allclose(rgtm(D**3, ranked=False), rgtm(D, ranked=False))
    assert np.isnan(rgtm(np.ones(6))).all()
    assert threshold_grid().shape == (210, 2)
    with pytest.raises(DataError, match="low <= high"):
        rgtm(D, low=0.6, high=0.4)
    with pytest.raises(DataError, match="3 or more conditions"):
        rgtm([1.0])
    with pytest.raises(DataError, match="NaN"):
        rgtm([1.0, np.nan, 2.0])
    with pytest.raises(DataError, match="no graph"):
        rgdm(np.ones(6))


@pytest.mark.parametrize("high, n_neighbours", [(0.3, None), (0.1, None), (0.6, 2)])
def test_geodesics_equal_networkx(high, n_neighbours) -> None:
    networkx = pytest.importorskip("networkx")
    found = rgdm(D, high=high, n_neighbours=n_neighbours)
    for d, geodesic, n_apart in zip(D, found.distances, found.n_disconnected):
        length, near = squareform(rgtm(d, low=0.0, high=high)), squareform(d)
        graph = networkx.Graph()
        graph.add_nodes_from(range(12))
        for i in range(12):
            for j in range(12):
                first = n_neighbours is None or j in np.argsort(near[i])[1 : n_neighbours + 1]
                if i != j and first and length[i, j] < 1:
                    graph.add_edge(i, j, weight=length[i, j])
        paths = networkx.floyd_warshall_numpy(graph)[np.triu_indices(12, 1)]
        finite = np.isfinite(paths)
        assert n_apart == np.sum(~finite)
        np.testing.assert_allclose(geodesic[finite], paths[finite], atol=1e-12)
        np.testing.assert_allclose(geodesic[~finite], paths[finite].max(), atol=1e-12)


def test_adaptive_map_equals_loops() -> None:
    first, second = RNG.random(45), RNG.random(45)
    result = adaptive_dependence(first, second, step=0.5, n_permutations=5)
    centre = np.eye(10) - 0.1
    for i, (low, high) in enumerate(threshold_grid(0.5)):
        for j, (low2, high2) in enumerate(threshold_grid(0.5)):
            a, b = (
                centre
                @ squareform(np.clip((d - np.quantile(d, down)) / (np.quantile(d, up) - np.quantile(d, down)), 0, 1))
                @ centre
                for d, down, up in ((first, low, high), (second, low2, high2))
            )
            expected = np.sqrt(abs(np.sum(a * b)) / np.linalg.norm(a) / np.linalg.norm(b))
            assert result.map[i, j] == pytest.approx(expected, abs=1e-12)
    assert result.statistic == result.map.max()


def test_dependence_is_found_and_independence_is_not() -> None:
    p_circle, p_none = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        angle = rng.uniform(0, 2 * np.pi, 25)
        x = np.cos(angle) + 0.1 * rng.normal(size=25)
        y = np.sin(angle) + 0.1 * rng.normal(size=25)
        alone = rng.normal(size=25)
        if seed < 5:
            p_circle.append(adaptive_dependence(pdist(x[:, None]), pdist(y[:, None]), n_permutations=99).p)
        p_none.append(adaptive_dependence(pdist(x[:, None]), pdist(alone[:, None]), n_permutations=39, seed=seed).p)
    assert np.median(p_circle) <= 0.05
    assert np.mean(np.array(p_none) <= 0.05) <= 0.15
    with pytest.raises(DataError, match="same samples"):
        adaptive_dependence(D[0], np.arange(45.0))


def simulated_regions(seed: int, distort: bool) -> np.ndarray:
    """RDMs of 6 individuals and 4 regions; each individual's distances through a monotone map of its own."""
    rng = np.random.default_rng(seed)
    shared = [rng.normal(size=(14, 4)) for _ in range(4)]
    rdms = np.empty((6, 4, 91))
    for subject in range(6):
        for region in range(4):
            d = pdist(shared[region] + 0.75 * rng.normal(size=(14, 4)))
            bend = rng.uniform(-5, 5)
            rdms[subject, region] = np.expm1(bend * d) / bend if distort else d
    return rdms


def test_identification_equals_a_loop() -> None:
    rdms = RNG.random((4, 3, 28)) + 0.7 * RNG.random((1, 3, 28))
    for method in ("pearson", "euclidean"):
        found = identify_regions(rdms, method=method, regions=["V1", "V4", "IT"])
        confusion = np.zeros((3, 3))
        for s in range(4):
            for r in range(3):
                unit = rdms
                if method == "pearson":
                    unit = rdms - rdms.mean(axis=2, keepdims=True)
                    unit = unit / np.linalg.norm(unit, axis=2, keepdims=True)
                centroids = np.delete(unit, s, axis=0).mean(axis=0)
                if method == "pearson":
                    near = [np.corrcoef(unit[s, r], c)[0, 1] for c in centroids]
                else:
                    near = [-np.linalg.norm(unit[s, r] - c) for c in centroids]
                confusion[r, int(np.argmax(near))] += 0.25
        np.testing.assert_allclose(found.confusion, confusion)
        assert found.accuracy == pytest.approx(np.trace(confusion) / 3)
        wrong = [confusion[[o for o in range(3) if o != r], r].mean() for r in range(3)]
        np.testing.assert_allclose(found.table()["specificity"], 1 - np.array(wrong))
        np.testing.assert_allclose(found.sensitivity, np.diag(confusion))


def test_topology_identifies_regions_better_under_monotone_distortion() -> None:
    plain, topological, undistorted = [], [], []
    for seed in range(12):
        rdms = simulated_regions(seed, distort=True)
        plain.append(identify_regions(rdms).accuracy)
        topological.append(identify_regions(rgtm(rdms, low=0.2, high=0.6)).accuracy)
        undistorted.append(identify_regions(rgdm(simulated_regions(seed, distort=False), high=0.5).distances).accuracy)
    assert np.mean(topological) > np.mean(plain) + 0.1
    assert np.mean(undistorted) > 0.6


def curled_regions(seed: int) -> np.ndarray:
    """Regions with much the same order of stimuli on a line, which every individual curls and bends in its own way."""
    rng = np.random.default_rng(seed)
    places = np.clip(rng.uniform(size=24) + 0.04 * rng.normal(size=(4, 24)), 0, 1)
    rdms = np.empty((6, 4, 276))
    for subject in range(6):
        turns = rng.uniform(0.1, 0.9)
        for region, place in enumerate(places):
            angle = 2 * np.pi * turns * place
            line = np.column_stack([np.cos(angle), np.sin(angle)]) / (2 * np.pi * turns)
            d = pdist(line + 0.02 * rng.normal(size=(24, 2)))
            bend = rng.uniform(-5, 5)
            rdms[subject, region] = np.expm1(bend * d) / bend
    return rdms


def test_both_families_identify_curled_regions_better_than_distances() -> None:
    plain, clipped, geodesic = [], [], []
    for seed in range(10):
        rdms = curled_regions(seed)
        plain.append(identify_regions(rdms).accuracy)
        clipped.append(identify_regions(rgtm(rdms)).accuracy)
        geodesic.append(identify_regions(rgdm(rdms, high=0.4).distances).accuracy)
    assert np.mean(plain) > 0.5
    assert np.mean(clipped) > np.mean(plain) + 0.08
    assert np.mean(geodesic) > np.mean(plain) + 0.05


def test_shuffled_regions_are_identified_at_chance() -> None:
    accuracy = []
    for seed in range(12):
        rdms = simulated_regions(seed, distort=False)
        mixed = np.stack([s[np.random.default_rng(100 * seed + i).permutation(4)] for i, s in enumerate(rdms)])
        accuracy.append(identify_regions(rgtm(mixed)).accuracy)
    assert abs(np.mean(accuracy) - 0.25) < 0.12
    with pytest.raises(DataError, match="n_subjects >= 2"):
        identify_regions(rdms[:1])
    with pytest.raises(DataError, match="euclidean"):
        identify_regions(rdms, method="kendall")
    with pytest.raises(DataError, match="name every region"):
        identify_regions(rdms, regions=["a"])
