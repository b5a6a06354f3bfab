"""Backgrounds: six patterns of two tones."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageOps

from brainalign.scenes.pen import Colour

PATTERNS = ("plain", "striped", "checkered", "dotted", "shaded", "two-tone")


def paint_background(pattern: str, tone: Colour, second: Colour, side: int, chance: float) -> Image.Image:
    """A square picture of `side` pixels; `chance` in [0, 1) sets width, tilt or height of the pattern."""
    if pattern == "shaded":
        ramp = Image.linear_gradient("L").resize((side, side))
        return ImageOps.colorize(ramp, tone, second)
    canvas = Image.new("RGB", (side, side), tone)
    draw = ImageDraw.Draw(canvas)
    if pattern == "striped":
        _stripes(draw, second, side, 5 + int(3 * chance), upright=chance < 0.5)
    elif pattern == "checkered":
        _checks(draw, second, side, 5 + int(3 * chance))
    elif pattern == "dotted":
        _dots(draw, second, side, 5 + int(3 * chance))
    elif pattern == "two-tone":
        draw.rectangle((0, round(side * (0.5 + 0.2 * chance)), side, side), fill=second)
    return canvas


def _stripes(draw: ImageDraw.ImageDraw, colour: Colour, side: int, n_stripes: int, *, upright: bool) -> None:
    width = side / (2 * n_stripes)
    for stripe in range(n_stripes):
        start, end = 2 * stripe * width, (2 * stripe + 1) * width - 1
        draw.rectangle((start, 0, end, side) if upright else (0, start, side, end), fill=colour)


def _checks(draw: ImageDraw.ImageDraw, colour: Colour, side: int, n_checks: int) -> None:
    width = side / n_checks
    for row in range(n_checks):
        for column in range(row % 2, n_checks, 2):
            x, y = column * width, row * width
            draw.rectangle((x, y, x + width - 1, y + width - 1), fill=colour)


def _dots(draw: ImageDraw.ImageDraw, colour: Colour, side: int, n_dots: int) -> None:
    width = side / n_dots
    radius = 0.22 * width
    for row in range(n_dots):
        for column in range(n_dots):
            x, y = (column + 0.5) * width, (row + 0.5) * width
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
