"""Where and when a decoder reads: fitted window by window, with parts of the signal taken away, and as patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from brainalign.errors import DataError, unknown
from brainalign.parallel import progress
from brainalign.scoring.identification import rank_percentiles
from brainalign.splits import check_disjoint

__all__ = ["as_evoked", "decode_latents_over_time", "haufe_patterns", "occlusion"]

Judge = Callable[[Any, Any], Any]
"""Of predictions and latents: a number, or one a stimulus."""


def identified(predicted: Any, latents: Any) -> float:
    """Share of pairs in which a prediction is closer to its own picture's latents."""
    return float(rank_percentiles(predicted, latents).mean())


def decode_latents_over_time(
    encoder: Any,
    train: Any,
    test: Any,
    latents: Any,
    *,
    window: float = 0.1,
    step: float = 0.05,
    score: Judge = identified,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score of an encoder that is fitted to a window of the epoch alone, as the window moves.

    Parameters
    ----------
    encoder : Encoder
        Cloned for each window.
    train, test : Trials
        Without a stimulus in common.
    latents : Latents
    window, step : float
        Seconds: its length, and from one to the next.
    score : callable (predicted, latents) -> float or array
        Share of pairs identified by default, chance 0.5. `brainalign.scoring.identification.rank_percentiles` gives
        that of each stimulus, for intervals.

    Returns
    -------
    times, values : array (n_windows,) or (n_windows, n_stimuli)
        Middle of each window in seconds, and its score.

    Raises
    ------
    LeakageError
        When a stimulus is on both sides.
    DataError
        When the window is longer than the epoch.
    """
    check_disjoint(train.stimulus_ids, test.stimulus_ids)
    times = _times(train)
    starts = np.arange(times[0], times[-1] - window + 1e-9, step)
    if not len(starts):
        raise DataError("the window is longer than the epoch", expected=f"<= {times[-1] - times[0]} s", found=window)
    values = []
    for start in progress(starts, description="windows", total=len(starts)):
        span = (float(start), float(start + window))
        fitted = clone(encoder).fit(train.select(times=span), latents)
        values.append(score(fitted.predict(test.select(times=span)), latents))
    return starts + window / 2, np.array(values)


def occlusion(
    encoder: Any,
    trials: Any,
    latents: Any,
    *,
    by: str = "channels",
    window: float = 0.1,
    mode: str = "permute",
    score: Judge = identified,
    seed: int = 0,
) -> dict[str, Any]:
    """How much worse a fitted encoder is without a channel, a region, or a stretch of time.

    Parameters
    ----------
    encoder : fitted Encoder
    trials : Trials
        Never trained on.
    latents : Latents
    by : {"channels", "regions", "times"}
        What is taken away at a time.
    window : float
        Seconds of a stretch.
    mode : {"permute", "mean", "zero"}
        Put in its place: the same of another trial (the signal stays natural), its mean over trials, or nothing.
    score : callable (predicted, latents) -> float or array
    seed : int
        Of the permutation, the same for all parts.

    Returns
    -------
    dict of str to float (or array)
        Name of the part, or middle of the stretch in seconds, and the loss of score without it.
    """
    if mode not in ("permute", "mean", "zero"):
        raise unknown("mode", mode, ("permute", "mean", "zero"))
    parts = _parts(trials, by, window)
    whole = score(encoder.predict(trials), latents)
    order = np.random.default_rng(seed).permutation(len(trials))
    made = {}
    for name, part in progress(parts.items(), description="parts", total=len(parts)):
        X = np.array(trials.responses)
        cut = (slice(None), *part)
        if mode == "permute":
            X[cut] = trials.responses[order][cut]
        else:
            X[cut] = trials.responses[cut].mean(axis=0) if mode == "mean" else 0.0
        made[name] = whole - score(encoder.predict(trials.with_responses(X)), latents)
    return made


def _parts(trials: Any, by: str, window: float) -> dict[str, tuple[Any, Any]]:
    everything = slice(None)
    if by == "channels":
        return {name: ([row], everything) for row, name in enumerate(trials.units["name"])}
    if by == "regions":
        if "region" not in trials.units:
            raise DataError("the regions of the channels are not known", fix="by='channels'")
        return {str(name): (rows, everything) for name, rows in trials.units.groupby("region").indices.items()}
    if by == "times":
        times = _times(trials)
        place = np.floor((times - times[0]) / window + 1e-9).astype(int)
        rows = [np.flatnonzero(place == number) for number in range(place.max() + 1)]
        return {f"{times[some].mean():.4g}": (everything, some) for some in rows}
    raise unknown("part", by, ("channels", "regions", "times"))


def haufe_patterns(trials: Any, predicted: Any) -> NDArray[np.float64]:
    """Activation patterns: how the signals go with what a decoder extracts from them.

    Haufe et al. 2014, NeuroImage 87, eq. 6: the weights of a decoder are no map of where its information comes from,
    as some suppress noise; ``cov(X, s) cov(s)^-1`` is, for its outputs s. For a linear decoder this is
    ``cov(X) W cov(s)^-1``; of any other it is the best linear account of its outputs.

    Parameters
    ----------
    trials : Trials, or array (n_samples, n_channels[, n_times])
        One row a prediction: average repetitions first.
    predicted : Latents or array (n_samples, n_outputs)
        Latents are joined by `stimulus_id`.

    Returns
    -------
    array (n_outputs, n_channels[, n_times])
        `as_evoked` shows one on the head.

    Raises
    ------
    DataError
        When rows differ in number, or there are too few to tell the outputs apart.
    """
    X = np.asarray(getattr(trials, "responses", trials), dtype=np.float64)
    rows = predicted.at(trials.stimulus_ids) if hasattr(predicted, "at") else np.asarray(predicted)
    s = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
    if len(s) != len(X) or len(s) <= s.shape[1] + 1:
        raise DataError(
            "these predictions make no patterns",
            expected="a row a trial, and more rows than outputs",
            found=f"{len(X)} trials, {s.shape[0]} x {s.shape[1]} predictions",
            fix="project the predictions on fewer directions first",
        )
    centred, flat = s - s.mean(axis=0), X.reshape(len(X), -1)
    between = centred.T @ (flat - flat.mean(axis=0))
    return (np.linalg.pinv(centred.T @ centred) @ between).reshape(s.shape[1], *X.shape[1:])


def as_evoked(trials: Any, values: Any) -> Any:
    """MNE Evoked of values per channel, or per channel and time, of some trials: ``.plot_topomap()`` draws it.

    Parameters
    ----------
    trials : Trials
        From sensors.
    values : mapping of channel to float, array (n_channels,) or (n_channels, n_times)
    """
    names = list(trials.units["name"])
    array = np.array([values[name] for name in names]) if isinstance(values, dict) else np.asarray(values)
    if array.ndim == 2:
        return trials.to_evoked(array)
    return trials.select(times=(trials.times[0], trials.times[0])).to_evoked(array[:, None])


def _times(trials: Any) -> NDArray[np.float64]:
    if getattr(trials, "times", None) is None:
        raise DataError("these trials are not time-resolved", expected="(n_trials, n_channels, n_times)")
    return np.asarray(trials.times)
