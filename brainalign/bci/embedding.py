"""Order and lag of an embedding from the trials themselves, without labels and without a grid.

`cao_embedding` takes the lag from the self mutual information and the order from averaged false nearest neighbours;
`mdop_embedding` adds, one after the other, the delays that most unfold the trajectory. Both say order 1, no embedding,
for signals whose past says nothing of their future.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from brainalign.bci.augmented import as_epochs, refuse_flat
from brainalign.errors import DataError, unknown

__all__ = [
    "CRITERIA",
    "averaged_false_neighbours",
    "cao_embedding",
    "choose_embedding",
    "mdop_delays",
    "mdop_embedding",
]

_N_SERIES = 48
"""Most signals (channels of trials, spread evenly) that are looked at; averages change little with more."""
_UNPREDICTABLE = 0.9
"""Error of the nearest neighbour's future, relative to that of any other moment's, above which nothing is there."""
_FALSE = 0.05
"""Share of false neighbours below which the trajectory counts as unfolded."""
_PLATEAU = 0.9
"""E1 from which on Cao's curve counts as having come to rest; on some hundred samples it nears 1 slowly."""


def choose_embedding(
    X: ArrayLike, criterion: str, *, max_order: int = 10, max_lag: int | None = None
) -> tuple[int, int]:
    """Order and lag for trials, by name of the criterion.

    Parameters
    ----------
    X : array (n_trials, n_channels, n_times)
    criterion : {"cao", "mdop"}
    max_order : int
    max_lag : int, optional
        Samples; by default 30, and less where trials are short.

    Returns
    -------
    order, lag : int
        With ``order * lag`` at most half a trial.

    Raises
    ------
    DataError
        When trials are bad or too short, or the criterion is unknown.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((4, 1, 600))
    >>> choose_embedding(X, "cao")
    (1, 1)
    >>> for t in range(2, 600):
    ...     X[..., t] += 1.93 * X[..., t - 1] - 0.996 * X[..., t - 2]  # rings with a period of 24 samples
    >>> choose_embedding(X, "cao")[1]
    6
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    epochs = as_epochs(X)
    refuse_flat(epochs)
    longest = min(30, epochs.shape[2] // 8) if max_lag is None else max_lag
    if max_order < 2 or longest < 1 or epochs.shape[2] < 8 * longest:
        raise DataError(
            "trials are too short to choose an embedding",
            expected=f"max_order >= 2, max_lag >= 1 and n_times >= {8 * max(longest, 1)}",
            found=f"max_order={max_order}, max_lag={longest}, n_times={epochs.shape[2]}",
        )
    epochs = (epochs - epochs.mean(axis=2, keepdims=True)) / epochs.std(axis=2, keepdims=True)
    order, lag = CRITERIA[criterion](epochs, max_order, longest)
    return min(order, max(1, epochs.shape[2] // (2 * lag))), lag


def cao_embedding(X: NDArray, max_order: int, max_lag: int) -> tuple[int, int]:
    """Lag at the first minimum of the mean self mutual information, order by `averaged_false_neighbours`.

    The order is the first local maximum of the mean curve E1, as published for augmented covariances, or where E1
    first passes 0.9 if that is earlier (Cao's plateau).

    Parameters
    ----------
    X : array (n_trials, n_channels, n_times)
        Channels of mean 0 and variance 1.
    max_order, max_lag : int

    References
    ----------
    Cao (1997), Practical method for determining the minimum embedding dimension of a scalar time series, Physica D
    110, 43-50; Carrara & Papadopoulo (2024), arXiv 2302.04508.
    """
    series = _spread(X.reshape(-1, X.shape[2]))
    lag = _first_minimum(np.mean([_self_information(one, max_lag) for one in series], axis=0))
    if _predictability(series, lag) > _UNPREDICTABLE:
        return 1, 1
    curve = np.mean([averaged_false_neighbours(one, lag, max_order) for one in series], axis=0)
    for place in range(len(curve) - 1):
        if curve[place] >= _PLATEAU or (place and curve[place] > max(curve[place - 1], curve[place + 1])):
            return place + 1, lag
    return max_order, lag


def averaged_false_neighbours(series: NDArray, lag: int, max_order: int) -> NDArray[np.float64]:
    """Cao's E1 for orders 1 to `max_order`: how much more neighbours part when one copy is added, from order to order.

    Parameters
    ----------
    series : array (n_times,)
    lag, max_order : int

    Returns
    -------
    array (max_order,)
        Close to 1 from the order on at which the trajectory is unfolded.
    """
    n_points = len(series) - (max_order + 1) * lag
    parted = []
    for order in range(1, max_order + 2):
        points = _delayed(series, order, lag, n_points)
        distance, neighbour = _neighbours(points, lag, p=np.inf)
        future = series[order * lag : order * lag + n_points]
        grown = np.maximum(distance, np.abs(future - future[neighbour]))
        apart = distance > 0
        parted.append(float(np.mean(grown[apart] / distance[apart])) if apart.any() else 1.0)
    return np.array(parted[1:]) / np.array(parted[:-1])


def mdop_embedding(X: NDArray, max_order: int, max_lag: int) -> tuple[int, int]:
    """Number of coordinates of `mdop_delays`, and the lag of the uniform embedding with the same mean delay.

    Both averaged over trials. (With three coordinates this lag is the mean of the delays, the first of them 0, as
    published.)

    Parameters
    ----------
    X : array (n_trials, n_channels, n_times)
        Channels of mean 0 and variance 1.
    max_order, max_lag : int

    References
    ----------
    Nichkawde (2013), Optimal state-space reconstruction using derivatives on projected manifold, Phys. Rev. E 87,
    022905; Carrara & Papadopoulo (2024), arXiv 2302.04508.
    """
    trials = _spread(X, _N_SERIES // 2)
    orders, lags = [], []
    for trial in trials:
        theiler = max(_first_minimum(_self_information(one, max_lag)) for one in trial)
        if _predictability(trial, theiler) > _UNPREDICTABLE:
            orders.append(1)
            continue
        delays = [delay for _, delay in mdop_delays(trial, max_order, max_lag, theiler=theiler)]
        orders.append(len(delays))
        if len(delays) > 1:
            lags.append(2 * np.mean(delays) / (len(delays) - 1))
    order = round(float(np.mean(orders)))
    if order < 2 or not lags:
        return 1, 1
    return order, max(1, round(float(np.mean(lags))))


def mdop_delays(
    series: NDArray, max_order: int, max_lag: int, *, theiler: int, ratio: float = 2.0
) -> list[tuple[int, int]]:
    """Coordinates (channel, delay) by maximal derivatives on the projected manifold.

    From the first channel undelayed on, each cycle adds the coordinate along which nearest neighbours part most: the
    largest mean logarithm of their distance along it, relative to their distance now. The cycles end when fewer than
    5 % of the neighbours are false, that is, part by more than `ratio`.

    Parameters
    ----------
    series : array (n_channels, n_times)
    max_order, max_lag : int
    theiler : int
        Samples within which a moment is no neighbour.
    ratio : float

    Returns
    -------
    list of (int, int)
    """
    n_points = series.shape[1] - max_lag
    shifted = np.stack([series[:, delay : delay + n_points] for delay in range(max_lag + 1)], axis=1)
    chosen = [(0, 0)]
    while len(chosen) < max_order:
        points = np.stack([shifted[channel, delay] for channel, delay in chosen], axis=1)
        distance, neighbour = _neighbours(points, theiler, p=2.0)
        apart = distance > 0
        parting = np.abs(shifted - shifted[:, :, neighbour])[:, :, apart] / distance[apart]
        beta = np.log(np.maximum(parting, np.finfo(float).tiny)).mean(axis=2)
        for channel, delay in chosen:
            beta[channel, delay] = -np.inf
        best = np.unravel_index(int(beta.argmax()), beta.shape)
        if np.mean(parting[best] > ratio) < _FALSE:
            break
        chosen.append((int(best[0]), int(best[1])))
    return chosen


CRITERIA: dict[str, Callable[[NDArray, int, int], tuple[int, int]]] = {"cao": cao_embedding, "mdop": mdop_embedding}
"""By name."""


def _spread(items: NDArray, n: int = _N_SERIES) -> NDArray:
    """At most `n` of them, evenly over the whole."""
    return items[np.unique(np.linspace(0, len(items) - 1, min(n, len(items))).astype(int))]


def _delayed(series: NDArray, order: int, lag: int, n_points: int) -> NDArray[np.float64]:
    return np.stack([series[a * lag : a * lag + n_points] for a in range(order)], axis=1)


def _neighbours(points: NDArray, theiler: int, *, p: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance and position of the nearest point that is more than `theiler` samples away."""
    tree, n = cKDTree(points), len(points)
    # Of so many neighbours one at least lies outside the window.
    enough = min(n, 2 * theiler + 2)
    distance, neighbour = np.full(n, np.inf), np.zeros(n, dtype=np.int64)
    rows = np.arange(n)
    for k in dict.fromkeys((min(enough, 2 + theiler // 2), enough)):
        far, near = tree.query(points[rows], k=max(k, 2), p=p)
        outside = np.abs(near - rows[:, None]) > theiler
        place = outside.argmax(axis=1)
        found = outside[np.arange(len(rows)), place]
        distance[rows[found]] = far[found, place[found]]
        neighbour[rows[found]] = near[found, place[found]]
        rows = rows[~found]
        if not len(rows):
            break
    return np.where(np.isfinite(distance), distance, 0.0), neighbour


def _predictability(series: NDArray, lag: int) -> float:
    """How far apart two neighbouring moments are one step later, relative to any two moments."""
    near, any_two = [], []
    for one in series:
        points = _delayed(one, 2, lag, len(one) - lag - 1)
        future = one[lag + 1 :]
        _, neighbour = _neighbours(points, lag, p=2.0)
        near.append(np.abs(future - future[neighbour]).mean())
        any_two.append(np.abs(future - np.roll(future, len(future) // 2)).mean())
    return float(np.mean(near) / np.mean(any_two))


def _self_information(series: NDArray, max_lag: int, n_bins: int = 16) -> NDArray[np.float64]:
    """Mutual information in nats of a signal and itself 1 to `max_lag` samples later, from bins of equal count."""
    codes = np.argsort(np.argsort(series)) * n_bins // len(series)
    made = np.empty(max_lag)
    for delay in range(1, max_lag + 1):
        joint = np.bincount(codes[:-delay] * n_bins + codes[delay:], minlength=n_bins**2).reshape(n_bins, n_bins)
        share = joint / joint.sum()
        outer = share.sum(axis=1, keepdims=True) * share.sum(axis=0)
        there = share > 0
        made[delay - 1] = np.sum(share[there] * np.log(share[there] / outer[there]))
    return made


def _first_minimum(curve: NDArray) -> int:
    """Lag (from 1) of the first value below both neighbours; without one, of the first below 1/e of the start."""
    inside = np.flatnonzero((curve[1:-1] < curve[:-2]) & (curve[1:-1] <= curve[2:]))
    if len(inside):
        return int(inside[0]) + 2
    low = np.flatnonzero(curve <= curve[0] / np.e)
    return int(low[0] if len(low) else curve.argmin()) + 1
