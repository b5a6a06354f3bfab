"""EEG windows before volumes: against a loop, as views, strictly of the past, and bad input refused."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders.ephys.bold import pair_bold
from brainalign.loaders.simulated.eeg_fmri import SITES, PairDesign, load_pair, simulate_eeg_fmri

RNG = np.random.default_rng(0)
EEG = RNG.standard_normal((3, 500)).astype(np.float32)
BOLD = RNG.standard_normal((6, 2))
EVEN = 10.0 + 2.0 * np.arange(6)


def past(onset, sfreq=20.0, n_times=80, eeg=EEG):
    """Samples before an onset, one by one."""
    last = max(number for number in range(eeg.shape[1]) if number / sfreq < onset - 1e-9)
    return np.array([[channel[last - n_times + 1 + place] for place in range(n_times)] for channel in eeg])


@pytest.mark.parametrize("onsets", [EVEN, EVEN + 0.013, [4.0, 5.01, 7.5, 11.0, 20.02, 25.0]])
def test_windows_are_the_samples_before_each_volume(onsets):
    trials, bold = pair_bold((EEG, 20.0), BOLD, onsets=onsets, window=4.0)
    np.testing.assert_array_equal(trials.responses, [past(one) for one in onsets])
    assert trials.times[-1] == pytest.approx(-1 / 20) and trials.times[0] == -4.0
    np.testing.assert_array_equal(bold.at(trials.stimulus_ids), BOLD)


def test_equal_steps_make_a_view_of_the_recording():
    even, _ = pair_bold((EEG, 20.0), BOLD, onsets=EVEN, window=4.0)
    assert np.shares_memory(even.responses, EEG)
    # What the windows would hold as copies is four times what they span.
    assert even.responses[:, 0].base is not None and even.select(range(3)).responses.base is not None
    uneven, _ = pair_bold((EEG, 20.0), BOLD, onsets=[4.0, 5.0, 7.5, 11.0, 20.0, 25.0], window=4.0)
    assert not np.shares_memory(uneven.responses, EEG)


def test_nothing_from_a_volume_on_is_in_its_window():
    onset, changed = 15.0, EEG.copy()
    changed[:, 300:] += 1.0
    windows = [pair_bold((one, 20.0), BOLD[:1], onsets=[onset], window=4.0)[0].responses for one in (EEG, changed)]
    np.testing.assert_array_equal(*windows)
    changed[:, 299] += 1.0
    assert (pair_bold((changed, 20.0), BOLD[:1], onsets=[onset], window=4.0)[0].responses != windows[0]).any()


def test_channels_of_a_raw_are_taken_by_name_in_the_order_asked_for():
    info = mne.create_info(["Cz", "Pz", "Oz"], 20.0, "eeg")
    raw = mne.io.RawArray(EEG.astype(float), info, verbose="error")
    table = pd.DataFrame(BOLD, columns=["thalamus", "insula"])
    trials, bold = pair_bold(raw, table, onsets=EVEN, window=4.0, channels=["Oz", "Cz"], labels={"subject": 7})
    np.testing.assert_array_equal(trials.responses[0], past(EVEN[0])[[2, 0]])
    assert trials.units["name"].tolist() == ["Oz", "Cz"] and bold.meta["rois"] == ["thalamus", "insula"]
    assert trials.stimulus_ids[0] == "7/1/1/volume-00000"
    with pytest.raises(DataError, match=r"lacks 1 channel\(s\): \['Fz'\]"):
        pair_bold(raw, table, onsets=EVEN, window=4.0, channels=["Oz", "Fz"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"onsets": EVEN - 7.0}, r"first 1 volume\(s\) would begin before"),
        ({"onsets": EVEN + 6.0}, r"last 1 volume\(s\) come after the end"),
        ({"onsets": EVEN[::-1]}, "must follow each other"),
        ({"onsets": EVEN[:5]}, "each volume an onset"),
        ({"onsets": [*EVEN[:5], np.nan]}, "onsets contains NaN"),
        ({"bold": np.where(BOLD > 0, BOLD, np.nan)}, "bold contains NaN"),
        ({"recording": (np.where(EEG > 2, np.nan, EEG), 20.0)}, "the EEG contains NaN"),
        ({"recording": (EEG[0], 20.0)}, "not a continuous recording"),
        ({"recording": (EEG, 0.0)}, "not a continuous recording"),
        ({"window": 4.03}, "no whole number of samples"),
        ({"channels": ["a", "b"]}, "name every row"),
        ({"channels": ["a", "b", "a"]}, "each once"),
    ],
)
def test_what_cannot_be_paired_is_refused(change, message):
    given = {"recording": (EEG, 20.0), "bold": BOLD, "onsets": EVEN, "window": 4.0} | change
    with pytest.raises(DataError, match=message):
        pair_bold(given.pop("recording"), given.pop("bold"), **given)


def test_the_simulated_pair_holds_what_was_planted():
    design = PairDesign(n_volumes=120, sfreq=50.0, strength=4.0)
    eeg, bold, truth = simulate_eeg_fmri(design, seed=3)
    from nilearn.glm.first_level import glover_hrf

    response = glover_hrf(1 / 50, oversampling=1)
    for number in (0, 60, 119):  # the convolution, sample by sample
        sums = []
        for onset in bold.index[[number, 5]]:
            last = round(onset * 50) - 1
            lags = range(min(len(response), last + 1))
            sums.append(sum(response[lag] * truth.bursts["motor"][last - lag] for lag in lags))
        found = truth.signal["motor"].iloc[[number, 5]].to_numpy()
        if number == 0:
            slope = (found[0] - found[1]) / (sums[0] - sums[1])
        assert found[0] - found[1] == pytest.approx(slope * (sums[0] - sums[1]), rel=1e-6)
    # The band of each region is strongest at its channel while its bursts are strong.
    frequency = np.fft.rfftfreq(100, 1 / 50)
    for region, (site, (low, high)) in truth.drives.items():
        stretches = eeg[:, : 100 * (eeg.shape[1] // 100)].reshape(len(SITES), -1, 100)
        strong = truth.bursts[region][: stretches.shape[1] * 100].reshape(-1, 100).mean(axis=1) > 0.4
        power = np.abs(np.fft.rfft(stretches)) ** 2
        band = (frequency >= low) & (frequency <= high)
        gain = power[:, strong][..., band].mean(axis=(1, 2)) / power[:, ~strong][..., band].mean(axis=(1, 2))
        assert SITES[int(gain.argmax())] == site and gain.max() > 2
    assert "ventricle" not in truth.signal
    trials, _ = load_pair(n_volumes=20, subject="2")
    assert trials.shape == (20, 8, 1600) and {"thalamus", "ventricle"} <= set(trials.trials)
    assert np.abs(trials.responses[0] - load_pair(n_volumes=20, subject="3")[0].responses[0]).max() > 0.1
    for wrong in ({"drives": {"a": ("Cz", (20.0, 60.0))}}, {"drives": {"a": ("T7", (8.0, 12.0))}}, {"snr": 0.0}):
        with pytest.raises(DataError, match=r"driven so|out of range"):
            PairDesign(**wrong)
    with pytest.raises(DataError, match="unknown option 'volumes'"):
        load_pair(volumes=3)
