"""What every record of an experiment file shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Identifier"]

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=80)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Analysis(_Record):
    name: Identifier
    title: str | None = None
    text: str | None = None
    units: str | None = None
    trials: str | None = None
