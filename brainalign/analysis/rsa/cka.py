"""Linear centred kernel alignment: how alike two sets of features lay out the same samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import as_matrix
from brainalign.errors import DataError

__all__ = ["cka"]


def cka(X: ArrayLike, Y: ArrayLike, *, debiased: bool = False) -> float:
    """Linear CKA of two representations of the same samples.

    Parameters
    ----------
    X : array (n_samples, n_features_x)
    Y : array (n_samples, n_features_y)
        Row i of both is the same sample.
    debiased : bool
        Use the unbiased HSIC of Song et al. (2012, J. Mach. Learn. Res. 13). The plain value goes to 1 for
        unrelated data with more features than samples; the debiased one to 0.

    Returns
    -------
    float
        1 for representations equal up to rotation, scale and shift; NaN when one is constant. Debiased values may be
        slightly negative.

    References
    ----------
    Kornblith et al. 2019, ICML.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(30, 4))
    >>> round(cka(X, 3.0 * X @ np.linalg.qr(X.T @ X)[0] + 7.0), 6)
    1.0
    """
    x, y = as_matrix(X, name="X"), as_matrix(Y, name="Y")
    if len(x) != len(y):
        raise DataError("X and Y must hold the same samples", expected=f"{len(x)} rows", found=f"{len(y)} rows")
    if len(x) < 4:
        raise DataError("CKA needs samples", expected="at least 4", found=len(x))
    x, y = (side.astype(np.float64) - side.mean(axis=0, dtype=np.float64) for side in (x, y))
    hsic = _debiased_hsic if debiased else _inner
    self_x, self_y = hsic(x, x), hsic(y, y)
    if not (np.any(x) and np.any(y)) or self_x <= 0 or self_y <= 0:
        return float("nan")
    return float(hsic(x, y) / np.sqrt(self_x * self_y))


def _inner(x: NDArray, y: NDArray) -> float:
    """``<X X', Y Y'> = |X'Y|**2``, by whichever of the two products is cheaper."""
    n_samples, n_x, n_y = len(x), x.shape[1], y.shape[1]
    if n_x * n_y <= n_samples * (n_x + n_y):
        return float(np.sum(np.square(x.T @ y)))
    return float(np.sum((x @ x.T) * (y @ y.T)))


def _debiased_hsic(x: NDArray, y: NDArray) -> float:
    """Unbiased HSIC up to a factor, from sums over Gram matrices without their diagonals."""
    n_samples = len(x)
    diagonal_x, diagonal_y = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    # Columns are centred, so the rows of X X' sum to zero and only the diagonal is left.
    rows_x, rows_y = -diagonal_x, -diagonal_y
    trace = _inner(x, y) - diagonal_x @ diagonal_y
    sums = rows_x.sum() * rows_y.sum() / ((n_samples - 1) * (n_samples - 2))
    return float(trace + sums - 2 * (rows_x @ rows_y) / (n_samples - 2))
