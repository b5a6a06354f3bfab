"""Pictures from latents: generators behind one protocol, and how such pictures are judged.

Nothing here imports torch or diffusers before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = [
    "CONTROLS",
    "JUDGES",
    "BestOf",
    "DeepImagePrior",
    "Evaluation",
    "Fusion",
    "Generator",
    "Inversion",
    "ReconstructionTable",
    "Retrieval",
    "VaeDecoder",
    "best_of",
    "brain_correlation",
    "control_pictures",
    "judge_scenes",
    "load_generator",
    "load_judge",
    "reconstruction_table",
    "scene_agreement",
    "scene_scores",
]

_HOMES = {
    "BestOf": "brainalign.reconstruction.generators",
    "Generator": "brainalign.reconstruction.generators",
    "Inversion": "brainalign.reconstruction.generators",
    "Retrieval": "brainalign.reconstruction.generators",
    "VaeDecoder": "brainalign.reconstruction.generators",
    "best_of": "brainalign.reconstruction.generators",
    "judge_scenes": "brainalign.reconstruction.scene_judge",
    "load_generator": "brainalign.reconstruction.generators",
    "scene_agreement": "brainalign.reconstruction.scene_judge",
    "scene_scores": "brainalign.reconstruction.scene_judge",
    "CONTROLS": "brainalign.reconstruction.pairs",
    "DeepImagePrior": "brainalign.reconstruction.inversion",
    "Evaluation": "brainalign.reconstruction.judging",
    "Fusion": "brainalign.reconstruction.generators",
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
