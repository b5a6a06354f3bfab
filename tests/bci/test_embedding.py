"""Order and lag by Cao's and the MDOP criterion: found where they are planted, none in white noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sklearn.base import clone

from brainalign.bci import AugmentedCovariance, AugmentedSVC, choose_embedding, nested_search
from brainalign.bci.embedding import CRITERIA, _neighbours, averaged_false_neighbours, mdop_delays
from brainalign.errors import DataError


@pytest.fixture(scope="module")
def lorenz() -> np.ndarray:
    """First coordinate of the Lorenz system, (3, 1, 1000), 100 samples a unit of time."""

    def flow(_: float, s: np.ndarray) -> list[float]:
        return [10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]]

    times = np.arange(5.0, 15.0, 0.01)[:1000]
    return np.stack([solve_ivp(flow, (0, 15), [k, k + 1, 20], t_eval=times, rtol=1e-6).y[:1] for k in (1.0, 3.0, 7.0)])


def resonance(period: float) -> np.ndarray:
    """An AR(2) process that rings at a period, (6, 2, 800)."""
    x = np.random.default_rng(0).standard_normal((6, 2, 1000))
    for t in range(2, 1000):
        x[..., t] += 2 * 0.998 * np.cos(2 * np.pi / period) * x[..., t - 1] - 0.998**2 * x[..., t - 2]
    return x[..., 200:]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_three_dimensions_of_the_lorenz_system_are_found(lorenz, criterion):
    order, lag = choose_embedding(lorenz, criterion)
    # The first minimum of its mutual information lies at 0.17 to 0.2 units of time (Fraser & Swinney 1986).
    assert order == 3 and 13 <= lag <= 22


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("period", [24, 40])
def test_the_lag_of_a_resonance_is_a_quarter_of_its_period(criterion, period):
    order, lag = choose_embedding(resonance(period), criterion)
    assert order >= 2 and abs(lag - period / 4) <= period / 12


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("n_times", [250, 1000])
def test_white_noise_is_not_embedded(criterion, n_times):
    noise = np.random.default_rng(0).standard_normal((8, 3, n_times))
    assert choose_embedding(noise, criterion) == (1, 1)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_shuffled_signal_is_not_embedded(lorenz, criterion):
    assert choose_embedding(np.random.default_rng(0).permuted(lorenz, axis=2), criterion) == (1, 1)


def test_curves_equal_loops(lorenz):
    """Both criteria by their definitions, point by point."""
    x = lorenz[0, 0, 300:600]
    x = (x - x.mean()) / x.std()
    lag, n = 5, 300 - 4 * 5

    def parted(order: int) -> float:
        ratios = []
        for i in range(n):
            away = [
                max(abs(x[i + a * lag] - x[j + a * lag]) for a in range(order)) if abs(i - j) > lag else np.inf
                for j in range(n)
            ]
            j = int(np.argmin(away))
            ratios.append(max(away[j], abs(x[i + order * lag] - x[j + order * lag])) / away[j])
        return float(np.mean(ratios))

    E = [parted(order) for order in (1, 2, 3)]
    np.testing.assert_allclose(averaged_false_neighbours(x, lag, 3)[:2], [E[1] / E[0], E[2] / E[1]], rtol=1e-9)

    n = 300 - 8
    nearest = [int(np.argmin([abs(x[i] - x[j]) if abs(i - j) > 4 else np.inf for j in range(n)])) for i in range(n)]
    beta = [
        np.mean([np.log(abs(x[i + d] - x[j + d]) / abs(x[i] - x[j])) for i, j in enumerate(nearest)])
        for d in range(1, 9)
    ]
    assert mdop_delays(x[None], 2, 8, theiler=4) == [(0, 0), (0, int(np.argmax(beta)) + 1)]


def test_neighbours_lie_outside_the_window():
    points = np.cumsum(np.random.default_rng(0).standard_normal((80, 2)), axis=0)
    distance, neighbour = _neighbours(points, 9, p=2.0)
    for i, point in enumerate(points):
        away = np.where(np.abs(np.arange(80) - i) > 9, np.linalg.norm(points - point, axis=1), np.inf)
        assert neighbour[i] == away.argmin() and distance[i] == pytest.approx(away.min())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_criterion_takes_the_place_of_the_grid(criterion):
    X = resonance(24)[:, :, :300]
    X = np.concatenate([X, X[:, ::-1] + 0.1])
    y = np.tile([0, 1], 6)
    order, lag = choose_embedding(X[:8], criterion)
    model = AugmentedCovariance(criterion, retain=0.999).fit(X[:8])
    assert (model.order_, model.lag_) == (order, lag)
    np.testing.assert_array_equal(
        model.transform(X[8:]), AugmentedCovariance(order, lag, retain=0.999).fit(X[:8]).transform(X[8:])
    )
    search = AugmentedSVC(criterion, C=[1.0], kernels=["linear"], cv=2).fit(X[:8], y[:8])
    assert (search.best_params_["order"], search.best_params_["lag"]) == (order, lag)
    first = nested_search(clone(search), X, y, cv=3)[0]
    chosen = choose_embedding(np.delete(X, first.test_rows_, axis=0), criterion)
    assert (first.best_params_["order"], first.best_params_["lag"]) == chosen


def test_bad_input_is_refused(lorenz):
    with pytest.raises(DataError, match="unknown criterion"):
        choose_embedding(lorenz, "aic")
    with pytest.raises(DataError, match="unknown criterion"):
        AugmentedSVC("aic").fit(lorenz, [0, 1, 0])
    with pytest.raises(DataError, match="too short"):
        choose_embedding(lorenz[:, :, :7], "cao")
    with pytest.raises(DataError, match="NaN"):
        choose_embedding(np.full((2, 1, 100), np.nan), "mdop")
