"""Dimension, alignment, concepts and their importance, against eigenvalues, known indices and planted factors."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis.factorisation import (
    concept_importance,
    find_concepts,
    label_alignment,
    participation_ratio,
    sobol_total,
)
from brainalign.errors import DataError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(30, 5), (10, 40)])
def test_participation_ratio_is_that_of_the_eigenvalues(shape) -> None:
    X = RNG.normal(size=shape)
    values = np.linalg.eigvalsh(np.cov(X.T))
    assert participation_ratio(X) == pytest.approx(values.sum() ** 2 / np.sum(values**2))


def test_labels_align_with_what_they_cause_only() -> None:
    labels = np.repeat(np.arange(4), 15)
    X = np.eye(4)[labels] @ RNG.normal(size=(4, 50)) + 0.3 * RNG.normal(size=(60, 50))
    assert label_alignment(X, labels) > 0.7
    assert abs(label_alignment(X, RNG.permutation(labels))) < 0.1


@pytest.mark.parametrize("signed", [True, False])
def test_planted_concepts_are_found(signed) -> None:
    amounts = RNG.random((200, 3)) * (RNG.random((200, 3)) < 0.4)
    directions = RNG.normal(size=(3, 30)) if signed else RNG.random((3, 30)) * (RNG.random((3, 30)) < 0.4)
    found = find_concepts(amounts @ directions, 3, signed=signed)
    assert found.explained > 0.99 and found.amounts.min() >= 0
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    span = np.linalg.norm(unit @ np.linalg.pinv(found.directions) @ found.directions, axis=1)
    assert span.min() > 0.99
    if not signed:  # directions of any sign are not unique: a wider cone explains the same
        assert (unit @ found.directions.T).max(axis=1).min() > 0.9
    np.testing.assert_allclose(found.transform(found.amounts @ found.directions), found.amounts, atol=1e-6)
    score = lambda x: x @ np.linalg.pinv(found.directions)[:, 1]  # noqa: E731
    assert concept_importance(found, score, n_draws=16).argmax() == 1


def test_total_indices_of_the_ishigami_function() -> None:
    def ishigami(x):
        x = np.pi * (2 * x - 1)
        return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])

    np.testing.assert_allclose(sobol_total(ishigami, 3, n_draws=8192), [0.5576, 0.4424, 0.2437], atol=0.01)
    assert np.isnan(sobol_total(lambda x: np.ones(len(x)), 2)).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="signed=True"):
        find_concepts(-np.ones((5, 3)), 2, signed=False)
    with pytest.raises(DataError, match="1 to 3"):
        find_concepts(np.ones((5, 3)), 4)
    with pytest.raises(DataError, match="power of 2"):
        sobol_total(lambda x: x[:, 0], 1, n_draws=100)
    with pytest.raises(DataError, match="one class"):
        label_alignment(np.ones((5, 3)), np.zeros(5))
