"""Pictures and latents lifted into three dimensions, kept as PLY and compared.

Nothing here imports torch or diffusers before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Lifted": "lifted",
    "ShapE": "shap_e",
    "ShapeDecoder": "decoder",
    "Solid": "solid",
    "chamfer": "agreement",
    "load_lift": "shap_e",
    "read_ply": "solid",
    "shape_agreement": "agreement",
    "write_ply": "solid",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"brainalign.reconstruction.shapes.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'brainalign.reconstruction.shapes' has no attribute '{name}'")
