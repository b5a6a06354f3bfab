"""`Trials`: tables and responses stay together through every operation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.spaces import SensorSpace, SurfaceSpace, VolumeSpace
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials, join

AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])
AFFINE[:3, 3] = [-10, -20, 5]


def make(n_stimuli=6, n_repetitions=3, n_units=4, seed=0, noise=1.0, **kwargs):
    rng = np.random.default_rng(seed)
    ids = np.repeat([f"s{number}" for number in range(n_stimuli)], n_repetitions)
    signal = np.repeat(rng.standard_normal((n_stimuli, n_units)), n_repetitions, axis=0)
    order = rng.permutation(len(ids))
    table = pd.DataFrame(
        {"stimulus_id": ids, "run": np.arange(len(ids)) % 3, "session": np.arange(len(ids)) % 2 + 1}
    ).iloc[order]
    responses = (signal + noise * rng.standard_normal(signal.shape))[order].astype(np.float32)
    units = pd.DataFrame({"roi": ["V1", "V1", "FFA", "FFA"][:n_units] if n_units <= 4 else ["V1"] * n_units})
    return Trials(responses, table, units, **kwargs)


def test_defaults_are_filled_and_repetitions_counted():
    trials = make()
    assert trials.trials["subject"].unique().tolist() == ["1"]
    assert sorted(trials.trials.query("stimulus_id == 's0'")["repetition"]) == [0, 1, 2]
    assert trials.units["name"].tolist() == ["unit0", "unit1", "unit2", "unit3"]
    assert "18 trials of 6 stimuli" in repr(trials)
    assert "V1 2" in repr(trials)
    assert "noise ceiling" in repr(trials)


def test_select_by_query_mask_and_rows_agree():
    trials = make()
    by_query = trials.select("session <= 1 and run == 0", units="roi == 'FFA'")
    keep = (trials.trials["session"] <= 1) & (trials.trials["run"] == 0)
    by_mask = trials.select(keep.to_numpy(), units=[2, 3])
    np.testing.assert_array_equal(by_query.responses, by_mask.responses)
    np.testing.assert_array_equal(by_query.responses, trials.responses[keep.to_numpy()][:, 2:])
    assert by_query.trials["stimulus_id"].tolist() == trials.trials.loc[keep, "stimulus_id"].tolist()


def test_sessions_and_runs_are_numbers_where_they_are_numbers():
    table = pd.DataFrame({"stimulus_id": list("abc"), "session": ["01", "2", "10"], "run": ["a", "1", "2"]})
    trials = Trials(np.zeros((3, 1)), table)
    assert trials.select("session <= 2").stimulus_ids.tolist() == ["a", "b"]
    assert trials.trials["run"].tolist() == ["a", "1", "2"]


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"units": "roi == 'V11'"}, r"(?s)empty.*V1.*FFA"),
        ({"units": "area == 'V1'"}, r"(?s)area.*expected: columns"),
        ({"trials": "session > 9"}, "empty"),
        ({"trials": np.ones(3, bool)}, "another length"),
        ({"trials": [99]}, "out of range"),
        ({"trials": "session =="}, "cannot evaluate"),
        ({"trials": np.array([0.5])}, "neither query"),
        ({"times": (0, 1)}, "not time-resolved"),
    ],
)
def test_bad_selections_are_explained(kwargs, message):
    with pytest.raises(DataError, match=message):
        make().select(**kwargs)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=12), st.integers(0, 99))
def test_average_equals_a_loop(ids, seed):
    responses = np.random.default_rng(seed).standard_normal((len(ids), 3))
    mean = Trials(responses, pd.DataFrame({"stimulus_id": ids})).average("stimulus_id")
    assert mean.stimulus_ids.tolist() == list(dict.fromkeys(ids))
    for row, one in enumerate(mean.stimulus_ids):
        np.testing.assert_allclose(mean.responses[row], responses[np.array(ids) == one].mean(axis=0))
        assert mean.trials["n_averaged"][row] == ids.count(one)


def test_average_keeps_what_is_constant_and_subjects_apart():
    trials = make().with_trials(label=lambda table: table["stimulus_id"] + "!")
    assert "label" in trials.average("stimulus_id").trials
    assert (trials.average("stimulus_id").trials["run"] == "mixed").all()
    two = trials.with_trials(subject=np.where(np.arange(18) < 9, "a", "b"))
    assert two.average("stimulus_id").trials.groupby("stimulus_id")["subject"].nunique().max() == 2
    with pytest.raises(DataError, match="no column"):
        trials.average("colour")


def test_zscore_within_sessions_and_its_record():
    trials = make()
    scaled = trials.zscore(by="session")
    for session in (1, 2):
        part = scaled.select(f"session == {session}").responses
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(part.std(axis=0), 1, atol=1e-5)
    assert scaled.history[-1] == {"step": "zscore", "by": ["session"], "fit": "all"}


def test_zscore_fitted_on_train_ignores_the_test_trials():
    side = np.where(np.arange(18) < 12, "train", "test")
    trials = make().with_trials(split=side)
    poisoned = trials.responses.copy()
    poisoned[12:] = 1e6
    poisoned_trials = Trials(poisoned, trials.trials, trials.units)
    for honest, leaky in (("split == 'train'", "all"),):
        a, b = (one.zscore(fit=honest).select("split == 'train'").responses for one in (trials, poisoned_trials))
        np.testing.assert_array_equal(a, b)
        a, b = (one.zscore(fit=leaky).select("split == 'train'").responses for one in (trials, poisoned_trials))
        assert not np.allclose(a, b)
    with pytest.raises(DataError, match="no trial to fit"):
        trials.with_trials(session=side).zscore(by="session", fit="split == 'train'")


def test_constant_units_become_zero_not_nan():
    responses = np.ones((4, 2))
    responses[:, 1] = [1, 2, 3, 4]
    scaled = Trials(responses, pd.DataFrame({"stimulus_id": list("abcd")})).zscore(by=())
    assert (scaled.responses[:, 0] == 0).all()
    assert np.isfinite(scaled.responses).all()


def test_noise_ceiling_of_planted_signal_and_of_noise():
    rng = np.random.default_rng(1)
    n_stimuli, counts = 400, rng.integers(2, 5, 400)
    ids = np.repeat(np.arange(n_stimuli), counts)
    signal_sd = np.array([0.0, 0.5, 1.0, 2.0])
    responses = rng.standard_normal((n_stimuli, 4))[ids] * signal_sd + rng.standard_normal((len(ids), 4))
    trials = Trials(responses, pd.DataFrame({"stimulus_id": ids}))
    np.testing.assert_allclose(trials.ncsnr(), signal_sd, atol=0.12)
    k = np.mean(1 / counts)
    np.testing.assert_allclose(trials.noise_ceiling(None), signal_sd**2 / (signal_sd**2 + k), atol=0.08)
    with pytest.raises(DataError, match="repeated stimuli"):
        trials.average("stimulus_id").ncsnr()
    with pytest.raises(DataError, match="within a subject"):
        trials.with_trials(subject=ids % 2).noise_ceiling()


def test_save_and_open_memory_mapped(tmp_path):
    trials = make(space=VolumeSpace((3, 3, 3), AFFINE), info={"dataset": "toy"}).zscore()
    trials.save(tmp_path / "t")
    opened = Trials.open(tmp_path / "t")
    assert isinstance(opened.responses, np.memmap)
    np.testing.assert_array_equal(opened.responses, trials.responses)
    pd.testing.assert_frame_equal(opened.trials, trials.trials)
    pd.testing.assert_frame_equal(opened.units, trials.units)
    assert opened.history == trials.history
    assert opened.info == {"dataset": "toy"}
    np.testing.assert_array_equal(opened.space.affine, AFFINE)
    one_roi = opened.select(units="roi == 'V1'")
    assert np.shares_memory(one_roi.responses, opened.responses), "a contiguous region is a view on the file"


def test_opening_another_kind_is_refused(tmp_path):
    Latents(np.eye(2), ["a", "b"], space="toy").save(tmp_path / "l")
    with pytest.raises(DataError, match="holds no trials"):
        Trials.open(tmp_path / "l")


def test_round_trip_to_nifti():
    space = VolumeSpace((4, 3, 2), AFFINE)
    mask = np.random.default_rng(0).random((4, 3, 2)) > 0.5
    units = space.units(mask)
    trials = Trials(np.zeros((2, len(units))), pd.DataFrame({"stimulus_id": ["a", "b"]}), units, space=space)
    values = np.arange(1.0, len(units) + 1)
    image = trials.to_nifti(values, fill=-1)
    np.testing.assert_array_equal(image.get_fdata()[mask], values)
    assert (image.get_fdata()[~mask] == -1).all()
    np.testing.assert_allclose(image.affine, AFFINE)
    first = units.iloc[0]
    np.testing.assert_allclose(AFFINE @ [first.i, first.j, first.k, 1], [first.x, first.y, first.z, 1])
    assert trials.to_nifti(np.stack([values, values])).shape == (4, 3, 2, 2)
    with pytest.raises(DataError, match="one value per unit"):
        trials.to_nifti(values[:-1])
    with pytest.raises(DataError, match="do not come from sensors"):
        trials.to_evoked()


def test_round_trip_to_surface():
    units = pd.DataFrame({"hemi": ["left", "left", "right"], "vertex": [0, 2, 1]})
    images = SurfaceSpace({"left": 3, "right": 2}).to_gifti([1.0, 2.0, 3.0], units)
    np.testing.assert_array_equal(images["left"].darrays[0].data, [1, np.nan, 2])
    np.testing.assert_array_equal(images["right"].darrays[0].data, [np.nan, 3])


def test_evoked_and_time_selection():
    units = pd.DataFrame({"name": ["Cz", "Oz"], "type": "eeg", "x": [0, 0], "y": [0, -0.1], "z": [0.1, 0]})
    times = np.arange(-2, 4) / 100
    responses = np.arange(24.0).reshape(2, 2, 6)
    trials = Trials(responses, pd.DataFrame({"stimulus_id": ["a", "b"]}), units, times=times, space=SensorSpace(100.0))
    evoked = trials.to_evoked()
    np.testing.assert_allclose(evoked.data, responses.mean(axis=0))
    assert evoked.ch_names == ["Cz", "Oz"]
    assert evoked.times[0] == pytest.approx(-0.02)
    np.testing.assert_allclose(evoked.info["chs"][1]["loc"][:3], [0, -0.1, 0])
    part = trials.select(times=(0.0, 0.02))
    np.testing.assert_allclose(part.times, [0, 0.01, 0.02])
    np.testing.assert_array_equal(part.responses, responses[:, :, 2:5])
    with pytest.raises(DataError, match="no sample"):
        trials.select(times=(5, 6))


def test_xarray_carries_the_tables():
    array = make().to_xarray()
    assert array.dims == ("trial", "unit")
    assert array.sel(unit=array.unit_roi == "FFA").shape == (18, 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((np.zeros((3, 2)), pd.DataFrame({"stimulus_id": ["a", "b"]})), "differ in length"),
        ((np.zeros((2, 2)), pd.DataFrame({"id": ["a", "b"]})), "no stimulus_id"),
        ((np.zeros((2, 2)), pd.DataFrame({"stimulus_id": ["a", None]})), "without stimulus_id"),
        (
            (np.zeros((2, 2)), pd.DataFrame({"stimulus_id": ["a", "b"]}), pd.DataFrame({"name": ["x", "x"]})),
            "unit names must be unique",
        ),
        (
            (np.zeros((2, 2)), pd.DataFrame({"stimulus_id": ["a", "b"]}), pd.DataFrame({"name": ["x"]})),
            "differ in length",
        ),
        ((np.zeros((2, 2, 3)), pd.DataFrame({"stimulus_id": ["a", "b"]})), "times"),
        ((np.zeros(2), pd.DataFrame({"stimulus_id": ["a", "b"]})), "wrong form"),
        ((np.zeros((0, 2)), pd.DataFrame({"stimulus_id": []})), "wrong form"),
    ],
)
def test_malformed_input_is_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        Trials(*arguments)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_join_is_by_id_whatever_the_order(random):
    trials = make()
    latents = Latents(np.arange(6.0)[:, None] * [1.0, 10.0], [f"s{number}" for number in range(6)], space="toy")
    order = list(latents.ids)
    random.shuffle(order)
    _, targets = join(trials, latents.select(order))
    np.testing.assert_array_equal(targets[:, 0], [float(one[1:]) for one in trials.stimulus_ids])


def test_join_lists_unknown_ids():
    with pytest.raises(DataError, match=r"(?s)without latents.*s5"):
        join(make(), Latents(np.eye(5), [f"s{number}" for number in range(5)], space="toy"))


def test_with_stimuli_needs_every_picture():
    pictures = Stimuli.from_arrays(np.zeros((5, 4, 4, 3), np.uint8), [f"s{number}" for number in range(5)])
    with pytest.raises(DataError, match="s5"):
        make().with_stimuli(pictures)
    shown = make(n_stimuli=5).with_stimuli(pictures)
    assert shown.stimuli is pictures


def test_input_is_not_changed():
    responses, table = np.ones((2, 2)), pd.DataFrame({"stimulus_id": ["a", "b"]})
    Trials(responses, table).zscore().average()
    assert list(table) == ["stimulus_id"]
    assert (responses == 1).all()


def test_nan_is_reported_with_its_column():
    trials = make()
    trials.responses[3, 2] = np.nan
    with pytest.raises(DataError, match=r"(?s)1 non-finite.*columns \[2\]"):
        trials.check_finite()
