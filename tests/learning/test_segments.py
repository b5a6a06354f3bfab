"""Segment softmax and cluster pooling against loops over samples, clusters and voxels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from brainalign.learning.randomness import seeded
from brainalign.learning.segments import ClusterPool, segment_softmax


@pytest.fixture
def pool():
    with seeded(0):
        made = ClusterPool(n_clusters=5, width=6)
        with torch.no_grad():
            made.from_cluster.normal_()
            made.from_voxel.normal_()
        clusters = torch.tensor([3, 0, 3, 1, 4, 0, 0, 1, 3, 3, 4])  # 2 is empty
        return made, torch.randn(4, 11), torch.randn(11, 6), clusters


def test_softmax_is_that_of_a_loop_over_segments():
    with seeded(0):
        scores, segments = 3 * torch.randn(7, 40), torch.randint(0, 6, (40,))
    segments[segments == 2] = 1
    made = segment_softmax(scores, segments, 6)
    for segment in range(6):
        members = segments == segment
        torch.testing.assert_close(made[:, members], scores[:, members].softmax(dim=1))


def test_softmax_survives_scores_that_overflow():
    made = segment_softmax(torch.tensor([1e4, 1e4, -1e4, 500.0]), torch.tensor([0, 0, 1, 1]), 2)
    torch.testing.assert_close(made, torch.tensor([0.5, 0.5, 0.0, 1.0]))


def test_pooling_is_that_of_a_loop_over_voxels(pool):
    module, activations, embeddings, clusters = pool
    expected = torch.zeros(4, 5, 6)
    for sample in range(4):
        for cluster in range(5):
            members = [voxel for voxel in range(11) if clusters[voxel] == cluster]
            tokens = [module.value.weight @ (activations[sample, v] * embeddings[v]) for v in members]
            scores = [
                functional.leaky_relu(module.from_voxel @ token + module.from_cluster[cluster], 0.2) for token in tokens
            ]
            total = sum(score.exp() for score in scores)
            for token, score in zip(tokens, scores, strict=True):
                expected[sample, cluster] += score.exp() / total * token
            expected[sample, cluster] += module.bias[cluster]
    torch.testing.assert_close(module(activations, embeddings, clusters), expected)


def test_an_empty_cluster_is_its_bias_and_the_order_of_voxels_does_not_matter(pool):
    module, activations, embeddings, clusters = pool
    made = module(activations, embeddings, clusters)
    torch.testing.assert_close(made[:, 2], module.bias[2].expand(4, 6))
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(activations[:, order], embeddings[order], clusters[order]), made)
    weights = module.attention(activations, embeddings, clusters)
    sums = torch.zeros(4, 5).index_add(1, clusters, weights)
    torch.testing.assert_close(sums, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0]).expand(4, 5))


def test_gradients_are_those_of_finite_differences(pool):
    module, activations, embeddings, clusters = pool
    module.double()
    inputs = (activations.double().requires_grad_(), embeddings.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda x, e: module(x, e, clusters), inputs)
