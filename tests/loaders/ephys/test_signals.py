"""Filters, envelope, baseline and resampling against closed forms, loops and MNE."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.loaders.ephys.signals import Resampler, band_limit, correct_baseline, high_gamma_envelope

SFREQ = 500.0
TIMES = np.arange(0, 16, 1 / SFREQ)
MIDDLE = slice(2000, -2000)  # clear of the longest filter's edges


def _tone(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * TIMES)


@pytest.mark.parametrize(
    ("options", "kept", "removed"),
    [
        ({"l_freq": 5.0}, 20.0, 1.0),
        ({"h_freq": 40.0}, 20.0, 80.0),
        ({"l_freq": 8.0, "h_freq": 30.0}, 20.0, 2.0),
        ({"notch": 50.0}, 20.0, 50.0),
        ({"notch": [50.0, 100.0]}, 75.0, 100.0),
    ],
)
def test_filters_keep_and_remove_tones(options: dict, kept: float, removed: float) -> None:
    data = np.stack([_tone(kept), _tone(removed)])
    filtered = band_limit(data, SFREQ, **options)
    np.testing.assert_allclose(filtered[0, MIDDLE], data[0, MIDDLE], atol=0.02)
    assert np.abs(filtered[1, MIDDLE]).max() < 0.02
    np.testing.assert_array_equal(data[0], _tone(kept))  # the input is left alone


def test_filter_equals_mne_on_a_raw() -> None:
    data = np.random.default_rng(0).standard_normal((3, len(TIMES)))
    raw = mne.io.RawArray(data.copy(), mne.create_info(3, SFREQ, "eeg"), verbose="error")
    oracle = raw.notch_filter([50, 100], verbose="error").filter(1.0, 90.0, verbose="error").get_data()
    np.testing.assert_allclose(band_limit(data, SFREQ, l_freq=1.0, h_freq=90.0, notch=[50, 100]), oracle, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{"l_freq": 0.0}, {"h_freq": 250.0}, {"notch": -50.0}, {"l_freq": 30.0, "h_freq": 10.0}]
)
def test_impossible_filters_are_refused(options: dict) -> None:
    with pytest.raises(DataError):
        band_limit(np.zeros((1, 1000)), SFREQ, **options)


def test_envelope_of_a_planted_amplitude() -> None:
    """A carrier whose amplitude doubles: 20 log10(2) decibels in the log, a factor of two in the others."""
    amplitude = np.where(TIMES < 8, 1.0, 2.0)
    rng = np.random.default_rng(0)
    carrier = sum(_tone(f + rng.uniform(-1, 1)) for f in range(75, 150, 10))
    data = (amplitude * carrier)[None]
    before, after = slice(500, 3500), slice(4500, 7500)
    log = high_gamma_envelope(data, SFREQ, (70, 150))[0]
    assert log[after].mean() - log[before].mean() == pytest.approx(20 * np.log10(2), abs=0.1)
    plain = high_gamma_envelope(data, SFREQ, (70, 150), envelope="amplitude")[0]
    assert plain[after].mean() / plain[before].mean() == pytest.approx(2, rel=0.01)
    assert plain[before].mean() == pytest.approx(1.0, rel=0.15)  # each sub-band holds one tone of amplitude 1


def test_envelope_follows_the_band_and_not_its_neighbours() -> None:
    modulation = 1 + 0.8 * np.sin(2 * np.pi * 0.7 * TIMES)
    data = np.stack([modulation * _tone(110), modulation * _tone(20), modulation * _tone(200)])
    inside, below, above = high_gamma_envelope(data, SFREQ, (70, 150), envelope="amplitude")[:, MIDDLE]
    assert np.corrcoef(inside, modulation[MIDDLE])[0, 1] > 0.98
    assert below.max() < 0.02 * inside.mean()
    assert above.max() < 0.02 * inside.mean()


def test_one_sub_band_equals_filter_and_hilbert_of_mne() -> None:
    data = np.random.default_rng(1).standard_normal((2, len(TIMES)))
    raw = mne.io.RawArray(data.copy(), mne.create_info(2, SFREQ, "eeg"), verbose="error")
    raw.filter(70, 90, l_trans_bandwidth=10, h_trans_bandwidth=10, verbose="error")
    oracle = raw.apply_hilbert(envelope=True, verbose="error").get_data()
    ours = high_gamma_envelope(data, SFREQ, (70, 90), envelope="amplitude", width=20)
    np.testing.assert_allclose(ours, oracle, atol=1e-6)


def test_log_envelope_weighs_every_sub_band_the_same() -> None:
    """Power falls with frequency; a change of the highest sub-band must count like one of the lowest."""
    noise = np.random.default_rng(2).standard_normal((1, len(TIMES)))
    low, high = 3 * _tone(75), 0.3 * _tone(145)
    base = high_gamma_envelope(low + high + 0.1 * noise, SFREQ, (70, 150))[0, MIDDLE].mean()
    more_low = high_gamma_envelope(2 * low + high + 0.1 * noise, SFREQ, (70, 150))[0, MIDDLE].mean()
    more_high = high_gamma_envelope(low + 2 * high + 0.1 * noise, SFREQ, (70, 150))[0, MIDDLE].mean()
    assert more_low - base == pytest.approx(20 * np.log10(2) / 8, abs=0.1)
    assert more_high - base == pytest.approx(20 * np.log10(2) / 8, abs=0.1)


def test_bands_over_the_nyquist_frequency_are_refused() -> None:
    with pytest.raises(DataError, match="does not fit"):
        high_gamma_envelope(np.zeros((1, 1000)), 250.0, (70, 150))
    with pytest.raises(DataError, match="unknown envelope"):
        high_gamma_envelope(np.zeros((1, 1000)), 500.0, (70, 150), envelope="power")


def test_baseline_equals_mne() -> None:
    data = np.random.default_rng(3).standard_normal((5, 2, 61))
    epochs = mne.EpochsArray(data, mne.create_info(2, 50.0, "eeg"), tmin=-0.2, baseline=None, verbose="error")
    for interval in [(None, 0.0), (-0.1, 0.1), (None, None)]:
        oracle = epochs.copy().apply_baseline(interval, verbose="error").get_data()
        np.testing.assert_allclose(correct_baseline(data, epochs.times, interval), oracle, atol=1e-12)
    ratio = correct_baseline(data + 10, epochs.times, (None, 0.0), divide=True)
    np.testing.assert_allclose(ratio[..., :11].mean(axis=-1), 1.0)
    for interval in [(-0.5, 0.0), (0.0, 2.0), (0.5, 0.4)]:
        with pytest.raises(DataError, match="baseline"):
            correct_baseline(data, epochs.times, interval)


@pytest.mark.parametrize(
    ("sfreq", "new_sfreq"), [(600.0, 100.0), (600.614990234375, 100.0), (500.0, 128.0), (250.0, 1000.0)]
)
def test_resampling_is_exact_in_time(sfreq: float, new_sfreq: float) -> None:
    """Tones are known in closed form at every instant: wherever the new samples fall, they must lie on them."""
    times = np.arange(round(-0.2 * sfreq), round(1.0 * sfreq) + 1) / sfreq
    resampler = Resampler(times, sfreq, new_sfreq)
    wide = times[0] + np.arange(-resampler.margin, len(times) + resampler.margin) / sfreq
    slow, fast = 0.3 * min(sfreq, new_sfreq), 0.55 * new_sfreq
    made = resampler.apply(np.stack([np.sin(2 * np.pi * slow * wide), np.full(len(wide), 3.0)]))
    assert resampler.times[0] == times[0]
    assert resampler.times[-1] <= times[-1] + 1e-9 < resampler.times[-1] + 1 / new_sfreq
    np.testing.assert_allclose(np.diff(resampler.times), 1 / new_sfreq)
    np.testing.assert_allclose(made[0], np.sin(2 * np.pi * slow * resampler.times), atol=2e-3)
    np.testing.assert_allclose(made[1], 3.0)
    if new_sfreq < sfreq:  # what does not fit is gone, not folded back
        assert np.abs(resampler.apply(np.sin(2 * np.pi * fast * wide))).max() < 5e-3
    with pytest.raises(DataError):
        Resampler(times, sfreq, 0.0)
