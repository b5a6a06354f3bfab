"""Brain-IT: a brain-interaction transformer on functional clusters that all subjects share."""

from __future__ import annotations

from brainalign.encoders.brain_it.encoder import BrainIT

__all__ = ["BrainIT"]
