"""Our recordings inside MOABB: samples and events are those of the source, and paradigms find what is registered."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
import pytest
from moabb.paradigms import SSVEP, MotorImagery

from brainalign.bci.moabb_datasets import as_moabb_dataset, forget_moabb_dataset, register_moabb_dataset
from brainalign.errors import DataError
from brainalign.loaders import load_bids_ephys
from brainalign.loaders.trees import make_tree
from brainalign.trials import Trials

SFREQ = 64.0
CLASSES = ["left_hand", "right_hand"]


def some_trials(*, start: float = 0.0, n_per_session: int = 6, kind: str = "eeg") -> Trials:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [
            {"subject": subject, "session": session, "run": run, "stimulus_id": CLASSES[row % 2]}
            for subject in (1, 2)
            for session in ("train", "test")
            for run in (1, 2)
            for row in range(n_per_session // 2)
        ]
    )
    units = pd.DataFrame({"name": ["C3", "Cz", "C4"], "type": kind})
    times = start + np.arange(65) / SFREQ
    return Trials(1e-5 * rng.standard_normal((len(table), 3, 65)), table, units, times=times)


def unfiltered(dataset, subject):
    """Epochs of a dataset as MOABB cuts them, but without its band-pass."""
    paradigm = MotorImagery(events=list(dataset.event_id), n_classes=len(dataset.event_id))
    paradigm.filters = ([None, None],)
    return paradigm.get_data(dataset, subjects=[subject])


@pytest.mark.parametrize("start", [0.0, -0.25, 2.0, -3.0])
def test_trials_come_back_sample_by_sample(start: float) -> None:
    trials = some_trials(start=start)
    dataset = as_moabb_dataset(trials, code="Trials1")
    X, y, metadata = unfiltered(dataset, 2)
    rows = trials.trials["subject"].astype(str) == "2"
    expected = pd.concat([trials.trials[rows].iloc[at] for at in ([6, 7, 8], [9, 10, 11], [0, 1, 2], [3, 4, 5])])
    by_session = metadata["session"].map({"0test": "test", "1train": "train"})
    assert by_session.tolist() == expected["session"].tolist()
    assert y.tolist() == expected["stimulus_id"].tolist()
    # MOABB counts in microvolts.
    np.testing.assert_allclose(X, 1e6 * trials.responses[expected.index], rtol=1e-9)


def continuous(first_samp: int = 0) -> tuple[mne.io.RawArray, pd.DataFrame]:
    rng = np.random.default_rng(1)
    info = mne.create_info(["C3", "C4", "STI"], SFREQ, ["eeg", "eeg", "stim"])
    raw = mne.io.RawArray(1e-5 * rng.standard_normal((3, 2000)), info, first_samp=first_samp, verbose="error")
    onsets = np.arange(3, 27, 3) + 0.25
    return raw, pd.DataFrame({"onset": onsets, "duration": 1.0, "trial_type": [*CLASSES, "other"] * 2 + CLASSES})


@pytest.mark.parametrize("first_samp", [0, 777])
@pytest.mark.parametrize("dated", [False, True])
def test_recordings_are_cut_at_their_events(first_samp: int, dated: bool) -> None:
    raw, events = continuous(first_samp)
    if dated:
        raw.set_meas_date(1.6e9)
    source = {7: {"a": {1: (raw, events), 2: (raw, events)}}}
    dataset = as_moabb_dataset(source, code="Runs1", interval=(0.5, 1.5), events=CLASSES)
    X, y, metadata = unfiltered(dataset, 7)
    kept = events[events["trial_type"] != "other"]
    assert y.tolist() == kept["trial_type"].tolist() * 2
    assert metadata["run"].tolist() == ["1"] * 6 + ["2"] * 6
    starts = ((kept["onset"] + 0.5) * SFREQ).astype(int)
    expected = [1e6 * raw.get_data(picks=["C3", "C4"])[:, start : start + 65] for start in starts]
    np.testing.assert_allclose(X[:6], expected, rtol=1e-9)
    assert "STI" in raw.ch_names  # the caller's recording is left alone


def test_bad_stretches_still_reject() -> None:
    raw, events = continuous()
    raw.set_annotations(mne.Annotations([3.0], [1.0], ["BAD_muscle"]))
    dataset = as_moabb_dataset({1: {1: {1: (raw, events)}}}, code="Runs2", interval=(0.0, 1.0), events=CLASSES)
    assert len(unfiltered(dataset, 1)[1]) == 5


def test_paradigms_see_what_is_registered_and_only_that() -> None:
    dataset = as_moabb_dataset(some_trials(), code="Seen-1")
    paradigm = MotorImagery(events=CLASSES, n_classes=2)

    def seen() -> list[str]:
        return [one.code for one in paradigm.datasets]

    assert "Seen-1" not in seen()
    try:
        register_moabb_dataset(dataset)
        assert seen().count("Seen-1") == 1 and register_moabb_dataset(dataset) is dataset
        assert type(dataset)().get_data([1])[1].keys() == {"0test", "1train"}
        assert "Seen-1" not in [one.code for one in SSVEP(n_classes=2).datasets]
        with pytest.raises(DataError, match="has a dataset of the code 'Seen-1'"):
            register_moabb_dataset(as_moabb_dataset(some_trials(n_per_session=8), code="Seen-1"))
    finally:
        forget_moabb_dataset(dataset)
    assert "Seen-1" not in seen()
    with pytest.raises(DataError, match="code 'BNCI2014-001'"):
        register_moabb_dataset(as_moabb_dataset(some_trials(), code="BNCI2014-001"))


def test_depth_electrodes_of_a_bids_folder_reach_moabb(tmp_path) -> None:
    tree = make_tree("ieeg_bids", tmp_path)
    ours = load_bids_ephys(tmp_path, subject="01", tmin=0.0, tmax=0.1)
    classes = sorted(set(ours.stimulus_ids))[:2]
    dataset = as_moabb_dataset(tmp_path, code="Depth-1", interval=(0.0, 0.1), events=classes)
    X, y, _ = unfiltered(dataset, 1)
    rows = np.isin(ours.stimulus_ids, classes)
    assert X.shape[1] == tree.spec.fact("n_channels") and y.tolist() == ours.stimulus_ids[rows].tolist()
    np.testing.assert_allclose(X, 1e6 * ours.responses[rows], rtol=1e-5)


def test_a_data_spec_is_a_dataset(tmp_path) -> None:
    tree = make_tree("eegmmidb_s001", tmp_path)
    dataset = as_moabb_dataset("eegmmidb_s001", code="Spec-1", root=tmp_path)
    assert dataset.event_id == {"left_hand": 1, "right_hand": 2, "hands": 3, "feet": 4}
    data = dataset.get_data([1])[1]["1"]
    assert list(data) == ["4", "6", "8", "10", "12", "14"]
    names = {"T1": "hands", "T2": "feet"}
    assert list(data["10"].annotations.description) == [names[code] for code in tree.truth["codes"][10]]


@pytest.mark.parametrize(
    ("source", "changes", "told"),
    [
        (some_trials(), {"code": "with space"}, "not a code"),
        (some_trials(), {"paradigm": "imaginary"}, "no paradigm"),
        (some_trials(), {"colour": 1}, "no such option"),
        (some_trials(), {"label": "hand"}, "no column"),
        ({1: {1: {1: "a.fif"}}}, {}, "classes and the interval"),
        ({1: {1: {}}}, {"events": ["a"], "interval": (0, 1)}, "no session or a session no run"),
        ({1: "a.fif"}, {"events": ["a"], "interval": (0, 1)}, "not nested"),
        (3, {}, "not a source"),
    ],
)
def test_what_is_no_dataset_is_refused(source, changes, told) -> None:
    with pytest.raises(DataError, match=told):
        as_moabb_dataset(source, **{"code": "Refused1", **changes})


def test_runs_without_the_classes_or_events_beyond_them_are_refused() -> None:
    raw, events = continuous()
    for table, told in (
        (events.assign(trial_type="x"), "no event of any class"),
        (events.assign(onset=1e3), "outside|beyond|after|end"),
    ):
        dataset = as_moabb_dataset({1: {1: {1: (raw, table)}}}, code="Bad1", interval=(0.0, 1.0), events=CLASSES)
        with pytest.raises(DataError, match=told):
            dataset.get_data([1])
