"""How the explained variance divides between feature spaces, on held-out samples, with intervals over stimuli.

Two divisions, both of R² and both adding up to it:

* the **product measure** of one joint model: each band's own prediction times what it contributes to (Pratt 1987; as
  used by Dupré la Tour et al. 2022, NeuroImage 264, eq. 11). Cheap, one number a band, negative where a band hurts;
* the **partition** by models of every subset of bands (commonality analysis; Mood 1971; de Heer et al. 2017,
  J. Neurosci. 37): what only a band explains, and what only its combinations share.

Both are functions of sums over samples, so that a bootstrap draw is a row of multiplicities and all draws of all
targets are a few products of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import as_matrix, row_blocks
from brainalign.errors import DataError
from brainalign.scoring.resampling import bootstrap_weights, interval

__all__ = [
    "VarianceShares",
    "partition_r2",
    "product_measure",
    "subsets",
    "variance_by_band",
    "variance_by_subset",
]

MAX_BANDS = 6
"""Above this the models of all subsets (63 for six bands) are refused."""

Sums = Callable[[NDArray, slice], NDArray]
"""Weights (n_draws, n_samples) and columns to statistics (n_draws, n_shares, n_columns)."""


@dataclass(frozen=True, eq=False)
class VarianceShares:
    """Shares of variance explained, with bootstrap intervals over samples.

    Parameters
    ----------
    names : tuple of str
        A band, or several joined by " & " for what they share.
    values, low, high : array (n_shares, n_targets)
        Parts of R² and the ends of their intervals; NaN for a target that is constant.
    r2 : array (n_targets,)
        Of all bands together; the sum of `values`.
    n_samples : int
    how : str
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    r2: NDArray[np.float64]
    n_samples: int
    how: str

    def table(self) -> pd.DataFrame:
        """One row per share and target."""
        n_shares, n_targets = self.values.shape
        return pd.DataFrame(
            {
                "share": np.repeat(self.names, n_targets),
                "target": np.tile(np.arange(n_targets), n_shares),
                "r2": self.values.ravel(),
                "low": self.low.ravel(),
                "high": self.high.ravel(),
            }
        )


def subsets(n_bands: int) -> list[tuple[int, ...]]:
    """All non-empty sets of bands, small ones first.

    Examples
    --------
    >>> subsets(2)
    [(0,), (1,), (0, 1)]
    """
    if not 1 <= n_bands <= MAX_BANDS:
        raise DataError(
            "too many bands for a model of every subset" if n_bands else "there are no bands",
            expected=f"1 to {MAX_BANDS} bands",
            found=f"{n_bands} bands, {2**n_bands - 1} models",
            fix="join bands, or take the product measure, which needs the joint model only",
        )
    return [chosen for size in range(1, n_bands + 1) for chosen in combinations(range(n_bands), size)]


def product_measure(Y: ArrayLike, parts: ArrayLike) -> NDArray[np.float64]:
    """Divide R² between the bands of one model.

    With y and predictions f about their means, band b gets ``sum f_b (2 y - f) / sum y^2``; what R² loses by the
    mean of the prediction being off is taken from all bands alike.

    Parameters
    ----------
    Y : array (n_samples, n_targets)
    parts : array (n_bands, n_samples, n_targets)
        What each band adds to the prediction; they sum to it, the intercept included, in whichever part it is.

    Returns
    -------
    array (n_bands, n_targets)
        Sums to R² over bands; NaN where a target is constant.

    Examples
    --------
    >>> y = np.array([[1.0], [-1.0], [2.0], [-2.0]])
    >>> product_measure(y, np.stack([0.75 * y, 0.25 * y])).ravel()
    array([0.75, 0.25])
    """
    true, predicted = _checked(Y, parts)
    return _product_sums(true, predicted)(np.ones((1, len(true))), slice(None))[0]


def partition_r2(r2: ArrayLike, n_bands: int) -> NDArray[np.float64]:
    """Turn R² of the models of all subsets into unique and shared parts.

    The part of a set A is what its bands explain in common and no band outside of it does:
    ``-sum over B in A of (-1)^|B| R²(B and all bands outside A)``, with R² of no bands zero.

    Parameters
    ----------
    r2 : array (2^n_bands - 1, ...)
        In the order of `subsets`.
    n_bands : int

    Returns
    -------
    array (2^n_bands - 1, ...)
        In the same order; sums to R² of all bands.

    Examples
    --------
    >>> partition_r2([0.3, 0.4, 0.5], 2).round(3)   # only the first, only the second, both
    array([0.1, 0.2, 0.2])
    """
    values = np.asarray(r2, dtype=np.float64)
    matrix = _partition_matrix(n_bands)
    if len(values) != len(matrix):
        raise DataError("R² of every subset is needed", expected=f"{len(matrix)} models", found=len(values))
    return np.tensordot(matrix, values, axes=1)


def variance_by_band(
    Y: ArrayLike, parts: ArrayLike, names: Sequence[str], *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> VarianceShares:
    """The product measure with bootstrap intervals over samples.

    Parameters
    ----------
    Y : array (n_samples, n_targets)
        Held-out responses, one row per stimulus.
    parts : array (n_bands, n_samples, n_targets)
    names : sequence of str
    n_draws, level, seed
        Of the percentile bootstrap.
    """
    true, predicted = _checked(Y, parts)
    if len(predicted) != len(names):
        raise DataError("a name for each band", expected=len(predicted), found=list(names))
    shares = _with_intervals(_product_sums(true, predicted), true.shape, len(names), (n_draws, level, seed))
    total = shares[0].sum(axis=0)
    return VarianceShares(tuple(names), *shares, total, len(true), f"product measure{_how(n_draws, level)}")


def variance_by_subset(
    Y: ArrayLike,
    predictions: Sequence[ArrayLike],
    names: Sequence[str],
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> VarianceShares:
    """Unique and shared variance from the predictions of the models of all subsets, with bootstrap intervals.

    Parameters
    ----------
    Y : array (n_samples, n_targets)
        Held-out responses, one row per stimulus.
    predictions : sequence of array (n_samples, n_targets)
        In the order of `subsets`.
    names : sequence of str
        Of the bands.
    n_draws, level, seed
        Of the percentile bootstrap.
    """
    chosen = subsets(len(names))
    true, predicted = _checked(Y, np.stack([np.asarray(one) for one in predictions]))
    if len(predicted) != len(chosen):
        raise DataError("a prediction for every subset is needed", expected=len(chosen), found=len(predicted))
    matrix = _partition_matrix(len(names))
    sums = _r2_sums(true, predicted)

    def parts(weights: NDArray, columns: slice) -> NDArray:
        return np.einsum("ab,dbt->dat", matrix, sums(weights, columns))

    shares = _with_intervals(parts, true.shape, len(chosen), (n_draws, level, seed))
    labels = tuple(" & ".join(names[band] for band in one) for one in chosen)
    return VarianceShares(labels, *shares, shares[0].sum(axis=0), len(true), f"partition{_how(n_draws, level)}")


def _how(n_draws: int, level: float) -> str:
    return f" of R² on held-out samples; percentile bootstrap over samples, {n_draws} draws, {level:.0%}"


def _checked(Y: ArrayLike, parts: ArrayLike) -> tuple[NDArray, NDArray]:
    """Targets and predictions in float64, both about the mean of the targets."""
    true = as_matrix(Y, name="Y", dtype=np.float64, min_rows=2)
    predicted = np.asarray(parts, dtype=np.float64)
    if predicted.ndim != 3 or predicted.shape[1:] != true.shape:
        raise DataError(
            "predictions do not match the targets",
            expected=f"(n_parts, {true.shape[0]}, {true.shape[1]})",
            found=predicted.shape,
        )
    as_matrix(predicted.reshape(len(predicted) * len(true), -1), name="predictions", dtype=np.float64)
    return true, predicted


def _variance(weights: NDArray, true: NDArray) -> tuple[NDArray, NDArray]:
    """Weighted mean and sum of squares about it, (n_draws, n_targets); NaN where there is none."""
    n = weights.sum(axis=1, keepdims=True)
    mean = weights @ true / n
    squares = weights @ (true * true)
    spread = squares - n * mean**2
    return mean, np.where(spread > 1e-12 * squares, spread, np.nan)


def _product_sums(true: NDArray, parts: NDArray) -> Sums:
    n_bands = len(parts)
    means = parts.mean(axis=1, keepdims=True)
    offset = (means.sum(axis=0) - true.mean(axis=0)) / n_bands
    y, own = true - true.mean(axis=0), parts - means + offset  # small means, so that little cancels below

    def sums(weights: NDArray, columns: slice) -> NDArray:
        true, bands = y[:, columns], own[:, :, columns]
        n, (mean, spread) = weights.sum(axis=1, keepdims=True), _variance(weights, true)
        other = 2.0 * true - bands.sum(axis=0)
        mean_other = weights @ other / n
        bias = (mean_other - mean) ** 2 / n_bands
        shares = [weights @ (one * other) / n - (weights @ one / n) * mean_other - bias for one in bands]
        return np.stack(shares, axis=1) * (n / spread)[:, None]

    return sums


def _r2_sums(true: NDArray, predicted: NDArray) -> Sums:
    y, f = true - true.mean(axis=0), predicted - true.mean(axis=0)

    def sums(weights: NDArray, columns: slice) -> NDArray:
        spread = _variance(weights, y[:, columns])[1]
        return np.stack([1.0 - weights @ (y[:, columns] - one[:, columns]) ** 2 / spread for one in f], axis=1)

    return sums


def _partition_matrix(n_bands: int) -> NDArray[np.float64]:
    """From R² of subsets to their own parts."""
    order = subsets(n_bands)
    row_of = {chosen: row for row, chosen in enumerate(order)}
    matrix = np.zeros((len(order), len(order)))
    for row, chosen in enumerate(order):
        outside = set(range(n_bands)) - set(chosen)
        for size in range(len(chosen) + 1):
            for inner in combinations(chosen, size):
                model = tuple(sorted(outside | set(inner)))
                if model:
                    matrix[row, row_of[model]] -= (-1.0) ** size
    return matrix


def _with_intervals(
    sums: Sums, shape: tuple[int, ...], n_shares: int, draws: tuple[int, float, int]
) -> tuple[NDArray, NDArray, NDArray]:
    """Statistics of the samples themselves, and percentile intervals, by blocks of targets."""
    (n_samples, n_targets), (n_draws, level, seed) = shape, draws
    values, low, high = (np.full((n_shares, n_targets), np.nan) for _ in range(3))
    weights = list(bootstrap_weights(n_draws, n_samples, seed=seed))
    for columns in row_blocks(n_targets, 8 * n_shares * (n_draws + 4 * n_samples)):
        values[:, columns] = sums(np.ones((1, n_samples)), columns)[0]
        if weights:
            drawn = np.concatenate([sums(block, columns) for block in weights])
            low[:, columns], high[:, columns] = interval(drawn, level=level)
    return values, low, high
