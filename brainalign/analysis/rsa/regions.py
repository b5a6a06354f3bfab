"""Which summary of a representation tells regions (or layers) apart, across individuals or seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import to_numpy
from brainalign.arrays import check_finite
from brainalign.errors import DataError

__all__ = ["Identification", "identify_regions"]


@dataclass(frozen=True)
class Identification:
    """Nearest-centroid identification of regions, leaving out one individual at a time.

    Attributes
    ----------
    accuracy : float
        Share of (individual, region) pairs that were recognised; chance is 1 / n_regions.
    confusion : array (n_regions, n_regions)
        Row: the true region; entry: share of individuals in which it was taken for the column's.
    subject_accuracy : array (n_subjects,)
    regions : tuple of str
    """

    accuracy: float
    confusion: NDArray[np.float64]
    subject_accuracy: NDArray[np.float64]
    regions: tuple[str, ...]

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """Share of a region's occurrences that were recognised, (n_regions,)."""
        return np.diagonal(self.confusion).copy()

    @property
    def specificity(self) -> NDArray[np.float64]:
        """Share of the other regions' occurrences that were not taken for this one, (n_regions,)."""
        n = len(self.regions)
        return 1 - (self.confusion.sum(axis=0) - np.diagonal(self.confusion)) / (n - 1)

    def table(self) -> pd.DataFrame:
        """Sensitivity and specificity, one row per region."""
        return pd.DataFrame(
            {"sensitivity": self.sensitivity, "specificity": self.specificity},
            index=pd.Index(self.regions, name="region"),
        )


def identify_regions(rdms: ArrayLike, *, regions: ArrayLike | None = None, method: str = "pearson") -> Identification:
    """Recognise the region from its RDM, by the mean RDM of each region in all *other* individuals.

    Parameters
    ----------
    rdms : array (n_subjects, n_regions, n_pairs)
        Any summary of representations: distances, `rgtm` or `rgdm` of them.
    regions : array (n_regions,) of str, optional
    method : {"pearson", "cosine", "euclidean"}
        Nearest by correlation or cosine (RDMs are normalised before they are averaged), or by distance.

    Returns
    -------
    Identification
    """
    x = np.asarray(to_numpy(rdms), dtype=np.float64)
    if x.ndim != 3 or x.shape[0] < 2 or x.shape[1] < 2:
        raise DataError(
            "identification needs individuals and regions",
            expected="(n_subjects >= 2, n_regions >= 2, n_pairs)",
            found=x.shape,
        )
    check_finite(x.reshape(-1, x.shape[2]), name="rdms")
    if method not in ("pearson", "cosine", "euclidean"):
        raise DataError(f"no nearest centroid by {method!r}", expected="'pearson', 'cosine' or 'euclidean'")
    n_subjects, n_regions, _ = x.shape
    names = [str(name) for name in (range(n_regions) if regions is None else np.asarray(regions))]
    if len(names) != n_regions:
        raise DataError("regions must name every region", expected=n_regions, found=len(names))
    x = x - x.mean(axis=2, keepdims=True) if method == "pearson" else x
    if method != "euclidean":
        norm = np.linalg.norm(x, axis=2, keepdims=True)
        x = np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
    total = x.sum(axis=0)
    taken_for = np.empty((n_subjects, n_regions), dtype=int)
    for subject in range(n_subjects):
        centroids = (total - x[subject]) / (n_subjects - 1)
        closeness = x[subject] @ centroids.T
        if method == "euclidean":
            closeness = 2 * closeness - np.sum(centroids**2, axis=1)
        else:
            closeness = closeness / np.maximum(np.linalg.norm(centroids, axis=1), 1e-300)
        taken_for[subject] = closeness.argmax(axis=1)
    right = taken_for == np.arange(n_regions)
    confusion = np.stack([np.bincount(column, minlength=n_regions) for column in taken_for.T]) / n_subjects
    return Identification(float(right.mean()), confusion, right.mean(axis=1), tuple(names))
