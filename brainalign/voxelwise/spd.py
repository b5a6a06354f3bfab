"""Inverses and solutions of symmetric positive definite matrices, numpy or torch, fast on one core."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from brainalign.voxelwise.backend import cast, is_tensor, namespace, to_like

__all__ = ["factorise", "invert", "shifted", "solve"]

_LEAF = 64
"""Larger matrices are inverted by halves: products run at full speed, LAPACK's inverse at half of it."""


def shifted(gram: Any, alpha: Any, dtype: str) -> Any:
    """A new array ``gram + alpha``, for others to overwrite; a stack of them for an array of penalties."""
    xp, n, alpha = namespace(gram), len(gram), np.asarray(alpha, dtype=np.float64)
    made = xp.empty((*alpha.shape, n, n), dtype=getattr(xp, dtype), device=gram.device)
    made[...] = gram
    diagonal = np.arange(n)
    made[..., diagonal, diagonal] += cast(to_like(alpha[..., None], gram), dtype)
    return made


def invert(a: Any) -> Any:
    """Inverse of a symmetric positive definite matrix, or of each of a stack: at once by torch, in turn by numpy.

    Raises
    ------
    numpy.linalg.LinAlgError
        When a numpy matrix is not positive definite.

    Examples
    --------
    >>> invert(np.array([[2.0, 1.0], [1.0, 1.0]])).round(6)
    array([[ 1., -1.],
           [-1.,  2.]])
    """
    if is_tensor(a):
        return namespace(a).cholesky_inverse(factorise(a))
    if a.ndim == 3:
        return invert(a[0])[None] if len(a) == 1 else np.stack([invert(one) for one in a])
    if len(a) <= _LEAF:
        return _invert_leaf(a)
    # [[A, B], [B', D]]^-1 with S = D - B'A^-1B: [[A^-1 + X S^-1 X', -X S^-1], [., S^-1]] and X = A^-1 B.
    half, out = len(a) // 2, np.empty(a.shape, dtype=a.dtype)
    above, beside = slice(None, half), slice(half, None)
    out[above, above] = invert(a[above, above])
    turned = out[above, above] @ a[above, beside]
    out[beside, beside] = invert(a[beside, beside] - a[above, beside].T @ turned)
    right = turned @ out[beside, beside]
    out[above, above] += right @ turned.T
    np.negative(right, out=out[above, beside])
    out[beside, above] = out[above, beside].T
    return out


def _invert_leaf(a: np.ndarray) -> np.ndarray:
    from scipy.linalg import get_lapack_funcs

    (potri,) = get_lapack_funcs(("potri",), (a,))
    inverse, _ = potri(factorise(np.array(a, order="C")), lower=1, overwrite_c=1)
    upper = inverse.T
    np.copyto(upper, inverse, where=_below(len(upper)))
    return upper


@lru_cache(_LEAF)
def _below(n: int) -> np.ndarray:
    """Where a matrix of that size is below its diagonal."""
    return np.tri(n, k=-1, dtype=bool)


def factorise(a: Any) -> Any:
    """Cholesky factor for `solve`; `a`, in C order, may be overwritten."""
    if is_tensor(a):
        return namespace(a).linalg.cholesky_ex(a)[0]  # whose check would wait for the GPU
    from scipy.linalg import get_lapack_funcs

    (potrf,) = get_lapack_funcs(("potrf",), (a,))
    factor, failed = potrf(a.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return factor


def solve(factor: Any, b: Any) -> Any:
    """``a^-1 b`` from the factor of `a`; a numpy `b` in C order may be overwritten."""
    if is_tensor(b):
        return namespace(b).cholesky_solve(b, factor)
    from scipy.linalg import get_blas_funcs

    (trsm,) = get_blas_funcs(("trsm",), (factor,))
    # Rows in C order are columns in Fortran's: solving from the right needs no copy of b.
    turned = np.ascontiguousarray(b).T
    for transposed in (1, 0):
        turned = trsm(1.0, factor, turned, side=1, lower=1, trans_a=transposed, overwrite_b=1)
    return turned.T
