"""Distances between all pairs of patterns, each from matrix products of the patterns with themselves.

Functions of complete patterns (..., n_patterns, n_features), numpy or torch; `missing` has the forms with holes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from brainalign.analysis.rsa.backend import namespace
from brainalign.analysis.rsa.condensed import triangle
from brainalign.errors import DataError

__all__ = [
    "PRIOR_RATE",
    "PRIOR_WEIGHT",
    "crossvalidated",
    "distances",
    "log_rates",
    "means_by_code",
    "pair_distances",
    "unit_patterns",
]

PRIOR_RATE, PRIOR_WEIGHT = 1.0, 0.1


def distances(patterns: Any, metric: str) -> Any:
    """Condensed distances of complete patterns that are already whitened."""
    xp = namespace(patterns)
    if metric in ("correlation", "cosine"):
        unit = unit_patterns(patterns, centre=metric == "correlation")
        return xp.clip(1 - triangle(unit @ unit.swapaxes(-1, -2)), 0, 2)
    if metric == "poisson":
        rates, logs = log_rates(patterns)
        return xp.clip(pair_distances(rates @ logs.swapaxes(-1, -2)), 0, None) / patterns.shape[-1]
    # A common offset would cost the difference of two large numbers its precision.
    centred = patterns - patterns.mean(-2)[..., None, :]
    squared = xp.clip(pair_distances(centred @ centred.swapaxes(-1, -2)), 0, None)
    if metric == "mahalanobis":
        return squared / patterns.shape[-1]
    return xp.sqrt(squared) if metric == "euclidean" else squared


def pair_distances(kernel: Any, *, symmetric: bool = False) -> Any:
    """``K_ii + K_jj - K_ij - K_ji`` for every pair i < j; half the reading when K is known to be symmetric."""
    xp = namespace(kernel)
    n = kernel.shape[-1]
    diagonal = xp.diagonal(kernel, 0, -2, -1)
    rows, columns = np.triu_indices(n, 1)
    if xp is not np:
        rows, columns = (xp.as_tensor(index, device=kernel.device) for index in (rows, columns))
    upper = triangle(kernel)
    both = 2 * upper if symmetric else upper + triangle(kernel.swapaxes(-1, -2))
    return diagonal[..., rows] + diagonal[..., columns] - both


def unit_patterns(patterns: Any, *, centre: bool) -> Any:
    """Patterns of length one, NaN where a pattern has no direction (zero or, when centred, constant)."""
    xp = namespace(patterns)
    size = xp.amax(xp.abs(patterns), -1)[..., None]
    if centre:
        patterns = patterns - patterns.mean(-1)[..., None]
    norm = xp.sqrt(xp.einsum("...ij,...ij->...i", patterns, patterns))[..., None]
    # Rounding leaves a constant pattern with a tiny norm: it has no direction.
    flat = norm <= 8 * xp.finfo(patterns.dtype).eps * size * patterns.shape[-1] ** 0.5
    return patterns / xp.where(flat, xp.full_like(norm, float("nan")), norm)


def log_rates(counts: Any) -> tuple[Any, Any]:
    """Rates under a gamma prior (rate 1 with the weight of a tenth of an observation), and their logarithms."""
    xp = namespace(counts)
    if bool((counts < 0).any()):
        raise DataError("Poisson distances take counts or rates", expected="no negative value", found="negative values")
    rates = (counts + PRIOR_RATE * PRIOR_WEIGHT) / (1 + PRIOR_WEIGHT)
    return rates, xp.log(rates)


def crossvalidated(group_means: Callable[[int], Any], n_groups: int, metric: str) -> Any:
    """All pairs of groups at once, ``K = (A B' - sum_f A_f B_f') / (F (F - 1))`` with ``A = sum_f A_f``.

    Goes through the groups one by one, so that two mean patterns per condition are in memory, not one per group.
    """
    kernel: Any = None
    total_left: Any = None
    total_right: Any = None
    symmetric = metric == "crossnobis"
    for group in range(n_groups):
        left = group_means(group)
        if symmetric:
            # The mean pattern of a group cancels in every distance.
            left -= left.mean(-2)[..., None, :]
            right = left
        else:
            left, right = log_rates(left)
        product = left @ right.swapaxes(-1, -2)
        # All in place: these arrays are large, and the group's means are nobody else's.
        if group == 0:
            kernel, total_left, total_right = product, left, right
            kernel *= -1
            continue
        kernel -= product
        total_left += left
        if not symmetric:
            total_right += right
    kernel += total_left @ total_right.swapaxes(-1, -2)
    n_terms = n_groups * (n_groups - 1) * total_left.shape[-1]
    return pair_distances(kernel, symmetric=symmetric) / n_terms


def means_by_code(patterns: Any, codes: np.ndarray) -> Any:
    """Mean pattern of every code 0, 1, ...: (..., n_codes, n_features)."""
    xp = namespace(patterns)
    counts = np.bincount(codes)
    order = np.argsort(codes, kind="stable")
    if np.all(counts == 1):
        return patterns[..., order, :] if np.any(np.diff(order) != 1) else patterns
    if xp is np:
        sums = np.add.reduceat(patterns[..., order, :], np.cumsum(counts) - counts, axis=-2)
        return sums / counts[:, None].astype(patterns.dtype)
    sums = patterns.new_zeros((*patterns.shape[:-2], len(counts), patterns.shape[-1]))
    sums.index_add_(-2, xp.as_tensor(codes, device=patterns.device), patterns)
    return sums / xp.as_tensor(counts[:, None], device=patterns.device, dtype=patterns.dtype)
