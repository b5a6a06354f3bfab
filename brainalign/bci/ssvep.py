"""Steady-state visual responses: canonical correlation with sinusoids, task-related components, narrow bands.

All of them take trials as arrays (n_trials, n_channels, n_times) and know frequencies from their parameters, so that
they run in any scikit-learn pipeline and need no epochs object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.bci.augmented import as_epochs, as_epochs_like, refuse_flat
from brainalign.errors import DataError

__all__ = ["TRCA", "CCAClassifier", "CanonicalCorrelations", "NarrowBands", "canonical_correlations"]


def canonical_correlations(X: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
    """Largest canonical correlation of each trial with each set of reference signals.

    Parameters
    ----------
    X : array (n_trials, n_channels, n_times)
    references : array (n_sets, n_signals, n_times)

    Returns
    -------
    array (n_trials, n_sets), in [0, 1]

    Examples
    --------
    >>> wave = np.sin(np.arange(50.0))[None]
    >>> canonical_correlations(np.stack([wave, np.cos(3 * np.arange(50.0))[None]]), wave[None]).round(1)
    array([[1.],
           [0.]])
    """
    trials, references = _whitened(as_epochs(X)), _whitened(as_epochs(references))
    if trials.shape[-1] != references.shape[-1]:
        raise DataError("references of another length", expected=trials.shape[-1], found=references.shape[-1])
    made = np.empty((len(trials), len(references)))
    for number, one in enumerate(references):
        made[:, number] = np.linalg.norm(trials @ one.T, ord=2, axis=(1, 2))
    return np.clip(made, 0.0, 1.0)


def _whitened(X: NDArray) -> NDArray[np.float64]:
    """Signals of each trial as orthonormal rows; directions without variance (a lost rank) become zero."""
    centred = X - X.mean(axis=-1, keepdims=True)
    values, vectors = np.linalg.eigh(centred @ centred.swapaxes(-1, -2))
    there = values > X.shape[1] * X.shape[2] * np.finfo(float).eps * values[:, -1:]
    scale = np.where(there, 1 / np.sqrt(np.where(there, values, 1.0)), 0.0)
    return (vectors * scale[:, None, :]).swapaxes(-1, -2) @ centred


class CanonicalCorrelations(TransformerMixin, BaseEstimator):
    """Trials to their canonical correlations with sinusoids and harmonics at each frequency (Lin et al. 2007).

    Parameters
    ----------
    frequencies : sequence of float
        Hertz.
    sfreq : float
        Sampling rate in hertz.
    n_harmonics : int
        Multiples of each frequency, the first included.

    Examples
    --------
    >>> t = np.arange(256) / 128
    >>> X = np.sin(2 * np.pi * 12 * t) + 0.1 * np.random.default_rng(0).standard_normal((1, 2, 256))
    >>> CanonicalCorrelations([9.0, 12.0], 128.0).fit_transform(X).argmax()
    np.int64(1)
    """

    def __init__(self, frequencies: Sequence[float], sfreq: float, *, n_harmonics: int = 3) -> None:
        self.frequencies = frequencies
        self.sfreq = sfreq
        self.n_harmonics = n_harmonics

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Check the trials; there is nothing to learn.

        Raises
        ------
        DataError
            When trials are bad, or a frequency is not below half the sampling rate.
        """
        X = as_epochs(X)
        refuse_flat(X)
        self.references_ = _sinusoids(np.asarray(self.frequencies, float), self.sfreq, self.n_harmonics, X.shape[2])
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Correlations (n_trials, n_frequencies)."""
        check_is_fitted(self, "references_")
        return canonical_correlations(X, self.references_)


def _sinusoids(frequencies: NDArray, sfreq: float, n_harmonics: int, n_times: int) -> NDArray[np.float64]:
    """Sines and cosines (n_frequencies, 2 * n_harmonics, n_times); harmonics past half the sampling rate are left out.

    All frequencies get as many harmonics as the highest one has room for, so that none is at an advantage.
    """
    if frequencies.ndim != 1 or not len(frequencies) or not (frequencies > 0).all() or n_harmonics < 1:
        raise DataError("frequencies must be positive, with at least one harmonic", found=frequencies)
    if frequencies.max() >= sfreq / 2:
        raise DataError(
            "a frequency is not below half the sampling rate", expected=f"< {sfreq / 2:g} Hz", found=frequencies.max()
        )
    room = min(n_harmonics, int(np.ceil(sfreq / 2 / frequencies.max())) - 1)
    angles = 2 * np.pi * frequencies[:, None, None] * np.arange(1, room + 1)[:, None] * np.arange(n_times) / sfreq
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


class CCAClassifier(ClassifierMixin, BaseEstimator):
    """The class whose frequency has the largest canonical correlation; nothing is learnt from the training trials.

    Parameters
    ----------
    sfreq : float
        Sampling rate in hertz.
    frequencies : sequence of float, optional
        One per class, in the order of the sorted labels; by default the labels themselves are read as hertz, where
        they are text.
    n_harmonics : int

    Examples
    --------
    >>> t, y = np.arange(256) / 128, np.array(["9", "12", "9"])
    >>> X = np.stack([np.sin(2 * np.pi * float(one) * t + [[0.0], [1.0]]) for one in y])
    >>> CCAClassifier(128.0).fit(X, y).predict(X).tolist()
    ['9', '12', '9']
    """

    def __init__(self, sfreq: float, frequencies: Sequence[float] | None = None, *, n_harmonics: int = 3) -> None:
        self.sfreq = sfreq
        self.frequencies = frequencies
        self.n_harmonics = n_harmonics

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn which classes there are.

        Raises
        ------
        DataError
            When the number of frequencies is not that of the classes, a label of text is no number, or trials are bad.
        """
        trials, labels = as_epochs(X), np.asarray(y)
        if labels.shape != trials.shape[:1]:
            raise DataError("each trial needs a label", expected=trials.shape[:1], found=labels.shape)
        self.classes_ = np.unique(labels)
        self.correlations_ = CanonicalCorrelations(self._hertz(), self.sfreq, n_harmonics=self.n_harmonics).fit(trials)
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Correlation with each class, (n_trials, n_classes); for two classes that of the second less the first."""
        check_is_fitted(self, "correlations_")
        return _decision(self.correlations_.transform(X))

    def predict(self, X: ArrayLike) -> NDArray:
        """Class of each trial."""
        check_is_fitted(self, "correlations_")
        return self.classes_[self.correlations_.transform(X).argmax(axis=1)]

    def _hertz(self) -> list[float]:
        if self.frequencies is not None:
            given = [float(one) for one in self.frequencies]
        elif self.classes_.dtype.kind in "US":
            try:
                given = [float(one) for one in self.classes_]
            except ValueError as error:
                raise DataError(
                    "a class is no frequency",
                    found=self.classes_.tolist(),
                    fix="frequencies=; for a resting class, CanonicalCorrelations before a linear classifier",
                ) from error
        else:
            raise DataError("which frequency each class has is not known", found=self.classes_[:8], fix="frequencies=")
        if len(given) != len(self.classes_):
            raise DataError("one frequency per class is needed", expected=len(self.classes_), found=len(given))
        return given


def _decision(scores: NDArray) -> NDArray[np.float64]:
    """As scikit-learn has it: one column per class, or the difference of two."""
    return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores


class TRCA(ClassifierMixin, BaseEstimator):
    """Task-related component analysis: filters under which trials of a class repeat themselves, and templates.

    For each class the filter w has the largest w'Sw / w'Qw, S the sum of covariances between different trials and Q
    that of all trials together. A trial is correlated with the mean trial of each class, under the filters of all
    classes at once (the ensemble of the paper). Trials must start at the same phase of the stimulus.

    Parameters
    ----------
    ensemble : bool
        False takes for each class its own filter alone.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    filters_ : ndarray (n_classes, n_channels)
    templates_ : ndarray (n_classes, n_channels, n_times)

    References
    ----------
    Nakanishi et al. (2018), Enhancing detection of SSVEPs for a high-speed brain speller using task-related component
    analysis, IEEE TBME 65, 104-112 (without its filter bank).

    Examples
    --------
    >>> rng, t, y = np.random.default_rng(0), np.arange(200) / 100, np.tile([0, 1], 8)
    >>> X = np.sin(2 * np.pi * np.where(y, 11.0, 8.0)[:, None, None] * t) + rng.standard_normal((16, 3, 200))
    >>> TRCA().fit(X[:8], y[:8]).score(X[8:], y[8:])
    1.0
    """

    def __init__(self, *, ensemble: bool = True) -> None:
        self.ensemble = ensemble

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn filters and templates.

        Raises
        ------
        DataError
            When trials are bad, there is one class only, or a class has a single trial.
        """
        trials, labels = as_epochs(X), np.asarray(y)
        refuse_flat(trials)
        if labels.shape != (len(trials),):
            raise DataError("each trial needs a label", expected=(len(trials),), found=labels.shape)
        self.classes_, counts = np.unique(labels, return_counts=True)
        if len(counts) < 2 or counts.min() < 2:
            raise DataError(
                "TRCA needs two classes, and two trials of each",
                found=dict(zip(self.classes_.tolist(), counts.tolist())),
            )
        trials = trials - trials.mean(axis=2, keepdims=True)
        groups = [trials[labels == one] for one in self.classes_]
        self.templates_ = np.stack([one.mean(axis=0) for one in groups])
        self.filters_ = np.stack([_reproducible(one) for one in groups])
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Correlation with each template, (n_trials, n_classes); for two classes that of the second less the first."""
        return _decision(self._scores(X))

    def predict(self, X: ArrayLike) -> NDArray:
        """Class of each trial."""
        best = self._scores(X).argmax(axis=1)
        return self.classes_[best]

    def _scores(self, X: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self, "filters_")
        trials = as_epochs_like(X, self.templates_.shape[1:])
        trials = trials - trials.mean(axis=2, keepdims=True)
        made = np.empty((len(trials), len(self.classes_)))
        for number, template in enumerate(self.templates_):
            filters = self.filters_ if self.ensemble else self.filters_[[number]]
            seen, known = filters @ trials, filters @ template
            length = np.linalg.norm(seen, axis=(1, 2)) * np.linalg.norm(known)
            made[:, number] = np.einsum("nft,ft->n", seen, known) / np.where(length > 0, length, 1.0)
        return made


def _reproducible(X: NDArray) -> NDArray[np.float64]:
    """Filter (n_channels,) with the largest ratio of covariance between trials to covariance within them."""
    within: NDArray[np.float64] = np.tensordot(X, X, axes=((0, 2), (0, 2)))
    together = X.sum(axis=0)
    between = together @ together.T - within
    values, vectors = np.linalg.eigh(within)
    # An average reference takes a rank away: the filter stays within what is there.
    there = values > len(values) * np.finfo(float).eps * values[-1]
    whitening: NDArray[np.float64] = vectors[:, there] / np.sqrt(values[there])
    return whitening @ np.linalg.eigh(whitening.T @ between @ whitening)[1][:, -1]


class NarrowBands(TransformerMixin, BaseEstimator):
    """Each trial filtered around every frequency, the bands stacked as channels.

    Covariances of the stack hold power and synchrony at each frequency: the Riemannian way to SSVEP (Kalunga et al.
    2016, Neurocomputing 191, 55-68).

    Parameters
    ----------
    frequencies : sequence of float
        Hertz.
    sfreq : float
        Sampling rate in hertz.
    half_width : float
        Hertz to both sides of a frequency; 0.5 is what MOABB cuts filter banks by.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((2, 3, 256))
    >>> NarrowBands([13.0, 17.0], 128.0).fit_transform(X).shape
    (2, 6, 256)
    """

    def __init__(self, frequencies: Sequence[float], sfreq: float, *, half_width: float = 0.5) -> None:
        self.frequencies = frequencies
        self.sfreq = sfreq
        self.half_width = half_width

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Design the filters; nothing is learnt from the trials.

        Raises
        ------
        DataError
            When a band does not lie between 0 and half the sampling rate, or trials are bad.
        """
        from scipy.signal import butter

        as_epochs(X)
        bands = [(float(one) - self.half_width, float(one) + self.half_width) for one in self.frequencies]
        if not bands or any(not 0 < low < high < self.sfreq / 2 for low, high in bands):
            raise DataError("a band is out of range", expected=f"between 0 and {self.sfreq / 2:g} Hz", found=bands)
        self.filters_ = [butter(2, band, "bandpass", fs=self.sfreq, output="sos") for band in bands]
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Trials (n_trials, n_frequencies * n_channels, n_times), the channels of the first frequency first."""
        from scipy.signal import sosfiltfilt

        check_is_fitted(self, "filters_")
        X = as_epochs(X)
        return np.concatenate([sosfiltfilt(one, X, axis=-1) for one in self.filters_], axis=1)
