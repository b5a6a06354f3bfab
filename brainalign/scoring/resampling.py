"""Bootstrap intervals, permutation p-values and corrections for many tests.

A bootstrap draw is a row of *multiplicities*: how often each sample was drawn. Statistics are functions of these
weights, so a weighted mean over samples is one matrix product for all draws, the jackknife of BCa is just another
set of weights, and clusters (stimuli with several trials) are drawn whole by repeating their weight.

Draws are made in fixed blocks, each from its own child of one `numpy.random.SeedSequence`: results do not depend
on how the work was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.parallel import spawn_seeds

__all__ = [
    "bootstrap_weights",
    "fdr",
    "interval",
    "max_statistic_p",
    "mean_ci",
    "permutation_p",
    "permutations",
]

_DRAWS_PER_SEED = 100

Statistic = Callable[[NDArray], NDArray]
"""A function of weights (n_draws, n_samples) that returns one value per draw (n_draws, ...)."""


def bootstrap_weights(
    n_draws: int, n_samples: int, *, clusters: ArrayLike | None = None, seed: int = 0
) -> Iterator[NDArray[np.float64]]:
    """Yield blocks of multiplicities, in all (n_draws, n_samples).

    Parameters
    ----------
    n_draws, n_samples : int
    clusters : array (n_samples,), optional
        Labels of clusters that are drawn as wholes (for example stimulus ids of single trials).
    seed : int

    Examples
    --------
    >>> weights = np.concatenate(list(bootstrap_weights(150, 8)))
    >>> weights.shape, bool((weights.sum(axis=1) == 8).all())
    ((150, 8), True)
    """
    codes = None if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if codes is not None and len(codes) != n_samples:
        raise DataError("clusters must label every sample", expected=n_samples, found=len(codes))
    n_units = n_samples if codes is None else int(codes.max()) + 1
    for block, child in enumerate(spawn_seeds(seed, -(-n_draws // _DRAWS_PER_SEED))):
        rows = min(_DRAWS_PER_SEED, n_draws - block * _DRAWS_PER_SEED)
        # The whole block is always drawn, so that the first draws are the same for every n_draws.
        drawn = np.random.default_rng(child).integers(0, n_units, (_DRAWS_PER_SEED, n_units))[:rows]
        flat = (drawn + n_units * np.arange(rows)[:, None]).ravel()
        weights = np.bincount(flat, minlength=rows * n_units).reshape(rows, n_units).astype(np.float64)
        yield weights if codes is None else weights[:, codes]


def interval(
    draws: ArrayLike, *, level: float = 0.95, estimate: ArrayLike | None = None, jackknife: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confidence interval from bootstrap draws: percentiles, or BCa when `estimate` and `jackknife` are given.

    BCa corrects the percentiles for bias and skew (Efron 1987, J. Am. Stat. Assoc. 82).

    Parameters
    ----------
    draws : array (n_draws, ...)
    level : float
    estimate : array (...), optional
        The statistic of the data themselves.
    jackknife : array (n_samples, ...), optional
        The statistic with each sample (or cluster) left out.

    Returns
    -------
    low, high : array (...)
        NaN where every draw is NaN. NaN draws (a resample without spread) are left out.
    """
    values = np.asarray(draws, dtype=np.float64)
    tail = (1.0 - level) / 2.0
    if estimate is None or jackknife is None:
        return _quantile(values, np.asarray(tail)), _quantile(values, np.asarray(1.0 - tail))
    from scipy.special import ndtr, ndtri

    point, left_out = np.asarray(estimate, dtype=np.float64), np.asarray(jackknife, dtype=np.float64)
    below = np.mean(values < point, axis=0) + 0.5 * np.mean(values == point, axis=0)
    bias = ndtri(np.clip(below, 0.5 / len(values), 1 - 0.5 / len(values)))
    deviation = left_out.mean(axis=0) - left_out
    spread = np.sum(deviation**2, axis=0) ** 1.5
    skew = np.sum(deviation**3, axis=0)
    acceleration = np.divide(skew, 6.0 * spread, out=np.zeros_like(skew), where=spread > 0)
    ends = []
    for z in (ndtri(tail), ndtri(1.0 - tail)):
        ends.append(_quantile(values, ndtr(bias + (bias + z) / (1.0 - acceleration * (bias + z)))))
    return ends[0], ends[1]


def _quantile(values: NDArray, share: NDArray) -> NDArray[np.float64]:
    """Quantile over the first axis, ignoring NaN, with one `share` for all columns or one for each."""
    flat = values.reshape(len(values), -1)
    shares = np.broadcast_to(share, values.shape[1:]).ravel()
    out = np.full(flat.shape[1], np.nan)
    for column in range(flat.shape[1]):
        valid = flat[~np.isnan(flat[:, column]), column]
        if valid.size:
            out[column] = np.quantile(valid, shares[column])
    return out.reshape(values.shape[1:])


def mean_ci(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    n_draws: int = 2000,
    method: str = "percentile",
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap confidence interval of the mean over samples, NaN left out.

    Parameters
    ----------
    values : array (n_samples, ...)
        One value per sample, for example the hit or miss of each stimulus.
    clusters : array (n_samples,), optional
        Samples of one cluster (trials of one stimulus, pairs of one subject) are drawn together.
    method : {"percentile", "bca"}

    Returns
    -------
    low, high : array (...)

    Examples
    --------
    >>> low, high = mean_ci([0.0, 1.0] * 50)
    >>> bool(0.38 < low < 0.43 and 0.57 < high < 0.62)
    True
    """
    data = np.asarray(values, dtype=np.float64)
    flat = data.reshape(len(data), -1)
    present = ~np.isnan(flat)
    filled = np.where(present, flat, 0.0)

    def weighted_mean(weights: NDArray) -> NDArray:
        with np.errstate(invalid="ignore"):
            return (weights @ filled) / (weights @ present.astype(np.float64))

    blocks = bootstrap_weights(n_draws, len(data), clusters=clusters, seed=seed)
    draws = np.concatenate([weighted_mean(weights) for weights in blocks])
    if method == "percentile":
        low, high = interval(draws, level=level)
    elif method == "bca":
        labels = np.arange(len(data)) if clusters is None else np.asarray(clusters)
        left_out = weighted_mean((np.unique(labels)[:, None] != labels).astype(np.float64))
        everything = weighted_mean(np.ones((1, len(data))))[0]
        low, high = interval(draws, level=level, estimate=everything, jackknife=left_out)
    else:
        raise DataError(f"no bootstrap interval {method!r}", expected="percentile or bca")
    return low.reshape(data.shape[1:]), high.reshape(data.shape[1:])


def permutations(
    n_samples: int, n_permutations: int, *, groups: ArrayLike | None = None, seed: int = 0
) -> Iterator[NDArray[np.intp]]:
    """Yield random orders of the samples, shuffled only inside `groups` (runs, sessions) where these are given.

    Examples
    --------
    >>> [order.tolist() for order in permutations(4, 2, groups=["a", "a", "b", "b"], seed=1)]
    [[1, 0, 3, 2], [0, 1, 3, 2]]
    """
    labels = np.zeros(n_samples) if groups is None else np.asarray(groups)
    codes = np.unique(labels, return_inverse=True)[1]
    home = np.argsort(codes, kind="stable")
    for child in spawn_seeds(seed, n_permutations):
        shuffled = np.lexsort((np.random.default_rng(child).random(n_samples), codes))
        order = np.empty(n_samples, dtype=np.intp)
        order[home] = shuffled
        yield order


def permutation_p(observed: ArrayLike, null: ArrayLike, *, tail: str = "greater") -> NDArray[np.float64]:
    """Permutation p-value ``(b + 1) / (n + 1)``, with b the null values at least as extreme as the observed one.

    Counting the observed value itself keeps the test valid (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9).

    Parameters
    ----------
    observed : array (...)
    null : array (n_permutations, ...)
    tail : {"greater", "less", "two-sided"}
        Two-sided compares absolute values; centre the statistic on its chance level first.

    Returns
    -------
    array (...)
        NaN where `observed` is NaN.
    """
    value, values = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if tail not in ("greater", "less", "two-sided"):
        raise DataError(f"no tail {tail!r}", expected="greater, less or two-sided")
    check_finite(np.where(np.isnan(value), 0.0, values), name="null")
    if tail == "two-sided":
        value, values = np.abs(value), np.abs(values)
    # Equal values computed in another order may differ by rounding: they count as ties.
    slack = 1e-12 * np.maximum(np.abs(value), 1e-300)
    extreme = values <= value + slack if tail == "less" else values >= value - slack
    p = (extreme.sum(axis=0) + 1.0) / (len(values) + 1.0)
    return np.where(np.isnan(value), np.nan, p)


def max_statistic_p(observed: ArrayLike, null: ArrayLike, *, tail: str = "greater") -> NDArray[np.float64]:
    """P-values corrected for the family of all tests by the permutation distribution of their maximum.

    Parameters
    ----------
    observed : array (...)
        One statistic per test.
    null : array (n_permutations, ...)
        The same statistics under *joint* permutations (one relabelling for all tests).
    tail : {"greater", "two-sided"}

    References
    ----------
    Nichols & Holmes 2002, Hum. Brain Mapp. 15.
    """
    value, values = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if tail == "two-sided":
        value, values = np.abs(value), np.abs(values)
    elif tail != "greater":
        raise DataError(f"no max-statistic for tail {tail!r}", expected="greater or two-sided")
    flat = values.reshape(len(values), -1)[:, ~np.isnan(value).ravel()]
    if flat.shape[1] == 0:
        return np.full(value.shape, np.nan)
    maxima = flat.max(axis=1)
    return permutation_p(value, np.broadcast_to(maxima.reshape(-1, *(1,) * value.ndim), values.shape))


def fdr(p_values: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg adjusted p-values (q-values) over all entries; NaN stay NaN and do not count as tests.

    Examples
    --------
    >>> fdr([0.01, 0.02, 0.5, float("nan")]).round(3)
    array([0.03, 0.03, 0.5 ,  nan])
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(p)
    values = p[tested]
    if np.any((values < 0) | (values > 1)):
        raise DataError("p-values lie between 0 and 1", found=f"{values.min()} to {values.max()}")
    order = np.argsort(values)[::-1]
    steps = values[order] * len(values) / np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(steps)
    out = np.full(p.shape, np.nan)
    out[tested] = np.minimum(adjusted, 1.0)
    return out
