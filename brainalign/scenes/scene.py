"""The recipe of a scene, which its id alone determines, and the picture and mask that follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

from brainalign.errors import DataError
from brainalign.scenes import animals, buildings, food, people, plants, tools, words  # noqa: F401  (fill the register)
from brainalign.scenes.background import PATTERNS, paint_background
from brainalign.scenes.look import KINDS, Look
from brainalign.scenes.palette import COLOURS, backgrounds_for, second_tone
from brainalign.scenes.pen import Colour, Pen

Item = TypeVar("Item")

CATEGORIES = ("face", "body", "animal", "food", "house", "tool", "word", "plant")
SIZES = {"small": 0.48, "medium": 0.64, "large": 0.8}
PLACES = {
    "in the middle": (0.0, 0.0),
    "at the left": (-1.0, 0.0),
    "at the right": (1.0, 0.0),
    "at the top": (0.0, -1.0),
    "at the bottom": (0.0, 1.0),
}
MARGIN = 0.03
SUPERSAMPLING = 2

_KINDS_OF = {category: tuple(k.name for k in KINDS.values() if k.category == category) for category in CATEGORIES}
_ID = re.compile(r"scene-(\d+)-(\d{6,})")


@dataclass(frozen=True)
class Scene:
    """Everything a picture is drawn from.

    `x`, `y` and `half` place the object's box as shares of the picture's side; `chance` varies its details.
    """

    id: str
    category: str
    kind: str
    colour: str
    background: str
    pattern: str
    position: str
    size: str
    tone: Colour
    x: float
    y: float
    half: float
    chance: tuple[float, ...]

    @property
    def caption(self) -> str:
        """One English phrase that names all that varies."""
        article = "an" if self.background == "orange" else "a"
        backdrop = f"{article} {self.background} {self.pattern} background"
        return f"a {self.size} {self.colour} {self.kind} on {backdrop} {self.position}"


def scene_id(seed: int, number: int) -> str:
    """The id of picture `number` of a seed: ``scene-<seed>-<number>``."""
    return f"scene-{seed}-{number:06d}"


@lru_cache(maxsize=64)
def _categories_of_block(seed: int, block: int) -> tuple[str, ...]:
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, block))).permutation(len(CATEGORIES))
    return tuple(CATEGORIES[place] for place in order)


def category_of(seed: int, number: int) -> str:
    """The category of a picture: each run of eight numbers holds every category once, in an order of its own."""
    block, place = divmod(number, len(CATEGORIES))
    return _categories_of_block(seed, block)[place]


@lru_cache(maxsize=65536)
def describe_scene(stimulus_id: str) -> Scene:
    """The recipe behind an id.

    Parameters
    ----------
    stimulus_id : str
        As `draw_scenes` gives it, ``scene-<seed>-<number>``.

    Returns
    -------
    Scene

    Raises
    ------
    DataError
        When the id is not one of a scene.

    Examples
    --------
    >>> describe_scene("scene-0-000000") == describe_scene("scene-0-000000")
    True
    """
    match = _ID.fullmatch(stimulus_id)
    if match is None:
        raise DataError(
            "not the id of a drawn scene",
            expected="'scene-<seed>-<number>', such as 'scene-0-000012'",
            found=repr(stimulus_id),
            fix="take the ids from draw_scenes(...).ids",
        )
    seed, number = int(match[1]), int(match[2])
    chance = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, number))).random(16).tolist()
    category = category_of(seed, number)
    kind, colour = _pick(_KINDS_OF[category], chance[0]), _pick(tuple(COLOURS), chance[1])
    clear = backgrounds_for(colour)
    background = _pick(tuple(clear), chance[2])
    position, size = _pick(tuple(PLACES), chance[5]), _pick(tuple(SIZES), chance[6])
    x, y, half = _place(position, SIZES[size] * (0.95 + 0.1 * chance[7]), KINDS[kind].stretch, chance[8:10])
    return Scene(
        id=stimulus_id,
        category=category,
        kind=kind,
        colour=colour,
        background=background,
        pattern=_pick(PATTERNS, chance[4]),
        position=position,
        size=size,
        tone=_pick(clear[background], chance[3]),
        x=x,
        y=y,
        half=half,
        chance=tuple(chance[10:]),
    )


def _pick(options: tuple[Item, ...], chance: float) -> Item:
    return options[int(chance * len(options))]


def _place(position: str, width: float, stretch: float, jitter: list[float]) -> tuple[float, float, float]:
    """Centre and half-width of the object's box: pushed towards its side, wholly inside the picture."""
    half = min(width * stretch, 1 - 2 * MARGIN) / 2
    free = 0.5 - MARGIN - half
    push = PLACES[position]
    x, y = (
        0.5 + free * (0.9 * side + (0.1 if side else 0.25) * (2 * chance - 1))
        for side, chance in zip(push, jitter, strict=True)
    )
    return x, y, half


def draw_scene(stimulus_id: str, size: int = 64) -> Image.Image:
    """The picture behind an id.

    Parameters
    ----------
    stimulus_id : str
    size : int
        Side in pixels; drawn twice as large and reduced.

    Returns
    -------
    PIL.Image.Image
        RGB, ``(size, size)``.
    """
    scene = describe_scene(stimulus_id)
    side = SUPERSAMPLING * size
    tones = (scene.tone, second_tone(scene.tone))
    canvas = paint_background(scene.pattern, *tones, side, scene.chance[5])
    look = Look(COLOURS[scene.colour], tones, scene.chance)
    KINDS[scene.kind].draw(_pen(scene, canvas, side), look)
    return canvas.reduce(SUPERSAMPLING)


def scene_mask(stimulus_id: str, size: int = 64) -> np.ndarray:
    """Where the object of a scene is.

    Parameters
    ----------
    stimulus_id : str
    size : int
        Side in pixels.

    Returns
    -------
    ndarray of bool, shape (size, size)
        True where the object covers at least half of the pixel.
    """
    scene = describe_scene(stimulus_id)
    side = SUPERSAMPLING * size
    canvas = Image.new("L", (side, side), 0)
    look = Look(COLOURS[scene.colour], (scene.tone, second_tone(scene.tone)), scene.chance)
    KINDS[scene.kind].draw(_pen(scene, canvas, side, flat=255), look)
    return np.asarray(canvas.reduce(SUPERSAMPLING)) >= 128


def _pen(scene: Scene, canvas: Image.Image, side: int, flat: int | None = None) -> Pen:
    half = scene.half * side
    frame = (half, 0.0, scene.x * side, 0.0, half, scene.y * side)
    pen = Pen(ImageDraw.Draw(canvas), frame, flat)
    mirrored = scene.category != "word" and scene.chance[4] < 0.5
    return pen.at(0, 0, flip=True) if mirrored else pen
