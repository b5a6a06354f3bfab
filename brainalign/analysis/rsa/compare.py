"""Comparing RDMs: every measure is a transformation of the distances followed by one matrix product."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.rdm import n_conditions
from brainalign.errors import DataError, closest
from brainalign.scoring.correlation import average_ranks

__all__ = ["METHODS", "compare"]

METHODS = ("pearson", "spearman", "rho_a", "kendall_a", "kendall_b", "cosine", "whitened_cosine")


def compare(
    d: ArrayLike, model_rdms: ArrayLike, *, method: str = "spearman", nan: str = "raise"
) -> NDArray[np.float64]:
    """Similarity of RDMs with model RDMs.

    Parameters
    ----------
    d : array (..., n_pairs)
    model_rdms : array (n_models, n_pairs) or (n_pairs,)
    method : str
        - "pearson", "cosine"; "spearman", "kendall_b" for ordinal agreement.
        - "rho_a", "kendall_a": the expected rank correlations when ties are broken at random. They do not favour
          models that predict ties (Nili et al. 2014; Schuett et al. 2023, eLife 12).
        - "whitened_cosine": cosine that accounts for the covariance of distance estimates that share a pattern
          (Diedrichsen et al. 2020, arXiv:2007.02789) for white pattern noise; for squared distances. Equals the
          cosine of the double-centred matrices, that is, linear CKA.
    nan : {"raise", "drop"}
        What to do with pairs that are NaN in any RDM.

    Returns
    -------
    array (..., n_models)
        Without the last axis for a single model. NaN for a constant RDM.

    Examples
    --------
    >>> compare([1.0, 2.0, 3.0], [[10.0, 20.0, 40.0], [3.0, 2.0, 1.0]]).round(6)
    array([ 1., -1.])
    """
    if method not in METHODS:
        raise DataError(f"no RDM comparison {method!r}.{closest(method, METHODS)}", expected=METHODS)
    data, models = np.asarray(d, dtype=np.float64), np.asarray(model_rdms, dtype=np.float64)
    if models.ndim not in (1, 2) or data.ndim < 1 or data.shape[-1] != models.shape[-1]:
        raise DataError(
            "RDMs and models have different pairs",
            expected="(..., n_pairs) and (n_models, n_pairs)",
            found=f"{data.shape} and {models.shape}",
        )
    rows, columns = _handle_nan(data.reshape(-1, data.shape[-1]), np.atleast_2d(models), method, nan)
    if method in ("kendall_a", "kendall_b"):
        table = _kendall(rows, columns, method)
    elif method == "whitened_cosine":
        table = _whitened_cosine(rows, columns)
    elif method == "rho_a":
        n_pairs = rows.shape[1]
        table = 12 * _centred_ranks(rows) @ _centred_ranks(columns).T / (n_pairs**3 - n_pairs)
    else:
        table = _cosine(_transform(rows, method), _transform(columns, method))
    return table.reshape(data.shape[:-1] + models.shape[:-1])


def _handle_nan(rows: NDArray, columns: NDArray, method: str, nan: str) -> tuple[NDArray, NDArray]:
    holes = np.isnan(rows).any(axis=0) | np.isnan(columns).any(axis=0)
    if nan not in ("raise", "drop"):
        raise DataError(f"nan={nan!r}", expected="'raise' or 'drop'")
    if not holes.any():
        return rows, columns
    if nan == "raise":
        raise DataError(
            f"{holes.sum()} of {len(holes)} pairs are NaN in some RDM",
            expected="complete RDMs",
            fix="compare(..., nan='drop'), or keep only rsa.complete_conditions(...)",
        )
    if method == "whitened_cosine":
        raise DataError("the whitened cosine needs complete RDMs", fix="keep only rsa.complete_conditions(...)")
    return rows[:, ~holes], columns[:, ~holes]


def _transform(rows: NDArray, method: str) -> NDArray:
    if method == "pearson":
        return _centred(rows)
    return _centred_ranks(rows) if method == "spearman" else rows


def _centred(rows: NDArray) -> NDArray:
    centred = rows - rows.mean(axis=1, keepdims=True)
    centred[np.ptp(rows, axis=1) == 0] = 0.0
    return centred


def _centred_ranks(rows: NDArray) -> NDArray:
    return average_ranks(rows) - (rows.shape[1] + 1) / 2


def _whitened_cosine(rows: NDArray, columns: NDArray) -> NDArray[np.float64]:
    """Cosines of the double-centred matrices ``-H D H / 2``, which are never formed.

    With condensed distances d, sums r over the rows of D and s over all of it, four times the inner product of two
    such matrices is ``2 d.d' - 2 r.r' / n + s s' / n**2``.
    """
    from scipy.sparse import csr_array

    n, n_pairs = n_conditions(rows.shape[1]), rows.shape[1]
    ends = np.column_stack(np.triu_indices(n, 1)).ravel()
    member = csr_array((np.ones(2 * n_pairs), ends, 2 * np.arange(n_pairs + 1)), shape=(n_pairs, n))
    sums = [member.T @ side.T for side in (rows, columns)]  # (n, n_rdms)

    norms = []
    for d, row_sums in zip((rows, columns), sums):
        squares = 2 * np.einsum("ij,ij->i", d, d) - 2 / n * np.sum(row_sums**2, axis=0) + (row_sums.sum(0) / n) ** 2
        norms.append(np.sqrt(np.maximum(squares, 0.0)))
    scale = np.outer(*norms)
    totals = np.outer(sums[0].sum(axis=0), sums[1].sum(axis=0))
    products = 2 * rows @ columns.T - 2 / n * sums[0].T @ sums[1] + totals / n**2
    return _divide(products, scale)


def _cosine(rows: NDArray, columns: NDArray) -> NDArray[np.float64]:
    norms = [np.sqrt(np.einsum("ij,ij->i", side, side)) for side in (rows, columns)]
    return _divide(rows @ columns.T, np.outer(*norms))


def _divide(products: NDArray, scale: NDArray) -> NDArray[np.float64]:
    return np.divide(products, scale, out=np.full_like(products, np.nan), where=scale > 0)


def _kendall(rows: NDArray, columns: NDArray, method: str) -> NDArray[np.float64]:
    """Kendall's tau-b, or tau-a from it: both count the same pairs and differ in what ties divide by."""
    from scipy.stats import kendalltau

    table = np.array([[kendalltau(row, column).statistic for column in columns] for row in rows])
    if method == "kendall_b":
        return table
    untied = np.sqrt(_untied_share(rows))[:, None] * np.sqrt(_untied_share(columns))
    return np.where(untied == 0, 0.0, table * untied)


def _untied_share(rows: NDArray) -> NDArray[np.float64]:
    """Share of pairs of entries that differ."""
    total = rows.shape[1] * (rows.shape[1] - 1) / 2
    counts = [np.unique(row, return_counts=True)[1].astype(np.float64) for row in rows]
    return np.array([1 - np.sum(c * (c - 1) / 2) / total for c in counts])
