"""Bootstrap over stimuli: what a unit's scores would have been with other draws of the same stimuli.

A draw is a row of multiplicities, and every score is a function of weighted sums over stimuli: all draws of a block
of units are a handful of matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainalign.arrays import row_blocks
from brainalign.errors import DataError, closest
from brainalign.scoring.ceilings import correlation_ceiling
from brainalign.scoring.resampling import bootstrap_weights, interval

if TYPE_CHECKING:
    from brainalign.trials import Trials
    from brainalign.voxelwise.scores import UnitScores

__all__ = [
    "Repeats",
    "draw_weights",
    "drawn",
    "drawn_ceiling",
    "drawn_r",
    "drawn_r2",
    "mean_draws",
    "percentile_interval",
    "unit_intervals",
]

RESAMPLED = ("r", "r2", "r_normalised")
"""Measures that have a bootstrap."""

BLOCK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Repeats:
    """What a noise ceiling is made of, stimulus by stimulus.

    Parameters
    ----------
    counts : array (n_stimuli,)
        Trials of each stimulus.
    means, within : array (n_stimuli, n_units)
        Mean response of the trials less the mean of all, and sum of squares about the stimulus' own mean.
    """

    counts: np.ndarray
    means: np.ndarray
    within: np.ndarray

    @classmethod
    def of(cls, trials: Trials, stimulus_ids: Sequence[str], columns: Any) -> Repeats:
        """Sums of some columns of the trials' matrix, in the order of `stimulus_ids`."""
        row_of = {one: row for row, one in enumerate(stimulus_ids)}
        codes = np.array([row_of[one] for one in trials.stimulus_ids])
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=len(stimulus_ids))
        starts = np.cumsum(counts) - counts
        values = trials.matrix()[:, columns].astype(np.float64)[order]
        values -= values.mean(axis=0)
        means = np.add.reduceat(values, starts, axis=0) / counts[:, None]
        values -= means[codes[order]]
        return cls(counts.astype(np.float64), means, np.add.reduceat(values**2, starts, axis=0))


def draw_weights(n_draws: int, n_stimuli: int, *, seed: int) -> np.ndarray:
    """Multiplicities (n_draws, n_stimuli) of the stimuli in each draw."""
    return np.concatenate(list(bootstrap_weights(n_draws, n_stimuli, seed=seed)))


def drawn_r(measured: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's r of each column in each draw, (n_draws, n_units); 0 in a draw in which a column does not vary."""
    share, true, guess = weights / weights.shape[1], _standard(measured), _standard(predicted)
    mean_true, mean_guess = share @ true, share @ guess
    spread = (share @ true**2 - mean_true**2) * (share @ guess**2 - mean_guess**2)
    product = share @ (true * guess) - mean_true * mean_guess
    return np.divide(product, np.sqrt(np.abs(spread)), out=np.zeros_like(product), where=spread > 1e-20)


def drawn_r2(measured: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R² of each column in each draw, (n_draws, n_units); 0 in a draw in which the responses do not vary."""
    scale = np.asarray(measured, dtype=np.float64).std(axis=0)
    error = (np.asarray(measured, dtype=np.float64) - predicted) / np.where(scale > 0, scale, 1.0)
    share, true = weights / weights.shape[1], _standard(measured)
    total = share @ true**2 - (share @ true) ** 2
    return np.where(total > 1e-10, 1.0 - share @ error**2 / np.where(total > 1e-10, total, 1.0), 0.0)


def drawn_ceiling(repeats: Repeats, weights: np.ndarray) -> np.ndarray:
    """Noise ceiling of each column in each draw, (n_draws, n_units): `ncsnr` and `noise_ceiling` by weighted sums."""
    counts = repeats.counts
    n_trials = (weights @ counts)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = weights @ repeats.within / (weights @ (counts - 1))[:, None]
        sums = weights @ (counts[:, None] * repeats.means)
        squares = weights @ (repeats.within + counts[:, None] * repeats.means**2)
        signal = np.maximum((squares - sums**2 / n_trials) / (n_trials - 1) - noise, 0.0)
        return signal / (signal + noise * (weights @ (1 / counts) / len(counts))[:, None])


def drawn(scores: UnitScores, value: str, columns: Any, weights: np.ndarray) -> np.ndarray:
    """One measure of some units in each draw, (n_draws, n_units).

    Parameters
    ----------
    scores : UnitScores
    value : {"r", "r2", "r_normalised"}
        The ceiling is drawn anew with the stimuli; NaN in a draw that leaves none.
    columns : slice or array of int
        Units (times counted apart).
    weights : array (n_draws, n_stimuli)
    """
    if value not in RESAMPLED:
        raise DataError(f"'{value}' has no bootstrap.{closest(value, RESAMPLED)}", expected=RESAMPLED)
    measured, predicted = scores.measured[:, columns], scores.predicted[:, columns]
    if value == "r2":
        return drawn_r2(measured, predicted, weights)
    r = drawn_r(measured, predicted, weights)
    if value == "r" or "ceiling" in scores.why:
        return r if value == "r" else np.full_like(r, np.nan)
    repeats = Repeats.of(scores.trials, scores.stimulus_ids, columns)
    ceiling = correlation_ceiling(drawn_ceiling(repeats, weights))
    return np.divide(r, ceiling, out=np.full_like(r, np.nan), where=ceiling > 0)


def unit_intervals(scores: UnitScores, value: str, weights: np.ndarray, *, level: float) -> tuple[np.ndarray, ...]:
    """Percentile interval of one measure of every unit: low and high, each (n_units * n_times,)."""
    n_units = scores.r.size
    low, high = np.full(n_units, np.nan), np.full(n_units, np.nan)
    for columns in row_blocks(n_units, _column_bytes(weights), budget=BLOCK_BYTES):
        low[columns], high[columns] = percentile_interval(drawn(scores, value, columns, weights), level=level)
    missing = np.isnan(getattr(scores, value)).ravel()
    low[missing] = high[missing] = np.nan
    return low, high


def percentile_interval(draws: np.ndarray, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """`interval` of many units at once: sorted together where no draw (n_draws, n_units) is missing."""
    complete = ~np.isnan(draws).any(axis=0)
    ends = np.full((2, draws.shape[1]), np.nan)
    tails = ((1 - level) / 2, (1 + level) / 2)
    ends[:, complete] = np.quantile(np.ascontiguousarray(draws[:, complete].T), tails, axis=1, overwrite_input=True)
    ends[:, ~complete] = interval(draws[:, ~complete], level=level)
    return ends[0], ends[1]


def mean_draws(scores: UnitScores, value: str, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of one measure over some units in each draw, (n_draws,); units without it in a draw are left out of that."""
    total, number = np.zeros(len(weights)), np.zeros(len(weights))
    for some in row_blocks(len(columns), _column_bytes(weights), budget=BLOCK_BYTES):
        values = drawn(scores, value, columns[some], weights)
        total += np.nansum(values, axis=1)
        number += (~np.isnan(values)).sum(axis=1)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def _column_bytes(weights: np.ndarray) -> int:
    return 8 * (6 * weights.shape[1] + 8 * len(weights))


def _standard(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    return centred / np.where(spread > 0, spread, 1.0)
