"""Bures similarity and distance of RDMs: the geometry of covariances, for any number of RDMs with any number."""

from __future__ import annotations

from typing import Any

from brainalign.analysis.rsa.backend import namespace
from brainalign.analysis.rsa.condensed import n_conditions, to_square
from brainalign.arrays import row_blocks

__all__ = ["bures", "centred_kernels"]


def bures(rows: Any, columns: Any, *, distance: bool = False) -> Any:
    """Bures similarity, or distance, of the centred kernels ``K = -H D H / 2`` of squared-distance RDMs.

    The fidelity ``F = tr sqrt(K1^½ K2 K1^½)`` is the nuclear norm of ``X'Y`` for any patterns X and Y with these
    distances; the similarity is ``F / sqrt(tr K1 tr K2)`` and the squared distance ``tr K1 + tr K2 - 2 F``, that of
    Procrustes (Harvey et al. 2024, arXiv:2311.11436). rsatoolbox's "bures_metric" is the *squared* distance, which
    does not obey the triangle inequality; here it is the distance.

    Parameters
    ----------
    rows, columns : array or tensor (n_rdms, n_pairs)
        Squared Euclidean distances. Other distances have kernels with negative eigenvalues, which are clipped; the
        result then depends on the order of the two.

    Returns
    -------
    array or tensor (n_rows, n_columns)
        A similarity with an RDM of zeros is NaN.
    """
    xp = namespace(rows)
    parts = []
    for block in row_blocks(len(columns), 32 * n_conditions(rows.shape[-1]) ** 2):
        kernels = centred_kernels(columns[block])
        traces = xp.einsum("kii->k", kernels)
        parts.append(xp.stack([_one_with_many(row, kernels, traces, distance) for row in rows]))
    return xp.concatenate(parts, 1)


def _one_with_many(row: Any, kernels: Any, traces: Any, distance: bool) -> Any:
    xp = namespace(row)
    own = centred_kernels(row[None])[0]
    values, vectors = xp.linalg.eigh(own)
    keep = values > 1e-14 * abs(values[-1])
    # A root with as many columns as there are positive eigenvalues: the rest of the spectrum below is zero.
    root = vectors[:, keep] * xp.sqrt(values[keep])
    spectrum = xp.linalg.eigvalsh(root.T @ kernels @ root)
    fidelity = xp.sqrt(xp.clip(spectrum, 0, None)).sum(-1)
    if distance:
        return xp.sqrt(xp.clip(xp.trace(own) + traces - 2 * fidelity, 0, None))
    scale = xp.clip(xp.trace(own) * traces, 0, None)
    return fidelity / xp.sqrt(xp.where(scale > 0, scale, xp.full_like(scale, float("nan"))))


def centred_kernels(rdms: Any) -> Any:
    """Kernels ``-H D H / 2`` (n_rdms, n, n) of squared distances."""
    square = to_square(rdms)
    mean = square.mean(-1)
    overall = mean.mean(-1)
    return (mean[..., :, None] + mean[..., None, :] - square - overall[..., None, None]) / 2
