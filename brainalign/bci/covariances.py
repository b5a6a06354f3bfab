"""Covariance matrices of trials, all trials at once: empirical, Ledoit-Wolf and oracle approximating shrinkage.

scikit-learn's estimators fit one trial after the other; their shrinkage has a closed form that a batch shares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import row_blocks
from brainalign.bci.augmented import IN_CACHE, ConditionedCovariances, as_epochs, shrunk
from brainalign.errors import unknown

__all__ = ["ESTIMATORS", "Covariances", "trial_covariances"]

ESTIMATORS = ("cov", "scm", "oas", "lwf")


def trial_covariances(X: ArrayLike, estimator: str = "oas") -> NDArray[np.float64]:
    """Covariance of the channels of each trial, the mean over time removed.

    Parameters
    ----------
    X : array (n_trials, n_channels, n_times)
    estimator : {"cov", "scm", "oas", "lwf"}
        "cov" divides by n_times - 1, "scm" by n_times; "oas" (Chen et al. 2010, IEEE Trans. Signal Process. 58, eq.
        23) and "lwf" (Ledoit & Wolf 2004, J. Multivariate Anal. 88) shrink "scm" towards a multiple of the identity,
        by as much as each trial asks for, as scikit-learn does.

    Returns
    -------
    array (n_trials, n_channels, n_channels), in the square of the units of X

    Raises
    ------
    DataError
        When trials are not finite, or the estimator is unknown.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((2, 3, 50))
    >>> np.allclose(trial_covariances(X, "cov")[1], np.cov(X[1]))
    True
    """
    _check_estimator(estimator)
    return _batched(as_epochs(X), estimator)


def _batched(X: NDArray, estimator: str) -> NDArray[np.float64]:
    n_trials, n_channels, n_times = X.shape
    made = np.empty((n_trials, n_channels, n_channels))
    for rows in row_blocks(n_trials, 8 * n_channels * n_times, budget=IN_CACHE):
        centred = X[rows] - X[rows].mean(axis=-1, keepdims=True)
        made[rows] = centred @ centred.swapaxes(-1, -2) / (n_times - (estimator == "cov"))
        if estimator in ("oas", "lwf"):
            share = _oas(made[rows], n_times) if estimator == "oas" else _ledoit_wolf(made[rows], centred)
            made[rows] = shrunk(made[rows], share)
    return made


class Covariances(ConditionedCovariances):
    """Trials to covariance matrices.

    "oas" and "lwf" give full rank to average-referenced data; "cov" and "scm" of such data are refused, unless
    `retain` or `shrinkage` mends them.

    Parameters
    ----------
    estimator : {"oas", "lwf", "scm", "cov"}
        See `trial_covariances`.
    retain : float or None
        Share of variance in (0, 1] of the mean training matrix to keep, in a subspace learnt on train.
    shrinkage : float
        In [0, 1), beside that of the estimator: C becomes (1 - s) C + s tr(C)/n I.

    Attributes
    ----------
    n_channels_ : int
    basis_ : ndarray (n_channels, n_kept) or None

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((5, 3, 100))
    >>> Covariances().fit_transform(X - X.mean(axis=1, keepdims=True)).shape
    (5, 3, 3)
    """

    def __init__(self, estimator: str = "oas", *, retain: float | None = None, shrinkage: float = 0.0) -> None:
        self.estimator = estimator
        self.retain = retain
        self.shrinkage = shrinkage

    def _prepare(self, X: NDArray) -> None:
        _check_estimator(self.estimator)

    def _covariances(self, X: NDArray) -> NDArray[np.float64]:
        return _batched(X, self.estimator)


def _check_estimator(name: str) -> None:
    if name not in ESTIMATORS:
        raise unknown("estimator", name, ESTIMATORS)


def _oas(empirical: NDArray, n_times: int) -> NDArray[np.float64]:
    """Share of the identity for each matrix; the factor 2 / p of the paper is left out, as everywhere."""
    size = empirical.shape[-1]
    if size == 1:
        return np.zeros(len(empirical))
    energy = np.square(empirical).mean(axis=(1, 2))
    level = np.square(np.trace(empirical, axis1=1, axis2=2) / size)
    return _capped(energy + level, (n_times + 1) * (energy - level / size), otherwise=1.0)


def _ledoit_wolf(empirical: NDArray, centred: NDArray) -> NDArray[np.float64]:
    n_trials, size, n_times = centred.shape
    if size == 1:
        return np.zeros(n_trials)
    level = np.trace(empirical, axis1=1, axis2=2) / size
    energy = np.square(empirical).sum(axis=(1, 2))
    fourth = np.square(np.einsum("nct,nct->nt", centred, centred)).sum(axis=1) / n_times
    noise = (fourth - energy) / (size * n_times)
    spread = (energy - size * np.square(level)) / size
    return _capped(np.minimum(noise, spread), spread, otherwise=0.0)


def _capped(above: NDArray, below: NDArray, *, otherwise: float) -> NDArray[np.float64]:
    """The ratio, at most 1; `otherwise` where there is nothing to divide by."""
    return np.minimum(np.divide(above, below, out=np.full_like(above, otherwise), where=below > 0), 1.0)
