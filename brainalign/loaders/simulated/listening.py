"""A simulated listener among several talkers, whose brain tells what kind of voice is attended to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import DataError

__all__ = ["Listening", "simulate_listening"]

N_VOICE = 16
"""Numbers that describe a voice."""


@dataclass(frozen=True, eq=False)
class Listening:
    """Trials of a listener and what is true of them.

    Attributes
    ----------
    signals : list of array (n_times, n_channels)
        One a trial.
    voices : array (n_trials, 2, n_features)
        Embeddings of the two talkers of each trial, the attended one first; every utterance differs a little.
    speakers : array (n_trials, 2)
        Who talks.
    kinds : array (n_speakers,)
        The kind of each speaker's voice, which is what the brain tells.
    topographies : array (n_kinds, n_channels)
        Mean response to each kind.
    """

    signals: list[NDArray[np.float64]]
    voices: NDArray[np.float64]
    speakers: NDArray[np.int64]
    kinds: NDArray[np.int64]
    topographies: NDArray[np.float64]


def simulate_listening(
    n_trials: int = 48,
    *,
    n_kinds: int = 3,
    n_speakers: int = 12,
    n_times: int = 100,
    attention: float = 1.0,
    seed: int = 0,
) -> Listening:
    """Signals that follow the loudness of the attended talker, in channels that go with the kind of its voice.

    Parameters
    ----------
    n_trials : int
        Each with two talkers of different kinds.
    n_kinds, n_speakers : int
        Kinds of voices, and speakers dealt to them in turn.
    n_times : int
        Samples of a trial, in 8 channels.
    attention : float
        Size of the response in SD of the noise; at 0 the signals tell nothing.
    seed : int

    Examples
    --------
    >>> heard = simulate_listening(10)
    >>> len(heard.signals), heard.signals[0].shape, heard.voices.shape
    (10, (100, 8), (10, 2, 16))
    """
    if not 2 <= n_kinds <= n_speakers:
        raise DataError(
            "too few kinds or speakers",
            expected="2 <= n_kinds <= n_speakers",
            found=(n_kinds, n_speakers),
            fix="more speakers, or fewer kinds",
        )
    voice, brain, trial = (np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(3))
    kinds = np.arange(n_speakers) % n_kinds
    typical = voice.standard_normal((n_kinds, N_VOICE))
    speaker_voices = typical[kinds] + 0.2 * voice.standard_normal((n_speakers, N_VOICE))
    topographies = brain.standard_normal((n_kinds, 8))
    signals, speakers = [], np.empty((n_trials, 2), dtype=np.int64)
    for number in range(n_trials):
        first = trial.integers(n_speakers)
        second = trial.choice(np.flatnonzero(kinds != kinds[first]))
        speakers[number] = first, second
        syllables = np.repeat(trial.random(-(-n_times // 10)), 10)[:n_times]
        drive = attention * syllables[:, None] * topographies[kinds[first]]
        signals.append(drive + trial.standard_normal((n_times, 8)))
    voices = speaker_voices[speakers] + 0.1 * trial.standard_normal((n_trials, 2, N_VOICE))
    return Listening(signals, voices, speakers, kinds, topographies)
