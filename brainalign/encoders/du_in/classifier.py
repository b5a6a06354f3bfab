"""`DuINClassifier`: Du-IN as a scikit-learn classifier of arrays, for cross-validation."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.encoders.du_in.encoder import DuIN
from brainalign.errors import DataError, unknown
from brainalign.learning.classifier import as_signals

__all__ = ["DuINClassifier"]


class DuINClassifier(ClassifierMixin, BaseEstimator):
    """Class of each epoch by `DuIN`, all stages of which see the training epochs alone.

    Parameters
    ----------
    options : mapping, optional
        Of `DuIN`, by name. Samples beyond the last whole segment of an epoch are left out.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    encoder_ : DuIN
    """

    takes_signals = True

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.options = options

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from epochs (n_trials, n_channels, n_times) and their classes.

        Raises
        ------
        DataError
            When an option is unknown, epochs are shorter than a segment, or there is a single class.
        """
        known = list(inspect.signature(DuIN).parameters)
        for name in self.options or {}:
            if name not in known:
                raise unknown("option of DuIN", name, known)
        encoder = DuIN(**dict(self.options or {}))
        labels = np.asarray(y)
        self.classes_ = np.unique(labels)
        self.n_times_ = as_signals(X).shape[2] // encoder.segment * encoder.segment
        if not self.n_times_:
            raise DataError(
                "epochs are shorter than a segment",
                expected=f"at least {encoder.segment} samples",
                found=np.shape(X)[2],
                fix="longer epochs, or a smaller segment",
            )
        codes = np.searchsorted(self.classes_, labels)
        self.encoder_ = encoder.fit(self._cut(X), np.array([f"{code:06d}" for code in codes]))
        return self

    def _cut(self, X: Any) -> np.ndarray:
        return as_signals(X)[:, :, : self.n_times_]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, (n_trials, n_classes)."""
        check_is_fitted(self, "encoder_")
        return self.encoder_.predict(self._cut(X))

    def predict(self, X: Any) -> np.ndarray:
        """Class of each trial, (n_trials,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
