"""Signals unlike those fitted on, in every family of encoders: one error each, which says what differs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import brainalign as ba
from brainalign.encoders import ATM, WAVE, BrainMAE, DuIN, EEGNet, ShallowConvNet, TSConv, UnifiedEncoder
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.spaces import SensorSpace
from brainalign.trials import Trials

ONCE = {"n_epochs": 1, "batch_size": 12}
SMALL = {"n_filters": 4, "kernel": 3, "pool": 3}
FAMILIES = {
    "TSConv": TSConv(SMALL, training=ONCE),
    "ATM": ATM(SMALL, training=ONCE),
    "EEGNet": EEGNet({"kernel": 8, "pools": (2, 2)}, training=ONCE),
    "ShallowConvNet": ShallowConvNet({"n_filters": 4, "kernel": 5, "pool": 9, "stride": 3}, training=ONCE),
    "Unified": UnifiedEncoder(16, training=ONCE),
    "DuIN": DuIN(
        n_fused=4, segment=20, stride=5, n_filters=4, n_kept=4, depth=1, decoder_depth=1, n_heads=2, head_width=4,
        n_codes=4, code_width=4, hidden=8, training=ONCE, stage_training={"codes": ONCE, "mask": ONCE},
    ),
    "BrainMAE": BrainMAE(width=8, depth=1, hidden=8, unseen="refuse", training=ONCE, stage_training={"windows": ONCE}),
    "WAVE": WAVE(training=ONCE),
}  # fmt: skip
IDS = [f"s{number}" for number in range(12)]
LATENTS = Latents(np.random.default_rng(1).standard_normal((12, 6)), IDS, space="toy")


def recorded(n=12, *, names=("C3", "Cz", "C4", "Pz"), n_times=120, sfreq=100.0, start=0.0, subject="1", every=5.0):
    signals = np.random.default_rng(0).standard_normal((n, len(names), n_times))
    table = pd.DataFrame({"stimulus_id": IDS[:n], "subject": subject, "onset": every * np.arange(n)})
    units = pd.DataFrame({"name": list(names), "type": "eeg"})
    return Trials(signals, table, units, times=start + np.arange(n_times) / sfreq, space=SensorSpace(sfreq=sfreq))


@pytest.mark.parametrize("name", FAMILIES)
def test_signals_unlike_those_fitted_on_are_refused(name):
    trials = recorded()
    fitted = FAMILIES[name].fit(trials, trials.stimulus_ids if name == "DuIN" else LATENTS)
    assert len(fitted.predict(recorded(4))) == 4
    for change, message in (
        ({"names": ("C3", "Cz", "C4")}, r"other units[\s\S]*3 units, 120 times"),
        ({"names": ("Cz", "C3", "C4", "Pz")}, "first difference: C3 and Cz"),
        ({"names": ("A1", "A2", "A3", "A4")}, "first difference: C3 and A1"),
        ({"sfreq": 50.0}, r"another sampling rate[\s\S]*0\.0000 to 2\.3800 s"),
        ({"start": -0.5}, "another sampling rate or other times"),
        ({"n_times": 40}, r"other units or times[\s\S]*4 units, 40 times"),
        ({"subject": "9"}, "not fitted on subject '9'"),
        ({"n_times": 0}, "none of them zero"),
    ):
        with pytest.raises(DataError, match=message):
            fitted.predict(recorded(4, **change))


def test_people_of_one_modality_share_a_sampling_rate():
    people = {"eeg-1": recorded(subject="eeg-1"), "eeg-2": recorded(subject="eeg-2", sfreq=50.0, names=("Fz", "Oz"))}
    with pytest.raises(DataError, match="'eeg-2' have another sampling rate"):
        UnifiedEncoder(training=ONCE).fit(people, LATENTS)


def test_epochs_that_share_samples_cannot_be_split():
    with pytest.raises(LeakageError, match="overlap between train and test"):
        ba.split(recorded(every=0.5))
    train, test = ba.split(recorded(every=1.3))
    assert len(train) + len(test) == 12
