"""Which of two sounds does a listener attend? The sound reconstructed from the brain, by lagged ridge regression.

O'Sullivan et al. 2015, "Attentional selection in a cocktail party environment can be decoded from single-trial EEG",
Cereb. Cortex 25: the envelope is reconstructed from the signals that follow it, and compared with both envelopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.decoding.contributions import haufe_patterns
from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.scoring.correlation import pearson
from brainalign.scoring.resampling import mean_ci, permutation_p
from brainalign.voxelwise import Delayer, Ridge

__all__ = ["AttentionResult", "decode_attention", "reconstruct_stimulus"]

_N_TRIALS = 3
"""One to hold out, and two so that the penalty is chosen across trials."""


@dataclass(frozen=True, eq=False)
class AttentionResult:
    """How often the attended sound is told from the other, by the length of the window.

    Attributes
    ----------
    windows : array (n_windows,)
        Samples.
    accuracy, low, high : array (n_windows,)
        Share of windows in which the reconstruction is nearer to the attended sound; chance 0.5. The interval is a
        bootstrap over trials.
    p_value : array (n_windows,)
    null : array (n_permutations, n_windows)
        The same accuracy with attended and ignored swapped in random trials, decoders fitted anew.
    correlations : array (n_trials, 2)
        Of the reconstruction with the attended and the ignored sound, over the whole trial.
    patterns : array (n_delays, n_channels)
        How the signals at each delay go with the reconstruction (Haufe et al. 2014).
    """

    windows: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p_value: NDArray[np.float64]
    null: NDArray[np.float64]
    correlations: NDArray[np.float64]
    patterns: NDArray[np.float64]

    def table(self) -> pd.DataFrame:
        """One row a window length."""
        columns = ("windows", "accuracy", "low", "high", "p_value")
        return pd.DataFrame({name: getattr(self, name) for name in columns})


def reconstruct_stimulus(
    signals: Sequence[ArrayLike], stimuli: Sequence[ArrayLike], *, delays: Sequence[int]
) -> list[NDArray[np.float64]]:
    """A sound's envelope or spectrogram from the signals that follow it, each trial by a decoder that never saw it.

    Parameters
    ----------
    signals : sequence of array (n_times, n_channels)
        One a trial; trials may differ in length.
    stimuli : sequence of array (n_times,) or (n_times, n_targets)
        At the same rate.
    delays : sequence of int
        Samples by which signals follow the sound: 0 to 0.25 s are usual. Each target has its own penalty, chosen
        across the other trials.

    Returns
    -------
    list of array, as `stimuli`

    Raises
    ------
    DataError
        When there are fewer than three trials, a trial is shorter than the delays, rates or channels differ, or
        something is not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sounds = rng.standard_normal((4, 300))
    >>> signals = [np.roll(one, 2)[:, None] + 0.3 * rng.standard_normal((300, 3)) for one in sounds]
    >>> made = reconstruct_stimulus(signals, sounds, delays=range(4))
    >>> bool(min(pearson(*pair) for pair in zip(sounds, made)) > 0.8)
    True
    """
    trials, targets = _checked(signals, stimuli, delays)
    flat = [one.reshape(len(one), -1) for one in targets]
    made, _ = _held_out(trials, flat, delays)
    return [one.reshape(target.shape) for one, target in zip(made, targets, strict=True)]


def decode_attention(
    signals: Sequence[ArrayLike],
    envelopes: Sequence[ArrayLike],
    *,
    delays: Sequence[int],
    windows: Sequence[int],
    n_permutations: int = 199,
    seed: int = 0,
) -> AttentionResult:
    """Tell the attended of two sounds from the other, in windows of several lengths.

    The attended envelope is reconstructed by `reconstruct_stimulus`; in each window the envelope that correlates more
    with the reconstruction is taken for the attended one. The test swaps the two sounds in whole trials at random and
    fits all decoders anew; with n trials p cannot fall below about 2**-n, however many permutations are drawn.

    Parameters
    ----------
    signals : sequence of array (n_times, n_channels)
        One a trial.
    envelopes : sequence of array (n_times, 2)
        The attended sound, then the ignored one, at the rate of the signals.
    delays : sequence of int
        As for `reconstruct_stimulus`.
    windows : sequence of int
        Samples; windows follow each other without overlap, and what is left at the end of a trial is not scored.
    n_permutations, seed : int

    Returns
    -------
    AttentionResult

    Raises
    ------
    DataError
        As `reconstruct_stimulus`, and when a window is longer than a trial or there are not two envelopes.
    """
    trials, pairs = _checked(signals, envelopes, delays)
    if any(one.ndim != 2 or one.shape[1] != 2 for one in pairs):
        raise DataError(
            "two envelopes a trial are compared, the attended one first",
            expected="(n_times, 2)",
            found=sorted({one.shape for one in pairs}),
            fix="np.stack([attended, ignored], axis=1)",
        )
    lengths, shortest = np.asarray(windows), min(map(len, pairs))
    if lengths.ndim != 1 or not lengths.size or lengths.dtype.kind not in "iu" or lengths.min() < 3:
        raise DataError("windows are whole numbers of samples", expected="such as [64, 128], 3 or more", found=windows)
    if lengths.max() > shortest:
        raise DataError(
            "a window is longer than a trial",
            expected=f"at most {shortest} samples",
            found=int(lengths.max()),
            fix="leave the window out, or trials that are shorter than it",
        )
    if n_permutations < 1:
        raise DataError("n_permutations must be at least 1", found=n_permutations)
    swapped = np.random.default_rng(np.random.SeedSequence(seed)).random((len(pairs), 1 + n_permutations)) < 0.5
    swapped[:, 0] = False
    targets = [np.where(swap, pair[:, [1]], pair[:, [0]]) for pair, swap in zip(pairs, swapped, strict=True)]
    made, delayed = _held_out(trials, targets, delays)
    accuracy, null, ends = [], [], []
    for window in lengths.tolist():
        right = [
            np.abs(_nearer(one, pair, window) - swap) for one, pair, swap in zip(made, pairs, swapped, strict=True)
        ]
        every = np.concatenate(right)
        accuracy.append(every[:, 0].mean())
        null.append(every[:, 1:].mean(axis=0))
        trial_of = np.repeat(np.arange(len(right)), [len(one) for one in right])
        ends.append(mean_ci(every[:, 0], clusters=trial_of, seed=seed))
    low, high = np.array(ends, dtype=np.float64).reshape(len(lengths), 2).T
    real = [one[:, 0] for one in made]
    return AttentionResult(
        windows=lengths.astype(np.int64),
        accuracy=np.array(accuracy),
        low=low,
        high=high,
        p_value=permutation_p(np.array(accuracy), np.array(null).T),
        null=np.array(null).T,
        correlations=np.array(
            [[pearson(pair[:, k], one) for k in (0, 1)] for pair, one in zip(pairs, real, strict=True)]
        ),
        patterns=haufe_patterns(delayed.reshape(len(delayed), len(delays), -1), np.concatenate(real))[0],
    )


def _held_out(
    trials: list[np.ndarray], targets: list[np.ndarray], delays: Sequence[int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Reconstruction of every trial by a decoder of the others, and the signals at all delays."""
    ends = np.cumsum([0, *map(len, trials)])
    trial_of = np.repeat(np.arange(len(trials)), np.diff(ends))
    # A delay of the features into the future: the sound is told by what follows it. Past the end there are zeros, so
    # each trial is centred by itself, which needs no other trial.
    centred = np.concatenate([one - one.mean(axis=0) for one in trials])
    delayed = Delayer([-int(delay) for delay in delays], by=trial_of).fit_transform(centred)
    Y = np.concatenate(targets)
    made = []
    for number, (start, stop) in enumerate(pairwise(ends.tolist())):
        train = trial_of != number
        decoder = Ridge(cv=min(5, len(trials) - 1)).fit(delayed[train], Y[train], groups=trial_of[train])
        made.append(decoder.predict(delayed[start:stop]))
    return made, delayed


def _nearer(made: np.ndarray, pair: np.ndarray, window: int) -> NDArray[np.float64]:
    """Is each reconstruction nearer to the first envelope, (n_windows, n_reconstructions); a half where neither is."""
    n = len(made) // window
    cut = made[: n * window].reshape(n, window, -1)
    sounds = pair[: n * window].reshape(n, window, 2)
    first, second = (pearson(np.broadcast_to(sounds[..., [k]], cut.shape), cut, axis=1) for k in (0, 1))
    difference = np.nan_to_num(first) - np.nan_to_num(second)
    return 0.5 + 0.5 * np.sign(difference)


def _checked(
    signals: Sequence[ArrayLike], stimuli: Sequence[ArrayLike], delays: Sequence[int]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Trials and their sounds as arrays that fit each other."""
    trials = trial_arrays(signals)
    sounds: list[Any] = [np.asarray(one, dtype=np.float64) for one in stimuli]
    if len(trials) != len(sounds) or len(trials) < _N_TRIALS:
        raise DataError(
            "decoders are tested on trials of their own",
            expected=f"at least {_N_TRIALS} trials, and a stimulus for each",
            found=f"{len(trials)} trials, {len(sounds)} stimuli",
            fix="cut a long recording into trials",
        )
    if any(one.ndim not in (1, 2) for one in sounds) or len({one.shape[1:] for one in sounds}) > 1:
        raise DataError(
            "stimuli must have the same features",
            expected="(n_times[, n_targets])",
            found=[one.shape for one in sounds],
        )
    for number, (trial, sound) in enumerate(zip(trials, sounds, strict=True)):
        if len(trial) != len(sound):
            raise DataError(
                f"signals and stimulus of trial {number} have different rates or lengths",
                expected=f"{len(trial)} samples, as the signals",
                found=len(sound),
                fix="resample both to one rate, such as 64 Hz, and cut them alike",
            )
        check_finite(sound, name=f"stimulus of trial {number}")
    longest = max(map(abs, delays), default=0)
    if min(map(len, trials)) <= longest:
        raise DataError(
            "a trial is shorter than the longest delay", expected=f"more than {longest}", found=min(map(len, trials))
        )
    return trials, sounds


def trial_arrays(signals: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """Signals of trials (n_times, n_channels) as finite arrays of the same channels."""
    trials = [np.asarray(one, dtype=np.float64) for one in signals]
    if any(one.ndim != 2 for one in trials) or len({one.shape[1:] for one in trials}) > 1:
        raise DataError(
            "trials must have the same channels", expected="(n_times, n_channels)", found=[one.shape for one in trials]
        )
    for number, trial in enumerate(trials):
        check_finite(trial, name=f"signals of trial {number}")
    return trials
