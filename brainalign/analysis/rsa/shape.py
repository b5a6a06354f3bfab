"""Shape metrics: how far apart two representations are after the best rotation, linear map, or anything between.

Williams et al. 2021, NeurIPS (arXiv:2110.14739).
"""

from __future__ import annotations

from typing import Any

from brainalign.analysis.rsa.backend import as_like, namespace
from brainalign.analysis.rsa.cka import same_samples
from brainalign.errors import DataError

__all__ = ["procrustes", "shape_distance"]


def procrustes(X: Any, Y: Any, *, scale: bool = False) -> Any:
    """Distance of two representations after the best shift and rotation: ``min |X - Y Q|`` over orthogonal Q.

    Parameters
    ----------
    X : array or tensor (..., n_samples, n_features_x)
    Y : array or tensor (..., n_samples, n_features_y)
        Row i of both is the same sample; the side with fewer features is padded with zeros. Leading axes broadcast.
    scale : bool
        Bring both to unit Frobenius norm first, so that scale does not count; the result is between 0 and sqrt(2).

    Returns
    -------
    float, or array (...) with leading axes
        ``sqrt(|X|**2 + |Y|**2 - 2 |X'Y|_*)``, the Bures distance of the two kernels; a metric.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(30, 4))
    >>> bool(procrustes(X, X @ np.linalg.qr(X.T @ X)[0] + 7.0) < 1e-6)
    True
    """
    return shape_distance(X, Y, alpha=1.0, angular=False, normalise=scale)


def shape_distance(X: Any, Y: Any, *, alpha: float = 1.0, angular: bool = True, normalise: bool = True) -> Any:
    """Distance of two representations that ignores rotations (`alpha` 1), all linear maps (0), or in between.

    Both sides are partially whitened, ``X (alpha I + (1 - alpha) (X'X)^-½)``, and then rotated to each other.

    Parameters
    ----------
    X : array or tensor (..., n_samples, n_features_x)
    Y : array or tensor (..., n_samples, n_features_y)
        Leading axes broadcast.
    alpha : float
        1 is Procrustes, 0 canonical correlation: any invertible map of a side leaves the distance as it is.
    angular : bool
        The angle ``arccos(|X'Y|_* / (|X| |Y|))`` in radians, from 0 to pi / 2; else the Procrustes distance.
    normalise : bool
        Bring both sides to unit norm first (the angle always does).

    Returns
    -------
    float, or array (...) with leading axes
        NaN when a side is constant.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X, A = rng.normal(size=(30, 4)), rng.normal(size=(4, 4))
    >>> bool(shape_distance(X, X @ A, alpha=0.0) < 1e-6), bool(shape_distance(X, X @ A) > 0.1)
    (True, True)
    """
    if not 0 <= alpha <= 1:
        raise DataError("alpha lies between 0 (any linear map) and 1 (rotations)", found=alpha)
    x, y = same_samples(X, Y, min_samples=2)
    xp = namespace(x)
    x, y = (_partly_whitened(side, alpha) for side in (x, y))
    empty = None
    if angular or normalise:
        norms = [xp.sqrt(_square(side)) for side in (x, y)]
        empty = (norms[0] == 0) | (norms[1] == 0)
        x, y = (
            side / xp.where(norm > 0, norm, xp.ones_like(norm))[..., None, None] for side, norm in zip((x, y), norms)
        )
    # The angle and the distance are computed from the residual: 1 - cos loses half of the digits near 0.
    left, _, right = xp.linalg.svd(x.swapaxes(-1, -2) @ y, full_matrices=False)
    x_seen, y_seen = x @ left, y @ right.swapaxes(-1, -2)
    outside = sum(xp.clip(_square(side) - _square(seen), 0, None) for side, seen in ((x, x_seen), (y, y_seen)))
    squared = _square(x_seen - y_seen) + (outside if x.shape[-1] != y.shape[-1] else 0.0)
    if angular:
        value = 2 * xp.arcsin(xp.clip(xp.sqrt(squared) / 2, 0, 1))
    else:
        value = xp.sqrt(squared)
    if empty is not None:
        value = xp.where(empty, xp.full_like(value, float("nan")), value)
    return float(value) if value.ndim == 0 else value


def _square(x: Any) -> Any:
    return (x * x).sum((-1, -2))


def _partly_whitened(x: Any, alpha: float) -> Any:
    """The partially whitened side in its own principal axes, of at most n_samples columns."""
    xp = namespace(x)
    left, singular, _ = xp.linalg.svd(x, full_matrices=False)
    tolerance = singular[..., :1] * max(x.shape[-2:]) * xp.finfo(x.dtype).eps
    there = as_like(singular > tolerance, x)
    return left * (there * (alpha * singular + (1 - alpha)))[..., None, :]
