"""A pen that draws shapes given in a unit box: x to the right, y down, both from -1 to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from PIL import ImageDraw

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]


class Pen:
    """Draws into an image through an affine map, so that a shape knows nothing of place, size or tilt.

    Parameters
    ----------
    draw : PIL.ImageDraw.ImageDraw
        Where the ink goes.
    frame : tuple of six floats
        ``(a, b, c, d, e, f)``: the unit point ``(x, y)`` lands on pixel ``(a x + b y + c, d x + e y + f)``.
    flat : int, optional
        Draw everything in this one value: how a mask is made with the code that makes the picture.
    """

    def __init__(self, draw: ImageDraw.ImageDraw, frame: tuple[float, ...], flat: int | None = None) -> None:
        self.draw, self.frame, self.flat = draw, frame, flat
        a, b, _, d, e, _ = frame
        self.unit = math.sqrt(abs(a * e - b * d))
        self.upright = b == 0 and d == 0

    def at(self, x: float, y: float, scale: float = 1.0, turn: float = 0.0, *, flip: bool = False) -> Pen:
        """A pen for a part: centred on ``(x, y)``, smaller by `scale`, turned clockwise by `turn` degrees."""
        a, b, c, d, e, f = self.frame
        cos, sin = scale * math.cos(math.radians(turn)), scale * math.sin(math.radians(turn))
        side = -1.0 if flip else 1.0
        tilted = (side * (a * cos + b * sin), b * cos - a * sin, side * (d * cos + e * sin), e * cos - d * sin)
        origin = (a * x + b * y + c, d * x + e * y + f)
        if turn == 0.0:
            tilted = (side * a * scale, b * scale, side * d * scale, e * scale)
        return Pen(self.draw, (*tilted[:2], origin[0], *tilted[2:], origin[1]), self.flat)

    def disc(self, x: float, y: float, radius: float, colour: Colour, *, height: float | None = None) -> None:
        """A filled circle, or an ellipse of half-width `radius` and half-height `height`."""
        tall = radius if height is None else height
        if not self.upright:
            ring = [(x + radius * cos, y + tall * sin) for cos, sin in _unit_circle()]
            self.shape(ring, colour)
            return
        a, _, c, _, e, f = self.frame
        middle_x, middle_y, half_x, half_y = a * x + c, e * y + f, abs(a * radius), abs(e * tall)
        box = (middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y)
        self.draw.ellipse(box, fill=self._ink(colour))

    def shape(self, points: Points, colour: Colour) -> None:
        """A filled polygon."""
        self.draw.polygon(self._pixels(points), fill=self._ink(colour))

    def blob(self, points: tuple[tuple[float, float], ...], colour: Colour) -> None:
        """A filled smooth outline through `points` (a tuple: the curve is remembered)."""
        self.shape(smooth(points, True), colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.shape(((left, top), (right, top), (right, bottom), (left, bottom)), colour)

    def stroke(self, points: Points, width: float, colour: Colour) -> None:
        """A thick line with round joints and ends."""
        pixels = self._pixels(points)
        thick = max(1.0, width * self.unit)
        self.draw.line(pixels, fill=self._ink(colour), width=round(thick), joint="curve")
        if thick > 3:
            half = thick / 2 - 0.5
            for x, y in (pixels[0], pixels[-1]):
                self.draw.ellipse((x - half, y - half, x + half, y + half), fill=self._ink(colour))

    def curve(self, points: tuple[tuple[float, float], ...], width: float, colour: Colour) -> None:
        """A thick smooth line through `points`."""
        self.stroke(smooth(points, False), width, colour)

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        a, b, c, d, e, f = self.frame
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in points]

    def _ink(self, colour: Colour) -> Colour | int:
        return colour if self.flat is None else self.flat


@lru_cache(maxsize=4)
def _unit_circle(n_points: int = 28) -> tuple[tuple[float, float], ...]:
    turns = [2 * math.pi * k / n_points for k in range(n_points)]
    return tuple((math.cos(turn), math.sin(turn)) for turn in turns)


@lru_cache(maxsize=512)
def smooth(points: tuple[tuple[float, float], ...], closed: bool) -> tuple[tuple[float, float], ...]:
    """The Catmull-Rom curve through `points`, six steps from each to the next."""
    n_points = len(points)
    n_spans = n_points if closed else n_points - 1
    curve = []
    for span in range(n_spans):
        if closed:
            corners = [points[(span + step) % n_points] for step in (-1, 0, 1, 2)]
        else:
            corners = [points[min(max(span + step, 0), n_points - 1)] for step in (-1, 0, 1, 2)]
        curve += [_between(corners, step / 6) for step in range(6)]
    return tuple(curve if closed else [*curve, points[-1]])


def _between(corners: Points, t: float) -> tuple[float, float]:
    before, start, end, after = corners
    x, y = (
        0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
        for p0, p1, p2, p3 in zip(before, start, end, after, strict=True)
    )
    return x, y
