"""A bank of embeddings of any size, walked through in blocks; and the entries nearest to given vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainalign.arrays import as_matrix, resolve_device
from brainalign.errors import DataError
from brainalign.tables import check_unique_ids

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["bank_ids", "bank_parts", "bank_space", "checked_directions", "nearest", "unit_blocks"]

BLOCK = 4096
"""Entries of the bank at a time."""
_TILE_BYTES = {"cpu": 2**22, "cuda": 2**28, "mps": 2**26}
"""Budget of one table of products: on a CPU it should stay in the cache between its four uses."""


def bank_parts(bank: Any, *, n_features: int | None = None) -> list[np.ndarray]:
    """The arrays (n, n_features) that a bank is made of, still on disk where they are mapped.

    Parameters
    ----------
    bank : Latents, array (n, n_features), or a sequence of these
        Several make one bank, such as the shards of a large one. Latents of more axes, such as pixels, are rows.
    n_features : int, optional
        Width that they must have.

    Raises
    ------
    DataError
        When the bank is empty, a part has another width or is not numeric, or ids repeat.
    """
    given = list(bank) if isinstance(bank, list | tuple) else [bank]
    parts = [np.asanyarray(one.values if hasattr(one, "ids") else one) for one in given]
    bank_ids(bank)
    parts = [part.reshape(len(part), -1) if part.ndim > 2 and len(part) else part for part in parts]
    for part in parts:
        if part.ndim != 2 or part.dtype.kind != "f" or (n_features is not None and part.shape[1] != n_features):
            raise DataError(
                "the bank does not fit these weights",
                expected=f"embeddings (n, {'n_features' if n_features is None else n_features}) of floats",
                found=f"{part.shape} of {part.dtype}",
                fix="take the bank from the network whose embeddings the encoder was fitted on",
            )
    if not sum(map(len, parts)):
        raise DataError("the bank is empty", expected="one embedding or more", found=0)
    return parts


def bank_ids(bank: Any) -> list[str] | None:
    """The ids of a bank in order, each once; None where it is made of bare arrays."""
    given = list(bank) if isinstance(bank, list | tuple) else [bank]
    if not all(hasattr(one, "ids") for one in given):
        return None
    ids = [one for part in given for one in part.ids]
    if len(given) > 1:  # one Latents has checked its own
        check_unique_ids(ids, what="ids of the bank")
    return ids


def bank_space(bank: Any) -> str | None:
    """The one space that a bank lies in; None where it is made of bare arrays."""
    given = list(bank) if isinstance(bank, list | tuple) else [bank]
    spaces = sorted({one.space for one in given if hasattr(one, "space")})
    if len(spaces) > 1:
        raise DataError("the parts of the bank lie in different spaces", expected="one space", found=spaces)
    return spaces[0] if spaces else None


def unit_blocks(
    parts: Sequence[np.ndarray], *, block: int, device: str, unit: bool = True
) -> Iterator[tuple[int, Tensor]]:
    """Blocks of the bank in float32 on `device`: row number of the first, and (n, n_features + 2).

    The last two columns hold the length of each entry and 1; the others its direction (or itself, where not `unit`).

    Raises
    ------
    DataError
        When an entry is not finite, or has no direction.
    """
    import torch

    start = 0
    for part in parts:
        for first in range(0, len(part), block):
            values = np.asarray(part[first : first + block])
            rows = torch.ones((len(values), values.shape[1] + 2), dtype=torch.float32, device=device)
            rows[:, :-2] = torch.from_numpy(np.array(values, dtype=np.float32, order="C")).to(device)
            rows[:, -2] = length = torch.linalg.vector_norm(rows[:, :-2], dim=1)
            if not bool(torch.isfinite(length).all()) or (unit and not bool((length > 0).all())):
                bad = int((~torch.isfinite(length) | (length == 0)).nonzero()[0])
                raise DataError(
                    "an embedding of the bank has no direction",
                    expected="finite numbers, not all 0",
                    found=f"entry {start + bad} of length {float(length[bad])}",
                    fix="leave the entry out of the bank",
                )
            if unit:
                rows[:, :-2] /= length[:, None]
            yield start, rows
            start += len(values)


def checked_directions(weights: Any, *, name: str = "weights") -> np.ndarray:
    """Rows of unit length, float32.

    Raises
    ------
    DataError
        When a row is not finite or has no direction.
    """
    matrix = as_matrix(weights, name=name).astype(np.float64)
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not length.all():
        flat = np.flatnonzero(length[:, 0] == 0)
        raise DataError(
            f"{len(flat)} rows of the {name} are all 0 and point nowhere",
            expected="a direction for each voxel",
            found=f"rows {flat[:5].tolist()}",
            fix="select the units that the model predicts at all",
        )
    return (matrix / length).astype(np.float32)


def tile_rows(n_columns: int, device: str) -> int:
    """How many vectors at a time meet a block of the bank."""
    return max(16, _TILE_BYTES[device.split(":")[0]] // (4 * n_columns))


def nearest(
    queries: Any, bank: Any, *, k: int = 1, cosine: bool = True, block: int = BLOCK, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` entries of a bank most like each query; memory is one block beside the result.

    Parameters
    ----------
    queries : array (n_queries, n_features)
    bank : as in `bank_parts`
    k : int
    cosine : bool
        False takes products with the entries as they are, which for the weights of a voxel is its predicted activity
        (less the intercept).
    block : int
        Entries of the bank at a time.
    device : str

    Returns
    -------
    rows : ndarray of int, shape (n_queries, k)
        Best first; of equal ones the earlier.
    products : ndarray of float32, shape (n_queries, k)

    Raises
    ------
    DataError
        When widths differ, `k` is not within the bank, or a query or entry is not finite or has no direction.

    Examples
    --------
    >>> rows, products = nearest([[1.0, 0.2]], np.array([[0.0, 9.0], [2.0, 0.0], [1.0, 1.0]]), k=2)
    >>> rows.tolist(), products.round(2).tolist()
    ([[1, 2]], [[0.9800000190734863, 0.8299999833106995]])
    """
    import torch

    device = resolve_device(device)
    raw = as_matrix(queries, name="queries")
    parts = bank_parts(bank, n_features=raw.shape[1])
    n_bank = sum(map(len, parts))
    if not 1 <= k <= n_bank:
        raise DataError("k nearest entries", expected=f"1 to {n_bank}, the bank", found=k)
    vectors = checked_directions(raw, name="queries") if cosine else raw.astype(np.float32)
    asked = torch.from_numpy(vectors).to(device)
    best = torch.full((len(asked), k), -torch.inf, device=device)
    where = torch.full((len(asked), k), n_bank, dtype=torch.int64, device=device)
    for start, rows in unit_blocks(parts, block=max(block, 1), device=device, unit=cosine):
        step = tile_rows(len(rows), device)
        for at in range(0, len(asked), step):
            some = slice(at, at + step)
            found = asked[some] @ rows[:, :-2].T
            top, place = found.topk(min(k, len(rows)), dim=1)
            values = torch.cat([best[some], top], 1)
            numbers = torch.cat([where[some], place + start], 1)
            # Sorted by number first, then stably by value: ties go to the earlier entry at any block size.
            order = numbers.argsort(dim=1)
            values, numbers = values.gather(1, order), numbers.gather(1, order)
            order = values.argsort(dim=1, descending=True, stable=True)[:, :k]
            best[some], where[some] = values.gather(1, order), numbers.gather(1, order)
    return where.cpu().numpy(), best.cpu().numpy()
