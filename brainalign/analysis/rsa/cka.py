"""Centred kernel alignment: how alike two sets of features lay out the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from brainalign.analysis.rsa.backend import as_floats, as_like, finite, namespace, to_numpy
from brainalign.arrays import check_finite
from brainalign.errors import DataError

__all__ = ["cka", "minibatch_cka", "same_samples"]


def cka(X: Any, Y: Any, *, kernel: str = "linear", bandwidth: float = 1.0, debiased: bool = False) -> Any:
    """CKA of two representations of the same samples.

    Parameters
    ----------
    X : array or tensor (..., n_samples, n_features_x)
    Y : array or tensor (..., n_samples, n_features_y)
        Row i of both is the same sample. Leading axes broadcast: many layers against many regions in one call.
    kernel : {"linear", "rbf"}
        "rbf" is ``exp(-d**2 / (2 s**2))`` with s `bandwidth` times the median distance of two samples.
    bandwidth : float
    debiased : bool
        Use the unbiased HSIC of Song et al. (2012, J. Mach. Learn. Res. 13). The plain value goes to 1 for
        unrelated data with more features than samples; the debiased one to 0.

    Returns
    -------
    float, or array (...) with leading axes
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
    x, y = same_samples(X, Y)
    xp = namespace(x)
    hsic: Callable[[Any, Any], Any]
    if kernel == "linear":
        hsic = _debiased_linear if debiased else _inner
    elif kernel == "rbf":
        x, y = (_rbf(side, bandwidth) for side in (x, y))
        x, y = (x, y) if debiased else (_centre_kernel(x), _centre_kernel(y))
        hsic = _debiased_kernels if debiased else _sum_product
    else:
        raise DataError(f"no kernel {kernel!r}", expected="'linear' or 'rbf'")
    self_x, self_y = hsic(x, x), hsic(y, y)
    scale = xp.sqrt(xp.clip(self_x, 0, None) * xp.clip(self_y, 0, None))
    value = hsic(x, y) / xp.where(scale > 0, scale, xp.full_like(scale, float("nan")))
    return float(value) if value.ndim == 0 else value


def minibatch_cka(batches: Iterable[tuple[Any, Any]], *, kernel: str = "linear", bandwidth: float = 1.0) -> float:
    """CKA from batches of samples, for activations that do not fit in memory together.

    The unbiased HSIC of every batch is averaged before the ratio is taken, so the value converges to the debiased
    CKA of all samples whatever the size of the batches (Nguyen et al. 2021, ICLR).

    Parameters
    ----------
    batches : iterable of (X, Y)
        Each as in `cka`, of at least 4 samples.
    kernel, bandwidth
        As in `cka`; the median distance is that of each batch.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> round(minibatch_cka((X[i : i + 8], 2 * X[i : i + 8]) for i in range(0, 40, 8)), 6)
    1.0
    """
    total, n_batches = np.zeros(3), 0
    for X, Y in batches:
        x, y = same_samples(X, Y)
        if x.ndim != 2:
            raise DataError("a batch is two matrices", expected="(n_samples, n_features)", found=tuple(x.shape))
        if kernel == "rbf":
            x, y = (_rbf(side, bandwidth) for side in (x, y))
        hsic = _debiased_kernels if kernel == "rbf" else _debiased_linear
        n_samples = x.shape[0]
        values = [float(hsic(a, b)) for a, b in ((x, y), (x, x), (y, y))]
        total += np.array(values) / (n_samples * (n_samples - 3))
        n_batches += 1
    if not n_batches:
        raise DataError("no batches", expected="at least one")
    return float(total[0] / np.sqrt(total[1] * total[2])) if min(total[1:]) > 0 else float("nan")


def same_samples(X: Any, Y: Any, *, min_samples: int = 4) -> tuple[Any, Any]:
    """Both sides in double precision on one device, columns centred; leading axes may differ."""
    sides = [side.flat() if hasattr(side, "flat") and callable(side.flat) else side for side in (X, Y)]
    xp = namespace(*sides)
    tensor = next((as_floats(side) for side in sides if namespace(side) is not np), None)
    x, y = sides if tensor is None else (as_like(side, tensor) for side in sides)
    x, y = (side.astype(np.float64) if xp is np else side for side in map(as_floats, (x, y)))
    for name, side in (("X", x), ("Y", y)):
        if side.ndim < 2 or side.shape[-1] < 1:
            raise DataError(f"{name} must be (..., n_samples, n_features)", found=f"shape {tuple(side.shape)}")
        if not finite(side):
            check_finite(to_numpy(side), name=name)
    if x.shape[-2] != y.shape[-2]:
        raise DataError(
            "X and Y must hold the same samples", expected=f"{x.shape[-2]} rows", found=f"{y.shape[-2]} rows"
        )
    if x.shape[-2] < min_samples:
        raise DataError("too few samples", expected=f"at least {min_samples}", found=x.shape[-2])
    return _centre(x), _centre(y)


def _centre(x: Any) -> Any:
    xp = namespace(x)
    size = xp.amax(xp.abs(x), -2)[..., None, :]
    centred = x - x.mean(-2)[..., None, :]
    # Rounding must not make a constant feature a varying one.
    constant = xp.amax(xp.abs(centred), -2)[..., None, :] <= 8 * xp.finfo(x.dtype).eps * size
    return xp.where(constant, xp.zeros_like(centred), centred)


def _t(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def _sum_product(k: Any, m: Any) -> Any:
    return (k * m).sum((-1, -2))


def _inner(x: Any, y: Any) -> Any:
    """``<X X', Y Y'> = |X'Y|**2``, by whichever of the two products is cheaper."""
    n_samples, n_x, n_y = x.shape[-2], x.shape[-1], y.shape[-1]
    if n_x * n_y <= n_samples * (n_x + n_y):
        cross = _t(x) @ y
        return (cross * cross).sum((-1, -2))
    return _sum_product(x @ _t(x), y @ _t(y))


def _debiased_linear(x: Any, y: Any) -> Any:
    """Unbiased HSIC up to a factor; columns are centred, so of the rows of X X' only the diagonal is left."""
    n_samples = x.shape[-2]
    diagonal_x, diagonal_y = (x * x).sum(-1), (y * y).sum(-1)
    along = (diagonal_x * diagonal_y).sum(-1)
    sums = diagonal_x.sum(-1) * diagonal_y.sum(-1) / ((n_samples - 1) * (n_samples - 2))
    return _inner(x, y) - along + sums - 2 * along / (n_samples - 2)


def _debiased_kernels(k: Any, m: Any) -> Any:
    """Unbiased HSIC up to a factor, from kernels without their diagonals."""
    xp, n = namespace(k), k.shape[-1]
    off = 1 - as_like(np.eye(n), k)
    k, m = k * off, m * off
    rows_k, rows_m = k.sum(-1), m.sum(-1)
    sums = rows_k.sum(-1) * rows_m.sum(-1) / ((n - 1) * (n - 2))
    return _sum_product(k, m) + sums - 2 * xp.einsum("...i,...i->...", rows_k, rows_m) / (n - 2)


def _rbf(x: Any, bandwidth: float) -> Any:
    xp, n = namespace(x), x.shape[-2]
    if not bandwidth > 0:
        raise DataError("bandwidth of the rbf kernel", expected="> 0, in median distances", found=bandwidth)
    gram = x @ _t(x)
    norms = xp.diagonal(gram, 0, -2, -1)
    squared = xp.clip(norms[..., :, None] + norms[..., None, :] - 2 * gram, 0, None)
    pairs = to_numpy(squared)[..., *np.triu_indices(n, 1)]
    median = as_like(np.median(np.sqrt(pairs), axis=-1) ** 2, x)[..., None, None]
    return xp.exp(-squared / (2 * bandwidth**2 * xp.where(median > 0, median, xp.ones_like(median))))


def _centre_kernel(k: Any) -> Any:
    rows = k.mean(-1)
    return k - rows[..., :, None] - rows[..., None, :] + rows.mean(-1)[..., None, None]
