"""The network of `UnifiedEncoder`: a head for each modality, experts that all share, one latent space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from brainalign.encoders.ephys.network import SignalNetwork
from brainalign.errors import DataError, unknown
from brainalign.learning.adapters import SubjectAdapters
from brainalign.learning.blocks import ResidualMLP
from brainalign.learning.networks import TSConvNetwork

__all__ = ["Recording", "UnifiedNetwork"]


@dataclass(frozen=True)
class Recording:
    """Of one subject: its modality, and its channels by times (voxels have no times)."""

    modality: str
    n_units: int
    n_times: int | None

    @property
    def n_flat(self) -> int:
        return self.n_units * (self.n_times or 1)


class LowRank(nn.Module):
    """Voxels of each subject to a few components of its own, then to the width of all by a map of the modality."""

    def __init__(self, rank: int, width: int) -> None:
        super().__init__()
        self.maps, self.outward = SubjectAdapters({}, rank), nn.Linear(rank, width)

    def forward(self, x: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
        return self.outward(self.maps(x, subject))


class SignalHead(nn.Module):
    """Channels of each subject to as many for all, then filters in time and over channels."""

    def __init__(self, n_fused: int, n_times: int, width: int, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        body = TSConvNetwork(n_fused, n_times, **sizes)
        self.network = SignalNetwork(body, {}, {}, (n_fused, n_times), adapter="channels")
        self.outward = nn.Linear(body.width, width)

    @property
    def maps(self) -> SubjectAdapters:
        made = self.network.maps
        assert made is not None
        return made

    def forward(self, x: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
        return self.outward(self.network.features(x, subject))


class UnifiedNetwork(nn.Module):
    """Responses of any modality to one latent space, and from there to targets.

    Parameters
    ----------
    recordings : mapping of str to Recording
        Of each subject, in the order of their numbers.
    n_out : mapping of str to int
        Outputs of each target.
    sizes : mapping
        width, rank, n_fused, n_experts, n_blocks, dropout, and signal (of `TSConvNetwork`).

    Raises
    ------
    DataError
        When recordings of one modality differ in kind or times.
    """

    def __init__(self, recordings: Mapping[str, Recording], n_out: Mapping[str, int], sizes: Mapping[str, Any]) -> None:
        super().__init__()
        self.sizes, self.subjects = dict(sizes), dict[str, Recording]()
        width, n_experts = sizes["width"], sizes["n_experts"]
        self.modalities: dict[str, int | None] = {}
        self.heads = nn.ModuleDict()
        for name, recording in recordings.items():
            if recording.modality not in self.heads:
                self.modalities[recording.modality] = recording.n_times
                self.heads[recording.modality] = self._head(recording.n_times)
            self.join(name, recording)
        self.norm = nn.LayerNorm(width)
        self.router = nn.Linear(width, n_experts)
        self.experts = nn.ModuleList(
            [ResidualMLP(width, sizes["n_blocks"], sizes["dropout"]) for _ in range(n_experts)]
        )
        self.names = tuple(n_out)
        self.outward = nn.ModuleList([nn.Linear(width, n) for n in n_out.values()])

    def _head(self, n_times: int | None) -> nn.Module:
        if n_times is None:
            return LowRank(self.sizes["rank"], self.sizes["width"])
        return SignalHead(self.sizes["n_fused"], n_times, self.sizes["width"], self.sizes["signal"])

    def join(self, name: str, recording: Recording) -> None:
        """Give a further subject its map into the head of its modality."""
        if recording.modality not in self.modalities:
            raise unknown("modality", recording.modality, self.modalities, fix="fit with a subject of this modality")
        n_times = self.modalities[recording.modality]
        if recording.n_times != n_times:
            raise DataError(
                f"'{name}' has other times than the others of modality '{recording.modality}'",
                expected=f"{n_times} times",
                found=f"{recording.n_times} times",
                fix="resample and cut all of them alike, or name another modality",
            )
        self.subjects[name] = recording
        head: Any = self.heads[recording.modality]
        if n_times is None:
            head.maps.add_subject(name, recording.n_units)
        else:
            head.network.add_subject(name, recording.n_flat)

    def own(self, subject: str) -> nn.Module:
        """What belongs to one subject alone."""
        head: Any = self.heads[self.subjects[subject].modality]
        return head.maps.of(subject)

    def features(self, x: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
        """The latent space of all modalities, (n, width)."""
        made = x.new_zeros(len(x), self.sizes["width"])
        names = list(self.subjects)
        for modality, head in self.heads.items():
            members = [number for number, name in enumerate(names) if self.subjects[name].modality == modality]
            rows = torch.isin(subject, torch.tensor(members, device=x.device)).nonzero()[:, 0]
            if not len(rows):
                continue
            local = torch.zeros(len(names), dtype=torch.long, device=x.device)
            local[members] = torch.arange(len(members), device=x.device)
            n_flat = max(self.subjects[names[number]].n_flat for number in members)
            made = made.index_add(0, rows, head(x[rows, :n_flat], local[subject[rows]]).to(made.dtype))
        made = self.norm(made)
        gains = self.router(made).softmax(dim=1)
        return sum(gains[:, [k]] * expert(made) for k, expert in enumerate(self.experts))  # type: ignore[return-value]

    def forward(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.features(x, subject)
        return {name: layer(features) for name, layer in zip(self.names, self.outward, strict=True)}
