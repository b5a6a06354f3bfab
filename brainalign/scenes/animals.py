"""Animals."""

from __future__ import annotations

from brainalign.scenes.look import BLACK, WHITE, Look, kind
from brainalign.scenes.pen import Colour, Pen

BEAK: Colour = (250, 170, 40)
ROSE: Colour = (240, 150, 170)


def _eye(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.disc(x, y, radius, WHITE)
    pen.disc(x + 0.15 * radius, y, radius * 0.6, BLACK)


@kind("animal", "cat")
def cat(pen: Pen, look: Look) -> None:
    pen.curve(((0.4, 0.8), (0.85, 0.75), (0.9, 0.3), (0.7, 0.05)), 0.17, look.dark)
    pen.blob(((-0.5, 0.95), (-0.5, 0.4), (-0.2, 0.05), (0.2, 0.05), (0.5, 0.4), (0.5, 0.95), (0, 1.0)), look.colour)
    for side in (-1, 1):
        pen.shape(((side * 0.6, -0.95), (side * 0.62, -0.3), (side * 0.1, -0.62)), look.colour)
        pen.shape(((side * 0.53, -0.78), (side * 0.52, -0.42), (side * 0.24, -0.6)), ROSE)
        pen.stroke(((side * 0.17, 0.5), (side * 0.17, 0.92)), 0.06, look.dark)
    pen.disc(0, -0.28, 0.62, look.colour, height=0.48)
    for side in (-1, 1):
        pen.disc(side * 0.25, -0.35, 0.13, look.beside(WHITE, (250, 225, 90), (140, 220, 120)), height=0.14)
        pen.disc(side * 0.25, -0.35, 0.05, BLACK, height=0.13)
        for rise in (-0.06, 0.06):
            pen.stroke(((side * 0.2, -0.12 + 0.4 * rise), (side * 0.78, -0.14 + 1.6 * rise)), 0.03, look.ink)
    pen.shape(((-0.08, -0.2), (0.08, -0.2), (0, -0.1)), look.beside(ROSE, BLACK))
    pen.stroke(((-0.12, 0.0), (0, -0.08), (0.12, 0.0)), 0.04, look.ink)


@kind("animal", "dog")
def dog(pen: Pen, look: Look) -> None:
    pen.curve(((-0.68, -0.1), (-0.86, -0.3), (-0.84, -0.62)), 0.14, look.dark)
    for hip, tone in ((-0.42, look.dark), (0.34, look.dark), (-0.6, look.colour), (0.16, look.colour)):
        pen.stroke(((hip, 0.2), (hip, 0.85)), 0.2, tone)
    body = (
        (-0.78, -0.05),
        (-0.5, -0.2),
        (0.1, -0.18),
        (0.38, -0.4),
        (0.5, 0.0),
        (0.3, 0.34),
        (-0.2, 0.3),
        (-0.7, 0.38),
    )
    pen.blob(body, look.colour)
    pen.disc(0.46, -0.5, 0.36, look.colour)
    pen.blob(((0.5, -0.5), (0.94, -0.46), (0.96, -0.24), (0.6, -0.2)), look.colour)
    pen.disc(0.93, -0.42, 0.09, look.beside(BLACK, WHITE))
    pen.blob(((0.18, -0.82), (0.36, -0.74), (0.34, -0.3), (0.2, -0.1), (0.06, -0.34)), look.dark)
    _eye(pen, 0.58, -0.6, 0.1)
    pen.stroke(((0.3, -0.14), (0.5, -0.04)), 0.12, look.beside((200, 30, 40), (40, 90, 220)))
    pen.stroke(((0.72, -0.22), (0.84, -0.26)), 0.04, look.ink)


@kind("animal", "fish")
def fish(pen: Pen, look: Look) -> None:
    pen.shape(((-0.45, 0), (-0.98, -0.46), (-0.84, 0), (-0.98, 0.46)), look.dark)
    pen.blob(((-0.3, -0.4), (0.1, -0.72), (0.4, -0.42)), look.dark)
    pen.blob(((-0.2, 0.4), (0.0, 0.66), (0.24, 0.42)), look.dark)
    pen.disc(0.16, 0, 0.8, look.colour, height=0.48)
    for x, reach in ((-0.12, 0.32), (0.12, 0.36)):
        pen.curve(((x, -reach), (x + 0.13, 0), (x, reach)), 0.055, look.dark)
    pen.blob(((0.22, 0.06), (-0.04, 0.24), (0.02, 0.02)), look.dark)
    _eye(pen, 0.62, -0.12, 0.14)
    pen.curve(((0.93, 0.1), (0.8, 0.14), (0.7, 0.1)), 0.05, look.ink)


@kind("animal", "bird")
def bird(pen: Pen, look: Look) -> None:
    for x in (-0.08, 0.16):
        pen.stroke(((x, 0.45), (x, 0.93), (x + 0.16, 0.93)), 0.06, look.against(BEAK, BLACK))
    pen.shape(((-0.4, 0.1), (-0.98, -0.02), (-0.96, 0.34), (-0.4, 0.42)), look.dark)
    pen.blob(((-0.6, 0.1), (-0.1, -0.22), (0.3, -0.3), (0.5, 0.1), (0.24, 0.5), (-0.2, 0.54), (-0.5, 0.4)), look.colour)
    pen.shape(((0.6, -0.6), (0.98, -0.42), (0.6, -0.3)), look.against(BEAK, BLACK, (200, 60, 20)))
    pen.disc(0.38, -0.46, 0.34, look.colour)
    pen.blob(((0.18, 0.0), (-0.1, -0.14), (-0.62, 0.2), (-0.2, 0.36), (0.12, 0.24)), look.dark)
    _eye(pen, 0.46, -0.54, 0.1)


@kind("animal", "elephant")
def elephant(pen: Pen, look: Look) -> None:
    pen.curve(((-0.78, -0.2), (-0.92, 0.0), (-0.9, 0.25)), 0.07, look.dark)
    for hip, tone in ((-0.3, look.dark), (0.22, look.dark), (-0.52, look.colour), (0.02, look.colour)):
        pen.stroke(((hip, 0.2), (hip, 0.84)), 0.26, tone)
    pen.blob(
        ((-0.8, 0.1), (-0.66, -0.44), (-0.2, -0.62), (0.3, -0.5), (0.4, 0.1), (0.1, 0.44), (-0.5, 0.44)), look.colour
    )
    pen.curve(((0.68, -0.3), (0.86, 0.1), (0.8, 0.5), (0.92, 0.66)), 0.19, look.colour)
    pen.disc(0.48, -0.36, 0.36, look.colour)
    pen.blob(((0.3, -0.7), (0.0, -0.66), (-0.16, -0.3), (0.0, 0.06), (0.26, 0.02), (0.34, -0.3)), look.dark)
    pen.curve(((0.62, 0.0), (0.74, 0.2), (0.98, 0.2)), 0.07, look.against(WHITE, (250, 240, 200)))
    _eye(pen, 0.58, -0.44, 0.08)


@kind("animal", "butterfly")
def butterfly(pen: Pen, look: Look) -> None:
    for side in (-1, 1):
        wing = pen.at(0, 0, flip=side < 0)
        wing.blob(((0.06, 0.0), (0.3, -0.7), (0.8, -0.9), (0.98, -0.5), (0.7, -0.02)), look.dark)
        wing.blob(((0.06, 0.05), (0.62, 0.06), (0.8, 0.5), (0.5, 0.86), (0.16, 0.5)), look.dark)
        wing.blob(((0.14, -0.08), (0.36, -0.6), (0.76, -0.78), (0.88, -0.5), (0.64, -0.1)), look.colour)
        wing.blob(((0.14, 0.12), (0.56, 0.14), (0.68, 0.48), (0.48, 0.72), (0.22, 0.44)), look.colour)
        wing.disc(0.64, -0.5, 0.12, look.light if look.colour[0] < 230 else look.ink)
        wing.disc(0.46, 0.42, 0.09, look.light if look.colour[0] < 230 else look.ink)
        wing.curve(((0.03, -0.5), (0.1, -0.8), (0.26, -0.94)), 0.045, look.against(BLACK, WHITE))
    pen.disc(0, 0.05, 0.08, look.against(BLACK, WHITE), height=0.56)
    pen.disc(0, -0.52, 0.11, look.against(BLACK, WHITE))
