"""brainalign: align recordings of the brain with neural networks.

Every public name is loaded on first use, so that ``import brainalign`` stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Cache": "brainalign.cache",
    "DatasetSpec": "brainalign.specs",
    "Latents": "brainalign.latents.base",
    "Report": "brainalign.report.report",
    "Score": "brainalign.scoring.score",
    "Stimuli": "brainalign.stimuli",
    "Trials": "brainalign.trials",
    "draw_scenes": "brainalign.scenes",
    "extract": "brainalign.latents",
    "extract_text": "brainalign.latents",
    "folds": "brainalign.splits",
    "load": "brainalign.loaders",
    "load_encoder": "brainalign.encoders",
    "load_generator": "brainalign.reconstruction.generators",
    "load_ephys": "brainalign.loaders.ephys",
    "load_fmri": "brainalign.loaders.fmri",
    "run_experiment": "brainalign.experiment",
    "simulate_subject": "brainalign.loaders.simulated",
    "split": "brainalign.splits",
}
_ROOMS = ("analysis", "encoders", "errors", "latents", "loaders", "reconstruction", "scoring", "voxelwise")

__all__ = sorted([*_HOMES, "analysis", "encoders", "reconstruction", "scoring", "voxelwise"])


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"brainalign.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'brainalign' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})
