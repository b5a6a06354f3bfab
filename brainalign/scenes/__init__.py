"""Offline stimuli: drawn pictures a person names at a glance, with captions, labels and masks.

Eight categories of 43 kinds; colour, size, place and background vary independently of the category, and every
object's colour keeps a set distance from the background's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count, islice

import pandas as pd

from brainalign.errors import DataError, closest
from brainalign.scenes.look import KINDS
from brainalign.scenes.scene import (
    CATEGORIES,
    Scene,
    category_of,
    describe_scene,
    draw_scene,
    scene_id,
    scene_mask,
)
from brainalign.stimuli import Stimuli

__all__ = ["CATEGORIES", "KINDS", "Scene", "describe_scene", "draw_scene", "draw_scenes", "scene_mask"]

COLUMNS = ["category", "kind", "colour", "background", "pattern", "position", "size", "x", "y", "width"]


def draw_scenes(n: int, *, seed: int = 0, size: int = 64, categories: Sequence[str] | None = None) -> Stimuli:
    """Draw `n` scenes: one object each, on a background it stands out from.

    An id says everything: ``scene-<seed>-<number>`` is the same picture whatever `n`, `categories` and the order of
    asking, and ids of different seeds never meet. Eight numbers in a row hold each category once.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        Another seed is another endless series of pictures.
    size : int
        Side in pixels.
    categories : sequence of str, optional
        Only these, of `CATEGORIES`; the pictures are those of the full series, the others left out.

    Returns
    -------
    Stimuli
        Pictures and masks drawn when asked for; captions such as "a small red apple on a blue striped background at
        the left"; a table of category, kind, colour, background, pattern, position, size, and the object's centre
        (`x`, `y`) and `width` as shares of the picture's side.

    Raises
    ------
    DataError
        When `n` or `size` is too small, `seed` is negative, or a category is unknown.

    Examples
    --------
    >>> scenes = draw_scenes(16, seed=0)
    >>> scenes.ids[12], scenes.array(scenes.ids[12]).shape, scenes.mask(scenes.ids[12]).shape
    ('scene-0-000012', (64, 64, 3), (64, 64))
    >>> set(scenes.table["category"].value_counts().tolist())
    {2}
    """
    for name, value, least in (("n", n, 1), ("size", size, 16), ("seed", seed, 0)):
        if int(value) != value or value < least:
            raise DataError(f"{name} of drawn scenes is out of range", expected=f"an integer from {least}", found=value)
    wanted = _known_categories(categories)
    numbers = islice((number for number in count() if category_of(seed, number) in wanted), n)
    scenes = [describe_scene(scene_id(seed, number)) for number in numbers]
    table = pd.DataFrame(
        [(*(getattr(scene, column) for column in COLUMNS[:-1]), 2 * scene.half) for scene in scenes],
        columns=COLUMNS,
        index=pd.Index([scene.id for scene in scenes], name="stimulus_id"),
    )
    return Stimuli(
        table.index,
        images=partial(draw_scene, size=size),
        masks=partial(scene_mask, size=size),
        captions={scene.id: scene.caption for scene in scenes},
        table=table,
    )


def _known_categories(categories: Sequence[str] | None) -> frozenset[str]:
    if categories is None:
        return frozenset(CATEGORIES)
    if isinstance(categories, str) or not categories:
        raise DataError("categories of drawn scenes must be a list of names", expected=CATEGORIES, found=categories)
    for category in categories:
        if category not in CATEGORIES:
            raise DataError(f"unknown category '{category}'.{closest(category, CATEGORIES)}", expected=CATEGORIES)
    return frozenset(categories)
