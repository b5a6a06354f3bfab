"""Analyses of several people who followed the same story or film."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from brainalign.experiment.schema_records import _Analysis

__all__ = ["Segments"]


class Segments(_Analysis):
    """Time segment matching between people, of their units as they are and in a shared space.

    The shared space (correlated components) is fitted without the stretch whose segments are sought and `gap` rows
    around it; of `n_components` the best is chosen within the rest. `n_shuffles` copies, in which everyone's recording
    has random phases of their own, go the same way.
    """

    kind: Literal["segments"]
    length: int = Field(default=10, ge=1)
    n_splits: int = Field(default=5, ge=2)
    gap: int = Field(default=10, ge=0)
    n_components: list[int] = Field(default=[10, 20, 40], min_length=1)
    shrinkage: float = Field(default=0.1, ge=0, le=1)
    n_shuffles: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _gap_covers_a_segment(self) -> Segments:
        if self.gap < self.length:
            raise ValueError(f"gap must be at least the length of a segment, {self.length}")
        return self
