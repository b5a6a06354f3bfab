"""Classifiers of covariance matrices: tangent space for any linear machine, and minimum distance to a class mean.

The algorithms of Barachant et al. (2010, LVA/ICA; 2012, IEEE TBME 59, 920-928), on the means and logarithms of
`brainalign.bci.geometry`, which take all matrices at once. Two classes or more; labels of any kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.utils.validation import check_is_fitted

from brainalign.bci.geometry import (
    as_vectors,
    distances_to,
    from_tangent,
    mean_and_logarithms,
    riemannian_mean,
    tangent_vectors,
)
from brainalign.errors import DataError

__all__ = ["MDM", "FgMDM", "TangentSpace"]


class TangentSpace(TransformerMixin, BaseEstimator):
    """Matrices to vectors in the tangent space at the Riemannian mean of the training matrices.

    Parameters
    ----------
    tolerance : float
        Of the mean, see `brainalign.bci.riemannian_mean`; at the default, features are off by about a hundred
        thousandth of their spread.

    Attributes
    ----------
    mean_ : ndarray (d, d)

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((6, 3, 50))
    >>> TangentSpace().fit_transform(X @ X.swapaxes(1, 2)).shape
    (6, 6)
    """

    def __init__(self, *, tolerance: float = 1e-5) -> None:
        self.tolerance = tolerance

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Find the mean.

        Parameters
        ----------
        X : array (n_trials, d, d), symmetric positive definite
        y : ignored

        Raises
        ------
        DataError
            When a matrix is not positive definite.
        """
        self.mean_ = riemannian_mean(X, tolerance=self.tolerance)
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None) -> NDArray[np.float64]:
        """`fit`, then `transform`, with the logarithms that the mean was found by."""
        self.mean_, logs = mean_and_logarithms(X, tolerance=self.tolerance)
        return as_vectors(logs)

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Vectors (n_trials, d (d + 1) / 2)."""
        check_is_fitted(self, "mean_")
        return tangent_vectors(X, self.mean_)


class _ByDistance(ClassifierMixin, BaseEstimator, ABC):
    """Decides for the nearest class; a subclass says how far each is (`transform`)."""

    classes_: NDArray

    def __init__(self, *, tolerance: float = 1e-5) -> None:
        self.tolerance = tolerance

    def predict(self, X: ArrayLike) -> NDArray:
        """Class of each matrix."""
        nearest = self.transform(X).argmin(axis=1)
        return self.classes_[nearest]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Softmax of the negative squared distances, (n_trials, n_classes)."""
        return softmax(-np.square(self.transform(X)), axis=1)

    @abstractmethod
    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Distance to each class, (n_trials, n_classes)."""


class MDM(_ByDistance):
    """Minimum distance to mean: the class whose Riemannian mean is nearest.

    Parameters
    ----------
    tolerance : float
        Of the means.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    means_ : ndarray (n_classes, d, d)

    Examples
    --------
    >>> rng, y = np.random.default_rng(0), np.repeat(["quiet", "loud"], 10)
    >>> X = rng.standard_normal((20, 3, 50)) * np.where(y == "loud", 3.0, 1.0)[:, None, None]
    >>> C = X @ X.swapaxes(1, 2)
    >>> MDM().fit(C, y).score(C, y)
    1.0
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Mean of each class.

        Parameters
        ----------
        X : array (n_trials, d, d), symmetric positive definite
        y : array (n_trials,)

        Raises
        ------
        DataError
            When there is one class only, or a matrix is not positive definite.
        """
        matrices, labels, self.classes_ = _labelled(X, y)
        self.means_ = np.stack(
            [riemannian_mean(matrices[labels == one], tolerance=self.tolerance) for one in self.classes_]
        )
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Distance to each class mean, (n_trials, n_classes)."""
        check_is_fitted(self, "means_")
        return np.stack([distances_to(X, mean) for mean in self.means_], axis=1)


class FgMDM(_ByDistance):
    """Fisher geodesic minimum distance to mean: `MDM` after what does not discriminate is projected out.

    In the tangent space at the mean of all training matrices, a linear discriminant with shrunk covariance spans the
    directions that tell classes apart; what lies across them is taken away.

    Parameters
    ----------
    tolerance : float
        Of the means.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    mean_ : ndarray (d, d)
    projection_ : ndarray (n_directions, d (d + 1) / 2)
        Orthonormal rows.
    mdm_ : MDM

    Examples
    --------
    >>> rng, y = np.random.default_rng(0), np.repeat([0, 1], 20)
    >>> X = rng.standard_normal((40, 3, 50))
    >>> X[y == 1, 0] *= 2
    >>> C = X @ X.swapaxes(1, 2)
    >>> FgMDM().fit(C, y).score(C, y)
    1.0
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Find the directions, then the class means; parameters and errors as of `MDM.fit`."""
        matrices, labels, self.classes_ = _labelled(X, y)
        self.mean_, logs = mean_and_logarithms(matrices, tolerance=self.tolerance)
        vectors = as_vectors(logs)
        weights = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(vectors, labels).coef_
        # Vectors at their mean sum to zero: K classes span K - 1 directions, and a K-th would be rounding.
        self.projection_ = np.linalg.svd(weights, full_matrices=False)[2][: len(self.classes_) - 1]
        self.mdm_ = MDM(tolerance=self.tolerance).fit(self._filtered(vectors), labels)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Distance to each class mean after the projection, (n_trials, n_classes)."""
        check_is_fitted(self, "mdm_")
        return self.mdm_.transform(self._filtered(tangent_vectors(X, self.mean_)))

    def _filtered(self, vectors: NDArray) -> NDArray[np.float64]:
        return from_tangent(vectors @ self.projection_.T @ self.projection_, self.mean_)


def _labelled(X: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray, NDArray]:
    """Matrices, labels and classes."""
    matrices, labels = np.asarray(X, dtype=np.float64), np.asarray(y)
    if labels.shape != matrices.shape[:1]:
        raise DataError("each matrix needs a label", expected=matrices.shape[:1], found=labels.shape)
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DataError("a classifier needs two classes", found=f"{classes.tolist()} in {len(labels)} trials")
    return matrices, labels, classes
