"""Pictures made to drive the brain: `synthesize`, its samplers and targets, and the judge that took no part."""

from importlib import import_module
from typing import Any

_HOMES = {
    "GaussianMixture": "mixture",
    "Guided": "guidance",
    "Judged": "judge",
    "Multifaceted": "prior",
    "PictureEncoder": "encoder",
    "PlugAndPlay": "prior",
    "Target": "targets",
    "difference": "targets",
    "judge_synthesis": "judge",
    "maximise": "targets",
    "minimise": "targets",
    "pattern": "targets",
    "redraw": "judge",
    "synthesize": "making",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # These need torch, which takes seconds to import.
    if name in _HOMES:
        return getattr(import_module(f"brainalign.analysis.synthesis.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'brainalign.analysis.synthesis' has no attribute '{name}'")
