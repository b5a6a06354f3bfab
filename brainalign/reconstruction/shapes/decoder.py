"""From the brain to a shape, as one thing that can be asked, scored and silenced like an encoder."""

from __future__ import annotations

from typing import Any

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.reconstruction.shapes.lifted import Lifted

__all__ = ["ShapeDecoder"]


class ShapeDecoder:
    """An encoder and a lift, one after the other.

    `analysis.ablate`, `analysis.DecodingTasks` and `analysis.ablate_regions` take it for an encoder whose latents are
    shapes: silence a region and see what the shape loses, as Brain3D (arXiv 2405.15239) does with visual areas. Modes
    "zero" and "mean" lift each stimulus once for each region, "permute" twenty times.

    Parameters
    ----------
    encoder : fitted encoder
        To latents that `lift` takes.
    lift : ShapE, or anything with ``lift(latents, seed)``
    seed : int
        Of the lift: the same for every region, so that shapes differ by what was silenced alone.
    """

    def __init__(self, encoder: Any, lift: Any, *, seed: int = 0) -> None:
        if not hasattr(encoder, "predict") or not hasattr(lift, "lift"):
            raise DataError("a shape decoder is a fitted encoder and a lift", expected="predict() and lift()",
                            found=f"{type(encoder).__name__} and {type(lift).__name__}")  # fmt: skip
        self.encoder, self.lift_, self.seed = encoder, lift, seed

    @property
    def provenance_(self) -> Any:
        """Of the encoder: what it was fitted on."""
        return getattr(self.encoder, "provenance_", None)

    def lift(self, trials: Any) -> Lifted:
        """Solids of what the trials' stimuli are predicted to be."""
        return self.lift_.lift(self.encoder.predict(trials), seed=self.seed)

    def predict(self, trials: Any) -> Latents:
        """Their distance fields."""
        return self.lift(trials).latents()
