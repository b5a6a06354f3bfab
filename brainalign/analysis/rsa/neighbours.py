"""Do two representations agree on who is near whom?"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.analysis.rsa.backend import as_like, namespace
from brainalign.analysis.rsa.cka import same_samples
from brainalign.analysis.rsa.condensed import to_square
from brainalign.analysis.rsa.cross import cross_rdm
from brainalign.errors import DataError

__all__ = ["mutual_knn", "mutual_knn_rdms"]


def mutual_knn(X: Any, Y: Any, *, k: int = 10, metric: str = "cosine") -> Any:
    """Mean share of the k nearest neighbours that a sample has in common in two representations.

    Parameters
    ----------
    X : array or tensor (..., n_samples, n_features_x)
    Y : array or tensor (..., n_samples, n_features_y)
        Row i of both is the same sample. Leading axes broadcast. Columns are centred.
    k : int
        Fewer than n_samples - 1.
    metric : {"cosine", "correlation", "euclidean"}
        Who is near, on both sides.

    Returns
    -------
    float, or array (...) with leading axes
        1 for the same neighbourhoods; ``k / (n_samples - 1)`` is expected of unrelated ones.

    References
    ----------
    Huh et al. 2024, ICML (arXiv:2405.07987).

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(30, 4))
    >>> mutual_knn(X, 2 * X, k=5)
    1.0
    """
    if metric not in ("cosine", "correlation", "euclidean"):
        raise DataError(f"metric={metric!r}", expected="'cosine', 'correlation' or 'euclidean'")
    x, y = same_samples(X, Y)
    return _shared(cross_rdm(x, x, metric=metric), cross_rdm(y, y, metric=metric), k)


def mutual_knn_rdms(d: Any, e: Any, *, k: int = 10) -> Any:
    """The same from condensed RDMs (..., n_pairs), whose leading axes broadcast.

    Examples
    --------
    >>> mutual_knn_rdms([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0, 9.0], k=1)
    1.0
    """
    one, other = to_square(d) * 1.0, to_square(e) * 1.0
    if one.shape[-1] != other.shape[-1]:
        raise DataError("RDMs of different conditions", expected=one.shape[-1], found=other.shape[-1])
    return _shared(one, other, k)


def _shared(d: Any, e: Any, k: int) -> Any:
    n = d.shape[-1]
    if not 1 <= k < n - 1:
        raise DataError("k neighbours among the other samples", expected=f"1 to {n - 2}", found=k)
    value = (_near(d, k) * _near(e, k)).sum((-1, -2)) / (n * k)
    return float(value) if value.ndim == 0 else value


def _near(d: Any, k: int) -> Any:
    """1 for the k nearest others of each sample; samples at the distance of the last share its places."""
    xp = namespace(d)
    if bool(xp.isnan(d).any()):
        raise DataError("neighbours need all distances", found="NaN distances")
    d = d + xp.where(as_like(np.eye(d.shape[-1]), d) > 0, xp.full_like(d, float("inf")), xp.zeros_like(d))
    ordered = np.sort(d, axis=-1) if xp is np else xp.sort(d, dim=-1).values
    last = ordered[..., k - 1 : k]
    nearer, tied = as_like(d < last, d), as_like(d == last, d)
    return nearer + tied * (k - nearer.sum(-1)[..., None]) / tied.sum(-1)[..., None]
