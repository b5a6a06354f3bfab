"""Line search over the penalty of each target, all targets side by side.

From a coarse grid each target takes the best penalty and its neighbours; the score over log alpha is then followed by
successive parabolas through three points, as in Brent's method (Brent 1973, Algorithms for Minimization without
Derivatives, ch. 5) without its bookkeeping: a step evaluates all targets at once, and there is a fixed number of steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brainalign.errors import DataError
from brainalign.voxelwise.solvers import auto_alphas, check_alphas

__all__ = ["best_rows", "line_search", "search_grid"]

N_STEPS = 6
"""After which a score is within about 1e-5 of its top."""
_GOLDEN = (3 - 5**0.5) / 2
_NEAREST = 0.02
"""Steps shorter than this in log alpha (2 %) tell nothing."""

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""Penalties (n_targets,) to scores and further values, each (n_targets,)."""


def search_grid(alphas: object, eigenvalues: np.ndarray) -> np.ndarray | None:
    """Coarse grid, two penalties a decade, when `alphas` is "search" or ("search", low, high); else None.

    Examples
    --------
    >>> search_grid(("search", 1.0, 100.0), np.ones(1)).round(2).tolist()
    [1.0, 3.16, 10.0, 31.62, 100.0]
    """
    if isinstance(alphas, str):
        return auto_alphas(eigenvalues) if alphas == "search" else None
    if not isinstance(alphas, (tuple, list)) or not len(alphas) or not isinstance(alphas[0], str):
        return None
    if alphas[0] != "search" or len(alphas) != 3:
        raise DataError(
            "unknown form of alphas",
            expected="'auto', 'search', ('search', low, high), one number > 0, or a list of them",
            found=alphas,
        )
    low, high = check_alphas(alphas[1:])
    if low >= high:
        raise DataError("a search goes from low to high", expected="low < high", found=alphas)
    return np.geomspace(low, high, max(3, round(2 * np.log10(high / low)) + 1))


def best_rows(scores: np.ndarray) -> np.ndarray:
    """Position of the best alpha of each target; the last one, which shrinks most, where none has a score."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    return np.where(np.isnan(scores).all(axis=0), len(scores) - 1, filled.argmax(axis=0))


def line_search(
    evaluate: Evaluate, grid: np.ndarray, values: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Best penalty of each target between the neighbours of its best on the grid.

    Parameters
    ----------
    evaluate : callable
    grid : array (n_alphas,), ascending
    values : tuple of array (n_alphas, n_targets)
        Scores on the grid, and whatever else `evaluate` returns with them.

    Returns
    -------
    alphas : array (n_targets,)
    values : tuple of array (n_targets,)
        At these penalties; never a lower score than on the grid.

    Examples
    --------
    >>> def score(alphas): return (-(np.log(alphas) - np.log([3.0, 70.0])) ** 2,)
    >>> grid = np.geomspace(1, 100, 5)
    >>> line_search(score, grid, (np.stack([score(np.full(2, one))[0] for one in grid]),))[0].round(1).tolist()
    [3.0, 70.0]
    """
    scores, x = np.nan_to_num(values[0], nan=-np.inf), np.log(grid)
    best, each = best_rows(values[0]), np.arange(scores.shape[1])
    rows = np.stack([np.maximum(best - 1, 0), best, np.minimum(best + 1, len(grid) - 1)])
    at, heights = x[rows], scores[rows, each]
    kept = tuple(one[best, each] for one in values)
    for _ in range(N_STEPS):
        step = _next(at, heights)
        found = evaluate(np.exp(step))
        height = np.nan_to_num(found[0], nan=-np.inf)
        higher = height > heights[1]
        kept = tuple(np.where(higher, new, old) for new, old in zip(found, kept, strict=True))
        at, heights = _narrowed(at, heights, step, height)
    return np.exp(at[1]), kept


def _next(at: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Where to look: the top of the parabola, or a golden section of the longer side where that says nothing new."""
    (left, middle, right), (low, top, high) = at, heights
    with np.errstate(invalid="ignore", divide="ignore"):
        rise, fall = (middle - left) * (top - high), (middle - right) * (top - low)
        vertex = middle - 0.5 * ((middle - left) * rise - (middle - right) * fall) / (rise - fall)
    longer = np.where(right - middle >= middle - left, right - middle, left - middle)
    close = np.abs(vertex - middle) < _NEAREST
    aside = middle + np.where(np.abs(longer) > 4 * _NEAREST, np.sign(longer) * 2 * _NEAREST, _GOLDEN * longer)
    inside = np.isfinite(vertex) & (vertex > left) & (vertex < right)
    return np.where(inside & ~close, vertex, np.where(inside, aside, middle + _GOLDEN * longer))


def _narrowed(
    at: np.ndarray, heights: np.ndarray, step: np.ndarray, height: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The three points around the higher of the middle and the new one."""
    above, right = height > heights[1], step > at[1]
    point = np.where(above, step, at[1]), np.where(above, height, heights[1])
    other = np.where(above, at[1], step), np.where(above, heights[1], height)
    made = []
    for old, new, beside in zip((at, heights), point, other, strict=True):
        # The point not chosen closes the interval on the side it lies on, seen from the one chosen.
        closes_left = above == right
        made.append(np.stack([np.where(closes_left, beside, old[0]), new, np.where(closes_left, old[2], beside)]))
    return made[0], made[1]
