"""Representational dissimilarity matrices, condensed, for any number of leading batch axes.

Every distance comes from one matrix product of the patterns with themselves; patterns are centred first, so that a
common offset costs no precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite
from brainalign.errors import DataError, closest

__all__ = ["METRICS", "complete_conditions", "from_square", "n_conditions", "rdm", "to_square"]

METRICS = ("correlation", "euclidean", "sqeuclidean", "cosine", "mahalanobis", "crossnobis")


def rdm(
    X: Any,
    *,
    metric: str = "correlation",
    labels: ArrayLike | str | None = None,
    groups: ArrayLike | str | None = None,
    noise_precision: ArrayLike | None = None,
) -> NDArray:
    """Distances between all pairs of patterns.

    Parameters
    ----------
    X : array (..., n_patterns, n_features), Trials or Latents
        Time-resolved Trials give one RDM per time point.
    metric : str
        - "correlation", "cosine", "euclidean", "sqeuclidean": as `scipy.spatial.distance.pdist` has them.
        - "mahalanobis": squared Mahalanobis distance per feature, ``(a - b)' P (a - b) / n_features``.
        - "crossnobis": the same, cross-validated over `groups`; unbiased, so zero on average and negative half of
          the time where patterns do not differ (Walther et al. 2016, NeuroImage 137). All pairs of groups come in
          closed form, ``K = (S S' - sum_f X_f X_f') / (F (F - 1))`` with ``S = sum_f X_f``.
    labels : array (n_patterns,) or column of Trials, optional
        Condition of each pattern: patterns of a condition are averaged first. Conditions are in the order of
        ``np.unique(labels)``.
    groups : array (n_patterns,) or column of Trials, optional
        Independent partitions (runs) for "crossnobis", each of which holds every condition.
    noise_precision : array (n_features, n_features) or (n_features,), optional
        Inverse noise covariance P, or its diagonal; identity by default. See `noise_precision` of this room.

    Returns
    -------
    array (..., n_pairs)
        Upper triangle, row by row; float32 for float32 patterns. Pairs with a pattern that has no direction
        (constant, for a correlation) are NaN.

    Raises
    ------
    DataError
        For an unknown metric, an option the metric does not take, or an empty cell of condition and group.

    Examples
    --------
    >>> rdm([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]], metric="euclidean")
    array([5., 8., 5.])
    """
    if metric not in METRICS:
        raise DataError(f"no RDM metric {metric!r}.{closest(metric, METRICS)}", expected=METRICS)
    patterns, labels, groups = _patterns(X, labels, groups)
    if noise_precision is not None:
        if metric not in ("mahalanobis", "crossnobis"):
            raise DataError(f"metric {metric!r} takes no noise_precision", fix="metric='mahalanobis' or 'crossnobis'")
        patterns = _whiten(patterns, np.asarray(noise_precision, dtype=patterns.dtype))
    if metric == "crossnobis":
        if labels is None or groups is None:
            raise DataError("crossnobis needs labels and groups", fix="pass the condition and run of every pattern")
        return _crossnobis(patterns, labels, groups)
    if groups is not None:
        raise DataError(f"metric {metric!r} takes no groups", fix="metric='crossnobis', or leave groups out")
    if labels is not None:
        patterns = _means(patterns, np.unique(labels, return_inverse=True)[1])
    if metric in ("correlation", "cosine"):
        return _angular(patterns, centre=metric == "correlation")
    centred = patterns - patterns.mean(axis=-2, keepdims=True)
    squared = np.maximum(_pair_distances(centred @ np.swapaxes(centred, -1, -2)), 0.0)
    if metric == "mahalanobis":
        return squared / patterns.shape[-1]
    return np.sqrt(squared) if metric == "euclidean" else squared


def to_square(condensed: ArrayLike) -> NDArray:
    """Symmetric matrices (..., n, n) with a zero diagonal from condensed RDMs (..., n_pairs).

    Examples
    --------
    >>> to_square([1.0, 2.0, 3.0])[2]
    array([2., 3., 0.])
    """
    d = np.asarray(condensed)
    n = n_conditions(d.shape[-1])
    square = np.zeros((*d.shape[:-1], n, n), dtype=d.dtype)
    rows, columns = np.triu_indices(n, 1)
    square[..., rows, columns] = d
    square[..., columns, rows] = d
    return square


def from_square(square: ArrayLike) -> NDArray:
    """Condensed RDMs (..., n_pairs) from symmetric matrices (..., n, n).

    Raises
    ------
    DataError
        When a matrix is not symmetric.
    """
    d = np.asarray(square)
    if d.ndim < 2 or d.shape[-1] != d.shape[-2]:
        raise DataError("not square matrices", expected="(..., n, n)", found=d.shape)
    if not np.allclose(d, np.swapaxes(d, -1, -2), rtol=1e-5, atol=1e-8, equal_nan=True):
        raise DataError("an RDM must be symmetric", fix="average it with its transpose if that is what you mean")
    return _triangle(d)


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


def complete_conditions(*condensed: ArrayLike) -> NDArray[np.bool_]:
    """Conditions to keep so that no pair among them is NaN in any of these RDMs.

    The condition with the most NaN pairs goes first, until none is left.

    Returns
    -------
    array of bool (n_conditions,)
    """
    holes = np.any([to_square(np.isnan(np.atleast_2d(d))).any(axis=0) for d in condensed], axis=0)
    keep = np.ones(len(holes), dtype=bool)
    while holes.any():
        worst = int(holes.sum(axis=0).argmax())
        keep[worst] = False
        holes[worst], holes[:, worst] = False, False
    return keep


def _patterns(X: Any, labels: Any, groups: Any) -> tuple[NDArray, NDArray | None, NDArray | None]:
    """Floating-point patterns (..., n_patterns, n_features), and labels and groups as arrays."""
    table = getattr(X, "trials", None)
    if hasattr(X, "matrix") and table is not None:
        values = np.moveaxis(X.responses, -1, 0) if X.responses.ndim == 3 else X.responses
    else:
        values = X.flat() if hasattr(X, "flat") and callable(X.flat) else np.asarray(X)
    if values.ndim < 2 or values.shape[-2] < 2:
        raise DataError("an RDM compares patterns", expected="(..., n_patterns >= 2, n_features)", found=values.shape)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    check_finite(values, name="patterns")
    keys = []
    for name, key in (("labels", labels), ("groups", groups)):
        if isinstance(key, str):
            if table is None or key not in table:
                raise DataError(f"no column {key!r} for {name}", fix=f"pass {name} as an array, or X as Trials")
            key = table[key]
        key = None if key is None else np.asarray(key)
        if key is not None and key.shape != (values.shape[-2],):
            raise DataError(f"{name} must label every pattern", expected=(values.shape[-2],), found=key.shape)
        keys.append(key)
    return values, keys[0], keys[1]


def _means(patterns: NDArray, codes: NDArray) -> NDArray:
    """Mean pattern of every code 0, 1, ...: (..., n_codes, n_features)."""
    counts = np.bincount(codes)
    ordered = patterns[..., np.argsort(codes, kind="stable"), :]
    if np.all(counts == 1):
        return ordered
    sums = np.add.reduceat(ordered, np.cumsum(counts) - counts, axis=-2)
    return sums / counts[:, None].astype(patterns.dtype)


def _whiten(patterns: NDArray, precision: NDArray) -> NDArray:
    """Patterns in a basis in which the noise is white: squared distances become Mahalanobis distances."""
    n_features = patterns.shape[-1]
    if precision.shape == (n_features,) and np.all(precision >= 0):
        return patterns * np.sqrt(precision)
    if precision.shape != (n_features, n_features):
        raise DataError("noise_precision does not fit", expected=(n_features, n_features), found=precision.shape)
    try:
        return patterns @ np.linalg.cholesky(precision)
    except np.linalg.LinAlgError as error:
        raise DataError("noise_precision is not positive definite", fix="shrink the covariance") from error


def _crossnobis(patterns: NDArray, labels: NDArray, groups: NDArray) -> NDArray:
    """Go through the groups one by one, so that no more than two mean patterns per condition are in memory."""
    names, condition = np.unique(labels, return_inverse=True)
    group_names, group = np.unique(groups, return_inverse=True)
    n_groups, n_features = len(group_names), patterns.shape[-1]
    if n_groups < 2:
        raise DataError("crossnobis cross-validates over groups", expected="at least 2 groups", found=n_groups)
    counts = np.zeros((n_groups, len(names)), dtype=int)
    np.add.at(counts, (group, condition), 1)
    if not counts.all():
        empty = [(str(names[c]), str(group_names[g])) for g, c in np.argwhere(counts == 0)]
        raise DataError(
            f"{len(empty)} empty cells of (condition, group): {empty[:5]}",
            expected="every condition in every group",
            fix="drop these conditions or groups, or merge groups",
        )
    total: NDArray = np.zeros((), dtype=patterns.dtype)
    gram: NDArray = np.zeros((), dtype=patterns.dtype)
    for one in range(n_groups):
        rows = np.flatnonzero(group == one)
        means = _means(patterns[..., rows, :], condition[rows])
        # The mean pattern of a group cancels in every distance.
        means -= means.mean(axis=-2, keepdims=True)
        total = total + means
        gram = gram - means @ np.swapaxes(means, -1, -2)
    gram = gram + total @ np.swapaxes(total, -1, -2)
    return _pair_distances(gram) / (n_groups * (n_groups - 1) * n_features)


def _angular(patterns: NDArray, *, centre: bool) -> NDArray:
    size = np.abs(patterns).max(axis=-1, keepdims=True)
    if centre:
        patterns = patterns - patterns.mean(axis=-1, keepdims=True)
    norm = np.sqrt(np.einsum("...ij,...ij->...i", patterns, patterns))[..., None]
    # Rounding leaves a constant pattern with a tiny norm: it has no direction.
    flat = norm <= 8 * np.finfo(patterns.dtype).eps * size * np.sqrt(patterns.shape[-1])
    unit = patterns / np.where(flat, np.nan, norm).astype(patterns.dtype)
    similarity = _triangle(unit @ np.swapaxes(unit, -1, -2))
    return np.clip(1 - similarity, 0, 2)


def _pair_distances(gram: NDArray) -> NDArray:
    """``K_ii + K_jj - 2 K_ij`` for every pair i < j."""
    norms = np.diagonal(gram, axis1=-2, axis2=-1)
    rows, columns = np.triu_indices(gram.shape[-1], 1)
    return norms[..., rows] + norms[..., columns] - 2 * _triangle(gram)


def _triangle(square: NDArray) -> NDArray:
    n = square.shape[-1]
    rows, columns = np.triu_indices(n, 1)
    return np.take(square.reshape(*square.shape[:-2], n * n), rows * n + columns, axis=-1)
