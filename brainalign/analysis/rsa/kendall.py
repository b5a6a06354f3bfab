"""Kendall's tau of many RDMs with many, in O(L log L) by sorting: the same on numpy and torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.analysis.rsa.backend import namespace
from brainalign.arrays import row_blocks

__all__ = ["kendall"]

_BASE = 24  # blocks up to this long are counted by comparing all pairs
_BLOCK_BYTES = 2**20  # of a block of columns: what is walked through many times stays in the processor's cache


def kendall(rows: Any, columns: Any, variant: str) -> Any:
    """Kendall's tau-a or tau-b of every row with every column.

    Parameters
    ----------
    rows : array or tensor (n_rows, n_entries)
    columns : array or tensor (n_columns, n_entries)
    variant : {"a", "b"}
        What the difference of concordant and discordant pairs is divided by: all pairs, or the geometric mean of
        those that either side does not tie.

    Returns
    -------
    array or tensor (n_rows, n_columns)
        In float64. With a constant side tau-b is NaN and tau-a 0.
    """
    xp, n = namespace(rows), rows.shape[1]
    n_pairs = n * (n - 1) // 2
    row_ranks = _dense_ranks(rows)
    row_ties = _tied_pairs(_sorted(row_ranks))
    parts = []
    for block in row_blocks(len(columns), 4 * n, budget=_BLOCK_BYTES):
        order = xp.argsort(columns[block], -1)
        starts = _group_starts(_take(columns[block], order))
        ties = n_pairs - starts.sum(-1)
        tied = bool((ties > 0).any())
        balance = []
        for rank, own in zip(row_ranks, row_ties):
            # In the order of the column, entries of a smaller row rank after those of a larger one are discordant.
            sequence, both = rank[order], 0
            if tied:
                # Pairs that the column ties are put in the order of the row, so that they are not.
                key = _sorted(starts * n + sequence)
                sequence, both = key % n, _tied_pairs(key)
            balance.append(_float64(n_pairs - own - ties + both - 2 * _inversions(sequence)))
        table = xp.stack(balance)
        if variant == "b":
            free = _float64(n_pairs - row_ties)[:, None], _float64(n_pairs - ties)[None, :]
            scale = xp.sqrt(free[0]) * xp.sqrt(free[1])
            table = table / xp.where(scale > 0, scale, xp.full_like(scale, float("nan")))
        parts.append(table if variant == "b" else table / n_pairs)
    return xp.concatenate(parts, 1)


def _sorted(x: Any) -> Any:
    return np.sort(x, axis=-1) if namespace(x) is np else namespace(x).sort(x, dim=-1).values


def _float64(x: Any) -> Any:
    return x.astype(np.float64) if namespace(x) is np else x.double()


def _take(x: Any, order: Any) -> Any:
    xp = namespace(x)
    return np.take_along_axis(x, order, axis=-1) if xp is np else xp.take_along_dim(x, order, dim=-1)


def _positions(n: int, like: Any, dtype: Any) -> Any:
    xp = namespace(like)
    return xp.arange(n, dtype=dtype, **({} if xp is np else {"device": like.device}))


def _group_starts(ordered: Any) -> Any:
    """Position at which the run of equal values begins, for every entry of sorted rows."""
    xp = namespace(ordered)
    position = _positions(ordered.shape[-1], ordered, xp.int64)
    starts = xp.zeros_like(ordered, dtype=xp.int64) + position
    repeats = ordered[..., 1:] == ordered[..., :-1]
    if not bool(repeats.any()):
        return starts
    starts[..., 1:][repeats] = 0
    return np.maximum.accumulate(starts, axis=-1) if xp is np else xp.cummax(starts, dim=-1).values


def _dense_ranks(x: Any) -> Any:
    """Integer ranks from 0, the smallest of its group for a tie."""
    xp = namespace(x)
    order = xp.argsort(x, -1)
    starts = _group_starts(_take(x, order))
    if xp is not np:
        return xp.empty_like(order).scatter_(-1, order, starts)
    ranks = np.empty(x.shape, dtype=np.int32)
    np.put_along_axis(ranks, order, starts.astype(np.int32), axis=-1)
    return ranks


def _tied_pairs(ordered: Any) -> Any:
    """Number of tied pairs in every sorted row."""
    n = ordered.shape[-1]
    return n * (n - 1) // 2 - _group_starts(ordered).sum(-1)


def _inversions(x: Any) -> Any:
    """Pairs of entries of each row (n_rows, n) that stand in the wrong order; ties do not count.

    A merge sort of all blocks of all rows at once: after two halves are sorted together, with a bit that says which
    half an entry came from, the positions of the second half's entries tell how many of the first are larger.
    """
    xp = namespace(x)
    n_rows, n = x.shape
    n_blocks = 1
    while n > _BASE * n_blocks:
        n_blocks *= 2
    width = -(-n // n_blocks)
    padded = xp.full((n_rows, n_blocks * width), n, dtype=xp.int32, **({} if xp is np else {"device": x.device}))
    padded[:, :n] = x
    blocks = padded.reshape(n_rows, n_blocks, width)
    # Entries of a block lie in rows here, so that one comparison runs over all blocks.
    across = xp.asarray(blocks.swapaxes(1, 2), **({"order": "C"} if xp is np else {}))
    larger = xp.zeros_like(across, dtype=xp.uint8)
    for distance in range(1, width):
        larger[:, :-distance] += across[:, :-distance] > across[:, distance:]
    total = larger.sum((-1, -2))
    keys = blocks * 2
    while n_blocks > 1:
        n_blocks, half, width = n_blocks // 2, width, 2 * width
        keys.reshape(n_rows, n_blocks, 2, half)[:, :, 1] |= 1
        keys = _sorted(keys.reshape(n_rows, n_blocks, width))
        from_second = keys & 1
        keys ^= from_second
        from_second *= _positions(width, x, xp.int32)
        # Own order of the second half, plus the entries of the first half that are not larger.
        not_larger = from_second.sum((-1, -2)) - n_blocks * half * (half - 1) // 2
        total = total + n_blocks * half * half - not_larger
    return total
