"""What a generator accepts, and the check of what it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.arrays import check_finite
from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents

__all__ = ["Accepted", "match_inputs", "picture_seed"]


@dataclass(frozen=True)
class Accepted:
    """One kind of latents that a generator takes.

    Parameters
    ----------
    role : str
        Its key when several latents are given, such as ``"clip"`` or ``"vae"``.
    space : str, optional
        Name of the space; None where the generator cannot know it.
    shape : tuple of int, optional
        Of one stimulus.
    required : bool
        Whether the generator can do without.
    weights_sha256 : callable, optional
        Gives the hash of the model that latents must come from, where it is known.
    """

    role: str
    space: str | None = None
    shape: tuple[int, ...] | None = None
    required: bool = True
    weights_sha256: Callable[[], str] | None = None


def match_inputs(latents: Any, accepts: Sequence[Accepted], *, name: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """Ids and float32 values per role; latents of another space, revision or shape are refused.

    Raises
    ------
    DataError
        When a role is unknown or missing, when spaces, revisions, shapes or ids disagree, or values are not finite.
    """
    first = next(one.role for one in accepts)
    given: Mapping[str, Any] = latents if isinstance(latents, Mapping) else {first: latents}
    roles = {one.role: one for one in accepts}
    for role in given:
        if role not in roles:
            raise unknown(f"kind of latents for {name}", role, roles)
    if missing := [one.role for one in accepts if one.required and one.role not in given]:
        raise DataError(f"{name} needs latents that are not given", expected=missing, found=list(given))
    ids: list[str] | None = None
    values = {}
    for role, one in given.items():
        found, array = _one_input(one, roles[role], name)
        if ids is None:
            ids = found
        elif set(found) != set(ids):
            raise DataError("the latents given are of different stimuli", expected=ids[:3], found=found[:3])
        elif found != ids:
            rows = {each: row for row, each in enumerate(found)}
            array = array[[rows[each] for each in ids]]
        values[role] = array
    assert ids is not None
    return ids, values


def _one_input(given: Any, accepted: Accepted, name: str) -> tuple[list[str], np.ndarray]:
    if isinstance(given, Latents):
        if accepted.space is not None and given.space != accepted.space:
            raise DataError(
                f"{name} cannot turn latents of this space into pictures",
                expected=accepted.space,
                found=given.space,
                fix=f"extract '{accepted.space}', fit the encoder to it and give its predictions",
            )
        revision = given.meta.get("weights_sha256")
        if revision and accepted.weights_sha256 is not None and revision != (own := accepted.weights_sha256()):
            raise DataError(
                f"these latents come from another revision of '{given.space}' than {name} was trained on",
                expected=f"weights_sha256 {own}",
                found=revision,
                fix="extract them again with the model at hand",
            )
    array = np.asarray(given.values if isinstance(given, Latents) else given, dtype=np.float32)
    if array.ndim == 3 and accepted.shape is not None and len(accepted.shape) == 1 and array.shape[1] == 1:
        array = array[:, 0]  # one token
    if array.ndim < 2 or not len(array) or (accepted.shape is not None and array.shape[1:] != accepted.shape):
        expected = "(n, ...)" if accepted.shape is None else f"(n, {', '.join(map(str, accepted.shape))})"
        raise DataError(f"latents '{accepted.role}' for {name} have another shape", expected=expected,
                        found=array.shape)  # fmt: skip
    check_finite(array, name=f"latents '{accepted.role}'")
    ids = list(given.ids) if isinstance(given, Latents) else [str(row) for row in range(len(array))]
    return ids, array


def picture_seed(seed: int, stimulus_id: str, draw: int) -> int:
    """A seed for one picture, which depends on nothing but these three.

    Examples
    --------
    >>> picture_seed(0, "a", 0) == picture_seed(0, "a", 0), picture_seed(0, "a", 0) == picture_seed(0, "a", 1)
    (True, False)
    """
    name = int.from_bytes(hashlib.sha256(stimulus_id.encode()).digest()[:16], "big")
    return int(np.random.SeedSequence([seed, name, draw]).generate_state(1, np.uint64)[0] >> 1)
