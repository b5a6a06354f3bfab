"""Models over time: per channel and time against single fits, and generalisation from one time to another."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import simulate_subject
from brainalign.scoring.resampling import permutations
from brainalign.splits import split
from brainalign.trials import Trials
from brainalign.voxelwise import Ridge, over_time
from brainalign.voxelwise.over_time import decoding_generalisation, temporal_generalisation

TIMES = np.round(np.arange(-0.1, 0.31, 0.05), 3)


def recording(seed: int = 0, *, n_stimuli: int = 90, noise: float = 0.7) -> tuple[Latents, Trials]:
    """Three channels. The code of channel 0 stays from 0.05 s on; that of channel 1 changes at 0.15 s; 2 is silent."""
    rng = np.random.default_rng(seed)
    latents = Latents(rng.standard_normal((n_stimuli, 5)), [f"s{i}" for i in range(n_stimuli)], space="toy")
    codes = latents.values @ np.linalg.qr(rng.standard_normal((5, 3)))[0]
    signal = np.zeros((n_stimuli, 3, len(TIMES)))
    signal[:, 0, TIMES >= 0.05] = codes[:, :1]
    signal[:, 1, (TIMES >= 0.05) & (TIMES < 0.15)] = codes[:, 1:2]
    signal[:, 1, TIMES >= 0.15] = codes[:, 2:3]
    rows = rng.permutation(np.repeat(np.arange(n_stimuli), 2))
    responses = signal[rows] + noise * rng.standard_normal((len(rows), 3, len(TIMES)))
    table = pd.DataFrame({"stimulus_id": [latents.ids[row] for row in rows]})
    return latents, Trials(responses, table, pd.DataFrame({"name": ["stable", "changing", "silent"]}), times=TIMES)


@pytest.fixture(scope="module")
def fitted():
    latents, trials = recording()
    train, test = split(trials, test_size=0.4, seed=0)
    return latents, train, test, Ridge().fit(latents, train)


def test_each_channel_and_time_is_a_model_of_its_own(fitted):
    latents, train, test, model = fitted
    scores = model.score_units(latents, test, n_permutations=0)
    assert scores.r.shape == (3, len(TIMES))
    average = test.average()
    for channel, time in ((0, 4), (2, 1)):
        X, y = latents.at(train.stimulus_ids), train.responses[:, channel, time]
        alone = Ridge(alphas=model.alphas_).fit(X, y, groups=train.stimulus_ids)
        r = np.corrcoef(alone.predict(latents.at(average.stimulus_ids)), average.responses[:, channel, time])[0, 1]
        assert scores.r[channel, time] == pytest.approx(r, abs=1e-6)


def test_scores_go_back_to_sensors():
    latents = Latents(np.random.default_rng(0).standard_normal((120, 4)), [f"s{i}" for i in range(120)], space="toy")
    trials, truth = simulate_subject(latents, modality="eeg", sfreq=50.0, rois=["occipital"], n_repetitions=4)
    train, test = split(trials, seed=0)
    scores = Ridge().fit(latents, train).score_units(latents, test)
    assert scores.r.shape == scores.p_max.shape == trials.shape[1:]
    for value in ("r", "p_max"):
        evoked = scores.to_evoked(value=value)
        np.testing.assert_allclose(evoked.data, getattr(scores, value))
        assert evoked.ch_names == trials.units["name"].tolist()
        np.testing.assert_allclose(evoked.times, trials.times, atol=1e-9)
    found = (scores.p_max < 0.05).any(axis=0)
    assert found.any() and not found[trials.times < truth.onsets["occipital"]].any()


def test_generalisation_is_the_loop_over_channels_and_times(fitted):
    latents, _, test, model = fitted
    result = temporal_generalisation(model, latents, test, n_permutations=60, seed=7)
    average = test.average()
    n_times = len(TIMES)
    predicted = model.predict(latents.at(average.stimulus_ids)).reshape(-1, 3, n_times)
    orders = [np.arange(len(average)), *permutations(len(average), 60, seed=7)]
    r = np.empty((61, 3, n_times, n_times))
    for number, order in enumerate(orders):
        for channel in range(3):
            both = np.corrcoef(predicted[:, channel].T, average.responses[order][:, channel].T)
            r[number, channel] = both[:n_times, n_times:]
    np.testing.assert_allclose(result.values, r[0], atol=1e-9)
    np.testing.assert_allclose(result.p, (r >= r[0] - 1e-9).mean(axis=0))
    highest = r[1:].reshape(60, -1).max(axis=1)
    expected = (1 + (highest[:, None] >= r[0].ravel() - 1e-9).sum(axis=0)) / 61
    np.testing.assert_allclose(result.p_max.ravel(), expected)
    scores = model.score_units(latents, test, n_permutations=0)
    np.testing.assert_allclose(np.diagonal(result.values, axis1=1, axis2=2), scores.r, atol=1e-9)
    np.testing.assert_allclose(result.ceiling, np.sqrt(scores.ceiling))
    loud = scores.ceiling > 0.2
    np.testing.assert_allclose(np.diagonal(result.normalised, axis1=1, axis2=2)[loud], scores.r_normalised[loud])


def test_a_code_that_stays_generalises_and_one_that_changes_does_not(fitted):
    latents, _, test, model = fitted
    result = temporal_generalisation(model, latents, test)
    early, late = (TIMES >= 0.05) & (TIMES < 0.15), TIMES >= 0.15
    stable, changing, silent = result.values
    assert stable[np.ix_(early, late)].min() > 0.6 and (result.q[0][np.ix_(early, late)] < 0.05).all()
    assert changing[np.ix_(early, early)].min() > 0.6 and changing[np.ix_(late, late)].min() > 0.6
    for matrix in (changing[np.ix_(early, late)], changing[np.ix_(late, early)], silent, stable[:, TIMES < 0.05]):
        assert abs(matrix.mean()) < 0.3
    assert (result.p_max[2] < 0.05).mean() < 0.02
    assert "entries at q < 0.05" in repr(result)


def test_a_shuffled_copy_gives_nothing():
    latents, trials = recording(1)
    order = np.random.default_rng(3).permutation(len(latents))
    wrong = Latents(latents.values[order], latents.ids, space="toy")
    train, test = split(trials, test_size=0.4, seed=0)
    result = temporal_generalisation(Ridge().fit(wrong, train), wrong, test, n_permutations=400)
    assert result.p_max.min() > 0.01 and (result.q < 0.05).mean() < 0.02
    decoded = decoding_generalisation(Ridge(), train, test, wrong, n_permutations=400)
    assert decoded.p_max.min() > 0.01


def test_blocks_of_channels_change_nothing(fitted, monkeypatch):
    latents, _, test, model = fitted
    whole = temporal_generalisation(model, latents, test, n_permutations=50)
    monkeypatch.setattr(over_time, "BLOCK_BYTES", 1)
    parts = temporal_generalisation(model, latents, test, n_permutations=50)
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-12)
    np.testing.assert_array_equal(parts.p_max, whole.p_max)


def test_constant_times_are_missing_and_left_out(fitted):
    latents, train, test, _ = fitted
    flat = test.responses.copy()
    flat[:, 0, 2] = 1.5
    still = Trials(flat, test.trials, test.units, times=TIMES)
    model = Ridge().fit(latents, train)
    result = temporal_generalisation(model, latents, still, n_permutations=20)
    assert np.isnan(result.values[0, :, 2]).all() and np.isnan(result.p[0, :, 2]).all()
    assert np.isfinite(np.delete(result.values[0], 2, axis=1)).all()


def test_decoding_is_the_loop_over_pairs_of_times(fitted):
    latents, train, test, _ = fitted
    result = decoding_generalisation(Ridge(alphas=[1.0, 100.0]), train, test, latents, n_permutations=40, seed=3)
    average = test.average()
    true = latents.at(average.stimulus_ids)
    orders = [np.arange(len(average)), *permutations(len(average), 40, seed=3)]
    r = np.empty((41, len(TIMES), len(TIMES)))
    for trained in range(len(TIMES)):
        model = Ridge(alphas=[1.0, 100.0]).fit(
            train.responses[:, :, trained], latents.at(train.stimulus_ids), groups=train.stimulus_ids
        )
        for tested in range(len(TIMES)):
            guess = model.predict(average.responses[:, :, tested])
            for number, order in enumerate(orders):
                columns = range(true.shape[1])
                r[number, trained, tested] = np.mean(
                    [np.corrcoef(guess[:, one], true[order, one])[0, 1] for one in columns]
                )
    np.testing.assert_allclose(result.values, r[0], atol=1e-9)
    np.testing.assert_allclose(result.p, (r >= r[0] - 1e-9).mean(axis=0))
    assert result.ceiling is None and np.isnan(result.normalised).all()


def test_decoding_finds_the_times_that_share_a_code(fitted):
    latents, train, test, _ = fitted
    result = decoding_generalisation(Ridge(), train, test, latents, n_permutations=500)
    silent = TIMES < 0.05
    assert result.values.shape == (len(TIMES), len(TIMES))
    assert (np.diag(result.p_max)[~silent] < 0.05).all()
    assert (result.p_max[silent] < 0.05).mean() < 0.05 and (result.p_max[:, silent] < 0.05).mean() < 0.05
    early, late = (TIMES >= 0.05) & (TIMES < 0.15), TIMES >= 0.15
    within = result.values[np.ix_(late, late)].mean()
    assert within > result.values[np.ix_(early, late)].mean() + 0.1


def test_without_permutations_p_is_missing(fitted):
    latents, train, test, model = fitted
    for result in (
        temporal_generalisation(model, latents, test, n_permutations=0),
        decoding_generalisation(Ridge(), train, test, latents, n_permutations=0),
    ):
        assert np.isfinite(result.values).all() and np.isnan(result.p).all() and result.n_permutations == 0


def test_bad_input_is_refused(fitted):
    latents, train, test, model = fitted
    flat = Trials(test.responses[:, :, 0], test.trials, test.units)
    with pytest.raises(DataError, match="not time-resolved"):
        temporal_generalisation(model, latents, flat)
    with pytest.raises(DataError, match="not time-resolved"):
        decoding_generalisation(Ridge(), train, flat, latents)
    with pytest.raises(LeakageError):
        temporal_generalisation(model, latents, train)
    with pytest.raises(LeakageError):
        decoding_generalisation(Ridge(), train, train, latents)
    with pytest.raises(DataError, match="differ in channels or times"):
        decoding_generalisation(Ridge(), train, test.select(times=(0.0, 0.2)), latents)
    still = Latents(np.ones((90, 2)), latents.ids, space="still")
    with pytest.raises(DataError, match="latents do not vary"):
        decoding_generalisation(Ridge(), train, test, still)
