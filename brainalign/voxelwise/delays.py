"""Finite-impulse-response delays: the features of the last moments beside those of now, within each run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.voxelwise.samples import as_features, is_latents

__all__ = ["Delayer", "hrf_delays", "split_delays"]


class Delayer(TransformerMixin, BaseEstimator):
    """Copy features at several delays, so that a linear model learns a response's time course.

    Rows are samples in the order of time. Where a run has no sample so long ago the features are zero: centre them
    first if zero is not their mean. Delay the whole recording, then cut it into contiguous folds with a gap of at
    least the longest delay (`brainalign.splits.contiguous_folds`).

    Parameters
    ----------
    delays : sequence of int
        In samples. A positive delay brings features of the past; a negative one, features of the future (to predict
        movement from the activity before it).
    by : array (n_samples,), optional
        Run of each row; nothing crosses from one run to the next. One run by default.

    Attributes
    ----------
    n_features_in_ : int

    References
    ----------
    Nishimoto et al. 2011, Curr. Biol. 21; the delays of the voxelwise encoding models of movies.

    Examples
    --------
    >>> X = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> Delayer([0, 1], by=[1, 1, 2, 2]).fit_transform(X)
    array([[1., 0.],
           [2., 1.],
           [3., 0.],
           [4., 3.]])
    """

    def __init__(self, delays: Sequence[int] = (0, 1, 2, 3), *, by: Any = None) -> None:
        self.delays = delays
        self.by = by

    def fit(self, X: Any, y: Any = None) -> Delayer:
        """Check delays, runs and features; nothing is learned from their values."""
        self._samples(X, reset=True)
        return self

    def transform(self, X: Any) -> Any:
        """Features at each delay, side by side.

        Parameters
        ----------
        X : array (n_samples, n_features) or Latents
            Latents whose ids are the samples in the order of time.

        Returns
        -------
        ndarray, shape (n_samples, n_delays * n_features), or Latents
            All features at the first delay, then all at the second, and so on.

        Raises
        ------
        DataError
            When `by` does not label every row, or a run comes back after another one.
        """
        check_is_fitted(self)
        values, delays, edges = self._samples(X, reset=False)
        n_samples, n_features = values.shape
        out = np.zeros((n_samples, len(delays), n_features), dtype=values.dtype)
        for start, stop in pairwise(edges):
            for number, delay in enumerate(delays):
                length = stop - start - abs(delay)
                if length > 0:
                    into, source = start + max(delay, 0), start + max(-delay, 0)
                    out[into : into + length, number] = values[source : source + length]
        delayed = out.reshape(n_samples, -1)
        if not is_latents(X):
            return delayed
        return Latents(delayed, X.ids, space=f"{X.space}, delays {delays}", meta={**X.meta, "delays": delays})

    def split_delays(self, coef: ArrayLike) -> np.ndarray:
        """Coefficients of a model fitted on delayed features as (n_delays, n_features, ...)."""
        return split_delays(coef, len(_checked(self.delays)))

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> np.ndarray:
        """Names of the columns, such as ``x0 delay 2``."""
        check_is_fitted(self)
        known = getattr(self, "feature_names_in_", [f"x{number}" for number in range(self.n_features_in_)])
        names = known if input_features is None else input_features
        return np.array([f"{name} delay {delay}" for delay in _checked(self.delays) for name in names], dtype=object)

    def _samples(self, X: Any, *, reset: bool) -> tuple[np.ndarray, list[int], list[int]]:
        """Features, delays, and the rows at which runs begin (and the last one ends)."""
        values = as_features(self, X.values.reshape(len(X), -1) if is_latents(X) else X, reset=reset)
        delays = _checked(self.delays)
        if self.by is None:
            return values, delays, [0, len(values)]
        runs = np.asarray(self.by).ravel()
        if len(runs) != len(values):
            raise DataError(
                "`by` must name the run of every row",
                expected=f"{len(values)} runs",
                found=len(runs),
                fix="delay the whole recording first, then cut it into folds",
            )
        starts = [0, *(np.flatnonzero(runs[1:] != runs[:-1]) + 1).tolist()]
        if len(starts) != len(set(runs.tolist())):
            raise DataError(
                "a run comes back after another one",
                expected="rows in the order of time, run after run",
                found=f"{len(starts)} stretches of {len(set(runs.tolist()))} runs",
                fix="sort the rows by run and time; name runs of different sessions differently",
            )
        return values, delays, [*starts, len(values)]


def _checked(delays: Any) -> list[int]:
    steps = np.atleast_1d(np.asarray(delays))
    if steps.ndim != 1 or not steps.size or steps.dtype.kind not in "iu" or len(np.unique(steps)) < steps.size:
        raise DataError("delays are different whole numbers of samples", expected="such as [1, 2, 3, 4]", found=delays)
    return [int(step) for step in steps]


def split_delays(coef: ArrayLike, n_delays: int) -> np.ndarray:
    """Coefficients of delayed features (n_delays * n_features, ...) as (n_delays, n_features, ...), without a copy.

    Examples
    --------
    >>> split_delays(np.arange(6), 2)
    array([[0, 1, 2],
           [3, 4, 5]])
    """
    values = np.asarray(coef)
    if n_delays < 1 or values.ndim < 1 or len(values) % n_delays:
        raise DataError(
            "these coefficients are not of features at so many delays",
            expected=f"a multiple of {n_delays} rows",
            found=values.shape,
        )
    return values.reshape(n_delays, -1, *values.shape[1:])


def hrf_delays(tr: float, *, first: float = 2.0, last: float = 8.0) -> list[int]:
    """Delays in volumes that span the haemodynamic response.

    Parameters
    ----------
    tr : float
        Repetition time in seconds.
    first, last : float
        Seconds after the stimulus between which the response rises and falls.

    Examples
    --------
    >>> hrf_delays(2.0), hrf_delays(1.5)
    ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6])
    """
    if not (np.isfinite(tr) and tr > 0 and 0 <= first <= last):
        raise DataError(
            "no delays for these times", expected="tr > 0 and 0 <= first <= last, in seconds", found=(tr, first, last)
        )
    if tr > 30:
        raise DataError("tr is in seconds", expected="about 0.5 to 5", found=tr, fix="divide milliseconds by 1000")
    return list(range(floor(first / tr + 1e-9), ceil(last / tr - 1e-9) + 1))
