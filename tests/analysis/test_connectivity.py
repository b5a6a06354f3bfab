"""Couplings from counts: against loops and conditions of the optimum, planted ones found, none in a shifted copy."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from brainalign.analysis.connectivity import coupling_auc, lagged_correlations, poisson_couplings, shifted_apart
from brainalign.errors import DataError
from brainalign.loaders.simulated import simulate_circuit


@pytest.fixture(scope="module")
def circuit():
    return simulate_circuit(6, 100.0, density=0.2, seed=2)


def test_planted_couplings_are_found_with_lags_and_signs(circuit):
    trials, truth = circuit
    counts = trials.matrix()
    weights, intercepts = poisson_couplings(counts, 4)
    to, source = np.nonzero(truth.coupling)
    found = weights[to, truth.lags[to, source] - 1, source]
    assert (np.sign(found) == np.sign(truth.coupling[to, source])).all()
    exciting = truth.coupling[to, source] > 0
    np.testing.assert_allclose(found[exciting], 1.5, atol=0.5)
    np.testing.assert_allclose(np.exp(intercepts) * 100, truth.rates, rtol=0.35)
    strongest = np.abs(weights).max(axis=1)
    assert coupling_auc(strongest, truth.coupling)[0] > 0.95
    assert coupling_auc(lagged_correlations(counts, 4), truth.coupling)[0] > 0.95
    apart = shifted_apart(counts, seed=1)
    np.testing.assert_array_equal(apart.sum(axis=0), counts.sum(axis=0))
    assert coupling_auc(lagged_correlations(apart, 4), truth.coupling)[0] < 0.75
    # At the optimum the penalised likelihood has no slope.
    before = np.concatenate([counts[4 - lag : len(counts) - lag] for lag in range(1, 5)], axis=1)
    flat = weights.reshape(6, -1)
    rates = np.exp(intercepts + before @ flat.T)
    slope = (counts[4:] - rates).T @ before / len(before) - 1e-4 * flat
    assert np.abs(slope).max() < 2e-4 < np.abs((counts[4:] - counts.mean(0)).T @ before / len(before)).max()


def test_correlations_are_those_of_a_loop(circuit):
    counts = circuit[0].matrix()[:3000]
    made = lagged_correlations(counts, 3)
    for to in range(6):
        for source in range(6):
            each = [np.corrcoef(counts[lag:, to], counts[:-lag, source])[0, 1] for lag in (1, 2, 3)]
            assert made[to, source] == pytest.approx(max(each, key=abs), abs=5e-3)  # means are of the whole course


def test_area_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    planted, edges = (rng.random((5, 5)) < 0.4) * 1.5, rng.standard_normal((5, 5))
    off = ~np.eye(5, dtype=bool)
    value, low, high = coupling_auc(edges, planted, n_draws=200)
    assert value == pytest.approx(roc_auc_score(planted[off] != 0, np.abs(edges[off])))
    assert low < value < high
    edges[0, 1] = np.nan
    zero = np.nan_to_num(edges)
    assert coupling_auc(edges, planted)[0] == coupling_auc(zero, planted)[0]


def test_bad_input_is_refused():
    counts = np.ones((50, 3))
    for work, message in [
        (lambda: lagged_correlations(counts - 2), "cannot be related"),
        (lambda: poisson_couplings(counts[:4], 5), "cannot be related"),
        (lambda: lagged_correlations(counts, 0), "cannot be related"),
        (lambda: lagged_correlations(np.full((50, 3), np.nan)), "NaN"),
        (lambda: shifted_apart(counts), "too short"),
        (lambda: coupling_auc(np.ones((3, 3)), np.ones((2, 2))), "square tables"),
        (lambda: simulate_circuit(1), "no such circuit"),
        (lambda: simulate_circuit(4, density=0.0), "no such circuit"),
    ]:
        with pytest.raises(DataError, match=message):
            work()
