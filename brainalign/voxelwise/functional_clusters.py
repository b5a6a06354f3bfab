"""`FunctionalClusters`: groups of voxels, over all subjects, that do the same thing."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import as_matrix, row_blocks
from brainalign.errors import DataError

__all__ = ["FunctionalClusters", "unit_length"]


def unit_length(embeddings: np.ndarray) -> np.ndarray:
    """Rows of length one, float64; a row of zeros stays.

    Examples
    --------
    >>> unit_length(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


class FunctionalClusters(BaseEstimator):
    """Gaussian mixture over the directions of voxel embeddings, with hard labels.

    Embeddings of every subject go in together, so that a cluster holds voxels of the same function wherever and in
    whomever they lie. Voxels of a new subject join the cluster of the embedding nearest to theirs; nothing is fitted
    anew, and the clusters stay what they were.

    Parameters
    ----------
    n_clusters : int
        Fewer are made where there are fewer voxels.
    covariance : {"full", "diag", "tied", "spherical"}
        Of the components.
    regularisation : float
        Added to the variances. Directions have variance 1 / n_dimensions on average.
    seed : int

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_voxels,)
        Cluster of each voxel fitted on, 0 ... `n_clusters_` - 1. A cluster may have no voxel.
    n_clusters_ : int
    directions_ : ndarray, shape (n_voxels, n_dimensions), float32
        Embeddings fitted on, of unit length; new ones are compared with these.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> embeddings = np.repeat(np.eye(3), 20, axis=0) + 0.1 * rng.standard_normal((60, 3))
    >>> clusters = FunctionalClusters(3).fit(embeddings)
    >>> clusters.assign(2 * np.eye(3)).tolist() == clusters.labels_[[0, 20, 40]].tolist()
    True
    """

    def __init__(
        self, n_clusters: int = 128, *, covariance: str = "full", regularisation: float = 1e-4, seed: int = 0
    ) -> None:
        self.n_clusters = n_clusters
        self.covariance = covariance
        self.regularisation = regularisation
        self.seed = seed

    def fit(self, embeddings: Any, y: Any = None) -> FunctionalClusters:
        """Cluster voxels.

        Parameters
        ----------
        embeddings : array, shape (n_voxels, n_dimensions)
            Of all subjects, one below the other.

        Raises
        ------
        DataError
            When they are not finite, or the number of clusters makes no sense.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        rows = unit_length(as_matrix(embeddings, name="embeddings"))
        if self.n_clusters != int(self.n_clusters) or self.n_clusters < 1:
            raise DataError("n_clusters must be a whole number of at least 1", found=self.n_clusters)
        self.n_clusters_ = min(int(self.n_clusters), len(rows))
        self.directions_ = rows.astype(np.float32)
        if self.n_clusters_ == 1:
            self.labels_ = np.zeros(len(rows), dtype=np.int64)
            return self
        mixture = GaussianMixture(
            self.n_clusters_, covariance_type=self.covariance, reg_covar=self.regularisation, random_state=self.seed
        )
        with warnings.catch_warnings():
            # Equal embeddings leave clusters empty, and hard labels settle long before the likelihood does.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.labels_ = mixture.fit(rows).predict(rows).astype(np.int64)
        return self

    def assign(self, new: Any) -> np.ndarray:
        """Clusters of further voxels: that of the nearest embedding fitted on.

        Parameters
        ----------
        new : array, shape (n_new, n_dimensions)

        Returns
        -------
        ndarray of int, shape (n_new,)
        """
        return self.labels_[self.nearest(new)]

    def nearest(self, new: Any) -> np.ndarray:
        """For each of further voxels, the number of the voxel fitted on whose embedding points the most alike.

        Raises
        ------
        DataError
            When embeddings have another number of dimensions than those fitted on, or are not finite.
        """
        check_is_fitted(self, "labels_")
        rows = unit_length(as_matrix(new, name="embeddings")).astype(np.float32)
        if rows.shape[1] != self.directions_.shape[1]:
            raise DataError(
                "these embeddings have another number of dimensions than those fitted on",
                expected=self.directions_.shape[1],
                found=rows.shape[1],
                fix="take embeddings of the same universal encoder",
            )
        blocks = row_blocks(len(rows), 4 * len(self.directions_))
        return np.concatenate([(rows[block] @ self.directions_.T).argmax(axis=1) for block in blocks])
