"""Pictures from latents: generators behind one protocol, and how such pictures are judged.

Nothing here imports torch or diffusers before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = [
    "CONTROLS",
    "JUDGES",
    "DeepImagePrior",
    "Evaluation",
    "Fusion",
    "ReconstructionTable",
    "brain_correlation",
    "control_pictures",
    "load_judge",
    "reconstruction_table",
]

_HOMES = {
    "CONTROLS": "brainalign.reconstruction.pairs",
    "DeepImagePrior": "brainalign.reconstruction.inversion",
    "Evaluation": "brainalign.reconstruction.judging",
    "Fusion": "brainalign.reconstruction.fusion",
    "JUDGES": "brainalign.reconstruction.judges",
    "ReconstructionTable": "brainalign.reconstruction.table",
    "brain_correlation": "brainalign.reconstruction.brain",
    "control_pictures": "brainalign.reconstruction.controls",
    "load_judge": "brainalign.reconstruction.judges",
    "reconstruction_table": "brainalign.reconstruction.table",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'brainalign.reconstruction' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
