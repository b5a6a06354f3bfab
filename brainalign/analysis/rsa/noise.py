"""Noise covariance of patterns, shrunk so that it can be inverted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite
from brainalign.errors import DataError

__all__ = ["condition_residuals", "noise_covariance", "noise_precision"]


def noise_precision(
    residuals: ArrayLike, *, shrinkage: str | float | None = "diagonal", n_parameters: int = 1
) -> NDArray[np.float64]:
    """Inverse of `noise_covariance`, which has the parameters.

    Raises
    ------
    DataError
        When the covariance is singular: without shrinkage, from fewer samples than features.
    """
    covariance = noise_covariance(residuals, shrinkage=shrinkage, n_parameters=n_parameters)
    deviation = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    if not np.all(deviation > 0):
        raise DataError("features without noise", fix="drop constant voxels or channels, or shrinkage='identity'")
    scale = deviation[..., :, None] * deviation[..., None, :]
    correlation = covariance / scale
    # Optimal shrinkage is never zero where there are too few samples; anything else may leave a singular matrix.
    if not isinstance(shrinkage, str) and np.any(np.linalg.cond(correlation) > 1e12):
        raise DataError(
            "the noise covariance is singular",
            expected=f"more than {correlation.shape[-1]} residuals, or shrinkage",
            fix="shrinkage='diagonal' or 'identity'",
        )
    return np.linalg.inv(correlation) / scale


def noise_covariance(
    residuals: ArrayLike, *, shrinkage: str | float | None = "diagonal", n_parameters: int = 1
) -> NDArray[np.float64]:
    """Noise covariance, shrunk by the optimal amount.

    Parameters
    ----------
    residuals : array (..., n_samples, n_features)
        What the conditions leave unexplained: GLM residuals, or trials less their condition mean
        (`condition_residuals`). Leading axes give one matrix each, for example per time point.
    shrinkage : {"diagonal", "identity"}, float or None
        What to shrink to: the features' own variances (Schaefer & Strimmer 2005, Stat. Appl. Genet. Mol. Biol. 4),
        or the mean variance (Ledoit & Wolf 2004, J. Multivar. Anal. 88). A number in [0, 1] is the weight of the
        diagonal. None is the sample covariance.
    n_parameters : int
        Degrees of freedom that the conditions took (1 for a mean; the number of conditions with trials less
        condition means; the number of regressors with GLM residuals).

    Returns
    -------
    array (..., n_features, n_features)

    Notes
    -----
    Two matrix products give the covariances and their sampling variances, hence the weight of the target.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 50))
    >>> bool(np.linalg.eigvalsh(noise_covariance(x)).min() > 0.1)
    True
    """
    x = np.asarray(residuals, dtype=np.float64)
    if x.ndim < 2 or x.shape[-1] < 1:
        raise DataError("residuals", expected="(..., n_samples, n_features)", found=x.shape)
    check_finite(x, name="residuals")
    n_samples = x.shape[-2]
    dof = n_samples - n_parameters
    if dof < 1:
        raise DataError("too few residuals", expected=f"more than {n_parameters} rows", found=n_samples)
    x = x - x.mean(axis=-2, keepdims=True)
    if shrinkage == "diagonal":
        return _to_diagonal(x, dof)
    covariance = np.swapaxes(x, -1, -2) @ x / n_samples
    if shrinkage == "identity":
        covariance = _to_identity(x, covariance)
    elif isinstance(shrinkage, (int, float)) and 0 <= shrinkage <= 1:
        diagonal = np.eye(x.shape[-1], dtype=bool)
        covariance = np.where(diagonal, covariance, (1 - shrinkage) * covariance)
    elif shrinkage is not None:
        raise DataError(f"shrinkage={shrinkage!r}", expected="'diagonal', 'identity', a number in [0, 1] or None")
    return covariance * (n_samples / dof)


def _to_diagonal(x: NDArray, dof: int) -> NDArray[np.float64]:
    deviation = np.sqrt(np.einsum("...ij,...ij->...j", x, x) / dof)
    if np.any(deviation == 0):
        constant = np.unique(np.argwhere(deviation == 0)[:, -1])[:5].tolist()
        raise DataError(f"features without noise: {constant}", fix="drop constant voxels or channels")
    x = x / deviation[..., None, :]
    correlation = np.swapaxes(x, -1, -2) @ x / dof
    square = np.square(x)
    sampling_variance = x.shape[-2] / dof**2 * (np.swapaxes(square, -1, -2) @ square / dof - correlation**2)
    off = ~np.eye(x.shape[-1], dtype=bool)
    total = np.sum(correlation**2, axis=(-1, -2), where=off)
    strength = np.sum(sampling_variance, axis=(-1, -2), where=off) / np.maximum(total, np.finfo(float).tiny)
    kept = 1.0 - np.clip(strength, 0.0, 1.0)
    shrunk = np.where(off, correlation * kept[..., None, None], correlation)
    return shrunk * (deviation[..., :, None] * deviation[..., None, :])


def _to_identity(x: NDArray, covariance: NDArray) -> NDArray[np.float64]:
    n_samples, n_features = x.shape[-2:]
    mean = np.trace(covariance, axis1=-2, axis2=-1) / n_features
    target = mean[..., None, None] * np.eye(n_features)
    distance = np.sum((covariance - target) ** 2, axis=(-1, -2))
    fourth = np.sum(np.sum(np.square(x), axis=-1) ** 2, axis=-1) / n_samples
    error = np.minimum((fourth - np.sum(covariance**2, axis=(-1, -2))) / n_samples, distance)
    weight = np.divide(error, distance, out=np.ones_like(error), where=distance > 0)[..., None, None]
    return weight * target + (1 - weight) * covariance


def condition_residuals(X: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], int]:
    """Trials less the mean of their condition, and the degrees of freedom that the means took.

    Parameters
    ----------
    X : array (..., n_trials, n_features)
    labels : array (n_trials,)
        Condition of each trial, or condition and run: conditions with one trial say nothing about noise and are left
        out.

    Examples
    --------
    >>> residuals, n_parameters = condition_residuals([[1.0], [3.0], [10.0]], ["a", "a", "b"])
    >>> residuals.tolist(), n_parameters
    ([[-1.0], [1.0]], 1)
    """
    x = np.asarray(X, dtype=np.float64)
    if len(np.asarray(labels)) != x.shape[-2]:
        raise DataError("labels must name every trial", expected=x.shape[-2], found=len(np.asarray(labels)))
    _, codes, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[codes] > 1)
    if not len(repeated):
        raise DataError("noise needs repeated conditions", found="one trial each", fix="use GLM residuals")
    residuals = x[..., repeated, :]
    codes = np.unique(codes[repeated], return_inverse=True)[1]
    member = np.zeros((codes.max() + 1, len(codes)))
    member[codes, np.arange(len(codes))] = 1.0
    means = (member / member.sum(axis=1, keepdims=True)) @ residuals
    return residuals - means[..., codes, :], int(codes.max()) + 1
