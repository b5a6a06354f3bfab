"""BOLD from the EEG that was recorded with it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from brainalign.experiment.schema_records import _Analysis

__all__ = ["Bold"]


class Bold(_Analysis):
    """Columns of BOLD from the window of EEG before each volume, by `NeuroBOLT` and by lagged ridge on band power.

    Folds are stretches of time, `gap` volumes apart; a `block` of volumes is drawn and shuffled as a whole. `params`
    are those of the encoder, `bands` are in hertz, and ridge takes their power in steps of `step` seconds. `control`
    also predicts the BOLD of another time, half the recording away.
    """

    kind: Literal["bold"]
    rois: list[str] = Field(min_length=1)
    predictors: list[Literal["neurobolt", "ridge"]] = Field(default=["neurobolt", "ridge"], min_length=1)
    n_splits: int = Field(default=5, ge=2)
    gap: int = Field(default=10, ge=1)
    block: int = Field(default=10, ge=2)
    bands: dict[str, tuple[float, float]] = Field(default_factory=dict)
    step: float = Field(default=2.0, gt=0)
    params: dict[str, Any] = Field(default_factory=dict)
    control: bool = True
    n_permutations: int = Field(default=1000, ge=99)
    n_draws: int = Field(default=1000, ge=100)

    @model_validator(mode="after")
    def _each_once(self) -> Bold:
        for what, names in (("rois", self.rois), ("predictors", self.predictors)):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} must be named, each once")
        return self
