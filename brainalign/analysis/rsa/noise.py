"""Noise covariance of patterns, shrunk so that it can be inverted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from brainalign.analysis.rsa.backend import as_doubles, as_like, check_numbers, namespace, on_device, to_numpy
from brainalign.errors import DataError

__all__ = ["condition_residuals", "noise_covariance", "noise_precision"]


def noise_precision(residuals: Any, *, shrinkage: str | float | None = "diagonal", n_parameters: int = 1) -> Any:
    """Inverse of `noise_covariance`, which has the parameters.

    Raises
    ------
    DataError
        When the covariance is singular: without shrinkage, from fewer samples than features.
    """
    covariance = noise_covariance(residuals, shrinkage=shrinkage, n_parameters=n_parameters)
    xp = namespace(covariance)
    deviation = xp.sqrt(xp.diagonal(covariance, 0, -2, -1))
    if not bool((deviation > 0).all()):
        raise DataError("features without noise", fix="drop constant voxels or channels, or shrinkage='identity'")
    scale = deviation[..., :, None] * deviation[..., None, :]
    correlation = covariance / scale
    # Optimal shrinkage is never zero where there are too few samples; anything else may leave a singular matrix.
    if not isinstance(shrinkage, str) and bool((xp.linalg.cond(correlation) > 1e12).any()):
        raise DataError(
            "the noise covariance is singular",
            expected=f"more than {correlation.shape[-1]} residuals, or shrinkage",
            fix="shrinkage='diagonal' or 'identity'",
        )
    return xp.linalg.inv(correlation) / scale


def noise_covariance(residuals: Any, *, shrinkage: str | float | None = "diagonal", n_parameters: int = 1) -> Any:
    """Noise covariance, shrunk by the optimal amount.

    Parameters
    ----------
    residuals : array or tensor (..., n_samples, n_features)
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
    array or tensor (..., n_features, n_features)

    Notes
    -----
    Two matrix products give the covariances and their sampling variances, hence the weight of the target.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 50))
    >>> bool(np.linalg.eigvalsh(noise_covariance(x)).min() > 0.1)
    True
    """
    x = as_doubles(residuals)
    if x.ndim < 2 or x.shape[-1] < 1:
        raise DataError("residuals", expected="(..., n_samples, n_features)", found=tuple(x.shape))
    check_numbers(x, name="residuals")
    n_samples = x.shape[-2]
    dof = n_samples - n_parameters
    if dof < 1:
        raise DataError("too few residuals", expected=f"more than {n_parameters} rows", found=n_samples)
    x = x - x.mean(-2)[..., None, :]
    if shrinkage == "diagonal":
        return _to_diagonal(x, dof)
    covariance = x.swapaxes(-1, -2) @ x / n_samples
    if shrinkage == "identity":
        covariance = _to_identity(x, covariance)
    elif isinstance(shrinkage, (int, float)) and 0 <= shrinkage <= 1:
        diagonal = on_device(np.eye(x.shape[-1], dtype=bool), x)
        covariance = namespace(x).where(diagonal, covariance, (1 - shrinkage) * covariance)
    elif shrinkage is not None:
        raise DataError(f"shrinkage={shrinkage!r}", expected="'diagonal', 'identity', a number in [0, 1] or None")
    return covariance * (n_samples / dof)


def _to_diagonal(x: Any, dof: int) -> Any:
    xp = namespace(x)
    deviation = xp.sqrt(xp.einsum("...ij,...ij->...j", x, x) / dof)
    if bool((deviation == 0).any()):
        constant = np.unique(np.argwhere(to_numpy(deviation) == 0)[:, -1])[:5].tolist()
        raise DataError(f"features without noise: {constant}", fix="drop constant voxels or channels")
    x = x / deviation[..., None, :]
    correlation = x.swapaxes(-1, -2) @ x / dof
    square = xp.square(x)
    sampling_variance = x.shape[-2] / dof**2 * (square.swapaxes(-1, -2) @ square / dof - xp.square(correlation))
    own = on_device(np.eye(x.shape[-1], dtype=bool), x)
    none = xp.zeros_like(correlation)
    total = xp.where(own, none, xp.square(correlation)).sum((-1, -2))
    strength = xp.where(own, none, sampling_variance).sum((-1, -2)) / xp.clip(
        total, float(xp.finfo(x.dtype).tiny), None
    )
    kept = 1.0 - xp.clip(strength, 0.0, 1.0)
    shrunk = xp.where(own, correlation, correlation * kept[..., None, None])
    return shrunk * (deviation[..., :, None] * deviation[..., None, :])


def _to_identity(x: Any, covariance: Any) -> Any:
    xp = namespace(x)
    n_samples, n_features = x.shape[-2:]
    mean = xp.diagonal(covariance, 0, -2, -1).sum(-1) / n_features
    target = mean[..., None, None] * as_like(np.eye(n_features), x)
    distance = xp.square(covariance - target).sum((-1, -2))
    fourth = xp.square(xp.square(x).sum(-1)).sum(-1) / n_samples
    error = xp.minimum((fourth - xp.square(covariance).sum((-1, -2))) / n_samples, distance)
    apart = distance > 0
    weight = xp.where(apart, error / xp.where(apart, distance, xp.ones_like(distance)), xp.ones_like(error))
    weight = weight[..., None, None]
    return weight * target + (1 - weight) * covariance


def condition_residuals(X: Any, labels: ArrayLike) -> tuple[Any, int]:
    """Trials less the mean of their condition, and the degrees of freedom that the means took.

    Parameters
    ----------
    X : array or tensor (..., n_trials, n_features)
    labels : array (n_trials,)
        Condition of each trial, or condition and run: conditions with one trial say nothing about noise and are left
        out.

    Examples
    --------
    >>> residuals, n_parameters = condition_residuals([[1.0], [3.0], [10.0]], ["a", "a", "b"])
    >>> residuals.tolist(), n_parameters
    ([[-1.0], [1.0]], 1)
    """
    x, names = as_doubles(X), to_numpy(labels)
    if len(names) != x.shape[-2]:
        raise DataError("labels must name every trial", expected=x.shape[-2], found=len(names))
    _, codes, counts = np.unique(names, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[codes] > 1)
    if not len(repeated):
        raise DataError("noise needs repeated conditions", found="one trial each", fix="use GLM residuals")
    residuals = x[..., on_device(repeated, x), :]
    codes = np.unique(codes[repeated], return_inverse=True)[1]
    member = np.zeros((codes.max() + 1, len(codes)))
    member[codes, np.arange(len(codes))] = 1.0
    means = as_like(member / member.sum(axis=1, keepdims=True), residuals) @ residuals
    return residuals - means[..., on_device(codes, x), :], int(codes.max()) + 1
