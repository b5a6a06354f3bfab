"""Comparing RDMs: every measure is a transformation of the distances followed by one matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from brainalign.analysis.rsa.backend import as_doubles, as_floats, as_like, namespace, ranks
from brainalign.analysis.rsa.bures import bures
from brainalign.analysis.rsa.kendall import kendall
from brainalign.analysis.rsa.whitened import whitened_inner
from brainalign.errors import DataError, closest

__all__ = ["METHODS", "compare", "matching_rdms"]

METHODS = (
    "pearson",
    "spearman",
    "rho_a",
    "kendall_a",
    "kendall_b",
    "cosine",
    "whitened_cosine",
    "whitened_pearson",
    "bures",
    "bures_distance",
)
RANKED = ("spearman", "rho_a", "kendall_a", "kendall_b")
NEED_ALL_PAIRS = ("whitened_cosine", "whitened_pearson", "bures", "bures_distance")


def compare(
    d: Any,
    model_rdms: Any,
    *,
    method: str = "spearman",
    nan: str = "raise",
    noise_covariance: ArrayLike | None = None,
) -> Any:
    """Similarity of RDMs with model RDMs.

    Parameters
    ----------
    d : array or tensor (..., n_pairs)
    model_rdms : array or tensor (n_models, n_pairs) or (n_pairs,)
    method : str
        - "pearson", "cosine"; "spearman", "kendall_b" for ordinal agreement.
        - "rho_a", "kendall_a": the expected rank correlations when ties are broken at random. They do not favour
          models that predict ties (Nili et al. 2014; Schuett et al. 2023, eLife 12).
        - "whitened_cosine", "whitened_pearson": account for the covariance of distance estimates that share a
          pattern (Diedrichsen et al. 2020, arXiv:2007.02789); for squared distances. With white noise the whitened
          cosine equals that of the double-centred matrices, that is, linear CKA. rsatoolbox 0.3.2 is wrong for a
          diagonal covariance passed as a vector.
        - "bures", "bures_distance": of the centred kernels (see `bures`); squared distances too.
    nan : {"raise", "drop"}
        What to do with pairs that are NaN in any RDM.
    noise_covariance : array (n_conditions, n_conditions) or (n_conditions,), optional
        Of the patterns, over conditions, for the whitened measures; white by default.

    Returns
    -------
    array or tensor (..., n_models)
        Without the last axis for a single model. NaN for a constant RDM. Tensors are computed in their own
        precision, arrays in float64.

    Raises
    ------
    DataError
        For different pairs, fewer than 3 conditions, NaN, or a noise covariance that is singular or does not fit.

    Examples
    --------
    >>> compare([1.0, 2.0, 3.0], [[10.0, 20.0, 40.0], [3.0, 2.0, 1.0]]).round(6)
    array([ 1., -1.])
    """
    if method not in METHODS:
        raise DataError(f"no RDM comparison {method!r}.{closest(method, METHODS)}", expected=METHODS)
    if noise_covariance is not None and not method.startswith("whitened"):
        raise DataError(f"method {method!r} takes no noise_covariance", fix="method='whitened_cosine'")
    data, models = matching_rdms(d, model_rdms)
    rows, columns = _handle_nan(data.reshape(-1, data.shape[-1]), models.reshape(-1, models.shape[-1]), method, nan)
    if method in ("kendall_a", "kendall_b"):
        table = as_like(kendall(rows, columns, method[-1]), rows)
    elif method.startswith("bures"):
        table = bures(rows, columns, distance=method == "bures_distance")
    elif method.startswith("whitened"):
        if method == "whitened_pearson":
            rows, columns = _centred(rows), _centred(columns)
        products, row_norms, column_norms = whitened_inner(rows, columns, noise_covariance)
        table = _divide(products, row_norms[:, None] * column_norms[None, :])
    elif method == "rho_a":
        n_pairs = rows.shape[1]
        table = 12 * _centred_ranks(rows) @ _centred_ranks(columns).T / (n_pairs**3 - n_pairs)
    else:
        table = _cosine(_transform(rows, method), _transform(columns, method))
    # A 0-d result stays an array, so that it has the methods of the others.
    return table.reshape((*data.shape[:-1], *models.shape[:-1]))


def matching_rdms(d: Any, model_rdms: Any) -> tuple[Any, Any]:
    """Both sides as floats of one kind, with the same number of pairs."""
    xp = namespace(d, model_rdms)
    if xp is np:
        data, models = as_doubles(d), as_doubles(model_rdms)
    else:
        tensor = as_floats(d if namespace(d) is xp else model_rdms)
        data, models = as_like(d, tensor), as_like(model_rdms, tensor)
    if models.ndim not in (1, 2) or data.ndim < 1 or data.shape[-1] != models.shape[-1]:
        raise DataError(
            "RDMs and models have different pairs",
            expected="(..., n_pairs) and (n_models, n_pairs)",
            found=f"{tuple(data.shape)} and {tuple(models.shape)}",
        )
    if data.shape[-1] < 3:
        raise DataError("too few conditions to compare geometries", expected="at least 3", found=data.shape[-1])
    return data, models


def _handle_nan(rows: Any, columns: Any, method: str, nan: str) -> tuple[Any, Any]:
    xp = namespace(rows)
    if nan not in ("raise", "drop"):
        raise DataError(f"nan={nan!r}", expected="'raise' or 'drop'")
    if method not in RANKED and bool(xp.isinf(rows).any() | xp.isinf(columns).any()):
        raise DataError(f"{method} takes finite distances", found="infinity", fix="a rank measure, or set them to NaN")
    holes = xp.isnan(rows).any(0) | xp.isnan(columns).any(0)
    if not bool(holes.any()):
        return rows, columns
    if nan == "raise":
        raise DataError(
            f"{int(holes.sum())} of {len(holes)} pairs are NaN in some RDM",
            expected="complete RDMs",
            fix="compare(..., nan='drop'), or keep only rsa.complete_conditions(...)",
        )
    if method in NEED_ALL_PAIRS:
        raise DataError(f"{method} needs complete RDMs", fix="keep only rsa.complete_conditions(...)")
    if int((~holes).sum()) < 3:
        raise DataError("nothing left to compare", expected="at least 3 complete pairs", found=int((~holes).sum()))
    return rows[:, ~holes], columns[:, ~holes]


def _transform(rows: Any, method: str) -> Any:
    if method == "pearson":
        return _centred(rows)
    return _centred_ranks(rows) if method == "spearman" else rows


def _centred(rows: Any) -> Any:
    xp = namespace(rows)
    centred = rows - rows.mean(1)[:, None]
    centred[xp.amax(rows, 1) == xp.amin(rows, 1)] = 0.0
    return centred


def _centred_ranks(rows: Any) -> Any:
    return ranks(rows) - (rows.shape[1] + 1) / 2


def _cosine(rows: Any, columns: Any) -> Any:
    xp = namespace(rows)
    norms = [xp.sqrt(xp.einsum("ij,ij->i", side, side)) for side in (rows, columns)]
    return _divide(rows @ columns.T, norms[0][:, None] * norms[1][None, :])


def _divide(products: Any, scale: Any) -> Any:
    xp = namespace(products)
    return products / xp.where(scale > 0, scale, xp.full_like(scale, float("nan")))
