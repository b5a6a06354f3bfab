"""Brain-IT's cluster pooling at the published width and clusters, forward and backward, beside the plain scatter.

The peer does what a graph-attention layer does: it holds a token for every voxel of every sample and adds them up by
cluster. Ours uses that a voxel's token is its embedding times a number. Batches are a quarter of the published 64, so
that the peer fits a small machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from _harness import Arrays, Case, Side, main

N_SAMPLES, N_VOXELS, N_CLUSTERS, WIDTH = 16, 15000, 128, 512


def make(quick: bool) -> Arrays:
    """Activations, embeddings, clusters of unequal size, and the weights of the layer."""
    n_voxels, width = (N_VOXELS // 10, WIDTH // 8) if quick else (N_VOXELS, WIDTH)
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(N_CLUSTERS, 2.0))
    return {
        "activations": rng.standard_normal((N_SAMPLES, n_voxels), dtype=np.float32),
        "embeddings": rng.standard_normal((n_voxels, width), dtype=np.float32),
        "clusters": rng.choice(N_CLUSTERS, n_voxels, p=shares),
        "value": rng.standard_normal((width, width), dtype=np.float32) / np.float32(np.sqrt(width)),
        "score": rng.standard_normal(width, dtype=np.float32) / np.float32(width),
    }


def pooling(name: str, by_scatter: bool) -> Side:
    """One forward and backward pass."""

    def prepare() -> Callable[[Arrays], Arrays]:
        import torch
        from torch.nn import functional

        from brainalign.learning.segments import ClusterPool, segment_softmax

        def plain(pool: ClusterPool, x: torch.Tensor, e: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
            tokens = x[:, :, None] * (e @ pool.value.weight.T)
            scores = functional.leaky_relu(tokens @ pool.from_voxel + pool.from_cluster[clusters], 0.2)
            weights = segment_softmax(scores, clusters, N_CLUSTERS)
            empty = tokens.new_zeros(len(x), N_CLUSTERS, tokens.shape[2])
            return empty.index_add(1, clusters, weights[:, :, None] * tokens) + pool.bias

        def run(data: Arrays) -> Arrays:
            pool = ClusterPool(N_CLUSTERS, data["embeddings"].shape[1])
            with torch.no_grad():
                pool.value.weight.copy_(torch.from_numpy(data["value"]))
                pool.from_voxel.copy_(torch.from_numpy(data["score"]))
                pool.bias.zero_()
            embeddings = torch.from_numpy(data["embeddings"].copy()).requires_grad_()
            activations, clusters = torch.from_numpy(data["activations"].copy()), torch.from_numpy(data["clusters"])
            pooled = (plain if by_scatter else ClusterPool.__call__)(pool, activations, embeddings, clusters)
            pooled.square().mean().backward()
            return {"pooled": pooled.detach().numpy(), "gradient": embeddings.grad.numpy()}

        return run

    return Side(name, prepare)


def compare(mine: Arrays, theirs: Arrays) -> float:
    """Largest difference of tokens and gradients, each relative to its largest value."""
    return max(float(np.abs(mine[name] - theirs[name]).max() / np.abs(theirs[name]).max()) for name in mine)


CASES = [Case("cluster_pool", make, pooling("ClusterPool", False), pooling("scatter of tokens", True), compare)]

if __name__ == "__main__":
    main(CASES, str(Path(__file__)))
