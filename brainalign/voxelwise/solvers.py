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

from brainalign.arrays import BLOCK_BYTES, check_finite, row_blocks
from brainalign.errors import DataError
from brainalign.voxelwise.backend import cast, namespace, to_like, to_numpy

__all__ = [
    "Decomposition",
    "as_weights",
    "auto_alphas",
    "check_alphas",
    "column_means",
    "combine_rows",
    "decompose",
    "kernel",
    "ridge_coef",
    "shrinkage",
]


@dataclass(frozen=True, eq=False)
class Decomposition:
    """``root_weights * (X - mean) = left diag(eigenvalues)^(1/2) V'`` without the directions in which X does not vary.

    Parameters
    ----------
    mean : array (n_features,), float64
        Weighted by the sample weights; zero when the model has no intercept.
    eigenvalues : array (rank,), float64
        Non-zero eigenvalues of X'WX, ascending.
    left : array (n_samples, rank)
        Orthonormal columns, in the precision of the products.
    vectors : array (n_features, rank) or None
        V; None with more features than samples, where V is never formed.
    X : array (n_samples, n_features)
        The design itself, by reference: through it the wide form reaches the features.
    root_weights : array (n_samples,), float64
        Square roots of the sample weights; ones without.
    centred : bool
    weighted : bool
        Whether the weights are other than one.
    """

    mean: Any
    eigenvalues: Any
    left: Any
    vectors: Any
    X: Any
    root_weights: Any
    centred: bool
    weighted: bool

    @property
    def dtype(self) -> str:
        """Precision of the products, ``"float32"`` or ``"float64"``."""
        return str(self.left.dtype).rpartition(".")[2]

    @property
    def wide(self) -> bool:
        """Whether there are more features than samples."""
        return self.vectors is None

    @property
    def right(self) -> Any:
        """V, (n_features, rank); with more features than samples the transposed X about its mean, times the roots of
        the weights, (n_features, n_samples), made on access: `lift` and `project` do without it."""
        if not self.wide:
            return self.vectors
        return cast(((cast(self.X, "float64") - self.mean) * self.root_weights[:, None]).T, self.dtype)

    def project(self, X: Any) -> Any:
        """Rows of another design about the mean, (n, rank), such that ``project(X) / (eigenvalues + alpha) @ left'Y``
        (Y about its mean, times `root_weights`) are the predictions at penalty alpha."""
        if self.wide:
            return kernel(X, self.X, self.mean, self.dtype) @ (cast(self.root_weights, self.dtype)[:, None] * self.left)
        root = namespace(self.left).sqrt(self.eigenvalues)
        return cast((cast(X, "float64") - self.mean) @ (cast(self.vectors, "float64") * root), self.dtype)

    def dual(self, rotated: Any) -> Any:
        """Weights of the samples (n_samples, n_targets) whose combination of X's rows is `lift` of the same."""
        return (self.left @ rotated) * cast(self.root_weights, self.dtype)[:, None]

    def lift(self, rotated: Any, out: np.ndarray | None = None) -> Any:
        """Coefficients of the features (n_features, n_targets) from ``left'Y / (eigenvalues + alpha)``."""
        if self.wide:
            coef = combine_rows(self.X, self.mean, self.dual(rotated))
        else:
            inner = cast(namespace(rotated).sqrt(self.eigenvalues), self.dtype)[:, None] * rotated
            if out is not None and isinstance(inner, np.ndarray):
                return np.matmul(self.vectors, inner, out=out)
            coef = self.vectors @ inner
        if out is None:
            return coef
        out[...] = to_numpy(coef)
        return out


def combine_rows(X: Any, mean: Any, dual: Any, out: Any = None) -> Any:
    """``(X - mean)' dual`` in the precision of `dual`, (n_features, n_targets), by blocks of features."""
    xp = namespace(dual)
    if out is None:
        out = xp.empty((X.shape[1], dual.shape[1]), dtype=dual.dtype, **_beside(dual))
    dtype = str(dual.dtype).rpartition(".")[2]
    for columns in _feature_blocks(X):
        xp.matmul(cast(cast(X[:, columns], "float64") - mean[columns], dtype).T, dual, out=out[columns])
    return out


def kernel(X: Any, train: Any, mean: Any, dtype: str) -> Any:
    """``(X - mean) (train - mean)'``, (n_samples, n_train), by blocks of features."""
    total = 0.0
    for columns in _feature_blocks(train):
        pair = [cast(cast(one[:, columns], "float64") - mean[columns], dtype) for one in (X, train)]
        total = total + pair[0] @ pair[1].T
    return total


def _feature_blocks(X: Any) -> Iterator[slice]:
    return row_blocks(X.shape[1], len(X) * 8, budget=BLOCK_BYTES // 32)


def _beside(x: Any) -> dict[str, Any]:
    """Where `x` is, as keywords for a new array."""
    return {} if isinstance(x, np.ndarray) else {"device": x.device}


def column_means(X: Any, weights: Any = None) -> Any:
    """Mean of each column in float64, in blocks of rows; weighted where rows have weights.

    Examples
    --------
    >>> column_means(np.array([[1.0, 2.0], [3.0, 6.0]]))
    array([2., 4.])
    >>> column_means(np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([1.0, 0.0]))
    array([1., 2.])
    """
    total = 0.0
    for rows in row_blocks(len(X), X.shape[1] * 8, budget=BLOCK_BYTES // 32):
        block = cast(X[rows], "float64")
        total = total + (block.sum(0) if weights is None else weights[rows] @ block)
    return total / (len(X) if weights is None else weights.sum())


def decompose(X: Any, *, centre: bool = True, dtype: str | None = None, sample_weight: Any = None) -> Decomposition:
    """Eigendecompose the smaller of X'X and XX' in float64.

    Parameters
    ----------
    X : array (n_samples, n_features)
        Memory maps are read in blocks.
    centre : bool
        Centre each feature (a model with an intercept).
    dtype : {"float32", "float64"}, optional
        Precision of the products to come; that of X by default.
    sample_weight : array (n_samples,), optional
        Not negative. A weight of two is the row twice.

    Returns
    -------
    Decomposition

    Raises
    ------
    DataError
        When X holds NaN or infinity, or has no features.

    Examples
    --------
    >>> made = decompose(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))
    >>> made.eigenvalues.round(6)           # the two features are one
    array([4.])
    """
    xp, (n_samples, n_features) = namespace(X), X.shape
    if not n_features:
        raise DataError("X has no features", expected="at least 1 column", found=f"shape {tuple(X.shape)}")
    dtype = dtype or ("float32" if str(X.dtype).endswith("float32") else "float64")
    weights = None if sample_weight is None else to_like(np.asarray(sample_weight, dtype=np.float64), X)
    root = xp.ones(n_samples, dtype=xp.float64, **_beside(X)) if weights is None else xp.sqrt(weights)
    mean = column_means(X, weights)
    if not bool(xp.isfinite(mean).all()):
        check_finite(to_numpy(X), name="X")
    mean = mean * float(centre)
    if n_features > n_samples:
        eigenvalues, vectors = eigh_without_null(_row_gram(X, mean, root), n_features)
        return Decomposition(mean, eigenvalues, cast(vectors, dtype), None, X, root, centre, weights is not None)
    gram = sum(block.T @ block for block in _centred_rows(X, mean, root))
    eigenvalues, vectors = eigh_without_null(gram, n_samples)
    scaled = vectors / xp.sqrt(eigenvalues)
    left = xp.concatenate([cast(block @ scaled, dtype) for block in _centred_rows(X, mean, root)])
    return Decomposition(mean, eigenvalues, left, cast(vectors, dtype), X, root, centre, weights is not None)


def _centred_rows(X: Any, mean: Any, root: Any) -> Iterator[Any]:
    """Blocks of rows about the mean, times the roots of their weights, in float64."""
    for rows in row_blocks(len(X), X.shape[1] * 8, budget=BLOCK_BYTES // 32):
        block = cast(X[rows], "float64") - mean
        block *= root[rows, None]
        yield block


def _row_gram(X: Any, mean: Any, root: Any) -> Any:
    """XX' of the centred and weighted X in float64, by blocks of columns: few, as each adds to all of the result."""
    gram: Any = None
    budget = min(BLOCK_BYTES, max(BLOCK_BYTES // 8, 8 * len(X) ** 2))  # no more than the result, where that is large
    for columns in row_blocks(X.shape[1], len(X) * 8, budget=budget):
        block = X[:, columns] - mean[columns]  # in float64, as the mean is
        block *= root[:, None]
        if gram is None:
            gram = block @ block.T
        else:
            gram += block @ block.T
    return gram


def eigh_without_null(gram: Any, size: int) -> tuple[Any, Any]:
    """Eigenvalues (rank,) and vectors (n, rank) of a Gram matrix, without those that are zero up to rounding."""
    eigenvalues, vectors = namespace(gram).linalg.eigh(gram)
    keep = eigenvalues > size * np.finfo(np.float64).eps * eigenvalues[-1:]
    keep &= eigenvalues > 0
    return (eigenvalues, vectors) if bool(keep.all()) else (eigenvalues[keep], vectors[:, keep])


def shrinkage(eigenvalues: Any, alphas: Any) -> Any:
    """``1 / (eigenvalue + alpha)``: (n_alphas, rank) of a vector of penalties, (rank, n_targets) of one per target.

    Parameters
    ----------
    alphas : array (n_alphas,) or (1, n_targets)
    """
    return 1.0 / (eigenvalues[:, None] + alphas if alphas.ndim == 2 else eigenvalues[None, :] + alphas[:, None])


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


def as_weights(sample_weight: Any, n_samples: int) -> np.ndarray | None:
    """Weights as a vector of float64; None where all are one.

    Raises
    ------
    DataError
        When there is not one for each sample, or one is negative or not a number, or all are zero.
    """
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError):
        weights = np.empty((0, 0))
    weights = np.full(n_samples, weights) if weights.ndim == 0 else weights
    good = weights.shape == (n_samples,) and np.isfinite(weights).all() and (weights >= 0).all()
    if not good or not weights.any():
        raise DataError(
            "sample_weight must be one number per sample, none negative and not all zero",
            expected=f"shape ({n_samples},)",
            found=f"shape {weights.shape}, smallest {weights.min(initial=np.inf):g}" if weights.size else sample_weight,
            fix="drop samples that should not count, or give them weight 0",
        )
    return None if (weights == 1).all() else weights


def ridge_coef(
    X: Any, Y: Any, alphas: Any, *, fit_intercept: bool = True, sample_weight: Any = None
) -> tuple[Any, Any]:
    """Ridge coefficients at given penalties: minimise ``|Y - X coef - intercept|^2 + alpha |coef|^2``.

    Parameters
    ----------
    X : array (n_samples, n_features)
    Y : array (n_samples, n_targets)
    alphas : float or array (n_targets,)
        Penalty of all targets, or of each.
    fit_intercept : bool
    sample_weight : array (n_samples,), optional
        Weights of the squared errors.

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
    weights = as_weights(sample_weight, len(X))
    made = decompose(X, centre=fit_intercept, sample_weight=weights)
    y_mean = column_means(Y, None if weights is None else to_like(weights, Y)) * float(fit_intercept)
    penalty = to_like(np.broadcast_to(check_alphas(alphas), Y.shape[1]).copy(), made.left)
    products = made.left.T @ cast((cast(Y, "float64") - y_mean) * made.root_weights[:, None], made.dtype)
    coef = made.lift(products / cast(made.eigenvalues[:, None] + penalty[None, :], made.dtype))
    return coef, y_mean - made.mean @ cast(coef, "float64")
