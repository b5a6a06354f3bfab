"""Geometry of symmetric positive definite matrices in batches: the Riemannian mean and the tangent space at a point.

The affine-invariant metric, as pyriemann has it (Moakher 2005; Barachant et al. 2012, IEEE TBME 59, 920-928). The mean
can start from a neighbouring fold's, and its tolerance is in units that say something: the length of the mean tangent
vector at the answer, relative to the spread of the matrices around it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import row_blocks
from brainalign.errors import DataError

__all__ = ["as_vectors", "distances_to", "from_tangent", "mean_and_logarithms", "riemannian_mean", "tangent_vectors"]

_MAX_STEPS = 100
_MAX_INNER = 20
_LARGE = 1.5e8
"""Matrices times the cube of their size."""
_IN_CACHE = 2 * 2**20
"""Bytes of matrices that go through a chain of products together."""


def riemannian_mean(
    covariances: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tolerance: float = 1e-7,
) -> NDArray[np.float64]:
    """Point with the least sum of squared affine-invariant distances to the matrices.

    Newton steps in the tangent space at the current point, each solved by a few conjugate gradients on products of
    matrices: two to five decompositions of all matrices, where steps along the gradient take ten to fifty.

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
    return mean_and_logarithms(covariances, weights=weights, start=start, tolerance=tolerance)[0]


def mean_and_logarithms(
    covariances: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tolerance: float = 1e-7,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`riemannian_mean`, and the logarithms (n, d, d) of the matrices there, which it knows anyway."""
    matrices = _as_matrices(covariances)
    share = _shares(weights, len(matrices))
    point = np.tensordot(share, matrices, axes=1) if start is None else np.asarray(start, dtype=np.float64)
    before, root, move = np.inf, point, point
    for _ in range(_MAX_STEPS):
        values, vectors = _decomposed(matrices, point)
        logs = _composed(np.log(values), vectors)
        gradient = np.tensordot(share, logs, axes=1)
        length = float(np.linalg.norm(gradient))
        spread = float(np.sqrt(share @ np.square(np.log(values)).sum(axis=1)))
        if length <= max(tolerance * spread, 1e-14):
            return point, logs
        if length > before:
            move = move / 2
        else:
            before, (root, _) = length, _roots(point)
            # Newton squares the error: no need to solve for its step more sharply than that, or than asked for.
            sharp = max(0.1 * min(1.0, length / spread), 0.3 * tolerance * spread / length)
            move = _newton_step(gradient, values, vectors, share, sharp)
        point = _moved(root, move)
    raise DataError(
        f"the Riemannian mean is not reached in {_MAX_STEPS} steps",
        found=f"gradient {length:.2g}",
        fix="fewer or better conditioned dimensions (retain=0.999, shrinkage), or a larger tolerance",
    )


def _newton_step(
    gradient: NDArray, values: NDArray, vectors: NDArray, share: NDArray, sharp: float
) -> NDArray[np.float64]:
    """Step S with H S = gradient up to a relative residual, by conjugate gradients.

    H S is what the mean logarithm loses when the point moves along S: for a matrix with eigenvalues exp(l) it is S in
    the eigenbasis times x coth x, x = (l_a - l_b) / 2, elementwise; so H lies between 1 and a few.
    """
    bends = _bends(values)
    step = np.zeros_like(gradient)
    rest, along = gradient, gradient
    energy = target = float(np.sum(rest * rest))
    for _ in range(_MAX_INNER):
        turned = _curved(along, bends, vectors, share)
        length = energy / float(np.sum(along * turned))
        step, rest = step + length * along, rest - length * turned
        left = float(np.sum(rest * rest))
        if left <= sharp**2 * target:
            break
        along, energy = rest + (left / energy) * along, left
    return step


def _bends(values: NDArray) -> NDArray[np.float64]:
    """x coth x for all pairs of eigenvalues, (n, d, d)."""
    logs = np.log(values)
    halves = (logs[:, :, None] - logs[:, None, :]) / 2
    apart = values[:, :, None] - values[:, None, :]
    near = np.abs(halves) < 1e-4
    apart[near] = 1.0
    halves[near] = np.square(halves[near]) / 3 + 1.0
    ratio = (values[:, :, None] + values[:, None, :]) / apart
    ratio[near] = 1.0
    halves *= ratio
    return halves


def _curved(along: NDArray, bends: NDArray, vectors: NDArray, share: NDArray) -> NDArray[np.float64]:
    """H applied to a symmetric matrix."""
    made = np.zeros_like(along)
    for rows in row_blocks(len(vectors), vectors[0].nbytes, budget=_IN_CACHE):
        basis = vectors[rows]
        inside = basis.swapaxes(-1, -2) @ along @ basis
        inside *= bends[rows]
        inside *= share[rows, None, None]
        half = basis @ inside
        # Sum over matrices of half @ basis', as one product.
        size = len(along)
        made += half.transpose(1, 0, 2).reshape(size, -1) @ basis.transpose(1, 0, 2).reshape(size, -1).T
    return (made + made.T) / 2


def _moved(root: NDArray, step: NDArray) -> NDArray[np.float64]:
    """The point at the end of a geodesic."""
    values, vectors = np.linalg.eigh(step)
    half = (root @ vectors) * np.exp(values / 2)
    return half @ half.T


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
    values, turns = _decomposed(_as_matrices(covariances), np.asarray(reference, dtype=np.float64))
    return as_vectors(_composed(np.log(values), turns))


def as_vectors(symmetric: NDArray) -> NDArray[np.float64]:
    """Upper triangles (n, d (d + 1) / 2) of symmetric matrices, off-diagonal elements times sqrt(2)."""
    size = symmetric.shape[-1]
    rows, columns = np.triu_indices(size)
    made = np.take(symmetric.reshape(len(symmetric), -1), rows * size + columns, axis=1)
    made *= np.where(rows == columns, 1.0, np.sqrt(2.0))
    return made


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
    _refuse_singular(values, "matrices are")
    return np.sqrt(np.square(np.log(values)).sum(axis=1))


def _decomposed(matrices: NDArray, point: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (n, d) and eigenvectors (n, d, d) of the matrices as seen from a point."""
    _, inverse_root = _roots(point)
    values, vectors = _eigh(inverse_root @ matrices @ inverse_root)
    _refuse_singular(values, "matrices are")
    return values, vectors


def _composed(values: NDArray, vectors: NDArray) -> NDArray[np.float64]:
    return (vectors * values[:, None, :]) @ vectors.swapaxes(-1, -2)


def _eigh(matrices: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of a batch; torch's is a quarter quicker than numpy's, which a large batch repays the import of."""
    if matrices.size * matrices.shape[-1] < _LARGE:
        return np.linalg.eigh(matrices)
    import torch

    values, vectors = torch.linalg.eigh(torch.from_numpy(matrices))
    return values.numpy(), vectors.numpy()


def _refuse_singular(values: NDArray, what: str) -> None:
    """Raise where the smallest eigenvalue of a matrix, of (n, d) in ascending order, is none or rounding."""
    singular = values[:, 0] <= values.shape[1] * np.finfo(float).eps * values[:, -1]
    if singular.any():
        raise DataError(
            f"{what} not positive definite: {int(singular.sum())} of {len(values)}",
            found=f"smallest eigenvalue {values[singular, 0].min():.2g} beside {values[singular, -1].max():.2g}",
            fix="retain=0.999 or shrinkage=0.01 in AugmentedCovariance; average-referenced data lack a rank",
        )


def _roots(point: NDArray) -> tuple[NDArray, NDArray]:
    """Square root and its inverse."""
    values, vectors = np.linalg.eigh(point)
    _refuse_singular(values[None], "the reference is")
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
