"""Time segment matching: equal to a plain loop, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.scoring.segments import segment_matching


def by_loop(people, length, starts):
    n_people, n_samples, _ = people.shape
    hits = np.zeros((n_people, len(starts)), dtype=bool)
    for person in range(n_people):
        others = np.delete(people, person, axis=0).mean(axis=0)
        for column, start in enumerate(starts):
            mine = people[person, start : start + length].ravel()
            similar = {
                other: np.corrcoef(mine, others[other : other + length].ravel())[0, 1]
                for other in range(n_samples - length + 1)
                if other == start or abs(other - start) >= length
            }
            hits[person, column] = max(similar, key=similar.get) == start
    return hits


def test_equals_a_loop():
    rng = np.random.default_rng(0)
    people = 0.4 * rng.standard_normal((1, 40, 3)) + rng.standard_normal((4, 40, 3))
    starts = [0, 3, 17, 35]
    hits, chance = segment_matching(people, length=5, starts=starts)
    np.testing.assert_array_equal(hits, by_loop(people, 5, starts))
    np.testing.assert_allclose(chance, [1 / 32, 1 / 29, 1 / 28, 1 / 32])
    assert 0 < hits.mean() < 1


def test_noise_is_at_chance_and_a_flat_person_hits_nothing():
    people = np.random.default_rng(1).standard_normal((40, 120, 4))
    people[0] = 3.0
    hits, chance = segment_matching(people, length=4)
    assert not hits[0].any()
    assert abs(hits[1:].mean() - chance.mean()) < 4 * np.sqrt(chance.mean() / hits[1:].size * 4)


@pytest.mark.parametrize(
    "people, length, starts, told",
    [
        (np.ones((1, 20, 2)), 3, None, "several people"),
        (np.ones((3, 20, 2)), 11, None, "too short"),
        (np.ones((3, 20, 2)), 0, None, "too short"),
        (np.ones((3, 20, 2)), 3, [18], "outside"),
        (np.full((3, 20, 2), np.nan), 3, None, "finite|NaN"),
    ],
)
def test_refusals(people, length, starts, told):
    with pytest.raises(DataError, match=told):
        segment_matching(people, length=length, starts=starts)
