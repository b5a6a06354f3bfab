"""Analyses of signals over time and channels."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from brainalign.experiment.schema_records import _Analysis

__all__ = ["Contributions"]


class Contributions(_Analysis):
    """When and where an encoder reads the stimulus from signals.

    The encoder is fitted anew to each `window`, one beginning `every` so many seconds; fitted to the whole epoch it
    then goes without each channel, region and stretch of a window (`mode` says what stands in their place); `n_axes`
    of the latents, by falling variance, are shown as the patterns of signals that go with their predictions. A copy
    trained on shuffled responses goes the same way through windows.
    """

    kind: Literal["contributions"]
    latents: list[str] = Field(min_length=1, max_length=1)
    encoder: str = "LinearEncoder"
    params: dict[str, Any] = Field(default_factory=dict)
    test_size: float = Field(default=0.25, gt=0, lt=1)
    window: float = Field(default=0.1, gt=0)
    every: float = Field(default=0.05, gt=0)
    mode: Literal["permute", "mean", "zero"] = "permute"
    n_axes: int = Field(default=2, ge=1)
