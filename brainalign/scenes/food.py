"""Food."""

from __future__ import annotations

from brainalign.scenes.look import LEAF, WHITE, WOOD, Look, kind
from brainalign.scenes.pen import Colour, Pen

BREAD: Colour = (214, 150, 74)
CRUST: Colour = (176, 108, 44)
CHEESE: Colour = (250, 216, 110)


@kind("food", "apple")
def apple(pen: Pen, look: Look) -> None:
    body = ((0, -0.42), (0.4, -0.6), (0.82, -0.34), (0.8, 0.3), (0.4, 0.9), (0, 0.82), (-0.4, 0.9), (-0.8, 0.3))
    pen.blob((*body, (-0.82, -0.34), (-0.4, -0.6)), look.dark)
    pen.at(-0.02, 0.02, 0.93).blob((*body, (-0.82, -0.34), (-0.4, -0.6)), look.colour)
    pen.curve(((0, -0.4), (0.02, -0.66), (0.12, -0.92)), 0.1, look.against(*WOOD))
    pen.blob(((0.1, -0.62), (0.3, -0.92), (0.66, -0.96), (0.5, -0.68)), look.against(*LEAF))
    pen.at(-0.46, -0.2, 1.0, 25).disc(0, 0, 0.1, look.light, height=0.22)


@kind("food", "pizza")
def pizza(pen: Pen, look: Look) -> None:
    crust = look.against(BREAD, CRUST, (92, 52, 22))
    pen.shape(((-0.86, -0.62), (0.86, -0.62), (0.0, 0.98)), crust)
    pen.shape(((-0.74, -0.58), (0.74, -0.58), (0.0, 0.82)), CHEESE)
    pen.curve(((-0.84, -0.6), (-0.4, -0.74), (0.4, -0.74), (0.84, -0.6)), 0.26, crust)
    for x, y, radius in ((-0.36, -0.3, 0.18), (0.32, -0.34, 0.18), (-0.04, 0.08, 0.19), (0.06, 0.5, 0.12)):
        pen.disc(x, y, radius, look.dark)
        pen.disc(x, y, radius * 0.82, look.colour)


@kind("food", "ice cream")
def ice_cream(pen: Pen, look: Look) -> None:
    cone = look.against(BREAD, (238, 196, 128), CRUST)
    pen.shape(((-0.44, 0.0), (0.44, 0.0), (0.0, 0.98)), cone)
    for start, end in (((-0.3, 0.02), (0.2, 0.52)), ((0.02, 0.02), (0.32, 0.28))):
        pen.stroke((start, end), 0.05, CRUST if cone != CRUST else BREAD)
        pen.stroke(((-start[0], start[1]), (-end[0], end[1])), 0.05, CRUST if cone != CRUST else BREAD)
    for x in (-0.4, -0.14, 0.14, 0.4):
        pen.disc(x, 0.0, 0.18, look.colour)
    pen.disc(0, -0.32, 0.55, look.colour, height=0.46)
    pen.curve(((-0.34, -0.2), (0, -0.08), (0.34, -0.2)), 0.06, look.dark)
    pen.disc(-0.2, -0.48, 0.12, look.light, height=0.08)
    pen.disc(0.04, -0.82, 0.16, look.against((200, 20, 50), (255, 90, 110)))


@kind("food", "burger")
def burger(pen: Pen, look: Look) -> None:
    bun = look.against(BREAD, (240, 190, 120), CRUST)
    pen.blob(((-0.84, 0.5), (0.84, 0.5), (0.78, 0.82), (0.4, 0.9), (-0.4, 0.9), (-0.78, 0.82)), bun)
    pen.stroke(((-0.8, 0.36), (0.8, 0.36)), 0.26, (92, 48, 28))
    pen.shape(((-0.86, 0.12), (0.86, 0.12), (0.86, 0.24), (0.5, 0.42), (0.2, 0.24), (-0.3, 0.24)), CHEESE)
    pen.stroke(((-0.84, 0.06), (0.84, 0.06)), 0.22, look.colour)
    pen.blob(((-0.86, -0.08), (-0.74, -0.56), (-0.36, -0.86), (0.36, -0.86), (0.74, -0.56), (0.86, -0.08)), bun)
    for x, y in ((-0.42, -0.5), (-0.1, -0.68), (0.22, -0.46), (0.48, -0.56), (-0.14, -0.34)):
        pen.disc(x, y, 0.06, WHITE, height=0.045)


@kind("food", "cupcake")
def cupcake(pen: Pen, look: Look) -> None:
    cup = look.against((60, 130, 190), (240, 236, 220), (110, 66, 40))
    pen.shape(((-0.62, 0.1), (0.62, 0.1), (0.44, 0.96), (-0.44, 0.96)), cup)
    for x in (-0.36, -0.12, 0.12, 0.36):
        pen.stroke(((x, 0.2), (0.72 * x, 0.94)), 0.045, (40, 40, 60))
    for y, half in ((0.04, 0.76), (-0.26, 0.56), (-0.52, 0.36)):
        pen.stroke(((0.16 - half, y), (half - 0.16, y)), 0.36, look.colour)
        pen.stroke(((0.2 - half, y + 0.15), (half - 0.2, y + 0.12)), 0.05, look.dark)
    pen.disc(0, -0.8, 0.17, look.against((205, 20, 50), (255, 90, 110), (250, 220, 90)))
