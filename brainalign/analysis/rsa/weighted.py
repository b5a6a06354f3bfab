"""Inner products of RDMs whose conditions are replicated, for many resamples at once.

A resample of conditions with multiplicities ``w`` gives the pair (i, j) the weight ``w_i w_j``; pairs of a condition
with its own copy do not exist and so have none. All inner products of all resamples are then one matrix product of
pair weights with products of RDMs: no RDM is ever resampled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.rsa.backend import as_like, namespace, to_numpy
from brainalign.analysis.rsa.condensed import n_conditions, to_square
from brainalign.arrays import row_blocks

__all__ = ["GRAM_METHODS", "pair_weights", "unit_gram", "weighted_gram"]

GRAM_METHODS = ("pearson", "cosine", "spearman", "rho_a", "whitened_cosine", "whitened_pearson")

Gram = Callable[[NDArray], NDArray]

_BLOCK_BYTES = 4 * 2**20


def weighted_gram(rdms: Any, method: str, *, n_subjects: int | None = None) -> Gram:
    """A function of condition weights that returns Gram matrices of the resampled RDMs as `method` compares them.

    Parameters
    ----------
    rdms : array or tensor (n_rdms, n_pairs)
        Products are made where it is; what is returned is an array all the same.
    method : {"pearson", "cosine", "spearman", "rho_a", "whitened_cosine", "whitened_pearson"}
        RDMs are centred, ranked or whitened as *resampled*.
    n_subjects : int, optional
        The first rows are subjects and the others fixed models: products of two different models are not needed, and
        left NaN.

    Returns
    -------
    callable
        ``gram(weights)`` with weights (n_draws, n_conditions) is (n_draws, n_rdms, n_rdms). For rho-a it is divided
        by the squared norm that untied ranks have, so that its entries are the scores themselves.
    """
    n_subjects = len(rdms) if n_subjects is None else n_subjects
    if method in ("spearman", "rho_a"):
        return _rank_gram(rdms, n_subjects, rho_a=method == "rho_a")
    if method == "whitened_pearson":
        return _whitened_pearson_gram(rdms, n_subjects)
    first, second = np.triu_indices(len(rdms))
    needed = (first == second) | (first < n_subjects)
    first, second = first[needed], second[needed]
    if method == "pearson":
        # Weighted means are taken below; without the plain mean they have less to cancel.
        rdms = rdms - rdms.mean(1)[:, None]
    columns = _products(rdms, n_subjects, more=rdms if method == "pearson" else None)
    squares = to_square(to_numpy(rdms)) if method == "whitened_cosine" else None
    column_of = np.full((len(rdms), len(rdms)), len(columns))
    column_of[first, second] = column_of[second, first] = np.arange(len(first))

    def gram(weights: NDArray) -> NDArray:
        moments = _weighted_sums(weights, columns)
        table = np.take(np.pad(moments, ((0, 0), (0, 1)), constant_values=np.nan), column_of, axis=1)
        if method == "pearson":
            sums = moments[:, len(first) :]
            # Pairs of two different conditions: all pairs less those of a condition and itself.
            total = (weights.sum(axis=1) ** 2 - np.sum(weights**2, axis=1)) / 2
            with np.errstate(invalid="ignore", divide="ignore"):
                table -= sums[:, :, None] * (sums / total[:, None])[:, None, :]
        elif squares is not None:
            _whiten(table, squares, weights)
        return table

    return gram


def _whitened_pearson_gram(rdms: Any, n_subjects: int) -> Gram:
    """From the whitened products with an RDM of ones: less the weighted mean, as a bilinear form."""
    xp = namespace(rdms)
    rdms = rdms - rdms.mean(1)[:, None]
    whitened = weighted_gram(
        xp.concatenate([xp.ones_like(rdms[:1]), rdms]), "whitened_cosine", n_subjects=n_subjects + 1
    )
    squares = to_square(to_numpy(rdms))

    def gram(weights: NDArray) -> NDArray:
        table = whitened(weights)
        total = weights.sum(axis=1) ** 2 - np.sum(weights**2, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.einsum("rdc,dc->dr", weights @ squares, weights) / total[:, None]
        pull = mean[:, :, None] * table[:, :1, 1:]
        flat = mean[:, :, None] * mean[:, None, :] * table[:, :1, :1]
        return table[:, 1:, 1:] - pull - np.swapaxes(pull, 1, 2) + flat

    return gram


def _products(rdms: Any, n_subjects: int, *, more: Any) -> Any:
    """Products of each subject's RDM with the later ones, squares of the models, then `more` rows; touched once."""
    n_rdms, n_models = len(rdms), len(rdms) - n_subjects
    counts = [n_rdms - subject for subject in range(n_subjects)]
    if namespace(rdms) is not np:
        parts = [rdms[subject] * rdms[subject:] for subject in range(n_subjects)]
        parts += [rdms[n_subjects:] ** 2, *([] if more is None else [more])]
        return namespace(rdms).concatenate(parts)
    columns = np.empty((sum(counts) + n_models + (0 if more is None else len(more)), rdms.shape[1]))
    start = 0
    for subject, count in enumerate(counts):
        np.multiply(rdms[subject], rdms[subject:], out=columns[start : start + count])
        start += count
    np.multiply(rdms[n_subjects:], rdms[n_subjects:], out=columns[start : start + n_models])
    if more is not None:
        columns[start + n_models :] = more
    return columns


def unit_gram(grams: NDArray, method: str) -> NDArray:
    """Similarities (n_draws, n_rdms, n_rdms) from Gram matrices; NaN where an RDM has no direction."""
    if method == "rho_a":
        return grams
    norm = np.sqrt(np.maximum(np.diagonal(grams, axis1=-2, axis2=-1), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return grams / (norm[..., :, None] * norm[..., None, :])


def pair_weights(weights: NDArray) -> NDArray[np.float64]:
    """Products ``w_i w_j`` for the pairs of a condensed RDM: (n_draws, n_pairs).

    Examples
    --------
    >>> pair_weights(np.array([[1.0, 2.0, 0.0]]))
    array([[2., 0., 0.]])
    """
    n_draws, n = weights.shape
    pairs = np.empty((n_draws, n * (n - 1) // 2))
    _fill_pairs(pairs, weights, 0, n)
    return pairs


def _fill_pairs(out: NDArray, weights: NDArray, first: int, last: int) -> int:
    """Write the pairs (i, j > i) of the conditions ``first <= i < last`` next to each other; return how many."""
    start, n = 0, weights.shape[1]
    for i in range(first, last):
        stop = start + n - 1 - i
        np.multiply(weights[:, i + 1 :], weights[:, i, None], out=out[:, start:stop])
        start = stop
    return start


def _weighted_sums(weights: NDArray, columns: Any) -> NDArray[np.float64]:
    """``pair_weights(weights) @ columns.T``, a few conditions at a time: pages are touched once, and stay in cache."""
    n_draws, n = weights.shape
    if namespace(columns) is not np:
        counts, (i, j) = as_like(weights, columns), np.triu_indices(n, 1)
        blocks = row_blocks(n_draws, columns.element_size() * columns.shape[1])
        return np.concatenate([to_numpy((counts[b][:, i] * counts[b][:, j]) @ columns.T) for b in blocks])
    rows = max(1, _BLOCK_BYTES // (8 * n_draws * n))
    buffer = np.empty((n_draws, min(rows * n, columns.shape[1])))
    sums, product, done = np.zeros((n_draws, len(columns))), np.empty((n_draws, len(columns))), 0
    for first in range(0, n - 1, rows):
        count = _fill_pairs(buffer, weights, first, min(first + rows, n - 1))
        sums += np.matmul(buffer[:, :count], columns[:, done : done + count].T, out=product)
        done += count
    return sums


def _whiten(table: NDArray, squares: NDArray, weights: NDArray) -> None:
    """Turn sums of products over pairs into inner products under the inverse covariance of the drawn distances.

    With all pairs, that is half the inner product of the double-centred matrices. The distances of a condition to
    its copies are not in the resample: they are marginalised, that is, set to where the quadratic form is smallest,
    one unknown per condition drawn more than once. Its Hessian is a diagonal plus a rank-one matrix. Equals
    ``x' V**-1 y`` with the rows and columns of V for such pairs deleted.
    """
    total = weights.sum(axis=1)[:, None]
    row_sums = (weights @ squares).transpose(1, 0, 2)  # (n_draws, n_rdms, n)
    sums = np.einsum("drc,dc->dr", row_sums, weights)
    weighted = row_sums * weights[:, None, :]
    table *= 2
    table -= 2 / total[:, :, None] * (weighted @ row_sums.transpose(0, 2, 1))
    table += (sums / total)[:, :, None] * (sums / total)[:, None, :]

    copies = weights * (weights - 1)
    diagonal = np.where(copies > 0, copies - 2 / total * copies * (weights - 1), 1.0)
    slope = copies[:, None, :] * ((sums / total**2)[:, :, None] - 2 / total[:, :, None] * row_sums)
    rare = np.flatnonzero((diagonal <= 1e-9).any(axis=1))
    diagonal[rare] = 1.0
    solved = slope / diagonal[:, None, :]
    direction = copies / diagonal
    pull = np.einsum("drc,dc->dr", slope, direction)
    share = total**2 + np.sum(copies * direction, axis=1, keepdims=True)
    table -= slope @ solved.transpose(0, 2, 1) - pull[:, :, None] * (pull / share)[:, None, :]
    # More than half of the resample is one condition: its copies say nothing that could be marginalised.
    table[rare] = np.nan


def _rank_gram(rdms: Any, n_subjects: int, *, rho_a: bool) -> Gram:
    ranks = _weighted_ranks(to_numpy(rdms))
    first, second = np.triu_indices(n_conditions(rdms.shape[1]), 1)

    def gram(weights: NDArray) -> NDArray:
        table = np.full((len(weights), len(rdms), len(rdms)), np.nan)
        for draw, w in enumerate(weights.astype(np.int64)):
            pairs = w[first] * w[second]
            total = pairs.sum()
            drawn = np.flatnonzero(pairs)
            vectors = ranks(pairs, drawn, total)
            vectors *= np.sqrt(pairs[drawn])
            products = vectors[:n_subjects] @ vectors.T
            table[draw, :n_subjects], table[draw, :, :n_subjects] = products, products.T
            others = vectors[n_subjects:]
            np.einsum("rr->r", table[draw])[n_subjects:] = np.einsum("rp,rp->r", others, others)
            if rho_a:
                table[draw] *= 12 / (float(total) ** 3 - total) if total > 1 else np.nan
        return table

    return gram


def _weighted_ranks(rdms: NDArray) -> Callable[[NDArray, NDArray, np.int64], NDArray]:
    """Mean ranks, less their mean, of RDMs whose entries are replicated; for the entries `drawn`.

    The rank is (weight of all smaller entries) + (weight of ties + 1) / 2. Sorting does not depend on the weights, so
    it is done once; sums of whole numbers are exact, and four times as fast as of floats.
    """
    n_rdms, n_pairs = rdms.shape
    order = np.argsort(rdms, axis=1)
    values = np.take_along_axis(rdms, order, axis=1)
    starts_group = np.ones(rdms.shape, dtype=bool)
    starts_group[:, 1:] = values[:, 1:] != values[:, :-1]
    position = np.broadcast_to(np.arange(n_pairs), rdms.shape)
    group_start = np.maximum.accumulate(np.where(starts_group, position, 0), axis=1)
    next_start = np.where(np.c_[starts_group[:, 1:], np.ones(n_rdms, dtype=bool)], position + 1, n_pairs)
    group_end = np.minimum.accumulate(next_start[:, ::-1], axis=1)[:, ::-1]
    # From sorted positions back to pairs, as flat positions in a cumulative sum with a leading zero.
    offset = (n_pairs + 1) * np.arange(n_rdms)[:, None]
    below, through = np.empty_like(order), np.empty_like(order)
    np.put_along_axis(below, order, group_start + offset, axis=1)
    np.put_along_axis(through, order, group_end + offset, axis=1)
    untied = bool(starts_group.all())
    cumulative = np.zeros((n_rdms, n_pairs + 1), dtype=np.int64)
    scratch = np.empty(rdms.shape, dtype=np.int64)

    def ranks(pairs: NDArray, drawn: NDArray, total: np.int64) -> NDArray:
        np.take(pairs, order, out=scratch, mode="clip")
        np.cumsum(scratch, axis=1, out=cumulative[:, 1:])
        doubled = cumulative.ravel()[through[:, drawn]]
        doubled += doubled - pairs[drawn] if untied else cumulative.ravel()[below[:, drawn]]
        doubled -= total
        return doubled * 0.5

    return ranks
