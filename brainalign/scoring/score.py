"""The `Score`: a value never without its ceiling, chance level, interval, n, split and protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brainalign.errors import DataError

__all__ = ["Score"]

_NULLABLE = ("value", "ceiling", "chance", "low", "high", "n", "split", "protocol")


@dataclass(frozen=True)
class Score:
    """One number with all that is needed to read it.

    Parameters
    ----------
    name : str
        What was measured, for example ``"retrieval top-1"``.
    value : float or None
    ceiling, chance : float or None
        Best attainable value given the noise, and the value of a guess.
    low, high : float or None
        95 % confidence interval.
    n : int or None
        Number of independent units (usually stimuli) behind the value.
    split : str or None
        Hash of the split that was scored.
    protocol : str
        How train, test, gallery and repetitions were formed.
    how : str
        How value and interval were computed.
    why : mapping, optional
        For each field left at None, the reason.

    Raises
    ------
    DataError
        When a field is None without a reason.

    Examples
    --------
    >>> Score("accuracy", 0.9, ceiling=None, chance=0.5, low=0.8, high=0.97, n=40, split="ab12",
    ...       protocol="leave-one-run-out", why={"ceiling": "not defined for accuracy"})
    Score(accuracy 0.900 [0.800, 0.970], chance 0.500, n 40, leave-one-run-out)
    """

    name: str
    value: float | None
    ceiling: float | None = field(kw_only=True)
    chance: float | None = field(kw_only=True)
    low: float | None = field(kw_only=True)
    high: float | None = field(kw_only=True)
    n: int | None = field(kw_only=True)
    split: str | None = field(kw_only=True)
    protocol: str | None = field(kw_only=True)
    how: str = field(default="", kw_only=True)
    why: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", dict(self.why or {}))
        for name in ("value", "ceiling", "chance", "low", "high"):
            number = getattr(self, name)
            object.__setattr__(self, name, None if _is_missing(number) else float(number))
        if self.n is not None:
            object.__setattr__(self, "n", int(self.n))
        unexplained = [name for name in _NULLABLE if getattr(self, name) is None and not self.why.get(name)]
        if unexplained:
            raise DataError(
                f"score '{self.name}' leaves {', '.join(unexplained)} empty without a reason",
                expected="a value, or a reason in why",
                fix=f"why={{'{unexplained[0]}': '...'}}",
            )

    @property
    def ci(self) -> tuple[float | None, float | None]:
        """The 95 % confidence interval (low, high)."""
        return self.low, self.high

    def to_row(self) -> dict[str, Any]:
        """Flat record for ``summary.json``: value, ceiling, chance, low, high, n, split, protocol, why."""
        return {name: getattr(self, name) for name in _NULLABLE} | {"why": dict(self.why)}

    def __repr__(self) -> str:
        parts = [f"{self.name} {_text(self.value)}"]
        if self.low is not None and self.high is not None:
            parts[0] += f" [{_text(self.low)}, {_text(self.high)}]"
        parts += [
            f"{name} {_text(getattr(self, name))}" for name in ("ceiling", "chance") if getattr(self, name) is not None
        ]
        if self.n is not None:
            parts.append(f"n {self.n}")
        return f"Score({', '.join([*parts, self.protocol or 'no protocol'])})"


def _is_missing(number: Any) -> bool:
    return number is None or math.isnan(float(number))


def _text(number: float | None) -> str:
    return "none" if number is None else f"{number:.3f}" if abs(number) >= 0.01 or number == 0 else f"{number:.2g}"
