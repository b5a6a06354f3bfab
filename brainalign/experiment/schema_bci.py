"""BCI analyses of an experiment file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from brainalign.experiment.schema_records import _Analysis

__all__ = ["Bci", "BciOnline"]


class Bci(_Analysis):
    """Pipelines by name on the dataset's subjects under one protocol, by `brainalign.bci` and, with `moabb`, by MOABB.

    `band` is in hertz, `window` in seconds from the start of the dataset's own interval of a trial.
    """

    kind: Literal["bci"]
    pipelines: list[str] = Field(min_length=1)
    protocol: Literal["within_session", "cross_run", "cross_session", "cross_subject"] = "within_session"
    events: list[str] | None = Field(default=None, min_length=2)
    band: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    channels: list[str] | None = Field(default=None, min_length=1)
    scorer: str | None = None
    n_splits: int | None = Field(default=None, ge=2)
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    moabb: bool = False


class BciOnline(_Analysis):
    """Pipelines by name on sliding windows of whole runs, idle time included, with folds of blocked time.

    `task` is how long a task lasts in seconds; `shuffled` adds the published folding, which leaks, for comparison.
    """

    kind: Literal["bci_online"]
    pipelines: list[str] = Field(min_length=1)
    events: list[str] = Field(min_length=1)
    length: float = Field(default=2.0, gt=0)
    step: float = Field(default=0.25, gt=0)
    task: float | None = Field(default=None, gt=0)
    band: tuple[float, float] | None = None
    channels: list[str] | None = Field(default=None, min_length=1)
    n_splits: int = Field(default=5, ge=2)
    train_purity: float = Field(default=0.0, ge=0, le=1)
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    shuffled: bool = False
