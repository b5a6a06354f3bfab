"""How a `QueryNetwork` is fitted: scales of its input and output, the loss, and the readout refitted by ridge."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from brainalign.learning import Rows
from brainalign.voxelwise.plan import plan_ridge
from brainalign.voxelwise.query_network import QueryNetwork
from brainalign.voxelwise.samples import resolve_folds
from brainalign.voxelwise.spatial import Paired

__all__ = ["learn_scales", "refit_readout", "samples", "standardised_error"]


def samples(paired: Paired, rows: np.ndarray) -> dict[str, Any]:
    """Some samples as the trainer takes them; nothing for none."""
    if not len(rows):
        return {}
    return {"tokens": Rows(paired.maps, paired.rows[rows]), "responses": Rows(paired.responses, rows)}


def standardised_error(network: Any, batch: Any) -> torch.Tensor:
    """Mean squared error, each unit in its standard deviation."""
    return (network(batch["tokens"]) - network.standardise(batch["responses"])).square().mean()


def learn_scales(network: QueryNetwork, paired: Paired, kept: np.ndarray) -> None:
    """Means and deviations of channels and units, from the samples that are learnt from and no others."""
    stimuli = np.unique(paired.rows[kept])
    total, squares, n_rows = 0.0, 0.0, 0
    for block in paired.maps.blocks():
        tokens = paired.maps[stimuli[(stimuli >= block.start) & (stimuli < block.stop)]].astype(np.float64)
        total, squares = total + tokens.sum(axis=(0, 1)), squares + (tokens**2).sum(axis=(0, 1))
        n_rows += tokens.shape[0] * tokens.shape[1]
    mean = total / n_rows
    scale = np.sqrt(np.maximum(squares / n_rows - mean**2, 0.0))
    responses = paired.responses[kept].astype(np.float64)
    constant = np.ptp(responses, axis=0) == 0
    measured = {
        "x_mean": mean,
        "x_scale": np.where(scale > 1e-7 * np.abs(mean) + 1e-30, scale, 1.0),
        "y_mean": responses.mean(axis=0),
        "y_scale": np.where(constant, 0.0, responses.std(axis=0)),
    }
    for name, values in measured.items():
        getattr(network, name).copy_(torch.from_numpy(values))


def refit_readout(network: QueryNetwork, routed: np.ndarray, paired: Paired, query_of_unit: np.ndarray) -> None:
    """Replace the trained readout by ridge, whose penalty is cross-validated for each unit.

    Parameters
    ----------
    network : QueryNetwork
        Changed in place.
    routed : ndarray, shape (n_stimuli, n_queries, width)
        What its queries bring home. One decomposition a query serves all units of it.
    paired : Paired
    query_of_unit : ndarray of int, shape (n_units,)
    """
    groups = paired.rows if paired.groups is None else paired.groups
    n_groups = len(np.unique(np.asarray(groups).astype(str)))
    divisions = resolve_folds(5 if n_groups >= 10 else 2, len(paired.rows), groups)
    with torch.no_grad():
        responses = network.standardise(torch.from_numpy(paired.responses.astype(np.float32))).numpy()
        place = network.place_of_unit.numpy()
        for query in range(routed.shape[1]):
            units = np.flatnonzero(query_of_unit == query)
            fit = plan_ridge(routed[paired.rows, query], "auto", divisions).fit(responses[:, units])
            network.readout[place[units]] = torch.from_numpy(fit.coef.T.astype(np.float32))
            network.bias[place[units]] = torch.from_numpy(fit.intercept.astype(np.float32))
