"""BCI: augmented covariances, and evaluation that is honest in time. Needs ``pip install "brainalign[bci]"`` in parts."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "AugmentedCovariance": "augmented",
    "augmented_covariances": "augmented",
    "augmented_grid": "lagged",
    "information_transfer_rate": "metrics",
    "normalised_mcc": "metrics",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"brainalign.bci.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'brainalign.bci' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
