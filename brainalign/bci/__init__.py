"""BCI: augmented covariances, and evaluation that is honest in time (``pip install "brainalign[bci]"`` for MOABB)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "PIPELINES": "pipelines",
    "TRCA": "ssvep",
    "AugmentedCovariance": "augmented",
    "AugmentedSVC": "search",
    "CCAClassifier": "ssvep",
    "CanonicalCorrelations": "ssvep",
    "Covariances": "covariances",
    "FgMDM": "classifiers",
    "MDM": "classifiers",
    "NarrowBands": "ssvep",
    "PseudoOnline": "pseudo_online",
    "TangentSpace": "classifiers",
    "as_moabb_dataset": "moabb_datasets",
    "augmented_covariances": "augmented",
    "augmented_grid": "lagged",
    "build_pipeline": "pipelines",
    "canonical_correlations": "ssvep",
    "choose_embedding": "embedding",
    "distances_to": "geometry",
    "from_tangent": "geometry",
    "information_transfer_rate": "metrics",
    "label_windows": "windows",
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
