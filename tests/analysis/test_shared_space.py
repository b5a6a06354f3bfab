"""Shared spaces: closed forms, planted truth on people held apart in time, nothing in noise, clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes, subspace_angles

from brainalign.analysis.shared_space import CorrelatedComponents, SharedResponseModel
from brainalign.errors import DataError


def heard(n_people=8, n_samples=400, n_units=12, n_shared=2, noise=1.0, seed=0):
    """Units that follow a common course by the same weights, under noise of strong, person-wide components."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((n_shared, n_units))
    shared = rng.standard_normal((n_samples, n_shared)) @ weights
    own = rng.standard_normal((n_people, n_samples, 3)) @ (3 * rng.standard_normal((3, n_units)))
    return shared + noise * (own + rng.standard_normal((n_people, n_samples, n_units))), weights


def mean_correlation_between(courses):
    n = len(courses)
    return np.mean([np.corrcoef(courses[i], courses[j])[0, 1] for i in range(n) for j in range(i)])


def test_first_component_beats_every_other_weighting_and_its_correlation_is_the_plain_one():
    people, _ = heard()
    scaled = (people - people.mean(1, keepdims=True)) / people.std(1, keepdims=True)
    space = CorrelatedComponents(12, shrinkage=0).fit(people)
    assert (np.diff(space.correlations_) < 1e-12).all()
    rng = np.random.default_rng(1)

    def ratio(weights):
        """Covariance between people over that within, averaged over all pairs."""
        courses = scaled @ weights
        covariance = courses @ courses.T
        n = len(people)
        return (covariance.sum() - np.trace(covariance)) / (n - 1) / np.trace(covariance)

    best = ratio(space.filters_[:, 0])
    assert best == pytest.approx(space.correlations_[0])
    tried = rng.standard_normal((300, 12))
    near = space.filters_[:, 0] + 0.05 * np.abs(space.filters_[:, 0]).max() * rng.standard_normal((300, 12))
    assert max(ratio(one) for one in np.concatenate([tried, near])) < best


def test_planted_components_are_found_and_carry_to_other_moments():
    people, weights = heard(n_samples=3000)
    space = CorrelatedComponents(2, shrinkage=0.01).fit(people[:, :2000])
    scale = people[:, :2000].std(axis=1).mean(axis=0)
    assert np.rad2deg(subspace_angles(space.patterns_ * scale[:, None], weights.T)).max() < 8
    courses = space.transform(people[:, 2000:])
    raw = np.mean([mean_correlation_between(people[:, 2000:, unit]) for unit in range(12)])
    assert mean_correlation_between(courses[:, :, 0]) > max(0.5, 3 * raw)


def test_noise_has_components_in_training_only():
    people = np.random.default_rng(2).standard_normal((6, 300, 10))
    space = CorrelatedComponents(1).fit(people[:, :150])
    assert space.correlations_[0] > 0.02
    assert abs(mean_correlation_between(space.transform(people[:, 150:])[:, :, 0])) < 4 / np.sqrt(15 * 150)


def rotated(n_samples=80, units=(9, 12, 15), n_shared=3, noise=0.0, seed=3):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_samples, n_shared)) * [3, 2, 1]
    bases = [np.linalg.qr(rng.standard_normal((n, n_shared)))[0] for n in units]
    return [shared @ basis.T + noise * rng.standard_normal((n_samples, len(basis))) for basis in bases], shared, bases


def test_shared_responses_of_rotated_people_come_back():
    people, shared, bases = rotated(noise=0.2)
    space = SharedResponseModel(3, max_iter=500, tol=0).fit(people)
    assert (np.diff(space.errors_) < 1e-12).all()
    turn, _ = orthogonal_procrustes(space.shared_, shared - shared.mean(axis=0))
    assert np.corrcoef((space.shared_ @ turn).ravel(), (shared - shared.mean(axis=0)).ravel())[0, 1] > 0.99
    for found, planted in zip(space.bases_, bases, strict=True):
        np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-12)
        assert np.rad2deg(subspace_angles(found, planted)).max() < 10


def test_a_new_person_is_brought_in_by_procrustes():
    people, _, bases = rotated()
    space = SharedResponseModel(3, max_iter=500, tol=0).fit(people[:2])
    basis, mean = space.basis_of(people[2])
    plain, _ = orthogonal_procrustes(space.shared_, (people[2] - mean) @ bases[2])
    np.testing.assert_allclose(basis, bases[2] @ plain.T, atol=1e-8)
    np.testing.assert_allclose((people[2] - mean) @ basis, space.shared_, atol=1e-2)


@pytest.mark.parametrize(
    "space, people, told",
    [
        (CorrelatedComponents(2), np.ones((1, 9, 3)), "several people"),
        (CorrelatedComponents(4), np.random.default_rng(0).random((2, 9, 3)), "n_components"),
        (CorrelatedComponents(2, shrinkage=2), np.ones((2, 9, 3)), "shrinkage"),
        (CorrelatedComponents(2, shrinkage=0), np.ones((2, 9, 3)), "singular"),
        (CorrelatedComponents(2), np.full((2, 9, 3), np.inf), "finite|inf"),
        (SharedResponseModel(2), [np.ones((9, 3)), np.ones((8, 3))], "same moments"),
        (SharedResponseModel(4), [np.ones((9, 3)), np.ones((9, 5))], "n_components"),
    ],
)
def test_refusals(space, people, told):
    with pytest.raises(DataError, match=told):
        space.fit(people)


def test_other_people_are_refused():
    people, _ = heard()
    with pytest.raises(DataError, match="not the people"):
        CorrelatedComponents(2).fit(people).transform(people[:3])
    several, *_ = rotated()
    with pytest.raises(DataError, match="not the people"):
        SharedResponseModel(2).fit(several).transform(several[:2])
