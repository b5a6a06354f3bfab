"""Condensed RDMs, their square form, and what lies between."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import namespace, to_numpy
from brainalign.errors import DataError

__all__ = ["complete_conditions", "from_square", "n_conditions", "select_conditions", "to_square", "triangle"]


def to_square(condensed: Any) -> Any:
    """Symmetric matrices (..., n, n) with a zero diagonal from condensed RDMs (..., n_pairs).

    Examples
    --------
    >>> to_square([1.0, 2.0, 3.0])[2]
    array([2., 3., 0.])
    """
    xp = namespace(condensed)
    d = np.asarray(condensed) if xp is np else condensed
    n = n_conditions(d.shape[-1])
    more = {} if xp is np else {"device": d.device}
    square = xp.zeros((*d.shape[:-1], n, n), dtype=d.dtype, **more)
    rows, columns = (xp.asarray(index, **more) for index in np.triu_indices(n, 1))
    square[..., rows, columns] = d
    square[..., columns, rows] = d
    return square


def from_square(square: Any) -> Any:
    """Condensed RDMs (..., n_pairs) from symmetric matrices (..., n, n).

    Raises
    ------
    DataError
        When a matrix is not symmetric.
    """
    d = np.asarray(square) if namespace(square) is np else square
    if d.ndim < 2 or d.shape[-1] != d.shape[-2]:
        raise DataError("not square matrices", expected="(..., n, n)", found=tuple(d.shape))
    values = to_numpy(d)
    if not np.allclose(values, np.swapaxes(values, -1, -2), rtol=1e-5, atol=1e-8, equal_nan=True):
        raise DataError("an RDM must be symmetric", fix="average it with its transpose if that is what you mean")
    return triangle(d)


def n_conditions(n_pairs: int) -> int:
    """How many conditions a condensed RDM of `n_pairs` distances has.

    Examples
    --------
    >>> n_conditions(4186)
    92
    """
    n = round((1 + np.sqrt(1 + 8 * n_pairs)) / 2)
    if n * (n - 1) // 2 != n_pairs or n < 2:
        raise DataError("not a condensed RDM", expected="n (n - 1) / 2 distances", found=n_pairs)
    return n


def select_conditions(condensed: Any, conditions: ArrayLike) -> Any:
    """RDMs of some conditions, in the order given.

    Parameters
    ----------
    condensed : array (..., n_pairs)
    conditions : array of int, or of bool (n_conditions,)
        Each at most once: the distance of a condition to its own copy is not a measurement.

    Examples
    --------
    >>> select_conditions([1.0, 2.0, 3.0], [2, 0])
    array([2.])
    """
    d = np.asarray(condensed) if namespace(condensed) is np else condensed
    n = n_conditions(d.shape[-1])
    keep = np.arange(n)[np.asarray(conditions)]
    if len(np.unique(keep)) < max(len(keep), 2):
        raise DataError("conditions to select", expected="two or more, each once", found=keep[:10].tolist())
    first, second = (keep[index] for index in np.triu_indices(len(keep), 1))
    low, high = np.minimum(first, second), np.maximum(first, second)
    return d[..., low * n - low * (low + 1) // 2 + high - low - 1]


def complete_conditions(*condensed: ArrayLike) -> NDArray[np.bool_]:
    """Conditions to keep so that no pair among them is NaN in any of these RDMs.

    The condition with the most NaN pairs goes first, until none is left.

    Returns
    -------
    array of bool (n_conditions,)
    """
    flat = (np.isnan(to_numpy(d)).reshape(-1, np.shape(d)[-1]) for d in condensed)
    holes = np.any([to_square(d).any(axis=0) for d in flat], axis=0)
    keep = np.ones(len(holes), dtype=bool)
    while holes.any():
        worst = int(holes.sum(axis=0).argmax())
        keep[worst] = False
        holes[worst], holes[:, worst] = False, False
    return keep


def triangle(square: Any) -> Any:
    """Upper triangle without the diagonal, row by row."""
    n = square.shape[-1]
    rows, columns = np.triu_indices(n, 1)
    flat = square.reshape(*square.shape[:-2], n * n)
    if namespace(square) is np:
        return np.take(flat, rows * n + columns, axis=-1)
    return flat[..., namespace(square).as_tensor(rows * n + columns, device=square.device)]
