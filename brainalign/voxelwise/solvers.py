"""Ridge regression of many targets from one decomposition of the design.

With the centred design ``X = U S^(1/2) V'`` (S the eigenvalues of X'X), every ridge solution is
``coef = V S^(1/2) / (S + alpha) U'Y``: once ``U'Y`` is there, another alpha costs nothing and each target may have
its own. U is kept with orthonormal columns because products with it lose no accuracy in float32, however badly X
itself is conditioned; the eigenproblem is always solved in float64.

All functions take numpy arrays or torch tensors (the result stays where the design is).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.arrays import BLOCK_BYTES, row_blocks
from brainalign.errors import DataError
from brainalign.voxelwise.backend import cast, namespace, to_like, to_numpy

__all__ = [
    "Decomposition",
    "auto_alphas",
    "check_alphas",
    "column_means",
    "decompose",
    "ridge_coef",
    "shrinkage",
]


@dataclass(frozen=True, eq=False)
class Decomposition:
    """``X - mean = left diag(eigenvalues)^(1/2) V'`` without the directions in which X does not vary.

    Parameters
    ----------
    mean : array (n_features,), float64
        Zero when the model has no intercept.
    eigenvalues : array (rank,), float64
        Non-zero eigenvalues of X'X, ascending.
    left : array (n_samples, rank)
        Orthonormal columns, in the precision of the products.
    right : array (n_features, rank) or (n_features, n_samples)
        V; or, with more features than samples, the transposed centred X, through which V is never formed.
    wide : bool
        Which of the two `right` is.
    centred : bool
    """

    mean: Any
    eigenvalues: Any
    left: Any
    right: Any
    wide: bool
    centred: bool

    @property
    def dtype(self) -> str:
        """Precision of the products, ``"float32"`` or ``"float64"``."""
        return str(self.left.dtype).rpartition(".")[2]

    def lift(self, rotated: Any, out: np.ndarray | None = None) -> Any:
        """Coefficients of the features (n_features, n_targets) from ``left'Y / (eigenvalues + alpha)``."""
        if self.wide:
            inner = self.left @ rotated
        else:
            inner = cast(namespace(rotated).sqrt(self.eigenvalues), self.dtype)[:, None] * rotated
        if out is None:
            return self.right @ inner
        if isinstance(inner, np.ndarray):
            return np.matmul(self.right, inner, out=out)
        out[...] = to_numpy(self.right @ inner)
        return out


def column_means(X: Any) -> Any:
    """Mean of each column in float64, in blocks of rows.

    Examples
    --------
    >>> column_means(np.array([[1.0, 2.0], [3.0, 6.0]]))
    array([2., 4.])
    """
    total = 0.0
    for rows in row_blocks(len(X), X.shape[1] * 8, budget=BLOCK_BYTES // 32):
        total = total + cast(X[rows], "float64").sum(0)
    return total / len(X)


def _centred_rows(X: Any, mean: Any) -> Iterator[tuple[slice, Any]]:
    for rows in row_blocks(len(X), X.shape[1] * 8, budget=BLOCK_BYTES // 32):
        yield rows, cast(X[rows], "float64") - mean


def _centred_copy(X: Any, mean: Any, dtype: str) -> tuple[Any, Any]:
    """XX' of the centred X in float64, and the centred X in the precision of the products, by blocks of columns."""
    gram, blocks = 0.0, []
    for columns in row_blocks(X.shape[1], len(X) * 8, budget=BLOCK_BYTES // 32):
        block = cast(X[:, columns], "float64") - mean[columns]
        gram = gram + block @ block.T
        blocks.append(cast(block, dtype).T)
    return gram, namespace(X).concatenate(blocks)


def decompose(X: Any, *, centre: bool = True, dtype: str | None = None) -> Decomposition:
    """Eigendecompose the smaller of X'X and XX' in float64.

    Parameters
    ----------
    X : array (n_samples, n_features)
        Memory maps are read in blocks.
    centre : bool
        Centre each feature (a model with an intercept).
    dtype : {"float32", "float64"}, optional
        Precision of the products to come; that of X by default.

    Returns
    -------
    Decomposition

    Examples
    --------
    >>> made = decompose(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))
    >>> made.eigenvalues.round(6)           # the two features are one
    array([4.])
    """
    xp, (n_samples, n_features) = namespace(X), X.shape
    dtype = dtype or ("float32" if str(X.dtype).endswith("float32") else "float64")
    mean = column_means(X) * float(centre)
    if n_features > n_samples:
        gram, right = _centred_copy(X, mean, dtype)
        eigenvalues, vectors = eigh_without_null(gram, n_features)
        return Decomposition(mean, eigenvalues, cast(vectors, dtype), right, True, centre)
    gram = sum(block.T @ block for _, block in _centred_rows(X, mean))
    eigenvalues, vectors = eigh_without_null(gram, n_samples)
    scaled = vectors / xp.sqrt(eigenvalues)
    left = xp.concatenate([cast(block @ scaled, dtype) for _, block in _centred_rows(X, mean)])
    return Decomposition(mean, eigenvalues, left, cast(vectors, dtype), False, centre)


def eigh_without_null(gram: Any, size: int) -> tuple[Any, Any]:
    """Eigenvalues (rank,) and vectors (n, rank) of a Gram matrix, without those that are zero up to rounding."""
    eigenvalues, vectors = namespace(gram).linalg.eigh(gram)
    keep = eigenvalues > size * np.finfo(np.float64).eps * eigenvalues[-1:]
    keep &= eigenvalues > 0
    return (eigenvalues, vectors) if bool(keep.all()) else (eigenvalues[keep], vectors[:, keep])


def shrinkage(eigenvalues: Any, alphas: Any) -> Any:
    """``1 / (eigenvalue + alpha)``, (n_alphas, rank)."""
    return 1.0 / (eigenvalues[None, :] + alphas[:, None])


def auto_alphas(eigenvalues: Any) -> np.ndarray:
    """Half-decade grid over nine decades around the mean eigenvalue of X'X, so that the scale of X does not matter.

    Examples
    --------
    >>> auto_alphas(np.array([1.0, 3.0]))[[0, 8, -1]]
    array([2.e-04, 2.e+00, 2.e+05])
    """
    scale = float(eigenvalues.mean()) if len(eigenvalues) else 1.0
    return scale * np.logspace(-4, 5, 19)


def check_alphas(alphas: Any) -> np.ndarray:
    """Alphas as a vector of positive float64, or `DataError`."""
    try:
        grid = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    except (TypeError, ValueError):
        grid = np.empty(0)
    if grid.ndim != 1 or not grid.size or not np.all(np.isfinite(grid)) or grid.min() <= 0:
        raise DataError(
            "alphas must be positive numbers",
            expected="one number > 0, a list of them, or 'auto'",
            found=alphas,
            fix="for ordinary least squares take a very small alpha, such as 1e-10 times the mean of X'X's diagonal",
        )
    return grid


def ridge_coef(X: Any, Y: Any, alphas: Any, *, fit_intercept: bool = True) -> tuple[Any, Any]:
    """Ridge coefficients at given penalties: minimise ``|Y - X coef - intercept|^2 + alpha |coef|^2``.

    Parameters
    ----------
    X : array (n_samples, n_features)
    Y : array (n_samples, n_targets)
    alphas : float or array (n_targets,)
        Penalty of all targets, or of each.
    fit_intercept : bool

    Returns
    -------
    coef : array (n_features, n_targets)
    intercept : array (n_targets,), float64

    Examples
    --------
    >>> coef, intercept = ridge_coef(np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]]), 2.0)
    >>> coef.item(), intercept.item()
    (1.0, 2.0)
    """
    made = decompose(X, centre=fit_intercept)
    y_mean = column_means(Y) if fit_intercept else column_means(Y) * 0.0
    penalty = to_like(np.broadcast_to(check_alphas(alphas), Y.shape[1]).copy(), made.left)
    products = made.left.T @ cast(cast(Y, "float64") - y_mean, made.dtype)
    coef = made.lift(products / cast(made.eigenvalues[:, None] + penalty[None, :], made.dtype))
    return coef, y_mean - made.mean @ cast(coef, "float64")
