"""Colours of objects and backgrounds, and how far apart the eye sees two of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from brainalign.scenes.pen import Colour

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (245, 130, 30),
    "yellow": (250, 210, 50),
    "green": (46, 150, 70),
    "blue": (40, 100, 215),
    "purple": (130, 65, 175),
    "pink": (245, 130, 175),
    "brown": (130, 80, 45),
    "black": (35, 35, 42),
    "gray": (146, 150, 158),
    "white": (248, 248, 245),
}
"""Colours an object may have."""

SHADES: dict[str, tuple[Colour, ...]] = {
    "red": ((242, 160, 152), (128, 22, 28)),
    "orange": ((252, 200, 140), (160, 72, 8)),
    "yellow": ((252, 236, 150), (196, 156, 10)),
    "green": ((172, 222, 170), (16, 72, 40)),
    "blue": ((160, 200, 246), (20, 48, 122)),
    "purple": ((206, 178, 236), (70, 30, 104)),
    "pink": ((252, 204, 222), (160, 44, 100)),
    "brown": ((214, 180, 146), (72, 42, 22)),
    "black": ((30, 30, 36),),
    "gray": ((198, 202, 208), (70, 74, 82)),
    "white": ((246, 246, 242),),
}
"""Backgrounds: a light and a deep shade of each colour, so that every object finds one it stands out from."""

ENOUGH_CONTRAST, ENOUGH_LIGHTNESS = 0.3, 0.19
"""What an object keeps from its background: distance in OKLab (black to white is 1), and difference in lightness."""


@lru_cache(maxsize=4096)
def oklab(colour: Colour) -> tuple[float, float, float]:
    """Lightness and two opponent axes of an sRGB colour (Ottosson 2020, "A perceptual color space")."""
    srgb = np.asarray(colour, dtype=np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    light, opponent_a, opponent_b = _CONES_TO_LAB @ np.cbrt(_RGB_TO_CONES @ linear)
    return float(light), float(opponent_a), float(opponent_b)


_RGB_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_CONES_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@lru_cache(maxsize=16384)
def contrast(first: Colour, second: Colour) -> float:
    """Distance of two sRGB colours in OKLab: 0 for the same, 1 for black and white.

    The opponent axes count twice, as in CSS's deltaEOK2: unscaled they understate differences of hue.
    """
    difference = np.subtract(oklab(first), oklab(second)) * (1.0, 2.0, 2.0)
    return float(np.linalg.norm(difference))


@lru_cache(maxsize=4096)
def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with `share` of `second` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


@lru_cache(maxsize=64)
def second_tone(tone: Colour) -> Colour:
    """The quieter partner of a background tone, for its stripes, checks and dots."""
    toward: Colour = (0, 0, 0) if oklab(tone)[0] > 0.6 else (255, 255, 255)
    return mix(tone, toward, 0.11)


@lru_cache(maxsize=64)
def backgrounds_for(colour: str) -> dict[str, tuple[Colour, ...]]:
    """Background shades that an object of this colour stands out from, by the shade's colour name."""
    ink = COLOURS[colour]
    clear = {
        name: tuple(tone for tone in shades if _stands_out(ink, tone) and _stands_out(ink, second_tone(tone)))
        for name, shades in SHADES.items()
    }
    return {name: tones for name, tones in clear.items() if tones}


def _stands_out(ink: Colour, tone: Colour) -> bool:
    return contrast(ink, tone) >= ENOUGH_CONTRAST and abs(oklab(ink)[0] - oklab(tone)[0]) >= ENOUGH_LIGHTNESS
