"""Representational similarity analysis: RDMs, their comparison, and inference over subjects and stimuli."""

from brainalign.analysis.rsa import topology
from brainalign.analysis.rsa.bootstrap import Resamples, bootstrap_scores
from brainalign.analysis.rsa.cka import cka, minibatch_cka
from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.cross import cross_rdm, rdm_movie
from brainalign.analysis.rsa.crossvalidated import Folds, evaluate_fitted
from brainalign.analysis.rsa.dependence import adaptive_dependence
from brainalign.analysis.rsa.groups import compare_groups
from brainalign.analysis.rsa.inference import RSAResult, evaluate
from brainalign.analysis.rsa.models import crossvalidated_fit, fit_weights
from brainalign.analysis.rsa.neighbours import mutual_knn
from brainalign.analysis.rsa.noise import condition_residuals, noise_covariance, noise_precision
from brainalign.analysis.rsa.partial import partial_correlation, variance_partition
from brainalign.analysis.rsa.permutation import permutation_test
from brainalign.analysis.rsa.rdm import complete_conditions, from_square, n_conditions, rdm, to_square
from brainalign.analysis.rsa.rdms import RDMs
from brainalign.analysis.rsa.regions import identify_regions
from brainalign.analysis.rsa.searchlight import SearchlightResult, searchlight
from brainalign.analysis.rsa.searchlight_space import sensor_neighbours, surface_neighbours, volume_neighbours
from brainalign.analysis.rsa.shape import procrustes, shape_distance
from brainalign.analysis.rsa.topology import rgdm, rgtm
from brainalign.analysis.rsa.whitened_crossnobis import whitened_crossnobis

__all__ = [
    "Folds",
    "RDMs",
    "RSAResult",
    "Resamples",
    "SearchlightResult",
    "adaptive_dependence",
    "bootstrap_scores",
    "cka",
    "compare",
    "compare_groups",
    "complete_conditions",
    "condition_residuals",
    "cross_rdm",
    "crossvalidated_fit",
    "evaluate",
    "evaluate_fitted",
    "fit_weights",
    "from_square",
    "identify_regions",
    "minibatch_cka",
    "mutual_knn",
    "n_conditions",
    "noise_covariance",
    "noise_precision",
    "partial_correlation",
    "permutation_test",
    "procrustes",
    "rdm",
    "rdm_movie",
    "rgdm",
    "rgtm",
    "searchlight",
    "sensor_neighbours",
    "shape_distance",
    "surface_neighbours",
    "to_square",
    "topology",
    "variance_partition",
    "volume_neighbours",
    "whitened_crossnobis",
]
