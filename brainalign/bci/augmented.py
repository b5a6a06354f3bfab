"""Augmented covariance: the covariance of a trial stacked on its own past (Carrara & Papadopoulo 2024).

A trial x(t) of `n_channels` becomes the stack of x(t), x(t + lag), ..., x(t + (order - 1) lag); its covariance holds
the autocovariances of the signal beside the spatial ones ("Classification of BCI-EEG based on the augmented
covariance matrix", IEEE TBME 2024, arXiv 2302.04508, eqs. 8-10).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import check_finite, row_blocks
from brainalign.errors import DataError

__all__ = [
    "AugmentedCovariance",
    "CheckedTrials",
    "ConditionedCovariances",
    "as_epochs",
    "as_epochs_like",
    "augmented_covariances",
    "common_subspace",
    "conditioned",
    "embed",
    "refuse_flat",
    "shrunk",
    "window_length",
]

IN_CACHE = 2 * 2**20
"""Bytes of trials that go through several passes together, so that they are read from memory once."""
_FLAT = 1e-6
"""Range of a channel, relative to the largest, below which it is called flat."""


def as_epochs(X: ArrayLike, *, min_samples: int = 2) -> NDArray[np.float64]:
    """Trials as float64 (n_trials, n_channels, n_times), or a refusal."""
    epochs = np.asarray(X, dtype=np.float64)
    if epochs.ndim != 3 or 0 in epochs.shape or epochs.shape[2] < min_samples:
        raise DataError(
            "trials must be (n_trials, n_channels, n_times)",
            expected=f"three axes, none empty, n_times >= {min_samples}",
            found=epochs.shape,
        )
    check_finite(epochs, name="trials")
    return epochs


def as_epochs_like(X: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """`as_epochs`, refused where channels or samples are not those fitted on."""
    trials = as_epochs(X)
    if trials.shape[1:] != tuple(shape):
        raise DataError("trials of another shape than fitted on", expected=tuple(shape), found=trials.shape[1:])
    return trials


def window_length(n_times: int, order: int, lag: int) -> int:
    """Samples of each stacked copy: n_times for order 1, else ``n_times - order * lag`` as published.

    Raises
    ------
    DataError
        When order or lag is no whole number of at least 1, or fewer than 2 samples are left.

    Examples
    --------
    >>> window_length(100, 1, 7), window_length(100, 3, 7)
    (100, 79)
    """
    for name, value in {"order": order, "lag": lag}.items():
        if isinstance(value, bool) or value != int(value) or value < 1:
            raise DataError(f"{name} must be a whole number of at least 1", found=value)
    width = n_times if order == 1 else n_times - order * lag
    if width < 2:
        raise DataError(
            "trials are too short for this embedding",
            expected=f"n_times >= order * lag + 2 = {order * lag + 2}",
            found=n_times,
            fix="a smaller order or lag, or longer trials",
        )
    return width


def embed(X: NDArray, order: int, lag: int) -> NDArray:
    """Stack each trial on its delayed copies.

    Copy a takes samples [a lag, a lag + width): with order 1 the whole trial.

    Examples
    --------
    >>> embed(np.arange(6.0).reshape(1, 1, 6), 2, 1)[0]
    array([[0., 1., 2., 3.],
           [1., 2., 3., 4.]])
    """
    width = window_length(X.shape[-1], order, lag)
    return np.concatenate([X[..., a * lag : a * lag + width] for a in range(order)], axis=-2)


def augmented_covariances(X: ArrayLike, order: int, lag: int) -> NDArray[np.float64]:
    """Covariance (mean removed, n - 1) of each embedded trial, a few trials at a time.

    Parameters
    ----------
    X : array (n_trials, n_channels, n_times)
    order : int
        Copies; 1 gives the plain covariance of the whole trial.
    lag : int
        Samples between copies.

    Returns
    -------
    array (n_trials, order * n_channels, order * n_channels), in the square of the units of X

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((2, 3, 50))
    >>> made = augmented_covariances(X, 2, 4)
    >>> np.allclose(made[1], np.cov(embed(X, 2, 4)[1]))
    True
    """
    X = as_epochs(X)
    width = window_length(X.shape[2], order, lag)
    size = order * X.shape[1]
    made = np.empty((len(X), size, size))
    for rows in row_blocks(len(X), 8 * size * width, budget=IN_CACHE):
        stacked = embed(X[rows], order, lag)
        stacked -= stacked.mean(axis=-1, keepdims=True)
        np.matmul(stacked, stacked.swapaxes(-1, -2), out=made[rows])
    made /= width - 1
    return made


class ConditionedCovariances(TransformerMixin, BaseEstimator, ABC):
    """Trials to covariance matrices that are fit for geometry; a subclass says which (`_covariances`)."""

    retain: float | None
    shrinkage: float

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn the common subspace, where one is asked for.

        Raises
        ------
        DataError
            When trials are not finite, too short or flat in a channel, or a parameter makes no sense.
        """
        self._fit_covariances(X)
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None) -> NDArray[np.float64]:
        """`fit`, then `transform`, with the covariances computed once."""
        return self._conditioned(self._fit_covariances(X))

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Matrices (n_trials, n, n), n the number of (stacked) channels or what `retain` kept."""
        check_is_fitted(self, "n_channels_")
        X = as_epochs(X)
        if X.shape[1] != self.n_channels_:
            raise DataError("another number of channels than fitted on", expected=self.n_channels_, found=X.shape[1])
        refuse_flat(X)
        return self._conditioned(self._covariances(X))

    def _fit_covariances(self, X: ArrayLike) -> NDArray[np.float64]:
        if not 0 <= self.shrinkage < 1 or not (self.retain is None or 0 < self.retain <= 1):
            raise DataError(
                "a parameter is out of range",
                expected="0 <= shrinkage < 1, and retain None or in (0, 1]",
                found=f"shrinkage={self.shrinkage}, retain={self.retain}",
            )
        X = as_epochs(X)
        refuse_flat(X)
        self._prepare(X)
        covariances = self._covariances(X)
        self.n_channels_ = X.shape[1]
        self.basis_ = None if self.retain is None else common_subspace(covariances, self.retain)
        return covariances

    def _conditioned(self, covariances: NDArray) -> NDArray[np.float64]:
        made = conditioned(covariances, self.basis_, self.shrinkage)
        _refuse_singular(made)
        return made

    def _prepare(self, X: NDArray) -> None:
        """Settings to be learnt on the training trials."""

    @abstractmethod
    def _covariances(self, X: NDArray) -> NDArray[np.float64]:
        """One matrix of each trial, not yet conditioned."""


class AugmentedCovariance(ConditionedCovariances):
    """Trials to augmented covariance matrices.

    With a high order and a small lag the matrices are almost singular (order 10 at lag 1 has a condition number
    around 1e12 on band-passed EEG), and what follows would depend on rounding. `retain` projects all of them onto the
    directions that hold this share of the variance of the mean training matrix; `shrinkage` moves each towards a
    multiple of the identity. Without either, singular matrices are refused.

    Parameters
    ----------
    order : int or {"mdop", "cao"}
        Number of stacked copies; a name lets that criterion of `choose_embedding` choose order and lag on the
        training trials, without their labels.
    lag : int
        Samples between copies; not used with a criterion.
    retain : float or None
        Share of variance in (0, 1]; the subspace is learnt on the training trials alone.
    shrinkage : float
        In [0, 1): C becomes (1 - s) C + s tr(C)/n I.

    Attributes
    ----------
    n_channels_, order_, lag_ : int
    basis_ : ndarray (order * n_channels, n_kept) or None

    References
    ----------
    Carrara & Papadopoulo (2024), Classification of BCI-EEG based on the augmented covariance matrix, IEEE TBME.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((5, 3, 100))
    >>> AugmentedCovariance(order=4, lag=2).fit_transform(X).shape
    (5, 12, 12)
    """

    def __init__(
        self, order: int | str = 4, lag: int = 2, *, retain: float | None = None, shrinkage: float = 0.0
    ) -> None:
        self.order = order
        self.lag = lag
        self.retain = retain
        self.shrinkage = shrinkage

    def _prepare(self, X: NDArray) -> None:
        if isinstance(self.order, str):
            from brainalign.bci.embedding import choose_embedding

            self.order_, self.lag_ = choose_embedding(X, self.order)
        else:
            self.order_, self.lag_ = self.order, self.lag

    def _covariances(self, X: NDArray) -> NDArray[np.float64]:
        return augmented_covariances(X, self.order_, self.lag_)


class CheckedTrials(TransformerMixin, BaseEstimator):
    """Trials as they are, once they are fit to be learnt from: a step before others' estimators.

    Examples
    --------
    >>> CheckedTrials().fit(np.ones((4, 2, 9)), [0, 1, 0, 1])
    Traceback (most recent call last):
    brainalign.errors.DataError: channels do not vary in 4 trials ...
    """

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Refuse trials that are not finite, flat channels, labels of other trials, and a single class."""
        trials = as_epochs(X)
        refuse_flat(trials)
        if y is not None and np.shape(y) != trials.shape[:1]:
            raise DataError("each trial needs a label", expected=trials.shape[:1], found=np.shape(y))
        if y is not None and len(np.unique(y)) < 2:
            raise DataError("a classifier needs two classes", found=np.unique(y).tolist())
        self.shape_ = trials.shape[1:]
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """The trials, refused where they are not finite or not of the channels and samples of those fitted on."""
        check_is_fitted(self, "shape_")
        return as_epochs_like(X, self.shape_)


def conditioned(covariances: NDArray, basis: NDArray | None, shrinkage: float) -> NDArray[np.float64]:
    """Matrices in a common subspace and shrunk towards a multiple of the identity."""
    if basis is not None:
        covariances = basis.T @ covariances @ basis
    return shrunk(covariances, np.full(len(covariances), shrinkage)) if shrinkage else covariances


def shrunk(matrices: NDArray, share: NDArray) -> NDArray[np.float64]:
    """Each matrix moved, by a share of its own, towards the multiple of the identity that has its trace."""
    size = matrices.shape[-1]
    level = np.trace(matrices, axis1=-2, axis2=-1) / size
    made = (1 - share)[:, None, None] * matrices
    made[:, np.arange(size), np.arange(size)] += (share * level)[:, None]
    return made


def common_subspace(covariances: NDArray, retain: float) -> NDArray[np.float64]:
    """Directions of the mean matrix that hold a share of its variance, (n, n_kept); never those of rounding."""
    mean = covariances.mean(axis=0)
    values, vectors = np.linalg.eigh(mean)
    values, vectors = values[::-1], vectors[:, ::-1]
    positive = int(np.sum(values > len(values) * np.finfo(float).eps * values[0]))
    share = np.cumsum(values[:positive]) / values[:positive].sum()
    n_kept = min(int(np.searchsorted(share, retain - 1e-12)) + 1, positive)
    return np.ascontiguousarray(vectors[:, :n_kept])


def refuse_flat(X: NDArray) -> None:
    """Raise where a channel does not vary in a trial."""
    # The range costs two looks at the data, the variance five passes.
    reach = X.max(axis=2) - X.min(axis=2)
    flat = reach <= _FLAT * reach.max(axis=1, keepdims=True)
    if flat.any():
        trials, channels = np.nonzero(flat)
        raise DataError(
            f"channels do not vary in {len(set(trials.tolist()))} trials",
            expected="a signal in every channel",
            found=f"channels {sorted(set(channels.tolist()))[:8]} (positions)",
            fix="drop or interpolate them, or drop these trials",
        )


def _refuse_singular(covariances: NDArray) -> None:
    if _surely_regular(covariances):
        return
    values = np.linalg.eigvalsh(covariances)
    singular = values[:, 0] <= values.shape[1] * np.finfo(float).eps * values[:, -1]
    if singular.any():
        raise DataError(
            f"{int(singular.sum())} of {len(values)} covariance matrices are singular",
            expected="full rank (an average reference, ICA or a high order at a small lag takes rank away)",
            found=f"smallest eigenvalue {values[singular, 0].min():.2g} beside {values[singular, -1].max():.2g}",
            fix="retain=0.999, or shrinkage=0.01",
        )


def _surely_regular(covariances: NDArray) -> bool:
    """Whether Cholesky factors leave no doubt; an eighth of the cost of eigenvalues."""
    try:
        pivots = np.square(np.diagonal(np.linalg.cholesky(covariances), axis1=1, axis2=2))
    except np.linalg.LinAlgError:
        return False
    return bool((pivots.min(axis=1) > 1e-8 * np.trace(covariances, axis1=1, axis2=2)).all())
