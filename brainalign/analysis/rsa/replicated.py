"""Kendall's tau and Bures similarity of RDMs whose conditions are replicated: what no Gram matrix of vectors gives.

As in `brainalign.analysis.rsa.weighted`, a resample of conditions with multiplicities ``w`` gives the pair (i, j) the
weight ``w_i w_j``. RDMs are sorted, or decomposed, once; draws are columns of one matrix product after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.rsa.backend import as_like, namespace, on_device, ranks, to_numpy
from brainalign.analysis.rsa.bures import centred_kernels
from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.condensed import n_conditions
from brainalign.arrays import row_blocks

__all__ = ["REPLICATED_METHODS", "pooled_references", "replicated_scores"]

REPLICATED_METHODS = ("kendall_a", "kendall_b", "bures")

_BLOCK = 128  # entries of a block of sorted distances, all pairs of which are compared
_CHUNK = 128  # draws at a time: what is walked through many times stays in the processor's cache
_EXACT = 2.0**24  # whole numbers up to here are exact in float32


def pooled_references(subjects: Any, method: str) -> tuple[Any, Any]:
    """RDMs that stand for the noise ceilings: the mean of all *other* subjects (n_subjects, n_pairs), and of all.

    Means of ranks for Kendall's tau (the nearest RDM is not known in closed form); for Bures, of RDMs brought to the
    same total variance.
    """
    unit = ranks(subjects) if method.startswith("kendall") else subjects / subjects.mean(1)[:, None]
    total = unit.sum(0)
    return total[None] - unit, total[None]


def replicated_scores(subjects: Any, models: Any, weights: Any, method: str) -> tuple[Any, Any, Any]:
    """Scores of every subject, for every draw of conditions.

    Parameters
    ----------
    subjects : array or tensor (n_subjects, n_pairs)
    models : array or tensor (n_models, n_pairs)
    weights : array (n_draws, n_conditions)
        Multiplicities of the conditions.
    method : {"kendall_a", "kendall_b", "bures"}

    Returns
    -------
    scores : array (n_draws, n_subjects, n_models)
    lower, upper : array (n_draws, n_subjects)
        Scores with the `pooled_references`, which are pooled once, from all conditions; NaN for a single subject.
    """
    n_subjects, n_models = len(subjects), len(models)
    others, everyone = pooled_references(subjects, method)
    columns = namespace(subjects).concatenate([models, others, everyone])
    row, column = np.indices((n_subjects, n_models)).reshape(2, -1)
    row = np.r_[row, np.tile(np.arange(n_subjects), 2)]
    column = np.r_[column, n_models + np.arange(n_subjects), np.full(n_subjects, n_models + n_subjects)]
    if n_subjects < 2:
        columns, row, column = models, row[:n_models], column[:n_models]
    if len(weights) == 1 and bool((weights == 1).all()):
        table = to_numpy(compare(subjects, columns, method=method))[None, row, column]
    elif method == "bures":
        table = _replicated_bures(subjects, columns, weights, row, column)
    else:
        table = _replicated_kendall(subjects, columns, weights, (row, column), method[-1])
    table = np.concatenate([table, np.full((len(table), 2 * n_subjects), np.nan)], axis=1) if n_subjects < 2 else table
    n_scores = n_subjects * n_models
    scores = table[:, :n_scores].reshape(-1, n_subjects, n_models)
    return scores, table[:, n_scores : n_scores + n_subjects], table[:, n_scores + n_subjects :]


class _Sorted(NamedTuple):
    """A sorted RDM cut into blocks between, never inside, runs of ties.

    Attributes
    ----------
    rank : array (n_pairs,)
        Of each entry; ties share theirs.
    block : array (n_pairs,)
        Number of the block of each entry.
    members : array (n_mixed, width)
        Entries of the blocks that hold more than one run, in order; ``n_pairs``, an entry without weight, fills them.
    runs : array or None
        Where runs of ties start in `order`; None when there are no ties.
    """

    rank: NDArray
    block: NDArray
    members: NDArray
    order: NDArray
    runs: NDArray | None


def _sorted(values: NDArray) -> _Sorted:
    n = len(values)
    order = np.argsort(values, kind="stable")
    new = np.r_[True, np.diff(values[order]) != 0]
    starts = np.flatnonzero(new)
    rank, block = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.intp)
    rank[order] = starts[np.cumsum(new) - 1]
    cuts, stops = [0], np.r_[starts[1:], n]
    if len(starts) == n:
        cuts = list(range(0, n, _BLOCK))
    else:
        for start, stop in zip(starts.tolist(), stops.tolist()):
            # A run that does not fit, or is longer than a block, begins one.
            if stop - cuts[-1] > _BLOCK and start > cuts[-1]:
                cuts.append(start)
    edges = np.r_[cuts, n]
    block[order] = np.repeat(np.arange(len(cuts)), np.diff(edges))
    mixed = [order[a:b] for a, b in itertools.pairwise(edges) if rank[order[a]] != rank[order[b - 1]]]
    width = max((len(one) for one in mixed), default=1)
    members = np.full((len(mixed), width), n, dtype=np.intp)
    for line, one in zip(members, mixed):
        line[: len(one)] = one
    return _Sorted(rank, block, members, order, None if len(starts) == n else starts)


def _replicated_kendall(
    rows: Any, columns: Any, weights: Any, pairs: tuple[NDArray, NDArray], variant: str
) -> NDArray[np.float64]:
    """Tau (n_draws, n_listed) of the listed (row, column) pairs of RDMs."""
    first, second = np.triu_indices(n_conditions(rows.shape[1]), 1)
    counts = as_like(weights, rows)
    sides = [[_sorted(one) for one in to_numpy(side)] for side in (rows, columns)]
    balance = np.empty((len(weights), len(pairs[0])))
    scale = np.empty_like(balance)
    chunks = []
    for chunk in row_blocks(len(weights), 1, budget=_CHUNK):
        drawn = (counts[chunk, first] * counts[chunk, second]).T
        total = drawn.sum(0)
        tied = [np.stack([to_numpy(_tied(drawn, one)) for one in side]) for side in sides]
        all_pairs = to_numpy(total * (total - 1) / 2)
        free = [all_pairs - one for one in tied]
        with np.errstate(invalid="ignore", divide="ignore"):
            if variant == "a":
                scale[chunk] = np.where(all_pairs > 0, all_pairs, np.nan)[:, None]
            else:
                scale[chunk] = (np.sqrt(free[0][pairs[0]]) * np.sqrt(free[1][pairs[1]])).T
        chunks.append((chunk, _in_single(drawn)))
    for listed, (i, j) in enumerate(zip(*pairs)):
        count = _concordance(sides[0][i], sides[1][j], rows)
        for chunk, drawn in chunks:
            balance[chunk, listed] = to_numpy(count(drawn))
    with np.errstate(invalid="ignore", divide="ignore"):
        return balance / np.where(scale > 0, scale, np.nan)


def _in_single(drawn: Any) -> Any:
    """Pair weights with a last row of zeros; in float32 where that is exact, which is twice as fast."""
    xp = namespace(drawn)
    drawn = xp.concatenate([drawn, xp.zeros_like(drawn[:1])])
    heaviest = float(xp.amax(drawn)) * _BLOCK * float(xp.amax(drawn.sum(0)))
    return drawn.astype(np.float32) if xp is np and heaviest < _EXACT else drawn


def _tied(drawn: Any, side: _Sorted) -> Any:
    """Number of tied pairs of a replicated RDM, copies of an entry among them: (n_draws,)."""
    if side.runs is None:
        return (drawn * (drawn - 1)).sum(0) / 2
    xp = namespace(drawn)
    if xp is np:
        mass = np.add.reduceat(drawn[side.order], side.runs, axis=0)
    else:
        mass = xp.zeros((len(side.rank), drawn.shape[1]), dtype=drawn.dtype, device=drawn.device)
        mass = mass.index_add(0, on_device(side.rank, drawn), drawn)
    return (mass * (mass - 1)).sum(0) / 2


def _concordance(row: _Sorted, column: _Sorted, like: Any) -> Callable[[Any], Any]:
    """A function of pair weights (n_pairs + 1, n_draws): concordant less discordant pairs of entries, (n_draws,).

    Pairs within a block of the row's order, and those within a block of the column's, are compared one by one, which
    is a quadratic form; all others by the blocks they lie in, from the weight of each cell of both.
    """
    parts = []
    for side, other in ((row, column), (column, row)):
        signs = _signs(side.rank, side.members) * _signs(other.rank, side.members)
        if side is column and signs.size:
            block = np.append(row.block, -1)[side.members]
            signs *= block[:, :, None] != block[:, None, :]
        parts.append((on_device(side.members, like), as_like(signs, like)))
    n_blocks = int(row.block.max()) + 1, int(column.block.max()) + 1
    cell = row.block * n_blocks[1] + column.block
    gather = _summation(cell, n_blocks[0] * n_blocks[1], like)
    narrow = [signs.astype(np.float32) for _, signs in parts] if namespace(like) is np else None

    def count(drawn: Any) -> Any:
        xp = namespace(drawn)
        total: Any = 0.0
        for number, (members, signs) in enumerate(parts):
            if not len(members):
                continue
            if narrow is not None and drawn.dtype == np.float32:
                signs = narrow[number]
            mine = drawn[members]
            inner = xp.einsum("bkd,bkd->bd", signs @ mine, mine)
            total = total + (inner.sum(0, dtype=np.float64) if xp is np else inner.sum(0)) / 2
        cells = gather(drawn).reshape(*n_blocks, -1)
        before = xp.cumsum(cells, 0) - cells
        below = xp.cumsum(before, 1)
        side = 2 * below - before - below[:, -1:]
        across = cells * side
        return total + (across.sum((0, 1), dtype=np.float64) if xp is np else across.sum((0, 1)))

    return count


def _signs(rank: NDArray, members: NDArray) -> NDArray[np.int8]:
    """Sign of the difference of the ranks of every two members of a block, (n_blocks, width, width)."""
    mine = np.append(rank, 0)[members]
    return (mine[:, None, :] > mine[:, :, None]).astype(np.int8) - (mine[:, None, :] < mine[:, :, None])


def _summation(cell: NDArray, n_cells: int, like: Any) -> Callable[[Any], Any]:
    """A function that sums rows of pair weights by cell: (n_cells, n_draws)."""
    if namespace(like) is not np:
        index = on_device(cell, like)
        return lambda drawn: drawn.new_zeros((n_cells, drawn.shape[1])).index_add(0, index, drawn[:-1])
    from scipy.sparse import csr_array

    order = np.argsort(cell, kind="stable")
    starts = np.r_[0, np.cumsum(np.bincount(cell, minlength=n_cells))]
    shape = (n_cells, len(cell) + 1)
    exact = {kind: csr_array((np.ones(len(cell), kind), order, starts), shape=shape) for kind in (np.float32, float)}
    return lambda drawn: exact[np.float32 if drawn.dtype == np.float32 else float] @ drawn


def _replicated_bures(rows: Any, columns: Any, weights: Any, row: NDArray, column: NDArray) -> NDArray[np.float64]:
    """Bures similarity (n_draws, n_listed) of patterns in which conditions are repeated; copies lie at distance 0.

    With a root ``K = R R'`` of each kernel, repeated and centred anew that is the nuclear norm of
    ``R1' (W - w w' / sum w) R2``, whatever the number of copies.
    """
    xp = namespace(rows)
    counts = as_like(weights, rows)
    roots = [_roots(side) for side in (rows, columns)]
    table = np.empty((len(weights), len(row)))
    for draw, w in enumerate(counts):
        # A root of what centres repeated conditions: conditions that were not drawn are left out.
        drawn = xp.nonzero(w)[0] if xp is np else xp.nonzero(w)[:, 0]
        share = w[drawn]
        turned = []
        for side in roots:
            held = side[:, drawn]
            mean = xp.einsum("c,rck->rk", share, held) / share.sum()
            turned.append((held - mean[:, None]) * xp.sqrt(share)[:, None])
        size = [xp.sqrt((side * side).sum((-1, -2))) for side in turned]
        nuclear = xp.stack(
            [xp.linalg.svdvals(turned[0][i].T @ turned[1][j]).sum() for i, j in zip(row.tolist(), column.tolist())]
        )
        scale = size[0][row] * size[1][column]
        table[draw] = to_numpy(nuclear / xp.where(scale > 0, scale, xp.full_like(scale, float("nan"))))
    return table


def _roots(rdms: Any) -> Any:
    """Roots (n_rdms, n, n) of the centred kernels, negative eigenvalues clipped."""
    xp = namespace(rdms)
    values, vectors = xp.linalg.eigh(centred_kernels(rdms))
    return vectors * xp.sqrt(xp.clip(values, 0, None))[:, None, :]
