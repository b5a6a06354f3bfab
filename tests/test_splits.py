"""Splits keep groups together, carry a hash, and refuse leaks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainalign.errors import DataError, LeakageError
from brainalign.splits import check_disjoint, contiguous_folds, folds, split, split_hash
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials


def make(n_stimuli=10, n_repetitions=3, **columns):
    ids = [f"s{number}" for number in range(n_stimuli)] * n_repetitions
    table = pd.DataFrame({"stimulus_id": ids, "run": np.repeat(np.arange(n_repetitions), n_stimuli), **columns})
    return Trials(np.random.default_rng(0).standard_normal((len(ids), 2)), table)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=8, max_size=40), st.integers(2, 4), st.integers(0, 5))
def test_folds_partition_rows_and_never_part_a_group(groups, n_splits, seed):
    if len(set(groups)) < n_splits:
        with pytest.raises(DataError, match="too few groups"):
            folds(groups, n_splits=n_splits, seed=seed)
        return
    values = np.array(groups)
    made = folds(groups, n_splits=n_splits, seed=seed)
    tested = np.concatenate([fold.test for fold in made])
    assert sorted(tested) == list(range(len(groups)))
    for train, test in made:
        assert not set(values[train]) & set(values[test])
        assert sorted([*train, *test]) == list(range(len(groups)))


def test_repetitions_stay_together_and_both_sides_carry_the_hash():
    train, test = split(make(), test_size=0.3, seed=1)
    assert not set(train.stimulus_ids) & set(test.stimulus_ids)
    assert len(set(test.stimulus_ids)) == 3
    assert len(test) == 9
    assert train.info["split"]["hash"] == test.info["split"]["hash"]
    assert test.info["split"]["side"] == "test"


def test_hash_follows_the_groups_and_not_the_row_order():
    trials = make()
    shuffled = trials.select(np.random.default_rng(0).permutation(len(trials)))
    hashes = [split(one, seed=0)[0].info["split"]["hash"] for one in (trials, shuffled)]
    assert hashes[0] == hashes[1]
    assert hashes[0] != split(trials, seed=1)[0].info["split"]["hash"]
    assert split_hash(folds(trials, seed=0)) == split_hash(folds(shuffled, seed=0)) != split_hash(folds(trials, seed=3))


def test_leave_one_run_out_in_natural_order():
    trials = make(run=np.repeat(["run-10", "run-9", "2"], 10)).with_trials(run=np.repeat(["10", "9", "2"], 10))
    tested = [trials.trials["run"][fold.test].unique().tolist() for fold in folds(trials, by="run", n_splits=None)]
    assert tested == [[2], [9], [10]]


def test_by_concept_through_the_stimulus_table():
    table = pd.DataFrame(
        {"concept": [f"c{number % 5}" for number in range(10)]}, index=[f"s{number}" for number in range(10)]
    )
    trials = make().with_stimuli(Stimuli(table.index, captions=dict.fromkeys(table.index, ""), table=table))
    for fold in folds(trials, by="concept", n_splits=5):
        concepts = [table.loc[trials.stimulus_ids[rows], "concept"] for rows in fold]
        assert not set(concepts[0]) & set(concepts[1])


def test_stratified_folds_hold_every_class():
    labels = np.repeat(["cat", "dog"], [12, 6])
    for fold in folds(np.arange(18), n_splits=3, stratify=labels, seed=4):
        assert pd.Series(labels[fold.test]).value_counts().to_dict() == {"cat": 4, "dog": 2}
    with pytest.raises(DataError, match="'dog' has too few"):
        folds(np.arange(13), n_splits=3, stratify=np.repeat(["cat", "dog"], [12, 1]))
    with pytest.raises(DataError, match="several labels"):
        folds([1, 1, 2, 2, 3, 3], n_splits=2, stratify=list("ababab"))


def test_given_split_is_checked_for_leaks():
    trials = make(split=["train"] * 20 + ["test"] * 10)
    with pytest.raises(LeakageError, match=r"10 stimulus_id in both train and test"):
        split(trials, by="split")
    clean = make(split=(["train"] * 8 + ["test"] * 2) * 3)
    train, test = split(clean, by="split")
    assert (len(train), len(test)) == (24, 6)


def test_the_same_picture_under_two_ids_is_a_leak():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (10, 8, 8, 3), dtype=np.uint8)
    images[7] = images[2]
    pictures = Stimuli.from_arrays(images, [f"s{number}" for number in range(10)])
    assert pictures.duplicates() == [("s2", "s7")]
    trials = make().with_stimuli(pictures)
    outcomes = []
    for seed in range(12):
        try:
            sides = split(trials, test_size=0.4, seed=seed)
        except LeakageError as error:
            assert "('s2', 's7')" in str(error)
            outcomes.append("refused")
        else:
            assert ("s2" in sides[0].stimulus_ids) == ("s7" in sides[0].stimulus_ids)
            outcomes.append("together")
    assert set(outcomes) == {"refused", "together"}


@pytest.mark.parametrize("kwargs", [{"test_size": 0.0}, {"test_size": 1.0}, {"test_size": 10}, {"by": "colour"}])
def test_impossible_splits_are_refused(kwargs):
    with pytest.raises(DataError):
        split(make(), **kwargs)


def test_contiguous_blocks_leave_the_gap_on_both_sides():
    for fold in contiguous_folds(100, n_splits=4, gap=5):
        assert np.ptp(fold.test) == len(fold.test) - 1
        assert np.abs(fold.train[:, None] - fold.test).min() == 6
    with pytest.raises(DataError, match="gap leaves nothing"):
        contiguous_folds(10, n_splits=2, gap=6)
    with pytest.raises(DataError):
        contiguous_folds(3, n_splits=5)


def test_check_disjoint_names_the_offenders():
    with pytest.raises(LeakageError, match=r"\['b'\]"):
        check_disjoint(["a", "b"], ["b", "c"])


@pytest.mark.parametrize("divide", [split, folds])
def test_epochs_that_share_samples_do_not_part(divide):
    table = pd.DataFrame({"stimulus_id": list("abcdef"), "run": [1, 1, 1, 2, 2, 2], "onset": [0.0, 0.5, 1.0] * 2})
    trials = Trials(np.zeros((6, 2, 9)), table, times=np.arange(9) / 10)
    for order in (np.arange(6), np.array([5, 0, 3, 2, 4, 1])):
        with pytest.raises(LeakageError, match="share samples"):
            divide(trials.select(order), "stimulus_id")
    divide(trials, "run", **({"test_size": 1} if divide is split else {"n_splits": 2}))
    far = Trials(trials.responses, table.assign(onset=2 * table["onset"]), times=trials.times)
    divide(far, "stimulus_id")
