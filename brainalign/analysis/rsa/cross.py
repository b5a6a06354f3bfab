"""Distances between the patterns of two measurements (runs, sessions, subjects' aligned spaces), and RDM movies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import as_floats, as_like, namespace
from brainalign.analysis.rsa.distances import log_rates, unit_patterns
from brainalign.analysis.rsa.rdm import METRICS, prepare_patterns, rdm, whiten
from brainalign.errors import DataError, closest

__all__ = ["cross_rdm", "rdm_movie"]


def cross_rdm(X: Any, Y: Any, *, metric: str = "correlation", noise_precision: ArrayLike | None = None) -> Any:
    """Distances of every pattern of one run to every pattern of another.

    Not symmetric: entry (i, j) compares condition i in the first run with condition j in the second. The diagonal
    is the distance of a condition to itself, which measures reliability.

    Parameters
    ----------
    X : array or tensor (..., n_x, n_features), Trials or Latents
    Y : array or tensor (..., n_y, n_features), Trials or Latents
    metric : {"correlation", "cosine", "euclidean", "sqeuclidean", "mahalanobis", "poisson"}
        As in `rdm`.
    noise_precision : array (n_features, n_features) or (n_features,), optional

    Returns
    -------
    array or tensor (..., n_x, n_y)

    Examples
    --------
    >>> cross_rdm([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 8.0]], metric="euclidean")
    array([[0., 8.],
           [5., 5.]])
    """
    known = tuple(one for one in METRICS if one not in ("crossnobis", "poisson_cv"))
    if metric not in known:
        raise DataError(f"no distance {metric!r} between two runs.{closest(metric, known)}", expected=known)
    x, y = prepare_patterns(X)[0], prepare_patterns(Y)[0]
    if x.shape[-1] != y.shape[-1]:
        raise DataError("the runs have different features", expected=x.shape[-1], found=y.shape[-1])
    if noise_precision is not None:
        if metric != "mahalanobis":
            raise DataError(f"metric {metric!r} takes no noise_precision", fix="metric='mahalanobis'")
        x, y = whiten(x, noise_precision), whiten(y, noise_precision)
    xp, n_features = namespace(x), x.shape[-1]
    y = as_like(y, x)
    if metric in ("correlation", "cosine"):
        x, y = (unit_patterns(side, centre=metric == "correlation") for side in (x, y))
        return xp.clip(1 - x @ y.swapaxes(-1, -2), 0, 2)
    if metric == "poisson":
        (x, log_x), (y, log_y) = log_rates(x), log_rates(y)
        squares = (x * log_x).sum(-1)[..., :, None] + (y * log_y).sum(-1)[..., None, :]
        return xp.clip(squares - x @ log_y.swapaxes(-1, -2) - log_x @ y.swapaxes(-1, -2), 0, None) / n_features
    offset = x.mean(-2)[..., None, :]
    x, y = x - offset, y - offset
    squares = (x * x).sum(-1)[..., :, None] + (y * y).sum(-1)[..., None, :]
    squared = xp.clip(squares - 2 * x @ y.swapaxes(-1, -2), 0, None)
    if metric == "mahalanobis":
        return squared / n_features
    return xp.sqrt(squared) if metric == "euclidean" else squared


def rdm_movie(
    X: Any, *, times: ArrayLike | None = None, window: float, step: float | None = None, **options: Any
) -> tuple[Any, NDArray[np.float64]]:
    """RDMs over time, of responses averaged in windows.

    Parameters
    ----------
    X : Trials with times, or array (n_patterns, n_channels, n_times)
    times : array (n_times,), optional
        In seconds; those of the Trials by default.
    window, step : float
        Length of a window and distance of their starts, in seconds; windows that touch by default. Samples at
        ``start <= t < start + window`` belong to a window.
    **options
        Of `rdm`: metric, labels, groups, noise_precision (one, or one per window), nan.

    Returns
    -------
    rdms : array (n_windows, n_pairs)
    centres : array (n_windows,)
        Mean time of each window's samples.

    Examples
    --------
    >>> responses = np.random.default_rng(0).normal(size=(5, 8, 100))
    >>> rdms, centres = rdm_movie(responses, times=np.arange(100) / 100, window=0.1)
    >>> rdms.shape, centres[:2]
    ((10, 10), array([0.045, 0.145]))
    """
    table = getattr(X, "trials", None)
    values = X.responses if table is not None else as_floats(X)
    at: Any = getattr(X, "times", None) if times is None else times
    if at is None or np.ndim(values) != 3 or len(at) != values.shape[-1]:
        raise DataError(
            "a movie needs responses over time", expected="(n_patterns, n_channels, n_times) and times (n_times,)"
        )
    t = np.asarray(at, dtype=np.float64)
    step = window if step is None else step
    if window <= 0 or step <= 0:
        raise DataError("window and step are durations", expected="seconds > 0", found=f"{window}, {step}")
    # Half a sample of slack: times such as 0.1 + 0.2 are not exact.
    slack = 0.25 * float(np.min(np.diff(t))) if len(t) > 1 else 0.0
    starts = np.arange(t[0], t[-1] - window + 5 * slack, step)
    members = [(t >= start - slack) & (t < start + window - slack) for start in starts]
    members = [member for member in members if member.any()]
    if not members:
        raise DataError("no window fits", expected=f"window <= {t[-1] - t[0]:.3g} s", found=window)
    for name in ("labels", "groups"):
        if isinstance(options.get(name), str) and table is not None:
            options[name] = np.asarray(table[options[name]])
    averages = [values[..., np.flatnonzero(member)].mean(-1) for member in members]
    return rdm(namespace(values).stack(averages), **options), np.array([t[member].mean() for member in members])
