"""Augmented covariances of a whole (order, lag) grid from shared lagged products.

Block (a, b) of an augmented covariance is a product of the trial with itself shifted by (b - a) lag, over a window
that starts at a lag. All cells whose delay is the same share the sum over the whole trial; the first row of blocks
takes the tail away from it, and each further block moves the window on by `lag` samples: two thin products.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.bci.augmented import as_epochs, augmented_covariances, window_length

__all__ = ["augmented_grid"]

_DIRECT = 2
"""Up to this order the plain product is quicker."""


def augmented_grid(
    X: ArrayLike, orders: Iterable[int], lags: Iterable[int]
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """Augmented covariances of every cell of a grid, one after the other.

    Order 1 does not depend on the lag and comes once, with the first lag.

    Parameters
    ----------
    X : array (n_trials, n_channels, n_times)
    orders, lags : iterable of int

    Yields
    ------
    order, lag : int
    array (n_trials, order * n_channels, order * n_channels)
        As `augmented_covariances`, to rounding.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((2, 3, 60))
    >>> cells = {(order, lag): made for order, lag, made in augmented_grid(X, [1, 4], [1, 3])}
    >>> sorted(cells), np.allclose(cells[4, 3], augmented_covariances(X, 4, 3))
    ([(1, 1), (4, 1), (4, 3)], True)
    """
    epochs = as_epochs(X)
    orders, lags = list(orders), list(lags)
    for order in orders:
        for lag in lags:
            window_length(epochs.shape[2], order, lag)
    # Centring the whole trial changes no covariance, and keeps the sums small.
    epochs = epochs - epochs.mean(axis=2, keepdims=True)
    whole: dict[int, NDArray] = {}
    for lag in lags:
        for order in orders:
            if order == 1 and lag != lags[0]:
                continue
            if order <= _DIRECT:
                yield order, lag, augmented_covariances(epochs, order, lag)
            else:
                yield order, lag, _cell(epochs, order, lag, whole)


def _product(left: NDArray, right: NDArray) -> NDArray:
    return left @ right.swapaxes(-1, -2)


def _cell(X: NDArray, order: int, lag: int, whole: dict[int, NDArray]) -> NDArray[np.float64]:
    n_trials, n_channels, n_times = X.shape
    width = window_length(n_times, order, lag)
    means = np.stack([X[..., a * lag : a * lag + width].mean(axis=-1) for a in range(order)], axis=1)
    made = np.empty((n_trials, order, n_channels, order, n_channels))
    for apart in range(order):
        delay = apart * lag
        if delay not in whole:
            whole[delay] = _product(X[..., : n_times - delay], X[..., delay:])
        block = whole[delay] - _product(X[..., width : n_times - delay], X[..., width + delay :])
        for a in range(order - apart):
            b = a + apart
            if a:
                old, new = (a - 1) * lag, (a - 1) * lag + width
                block = block + _product(X[..., new : new + lag], X[..., new + delay : new + delay + lag])
                block -= _product(X[..., old : old + lag], X[..., old + delay : old + delay + lag])
            centred = block - width * means[:, a, :, None] * means[:, b, None, :]
            made[:, a, :, b] = centred
            made[:, b, :, a] = centred.swapaxes(-1, -2)
    made /= width - 1
    return made.reshape(n_trials, order * n_channels, order * n_channels)
