"""Which unit follows which, from spike counts alone: plain ways beside which a network's reading must stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import PoissonRegressor

from brainalign.arrays import as_matrix
from brainalign.errors import DataError
from brainalign.scoring.classification import auc
from brainalign.scoring.resampling import bootstrap_weights, interval

__all__ = ["coupling_auc", "lagged_correlations", "poisson_couplings", "shifted_apart"]


def lagged_correlations(counts: ArrayLike, n_lags: int = 5) -> NDArray[np.float64]:
    """Correlation of each unit (row) with the counts of each (column) some bins before, at the lag where it is largest.

    Parameters
    ----------
    counts : array (n_bins, n_units)
    n_lags : int
        Lags of 1 to so many bins.

    Returns
    -------
    array (n_units, n_units)
        With its sign; 0 for units that never fire.

    Examples
    --------
    >>> spikes = np.random.default_rng(0).poisson(0.2, (400, 2))
    >>> spikes[1:, 1] = spikes[:-1, 0]
    >>> lagged_correlations(spikes, 2).round(1)[1, 0]
    np.float64(1.0)
    """
    X = _counts(counts, n_lags)
    spread = X.std(axis=0)
    z = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    lagged = np.stack([z[lag:].T @ z[:-lag] / len(z[lag:]) for lag in range(1, n_lags + 1)])
    return np.take_along_axis(lagged, np.abs(lagged).argmax(axis=0)[None], axis=0)[0]


def poisson_couplings(
    counts: ArrayLike, n_lags: int = 5, *, alpha: float = 1e-4
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Couplings of a generalised linear model: log rates from the counts of all units some bins before.

    Truccolo et al. 2005, J. Neurophysiol. 93, with a coefficient a lag, by `sklearn.linear_model.PoissonRegressor`.

    Parameters
    ----------
    counts : array (n_bins, n_units)
    n_lags : int
        Lags of 1 to so many bins.
    alpha : float
        Penalty of the squared coefficients.

    Returns
    -------
    weights : array (n_units, n_lags, n_units)
        What a spike of a unit (last axis) adds to the log rate of another (first) after each lag.
    intercepts : array (n_units,)

    Examples
    --------
    >>> spikes = np.random.default_rng(0).poisson(0.3, (500, 2))
    >>> spikes[2:, 1] += spikes[:-2, 0]
    >>> weights, _ = poisson_couplings(spikes, 3)
    >>> bool(weights[1, 1, 0] == weights[~np.eye(2, dtype=bool)[:, None].repeat(3, 1)].max())
    True
    """
    X = _counts(counts, n_lags)
    before = np.concatenate([X[n_lags - lag : len(X) - lag] for lag in range(1, n_lags + 1)], axis=1)
    fitted = [PoissonRegressor(alpha=alpha, max_iter=500).fit(before, one) for one in X[n_lags:].T]
    weights = np.stack([one.coef_.reshape(n_lags, -1) for one in fitted])
    return weights, np.array([one.intercept_ for one in fitted])


def shifted_apart(counts: ArrayLike, *, seed: int = 0, least: int = 100) -> NDArray[np.float64]:
    """Counts with each unit rotated in time by an amount of its own: rates and rhythms stay, couplings do not.

    Parameters
    ----------
    counts : array (n_bins, n_units)
    seed : int
    least : int
        Bins by which any two units are moved against each other, at least; fewer units than bins over it fit.

    Examples
    --------
    >>> counts = np.arange(1000.0)[:, None].repeat(3, axis=1)
    >>> moved = shifted_apart(counts)
    >>> bool((np.sort(moved, axis=0) == counts).all()), bool((moved[:, 0] == moved[:, 1]).any())
    (True, False)
    """
    X = _counts(counts, 1)
    n_bins, n_units = X.shape
    free = n_bins - n_units * least
    if free < 0:
        raise DataError(
            "the recording is too short to shift its units apart",
            expected=f"{n_units * least} bins",
            found=f"{n_bins} bins",
            fix="lower least",
        )
    rng = np.random.default_rng(seed)
    shifts = np.sort(rng.integers(0, free + 1, n_units)) + least * np.arange(n_units)
    return np.stack([np.roll(one, shift) for one, shift in zip(X.T, rng.permutation(shifts), strict=True)], axis=1)


def coupling_auc(
    edges: ArrayLike, coupling: ArrayLike, *, n_draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """How often a coupled pair has a larger edge, by magnitude, than one that is not; with a 95 % interval.

    Parameters
    ----------
    edges, coupling : array (n_units, n_units)
        Found and planted; the diagonal is left out, and an edge that is NaN counts as 0.
    n_draws, seed : int
        Of the bootstrap over pairs.

    Returns
    -------
    value, low, high : float

    Examples
    --------
    >>> planted = np.array([[0, 1.5, 0], [0, 0, 0], [0, -1.5, 0]])
    >>> coupling_auc(2 * planted + 0.1, planted)[0]
    1.0
    """
    found, planted = np.asarray(edges, dtype=float), np.asarray(coupling, dtype=float)
    if found.shape != planted.shape or found.ndim != 2 or found.shape[0] != found.shape[1]:
        raise DataError("edges and couplings are two square tables alike", expected=planted.shape, found=found.shape)
    off = ~np.eye(len(found), dtype=bool)
    values, coupled = np.abs(np.nan_to_num(found[off])), planted[off] != 0
    value = float(auc(coupled, values))
    draws = [
        float(auc(coupled[rows], values[rows]))
        for block in bootstrap_weights(n_draws, len(values), seed=seed)
        for weight in block
        if 0 < coupled[rows := np.repeat(np.arange(len(values)), weight.astype(int))].sum() < len(rows)
    ]
    low, high = interval(np.array(draws))
    return value, float(low), float(high)


def _counts(counts: ArrayLike, n_lags: int) -> NDArray[np.float64]:
    X = as_matrix(counts, name="counts", dtype=np.float64)
    if n_lags < 1 or len(X) < n_lags + 2 or X.min() < 0:
        raise DataError(
            "these counts cannot be related",
            expected=f"counts of at least 0 in {n_lags + 2} bins or more, n_lags >= 1",
            found=f"{X.shape}, smallest {X.min():.3g}, n_lags={n_lags}",
        )
    return X
