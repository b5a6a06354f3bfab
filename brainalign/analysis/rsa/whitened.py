"""Inner products of RDMs, whitened by the covariance that distance estimates have for sharing patterns."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.analysis.rsa.backend import as_like, namespace
from brainalign.analysis.rsa.condensed import n_conditions, to_square, triangle
from brainalign.arrays import row_blocks
from brainalign.errors import DataError

__all__ = ["whitened_inner", "whitened_norms", "whitened_rdms"]


def whitened_inner(rows: Any, columns: Any, noise_covariance: Any = None) -> tuple[Any, Any, Any]:
    """Inner products of rows and columns, and the norms of both, under ``V^-1``.

    Estimated squared distances of patterns with noise covariance S between conditions have, up to a factor, the
    covariance ``V = (C S C') ** 2`` entry by entry, with C the matrix of all pairwise contrasts (Diedrichsen et al.
    2020, arXiv:2007.02789). V is never formed: with the precision of the contrasts
    ``A = S^-1 - S^-1 1 1' S^-1 / (1' S^-1 1)``, the product ``d' V^-1 e`` is ``tr(A D A E)`` up to a factor.

    Parameters
    ----------
    rows, columns : array or tensor (n_rdms, n_pairs)
    noise_covariance : array (n_conditions, n_conditions) or (n_conditions,), optional
        Of the estimated patterns, over conditions, or its diagonal; white by default.

    Returns
    -------
    products (n_rows, n_columns), row norms (n_rows,), column norms (n_columns,)
    """
    if noise_covariance is None:
        return _white(rows, columns)
    precision = _contrast_precision(noise_covariance, rows)
    whitened = whitened_rdms(rows, precision)
    return whitened @ columns.T, whitened_norms(rows, precision), whitened_norms(columns, precision)


def whitened_rdms(rdms: Any, precision: Any) -> Any:
    """``V^-1 d``, up to a factor: twice the upper triangle of ``A D A``."""
    out = namespace(rdms).empty_like(rdms)
    for block in row_blocks(len(rdms), 24 * precision.size if namespace(rdms) is np else 24 * precision.numel()):
        out[block] = 2 * triangle(precision @ to_square(rdms[block]) @ precision)
    return out


def whitened_norms(rdms: Any, precision: Any) -> Any:
    """``sqrt(d' V^-1 d)`` up to the same factor, from one matrix product for each RDM."""
    xp = namespace(rdms)
    norms = []
    for block in row_blocks(len(rdms), 16 * precision.shape[0] ** 2):
        half = precision @ to_square(rdms[block])
        norms.append(xp.einsum("rij,rji->r", half, half))
    return xp.sqrt(xp.clip(xp.concatenate(norms), 0, None))


def _contrast_precision(noise_covariance: Any, like: Any) -> Any:
    """Precision of the contrasts between conditions; blind to a constant added to all."""
    xp, n = namespace(like), n_conditions(like.shape[-1])
    covariance = as_like(noise_covariance, like)
    if tuple(covariance.shape) == (n,):
        covariance = xp.diag(covariance)
    if tuple(covariance.shape) != (n, n):
        raise DataError(
            "noise_covariance is that of conditions, not of features",
            expected=f"({n}, {n}) or ({n},)",
            found=tuple(covariance.shape),
        )
    if not bool(xp.allclose(covariance, covariance.T, rtol=1e-6)):
        raise DataError("a noise covariance is symmetric", found="an asymmetric matrix")
    values = xp.linalg.eigvalsh(covariance)
    if not bool(values[0] > 1e-12 * abs(values[-1])):
        raise DataError(
            "the noise covariance of conditions is singular or not positive",
            expected="positive eigenvalues",
            found=f"{float(values[0]):.2g} to {float(values[-1]):.2g}",
            fix="add a small multiple of the identity, or pass its diagonal",
        )
    precision = xp.linalg.inv(covariance)
    row_sums = precision.sum(0)
    return precision - row_sums[:, None] * row_sums[None, :] / row_sums.sum()


def _white(rows: Any, columns: Any) -> tuple[Any, Any, Any]:
    """The same for S = 1: with condensed distances d, sums r over the rows of D and s over all of it, four times the
    inner product of two double-centred matrices ``-H D H / 2`` is ``2 d.d' - 2 r.r' / n + s s' / n**2``.
    """
    xp, n = namespace(rows), n_conditions(rows.shape[1])
    sums = [_condition_sums(side, n) for side in (rows, columns)]  # (n, n_rdms)
    norms = []
    for d, row_sums in zip((rows, columns), sums):
        squares = 2 * xp.einsum("ij,ij->i", d, d) - 2 / n * (row_sums**2).sum(0) + (row_sums.sum(0) / n) ** 2
        norms.append(xp.sqrt(xp.clip(squares, 0, None)))
    totals = sums[0].sum(0)[:, None] * sums[1].sum(0)[None, :]
    products = 2 * rows @ columns.T - 2 / n * sums[0].T @ sums[1] + totals / n**2
    return products, norms[0], norms[1]


def _condition_sums(rdms: Any, n: int) -> Any:
    """Sum of the distances of each condition to all others: (n_conditions, n_rdms)."""
    if namespace(rdms) is not np:
        return to_square(rdms).sum(-1).T
    from scipy.sparse import csr_array

    n_pairs = rdms.shape[1]
    ends = np.column_stack(np.triu_indices(n, 1)).ravel()
    member = csr_array((np.ones(2 * n_pairs), ends, 2 * np.arange(n_pairs + 1)), shape=(n_pairs, n))
    return member.T @ rdms.T
