"""Options of loaders: frozen dataclasses, built from keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self

from brainalign.errors import unknown

__all__ = ["Options"]


class Options:
    """Base of the option dataclasses."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From keyword arguments; `DataError` names the closest option for one that does not exist."""
        known = [one.name for one in fields(cls)]  # type: ignore[arg-type]
        for name in given:
            if name not in known:
                raise unknown("option", name, known)
        return cls(**given)
