"""Multivariate noise normalisation: channels whitened by the noise that they share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from brainalign.encoders.ephys.scope import ScopedTransformer
from brainalign.errors import DataError, unknown

__all__ = ["MVNN", "noise_covariance"]


class MVNN(ScopedTransformer):
    """Multivariate noise normalisation of EEG and MEG (Guggenmos et al. 2018, NeuroImage 173).

    Channels are multiplied by the inverse square root of their noise covariance, see `noise_covariance`. NICE learns
    it in each session from training trials, which ``by="session"`` does; the scripts that came with THINGS-EEG2
    average it over training and test trials, which ``fit_on="all"`` does.

    Parameters
    ----------
    over : {"time", "epoch"}
        What the samples of a covariance are: the trials of a condition at a time point, or the times of a trial.
    shrinkage : "auto" or float
        See `noise_covariance`.
    by, fit_on
        See `ScopedTransformer`.

    Attributes
    ----------
    learnt_ : dict of str to ndarray (n_channels, n_channels)
        The whitening matrix of each group.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((20, 3, 50)) * [[1.0], [10.0], [0.1]]
    >>> MVNN("epoch").fit_transform(X).std(axis=(0, 2)).round(1)
    array([1., 1., 1.])
    """

    def __init__(
        self, over: str = "time", shrinkage: float | str = "auto", *, by: str | None = None, fit_on: str = "train"
    ) -> None:
        self.over = over
        self.shrinkage = shrinkage
        self.by = by
        self.fit_on = fit_on

    def _learn(self, X: np.ndarray, conditions: np.ndarray, units: Any) -> np.ndarray:
        return _inverse_root(noise_covariance(X, conditions, over=self.over, shrinkage=self.shrinkage))

    def _apply(self, X: np.ndarray, learnt: np.ndarray) -> np.ndarray:
        return np.matmul(learnt.astype(X.dtype), X)


def noise_covariance(
    X: np.ndarray, conditions: Any, *, over: str = "time", shrinkage: float | str = "auto"
) -> np.ndarray:
    """Covariance of channels within conditions: shrunk, averaged within each condition, then over conditions.

    Parameters
    ----------
    X : array (n_trials, n_channels, n_times)
    conditions : array (n_trials,)
    over : {"time", "epoch"}
        "time": of the trials of a condition, at each time; conditions shown once tell nothing. "epoch": of the times
        of each trial, about their mean.
    shrinkage : "auto" or float in [0, 1]
        Weight of the diagonal that each covariance is drawn to: of the variances for "auto", whose weight is Ledoit's
        and Wolf's (2004) for channels of unit variance; of the mean variance for a number.

    Returns
    -------
    array (n_channels, n_channels)

    Raises
    ------
    DataError
        When no condition was shown twice (over time), or an epoch has one sample (over epochs).

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((40, 2, 30)) * [[1.0], [2.0]]
    >>> noise_covariance(X, np.repeat([0, 1], 20)).diagonal().round()
    array([1., 4.])
    """
    if over not in ("time", "epoch"):
        raise unknown("samples over", over, ("time", "epoch"))
    if shrinkage != "auto" and not (isinstance(shrinkage, int | float) and 0 <= shrinkage <= 1):
        raise DataError("shrinkage is 'auto' or a weight", expected="0 <= shrinkage <= 1", found=shrinkage)
    total, n = np.zeros((X.shape[1], X.shape[1])), 0
    codes = np.unique(np.asarray(conditions).astype(str), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(codes))[:-1]):
        samples = X[rows].astype(np.float64).transpose((2, 0, 1) if over == "time" else (0, 2, 1))
        if samples.shape[1] > 1:
            total += _shrunk(samples, shrinkage).mean(axis=0)
            n += 1
    if not n:
        raise DataError(
            "no condition has two samples to tell noise from signal",
            expected="a condition shown twice" if over == "time" else "epochs of two samples",
            found=f"{len(X)} trials of {codes.max() + 1} conditions, {X.shape[2]} times",
            fix="over='epoch', or fit on single trials, before repetitions are averaged",
        )
    return total / n


def _shrunk(samples: np.ndarray, shrinkage: float | str) -> np.ndarray:
    """Covariances (n_sets, p, p) of centred sets of samples (n_sets, n, p)."""
    x = samples - samples.mean(axis=1, keepdims=True)
    scale = np.ones((len(x), x.shape[2]))
    if shrinkage == "auto":
        scale = x.std(axis=1)
        scale = np.where(scale > 0, scale, 1.0)
        x = x / scale[:, None]
    n, p = x.shape[1:]
    covariance = x.transpose(0, 2, 1) @ x / n
    mean_variance = np.trace(covariance, axis1=1, axis2=2) / p
    weight = np.full(len(x), shrinkage) if shrinkage != "auto" else _ledoit_wolf(x, covariance, mean_variance)
    made = (1 - weight)[:, None, None] * covariance
    diagonal = np.arange(p)
    made[:, diagonal, diagonal] += (weight * mean_variance)[:, None]
    return made * scale[:, :, None] * scale[:, None]


def _ledoit_wolf(x: np.ndarray, covariance: np.ndarray, mean_variance: np.ndarray) -> np.ndarray:
    """Weight of the identity for each set: Ledoit & Wolf 2004, J. Multivar. Anal. 88, lemmata 3.2 to 3.4."""
    n, p = x.shape[1:]
    square = np.square(covariance).sum(axis=(1, 2))
    distance = square - p * mean_variance**2
    spread = (np.square(np.square(x).sum(axis=2)).sum(axis=1) / n - square) / n
    return np.divide(np.minimum(spread, distance), distance, out=np.zeros(len(x)), where=distance > 1e-12 * square)


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    """Symmetric inverse square root; directions without variance are left out, with a warning."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-10 * values.max()
    if not kept.any():
        raise DataError("the channels do not vary", expected="signals with noise", found="no variance")
    if not kept.all():
        warnings.warn(
            f"channels span {kept.sum()} of {len(kept)} dimensions: the others are left out of the whitening",
            stacklevel=2,
        )
    return (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
