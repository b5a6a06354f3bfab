"""Loaders: one file per kind of source, each ending in `brainalign.trials.Trials`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "load": "brainalign.loaders.registry",
    "load_bids_ephys": "brainalign.loaders.ephys",
    "load_bids_fmri": "brainalign.loaders.bids",
    "load_ephys": "brainalign.loaders.ephys",
    "load_fmri": "brainalign.loaders.fmri",
    "load_latents": "brainalign.loaders.registry",
    "load_surface": "brainalign.loaders.surface",
    "read_events": "brainalign.loaders.events",
    "simulate_subject": "brainalign.loaders.simulated",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'brainalign.loaders' has no attribute '{name}'")
