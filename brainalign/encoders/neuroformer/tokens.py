"""Spike counts as sequences of tokens, (unit, bin) in the order of time, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch

from brainalign.errors import DataError

__all__ = ["END", "N_MARKS", "PAD", "START", "SpikeTokens", "to_counts", "to_tokens"]

END, START, PAD = 0, 1, 2
"""Marks, as numbers after the last unit and after the last bin."""
N_MARKS = 3


class SpikeTokens(NamedTuple):
    """A start, one token a spike, an end, and padding: the unit and the bin of each, (n, length) of int64."""

    unit: torch.Tensor
    time: torch.Tensor


def to_tokens(counts: torch.Tensor) -> SpikeTokens:
    """Tokens of spike counts, by bin and within a bin by unit; a count of two makes two equal tokens.

    That order makes one sequence of each table of counts, so that the probability of the sequence is that of the table.

    Parameters
    ----------
    counts : tensor of int64 (n, n_units, n_bins)

    Returns
    -------
    SpikeTokens
        As long as the fullest sample and its two marks.

    Examples
    --------
    >>> tokens = to_tokens(torch.tensor([[[0, 1], [2, 0]], [[0, 0], [0, 0]]]))
    >>> tokens.unit.tolist()
    [[3, 1, 1, 0, 2], [3, 2, 4, 4, 4]]
    >>> tokens.time.tolist()
    [[3, 0, 0, 1, 2], [3, 2, 4, 4, 4]]
    """
    n, n_units, n_bins = counts.shape
    flat = counts.transpose(1, 2).flatten(1)
    row, place = flat.nonzero(as_tuple=True)
    times = flat[row, place]
    row, place = row.repeat_interleave(times), place.repeat_interleave(times)
    sizes = flat.sum(dim=1)
    position = torch.arange(len(row), device=row.device) - (sizes.cumsum(0) - sizes)[row]
    every = torch.arange(n, device=row.device)
    made = []
    for n_known, values in ((n_units, place % n_units), (n_bins, place // n_units)):
        sequence = counts.new_full((n, int(sizes.max()) + 2), n_known + PAD)
        sequence[:, 0] = n_known + START
        sequence[row, position + 1] = values
        sequence[every, sizes + 1] = n_known + END
        made.append(sequence)
    return SpikeTokens(*made)


def to_counts(tokens: SpikeTokens, n_units: int, n_bins: int) -> torch.Tensor:
    """Spike counts (n, n_units, n_bins) of tokens, the reverse of `to_tokens`.

    Raises
    ------
    DataError
        When a sequence does not begin with a start, lacks its end, has something behind it, names an unknown unit or
        bin, or runs backwards.

    Examples
    --------
    >>> counts = torch.randint(0, 3, (5, 4, 6))
    >>> torch.equal(to_counts(to_tokens(counts), 4, 6), counts)
    True
    """
    unit, time = tokens
    if unit.shape != time.shape or unit.ndim != 2 or unit.shape[1] < 2:
        raise DataError("units and bins are two tables alike", found=f"{tuple(unit.shape)}, {tuple(time.shape)}")
    length = (unit != n_units + PAD).sum(dim=1, keepdim=True)
    place = torch.arange(unit.shape[1], device=unit.device).expand_as(unit)
    inside = (place > 0) & (place < length - 1)
    for name, values, n_known in (("unit", unit, n_units), ("bin", time, n_bins)):
        expected = torch.where(place == 0, n_known + START, torch.where(place < length, n_known + END, n_known + PAD))
        if bool(((values != expected) & ~inside).any()) or bool((length < 2).any()):
            raise DataError("a sequence is a start, spikes, an end, and padding", found=f"{name}s in another order")
        if bool((inside & ((values < 0) | (values >= n_known))).any()):
            wrong = values[inside & ((values < 0) | (values >= n_known))]
            raise DataError(f"a spike of an unknown {name}", expected=f"0 to {n_known - 1}", found=int(wrong[0]))
    key = time * n_units + unit
    if bool(((key.diff(dim=1) < 0) & inside[:, 1:] & inside[:, :-1]).any()):
        raise DataError("tokens run backwards", expected="spikes by bin, and within a bin by unit")
    counts = unit.new_zeros(len(unit), n_bins * n_units)
    row = torch.arange(len(unit), device=unit.device)[:, None].expand_as(unit)
    counts.index_put_((row[inside], key[inside]), torch.ones_like(key[inside]), accumulate=True)
    return counts.unflatten(1, (n_bins, n_units)).transpose(1, 2)
