"""Plants."""

from __future__ import annotations

import math

from brainalign.scenes.look import LEAF, WOOD, Look, kind
from brainalign.scenes.pen import Colour, Pen

POTS: tuple[Colour, ...] = ((196, 96, 56), (110, 50, 30), (236, 190, 150))


@kind("plant", "tree")
def tree(pen: Pen, look: Look) -> None:
    trunk = look.against(*WOOD)
    pen.shape(((-0.12, 0.0), (0.12, 0.0), (0.2, 0.98), (-0.2, 0.98)), trunk)
    for x, y, radius in ((-0.48, -0.12, 0.42), (0.48, -0.12, 0.42), (0.0, -0.5, 0.48), (0, 0.0, 0.4)):
        pen.disc(x, y, radius, look.dark)
    for x, y, radius in ((-0.46, -0.17, 0.36), (0.44, -0.17, 0.36), (-0.02, -0.53, 0.42), (0, -0.06, 0.34)):
        pen.disc(x, y, radius, look.colour)


@kind("plant", "pine tree")
def pine_tree(pen: Pen, look: Look) -> None:
    pen.box(-0.13, 0.6, 0.13, 0.98, look.against(*WOOD))
    for top, bottom, half in ((-0.1, 0.68, 0.74), (-0.52, 0.28, 0.58), (-0.96, -0.16, 0.42)):
        pen.shape(((0, top), (half, bottom), (-half, bottom)), look.dark)
        pen.shape(((0, top), (half * 0.5, bottom - 0.06), (-half, bottom - 0.06)), look.colour)


@kind("plant", "flower")
def flower(pen: Pen, look: Look) -> None:
    leaf = look.against(*LEAF)
    pen.curve(((0, -0.2), (0.04, 0.4), (0, 0.98)), 0.1, leaf)
    pen.blob(((0.02, 0.82), (0.24, 0.4), (0.66, 0.34), (0.4, 0.7)), leaf)
    pen.blob(((0.0, 0.9), (-0.24, 0.52), (-0.62, 0.46), (-0.38, 0.8)), leaf)
    for petal in range(6):
        turn = math.radians(60 * petal + look.swing(0, 0, 60))
        pen.disc(0.38 * math.cos(turn), -0.36 + 0.38 * math.sin(turn), 0.26, look.colour)
    pen.disc(0, -0.36, 0.22, look.beside((250, 205, 50), (110, 60, 30)))


@kind("plant", "tulip")
def tulip(pen: Pen, look: Look) -> None:
    leaf = look.against(*LEAF)
    pen.stroke(((0, -0.1), (0, 0.94)), 0.1, leaf)
    pen.blob(((0.0, 0.94), (0.2, 0.4), (0.52, 0.0), (0.42, 0.6)), leaf)
    pen.blob(((0.0, 0.94), (-0.2, 0.5), (-0.52, 0.14), (-0.42, 0.66)), leaf)
    cup = ((-0.46, -0.9), (-0.2, -0.6), (0.0, -0.96), (0.2, -0.6), (0.46, -0.9))
    pen.shape((*cup, (0.48, -0.36), (0.3, -0.04), (0, 0.06), (-0.3, -0.04), (-0.48, -0.36)), look.colour)
    pen.blob(((0.0, -0.9), (0.2, -0.4), (0.0, 0.02), (-0.2, -0.4)), look.dark)


@kind("plant", "cactus")
def cactus(pen: Pen, look: Look) -> None:
    pot = look.against(*POTS)
    pen.stroke(((0, -0.7), (0, 0.5)), 0.42, look.colour)
    pen.stroke(((-0.14, 0.1), (-0.56, 0.1), (-0.56, -0.32)), 0.25, look.colour)
    pen.stroke(((0.14, -0.1), (0.56, -0.1), (0.56, -0.52)), 0.25, look.colour)
    for x, top, bottom in ((-0.08, -0.72, 0.4), (0.08, -0.72, 0.4), (-0.56, -0.3, 0.06), (0.56, -0.5, -0.14)):
        pen.stroke(((x, top), (x, bottom)), 0.04, look.dark)
    pen.box(-0.5, 0.44, 0.5, 0.62, pot)
    pen.shape(((-0.42, 0.62), (0.42, 0.62), (0.3, 0.98), (-0.3, 0.98)), pot)


@kind("plant", "palm tree")
def palm_tree(pen: Pen, look: Look) -> None:
    pen.curve(((0.12, 0.88), (0.04, 0.46), (-0.02, 0.0), (0.06, -0.46)), 0.18, look.against(*WOOD))
    for tip, bend, tone in _FRONDS:
        for side in (-1, 1):
            frond = pen.at(0.06, -0.52, flip=side < 0)
            inner = (bend[0] * 0.9, bend[1] + 0.26)
            frond.blob(((-0.06, 0.02), bend, tip, inner), look.dark if tone else look.colour)
    for x in (-0.06, 0.16):
        pen.disc(x, -0.42, 0.1, look.against(*WOOD))


_FRONDS = (((0.2, -0.42), (0.2, -0.36), 1), ((0.56, 0.62), (0.46, 0.0), 1), ((0.92, 0.3), (0.56, -0.34), 0))
