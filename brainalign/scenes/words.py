"""Words, in a stroke alphabet of our own: no font is needed, so a word looks the same everywhere."""

from __future__ import annotations

from brainalign.scenes.look import Look, kind
from brainalign.scenes.pen import Pen, Points

WORDS = ("book", "key", "map", "road", "gold", "time", "lamp", "ice")
"""Short words that name nothing the other categories draw."""

_BOWL = ((0, 0), (0.6, 0), (1, 0.14), (1, 0.36), (0.6, 0.5), (0, 0.5))
_ROUND = ((1, 0.2), (0.72, 0), (0.28, 0), (0, 0.25), (0, 0.75), (0.28, 1), (0.72, 1), (1, 0.8))
LETTERS: dict[str, tuple[Points, ...]] = {
    "a": (((0, 1), (0.5, 0), (1, 1)), ((0.2, 0.66), (0.8, 0.66))),
    "b": (((0, 1), *_BOWL, (0.7, 0.5), (1, 0.64), (1, 0.86), (0.7, 1), (0, 1), (0, 0)),),
    "c": (_ROUND,),
    "d": (((0, 0), (0.55, 0), (1, 0.28), (1, 0.72), (0.55, 1), (0, 1), (0, 0), (0.2, 0)),),
    "e": (((1, 0), (0, 0), (0, 1), (1, 1)), ((0, 0.5), (0.8, 0.5))),
    "g": ((*_ROUND, (1, 0.55), (0.6, 0.55)),),
    "i": (((0.5, 0), (0.5, 1)),),
    "k": (((0, 0), (0, 1)), ((1, 0), (0.05, 0.55)), ((0.35, 0.4), (1, 1))),
    "l": (((0, 0), (0, 1), (0.95, 1)),),
    "m": (((0, 1), (0, 0), (0.5, 0.6), (1, 0), (1, 1)),),
    "o": ((*_ROUND, (1, 0.2), (0.72, 0)),),
    "p": (((0, 1), *_BOWL),),
    "r": (((0, 1), *_BOWL), ((0.45, 0.5), (1, 1))),
    "t": (((0, 0), (1, 0)), ((0.5, 0), (0.5, 1))),
    "y": (((0, 0), (0.5, 0.5), (1, 0)), ((0.5, 0.5), (0.5, 1))),
}
"""Letters as polylines in a box from (0, 0) at the top left to (1, 1)."""

_WIDTHS = {"i": 0.3, "m": 1.2}


def write(pen: Pen, word: str, look: Look) -> None:
    """The word, centred and as wide as the pen's box."""
    widths = [_WIDTHS.get(letter, 1.0) for letter in word]
    gap, tall = 0.5, 1.5
    step = 1.76 / (sum(widths) + gap * (len(word) - 1))
    height, x = min(tall * step, 0.9), -0.88
    for letter, width in zip(word, widths, strict=True):
        for line in LETTERS[letter]:
            middle = (line_x - 0.5 if letter == "i" else line_x * width for line_x, _ in line)
            left = x + (0.5 * width * step if letter == "i" else 0.0)
            points = [(left + step * along, height * (y - 0.5)) for along, (_, y) in zip(middle, line, strict=True)]
            pen.stroke(points, 0.34 * step, look.colour)
        x += (width + gap) * step


def _register(word: str) -> None:
    @kind("word", f"word {word.upper()}", stretch=1.25)
    def draw(pen: Pen, look: Look) -> None:
        write(pen, word, look)


for _word in WORDS:
    _register(_word)
