"""Penalties that are mixed from others are scored as if they had been solved."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import KFold

from brainalign.voxelwise import banded_kernel
from brainalign.voxelwise.banded_grams import BandedProblem
from brainalign.voxelwise.banded_kernel import KernelForm
from brainalign.voxelwise.banded_mix import TOLERANCE, Mixture, spanning
from brainalign.voxelwise.banded_search import BandedPlan


@pytest.mark.parametrize("centred", [True, False])
def test_mixtures_span_the_other_penalties(centred):
    alphas = np.logspace(-1, 8, 19)[np.random.default_rng(0).permutation(19)]
    made = spanning(alphas, 500.0, centred=centred)
    assert 3 < len(made.solved) < 15
    np.testing.assert_array_equal(np.sort(np.concatenate([made.solved, made.mixed])), np.arange(19))
    s = np.linspace(0, 500, 1001)
    shapes = np.sqrt(500 * s)[:, None] / (s[:, None] + alphas)
    missed = shapes[:, made.solved] @ made.shares.T - shapes[:, made.mixed]
    assert np.abs(missed).max() < 2 * TOLERANCE
    if centred:
        np.testing.assert_allclose(made.shares.sum(axis=1), 1, atol=1e-4)


def solve_all(alphas, largest, *, centred) -> Mixture:
    return Mixture(np.arange(len(alphas)), np.arange(0), np.empty((0, len(alphas))))


@pytest.mark.parametrize("scoring", ["r2", "correlation"])
@pytest.mark.parametrize("centred", [True, False])
def test_scores_are_those_of_solving_every_penalty(centred, scoring, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 90)).astype(np.float32)
    Y = (X @ rng.standard_normal((90, 5)) + 5 * rng.standard_normal((60, 5)) + 3.0 * centred).astype(np.float32)
    bands, alphas = (slice(0, 40), slice(40, 90)), np.logspace(0, 7, 15)
    problem = BandedProblem(X, bands, list(KFold(4).split(X)), centred=centred, dtype="float32")
    plan, weights = BandedPlan(problem, KernelForm.of(problem), alphas), np.array([[0.5, 0.5], [1.0, 0.0]])
    found = plan.search(Y, weights, scoring=scoring)
    monkeypatch.setattr(banded_kernel, "spanning", solve_all)
    expected = plan.search(Y, weights, scoring=scoring)
    np.testing.assert_allclose(found.by_candidate, expected.by_candidate, atol=2e-5 if scoring == "r2" else 1e-3)
    np.testing.assert_allclose(found.alphas[found.scores > 0.05], expected.alphas[found.scores > 0.05])
