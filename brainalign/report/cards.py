"""A score as the report shows it: texts, and the places of its marks on a small bar."""

from __future__ import annotations

from brainalign.report.style import number, numbers
from brainalign.scoring.score import Score

__all__ = ["Card"]

FIELDS = {"value": "value", "low": "interval", "high": "interval", "ceiling": "ceiling", "chance": "chance", "n": "n"}
FIELDS |= {"split": "split", "protocol": "protocol"}


class Card:
    """What the template needs of one `Score`.

    Examples
    --------
    >>> card = Card(Score("top-1", 0.4, ceiling=0.8, chance=0.05, low=0.3, high=0.5, n=100, split="ab",
    ...                   protocol="5 folds"))
    >>> card.value, card.interval, card.verdict, card.marks["value"]
    ('0.4', '0.3 to 0.5', 'above chance', 40.0)
    """

    def __init__(self, score: Score) -> None:
        self.name, self.how = score.name, score.how
        self.value, low, high, self.ceiling = numbers((score.value, score.low, score.high, score.ceiling))
        self.chance = number(score.chance)
        self.n = "–" if score.n is None else f"{score.n:,}"
        self.split, self.protocol = score.split or "–", score.protocol or "–"
        known = score.low is not None and score.high is not None
        self.interval = f"{low} to {high}" if known else "–"
        self.verdict = _verdict(score)
        self.bottom, self.top = _ends(score)
        self.marks = {
            name: round(100 * (place - self.bottom) / (self.top - self.bottom), 2)
            for name in ("value", "low", "high", "ceiling", "chance")
            if (place := getattr(score, name)) is not None
        }
        self.zero = round(100 * -self.bottom / (self.top - self.bottom), 2)
        self.ends = number(self.bottom), number(self.top)
        self.missing = _reasons(score)


def _verdict(score: Score) -> str | None:
    """Say where the interval lies, and nothing where interval or chance are unknown."""
    if score.low is None or score.high is None or score.chance is None:
        return None
    if score.low > score.chance:
        return "above chance"
    return "below chance" if score.high < score.chance else "interval includes chance"


def _ends(score: Score) -> tuple[float, float]:
    """Ends of the bar: from 0 (or the lowest mark) to the next round number above all marks."""
    fields = (score.value, score.low, score.high, score.ceiling, score.chance)
    known = [field for field in fields if field is not None]
    highest, lowest = max([*known, 0.0]), min([*known, 0.0])
    reach = max(highest, -lowest) or 1.0
    power = 10.0 ** _exponent(reach)
    top = next(step * power for step in (1, 2, 5, 10) if step * power >= reach * (1 - 1e-9))
    return (0.0 if lowest >= 0 else -top if -lowest > 0.2 * top else -0.2 * top), top


def _exponent(size: float) -> int:
    return int(f"{size:e}".split("e")[1])


def _reasons(score: Score) -> list[tuple[str, str]]:
    """Reasons for what is not given, each said once."""
    reasons: dict[str, str] = {}
    for field, name in FIELDS.items():
        if getattr(score, field) is None:
            reasons.setdefault(name, score.why[field])
    return list(reasons.items())
