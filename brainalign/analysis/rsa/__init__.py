"""Representational similarity analysis: RDMs, their comparison, and inference over subjects and stimuli."""

from brainalign.analysis.rsa import topology
from brainalign.analysis.rsa.bootstrap import Resamples, bootstrap_scores
from brainalign.analysis.rsa.cka import cka
from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.crossvalidated import Folds, evaluate_fitted
from brainalign.analysis.rsa.dependence import adaptive_dependence
from brainalign.analysis.rsa.groups import compare_groups
from brainalign.analysis.rsa.inference import RSAResult, evaluate
from brainalign.analysis.rsa.noise import noise_precision
from brainalign.analysis.rsa.permutation import permutation_test
from brainalign.analysis.rsa.rdm import complete_conditions, from_square, n_conditions, rdm, to_square
from brainalign.analysis.rsa.regions import identify_regions
from brainalign.analysis.rsa.searchlight import SearchlightResult, searchlight
from brainalign.analysis.rsa.searchlight_space import sensor_neighbours, surface_neighbours, volume_neighbours
from brainalign.analysis.rsa.topology import rgdm, rgtm

__all__ = [
    "Folds",
    "RSAResult",
    "Resamples",
    "SearchlightResult",
    "adaptive_dependence",
    "bootstrap_scores",
    "cka",
    "compare",
    "compare_groups",
    "complete_conditions",
    "evaluate",
    "evaluate_fitted",
    "from_square",
    "identify_regions",
    "n_conditions",
    "noise_precision",
    "permutation_test",
    "rdm",
    "rgdm",
    "rgtm",
    "searchlight",
    "sensor_neighbours",
    "surface_neighbours",
    "to_square",
    "topology",
    "volume_neighbours",
]
