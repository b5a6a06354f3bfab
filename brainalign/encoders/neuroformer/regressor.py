"""`NeuroformerRegressor`: Neuroformer as a scikit-learn regressor of delayed spike counts, for cross-validation."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.encoders.neuroformer.encoder import Neuroformer
from brainalign.errors import DataError, unknown
from brainalign.voxelwise.samples import as_features, as_targets, resolve_folds

__all__ = ["NeuroformerRegressor"]


class NeuroformerRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Behaviour from spike counts at several delays, as `brainalign.voxelwise.LagNetwork` takes them, by `Neuroformer`.

    Parameters
    ----------
    n_delays : int
        Of the `brainalign.voxelwise.Delayer` that made the features, from 0 on: the counts now, then those a bin ago.
    options : mapping, optional
        Of `Neuroformer`, by name; the window has a single bin by default.
    cv : int, splitter or iterable of (train, test)
        The epoch is chosen on the test side of the last fold. A number makes contiguous folds.
    seed : int

    Attributes
    ----------
    encoder_ : Neuroformer

    Examples
    --------
    >>> from brainalign.voxelwise import Delayer
    >>> spikes = np.random.default_rng(0).poisson(0.5, (300, 4))
    >>> y = spikes[:, 0] - np.roll(spikes[:, 1], 2)
    >>> X = Delayer([0, 1, 2]).fit_transform(spikes)
    >>> options = {"width": 16, "depth": 1, "dropout": 0.0, "training": {"n_epochs": 20, "learning_rate": 0.01}}
    >>> model = NeuroformerRegressor(3, options).fit(X[:240], y[:240])
    >>> model.score(X[243:], y[243:]) > 0.7
    True
    """

    def __init__(
        self, n_delays: int = 1, options: Mapping[str, Any] | None = None, *, cv: Any = 5, seed: int = 0
    ) -> None:
        self.n_delays = n_delays
        self.options = options
        self.cv = cv
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array (n_samples, n_delays * n_units)
            Counts, rows in the order of time.
        y : array (n_samples,) or (n_samples, n_targets)

        Raises
        ------
        DataError
            When an option is unknown, the columns are not those of `n_delays` delays, or as `Neuroformer.fit`.
        """
        known = list(inspect.signature(Neuroformer).parameters)
        for name in self.options or {}:
            if name not in known:
                raise unknown("option of Neuroformer", name, known)
        X = as_features(self, X, reset=True)
        Y = np.asarray(as_targets(y, n_samples=len(X)))
        if self.n_delays < 1 or X.shape[1] % self.n_delays:
            raise DataError(
                "these features are not at so many delays",
                expected=f"a multiple of {self.n_delays} columns",
                found=X.shape[1],
                fix="give the n_delays of the Delayer that made them",
            )
        kept, held = list(resolve_folds(self.cv, len(X), None))[-1]
        rows = np.concatenate([kept, held])  # the encoder holds out the last rows
        share = {"validation": len(held) / len(rows), "gap": 0}
        encoder = Neuroformer(**{"window": 1, "seed": self.seed, **dict(self.options or {}), **share})
        self.encoder_ = encoder.fit(self._in_time(X[rows]), Y[rows])
        self._one_dimensional = np.ndim(y) == 1
        return self

    def _in_time(self, X: np.ndarray) -> np.ndarray:
        """(n_samples, n_units, n_bins), the longest delay first."""
        return X.reshape(len(X), self.n_delays, -1)[:, ::-1].transpose(0, 2, 1)

    def predict(self, X: Any) -> np.ndarray:
        """Behaviour, (n_samples,) or (n_samples, n_targets)."""
        check_is_fitted(self, "encoder_")
        predicted = self.encoder_.predict(self._in_time(as_features(self, X, reset=False)))
        return predicted[:, 0] if self._one_dimensional else predicted
