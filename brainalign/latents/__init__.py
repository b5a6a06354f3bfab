"""What networks make of the stimuli: embeddings, layer activations and image latents, by stimulus id.

Nothing here imports torch before a model is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["Latents", "activations", "extract", "extract_text", "load_model"]

_HOMES = {
    "Latents": "brainalign.latents.base",
    "activations": "brainalign.latents.hooks",
    "extract": "brainalign.latents.extraction",
    "extract_text": "brainalign.latents.extraction",
    "load_model": "brainalign.latents.registry",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'brainalign.latents' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
