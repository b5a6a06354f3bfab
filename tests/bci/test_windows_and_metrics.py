"""Window labels against a vote sample by sample; identities of nMCC and ITR."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

from brainalign.bci import information_transfer_rate, label_windows, normalised_mcc
from brainalign.bci.windows import label_samples
from brainalign.errors import DataError


@settings(deadline=None, max_examples=60)
@given(
    gaps=st.lists(st.integers(1, 12), min_size=0, max_size=8),
    duration=st.integers(1, 15),
    width=st.integers(1, 40),
    step=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_labels_equal_a_vote_sample_by_sample(gaps, duration, width, step, seed):
    onsets = np.cumsum(gaps)
    names = np.random.default_rng(seed).choice(["a", "b", "c"], len(gaps))
    n_samples = 60 + int(onsets[-1]) if len(gaps) else 60
    codes, classes = label_samples(onsets, names, n_samples, duration)
    for sample in range(n_samples):
        before = [i for i, start in enumerate(onsets) if start <= sample]
        running = before and sample < onsets[before[-1]] + duration
        assert classes[codes[sample]] == (names[before[-1]] if running else "idle")
    table = label_windows(codes, width=width, step=step)
    assert table["start"].tolist() == list(range(0, n_samples - width + 1, step))
    for row in table.itertuples():
        inside = codes[row.start : row.stop].tolist()
        votes = Counter(inside)
        top = max(votes.values())
        tied = [code for code in votes if votes[code] == top]
        latest = max(tied, key=lambda code: len(inside) - 1 - inside[::-1].index(code))
        assert row.code == latest
        assert row.purity == pytest.approx(top / width)


def test_windows_without_overlap_are_the_offline_trials():
    codes, names = label_samples([0, 50, 100], ["left", "right", "left"], 150, 50)
    table = label_windows(codes, width=50, step=50)
    assert [names[code] for code in table["code"]] == ["left", "right", "left"] and (table["purity"] == 1).all()


@pytest.mark.parametrize(
    "onsets, labels, duration", [([200], ["a"], 5), ([-1], ["a"], 5), ([5, 3], ["a", "b"], 5), ([1], ["a"], 0)]
)
def test_bad_events_are_refused(onsets, labels, duration):
    with pytest.raises(DataError):
        label_samples(onsets, labels, 100, duration)


def test_a_window_longer_than_the_run_is_refused():
    with pytest.raises(DataError, match="longer than the recording"):
        label_windows([0, 1], width=3, step=1)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_normalised_mcc_equals_scikit_learn(n_classes):
    rng = np.random.default_rng(n_classes)
    true = rng.integers(n_classes, size=200)
    predicted = np.where(rng.random(200) < 0.5, true, rng.integers(n_classes, size=200))
    assert normalised_mcc(true, predicted) == pytest.approx((matthews_corrcoef(true, predicted) + 1) / 2, abs=1e-12)
    renamed = np.array(list("gfedcba"))
    assert normalised_mcc(renamed[true], renamed[predicted]) == pytest.approx(normalised_mcc(true, predicted))
    assert normalised_mcc(true, true) == 1.0
    assert normalised_mcc(true, np.zeros(200, int)) == 0.5


def test_information_transfer_rate():
    assert information_transfer_rate(1, 2, 60) == 1
    assert information_transfer_rate(1, 4, 2) == 60
    # log2(4) + .8 log2 .8 + .2 log2(.2 / 3) = 0.961...
    assert information_transfer_rate(0.8, 4, 60) == pytest.approx(2 + 0.8 * np.log2(0.8) + 0.2 * np.log2(0.2 / 3))
    for accuracy in (0.0, 0.1, 0.25):
        assert information_transfer_rate(accuracy, 4, 1) == 0
    assert information_transfer_rate(1, 1, 1) == 0
    for bad in ((1.1, 2, 1), (0.5, 0, 1), (0.5, 2, 0)):
        with pytest.raises(DataError):
            information_transfer_rate(*bad)
