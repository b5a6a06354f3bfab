"""Permutation of conditions and of group membership, against loops; error rates under the null."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis import rsa
from brainalign.analysis.rsa.groups import compare_groups
from brainalign.analysis.rsa.permutation import permutation_test
from brainalign.errors import DataError
from brainalign.scoring.resampling import permutations
from tests.analysis.rsa.test_inference import simulate

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("method", ["spearman", "pearson", "cosine", "rho_a", "whitened_cosine"])
def test_null_equals_comparing_relabelled_rdms(method) -> None:
    subjects, models = RNG.random((3, 36)), RNG.integers(0, 5, (2, 36)).astype(float)
    result = permutation_test(subjects, models, method=method, n_permutations=70, seed=4)
    np.testing.assert_allclose(result.scores, rsa.compare(subjects, models, method=method).mean(axis=0), atol=1e-12)
    for row, order in zip(result.null, permutations(9, 70, seed=4)):
        relabelled = rsa.from_square(rsa.to_square(subjects)[:, order[:, None], order])
        np.testing.assert_allclose(row, rsa.compare(relabelled, models, method=method).mean(axis=0), atol=1e-12)


def test_related_models_are_found_and_the_family_is_guarded() -> None:
    subjects, truth = simulate(1, 14, seed=0, signal=2.0)
    others = np.random.default_rng(1).random((30, 91))
    names = ["truth", *(f"other{i}" for i in range(30))]
    table = permutation_test(subjects, dict(zip(names, [truth, *others])), n_permutations=499).table()
    assert table.loc["truth", "p_family"] <= 0.01
    assert (table["p_family"] >= table["p"]).all()
    assert (table["p_family"].iloc[1:] > 0.05).all()


def test_false_positives_of_the_permutation_test_are_nominal() -> None:
    single, family = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        subjects = rsa.rdm(rng.normal(size=(3, 10, 5)), metric="sqeuclidean")
        models = rsa.rdm(rng.normal(size=(4, 10, 5)), metric="sqeuclidean")
        table = permutation_test(subjects, models, n_permutations=99, seed=seed).table()
        single.extend(table["p"] <= 0.05)
        family.append(table["p_family"].min() <= 0.05)
    assert 0.025 < np.mean(single) < 0.08
    assert np.mean(family) < 0.1


def test_group_differences_equal_a_loop() -> None:
    first, second, models = RNG.random((4, 36)), RNG.random((5, 36)), RNG.random((2, 36))
    result = compare_groups(first, second, models, method="pearson", n_permutations=20)
    everyone = np.concatenate([first, second])
    correlation = np.corrcoef(everyone)
    member = np.arange(9) < 4
    for row, order in zip(result.null, permutations(9, 20)):
        m = member[order]
        scores = rsa.compare(everyone, models, method="pearson")
        np.testing.assert_allclose(row, scores[m].mean(axis=0) - scores[~m].mean(axis=0), atol=1e-12)
    inside = [np.mean([correlation[i, j] for i in side for j in side if i != j]) for side in (range(4), range(4, 9))]
    assert result.separation == pytest.approx(np.mean(inside) - correlation[:4, 4:].mean(), abs=1e-12)


def test_groups_with_another_geometry_differ_and_equal_groups_do_not() -> None:
    first, truth = simulate(7, 18, seed=1)
    second, other = simulate(7, 18, seed=2)
    found = compare_groups(first, second, {"truth": truth, "other": other}, n_permutations=499)
    assert found.p_separation < 0.01
    assert (found.table()["p_family"] < 0.02).all()
    assert found.differences[0] > 0 > found.differences[1]
    false = []
    for seed in range(100):
        subjects, _ = simulate(8, 10, seed)
        same = compare_groups(subjects[:4], subjects[4:], RNG.random((1, 45)), n_permutations=99, seed=seed)
        false.append([same.p_separation <= 0.05, same.table()["p"].iloc[0] <= 0.05])
    assert (np.mean(false, axis=0) < 0.11).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="2 or more subjects each"):
        compare_groups(RNG.random((1, 36)), RNG.random((5, 36)), RNG.random(36))
    with pytest.raises(DataError, match="constant"):
        permutation_test(RNG.random((2, 36)), np.ones(36))
    with pytest.raises(DataError, match="no inner product"):
        permutation_test(RNG.random((2, 36)), RNG.random(36), method="kendall_a")
