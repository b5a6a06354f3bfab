"""Attended of two sounds: planted lags and topography come back, longer windows tell more, and nothing by chance."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis.decoding import decode_attention, reconstruct_stimulus
from brainalign.errors import DataError
from brainalign.voxelwise import Ridge

DELAYS, WINDOWS, PLANTED = range(8), [16, 64, 320], 3
TOPOGRAPHY = np.array([1.0, -0.5, 0.0, 0.3, 0.0, 0.0])


def listening(*, attended=1.0, n_trials=10, n_times=320, noise=3.0, seed=0):
    """Signals that follow the attended envelope by three samples; the ignored one not at all."""
    rng = np.random.default_rng(seed)
    envelopes = rng.standard_normal((n_trials, n_times, 2))
    drive = np.roll(envelopes[..., 0], PLANTED, axis=1)[..., None] * TOPOGRAPHY * attended
    return list(drive + noise * rng.standard_normal((n_trials, n_times, 6))), list(envelopes)


@pytest.fixture(scope="module")
def decoded():
    return decode_attention(*listening(), delays=DELAYS, windows=WINDOWS, n_permutations=99)


def test_longer_windows_tell_more_of_the_attended_sound(decoded):
    assert 0.55 < decoded.accuracy[0] < decoded.accuracy[1] < decoded.accuracy[2]
    assert decoded.accuracy[2] == 1.0 and (decoded.p_value <= 0.02).all()
    assert ((decoded.low <= decoded.accuracy) & (decoded.accuracy <= decoded.high)).all()
    assert decoded.correlations[:, 0].mean() > 0.2 > 0.1 > abs(decoded.correlations[:, 1].mean())
    assert decoded.table()["windows"].tolist() == WINDOWS


def test_patterns_peak_at_the_planted_delay_and_channel(decoded):
    assert decoded.patterns.shape == (8, 6)
    assert np.unravel_index(np.abs(decoded.patterns).argmax(), (8, 6)) == (PLANTED, 0)
    assert np.corrcoef(decoded.patterns[PLANTED], TOPOGRAPHY)[0, 1] > 0.95


def test_without_attention_it_is_chance_and_p_is_not_small():
    found = [
        decode_attention(
            *listening(attended=0.0, n_trials=6, n_times=128, seed=seed), delays=[2, 3], windows=[16], n_permutations=19
        )
        for seed in range(20)
    ]
    accuracy, p = (np.array([getattr(one, name)[0] for one in found]) for name in ("accuracy", "p_value"))
    assert abs(accuracy.mean() - 0.5) < 0.05
    assert (p <= 0.05).sum() <= 4 and 0.3 < p.mean() < 0.8


def test_reconstruction_is_ridge_on_the_signals_that_follow():
    signals, envelopes = listening(n_trials=4, n_times=60)
    made = reconstruct_stimulus(signals, envelopes, delays=[0, 2])
    one = [np.zeros((60, 12)) for _ in signals]
    for X, signal in zip(one, signals, strict=True):
        centred = signal - signal.mean(axis=0)
        for time in range(60):
            X[time, :6] = centred[time]
            X[time, 6:] = centred[time + 2] if time < 58 else 0
    groups = np.repeat(range(3), 60)
    ridge = Ridge(cv=3).fit(np.concatenate(one[:3]), np.concatenate(envelopes[:3]), groups=groups)
    np.testing.assert_allclose(made[3], ridge.predict(one[3]), atol=1e-10)
    changed = [*envelopes[:3], envelopes[3] * -5]
    np.testing.assert_array_equal(reconstruct_stimulus(signals, changed, delays=[0, 2])[3], made[3])


def first_changed(arrays, change):
    return [change(arrays[0]), *arrays[1:]]


@pytest.mark.parametrize(
    "change, options, message",
    [
        (lambda x, y: (x, y), {"windows": [321]}, "longer than a trial"),
        (lambda x, y: (x, y), {"windows": [0.5]}, "whole numbers"),
        (lambda x, y: (x, y), {"n_permutations": 0}, "at least 1"),
        (lambda x, y: (x[:1], y[:1]), {}, "at least 3 trials"),
        (lambda x, y: (x, y[:-1]), {}, "stimulus for each"),
        (lambda x, y: (x, [np.repeat(one, 2, axis=0) for one in y]), {}, "different rates"),
        (lambda x, y: (x, [one[:, 0] for one in y]), {}, "attended one first"),
        (lambda x, y: (first_changed(x, lambda one: one[:, :3]), y), {}, "same channels"),
        (lambda x, y: (first_changed(x, lambda one: one * np.nan), y), {}, "signals of trial 0"),
        (lambda x, y: (x, first_changed(y, lambda one: one * np.inf)), {}, "stimulus of trial 0"),
        (lambda x, y: (x, y), {"delays": [320]}, "shorter than the longest delay"),
    ],
)
def test_bad_input_is_refused(change, options, message):
    with pytest.raises(DataError, match=message):
        decode_attention(*change(*listening()), **{"delays": DELAYS, "windows": [64], **options})
