"""Events tables are read as they stand, or refused with the reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainalign.errors import DataError
from brainalign.loaders.events import events_from_labels, read_events, read_onset_files, read_table


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def table(**columns):
    return pd.DataFrame({"onset": [1.0, 4.0, 7.0], "duration": 1.0, "trial_type": ["a", "b", "a"]} | columns)


def test_reads_tsv_with_byte_order_mark_and_missing_values(tmp_path):
    path = write(
        tmp_path / "events.tsv",
        "onset\tduration\tstim_file\tresponse_time\n0.5\t1\t0001\t0.3\n3\t1\t0002\tn/a\n",
        encoding="utf-8-sig",
    )
    events = read_events(path, duration=10)
    assert events["onset"].tolist() == [0.5, 3.0]
    assert events["stimulus_id"].tolist() == ["0001", "0002"], "leading zeros are part of a name"
    assert np.isnan(events["response_time"].iloc[1])
    assert events["response_time"].dtype == float


def test_reads_csv(tmp_path):
    path = write(tmp_path / "events.csv", "onset,duration,trial_type\n1,0,face\n")
    assert read_events(path)["stimulus_id"].tolist() == ["face"]


def test_stimulus_id_takes_the_most_specific_name_each_row_has():
    events = read_events(table(stim_file=["x.png", None, "y.png"], value=[1, 2, 3]))
    assert events["stimulus_id"].tolist() == ["x.png", "b", "y.png"]


def test_numeric_names_with_a_gap_stay_whole_numbers():
    events = read_events(table(stimulus_id=[7, np.nan, 9]))
    assert events["stimulus_id"].tolist() == ["7", "b", "9"]


def test_input_frame_is_left_alone_and_order_is_kept():
    frame = table().iloc[::-1]
    before = frame.copy()
    events = read_events(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert events["onset"].tolist() == [7.0, 4.0, 1.0]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0, 200))
def test_accepts_exactly_the_onsets_within_the_recording(onsets, duration):
    frame = pd.DataFrame({"onset": onsets, "duration": 0.0, "trial_type": "a"})
    if max(onsets) <= duration:
        assert read_events(frame, duration=duration)["onset"].tolist() == onsets
    else:
        with pytest.raises(DataError):
            read_events(frame, duration=duration)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"onset": [1000.0, 4000.0, 7000.0]}, "onsets look like milliseconds"),
        ({"duration": [500.0, 500.0, 500.0]}, "durations look like milliseconds"),
        ({"onset": [1.0, 4.0, 11.0]}, "1 of 3 onsets lie beyond the recording"),
        ({"onset": [1.0, 20_000.0, 30_000.0]}, "2 of 3 onsets lie beyond"),
        ({"onset": [1.0, np.nan, 7.0]}, "1 events have no usable onset"),
        ({"onset": ["1", "soon", "7"]}, "no usable onset"),
        ({"duration": [1.0, np.nan, 1.0]}, "no usable duration"),
        ({"duration": [1.0, -1.0, 1.0]}, "negative durations"),
        ({"onset": [-1.0, 4.0, 7.0]}, "begin before the recording"),
        ({"onset": [np.inf, 4.0, 7.0]}, "no usable onset"),
        ({"trial_type": [None, "b", "a"]}, "1 events name no stimulus"),
    ],
)
def test_refuses_bad_values(columns, message):
    with pytest.raises(DataError, match=message) as caught:
        read_events(table(**columns), duration=10.0)
    assert "found" in str(caught.value)


def test_refusal_names_file_expected_found_and_mend(tmp_path):
    path = tmp_path / "events.tsv"
    table(onset=[1000, 4000, 7000]).to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError) as caught:
        read_events(path, duration=10.0)
    error = caught.value
    assert error.path == path
    assert "10 s" in str(error.expected) and "7000" in str(error.found) and "1000" in str(error.fix)


@pytest.mark.parametrize("column", ["onset", "duration"])
def test_refuses_missing_columns(column):
    with pytest.raises(DataError, match=column):
        read_events(table().drop(columns=column))


def test_missing_column_suggests_the_misspelt_one():
    with pytest.raises(DataError, match="Did you mean 'onsets'"):
        read_events(table().rename(columns={"onset": "onsets"}))


def test_events_without_any_name_are_refused():
    with pytest.raises(DataError, match="name no stimulus"):
        read_events(table().drop(columns="trial_type"))


def test_durations_are_optional_on_request():
    assert read_events(table().drop(columns="duration"), required=("onset",))["duration"].tolist() == [0, 0, 0]


def test_samples_give_onsets_only_with_a_sampling_rate():
    frame = table(sample=[100, 400, 700]).drop(columns="onset")
    assert read_events(frame, sfreq=100.0)["onset"].tolist() == [1.0, 4.0, 7.0]
    with pytest.raises(DataError, match="onset"):
        read_events(frame)


def test_samples_must_agree_with_onsets():
    assert len(read_events(table(sample=[100, 401, 700]), sfreq=100.0)) == 3
    with pytest.raises(DataError, match="`sample` and `onset` disagree"):
        read_events(table(sample=[100, 400, 700]), sfreq=250.0)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00bad", b"onset\tduration\n1\t2\t3\t4\n5\n"])
def test_unreadable_tables_are_refused(tmp_path, content):
    path = tmp_path / "events.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_events(path)
    assert caught.value.path == path


def test_absent_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read the table"):
        read_table(tmp_path / "none.tsv")


def test_labels_become_events_and_back():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.choice(["rest", "face", "house"], 30), 3)
    events = events_from_labels(labels, tr=2.0)
    back = np.full(len(labels), "rest", dtype=object)
    for onset, duration, name in events[["onset", "duration", "trial_type"]].to_numpy():
        back[int(onset / 2) : int((onset + duration) / 2)] = name
    assert (back == labels).all()


def test_onset_files_are_joined_in_time_order(tmp_path):
    face = write(tmp_path / "cond001.txt", "30\t10\t1\n90\t10\t1\n")
    house = write(tmp_path / "cond002.txt", "60 10 1\n")
    empty = write(tmp_path / "cond003.txt", "")
    events = read_onset_files({"face": face, "house": house, "shoe": empty})
    assert events["trial_type"].tolist() == ["face", "house", "face"]
    assert read_events(events, duration=120)["onset"].tolist() == [30.0, 60.0, 90.0]


def test_malformed_onset_file_is_refused(tmp_path):
    path = write(tmp_path / "cond001.txt", "30 10\n")
    with pytest.raises(DataError, match="three columns") as caught:
        read_onset_files({"face": path})
    assert caught.value.path == path
