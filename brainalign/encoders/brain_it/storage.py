"""`BrainIT` as arrays and plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from brainalign.encoders.brain_it.targets import TokenTarget
from brainalign.encoders.provenance import Provenance
from brainalign.errors import DataError

__all__ = ["notes_of", "restore", "state_of", "take_notes"]


def notes_of(encoder: Any) -> dict[str, Any]:
    """Plain data. Mappings are written in the order of their keys, so those whose order counts become lists."""
    return {
        "subjects": [[name, one.to_dict()] for name, one in encoder.provenances_.items()],
        "targets": [[name, list(target.sizes)] for name, target in encoder.targets_.items()],
        "grid": encoder.voxels_.grid_,
        "n_channels": encoder.voxels_.n_channels_,
    }


def take_notes(encoder: Any, notes: Mapping[str, Any]) -> None:
    """The reverse of `notes_of`."""
    shapes = encoder.target_shapes_
    encoder.provenances_ = {name: Provenance.from_dict(plain) for name, plain in notes["subjects"]}
    encoder.targets_ = {
        name: TokenTarget(shapes[name], tuple(sizes), encoder.whole) for name, sizes in notes["targets"]
    }
    encoder.voxels_.grid_, encoder.voxels_.n_channels_ = tuple(notes["grid"]), int(notes["n_channels"])


def state_of(encoder: Any) -> dict[str, np.ndarray]:
    """Weights of both networks, the clusters, and the scale of every voxel."""
    clusters = encoder.clusters_
    made = {"clusters/labels": clusters.labels_, "clusters/directions": clusters.directions_}
    for part, network in (("network", encoder.network_), ("voxels", encoder.voxels_.network_)):
        made |= {f"{part}/{name}": value.numpy() for name, value in network.state_dict().items()}
    for number, (mean, scale) in enumerate(encoder.voxels_.scales_.values()):
        made |= {f"scales/{number}/mean": mean, f"scales/{number}/scale": scale}
    return made


def restore(encoder: Any, state: Mapping[str, np.ndarray]) -> None:
    """The reverse of `state_of`, into networks of the sizes that the notes tell."""
    voxels, clusters = encoder.voxels_, encoder.clusters_
    voxels.scales_ = {
        name: (state[f"scales/{number}/mean"], state[f"scales/{number}/scale"])
        for number, name in enumerate(encoder.provenances_)
    }
    voxels.network_ = voxels.blank_network()
    clusters.labels_, clusters.directions_ = state["clusters/labels"], state["clusters/directions"]
    clusters.n_clusters_ = min(encoder.n_clusters, len(clusters.labels_))
    for mean, _ in voxels.scales_.values():
        blank = torch.zeros(len(mean), encoder.embedding)
        encoder.network_.add_subject(torch.zeros(len(mean), dtype=torch.int64), blank)
    for part, network in (("network/", encoder.network_), ("voxels/", voxels.network_)):
        named = {name.removeprefix(part): one for name, one in state.items() if name.startswith(part)}
        try:
            network.load_state_dict({name: torch.from_numpy(np.array(one)) for name, one in named.items()})
        except RuntimeError as error:
            raise DataError(str(error)) from error
        network.eval()
