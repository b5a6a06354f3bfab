"""BCI: augmented covariances, and evaluation that is honest in time (``pip install "brainalign[bci]"`` for MOABB)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "AugmentedCovariance": "augmented",
    "AugmentedSVC": "search",
    "PseudoOnline": "pseudo_online",
    "augmented_covariances": "augmented",
    "augmented_grid": "lagged",
    "information_transfer_rate": "metrics",
    "label_windows": "windows",
    "normalised_mcc": "metrics",
    "riemannian_mean": "geometry",
    "tangent_vectors": "geometry",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"brainalign.bci.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'brainalign.bci' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
