"""Voxel weights brought into the manifold of natural embeddings, by a softmax over a bank of any size.

Luo et al. 2024 (ICLR), BrainSCUBA: a voxel's weights point at what it likes, but not at anything that a picture could
have as its embedding. They are replaced by an average of natural embeddings, weighted by how well each agrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brainalign.analysis.captions.bank import BLOCK, bank_parts, checked_directions, tile_rows, unit_blocks
from brainalign.arrays import resolve_device
from brainalign.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["project_to_manifold"]


def project_to_manifold(
    weights: Any, bank: Any, *, beta: float = 150.0, block: int = BLOCK, device: str = "cpu"
) -> np.ndarray:
    """Replace each voxel's weights by a softmax average of natural embeddings.

    With entries of length n and direction d, and weights w: s = softmax(beta <w / |w|, d>); the direction is that of
    sum s d, the length sum s n. The bank passes by once, block after block, under a running maximum: memory is one
    block, one table of products and two numbers a feature and voxel, whatever the size of the bank.

    Parameters
    ----------
    weights : array (n_voxels, n_features)
    bank : Latents, array (n_bank, n_features), or a sequence of these
        Embeddings of natural pictures, in the space that the weights read; memory maps stay on disk.
    beta : float
        Sharpness: 0 is the mean of the bank, infinity its nearest entry.
    block : int
        Entries of the bank at a time; changes nothing but speed and memory.
    device : str
        As `brainalign.arrays.resolve_device` takes it.

    Returns
    -------
    ndarray of float32, shape (n_voxels, n_features)

    Raises
    ------
    DataError
        When weights or entries are not finite or have no direction, widths differ, ids of the bank repeat, or `beta`
        is negative.

    Examples
    --------
    >>> bank = np.array([[2.0, 0.0], [0.0, 4.0]])
    >>> project_to_manifold([[0.3, 0.0]], bank, beta=100.0).round(3).tolist()
    [[2.0, 0.0]]
    >>> project_to_manifold([[0.3, 0.0]], bank, beta=0.0).round(3).tolist()
    [[2.121000051498413, 2.121000051498413]]
    """
    import torch

    if not (np.isfinite(beta) and beta >= 0):
        raise DataError("beta is the sharpness of a softmax", expected="a finite number from 0", found=beta)
    device = resolve_device(device)
    directions = checked_directions(weights)
    parts = bank_parts(bank, n_features=directions.shape[1])
    with torch.no_grad():
        sums = _weighted_sums(torch.from_numpy(directions).to(device) * beta, parts, max(int(block), 1), device)
    direction = sums[:, :-2]
    length = np.linalg.norm(direction, axis=1, keepdims=True)
    # Entries that cancel exactly leave no direction; NaN would hide among other voxels.
    if not length.all():
        raise DataError("the bank averages to nothing", found=f"voxels {np.flatnonzero(length[:, 0] == 0)[:5]}",
                        fix="a larger beta, or a bank of embeddings that are not centred")  # fmt: skip
    return (direction / length * (sums[:, -2:-1] / sums[:, -1:])).astype(np.float32)


def _weighted_sums(scaled: Tensor, parts: list[np.ndarray], block: int, device: str) -> np.ndarray:
    """Sums of direction, length and 1 over the bank, weighted by exp(product - largest product), in float64."""
    import torch

    n_voxels, n_features = scaled.shape
    peak = torch.full((n_voxels,), -torch.inf, device=device)
    kind = torch.float32 if device.startswith("mps") else torch.float64
    sums = torch.zeros((n_voxels, n_features + 2), dtype=kind, device=device)
    step = tile_rows(min(block, max(map(len, parts))), device)
    for _, rows in unit_blocks(parts, block=block, device=device):
        entries = rows[:, :-2].T
        for at in range(0, n_voxels, step):
            some = slice(at, at + step)
            products = scaled[some] @ entries
            top = torch.maximum(peak[some], products.amax(1))
            sums[some] *= torch.exp(peak[some] - top)[:, None]
            sums[some] += products.sub_(top[:, None]).exp_() @ rows
            peak[some] = top
    return sums.cpu().numpy().astype(np.float64)
