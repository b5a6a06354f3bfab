"""Analyses of spikes in an experiment file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from brainalign.experiment.schema_records import _Analysis

__all__ = ["Circuit"]


class Circuit(_Analysis):
    """Planted couplings of a simulated circuit, read from a Neuroformer, by plain correlation, and by a Poisson GLM.

    Windows of `history` and `window` bins; the last `test_size` of the recording tells how well spikes are predicted.
    `encoder` holds options of `brainalign.encoders.Neuroformer`.
    """

    kind: Literal["circuit"]
    window: int = Field(default=1, ge=1)
    history: int = Field(default=5, ge=1)
    encoder: dict[str, Any] = Field(default_factory=dict)
    test_size: float = Field(default=0.2, gt=0, lt=1)
