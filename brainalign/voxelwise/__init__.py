"""Voxelwise models: latents of stimuli to the responses of voxels and channels."""

from brainalign.voxelwise.plan import RidgeFit, RidgePlan, plan_ridge
from brainalign.voxelwise.receptive_fields import FactorisedReceptiveField
from brainalign.voxelwise.ridge import Ridge
from brainalign.voxelwise.scores import UnitScores, score_predictions
from brainalign.voxelwise.solvers import ridge_coef

__all__ = [
    "FactorisedReceptiveField",
    "Ridge",
    "RidgeFit",
    "RidgePlan",
    "UnitScores",
    "plan_ridge",
    "ridge_coef",
    "score_predictions",
]
