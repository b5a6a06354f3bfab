"""BCI: augmented covariances, and evaluation that is honest in time (``pip install "brainalign[bci]"`` for MOABB)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "AugmentedCovariance": "augmented",
    "AugmentedSVC": "search",
    "BlockedWindows": "blocks",
    "CCAClassifier": "ssvep",
    "CanonicalCorrelations": "ssvep",
    "Covariances": "covariances",
    "FgMDM": "classifiers",
    "MDM": "classifiers",
    "NarrowBands": "ssvep",
    "PIPELINES": "pipelines",
    "Protocol": "protocols",
    "PseudoOnline": "pseudo_online",
    "PseudoOnlineEvaluation": "moabb_online",
    "PseudoOnlineParadigm": "moabb_online",
    "ResultStore": "results",
    "TRCA": "ssvep",
    "TangentSpace": "classifiers",
    "as_moabb_dataset": "moabb_datasets",
    "augmented_covariances": "augmented",
    "augmented_grid": "lagged",
    "build_pipeline": "pipelines",
    "canonical_correlations": "ssvep",
    "choose_embedding": "embedding",
    "compare_pipelines": "statistics",
    "critical_difference": "statistics",
    "distances_to": "geometry",
    "evaluate_pipelines": "benchmark",
    "from_tangent": "geometry",
    "information_transfer_rate": "metrics",
    "label_windows": "windows",
    "moabb_evaluation": "protocols",
    "moabb_results": "benchmark",
    "nested_search": "search",
    "normalised_mcc": "metrics",
    "pipeline_names": "pipelines",
    "register_moabb_dataset": "moabb_datasets",
    "riemannian_mean": "geometry",
    "tangent_vectors": "geometry",
    "trial_covariances": "covariances",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"brainalign.bci.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'brainalign.bci' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
