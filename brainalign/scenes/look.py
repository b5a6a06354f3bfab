"""What a drawing knows of its scene, and the register of the kinds of thing that can be drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from brainalign.scenes.palette import contrast, mix, oklab
from brainalign.scenes.pen import Colour, Pen

WHITE: Colour = (252, 252, 250)
BLACK: Colour = (24, 24, 30)
STEEL: tuple[Colour, ...] = ((206, 212, 220), (74, 82, 94))
WOOD: tuple[Colour, ...] = ((92, 56, 30), (190, 140, 88), (150, 98, 56))
LEAF: tuple[Colour, ...] = ((38, 122, 58), (140, 200, 80))


@dataclass(frozen=True)
class Look:
    """Colours of one scene, and the chances that vary its drawing.

    Attributes
    ----------
    colour : tuple of int
        The object's own colour, sRGB.
    tones : tuple of colours
        The two tones of the background behind it.
    chance : tuple of float
        Uniform numbers in [0, 1) for details such as a pose or a tilt.
    """

    colour: Colour
    tones: tuple[Colour, ...]
    chance: tuple[float, ...]

    @property
    def dark(self) -> Colour:
        """A deeper shade of the object's colour (lighter, where the colour is nearly black)."""
        return mix(self.colour, BLACK if oklab(self.colour)[0] > 0.4 else WHITE, 0.36)

    @property
    def light(self) -> Colour:
        """A lighter tint of the object's colour."""
        return mix(self.colour, WHITE, 0.45)

    @property
    def ink(self) -> Colour:
        """Black or white, whichever reads better on the object's colour."""
        return max((BLACK, WHITE), key=lambda tone: contrast(tone, self.colour))

    def against(self, *options: Colour) -> Colour:
        """The option that stands out most from the background."""
        return max(options, key=lambda option: min(contrast(option, tone) for tone in self.tones))

    def beside(self, *options: Colour) -> Colour:
        """The option that stands out most from the object's own colour."""
        return max(options, key=lambda option: contrast(option, self.colour))

    def swing(self, which: int, low: float, high: float) -> float:
        """A number between `low` and `high` that this scene always draws the same."""
        return low + (high - low) * self.chance[which]


Drawing = Callable[[Pen, Look], None]


@dataclass(frozen=True)
class Kind:
    """One kind of thing: its category and the function that draws it into the unit box."""

    name: str
    category: str
    draw: Drawing
    stretch: float = 1.0


KINDS: dict[str, Kind] = {}
"""Every kind by name; filled by the modules that draw them."""


def kind(category: str, name: str, *, stretch: float = 1.0) -> Callable[[Drawing], Drawing]:
    """Register a drawing; `stretch` lets a flat thing, such as a word, be drawn wider than the others."""

    def register(draw: Drawing) -> Drawing:
        KINDS[name] = Kind(name, category, draw, stretch)
        return draw

    return register
