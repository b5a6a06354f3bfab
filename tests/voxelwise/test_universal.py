"""Voxel embeddings and functional clusters: the same planted tuning is the same place, in whomever it lies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.learning.randomness import seeded
from brainalign.learning.stacked import Scaled, Stacked, column_scales
from brainalign.trials import Trials
from brainalign.voxelwise import FunctionalClusters, UniversalEncoder
from brainalign.voxelwise.functional_clusters import unit_length
from brainalign.voxelwise.universal_network import UniversalNetwork

N_KINDS = 5


class Planted:
    """Pictures of 3 × 3 places with 6 features each; a kind of voxel reads one direction at one place."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.tokens = rng.standard_normal((260, 9, 6))
        self.places = np.array([0, 4, 4, 8, 2])
        self.readings = unit_length(rng.standard_normal((N_KINDS, 6)))

    def subject(self, seed: int, n_voxels: int, n_pictures: int = 200):
        rng = np.random.default_rng(seed)
        pictures, kinds = rng.permutation(200)[:n_pictures], rng.integers(0, N_KINDS, n_voxels)
        clean = self.responses(kinds)[pictures]
        return pictures, clean + 0.8 * rng.standard_normal(clean.shape), kinds

    def responses(self, kinds: np.ndarray) -> np.ndarray:
        return np.stack([self.tokens[:, self.places[kind]] @ self.readings[kind] for kind in kinds], axis=1)


@pytest.fixture(scope="module")
def fitted():
    planted = Planted()
    subjects = {name: planted.subject(seed, n) for seed, (name, n) in enumerate({"a": 50, "b": 40}.items())}
    model = UniversalEncoder(16, 32, training={"n_epochs": 50}).fit(
        {name: planted.tokens[one[0]] for name, one in subjects.items()},
        {name: one[1] for name, one in subjects.items()},
    )
    clusters = FunctionalClusters(N_KINDS, covariance="diag").fit(np.concatenate(list(model.embeddings_.values())))
    return planted, subjects, model, clusters


def test_the_same_tuning_in_two_subjects_is_one_cluster(fitted):
    _, subjects, _, clusters = fitted
    assert adjusted_rand_score(np.r_[subjects["a"][2], subjects["b"][2]], clusters.labels_) > 0.95


def test_responses_to_new_pictures_are_predicted_and_not_those_of_another_kind(fitted):
    planted, subjects, model, _ = fitted
    for name, (_, _, kinds) in subjects.items():
        truth, predicted = planted.responses(kinds)[200:], model.predict(planted.tokens[200:], name)
        correlations = np.corrcoef(truth.T, predicted.T)[: len(kinds), len(kinds) :]
        assert np.diag(correlations).mean() > 0.85
        assert abs(correlations[kinds[:, None] != kinds].mean()) < 0.2


def test_a_new_subject_joins_the_clusters_and_moves_nothing(fitted):
    planted, _, model, clusters = fitted
    pictures, responses, kinds = planted.subject(7, 40)
    before = {name: one.clone() for name, one in model.network_.state_dict().items()}
    joined = model.with_subject({"c": planted.tokens[pictures]}, {"c": responses})
    new = clusters.assign(joined.embeddings_["c"])
    old = clusters.labels_
    together = adjusted_rand_score(np.r_[kinds, fitted[1]["a"][2]], np.r_[new, old[:50]])
    assert together > 0.8
    for name, one in joined.network_.state_dict().items():
        assert name not in before or torch.equal(one, before[name])
    assert list(model.embeddings_) == ["a", "b"] and list(joined.embeddings_) == ["a", "b", "c"]
    with pytest.raises(DataError, match="fitted on already"):
        joined.with_subject({"c": planted.tokens[pictures]}, {"c": responses})


def test_latents_and_trials_pair_by_stimulus():
    rng = np.random.default_rng(0)
    latents = Latents(rng.standard_normal((30, 4)), [f"s{i}" for i in range(30)], space="toy")
    ids = np.array(latents.ids)[rng.permutation(30)]
    trials = Trials(latents.at(ids) @ rng.standard_normal((4, 5)), pd.DataFrame({"stimulus_id": ids}))
    by_id = UniversalEncoder(4, 8, training={"n_epochs": 3}).fit(latents, trials)
    by_row = UniversalEncoder(4, 8, training={"n_epochs": 3}).fit(latents.at(ids), trials.matrix())
    np.testing.assert_array_equal(by_id.embeddings_["1"], by_row.embeddings_["1"])


def test_the_network_is_that_of_a_loop():
    with seeded(0):
        network = UniversalNetwork((2, 2), 3, {"a": 5}, embedding=4, width=8)
        tokens, embeddings = torch.randn(2, 4, 3), torch.randn(5, 4)
    network.x_mean += 0.5
    made = network(tokens, embeddings)
    scaled = tokens - 0.5
    for picture in range(2):
        for voxel in range(5):
            e = embeddings[voxel]
            keys = [network.to_key.weight @ scaled[picture, t] + network.positions[t] for t in range(4)]
            weights = torch.stack([(network.to_query.weight @ e) @ key / 8**0.5 for key in keys]).softmax(dim=0)
            seen = sum(weights[t] * (network.to_value.weight @ scaled[picture, t]) for t in range(4))
            expected = (network.to_readout.weight @ e) @ seen + network.offset @ e
            torch.testing.assert_close(made[picture, voxel], expected)
    with seeded(0):
        single = UniversalNetwork((1, 1), 3, {"a": 5}, embedding=4, width=8)
    one = tokens[:, :1]
    looked = single.attention(one, embeddings) @ single.to_value(one)
    slow = (looked * single.to_readout(embeddings)).sum(-1) + embeddings @ single.offset
    torch.testing.assert_close(single(one, embeddings), slow)


def test_clusters_are_the_mixture_of_directions_and_new_voxels_take_the_nearest():
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((90, 5)) * rng.uniform(0.1, 9, (90, 1))
    clusters = FunctionalClusters(4, seed=3).fit(embeddings)
    directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    peer = GaussianMixture(4, covariance_type="full", reg_covar=1e-4, random_state=3).fit(directions)
    np.testing.assert_array_equal(clusters.labels_, peer.predict(directions))
    new = rng.standard_normal((20, 5))
    (found,) = NearestNeighbors(n_neighbors=1, metric="cosine").fit(embeddings).kneighbors(new)[1].T
    np.testing.assert_array_equal(clusters.nearest(new), found)
    np.testing.assert_array_equal(clusters.assign(new), clusters.labels_[found])
    with pytest.raises(DataError, match="another number of dimensions"):
        clusters.assign(new[:, :4])
    with pytest.raises(DataError, match="NaN"):
        clusters.fit(np.full((5, 2), np.nan))
    with pytest.raises(DataError, match="n_clusters"):
        FunctionalClusters(0).fit(embeddings)
    assert FunctionalClusters(99).fit(embeddings[:3]).n_clusters_ == 3
    assert FunctionalClusters(2).fit(np.zeros((6, 3))).labels_.shape == (6,)


def test_bad_input_is_refused(fitted):
    planted, _, model, _ = fitted
    x, y = planted.tokens[:20], np.zeros((20, 3))
    with pytest.raises(DataError, match="NaN or infinity"):
        UniversalEncoder().fit(x, np.full((20, 3), np.nan))
    with pytest.raises(DataError, match="differ in samples"):
        UniversalEncoder().fit(x, y[:-1])
    with pytest.raises(DataError, match="Latents with Trials"):
        UniversalEncoder().fit(Latents(x, range(20), space="t"), y)
    with pytest.raises(DataError, match="multiple of 4"):
        UniversalEncoder(width=6).fit(x, y)
    with pytest.raises(DataError, match="unknown subject 'z'"):
        model.predict(x, "z")
    with pytest.raises(DataError, match="grid or number of channels"):
        model.predict(x[:, :, :5])
    with pytest.raises(DataError, match="differ in grid"):
        UniversalEncoder().fit({"a": x, "b": x[:, :4]}, {"a": y, "b": y})


def test_stacked_rows_are_those_of_the_parts():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((6, 2, 3)), rng.standard_normal((4, 2, 5))
    both = Stacked([a, b])
    rows = np.array([9, 0, 6, 6])
    made = both[rows]
    np.testing.assert_allclose(made[0], b[3], rtol=1e-6)
    np.testing.assert_allclose(made[1, :, :3], a[0], rtol=1e-6)
    assert not made[1, :, 3:].any() and both.part[rows].tolist() == [1, 0, 1, 1]
    mean, scale = column_scales(a)
    np.testing.assert_allclose(Scaled(a, mean, scale)[np.arange(6)].std(axis=0), 1, atol=1e-5)
    with pytest.raises(DataError, match="number of dimensions"):
        Stacked([a, a[:, 0]])
