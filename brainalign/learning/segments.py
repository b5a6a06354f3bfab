"""Pooling of voxels into clusters by a softmax inside each cluster, from scatter operations alone."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ClusterPool", "segment_softmax"]


def segment_softmax(scores: torch.Tensor, segments: torch.Tensor, n_segments: int) -> torch.Tensor:
    """Softmax over the last axis, inside each segment.

    Parameters
    ----------
    scores : tensor, shape (..., n)
    segments : tensor of int, shape (n,)
        Segment of each entry, 0 ... n_segments - 1, in any order; a segment may be empty.
    n_segments : int

    Returns
    -------
    tensor, shape (..., n)
        The entries of each segment sum to one.

    Examples
    --------
    >>> segment_softmax(torch.zeros(3), torch.tensor([0, 1, 0]), 2)
    tensor([0.5000, 1.0000, 0.5000])
    """
    index = segments.expand_as(scores)
    top = scores.new_full((*scores.shape[:-1], n_segments), -math.inf)
    top = top.scatter_reduce(-1, index, scores.detach(), reduce="amax")
    weights = (scores - top.gather(-1, index)).exp()
    total = torch.zeros_like(top).scatter_add(-1, index, weights)
    return weights / total.gather(-1, index)


class ClusterPool(nn.Module):
    """Voxels to one token per cluster, by graph attention with one head from voxels to the cluster they belong to.

    A voxel's token is its embedding times its activation, x_v e_v. Cluster c becomes ``b_c + sum_v a_v x_v W e_v`` over
    its own voxels, with ``a = softmax_v(LeakyReLU(s · x_v W e_v + t_c))`` (Velickovic et al. 2018, eqs. 1-4, with a
    learned node per cluster). Since activations are scalars, the sum is one product a cluster, and tokens of every
    voxel in every sample are never held. An empty cluster gives its own bias.

    Parameters
    ----------
    n_clusters : int
    width : int
        Channels of embeddings and tokens.

    Examples
    --------
    >>> pool = ClusterPool(n_clusters=4, width=8)
    >>> activations, embeddings = torch.randn(2, 30), torch.randn(30, 8)
    >>> pool(activations, embeddings, torch.arange(30) % 4).shape
    torch.Size([2, 4, 8])
    """

    no_weight_decay = frozenset({"bias"})

    def __init__(self, n_clusters: int, width: int) -> None:
        super().__init__()
        self.n_clusters = n_clusters
        self.value = nn.Linear(width, width, bias=False)
        self.from_voxel = nn.Parameter(torch.randn(width) / width)
        self.from_cluster = nn.Parameter(torch.zeros(n_clusters))
        # Without it, the layer norm that follows would leave only the sign of a cluster's response.
        self.bias = nn.Parameter(torch.randn(n_clusters, width) / math.sqrt(width))

    def forward(self, activations: torch.Tensor, embeddings: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
        """Tokens (n, n_clusters, width) from activations (n, n_voxels), embeddings (n_voxels, width) and clusters."""
        order = torch.argsort(clusters, stable=True)
        values, activations, clusters = self.value(embeddings[order]), activations[:, order], clusters[order]
        weights = self._attention(activations, values, clusters) * activations
        sizes = torch.bincount(clusters, minlength=self.n_clusters).tolist()
        parts = zip(weights.split(sizes, dim=1), values.split(sizes), strict=True)
        return torch.stack([weight @ value for weight, value in parts], dim=1) + self.bias

    def attention(self, activations: torch.Tensor, embeddings: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
        """Weight of each voxel in its cluster, (n, n_voxels)."""
        return self._attention(activations, self.value(embeddings), clusters)

    def _attention(self, activations: torch.Tensor, values: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
        scores = functional.leaky_relu(activations * (values @ self.from_voxel) + self.from_cluster[clusters], 0.2)
        return segment_softmax(scores, clusters, self.n_clusters)
