"""Distances of patterns with missing channels, and of designs in which a group lacks a condition.

Every pair is compared over the channels (and pairs of groups) that it has in common. With a mask of what is there,
each sum over common channels is again a matrix product. A pair with nothing in common is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.analysis.rsa.backend import as_like, namespace
from brainalign.analysis.rsa.condensed import triangle
from brainalign.analysis.rsa.distances import log_rates, means_by_code

__all__ = ["available_means", "crossvalidated_available", "pairwise_distances"]


def pairwise_distances(patterns: Any, metric: str) -> Any:
    """Condensed distances of patterns with NaN for what is missing."""
    xp = namespace(patterns)
    there, filled = _split(patterns)
    n_common = there @ _t(there)
    n_common = xp.where(n_common > 0, n_common, xp.full_like(n_common, float("nan")))
    if metric in ("correlation", "cosine"):
        return _angular(filled, there, n_common, centre=metric == "correlation")
    if metric == "poisson":
        rates, logs = log_rates(filled)
        rates, logs = rates * there, logs * there
        return triangle(_symmetric((rates * logs) @ _t(there), rates @ _t(logs)) / n_common)
    centre = filled.sum(-2) / xp.clip(there.sum(-2), 1, None)
    filled = (filled - centre[..., None, :]) * there
    mean_square = _symmetric((filled * filled) @ _t(there), filled @ _t(filled)) / n_common
    mean_square = xp.clip(triangle(mean_square), 0, None)
    if metric == "mahalanobis":
        return mean_square
    squared = mean_square * patterns.shape[-1]
    return xp.sqrt(squared) if metric == "euclidean" else squared


def _angular(filled: Any, there: Any, n_common: Any, *, centre: bool) -> Any:
    xp = namespace(filled)
    size = xp.amax(xp.abs(filled), -1)[..., None]
    if centre:
        own_mean = filled.sum(-1) / xp.clip(there.sum(-1), 1, None)
        filled = (filled - own_mean[..., None]) * there
    product, square = filled @ _t(filled), (filled * filled) @ _t(there)
    if centre:
        total = filled @ _t(there)
        product = product - total * _t(total) / n_common
        square = square - total**2 / n_common
    # A pattern that is constant over the common channels has no direction there.
    rounding = (8 * xp.finfo(filled.dtype).eps * size) ** 2 * n_common
    square = xp.where(square > rounding, square, xp.full_like(square, float("nan")))
    return xp.clip(1 - triangle(product / xp.sqrt(square * _t(square))), 0, 2)


def crossvalidated_available(group_means: list[Any], metric: str) -> Any:
    """Mean over all channels and pairs of groups in which both conditions of a pair are there.

    Parameters
    ----------
    group_means : list of array (..., n_conditions, n_features)
        NaN where a group lacks a condition, or a channel of it.
    """
    xp = namespace(*group_means)
    parts = []
    for means in group_means:
        there, filled = _split(means)
        left, right = (filled, filled) if metric == "crossnobis" else log_rates(filled)
        parts.append((there, left * there, right * there))
    total: Any = 0.0
    n_common: Any = 0.0
    for f, (there_f, left_f, right_f) in enumerate(parts):
        for there_g, left_g, right_g in parts[f + 1 :]:
            both = there_f * there_g
            for left, right in ((left_f, right_g), (left_g, right_f)):
                total = total + _symmetric((left * right) @ _t(both), (left * both) @ _t(right * both))
                n_common = n_common + both @ _t(both)
                if metric == "crossnobis":  # swapping the groups changes nothing
                    break
    return triangle(total / xp.where(n_common > 0, n_common, xp.full_like(n_common, float("nan"))))


def available_means(patterns: Any, codes: np.ndarray, n_codes: int) -> Any:
    """Mean pattern of every code over the channels that are there; NaN where nothing is."""
    xp = namespace(patterns)
    there, filled = _split(patterns)
    present, dense = np.unique(codes, return_inverse=True)
    share = means_by_code(there, dense)
    share = xp.where(share > 0, share, xp.full_like(share, float("nan")))
    means = as_like(np.full((*patterns.shape[:-2], n_codes, patterns.shape[-1]), np.nan), patterns)
    means[..., present, :] = means_by_code(filled, dense) / share
    return means


def _split(patterns: Any) -> tuple[Any, Any]:
    """What is there, as ones and zeros, and the patterns with zeros for what is not."""
    xp = namespace(patterns)
    holes = xp.isnan(patterns)
    return as_like(~holes, patterns), xp.where(holes, xp.zeros_like(patterns), patterns)


def _symmetric(squares: Any, products: Any) -> Any:
    """``T_ij + T_ji - C_ij - C_ji``: from sums of squares over common channels and of products, to distances."""
    return squares + _t(squares) - products - _t(products)


def _t(x: Any) -> Any:
    return x.swapaxes(-1, -2)
