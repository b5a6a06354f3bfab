"""Which stretch of a story or film was it? Segments of one person among all those of the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite
from brainalign.errors import DataError

__all__ = ["segment_matching"]


def segment_matching(
    X: ArrayLike, *, length: int, starts: ArrayLike | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Time segment matching: is a person's segment closest to the same moment of everyone else's mean?

    Each segment (all units at `length` successive samples) is correlated with the mean of the others over the same
    samples, and with their mean over every segment that shares no sample with it.

    Parameters
    ----------
    X : array (n_people, n_samples, n_units)
    length : int
        Samples of a segment.
    starts : array of int, optional
        First samples of the segments that are sought; all by default. The gallery is always the whole recording.

    Returns
    -------
    hits : array (n_people, n_starts) of bool
        A tie is no hit.
    chance : array (n_starts,)
        One over the number of candidates. Smooth courses hit a little more often by chance, because the neighbours of
        the segment itself are no candidates: put a control without shared moments beside it.

    Raises
    ------
    DataError
        For fewer than two people, a recording without two segments apart, or a start outside it.

    References
    ----------
    Haxby et al. 2011, "A common, high-dimensional model of the representational space in human ventral temporal
    cortex".

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> people = rng.standard_normal((1, 60, 4)) + 0.5 * rng.standard_normal((5, 60, 4))
    >>> hits, chance = segment_matching(people, length=6)
    >>> hits.shape, bool(hits.mean() > 0.9), float(chance.mean().round(3))
    ((5, 55), True, 0.022)
    """
    people = np.asarray(X, dtype=np.float64)
    if people.ndim != 3 or len(people) < 2:
        raise DataError("needs several people", expected="(n_people >= 2, n_samples, n_units)", found=people.shape)
    check_finite(people, name="X")
    n_segments = people.shape[1] - length + 1
    if length < 1 or n_segments <= length:
        raise DataError("too short for segments apart", expected=f"1 <= length <= {people.shape[1] // 2}", found=length)
    wanted = np.arange(n_segments) if starts is None else np.asarray(starts, dtype=int)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < n_segments:
        raise DataError("a segment outside the recording", expected=f"starts 0 to {n_segments - 1}", found=wanted.max())
    apart = np.abs(np.arange(n_segments) - wanted[:, None]) >= length
    total, hits = people.sum(axis=0), np.empty((len(people), len(wanted)), dtype=bool)
    for number, one in enumerate(people):
        others = _segments((total - one) / (len(people) - 1), length)
        similar = _segments(one, length)[wanted] @ others.T
        same = similar[np.arange(len(wanted)), wanted]
        hits[number] = same > np.where(apart, similar, -np.inf).max(axis=1)
    return hits, 1 / (apart.sum(axis=1) + 1)


def _segments(course: NDArray, length: int) -> NDArray[np.float64]:
    """Every segment as a row of zero mean and unit length; one without variance stays at zero."""
    rows = np.lib.stride_tricks.sliding_window_view(course, length, axis=0).reshape(len(course) - length + 1, -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norm > 0, norm, 1)
