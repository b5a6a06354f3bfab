"""Voxelwise models: latents of stimuli to the responses of voxels and channels."""

from __future__ import annotations

from typing import Any

from brainalign.voxelwise.plan import RidgeFit, RidgePlan, plan_ridge
from brainalign.voxelwise.receptive_fields import FactorisedReceptiveField
from brainalign.voxelwise.ridge import Ridge
from brainalign.voxelwise.scores import UnitScores, score_predictions
from brainalign.voxelwise.solvers import ridge_coef

__all__ = [
    "FactorisedReceptiveField",
    "ROIQueryEncoder",
    "Ridge",
    "RidgeFit",
    "RidgePlan",
    "UnitScores",
    "plan_ridge",
    "ridge_coef",
    "score_predictions",
]


def __getattr__(name: str) -> Any:
    if name == "ROIQueryEncoder":  # needs torch, which takes seconds to import
        from brainalign.voxelwise.roi_query import ROIQueryEncoder

        return ROIQueryEncoder
    raise AttributeError(f"module 'brainalign.voxelwise' has no attribute '{name}'")
