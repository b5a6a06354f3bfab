"""Noise covariance of patterns, shrunk so that it can be inverted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import as_matrix
from brainalign.errors import DataError

__all__ = ["noise_precision"]


def noise_precision(residuals: ArrayLike, *, n_parameters: int = 1) -> NDArray[np.float64]:
    """Inverse noise covariance, shrunk towards its diagonal by the optimal amount.

    Parameters
    ----------
    residuals : array (n_samples, n_features)
        What the conditions leave unexplained: GLM residuals, or trials less their condition mean.
    n_parameters : int
        Degrees of freedom that the conditions took (1 for a mean; with trials less condition means, the number of
        conditions).

    Returns
    -------
    array (n_features, n_features)

    Notes
    -----
    Two matrix products give the correlations and their sampling variances, hence the shrinkage (Schaefer & Strimmer
    2005, Stat. Appl. Genet. Mol. Biol. 4, target "diagonal, unequal variance").
    """
    x = as_matrix(residuals, name="residuals", dtype=np.float64, min_rows=2)
    n_samples = len(x)
    dof = n_samples - n_parameters
    if dof < 1:
        raise DataError("too few residuals", expected=f"more than {n_parameters} rows", found=n_samples)
    x = x - x.mean(axis=0)
    deviation = np.sqrt(np.einsum("ij,ij->j", x, x) / dof)
    if np.any(deviation == 0):
        constant = np.flatnonzero(deviation == 0)[:5].tolist()
        raise DataError(f"features without noise: {constant}", fix="drop constant voxels or channels")
    x = x / deviation
    correlation = x.T @ x / dof
    sampling_variance = n_samples / dof**2 * (np.square(x).T @ np.square(x) / dof - correlation**2)
    off = ~np.eye(len(correlation), dtype=bool)
    strength = np.sum(sampling_variance[off]) / max(np.sum(correlation[off] ** 2), np.finfo(float).tiny)
    correlation[off] *= 1.0 - np.clip(strength, 0.0, 1.0)
    return np.linalg.inv(correlation) / np.outer(deviation, deviation)
