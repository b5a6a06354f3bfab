"""Shared spaces of several people who followed the same story or film: what their responses have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from brainalign.arrays import check_finite
from brainalign.errors import DataError

__all__ = ["CorrelatedComponents", "SharedResponseModel"]


class CorrelatedComponents(BaseEstimator):
    """Weighted sums of units, the same in everyone, that correlate most between people.

    For people whose units correspond (parcels, hubs, sensors). Maximises the covariance between people over that
    within people, a generalised eigenvalue problem.

    Parameters
    ----------
    n_components : int
    shrinkage : float, 0 to 1
        Of the covariance within people towards a multiple of the identity.

    Attributes
    ----------
    filters_ : array (n_units, n_components)
        Of unit variance within people, on the z-scored responses.
    patterns_ : array (n_units, n_components)
        Forward model: how each component shows in the units (Haufe et al. 2014).
    correlations_ : array (n_components,)
        Mean correlation between people in the training data, over all pairs; descending where shrinkage is 0.

    References
    ----------
    Dmochowski, Sajda, Dias, Parra 2012, "Correlated components of ongoing EEG point to emotionally laden attention";
    Parra, Haufe, Dmochowski 2019, "Correlated components analysis".

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.standard_normal((200, 1)) @ rng.standard_normal((1, 6))
    >>> people = shared + rng.standard_normal((4, 200, 6))
    >>> space = CorrelatedComponents(n_components=1).fit(people[:, :100])
    >>> space.transform(people[:, 100:]).shape
    (4, 100, 1)
    """

    def __init__(self, n_components: int = 10, *, shrinkage: float = 0.1) -> None:
        self.n_components = n_components
        self.shrinkage = shrinkage

    def fit(self, X: ArrayLike, y: None = None) -> CorrelatedComponents:
        """Fit on responses (n_people, n_samples, n_units) at the same moments.

        Raises
        ------
        DataError
            For fewer than two people, values that are not finite, or more components than units.
        """
        people = _stacked(X)
        n_people, n_samples, n_units = people.shape
        if not 0 <= self.shrinkage <= 1:
            raise DataError("shrinkage out of range", expected="0 to 1", found=self.shrinkage)
        _check_components(self.n_components, n_units)
        self.mean_, self.scale_ = _moments(people)
        scaled = (people - self.mean_[:, None]) / self.scale_[:, None]
        total = scaled.sum(axis=0)
        within = np.einsum("psu,psv->uv", scaled, scaled, optimize=True)
        between = (total.T @ total - within) / (n_people - 1)
        shrunk = (1 - self.shrinkage) * within + self.shrinkage * np.trace(within) / n_units * np.eye(n_units)
        try:
            _, vectors = scipy.linalg.eigh(between, shrunk, subset_by_index=[n_units - self.n_components, n_units - 1])
        except np.linalg.LinAlgError as error:
            raise DataError(
                "the covariance within people is singular",
                found=f"{n_people * n_samples} samples of {n_units} units, shrinkage {self.shrinkage}",
                fix="raise the shrinkage",
            ) from error
        vectors = vectors[:, ::-1]
        variance = np.einsum("uk,uv,vk->k", vectors, within, vectors)
        self.correlations_ = np.einsum("uk,uv,vk->k", vectors, between, vectors) / variance
        self.filters_ = vectors / np.sqrt(variance / (n_people * n_samples))
        covariance = within / (n_people * n_samples)
        self.patterns_ = covariance @ self.filters_ @ np.linalg.pinv(self.filters_.T @ covariance @ self.filters_)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Courses of the components (n_people, n_samples, n_components), for the people of `fit` in their order."""
        people = _stacked(X)
        if people.shape[::2] != self.mean_.shape:
            raise DataError("not the people and units of fit", expected=self.mean_.shape, found=people.shape[::2])
        return ((people - self.mean_[:, None]) / self.scale_[:, None]) @ self.filters_


class SharedResponseModel(BaseEstimator):
    """One time course for everyone, and orthonormal bases that carry it into each person's own units.

    For people whose units do not correspond, such as voxels. Minimises the squared error of ``basis @ shared`` by
    alternating between the shared response and each person's Procrustes rotation; with as many components as units it
    is hyperalignment.

    Parameters
    ----------
    n_components : int
    max_iter : int
    tol : float
        Stops where the error falls by less than this share of the total.
    seed : int
        Of the bases that the iteration starts from.

    Attributes
    ----------
    bases_ : list of array (n_units, n_components)
        Orthonormal columns.
    shared_ : array (n_samples, n_components)
    errors_ : list of float
        Share of the variance not explained, after each iteration.

    References
    ----------
    Chen et al. 2015, "A reduced-dimension fMRI shared response model" (deterministic form); Haxby et al. 2011.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.standard_normal((50, 2))
    >>> people = [shared @ np.linalg.qr(rng.standard_normal((units, 2)))[0].T for units in (5, 8)]
    >>> space = SharedResponseModel(2, max_iter=200, tol=1e-12).fit(people)
    >>> first, second = space.transform(people)
    >>> bool(np.allclose(first, second, atol=1e-4))
    True
    """

    def __init__(self, n_components: int = 20, *, max_iter: int = 50, tol: float = 1e-4, seed: int = 0) -> None:
        self.n_components = n_components
        self.max_iter = max_iter
        self.tol = tol
        self.seed = seed

    def fit(self, X: Sequence[ArrayLike], y: None = None) -> SharedResponseModel:
        """Fit on each person's responses (n_samples, n_units), at the same moments; units may differ."""
        people = _several(X)
        _check_components(self.n_components, min(*(one.shape[1] for one in people), len(people[0])))
        self.means_ = [one.mean(axis=0) for one in people]
        centred = [one - mean for one, mean in zip(people, self.means_, strict=True)]
        total = sum(np.square(one).sum() for one in centred)
        rng = np.random.default_rng(self.seed)
        bases = [np.linalg.qr(rng.standard_normal((one.shape[1], self.n_components)))[0] for one in centred]
        self.errors_: list[float] = []
        for _ in range(self.max_iter):
            self.shared_ = np.mean([one @ basis for one, basis in zip(centred, bases, strict=True)], axis=0)
            bases = [_rotation(one, self.shared_) for one in centred]
            error = sum(
                np.square(one - self.shared_ @ basis.T).sum() for one, basis in zip(centred, bases, strict=True)
            )
            self.errors_.append(float(error / total) if total else 0.0)
            if len(self.errors_) > 1 and self.errors_[-2] - self.errors_[-1] < self.tol:
                break
        self.bases_ = bases
        return self

    def transform(self, X: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
        """Each person's share of the common response (n_samples, n_components), for the people of `fit` in order."""
        people = _several(X)
        expected, found = [len(basis) for basis in self.bases_], [one.shape[1] for one in people]
        if expected != found:
            raise DataError("not the people and units of fit", expected=expected, found=found)
        return [(one - mean) @ basis for one, mean, basis in zip(people, self.means_, self.bases_, strict=True)]

    def basis_of(self, X: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Basis (n_units, n_components) and mean (n_units,) of a new person, from the moments of `fit`."""
        (new,) = _several([X], at_least=1)
        if len(new) != len(self.shared_):
            raise DataError("not the moments of fit", expected=len(self.shared_), found=len(new))
        _check_components(self.n_components, new.shape[1])
        mean = new.mean(axis=0)
        return _rotation(new - mean, self.shared_), mean


def _rotation(responses: NDArray, shared: NDArray) -> NDArray[np.float64]:
    """Orthonormal columns that bring `shared` closest to the responses (orthogonal Procrustes)."""
    left, _, right = np.linalg.svd(responses.T @ shared, full_matrices=False)
    return left @ right


def _moments(people: NDArray) -> tuple[NDArray, NDArray]:
    """Mean and SD of every unit of every person; a unit that never moves is left at zero."""
    scale = people.std(axis=1)
    return people.mean(axis=1), np.where(scale > 0, scale, 1.0)


def _stacked(X: ArrayLike) -> NDArray[np.float64]:
    people = np.asarray(X, dtype=np.float64)
    if people.ndim != 3 or len(people) < 2 or people.shape[1] < 2:
        raise DataError(
            "needs several people at the same moments", expected="(n_people >= 2, n_samples >= 2, n_units)",
            found=people.shape,
        )  # fmt: skip
    check_finite(people, name="X")
    return people


def _several(X: Sequence[ArrayLike], at_least: int = 2) -> list[NDArray[np.float64]]:
    people = [np.asarray(one, dtype=np.float64) for one in X]
    shapes = [one.shape for one in people]
    if (
        len(people) < at_least
        or any(one.ndim != 2 or len(one) < 2 for one in people)
        or len({s[0] for s in shapes}) > 1
    ):
        raise DataError(
            "needs people at the same moments",
            expected=f"at least {at_least} arrays (n_samples, n_units)",
            found=shapes,
        )
    for number, one in enumerate(people):
        check_finite(one, name=f"X[{number}]")
    return people


def _check_components(n_components: int, most: int) -> None:
    if not 1 <= n_components <= most:
        raise DataError("n_components out of range", expected=f"1 to {most}", found=n_components)
