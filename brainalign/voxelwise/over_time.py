"""Temporal generalisation: is what was learned at one time still so at another?

King & Dehaene 2014, Trends Cogn. Sci. 18, for encoding models (channel by channel) and for decoding (all channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.scoring.ceilings import correlation_ceiling
from brainalign.scoring.resampling import permutations
from brainalign.splits import check_disjoint
from brainalign.voxelwise.inference import NullTally, unit_rows
from brainalign.voxelwise.ridge import Ridge
from brainalign.voxelwise.samples import stimulus_rows

if TYPE_CHECKING:
    from brainalign.latents.base import Latents
    from brainalign.trials import Trials

__all__ = ["TemporalGeneralisation", "decoding_generalisation", "temporal_generalisation"]

BLOCK_BYTES = 2**24


@dataclass(frozen=True, eq=False)
class TemporalGeneralisation:
    """Scores of models trained at one time and tested at another.

    Parameters
    ----------
    values : ndarray, shape (n_channels, n_times, n_times), or (n_times, n_times) for decoding
        Correlation; trained at the time of the second last axis, tested at that of the last one.
    ceiling : ndarray, shape (n_channels, n_times), or None
        Highest correlation that the noise lets any model reach at each test time; NaN without repetitions.
    p, q, p_max : ndarray, shaped like `values`
        One-sided permutation p over stimuli, false discovery rate, and p corrected by the maximum over all entries.
    times : ndarray, shape (n_times,)
    units : DataFrame or None
    n_stimuli, n_permutations : int
    """

    values: np.ndarray
    ceiling: np.ndarray | None
    p: np.ndarray
    q: np.ndarray
    p_max: np.ndarray
    times: np.ndarray
    units: pd.DataFrame | None
    n_stimuli: int
    n_permutations: int

    def __repr__(self) -> str:
        return (
            f"TemporalGeneralisation({self.values.shape}, {self.n_stimuli} stimuli, "
            f"{int((self.q < 0.05).sum())} entries at q < 0.05)"
        )

    @property
    def normalised(self) -> np.ndarray:
        """Values over the ceiling of their test time; NaN without one."""
        if self.ceiling is None:
            return np.full(self.values.shape, np.nan)
        ceiling = np.broadcast_to(self.ceiling[:, None, :], self.values.shape)
        return np.divide(self.values, ceiling, out=np.full(self.values.shape, np.nan), where=ceiling > 0)


def temporal_generalisation(
    model: Any, latents: Latents, trials: Trials, *, n_permutations: int = 1000, seed: int = 0
) -> TemporalGeneralisation:
    """Correlate what an encoding model predicts for one time with the responses at every other, channel by channel.

    Parameters
    ----------
    model : Ridge
        Fitted on Latents and time-resolved Trials.
    latents : Latents
    trials : Trials
        Test trials, (n_trials, n_channels, n_times); repetitions are averaged.
    n_permutations : int
        Shuffles of the stimuli, the same for every entry; 0 for none.
    seed : int

    Raises
    ------
    LeakageError
        When a test stimulus was fitted on.
    DataError
        When trials are not resolved in time.
    """
    _need_times(trials)
    scores = model.score_units(latents, trials, n_permutations=0)
    n_channels, n_times = scores.r.shape
    values = np.empty((n_channels, n_times, n_times))
    tally = NullTally(values.reshape(-1), n_permutations)  # a view, filled block by block
    orders = list(permutations(scores.n_stimuli, n_permutations, seed=seed))
    channel_bytes = 8 * n_times * (6 * scores.n_stimuli + 4 * n_times)
    for some in row_blocks(n_channels, channel_bytes, budget=BLOCK_BYTES):
        columns = slice(some.start * n_times, some.stop * n_times)
        guess, true = (
            unit_rows(one[:, columns]).reshape(-1, n_times, scores.n_stimuli)
            for one in (scores.predicted, scores.measured)
        )
        by_stimulus = np.ascontiguousarray(true.swapaxes(1, 2))  # a shuffle then copies whole rows
        values[some] = guess @ by_stimulus
        values[some][~guess.any(axis=2)] = np.nan
        values[some].swapaxes(1, 2)[~true.any(axis=2)] = np.nan
        entries = slice(columns.start * n_times, columns.stop * n_times)
        for number, order in enumerate(orders):
            null = guess @ np.take(by_stimulus, order, axis=1)
            tally.add(entries, slice(number, number + 1), null.reshape(1, -1))
    ceiling = correlation_ceiling(scores.ceiling)
    return _result(values, tally, ceiling, trials, n_stimuli=scores.n_stimuli)


def decoding_generalisation(
    model: Ridge, train: Trials, test: Trials, latents: Latents, *, n_permutations: int = 1000, seed: int = 0
) -> TemporalGeneralisation:
    """Regress latents on all channels at each time, and test each regression at every other time.

    Parameters
    ----------
    model : Ridge
        Unfitted; a copy is fitted at each time, repetitions of a stimulus kept together in its cross-validation.
    train, test : Trials
        Of the same channels and times; repetitions of test trials are averaged.
    latents : Latents
    n_permutations : int
        Shuffles of the test stimuli; 0 for none.
    seed : int

    Returns
    -------
    TemporalGeneralisation
        `values` (n_times, n_times): Pearson r of decoded and true latents over stimuli, mean over the dimensions that
        vary; a dimension decoded as a constant counts as 0.

    Raises
    ------
    LeakageError
        When a stimulus stands in train and test.
    DataError
        When trials are not resolved in time, or differ in channels or times.
    """
    for trials in (train, test):
        _need_times(trials)
    check_disjoint(train.stimulus_ids, test.stimulus_ids)
    here, there = (one.units["name"].tolist() for one in (train, test))
    if here != there or np.asarray(train.times).tolist() != np.asarray(test.times).tolist():
        raise DataError("train and test differ in channels or times", expected=train.shape[1:], found=test.shape[1:])
    average = test.average("stimulus_id")
    n_stimuli, n_channels, n_times = average.shape
    if n_stimuli < 2:
        raise DataError("a correlation needs stimuli", expected="at least 2", found=n_stimuli)
    targets = stimulus_rows(latents, train.stimulus_ids)
    true = unit_rows(stimulus_rows(latents, average.stimulus_ids))
    varying = true.any(axis=1)
    if not varying.any():
        raise DataError("the latents do not vary over the test stimuli", expected="latents that differ")
    true = true[varying]
    samples = np.moveaxis(average.responses, 2, 0).reshape(-1, n_channels)
    orders = np.array(list(permutations(n_stimuli, n_permutations, seed=seed))).reshape(n_permutations, n_stimuli)
    values = np.empty((n_times, n_times))
    tally = NullTally(values.reshape(-1), n_permutations)
    for time in range(n_times):
        fitted = clone(model).fit(train.responses[:, :, time], targets, groups=train.stimulus_ids)
        decoded = fitted.predict(samples)[:, varying].reshape(n_times, n_stimuli, -1)
        # Agreement of the decoded stimulus i with the true stimulus k: a shuffle only picks other entries.
        agreement = np.stack([unit_rows(one).T @ true for one in decoded]) / len(true)
        values[time] = np.trace(agreement, axis1=1, axis2=2)
        for some in row_blocks(n_permutations, 8 * n_times * n_stimuli, budget=BLOCK_BYTES):
            null = agreement[:, np.arange(n_stimuli), orders[some]].sum(axis=2)
            tally.add(slice(time * n_times, (time + 1) * n_times), some, null.T)
    return _result(values, tally, None, test, n_stimuli=n_stimuli)


def _need_times(trials: Any) -> None:
    if trials.times is None:
        raise DataError(
            "these trials are not time-resolved", expected="(n_trials, n_channels, n_times)", found=trials.shape
        )


def _result(
    values: np.ndarray, tally: NullTally, ceiling: np.ndarray | None, trials: Trials, *, n_stimuli: int
) -> TemporalGeneralisation:
    test = tally.result(values.shape) if len(tally.maxima) else None
    nothing = np.full(values.shape, np.nan)
    return TemporalGeneralisation(
        values=values,
        ceiling=ceiling,
        p=nothing if test is None else test.p,
        q=nothing if test is None else test.q,
        p_max=nothing if test is None else test.p_max,
        times=np.asarray(trials.times),
        units=None if ceiling is None else trials.units,
        n_stimuli=n_stimuli,
        n_permutations=len(tally.maxima),
    )
