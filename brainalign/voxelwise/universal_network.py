"""The network behind `UniversalEncoder`: all voxels of all subjects through one set of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from brainalign.voxelwise.query_network import sine_positions

__all__ = ["UniversalNetwork"]


class UniversalNetwork(nn.Module):
    """Tokens to the responses of any voxel, told by an embedding of it.

    With tokens x_t standardised per channel and the embedding e_v of a voxel, ``a_vt = softmax_t(<Q e_v, K x_t + p_t> /
    sqrt(width))`` says where it looks, ``z_v = sum_t a_vt V x_t`` what is there, and its response is ``<R e_v, z_v> +
    <u, e_v>``. Q, K, V, R and u are shared, so that an embedding is all that is one voxel's own: voxels that do the
    same have the same embedding, whoever they belong to. Embeddings start at zero: whatever part of one the responses
    say nothing about stays there.

    Parameters
    ----------
    grid : (int, int)
        Of the tokens.
    n_channels : int
    n_voxels : mapping of str to int
        Of each subject.
    embedding, width : int
        Dimensions of an embedding; channels of keys and values, a multiple of 4.
    """

    def __init__(
        self, grid: tuple[int, int], n_channels: int, n_voxels: Mapping[str, int], *, embedding: int, width: int
    ) -> None:
        super().__init__()
        self.width = width
        self.embedding = embedding
        self.to_query = nn.Linear(embedding, width, bias=False)
        self.to_key = nn.Linear(n_channels, width, bias=False)
        self.to_value = nn.Linear(n_channels, width, bias=False)
        self.to_readout = nn.Linear(embedding, width, bias=False)
        self.offset = nn.Parameter(torch.randn(embedding) / math.sqrt(embedding))
        self.register_buffer("x_mean", torch.zeros(n_channels))
        self.register_buffer("x_scale", torch.ones(n_channels))
        self.register_buffer("positions", sine_positions(grid, width))
        # Subjects may be called anything, and names of parameters may not.
        self.subjects: list[str] = []
        self.embeddings = nn.ParameterList()
        for subject, n in n_voxels.items():
            self.add_subject(subject, n)

    def add_subject(self, subject: str, n_voxels: int) -> None:
        """Room for the voxels of one more subject."""
        self.subjects.append(subject)
        self.embeddings.append(nn.Parameter(torch.zeros(n_voxels, self.embedding)))

    def of_subject(self, subject: str) -> torch.Tensor:
        """Embeddings (n_voxels, embedding) of a subject's voxels."""
        return self.embeddings[self.subjects.index(subject)]

    def forward(self, tokens: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Responses (n, n_voxels) in SD to tokens (n, n_tokens, n_channels)."""
        tokens = (tokens - self.x_mean) / self.x_scale
        values, readout = self.to_value(tokens), self.to_readout(embeddings)
        if tokens.shape[1] == 1:  # nowhere else to look
            routed = values @ readout.T
            return routed[:, 0] + embeddings @ self.offset
        looked = self._attention(tokens, embeddings) @ values
        return (looked * readout).sum(dim=-1) + embeddings @ self.offset

    def attention(self, tokens: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Where voxels look, (n, n_voxels, n_tokens)."""
        return self._attention((tokens - self.x_mean) / self.x_scale, embeddings)

    def _attention(self, tokens: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        keys = self.to_key(tokens) + self.positions
        return functional.softmax(self.to_query(embeddings) @ keys.transpose(1, 2) / math.sqrt(self.width), dim=-1)
