"""Statistics of pipelines against scipy, MOABB and enumeration; they find what was planted and nothing in noise."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from moabb.analysis.meta_analysis import compute_dataset_statistics, find_significant_differences
from scipy import stats

from brainalign.bci.statistics import (
    compare_pipelines,
    critical_difference,
    paired_permutation,
    standardised_difference,
    stouffer,
)
from brainalign.errors import DataError


def results(gains: dict[str, float], *, n_subjects: int = 9, n_datasets: int = 2, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {"dataset": f"D{d}", "subject": s, "session": session, "pipeline": name, "score": base + gain + noise}
        for d in range(n_datasets)
        for s in range(n_subjects)
        for base in [0.7 + 0.1 * rng.standard_normal()]
        for session in "01"
        for name, gain in gains.items()
        for noise in [0.02 * rng.standard_normal()]
    ]
    return pd.DataFrame(rows)


def test_permutation_counts_every_change_of_signs() -> None:
    values = np.random.default_rng(0).standard_normal(7) + 0.5
    sums = [np.dot(signs, values) for signs in product([1, -1], repeat=7)]
    assert paired_permutation(values, tail="greater") == np.mean([s >= values.sum() - 1e-12 for s in sums])
    assert paired_permutation(values) == np.mean([abs(s) >= abs(values.sum()) - 1e-12 for s in sums])
    many = np.random.default_rng(1).standard_normal(40) + 0.25
    assert abs(paired_permutation(many) - stats.ttest_1samp(many, 0).pvalue) < 0.02
    assert paired_permutation(np.zeros(5)) == 1.0


def test_noise_is_found_as_often_as_the_level_says() -> None:
    draws = np.random.default_rng(0).standard_normal((400, 8))
    p = np.array([paired_permutation(one) for one in draws])
    assert 0.02 < (p <= 0.05).mean() < 0.08


def test_stouffer_and_effects_agree_with_scipy() -> None:
    p, n = np.array([0.01, 0.2, 0.7]), np.array([9, 16, 4])
    assert stouffer(p, n) == pytest.approx(stats.combine_pvalues(p, "stouffer", np.sqrt(n)).pvalue, rel=1e-9)
    values = np.array([0.1, 0.3, 0.2, 0.05])
    assert standardised_difference(values) == pytest.approx(values.mean() / values.std(ddof=1) * (1 - 3 / 11))
    assert np.isnan(standardised_difference([0.1, 0.1, 0.1]))


def test_comparison_has_moabbs_p_values_one_sided() -> None:
    table = results({"a": 0.0, "b": 0.008})
    ours = compare_pipelines(table)
    theirs = compute_dataset_statistics(table)
    for row in ours[ours["dataset"] != "all"].itertuples():
        (p,) = theirs[(theirs.dataset == row.dataset) & (theirs.pipe1 == row.better) & (theirs.pipe2 == row.worse)].p
        # MOABB keeps p away from 0 and 1 by half a count.
        assert row.p == pytest.approx(2 * p, abs=2 / 2**9)
    (pooled,) = ours[ours["dataset"] == "all"].itertuples()
    assert pooled.p == pytest.approx(
        2 * find_significant_differences(theirs)[0].loc[pooled.better, pooled.worse], rel=0.2
    )


def test_planted_differences_are_found_and_no_others() -> None:
    found = compare_pipelines(results({"a": 0.0, "b": 0.05, "c": 0.0})).set_index(["dataset", "better", "worse"])
    assert (found.xs("b", level="better")["p"] < 0.01).all()
    row = found.loc[("all", "b", "a")]
    assert row["low"] < 0.05 < row["high"] and row["n"] == 18 and row["effect"] > 1
    rest = found[found.index.get_level_values("better") != "b"]
    assert (rest["p"] > 0.05).all()


def test_sessions_weigh_the_same_however_many_folds_they_have() -> None:
    table = results({"a": 0.0, "b": 0.03})
    doubled = pd.concat([table, table[table["session"] == "1"], table[table["session"] == "1"]])
    pd.testing.assert_frame_equal(compare_pipelines(table), compare_pipelines(doubled))


def test_ranks_and_their_critical_difference() -> None:
    found = critical_difference(results({"a": 0.2, "b": 0.0, "c": 0.0, "d": -0.2}))
    assert found.ranks.index[0] == "a" and found.ranks.iloc[-1] == 4 and found.n_blocks == 18
    # Demšar 2006, table 5: q is 2.569 for four classifiers at .05.
    assert found.difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 18)), abs=2e-3)
    assert [set(group) for group in found.groups if {"b", "c"} <= set(group)] and found.p < 1e-6
    alike = critical_difference(results({"a": 0.0, "b": 0.0, "c": 0.0}, seed=3))
    assert alike.groups == [list(alike.ranks.index)] and alike.p > 0.05
    with pytest.raises(DataError, match="two pipelines on two subjects"):
        critical_difference(results({"a": 0.0}))
    with pytest.raises(DataError, match="not a table"):
        compare_pipelines(pd.DataFrame({"score": [1.0]}))
