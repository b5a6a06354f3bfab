"""The brain-interaction transformer: voxels to cluster tokens, cluster tokens to the tokens of a latent space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from brainalign.learning.segments import ClusterPool

__all__ = ["BrainITNetwork", "Branch", "Shape"]


@dataclass(frozen=True)
class Shape:
    """Sizes of a `Branch`.

    Parameters
    ----------
    n_clusters, width, embedding, n_self, n_cross, n_heads, dropout
        As in `brainalign.encoders.BrainIT`.
    """

    n_clusters: int
    width: int
    embedding: int
    n_self: int
    n_cross: int
    n_heads: int
    dropout: float = 0.0


class _Block(nn.Module):
    """Attention and a feed-forward layer with norms before them; to itself, or to a memory where one is given."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape.width)
        self.attention = nn.MultiheadAttention(shape.width, shape.n_heads, dropout=shape.dropout, batch_first=True)
        self.dropout = nn.Dropout(shape.dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(shape.width),
            nn.Linear(shape.width, 4 * shape.width),
            nn.GELU(),
            nn.Linear(4 * shape.width, shape.width),
            nn.Dropout(shape.dropout),
        )

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        query = self.norm(x)
        memory = query if memory is None else memory
        x = x + self.dropout(self.attention(query, memory, memory, need_weights=False)[0])
        return x + self.feed_forward(x)


class _GatedRead(nn.Module):
    """Channels of a token from its content, through gates that its query sets: ``out(into(norm(x)) * gate(query))``.

    Different tokens read different things from the same brain. With one linear read-out for all, a query could ask for
    them only by where it attends and through the feed-forward layers, and learning stalled: on 100 trials, 49 tokens
    that follow each its own direction stayed near chance for as long as one vector of them all took to be learnt.
    Sharper attention or longer queries do not help there, and a read-out for each token (too large for thousands) does.
    """

    def __init__(self, width: int, n_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, 4 * width)
        self.gate = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width))
        self.out = nn.Linear(4 * width, n_channels)

    def forward(self, tokens: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        return self.out(self.into(self.norm(tokens)) * self.gate(queries))


class _Read(nn.Sequential):
    """The read-out of a single token, which has nothing to be told from."""

    def __init__(self, width: int, n_channels: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, n_channels))

    def forward(self, tokens: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        return super().forward(tokens)


class Branch(nn.Module):
    """One latent space: its own embedding of every voxel, cluster tokens, and a learned query for each token.

    Cluster tokens attend to each other in `n_self` blocks, then the queries attend to them in `n_cross` blocks.
    Queries do not attend to each other, so any part of the tokens can be predicted by itself: training takes a sample
    of thousands, and prediction goes in blocks.

    Parameters
    ----------
    shape : Shape
    n_tokens, n_channels : int
        Of the latent space.
    """

    no_weight_decay = frozenset({"queries"})

    def __init__(self, shape: Shape, n_tokens: int, n_channels: int) -> None:
        super().__init__()
        self.width = shape.width
        self.pool = ClusterPool(shape.n_clusters, shape.width)
        self.norm = nn.LayerNorm(shape.width)
        self.places = nn.Parameter(torch.randn(shape.n_clusters, shape.width) / math.sqrt(shape.width))
        self.among_clusters = nn.ModuleList(_Block(shape) for _ in range(shape.n_self))
        self.memory_norm = nn.LayerNorm(shape.width)
        self.queries = nn.Parameter(torch.randn(n_tokens, shape.width) / math.sqrt(shape.width))
        self.to_clusters = nn.ModuleList(_Block(shape) for _ in range(shape.n_cross))
        self.read = (_GatedRead if n_tokens > 1 else _Read)(shape.width, n_channels)
        self.embeddings = nn.ParameterList()
        # Voxels of one function begin alike, in every subject; learning takes them apart where that helps.
        self.register_buffer("start", torch.randn(shape.embedding, shape.width) / math.sqrt(shape.embedding))
        self.register_buffer("mean", torch.zeros(n_tokens, n_channels))
        self.register_buffer("spread", torch.ones(n_tokens, 1))

    def add_subject(self, embeddings: torch.Tensor) -> None:
        """Voxel embeddings (n_voxels, width) of one more subject."""
        self.embeddings.append(nn.Parameter(embeddings.clone()))

    def clusters_of(
        self,
        activations: torch.Tensor,
        subject: int,
        clusters: torch.Tensor,
        chosen: torch.Tensor | slice = slice(None),
    ) -> torch.Tensor:
        """Refined cluster tokens (n, n_clusters, width) from activations (n, n_voxels), of some voxels or all."""
        pooled = self.pool(activations[:, chosen], self.embeddings[subject][chosen], clusters[chosen])
        tokens = self.norm(torch.relu(pooled)) + self.places
        for block in self.among_clusters:
            tokens = block(tokens)
        return self.memory_norm(tokens)

    def tokens_from(self, memory: torch.Tensor, which: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Latent tokens (n, n_asked, n_channels), scaled, from refined cluster tokens; all, or those asked for."""
        queries = self.queries[which]
        tokens = queries.expand(len(memory), -1, -1)
        for block in self.to_clusters:
            tokens = block(tokens, memory)
        return self.read(tokens, queries)


class BrainITNetwork(nn.Module):
    """A `Branch` for each latent space, on clusters that they share.

    Parameters
    ----------
    shape : Shape
    targets : mapping of str to (n_tokens, n_channels)
    """

    def __init__(self, shape: Shape, targets: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        self.shape = shape
        self.names = list(targets)  # of any characters, so not the names of modules
        self.branches = nn.ModuleList(Branch(shape, *size) for size in targets.values())
        self.n_subjects = 0

    def add_subject(self, clusters: torch.Tensor, embeddings: torch.Tensor | Sequence[torch.Tensor]) -> None:
        """One more subject.

        Parameters
        ----------
        clusters : tensor of int, shape (n_voxels,)
        embeddings : tensor (n_voxels, embedding), or a list of tensors (n_voxels, width)
            Universal embeddings, which each branch projects at random to begin with; or those to begin with in each.
        """
        for number, branch in enumerate(self.branches):
            if isinstance(embeddings, torch.Tensor):
                branch.add_subject(embeddings @ branch.start)
            else:
                branch.add_subject(embeddings[number])
        self.register_buffer(f"clusters{self.n_subjects}", clusters.clone())
        self.n_subjects += 1

    def scale_start(self, length: torch.Tensor) -> None:
        """Let universal embeddings of this root mean square begin as embeddings of one."""
        for branch in self.branches:
            branch.start /= torch.where(length > 0, length, torch.ones_like(length))

    def starting_from(self, voxels: Any, difference: torch.Tensor) -> list[torch.Tensor]:
        """For each branch, the embeddings of known voxels, moved by how far universal embeddings lie from theirs.

        Parameters
        ----------
        voxels : array of int, shape (n_new,)
            Counted over the subjects in their order.
        difference : tensor (n_new, embedding)
        """
        known = [torch.cat(list(branch.embeddings)).detach()[voxels] for branch in self.branches]
        return [one + difference @ branch.start for one, branch in zip(known, self.branches, strict=True)]

    def clusters(self, subject: int) -> torch.Tensor:
        """Cluster of each voxel of a subject."""
        return getattr(self, f"clusters{subject}")

    def branch(self, name: str) -> Branch:
        """The branch of a latent space."""
        return self.branches[self.names.index(name)]
