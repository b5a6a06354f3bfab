"""Voxelwise models: latents of stimuli to the responses of voxels and channels."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from brainalign.voxelwise.banded import BandedRidge
from brainalign.voxelwise.comparison import ModelComparison, compare_models
from brainalign.voxelwise.delays import Delayer, hrf_delays, split_delays
from brainalign.voxelwise.functional_clusters import FunctionalClusters
from brainalign.voxelwise.inference import PermutationTest, permutation_test, shuffle_test
from brainalign.voxelwise.over_time import (
    TemporalGeneralisation,
    decoding_generalisation,
    temporal_generalisation,
)
from brainalign.voxelwise.plan import RidgeFit, RidgePlan, plan_ridge
from brainalign.voxelwise.receptive_fields import FactorisedReceptiveField
from brainalign.voxelwise.ridge import Ridge
from brainalign.voxelwise.scores import UnitScores, score_predictions
from brainalign.voxelwise.solvers import ridge_coef
from brainalign.voxelwise.variance import VarianceShares

__all__ = [
    "BandedRidge",
    "Delayer",
    "FactorisedReceptiveField",
    "FunctionalClusters",
    "LagNetwork",
    "ModelComparison",
    "PermutationTest",
    "ROIQueryEncoder",
    "Ridge",
    "RidgeFit",
    "RidgePlan",
    "TemporalGeneralisation",
    "UnitScores",
    "UniversalEncoder",
    "VarianceShares",
    "compare_models",
    "decoding_generalisation",
    "hrf_delays",
    "permutation_test",
    "plan_ridge",
    "ridge_coef",
    "score_predictions",
    "shuffle_test",
    "split_delays",
    "temporal_generalisation",
]


_HOMES = {"LagNetwork": "lag_network", "ROIQueryEncoder": "roi_query", "UniversalEncoder": "universal"}
"""These need torch, which takes seconds to import."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"brainalign.voxelwise.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'brainalign.voxelwise' has no attribute '{name}'")
