"""Reconstructions beside the pictures seen: joined by id, of one size, and none of them seen in training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.arrays import row_blocks
from brainalign.errors import DataError, LeakageError, unknown
from brainalign.splits import check_disjoint
from brainalign.stimuli import Stimuli

__all__ = ["CONTROLS", "PROTOCOLS", "Pairs", "check_one_size", "control_of", "paired", "random_circle", "stack"]

CONTROLS = ("generator ceiling", "nearest training picture", "shuffled brain", "noise input")
"""What stands in every table beside the systems."""


def control_of(name: str) -> str:
    """Which control a row is a draw of: ``"shuffled brain #2"`` is the second draw of ``"shuffled brain"``."""
    return name.partition(" #")[0]


PROTOCOLS = {"nsd-982": 982, "nsd-1000": 1000}
"""Protocols that fix the number of test pictures; any other text is taken as it is."""


@dataclass(frozen=True)
class Pairs:
    """Rows of a table, all with the ids of `seen`.

    Parameters
    ----------
    rows : dict of str to Stimuli
        Systems, then controls.
    seen : Stimuli
    within : array (n,) or None
        Only pictures that share it are compared.
    same : array (n,)
        Equal for pictures that show the same pixels.
    protocol : str
    """

    rows: dict[str, Stimuli]
    seen: Stimuli
    within: NDArray | None
    same: NDArray
    protocol: str

    def others(self, seed: int) -> NDArray[np.intp]:
        """For each picture the row of another one of its group, in one random circle; its own where it is alone."""
        return random_circle(np.zeros(len(self.seen)) if self.within is None else self.within, seed)

    def blocks(self, bytes_each: int) -> Iterator[slice]:
        """Slices of rows that fit into memory when both sides are held."""
        return row_blocks(len(self.seen), 2 * bytes_each)


def random_circle(labels: NDArray, seed: int) -> NDArray[np.intp]:
    """For each row another one with its label, in one random circle a label; itself where it is alone."""
    rng = np.random.default_rng(seed)
    partner = np.arange(len(labels))
    for label in np.unique(labels):
        circle = rng.permutation(np.flatnonzero(labels == label))
        partner[circle] = np.roll(circle, 1)
    return partner


def stack(pictures: Stimuli, ids: Iterable[str]) -> NDArray[np.uint8]:
    """Pictures of some ids as one array (n, height, width, 3)."""
    return np.stack([pictures.array(one) for one in ids])


def paired(
    systems: Mapping[str, Stimuli],
    controls: Mapping[str, Stimuli],
    seen: Stimuli,
    *,
    protocol: str,
    training: Any = None,
    within: Any = None,
) -> Pairs:
    """Check and join all that a table compares.

    Raises
    ------
    DataError
        When a picture is missing, sizes are mixed, a control or the number of pictures is not the protocol's.
    LeakageError
        When a picture was seen in training.
    """
    for name in controls:
        if control_of(name) not in CONTROLS:
            raise unknown("control", name, CONTROLS)
    if not str(protocol).strip():
        raise DataError("a table names its protocol", expected="'nsd-982', 'nsd-1000' or a few words")
    if len(seen) != PROTOCOLS.get(protocol, len(seen)):
        raise DataError(
            f"protocol '{protocol}' has another number of test pictures",
            expected=PROTOCOLS[protocol],
            found=len(seen),
            fix="name your own protocol in a few words",
        )
    if len(seen) < 2 or not systems:
        raise DataError("nothing to compare", expected="a system and two pictures", found=f"{len(seen)} pictures")
    _check_training(training, seen)
    if clash := sorted(name for name in systems if control_of(name) in CONTROLS):
        raise DataError(f"a system is called '{clash[0]}'", fix="give controls as controls={...}")
    rows = {name: _of(made, seen, name) for name, made in {**systems, **_in_order(controls)}.items()}
    for name, pictures in {"pictures seen": seen, **rows}.items():
        check_one_size(pictures, name)
    hashes = [seen.content_hash(one) for one in seen.ids]
    return Pairs(rows, seen, _labels(within, seen), np.unique(hashes, return_inverse=True)[1], str(protocol))


def _in_order(controls: Mapping[str, Stimuli]) -> dict[str, Stimuli]:
    return {name: controls[name] for name in sorted(controls, key=lambda one: CONTROLS.index(control_of(one)))}


def _of(made: Stimuli, seen: Stimuli, name: str) -> Stimuli:
    lacking = [one for one in seen.ids if one not in made]
    if lacking:
        raise DataError(
            f"{len(lacking)} picture(s) have no reconstruction by '{name}': {lacking[:5]}",
            expected=f"one for each of {len(seen)} ids",
            found=f"{len(made)} ids, such as {list(made.ids[:3])}",
            fix="reconstruct all test pictures, or score stimuli.select(...) of those that are there",
        )
    return made.select(seen.ids)


def check_one_size(pictures: Stimuli, name: str) -> None:
    """Refuse pictures of mixed size; `name` says which they are.

    Raises
    ------
    DataError
    """
    sizes: dict[tuple[int, int], str] = {}
    for one in pictures.ids:
        sizes.setdefault(pictures.image(one).size, one)
    if len(sizes) > 1:
        raise DataError(
            f"'{name}' has pictures of mixed size",
            expected="one size",
            found={f"{width} x {height}": one for (width, height), one in list(sizes.items())[:3]},
            fix="crop or resize them to one size first: stretching each by its own factor would distort the scores",
        )


def _check_training(training: Any, seen: Stimuli) -> None:
    if training is None:
        return
    check_disjoint(training, seen.ids)
    if isinstance(training, Stimuli) and training.has_images:
        known = {training.content_hash(one): one for one in training.ids}
        twins = [(known[key], one) for one in seen.ids if (key := seen.content_hash(one)) in known]
        if twins:
            raise LeakageError(
                f"the same picture stands in training and test under two ids: {twins[:5]}",
                expected="each picture on one side",
                found=f"{len(twins)} pairs",
                fix="give duplicates one stimulus_id before splitting",
            )


def _labels(within: Any, seen: Stimuli) -> NDArray | None:
    if within is None:
        return None
    if isinstance(within, Mapping):
        if lacking := [one for one in seen.ids if one not in within]:
            raise DataError(f"within has no label for {lacking[:5]}", expected="one for each picture")
        within = [within[one] for one in seen.ids]
    labels = np.asarray(within).astype(str)
    if labels.shape != (len(seen),):
        raise DataError("within must label every picture", expected=(len(seen),), found=labels.shape)
    return labels
