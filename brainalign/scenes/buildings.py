"""Houses."""

from __future__ import annotations

from brainalign.scenes.look import BLACK, WHITE, WOOD, Look, kind
from brainalign.scenes.palette import mix
from brainalign.scenes.pen import Colour, Pen

ROOFS: tuple[Colour, ...] = ((150, 50, 36), (60, 62, 78), (206, 150, 110))
GLASS: Colour = (176, 222, 248)
LAMPLIGHT: Colour = (255, 232, 130)


def _door(pen: Pen, look: Look, x: float, top: float, bottom: float, half: float) -> None:
    pen.box(x - half, top, x + half, bottom, look.beside(*WOOD, (60, 36, 24)))
    pen.disc(x + half * 0.5, (top + bottom) / 2, 0.035, LAMPLIGHT)


def _window(pen: Pen, look: Look, x: float, y: float, half: float) -> None:
    pen.box(x - half, y - half, x + half, y + half, look.beside(WHITE, (60, 50, 50)))
    pen.box(x - half * 0.8, y - half * 0.8, x + half * 0.8, y + half * 0.8, look.beside(GLASS, (60, 96, 140)))
    pen.stroke(((x, y - half), (x, y + half)), half * 0.2, look.beside(WHITE, (60, 50, 50)))
    pen.stroke(((x - half, y), (x + half, y)), half * 0.2, look.beside(WHITE, (60, 50, 50)))


@kind("house", "cottage")
def cottage(pen: Pen, look: Look) -> None:
    roof = look.against(*ROOFS)
    pen.box(0.36, -0.9, 0.6, -0.3, mix(roof, BLACK, 0.25))
    pen.box(-0.74, -0.14, 0.74, 0.94, look.colour)
    pen.shape(((-0.98, -0.1), (0.0, -0.92), (0.98, -0.1)), roof)
    _door(pen, look, -0.02, 0.36, 0.94, 0.17)
    _window(pen, look, -0.46, 0.34, 0.18)
    _window(pen, look, 0.46, 0.34, 0.18)


@kind("house", "tower block")
def tower_block(pen: Pen, look: Look) -> None:
    pen.box(-0.52, -0.9, 0.52, 0.96, look.dark)
    pen.box(-0.46, -0.84, 0.46, 0.96, look.colour)
    pane = look.beside(LAMPLIGHT, (50, 60, 90))
    for row in range(5):
        for x in (-0.29, 0.0, 0.29):
            pen.box(x - 0.09, -0.7 + 0.26 * row, x + 0.09, -0.54 + 0.26 * row, pane)
    _door(pen, look, 0.0, 0.64, 0.96, 0.14)


@kind("house", "castle")
def castle(pen: Pen, look: Look) -> None:
    pen.box(-0.6, -0.1, 0.6, 0.94, look.colour)
    for x in (-0.45, -0.15, 0.15, 0.45):
        pen.box(x - 0.08, -0.26, x + 0.08, -0.08, look.colour)
    roof = look.against(*ROOFS)
    for x in (-0.72, 0.72):
        pen.box(x - 0.24, -0.34, x + 0.24, 0.94, look.dark)
        pen.shape(((x - 0.28, -0.34), (x + 0.28, -0.34), (x, -0.96)), roof)
        pen.box(x - 0.06, -0.12, x + 0.06, 0.14, look.beside(LAMPLIGHT, BLACK))
    gate = look.beside((60, 36, 24), *WOOD)
    pen.disc(0, 0.52, 0.24, gate)
    pen.box(-0.24, 0.52, 0.24, 0.94, gate)


@kind("house", "church")
def church(pen: Pen, look: Look) -> None:
    roof = look.against(*ROOFS)
    pen.box(-0.1, 0.1, 0.92, 0.94, look.colour)
    pen.shape(((-0.16, 0.14), (0.06, -0.34), (0.78, -0.34), (0.98, 0.14)), roof)
    pen.box(-0.74, -0.3, -0.1, 0.94, look.dark)
    pen.shape(((-0.82, -0.28), (-0.02, -0.28), (-0.42, -0.78)), roof)
    cross = look.against(WHITE, BLACK, (240, 200, 70))
    pen.stroke(((-0.42, -0.98), (-0.42, -0.7)), 0.06, cross)
    pen.stroke(((-0.52, -0.9), (-0.32, -0.9)), 0.06, cross)
    pen.disc(-0.42, -0.02, 0.13, look.beside(GLASS, (60, 96, 140)))
    _door(pen, look, -0.42, 0.46, 0.94, 0.16)
    for x in (0.14, 0.42, 0.7):
        pen.box(x - 0.07, 0.34, x + 0.07, 0.68, look.beside(GLASS, (60, 96, 140)))
