"""Preprocessing of signals learns from training trials alone, and does what independent code does."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.preprocessing import StandardScaler

from brainalign.encoders.ephys import (
    MVNN,
    AverageRepetitions,
    ChannelScaler,
    RegionChannels,
    average_repetitions,
    noise_covariance,
)
from brainalign.errors import DataError, LeakageError
from brainalign.splits import split
from brainalign.trials import Trials


def recording(n_stimuli: int = 12, n_repetitions: int = 6, n_channels: int = 4, n_times: int = 30) -> Trials:
    rng = np.random.default_rng(0)
    mixing = np.linalg.qr(rng.standard_normal((n_channels, n_channels)))[0] * np.geomspace(0.2, 5, n_channels)
    ids = np.repeat([f"s{number:02d}" for number in range(n_stimuli)], n_repetitions)
    signal = np.repeat(rng.standard_normal((n_stimuli, n_channels, n_times)), n_repetitions, axis=0)
    X = signal + mixing @ rng.standard_normal((len(ids), n_channels, n_times))
    table = pd.DataFrame({"stimulus_id": ids, "session": np.arange(len(ids)) % 2 + 1})
    table["split"] = np.where(ids < "s08", "train", "test")
    units = pd.DataFrame({"name": ["a", "b", "c", "d"], "region": ["V1", "V1", "IT", "IT"]})
    return Trials(X, table, units, times=np.arange(n_times) / 100)


def test_whitening_makes_the_training_covariance_the_identity():
    trials = recording()
    rows = (trials.trials["split"] == "train").to_numpy()
    for over in ("time", "epoch"):
        for shrinkage in (0.0, 0.3):
            whitener = MVNN(over, shrinkage).fit(trials)
            white = whitener.transform(trials).responses[rows]
            own = noise_covariance(trials.responses[rows], trials.stimulus_ids[rows], over=over, shrinkage=shrinkage)
            whole = whitener.learnt_[""] @ own @ whitener.learnt_[""].T
            np.testing.assert_allclose(whole, np.eye(4), atol=1e-6)
            if not shrinkage:
                after = noise_covariance(white, trials.stimulus_ids[rows], over=over, shrinkage=0.0)
                np.testing.assert_allclose(after, np.eye(4), atol=1e-6)


@pytest.mark.parametrize("over", ["time", "epoch"])
def test_covariance_is_that_of_a_loop_with_scikit_learn(over):
    trials = recording(5, 7)
    X, ids = trials.responses.copy(), trials.stimulus_ids
    X, ids = X[:-3], ids[:-3]  # conditions weigh the same whatever their number of trials
    means = []
    for name in np.unique(ids):
        mine = X[ids == name]
        sets = mine.transpose(2, 0, 1) if over == "time" else mine.transpose(0, 2, 1)
        parts = []
        for samples in sets:
            scaler = StandardScaler().fit(samples)
            parts.append(ledoit_wolf(scaler.transform(samples))[0] * np.outer(scaler.scale_, scaler.scale_))
        means.append(np.mean(parts, axis=0))
    np.testing.assert_allclose(noise_covariance(X, ids, over=over), np.mean(means, axis=0), rtol=1e-10)


def test_what_is_learnt_does_not_see_the_test_trials():
    trials = recording()
    test = (trials.trials["split"] == "test").to_numpy()
    changed = trials.responses.copy()
    changed[test] = 100 * np.random.default_rng(1).standard_normal(changed[test].shape)
    for make in (MVNN, ChannelScaler, lambda: MVNN("epoch", by="session"), lambda: RegionChannels("pca")):
        one, other = make().fit(trials), make().fit(trials.with_responses(changed))
        for name in one.learnt_:
            np.testing.assert_array_equal(np.asarray(one.learnt_[name]), np.asarray(other.learnt_[name]))
    seen = MVNN(fit_on="all").fit(trials.with_responses(changed))
    assert np.abs(seen.learnt_[""] - MVNN().fit(trials).learnt_[""]).max() > 1e-3
    bare = Trials(trials.responses, trials.trials.drop(columns="split"), trials.units, times=trials.times)
    left, right = split(bare, seed=0)
    with pytest.raises(LeakageError, match="test side of a split"):
        ChannelScaler().fit(right)
    assert ChannelScaler().fit(left).transform(right).history[-1]["step"] == "ChannelScaler"


def test_sessions_are_whitened_on_their_own():
    trials = recording()
    X = trials.responses * np.where(trials.trials["session"] == 1, 1.0, 10.0)[:, None, None]
    white = MVNN("epoch", by="session").fit_transform(trials.with_responses(X))
    spread = [white.responses[(white.trials["session"] == one).to_numpy()].std() for one in (1, 2)]
    assert spread[0] == pytest.approx(spread[1], rel=0.05)


def test_rank_deficient_channels_are_reduced_with_a_warning():
    X = recording().responses
    X = X - X.mean(axis=1, keepdims=True)
    with pytest.warns(UserWarning, match="3 of 4 dimensions"):
        assert np.isfinite(MVNN("epoch", 0.0).fit_transform(X)).all()


def test_regions_and_their_principal_component():
    trials = recording()
    mean = RegionChannels().fit_transform(trials)
    assert mean.units["name"].tolist() == ["IT", "V1"] and mean.units["n_channels"].tolist() == [2, 2]
    np.testing.assert_allclose(mean.responses[:, 1], trials.responses[:, :2].mean(axis=1))
    course = np.random.default_rng(0).standard_normal((20, 1, 30))
    X = np.concatenate([course, 3 * course, 0.01 * course], axis=1)
    made = RegionChannels("pca", ["r"] * 3).fit(X)
    np.testing.assert_allclose(made.learnt_[""][0], np.array([1, 3, 0.01]) / np.linalg.norm([1, 3, 0.01]), atol=1e-9)


def test_repetitions_by_groups():
    trials = recording(4, 5)
    pairs = AverageRepetitions(2).transform(trials)
    assert sorted(pairs.trials["n_averaged"]) == [1] * 4 + [2] * 8
    weighted = pairs.responses * pairs.trials["n_averaged"].to_numpy()[:, None, None]
    np.testing.assert_allclose(weighted.sum(axis=0), trials.responses.sum(axis=0))
    means, names = average_repetitions(trials.responses, trials.stimulus_ids.astype(str), n=2)
    assert len(names) == 12
    first = pairs.responses[(pairs.stimulus_ids == "s00")]
    np.testing.assert_allclose(np.sort(first, axis=0), np.sort(means[names == "s00"], axis=0))


def test_bad_signals_are_refused():
    trials = recording()
    fitted = MVNN().fit(trials)
    with pytest.raises(DataError, match="other channels"):
        fitted.transform(trials.select(units=[1, 0, 2, 3]))
    with pytest.raises(DataError, match="other channels"):
        fitted.transform(trials.responses[:, :3])
    for bad in (np.zeros((3, 4, 0)), np.zeros((3, 4)), np.full((2, 3, 4), np.nan)):
        with pytest.raises(DataError):
            ChannelScaler().fit(bad)
    with pytest.raises(DataError, match="two samples"):
        MVNN().fit(trials.average("stimulus_id").with_trials(split="train"))
    with pytest.raises(DataError, match="nothing was learnt of session"):
        ChannelScaler(by="session").fit(trials.select("session == 1")).transform(trials)
