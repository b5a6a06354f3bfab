"""`load_ephys` on recordings whose every sample is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from brainalign.errors import DataError
from brainalign.loaders.ephys import load_ephys

SFREQ, N_TIMES = 200.0, 8000
NAMES = ["Fz", "Cz", "Pz", "Oz", "STI"]
ONSETS = np.arange(1.0, 38.0, 1.25)


def make_raw(first_samp: int = 0, seed: int = 0) -> mne.io.RawArray:
    """Channels of noise whose value tells channel and sample, and a trigger channel."""
    rng = np.random.default_rng(seed)
    info = mne.create_info(NAMES, SFREQ, ["eeg"] * 4 + ["stim"])
    data = 1e-6 * rng.standard_normal((5, N_TIMES))
    data[4] = 0
    for place, onset in enumerate(ONSETS):
        data[4, int(onset * SFREQ)] = 1 + place % 2
    return mne.io.RawArray(data, info, first_samp=first_samp, verbose="error")


def make_events() -> pd.DataFrame:
    names = ["cat", "dog"] * len(ONSETS)
    return pd.DataFrame({"onset": ONSETS, "duration": 0.5, "trial_type": names[: len(ONSETS)]})


def _windows_by_hand(raw: mne.io.BaseRaw, first: int, n_samples: int) -> np.ndarray:
    data = raw.get_data(picks="eeg")
    return np.stack([data[:, int(onset * SFREQ) + first :][:, :n_samples] for onset in ONSETS])


def test_windows_are_those_cut_by_hand_and_by_mne() -> None:
    raw = make_raw()
    trials = load_ephys(raw, events=make_events(), tmin=-0.1, tmax=0.4)
    np.testing.assert_allclose(trials.responses, _windows_by_hand(raw, -20, 101), rtol=1e-6)
    events = np.column_stack([(ONSETS * SFREQ).astype(int), np.zeros(len(ONSETS), int), np.ones(len(ONSETS), int)])
    epochs = mne.Epochs(raw, events, tmin=-0.1, tmax=0.4, baseline=None, picks="eeg", verbose="error")
    np.testing.assert_allclose(trials.responses, epochs.get_data(), rtol=1e-6)
    np.testing.assert_allclose(trials.times, epochs.times)
    assert trials.responses.dtype == np.float32
    assert trials.units["name"].tolist() == NAMES[:4] and set(trials.units["type"]) == {"eeg"}
    assert trials.trials["stimulus_id"].tolist()[:3] == ["cat", "dog", "cat"]
    assert trials.trials["duration"].tolist() == [0.5] * len(ONSETS)


@pytest.mark.parametrize("first_samp", [0, 1234])
def test_every_source_of_events_gives_the_same_trials(tmp_path: Path, first_samp: int) -> None:
    raw = make_raw(first_samp)
    codes = np.column_stack(
        [(ONSETS * SFREQ).astype(int) + first_samp, 0 * ONSETS.astype(int), 1 + np.arange(len(ONSETS)) % 2]
    )
    event_id = {"cat": 1, "dog": 2}
    mne.write_events(tmp_path / "x-eve.fif", codes)
    make_events().to_csv(tmp_path / "events.tsv", sep="\t", index=False)
    annotated = raw.copy().set_annotations(mne.Annotations(ONSETS, 0.5, (["cat", "dog"] * len(ONSETS))[: len(ONSETS)]))
    expected = load_ephys(raw, events=make_events(), tmin=0, tmax=0.5)
    for source, events, named in [
        (raw, codes, event_id),
        (raw, tmp_path / "x-eve.fif", event_id),
        (raw, str(tmp_path / "x-eve.fif"), event_id),
        (raw, tmp_path / "events.tsv", None),
        (raw, "stim", event_id),
        (raw, "STI", event_id),
        (annotated, None, None),
        (annotated, "annotations", ["cat", "dog"]),
    ]:
        trials = load_ephys(source, events=events, event_id=named, tmin=0, tmax=0.5)
        np.testing.assert_array_equal(trials.responses, expected.responses)
        assert trials.stimulus_ids.tolist() == expected.stimulus_ids.tolist()
        np.testing.assert_allclose(trials.trials["onset"], ONSETS)
    assert load_ephys(raw, events=codes, tmin=0, tmax=0.5).stimulus_ids.tolist()[:2] == ["1", "2"]
    only = load_ephys(raw, events="stim", event_id={"dog": 2}, tmin=0, tmax=0.5)
    np.testing.assert_array_equal(only.responses, expected.responses[1::2])


def test_files_in_every_format_agree(tmp_path: Path) -> None:
    raw = make_raw().pick("eeg")
    raw.set_annotations(mne.Annotations(ONSETS, 0.0, ["cat"] * len(ONSETS)))
    expected = load_ephys(raw, tmin=0, tmax=0.5)
    raw.save(tmp_path / "x_raw.fif", verbose="error")
    for name in ("x.edf", "x.bdf", "x.vhdr", "x.set"):
        mne.export.export_raw(tmp_path / name, raw, verbose="error")
    for name in ("x_raw.fif", "x.edf", "x.bdf", "x.vhdr", "x.set"):
        # BrainVision writes annotations as comments; EDF quantises to 16 bits of the physical range.
        event_id = ["Comment/cat"] if name == "x.vhdr" else ["cat"]
        trials = load_ephys(tmp_path / name, event_id=event_id, tmin=0, tmax=0.5)
        np.testing.assert_allclose(trials.responses, expected.responses, atol=2e-10, err_msg=name)
        assert trials.units["name"].tolist() == expected.units["name"].tolist()


@pytest.mark.parametrize("form", ["object", "fif", "set"])
def test_epochs_bring_their_own_events(tmp_path: Path, form: str) -> None:
    raw = make_raw().pick("eeg")
    codes = np.column_stack([(ONSETS * SFREQ).astype(int), 0 * ONSETS.astype(int), 1 + np.arange(len(ONSETS)) % 2])
    metadata = None if form == "set" else pd.DataFrame({"stimulus_id": [f"s{n}" for n in range(len(ONSETS))]})
    epochs = mne.Epochs(
        raw,
        codes,
        {"cat": 1, "dog": 2},
        -0.1,
        0.5,
        baseline=None,
        metadata=metadata,
        preload=form == "set",
        verbose="error",
    )
    source: Any = epochs
    if form == "fif":
        source = tmp_path / "x-epo.fif"
        epochs.save(source, verbose="error")
    elif form == "set":
        source = tmp_path / "x.set"
        mne.export.export_epochs(source, epochs, verbose="error")
    trials = load_ephys(source)
    np.testing.assert_allclose(trials.responses, epochs.get_data(), atol=1e-12)
    np.testing.assert_allclose(trials.times, epochs.times, atol=1e-9)
    if form != "set":
        assert trials.stimulus_ids.tolist()[:2] == ["s0", "s1"]
    assert trials.trials["trial_type"].tolist()[:2] == ["cat", "dog"]
    inner = load_ephys(source, tmin=0.0, tmax=0.2, event_id=["dog"])
    oracle = epochs.copy().load_data().crop(0.0, 0.2).get_data()[1::2]
    np.testing.assert_allclose(inner.responses, oracle, atol=1e-12)
    with pytest.raises(DataError, match="leaves the epochs"):
        load_ephys(source, tmin=-0.5)
    with pytest.raises(DataError, match="own events"):
        load_ephys(source, events=make_events())


def test_epochs_and_continuous_recording_agree_on_reference_and_resampling() -> None:
    raw = make_raw().pick("eeg")
    codes = np.column_stack([(ONSETS * SFREQ).astype(int), 0 * ONSETS.astype(int), np.ones(len(ONSETS), int)])
    wide = mne.Epochs(raw, codes, tmin=-0.7, tmax=1.2, baseline=None, preload=True, verbose="error")
    options: dict[str, Any] = {
        "tmin": -0.1,
        "tmax": 0.6,
        "reference": "average",
        "resample": 50.0,
        "baseline": (None, 0),
    }
    one, other = load_ephys(wide, **options), load_ephys(raw, events=codes, **options)
    np.testing.assert_allclose(one.responses, other.responses, atol=1e-12)
    assert one.space.sfreq == 50.0 and len(one.times) == 36


def test_evoked_goes_back_to_mne_with_positions() -> None:
    raw = make_raw().set_montage("easycap-M1", verbose="error")
    trials = load_ephys(raw, events=make_events(), tmin=-0.1, tmax=0.4)
    evoked = trials.to_evoked()
    np.testing.assert_allclose(evoked.data, _windows_by_hand(raw, -20, 101).mean(axis=0), rtol=1e-4, atol=1e-10)
    assert evoked.ch_names == NAMES[:4] and evoked.info["sfreq"] == SFREQ
    positions = raw.copy().pick("eeg").get_montage().get_positions()["ch_pos"]
    for name, xyz in zip(trials.units["name"], trials.units[["x", "y", "z"]].to_numpy(), strict=True):
        np.testing.assert_allclose(xyz, positions[name], atol=1e-6)
    assert trials.space.coordinate_frame == "head"


# -- planted truth ----------------------------------------------------------------------------------------------


def test_planted_difference_is_decoded_and_a_shuffled_one_is_not() -> None:
    raw = make_raw()
    wave = 1.5e-6 * np.hanning(40)
    for place, onset in enumerate(ONSETS):
        start = int(onset * SFREQ) + 20
        raw._data[2 + place % 2, start : start + 40] += wave
    trials = load_ephys(raw, events=make_events(), tmin=-0.1, tmax=0.5, h_freq=30.0, resample=50.0, baseline=(None, 0))
    labels = trials.trials["trial_type"].to_numpy()
    classifier = LogisticRegression(C=1.0)
    features = 1e6 * trials.matrix()
    assert cross_val_score(classifier, features, labels, cv=5).mean() > 0.85
    shuffled = np.random.default_rng(0).permutation(labels)
    assert cross_val_score(classifier, features, shuffled, cv=5).mean() < 0.75
    before = trials.select(times=(-0.1, 0.0))  # before the wave there is nothing to find
    assert cross_val_score(classifier, 1e6 * before.matrix(), labels, cv=5).mean() < 0.75


# -- several runs -----------------------------------------------------------------------------------------------


def test_runs_are_joined_by_channel_name_and_labelled(tmp_path: Path) -> None:
    one, two = make_raw(seed=1), make_raw(seed=2)
    shuffled = two.copy().reorder_channels(["Oz", "STI", "Pz", "Fz", "Cz"])
    trials = load_ephys([one, shuffled], events=[make_events(), make_events()], tmin=0, tmax=0.1)
    expected = [load_ephys(raw, events=make_events(), tmin=0, tmax=0.1).responses for raw in (one, two)]
    np.testing.assert_array_equal(trials.responses, np.concatenate(expected))
    assert trials.trials["run"].tolist() == [1] * len(ONSETS) + [2] * len(ONSETS)
    for run, raw in enumerate((one, two), start=1):
        raw.save(tmp_path / f"sub-07_ses-a_task-x_run-0{run}_raw.fif", verbose="error")
    paths = sorted(tmp_path.glob("*.fif"))
    named = load_ephys(paths, events="stim", tmin=0, tmax=0.1).trials
    assert named[["subject", "session", "run"]].drop_duplicates().to_numpy().tolist() == [
        ["07", "a", 1],
        ["07", "a", 2],
    ]


def test_runs_that_do_not_fit_are_refused() -> None:
    raw, other = make_raw(), make_raw()
    with pytest.raises(DataError, match="several runs"):
        load_ephys([raw, other], events=make_events())
    with pytest.raises(DataError, match="differ in number"):
        load_ephys([raw, other], events=[make_events()])
    with pytest.raises(DataError, match="another sampling rate"):
        load_ephys([raw, other.copy().resample(100.0)], events="stim", tmin=0, tmax=0.1)
    with pytest.raises(DataError, match="other channels"):
        load_ephys([raw, other.copy().drop_channels(["Oz"])], events="stim", tmin=0, tmax=0.1)
    both = load_ephys([raw, other.copy().resample(100.0)], events="stim", tmin=0, tmax=0.4, resample=50.0)
    assert both.shape[2] == 21


# -- bad input --------------------------------------------------------------------------------------------------


def _events(**columns: Any) -> pd.DataFrame:
    return make_events().assign(**columns)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"events": _events(onset=ONSETS * 1000)}, "milliseconds"),
        ({"events": _events(onset=ONSETS + 10)}, "beyond the recording"),
        ({"events": _events(onset=-ONSETS)}, "onset"),
        ({"events": _events(onset=np.nan)}, "onset"),
        ({"events": make_events().drop(columns="onset")}, "onset"),
        ({"events": np.array([[9000, 0, 1]])}, "beyond the recording"),
        ({"events": np.array([[10.5, 0, 1]])}, "MNE events array"),
        ({"events": "absent.tsv"}, "absent.tsv"),
        ({"events": None}, "no annotated events"),
        ({"event_id": ["horse"]}, "no trial of 'horse'"),
        ({"event_id": ["cats"]}, "Did you mean 'cat'"),
        ({"picks": ["OZ"]}, "Did you mean 'Oz'"),
        ({"picks": "seeg"}, "unknown channel 'seeg'"),
        ({"picks": "meg"}, "no channel left"),
        ({"reference": ["M1"]}, "unknown channel 'M1'"),
        ({"reference": "bipolar"}, "intracranial"),
        ({"tmax": 3.0}, "edges='drop'"),
        ({"tmin": 0.5, "tmax": 0.1}, "window is empty"),
        ({"tmax": 50.0, "edges": "drop"}, "no trial is left"),
        ({"baseline": (-0.5, 0.0)}, "baseline"),
        ({"l_frequency": 1.0}, "Did you mean 'l_freq'"),
        ({"nan": "ignore"}, "unknown nan 'ignore'"),
        ({"envelope": "ratio", "high_gamma": (50, 80)}, "baseline"),
        ({"high_gamma": (70, 150)}, "does not fit"),
        ({"channel_type": "segg"}, "Did you mean 'seeg'"),
    ],
)
def test_bad_requests_are_refused(change: dict[str, Any], named: str) -> None:
    request = {"events": make_events(), "tmin": -0.1, "tmax": 0.4, **change}
    with pytest.raises(DataError, match=named):
        load_ephys(make_raw(), **request)


@pytest.mark.parametrize("value", [np.nan, np.inf, "flat"])
def test_unfit_channels_raise_or_are_dropped_before_the_filter(value: Any) -> None:
    raw = make_raw()
    whole = load_ephys(raw, events="stim", tmin=0, tmax=0.4, l_freq=5.0, reference="average", picks=["Fz", "Pz", "Oz"])
    if value == "flat":
        raw._data[1] = 3e-6
    else:
        raw._data[1, 777] = value
    with pytest.raises(DataError, match="Cz"):
        load_ephys(raw, events="stim", tmin=0, tmax=0.4, l_freq=5.0)
    kept = load_ephys(raw, events="stim", tmin=0, tmax=0.4, l_freq=5.0, reference="average", nan="drop")
    assert kept.units["name"].tolist() == ["Fz", "Pz", "Oz"]
    assert np.isfinite(kept.responses).all()
    assert kept.history[0]["dropped"] == [{"run": 1, "channels": ["Cz"]}]
    # The reference of the whole recording includes Cz, that of the repaired one does not.
    assert np.abs(kept.responses - whole.responses).max() > 1e-8
    by_hand = load_ephys(
        make_raw().drop_channels(["Cz"]), events="stim", tmin=0, tmax=0.4, l_freq=5.0, reference="average"
    )
    np.testing.assert_array_equal(kept.responses, by_hand.responses)


def test_a_channel_dropped_in_one_run_is_dropped_in_all() -> None:
    one, two = make_raw(seed=1), make_raw(seed=2)
    two._data[0] = 0
    trials = load_ephys([one, two], events="stim", tmin=0, tmax=0.1, nan="drop")
    assert trials.units["name"].tolist() == ["Cz", "Pz", "Oz"]
    assert trials.history[0]["dropped"] == [{"run": 2, "channels": ["Fz"]}]
    expected = load_ephys(one, events="stim", tmin=0, tmax=0.1, picks=["Cz", "Pz", "Oz"])
    np.testing.assert_array_equal(trials.responses[: len(ONSETS)], expected.responses)


def test_bad_channels_and_bad_stretches() -> None:
    raw = make_raw()
    raw.info["bads"] = ["Pz"]
    assert load_ephys(raw, events="stim", tmin=0, tmax=0.1).units["name"].tolist() == ["Fz", "Cz", "Oz"]
    assert load_ephys(raw, events="stim", tmin=0, tmax=0.1, bads="keep").n_units == 4
    assert load_ephys(raw, events="stim", tmin=0, tmax=0.1, picks=["Pz"]).n_units == 1
    raw.set_annotations(mne.Annotations([ONSETS[3] + 0.05], [0.5], ["BAD_blink"]))
    trials = load_ephys(raw, events="stim", tmin=0, tmax=0.1)
    assert trials.n_trials == len(ONSETS) - 1
    assert ONSETS[3] not in trials.trials["onset"].tolist()
    assert trials.history[0]["dropped"] == [{"run": 1, "trials_in_bad_stretches": 1}]
    assert load_ephys(raw, events="stim", tmin=0, tmax=0.1, reject_by_annotation=False).n_trials == len(ONSETS)


def test_edges_drop_exactly_the_trials_that_do_not_fit() -> None:
    trials = load_ephys(make_raw(), events=make_events(), tmin=-1.5, tmax=3.0, edges="drop")
    fitting = [onset for onset in ONSETS if onset >= 1.5 and onset + 3.0 < N_TIMES / SFREQ]
    assert trials.trials["onset"].tolist() == fitting
    assert trials.history[0]["dropped"] == [{"run": 1, "trials_over_edge": len(ONSETS) - len(fitting)}]


def test_average_reference_uses_channels_that_are_not_picked() -> None:
    raw = make_raw()
    trials = load_ephys(raw, events="stim", tmin=0, tmax=0.1, picks=["Oz"], reference="average")
    data = _windows_by_hand(raw, 0, 21)
    np.testing.assert_allclose(trials.responses[:, 0], data[:, 3] - data.mean(axis=1), atol=1e-12)
    linked = load_ephys(raw, events="stim", tmin=0, tmax=0.1, picks=["Oz"], reference=["Fz", "Cz"])
    np.testing.assert_allclose(linked.responses[:, 0], data[:, 3] - data[:, :2].mean(axis=1), atol=1e-12)


def test_the_input_is_left_alone() -> None:
    raw, events = make_raw(), make_events()
    before = raw.get_data().copy()
    load_ephys(raw, events=events, tmin=0, tmax=0.4, l_freq=2.0, reference="average", resample=50.0, baseline=(0, 0.1))
    np.testing.assert_array_equal(raw.get_data(), before)
    pd.testing.assert_frame_equal(events, make_events())


def test_regions_and_channel_type_of_an_intracranial_edf(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    info = mne.create_info(["A1", "A2", "A3", "B1", "B2"], SFREQ, "eeg")
    raw = mne.io.RawArray(1e-5 * rng.standard_normal((5, N_TIMES)), info, verbose="error")
    raw.set_annotations(mne.Annotations(ONSETS, 0.0, ["word"] * len(ONSETS)))
    mne.export.export_raw(tmp_path / "x.edf", raw, verbose="error")
    table = tmp_path / "electrodes.tsv"
    table.write_text("name\tDestrieux\nA1\tSTG\nA2\tSTG\nA3\tMTG\nB1\tIFG\nB2\tIFG\n")
    trials = load_ephys(
        tmp_path / "x.edf",
        tmin=0,
        tmax=0.4,
        channel_type="seeg",
        reference="bipolar",
        regions=table,
        region_column="Destrieux",
    )
    assert trials.units["name"].tolist() == ["A1-A2", "A2-A3", "B1-B2"]
    assert trials.units["region"].tolist() == ["STG", "STG/MTG", "IFG"]
    assert trials.info["modality"] == "seeg"
    assert trials.select(units="region == 'IFG'").n_units == 1


def test_sidecars_that_disagree_are_refused(tmp_path: Path) -> None:
    raw = make_raw().pick("eeg")
    raw.set_annotations(mne.Annotations(ONSETS, 0.0, ["cat"] * len(ONSETS)))
    path = tmp_path / "sub-01_task-x_eeg.edf"
    mne.export.export_raw(path, raw, verbose="error")
    sidecar, channels = path.with_suffix(".json"), tmp_path / "sub-01_task-x_channels.tsv"
    sidecar.write_text('{"SamplingFrequency": 200, "RecordingDuration": 40}')
    channels.write_text("name\ttype\tsampling_frequency\nFz\tEEG\t200\nRES\tRESP\t20\n")
    load_ephys(path, tmin=0, tmax=0.1)
    for text, named in [
        ('{"SamplingFrequency": 512}', "512 Hz"),
        ('{"RecordingDuration": 80}', "recording is cut"),
        ("[]", "no JSON object"),
        ("{", "cannot read the sidecar"),
    ]:
        sidecar.write_text(text)
        with pytest.raises(DataError, match=named):
            load_ephys(path, tmin=0, tmax=0.1)
    sidecar.unlink()
    channels.write_text("name\ttype\tsampling_frequency\nFz\tEEG\t2048\n")
    with pytest.raises(DataError, match="2048 Hz"):
        load_ephys(path, tmin=0, tmax=0.1)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("x.edf", b"Cz              ", b"Fz              "), ("x.bdf", b"Cz ", b"Fz "), ("x.vhdr", b"Ch2=Cz", b"Ch2=Fz")],
)
def test_repeated_names_in_a_header_are_refused(tmp_path: Path, name: str, old: bytes, new: bytes) -> None:
    path = tmp_path / name
    raw = make_raw().pick("eeg")
    raw.set_annotations(mne.Annotations(ONSETS, 0.0, ["cat"] * len(ONSETS)))
    mne.export.export_raw(path, raw, verbose="error")
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(DataError, match="repeat") as caught:
        load_ephys(path, tmin=0, tmax=0.1)
    assert name in str(caught.value)


def test_trials_survive_disk(tmp_path: Path) -> None:
    trials = load_ephys(make_raw(), events=make_events(), tmin=0, tmax=0.4, baseline=(None, 0.1), reference=["Fz"])
    trials.save(tmp_path / "trials")
    again = type(trials).open(tmp_path / "trials")
    np.testing.assert_array_equal(again.responses, trials.responses)
    assert again.space == trials.space and again.history == trials.history


def test_a_contact_dropped_in_one_run_breaks_the_chain_in_all() -> None:
    names = ["L-1", "L-2", "L-3", "L-4"]
    info = mne.create_info([*names, "STI"], SFREQ, ["seeg"] * 4 + ["stim"])
    raws = []
    for seed in (1, 2):
        raw = mne.io.RawArray(make_raw(seed=seed).get_data(), info, verbose="error")
        raws.append(raw)
    raws[1]._data[1] = 0
    trials = load_ephys(raws, events="stim", tmin=0, tmax=0.1, nan="drop", reference="bipolar")
    assert trials.units["name"].tolist() == ["L-3-L-4"]
    whole = load_ephys(raws[0], events="stim", tmin=0, tmax=0.1, reference="bipolar")
    assert whole.units["name"].tolist() == ["L-1-L-2", "L-2-L-3", "L-3-L-4"]
    np.testing.assert_array_equal(trials.responses[: whole.n_trials, 0], whole.responses[:, 2])


def test_a_filter_longer_than_the_epochs_is_told() -> None:
    raw = make_raw().pick("eeg")
    epochs = mne.make_fixed_length_epochs(raw, 1.0, preload=True, verbose="error")
    with pytest.warns(RuntimeWarning, match="longer than the signal"):
        load_ephys(epochs, l_freq=0.5)
