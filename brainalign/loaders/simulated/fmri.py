"""A simulated fMRI subject: ROIs of voxels on a 4 mm grid, each voxel a weighted sum of latents plus white noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated.design import Design, Plan, Truth, seed_for
from brainalign.loaders.simulated.signals import add_drift, draw_tuning
from brainalign.spaces import VolumeSpace

N_VOXELS = 50
CEILING = (0.1, 0.6)
CENTRES = {
    "V1": (8.0, -92.0, 2.0),
    "V2": (-14.0, -96.0, 10.0),
    "V4": (30.0, -78.0, -12.0),
    "LOC": (-44.0, -74.0, -6.0),
    "EBA": (48.0, -68.0, 4.0),
    "FFA": (42.0, -50.0, -20.0),
    "PPA": (-26.0, -46.0, -10.0),
    "VWFA": (-44.0, -56.0, -16.0),
}
"""Where the ROIs lie, in millimetres; those of other names are placed by their name."""

DEFAULT_ROIS = ("V1", "V4", "EBA", "FFA", "PPA", "VWFA")
SPACE = VolumeSpace(
    (40, 48, 40),
    np.array([[4.0, 0.0, 0.0, -78.0], [0.0, 4.0, 0.0, -112.0], [0.0, 0.0, 4.0, -64.0], [0.0, 0.0, 0.0, 1.0]]),
)


def roi_sizes(design: Design, named: tuple[str, ...] | None) -> dict[str, int]:
    """Voxels of each ROI, from the design or from the ROIs that latents were given for."""
    wanted = design.rois if design.rois is not None else named or DEFAULT_ROIS
    if isinstance(wanted, str):
        raise DataError(
            "rois must be a list of names or {name: voxels}",
            found=wanted,
            expected="a list or a mapping",
            fix="put the name into a list",
        )
    sizes = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(wanted, N_VOXELS)
    if not sizes or min(sizes.values()) < 1:
        raise DataError(
            "every simulated ROI needs a voxel",
            expected="{name: voxels}, 1 or more",
            found=sizes,
            fix="give each at least one voxel",
        )
    return {str(name): int(size) for name, size in sizes.items()}


def simulate_fmri(
    features: Mapping[str, np.ndarray], sizes: Mapping[str, int], plan: Plan, design: Design, seed: int
) -> tuple[np.ndarray, pd.DataFrame, Truth]:
    """Responses (n_trials, n_voxels), the units table and the truth.

    Parameters
    ----------
    features : mapping
        ROI → centred latents (n_stimuli, n_features), rows in the order of ``plan.ids``.
    sizes : mapping
        ROI → number of voxels.
    plan : Plan
    design : Design
    seed : int
    """
    units = place_voxels(sizes)
    n_trials, n_voxels = len(plan.order), len(units)
    responses = np.empty((n_trials, n_voxels), dtype=np.float32)
    signal = np.empty((len(plan.ids), n_voxels), dtype=np.float32)
    ceilings, drifts, weights, subspaces = [], [], {}, {}
    stop = 0
    for roi, n_units in sizes.items():
        here = slice(stop, stop := stop + n_units)
        ceiling = _draw_ceilings(roi, n_units, design, seed)
        tuning, subspaces[roi] = draw_tuning(features[roi], n_units, roi, design, seed)
        weights[roi] = tuning * np.sqrt(ceiling)
        signal[:, here] = features[roi] @ weights[roi]
        rng = np.random.default_rng(seed_for(seed, roi, "noise"))
        noise = rng.standard_normal((n_trials, n_units), dtype=np.float32)
        responses[:, here] = signal[plan.order, here] + noise * np.sqrt(1 - ceiling)
        drifts.append(add_drift(responses[:, here], plan.sessions, roi, design, seed))
        ceilings.append(ceiling)
    share = np.concatenate(ceilings)
    truth = Truth(
        signal=Latents(signal, plan.ids, space="simulated:fmri"),
        weights=weights,
        subspaces=subspaces,
        ncsnr=np.sqrt(share / (1 - share)),
        onsets={},
        drift={part: np.concatenate([one[part] for one in drifts], axis=1) for part in drifts[0]},
    )
    return responses, units, truth


def _draw_ceilings(roi: str, n_units: int, design: Design, seed: int) -> np.ndarray:
    """Signal share of each unit: uniform in the design's range, and 0 for the silent ones."""
    rng = np.random.default_rng(seed_for(seed, roi, "ceilings"))
    ceiling = rng.uniform(*(design.ceiling or CEILING), size=n_units)
    ceiling[rng.permutation(n_units)[: round(design.silent_share * n_units)]] = 0.0
    return ceiling


def place_voxels(sizes: Mapping[str, int]) -> pd.DataFrame:
    """Units table (name, roi, i, j, k, x, y, z): each ROI takes the free voxels nearest to its centre."""
    grid = SPACE.units(np.ones(SPACE.shape, dtype=bool))
    places = grid[["x", "y", "z"]].to_numpy()
    if sum(sizes.values()) > len(grid):
        raise DataError(
            "more voxels than the simulated brain has",
            expected=f"up to {len(grid)}",
            found=dict(sizes),
            fix="ask for fewer",
        )
    free = np.ones(len(grid), dtype=bool)
    rows = []
    for roi, n_units in sizes.items():
        distance = np.where(free, np.linalg.norm(places - _centre(roi), axis=1), np.inf)
        nearest = np.sort(np.argsort(distance, kind="stable")[:n_units])
        free[nearest] = False
        rows.append(grid.iloc[nearest].assign(roi=roi))
    return pd.concat(rows, ignore_index=True)


def _centre(roi: str) -> np.ndarray:
    if roi in CENTRES:
        return np.array(CENTRES[roi])
    direction = np.random.default_rng(seed_for(0, roi, "place")).standard_normal(3)
    return np.array([0.0, -18.0, 12.0]) + direction / np.linalg.norm(direction) * [40.0, 50.0, 36.0]
