"""Cosines and correlations of many vectors with many, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite
from brainalign.errors import DataError

__all__ = ["cosines", "flat_rows", "row_correlations", "row_moments", "similarity"]

_FEATURES_PER_BLOCK = 8192


def similarity(queries: ArrayLike, gallery: ArrayLike, *, kind: str = "cosine") -> NDArray[np.float64]:
    """Similarity of every query with every gallery entry, accumulated in float64 over blocks of features.

    Parameters
    ----------
    queries : array (n_queries, ...features)
    gallery : array (n_gallery, ...features)
    kind : {"cosine", "correlation"}

    Returns
    -------
    array (n_queries, n_gallery)
        0 for a vector without direction (all zeros; for a correlation, all equal).

    Examples
    --------
    >>> similarity([[1.0, 0.0]], [[2.0, 0.0], [0.0, 3.0]])
    array([[1., 0.]])
    """
    left, right = flat_rows(queries, "queries"), flat_rows(gallery, "gallery")
    if left.shape[1] != right.shape[1]:
        raise DataError("queries and gallery have different features", expected=left.shape[1], found=right.shape[1])
    return cosines(left, right, row_moments(left, kind), row_moments(right, kind))


def flat_rows(values: Any, name: str) -> NDArray:
    """Check vectors (n, ...features) and flatten them to (n, n_features)."""
    array = np.asarray(values)
    if array.ndim < 2:
        raise DataError(f"{name} must be (n_stimuli, ...features)", found=f"shape {array.shape}")
    array = array.reshape(len(array), -1)
    check_finite(array, name=name)
    return array


def _feature_blocks(rows: NDArray) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    for start in range(0, rows.shape[1], _FEATURES_PER_BLOCK):
        block = slice(start, start + _FEATURES_PER_BLOCK)
        yield block, rows[:, block].astype(np.float64)


def row_moments(rows: NDArray, kind: str) -> tuple[NDArray, NDArray]:
    """What a row is shifted by (its mean, for a correlation) and its norm then; a row without direction gets inf."""
    if kind not in ("cosine", "correlation"):
        raise DataError(f"kind={kind!r}", expected="'cosine' or 'correlation'")
    shift = np.zeros(len(rows))
    if kind == "correlation":
        shift = sum(block.sum(axis=1) for _, block in _feature_blocks(rows)) / rows.shape[1]
    square = sum(np.sum((block - shift[:, None]) ** 2, axis=1) for _, block in _feature_blocks(rows))
    norm = np.sqrt(square)
    norm[norm <= 1e-13 * np.abs(shift) * np.sqrt(rows.shape[1])] = np.inf
    return shift, norm


def cosines(
    left: NDArray, right: NDArray, left_moments: tuple[NDArray, NDArray], right_moments: tuple[NDArray, NDArray]
) -> NDArray[np.float64]:
    """Cosines of rows whose moments are known, accumulated over blocks of features."""
    table = np.zeros((len(left), len(right)))
    for block, values in _feature_blocks(left):
        table += (values - left_moments[0][:, None]) @ (right[:, block] - right_moments[0][:, None]).T
    return table / (left_moments[1][:, None] * right_moments[1])


def row_correlations(left: NDArray, right: NDArray) -> NDArray[np.float64]:
    """Pearson correlation of row i with row i, accumulated over blocks of features; 0 for a row without spread."""
    one, two = row_moments(left, "correlation"), row_moments(right, "correlation")
    total = np.zeros(len(left))
    for block, values in _feature_blocks(left):
        total += np.einsum("ij,ij->i", values - one[0][:, None], right[:, block] - two[0][:, None])
    return total / (one[1] * two[1])
