"""Tools: the grip has the object's colour, the working end is steel that stands out from the background."""

from __future__ import annotations

from brainalign.scenes.look import STEEL, WOOD, Look, kind
from brainalign.scenes.palette import mix
from brainalign.scenes.pen import Pen


@kind("tool", "hammer")
def hammer(pen: Pen, look: Look) -> None:
    steel = look.against(*STEEL)
    tool = pen.at(0, 0, 0.87, look.swing(0, 15, 55))
    tool.stroke(((0, -0.5), (0, 0.9)), 0.2, look.colour)
    tool.stroke(((0, 0.45), (0, 0.9)), 0.25, look.dark)
    tool.box(-0.2, -0.84, 0.4, -0.46, steel)
    tool.box(0.4, -0.94, 0.66, -0.36, mix(steel, (0, 0, 0), 0.2))
    tool.blob(((-0.14, -0.86), (-0.5, -0.78), (-0.76, -0.44), (-0.46, -0.58), (-0.14, -0.5)), steel)


@kind("tool", "wrench")
def wrench(pen: Pen, look: Look) -> None:
    tool = pen.at(0, 0, 1.0, look.swing(0, 20, 60))
    tool.stroke(((0, -0.4), (0, 0.6)), 0.26, look.colour)
    tool.stroke(((0, -0.2), (0, 0.5)), 0.08, look.dark)
    jaw = ((-0.16, -0.98), (-0.16, -0.66), (0, -0.58), (0.16, -0.66), (0.16, -0.98))
    tool.shape(
        (*jaw, (0.36, -0.8), (0.36, -0.5), (0.16, -0.26), (-0.16, -0.26), (-0.36, -0.5), (-0.36, -0.8)), look.colour
    )
    foot = ((-0.13, 0.98), (-0.13, 0.76), (0, 0.7), (0.13, 0.76), (0.13, 0.98))
    tool.shape((*foot, (0.3, 0.86), (0.3, 0.6), (0.13, 0.42), (-0.13, 0.42), (-0.3, 0.6), (-0.3, 0.86)), look.colour)


@kind("tool", "pair of scissors")
def scissors(pen: Pen, look: Look) -> None:
    steel = look.against(*STEEL)
    for side in (-1, 1):
        blade = pen.at(0, 0.1, 1.0, side * look.swing(0, 18, 27))
        blade.shape(((-0.09, 0.2), (0.09, 0.2), (0.07, -0.7), (0.0, -1.04), (-0.07, -0.7)), steel)
        blade.stroke(((0, 0.1), (0, 0.4)), 0.14, look.colour)
        ring = tuple((0.23 * x, 0.62 + 0.25 * y) for x, y in _RING)
        blade.stroke(ring, 0.13, look.colour)
    pen.disc(0, 0.1, 0.08, look.dark)


_RING = ((0, -1), (0.7, -0.7), (1, 0), (0.7, 0.7), (0, 1), (-0.7, 0.7), (-1, 0), (-0.7, -0.7), (0, -1), (0.35, -0.9))


@kind("tool", "saw")
def saw(pen: Pen, look: Look) -> None:
    tool = pen.at(0, 0, 1.0, look.swing(0, -20, 20))
    teeth = [(0.4 - 0.1 * step, 0.32 - 0.018 * step + (0.12 if step % 2 else 0.0)) for step in range(14)]
    tool.shape((*teeth, (-0.98, -0.06), (0.4, -0.3)), look.against(*STEEL))
    handle = ((0.34, -0.4), (0.7, -0.44), (0.98, -0.2), (0.96, 0.36), (0.7, 0.52), (0.36, 0.44))
    tool.blob(handle, look.colour)
    tool.blob(((0.54, -0.16), (0.72, -0.18), (0.78, 0.1), (0.68, 0.26), (0.54, 0.2)), look.dark)


@kind("tool", "screwdriver")
def screwdriver(pen: Pen, look: Look) -> None:
    steel = look.against(*STEEL)
    tool = pen.at(0, 0, 1.0, look.swing(0, 25, 65))
    tool.stroke(((0, -0.2), (0, 0.86)), 0.13, steel)
    tool.shape(((-0.13, 0.74), (0.13, 0.74), (0.09, 1.0), (-0.09, 1.0)), steel)
    tool.blob(((-0.24, -0.94), (0.24, -0.94), (0.25, -0.4), (0.15, -0.04), (-0.15, -0.04), (-0.25, -0.4)), look.colour)
    for x in (-0.1, 0.1):
        tool.stroke(((x, -0.84), (x, -0.36)), 0.055, look.dark)


@kind("tool", "paintbrush")
def paintbrush(pen: Pen, look: Look) -> None:
    tool = pen.at(0, 0, 1.0, look.swing(0, 20, 60))
    tool.blob(((-0.09, 0.0), (0.09, 0.0), (0.13, 0.5), (0.07, 0.96), (-0.07, 0.96), (-0.13, 0.5)), look.against(*WOOD))
    tool.shape(((-0.3, -0.3), (0.3, -0.3), (0.12, 0.04), (-0.12, 0.04)), look.against(*STEEL))
    bristles = ((-0.3, -0.26), (0.3, -0.26), (0.34, -0.6), (0.16, -0.86), (-0.12, -1.0), (-0.18, -0.84), (-0.34, -0.6))
    tool.blob(bristles, look.colour)
    tool.stroke(((-0.27, -0.27), (0.27, -0.27)), 0.1, look.against(*STEEL))
    for x in (-0.14, 0.02, 0.16):
        tool.stroke(((x, -0.38), (x * 1.1, -0.68)), 0.04, look.dark)
