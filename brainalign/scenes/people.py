"""Faces and bodies."""

from __future__ import annotations

from brainalign.scenes.look import BLACK, WHITE, Look, kind
from brainalign.scenes.palette import mix
from brainalign.scenes.pen import Colour, Pen

SKIN: tuple[Colour, ...] = ((250, 214, 184), (226, 172, 128), (160, 104, 66), (96, 60, 40))
HAIR: tuple[Colour, ...] = ((40, 28, 22), (120, 72, 34), (238, 204, 120), (200, 200, 204))
SHOES: tuple[Colour, ...] = ((30, 30, 34), (236, 236, 236))
LIPS: Colour = (150, 24, 40)
Limbs = tuple[tuple[tuple[float, float], tuple[float, float]], ...]


def _head(pen: Pen, look: Look, *, brow_tilt: float = 0.0, eye: float = 0.17) -> None:
    """Hair, ears, head, eyes, brows and nose: all but the mouth, which makes the expression."""
    hair = look.against(*(tone for tone in HAIR if tone != look.beside(*HAIR)), look.beside(*HAIR))
    long_hair = look.chance[0] < 0.5
    if long_hair:
        pen.blob(((-0.82, 0.7), (-0.86, -0.3), (-0.5, -0.9), (0, -1.0), (0.5, -0.9), (0.86, -0.3), (0.82, 0.7)), hair)
    for side in (-1, 1):
        pen.disc(side * 0.72, 0.05, 0.14, look.dark, height=0.2)
    pen.disc(0, 0.08, 0.72, look.dark, height=0.9)
    pen.disc(0, 0.08, 0.67, look.colour, height=0.85)
    fringe = ((-0.72, -0.1), (-0.66, -0.62), (-0.3, -0.96), (0.3, -0.96), (0.66, -0.62), (0.72, -0.1))
    parting = ((0.5, -0.4), (0.1, -0.5), (-0.5, -0.4)) if long_hair else ((0.55, -0.45), (0, -0.6), (-0.55, -0.45))
    pen.shape((*fringe, *parting), hair)
    for side in (-1, 1):
        pen.disc(side * 0.28, -0.08, eye, WHITE)
        pen.disc(side * 0.28, -0.06, eye * 0.55, BLACK)
        pen.stroke(
            ((side * 0.12, -0.33 + brow_tilt), (side * 0.44, -0.33 - brow_tilt)), 0.075, mix(look.ink, look.colour, 0.2)
        )
    pen.stroke(((0.02, 0.08), (-0.07, 0.27), (0.05, 0.29)), 0.05, look.dark)


@kind("face", "happy face")
def happy_face(pen: Pen, look: Look) -> None:
    _head(pen, look)
    grin = ((-0.4, 0.42), (-0.2, 0.46), (0, 0.47), (0.2, 0.46), (0.4, 0.42), (0.22, 0.68), (0, 0.75), (-0.22, 0.68))
    pen.shape(grin, look.beside(LIPS, WHITE))
    pen.shape(((-0.34, 0.445), (0.34, 0.445), (0.26, 0.545), (-0.26, 0.545)), look.beside(WHITE, LIPS, BLACK))


@kind("face", "sad face")
def sad_face(pen: Pen, look: Look) -> None:
    _head(pen, look, brow_tilt=-0.08)
    pen.curve(((-0.34, 0.7), (-0.18, 0.55), (0, 0.5), (0.18, 0.55), (0.34, 0.7)), 0.1, look.beside(LIPS, WHITE))
    pen.blob(((0.34, 0.12), (0.43, 0.32), (0.34, 0.4), (0.25, 0.32)), look.beside((150, 210, 255), (30, 110, 220)))


@kind("face", "surprised face")
def surprised_face(pen: Pen, look: Look) -> None:
    _head(pen, look, eye=0.21)
    pen.disc(0, 0.6, 0.17, look.beside(LIPS, WHITE), height=0.22)
    pen.disc(0, 0.62, 0.1, BLACK, height=0.14)


@kind("face", "angry face")
def angry_face(pen: Pen, look: Look) -> None:
    _head(pen, look, brow_tilt=0.12, eye=0.14)
    pen.box(-0.34, 0.46, 0.34, 0.68, look.beside(LIPS, BLACK))
    for left in (-0.29, -0.085, 0.12):
        pen.box(left, 0.5, left + 0.17, 0.64, WHITE)


def _body(pen: Pen, look: Look, *, arms: Limbs, legs: Limbs, lean: float = 0.0) -> None:
    """A person: limbs as bent strokes from shoulder and hip, each given as (elbow, hand) or (knee, foot)."""
    skin, hair = look.against(*SKIN), look.against(*HAIR)
    trousers = look.against(look.dark, (44, 56, 92), (200, 190, 160))
    for (knee, foot), hip in zip(legs, (-0.13, 0.13), strict=True):
        pen.stroke(((hip, 0.25), knee, foot), 0.24, trousers)
        toe = foot[0] + (0.12 if foot[0] >= hip - 0.1 else -0.12)
        pen.stroke((foot, (toe, foot[1])), 0.13, look.against(*SHOES))
    for (elbow, hand), shoulder in zip(arms, (-0.24, 0.24), strict=True):
        pen.stroke(((shoulder + lean, -0.36), elbow, hand), 0.17, look.dark)
        pen.disc(hand[0], hand[1], 0.115, skin)
    torso = ((-0.3 + lean, -0.46), (0.3 + lean, -0.46), (0.27, 0.3), (-0.27, 0.3))
    pen.shape(torso, look.colour)
    pen.stroke(((-0.24 + lean, -0.43), (0.24 + lean, -0.43)), 0.16, look.colour)
    pen.box(-0.08 + lean, -0.6, 0.08 + lean, -0.45, skin)
    pen.disc(1.3 * lean, -0.76, 0.23, hair, height=0.24)
    pen.disc(1.3 * lean, -0.71, 0.19, skin, height=0.21)
    for side in (-1, 1):
        pen.disc(1.3 * lean + side * 0.07, -0.73, 0.03, BLACK if skin in SKIN[:3] else WHITE)


@kind("body", "standing person")
def standing_person(pen: Pen, look: Look) -> None:
    _body(
        pen,
        look,
        arms=(((-0.4, -0.05), (-0.42, 0.24)), ((0.4, -0.05), (0.42, 0.24))),
        legs=(((-0.15, 0.6), (-0.16, 0.9)), ((0.15, 0.6), (0.16, 0.9))),
    )


@kind("body", "waving person")
def waving_person(pen: Pen, look: Look) -> None:
    _body(
        pen,
        look,
        arms=(((-0.42, -0.05), (-0.44, 0.24)), ((0.52, -0.5), (0.5, -0.84))),
        legs=(((-0.15, 0.6), (-0.18, 0.9)), ((0.15, 0.6), (0.18, 0.9))),
    )


@kind("body", "running person")
def running_person(pen: Pen, look: Look) -> None:
    _body(
        pen,
        look,
        arms=(((-0.42, -0.08), (-0.66, -0.26)), ((0.52, -0.12), (0.72, -0.4))),
        legs=(((-0.34, 0.58), (-0.78, 0.62)), ((0.46, 0.42), (0.42, 0.88))),
        lean=0.1,
    )


@kind("body", "jumping person")
def jumping_person(pen: Pen, look: Look) -> None:
    _body(
        pen,
        look,
        arms=(((-0.5, -0.56), (-0.68, -0.86)), ((0.5, -0.56), (0.68, -0.86))),
        legs=(((-0.42, 0.52), (-0.62, 0.84)), ((0.42, 0.52), (0.62, 0.84))),
    )
