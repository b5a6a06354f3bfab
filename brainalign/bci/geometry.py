"""Geometry of symmetric positive definite matrices in batches: the Riemannian mean and the tangent space at a point.

The affine-invariant metric, as pyriemann has it (Moakher 2005; Barachant et al. 2012, IEEE TBME 59, 920-928). The mean
can start from a neighbouring fold's, and its tolerance is in units that say something: the length of the mean tangent
vector at the answer, relative to the spread of the matrices around it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import DataError

__all__ = ["distances_to", "from_tangent", "riemannian_mean", "tangent_vectors"]

_MAX_STEPS = 100


def riemannian_mean(
    covariances: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tolerance: float = 1e-7,
) -> NDArray[np.float64]:
    """Point with the least sum of squared affine-invariant distances to the matrices.

    Gradient steps in the tangent space at the current point, at full length while that lowers the gradient, else
    halved.

    Parameters
    ----------
    covariances : array (n, d, d), symmetric positive definite
    weights : array (n,), optional
        At least 0; equal by default.
    start : array (d, d), optional
        Such as the mean of a neighbouring fold; the arithmetic mean by default.
    tolerance : float
        Stop when the mean tangent vector is shorter than this times the root mean square length of the tangent
        vectors. At 1e-3 tangent features are off by about a thousandth of their spread.

    Raises
    ------
    DataError
        When a matrix is not positive definite, or the steps do not come to an end.

    Examples
    --------
    >>> commuting = np.stack([np.diag([1.0, 4.0]), np.diag([9.0, 4.0])])
    >>> riemannian_mean(commuting).round(6)
    array([[3., 0.],
           [0., 4.]])
    """
    matrices = _as_matrices(covariances)
    share = _shares(weights, len(matrices))
    point = np.tensordot(share, matrices, axes=1) if start is None else np.asarray(start, dtype=np.float64)
    step, before = 1.0, np.inf
    for _ in range(_MAX_STEPS):
        logs = _logarithms(matrices, point)
        gradient = np.tensordot(share, logs, axes=1)
        length = float(np.linalg.norm(gradient))
        if length <= tolerance * np.sqrt(share @ np.square(logs).sum(axis=(1, 2))) or length < 1e-14:
            return point
        step = step / 2 if length > before else min(1.0, step * 1.2)
        before = length
        root, _ = _roots(point)
        values, vectors = np.linalg.eigh(step * gradient)
        point = root @ (vectors * np.exp(values)) @ vectors.T @ root
        point = (point + point.T) / 2
    raise DataError(
        f"the Riemannian mean is not reached in {_MAX_STEPS} steps",
        found=f"gradient {length:.2g}",
        fix="fewer or better conditioned dimensions (retain=0.999, shrinkage), or a larger tolerance",
    )


def tangent_vectors(covariances: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Matrices as vectors in the tangent space at a reference, in an orthonormal basis.

    Parameters
    ----------
    covariances : array (n, d, d)
    reference : array (d, d)

    Returns
    -------
    array (n, d (d + 1) / 2)
        Upper triangles of log(R^-1/2 C R^-1/2), row by row, off-diagonal elements times sqrt(2).

    Examples
    --------
    >>> tangent_vectors(np.e * np.eye(2)[None], np.eye(2)).round(6)
    array([[1., 0., 1.]])
    """
    logs = _logarithms(_as_matrices(covariances), np.asarray(reference, dtype=np.float64))
    rows, columns = np.triu_indices(logs.shape[-1])
    return logs[:, rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0))


def from_tangent(vectors: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Matrices of vectors in the tangent space at a reference; the inverse of `tangent_vectors`.

    Parameters
    ----------
    vectors : array (n, d (d + 1) / 2)
    reference : array (d, d)

    Examples
    --------
    >>> from_tangent(np.array([[1.0, 0.0, 1.0]]), np.eye(2)).round(6)
    array([[[2.718282, 0.      ],
            [0.      , 2.718282]]])
    """
    given, reference = np.asarray(vectors, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    rows, columns = np.triu_indices(len(reference))
    if given.ndim != 2 or given.shape[1] != len(rows):
        raise DataError("vectors do not fit the reference", expected=f"(n, {len(rows)})", found=given.shape)
    made = np.zeros((len(given), *reference.shape))
    made[:, rows, columns] = given / np.where(rows == columns, 1.0, np.sqrt(2.0))
    made[:, columns, rows] = made[:, rows, columns]
    values, turns = np.linalg.eigh(made)
    half = (_roots(reference)[0] @ turns) * np.exp(values / 2)[:, None, :]
    return half @ half.swapaxes(-1, -2)


def distances_to(covariances: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Affine-invariant distance of each matrix (n, d, d) to a reference (d, d).

    Examples
    --------
    >>> distances_to(np.e * np.eye(4)[None], np.eye(4)).round(6)
    array([2.])
    """
    _, inverse_root = _roots(np.asarray(reference, dtype=np.float64))
    values = np.linalg.eigvalsh(inverse_root @ _as_matrices(covariances) @ inverse_root)
    _refuse_indefinite(values)
    return np.sqrt(np.square(np.log(values)).sum(axis=1))


def _logarithms(matrices: NDArray, point: NDArray) -> NDArray[np.float64]:
    _, inverse_root = _roots(point)
    values, vectors = np.linalg.eigh(inverse_root @ matrices @ inverse_root)
    _refuse_indefinite(values)
    return (vectors * np.log(values)[:, None, :]) @ vectors.swapaxes(-1, -2)


def _refuse_indefinite(values: NDArray) -> None:
    """Raise where the smallest eigenvalue of a matrix, of (n, d) in ascending order, is not positive."""
    if values[:, 0].min() <= 0:
        raise DataError(
            f"{int((values[:, 0] <= 0).sum())} of {len(values)} matrices are not positive definite",
            fix="retain=0.999 or shrinkage=0.01 in AugmentedCovariance; average-referenced data lack a rank",
        )


def _roots(point: NDArray) -> tuple[NDArray, NDArray]:
    """Square root and its inverse."""
    values, vectors = np.linalg.eigh(point)
    if values[0] <= 0:
        raise DataError("the reference is not positive definite", found=f"eigenvalue {values[0]:.2g}")
    root = np.sqrt(values)
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


def _as_matrices(covariances: ArrayLike) -> NDArray[np.float64]:
    matrices = np.asarray(covariances, dtype=np.float64)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or not len(matrices):
        raise DataError("matrices must be (n, d, d) with n >= 1", found=matrices.shape)
    if not np.isfinite(matrices).all():
        raise DataError("matrices are not finite", found=f"{int((~np.isfinite(matrices)).sum())} elements")
    return matrices


def _shares(weights: ArrayLike | None, n: int) -> NDArray[np.float64]:
    share = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (n,) or share.min() < 0 or not np.isfinite(share).all() or share.sum() == 0:
        raise DataError("weights must be one number >= 0 per matrix, not all 0", expected=(n,), found=share.shape)
    return share / share.sum()
