"""Pseudo-online evaluation: noise is at chance, a planted signal is found, and shuffled folds show what a leak does."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from brainalign.bci import PseudoOnline, normalised_mcc
from brainalign.errors import DataError
from brainalign.loaders.ephys.recording import Recording

SFREQ = 50.0


def log_power(X: np.ndarray) -> np.ndarray:
    return np.log(X.var(axis=2))


def recording(n_tasks: int = 40, *, gain: float = 0.0, drift: bool = True, seed: int = 0):
    """Coloured noise with drifting gain; `gain` raises one channel per class during its task."""
    rng = np.random.default_rng(seed)
    onsets = 3.0 + 6.0 * np.arange(n_tasks)
    names = rng.permutation(np.tile(["a", "b", "c", "d"], n_tasks // 4))
    n_samples = int((onsets[-1] + 6) * SFREQ)
    data = rng.standard_normal((6, n_samples))
    data[:, 1:] += 0.9 * data[:, :-1]
    if drift:
        slow = np.cumsum(rng.standard_normal((6, n_samples)), axis=1)
        data *= np.exp(0.6 * slow / slow.std(axis=1, keepdims=True))
    for onset, name in zip(onsets, names):
        start = int(onset * SFREQ)
        data["abcd".index(name), start : start + int(3 * SFREQ)] *= 1 + gain
    info = mne.create_info([f"C{number}" for number in range(1, 7)], SFREQ, "eeg")
    raw = mne.io.RawArray(1e-6 * data, info, verbose="error")
    return raw, pd.DataFrame({"onset": onsets, "duration": 3.0, "trial_type": names})


LOGISTIC = make_pipeline(FunctionTransformer(log_power), StandardScaler(), LogisticRegression())
NEAREST = make_pipeline(FunctionTransformer(log_power), StandardScaler(), KNeighborsClassifier(1))


def test_noise_is_at_chance_in_blocks_of_time_and_far_above_under_shuffled_folds():
    """90 % overlap: the negative control shows that the test has the power to see a leak."""
    honest, leaking = [], []
    for seed in range(6):
        raw, events = recording(seed=seed)
        options = {"window": 2.0, "step": 0.2}
        honest.append(PseudoOnline(**options).evaluate(raw, events, NEAREST).scores["nmcc"].value)
        if seed < 2:
            with pytest.warns(UserWarning, match="leak"):
                published = PseudoOnline(**options, protocol="shuffled").evaluate(raw, events, NEAREST)
            leaking.append(published.scores["nmcc"].value)
    assert abs(np.mean(honest) - 0.5) < 0.03
    assert min(leaking) > 0.8


def test_a_planted_signal_is_found_and_scored_with_all_that_belongs_to_it():
    raw, events = recording(gain=3.0, drift=False)
    result = PseudoOnline(window=1.0, step=0.25).evaluate(raw, events, LOGISTIC)
    score = result.scores["nmcc"]
    assert score.value > 0.8 and score.low <= score.value <= score.high and score.chance == 0.5
    assert {"balanced_accuracy", "recall idle", "recall a", "idle_false_per_minute", "itr", "latency"} <= set(
        result.scores
    )
    # A window of a second cannot be mostly task before half a second, nor need it be seen later than three.
    assert 0.5 <= result.scores["latency"].value < 3.0
    assert 0 < result.scores["itr"].value <= 60 * np.log2(5)
    assert len(result.table()) == len(result.scores)
    windows = result.windows
    assert (windows["fold"] >= 0).all() and len(windows) == len(set(windows["start"]))


def test_scores_are_those_of_the_windows():
    raw, events = recording(gain=1.0, drift=False)
    result = PseudoOnline(window=1.0, step=0.5).evaluate(raw, events, LOGISTIC)
    windows, idle = result.windows, result.windows["label"] == "idle"
    assert result.scores["nmcc"].value == pytest.approx(normalised_mcc(windows["label"], windows["predicted"]))
    wrong = (windows.loc[idle, "predicted"] != "idle").mean()
    assert result.scores["idle_false_per_minute"].value == pytest.approx(wrong * 60 / 0.5)
    assert result.scores["recall idle"].value == pytest.approx(1 - wrong)


@pytest.mark.parametrize("step, gap", [(0.25, None), (0.6, 1.3), (1.0, 0.0)])
def test_train_and_test_windows_lie_the_gap_apart(step, gap):
    raw, events = recording(n_tasks=12)
    model = PseudoOnline(window=2.0, step=step, gap=gap, n_splits=3)
    _, _, windows = model._cut(Recording(raw), events, None)
    windows["run"] = 0
    folds = model._folds(windows, SFREQ)
    starts, stops = windows["start"].to_numpy(), windows["stop"].to_numpy()
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested.tolist()) == list(range(len(windows)))
    for fold in folds:
        for row in fold.test:
            apart = np.maximum(starts[fold.train] - stops[row], starts[row] - stops[fold.train])
            assert apart.min() >= (2.0 if gap is None else gap) * SFREQ


def test_several_runs_are_cut_apart():
    runs = [recording(gain=2.0, drift=False, seed=seed) for seed in range(2)]
    result = PseudoOnline(window=1.0, step=0.5, n_splits=3).evaluate(
        [raw for raw, _ in runs], [events for _, events in runs], LOGISTIC
    )
    assert set(result.windows["run"]) == {0, 1} and result.scores["nmcc"].value > 0.7


def test_without_idle_only_tasks_are_scored():
    raw, events = recording(gain=3.0, drift=False)
    result = PseudoOnline(window=1.0, step=0.5, idle=False).evaluate(raw, events, LOGISTIC)
    assert set(result.windows["label"]) == set("abcd") and "idle_false_per_minute" not in result.scores


def test_a_causal_filter_does_not_see_the_future():
    raw, _ = recording(n_tasks=8)
    changed = raw.copy()
    changed._data[:, 1000:] *= 50.0
    one, other = (PseudoOnline(band=(4.0, 20.0))._signal(Recording(each)) for each in (raw, changed))
    np.testing.assert_array_equal(one[:, :1000], other[:, :1000])
    zero_phase = PseudoOnline(band=(4.0, 20.0), causal=False)
    assert not np.allclose(
        zero_phase._signal(Recording(raw))[:, :1000], zero_phase._signal(Recording(changed))[:, :1000]
    )


def test_only_pure_windows_are_trained_on_where_asked_for():
    class Counting(LogisticRegression):
        def fit(self, X, y):
            seen.append(len(y))
            return super().fit(X, y)

    raw, events = recording(n_tasks=12)
    counts = []
    for purity in (0.0, 1.0):
        seen: list[int] = []
        PseudoOnline(window=1.0, train_purity=purity, n_splits=3).evaluate(
            raw, events, make_pipeline(FunctionTransformer(log_power), Counting())
        )
        counts.append(sum(seen))
    assert counts[1] < counts[0]


@pytest.mark.parametrize(
    "change, options, said",
    [
        (lambda e: e.assign(onset=e["onset"] + 20.0), {}, "beyond the recording"),
        (lambda e: e.assign(duration=np.arange(len(e)) + 1.0), {}, "how long tasks last"),
        (lambda e: e, {"window": 1e4}, "longer than the recording"),
        (lambda e: e.assign(trial_type="a"), {"idle": False}, "one class"),
        (lambda e: e, {"gap": 1e3}, "gap"),
    ],
)
def test_bad_input_is_refused(change, options, said):
    raw, events = recording(n_tasks=8)
    with pytest.raises(DataError, match=said):
        PseudoOnline(**options).evaluate(raw, change(events), LOGISTIC)


def test_runs_with_other_channels_are_refused():
    raw, events = recording(n_tasks=8)
    with pytest.raises(DataError, match="run 1"):
        PseudoOnline().evaluate([raw, raw.copy().drop_channels(["C3"])], [events, events], LOGISTIC)
    with pytest.raises(DataError, match="protocol"):
        PseudoOnline(protocol="random")
