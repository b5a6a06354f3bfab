"""Line search and bfloat16 scoring: penalties found without trying them all, or in low precision."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import KFold

from brainalign.errors import DataError
from brainalign.voxelwise import Ridge
from brainalign.voxelwise.plan import plan_ridge
from brainalign.voxelwise.search import line_search

SHAPES = {"tall": (150, 20), "wide": (50, 120), "train smaller than rank": (60, 55)}
LOW, HIGH = 1e-2, 1e7


def problem(n_samples: int, n_features: int, n_targets: int = 40, *, seed: int = 0):
    """Targets from pure noise to nearly no noise, so that the best penalties spread over decades."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * np.logspace(0, 1, n_features) + 2.0
    signal = (X - 2.0) @ rng.standard_normal((n_features, n_targets))
    signal *= np.logspace(-2, 1, n_targets) / signal.std(axis=0)
    return X, signal + rng.standard_normal((n_samples, n_targets)) + 5.0


def scores_of_sklearn(X, Y, alpha, folds) -> np.ndarray:
    """Mean R² over folds at one penalty, each fold fitted anew by scikit-learn."""
    total = np.zeros(Y.shape[1])
    for train, test in folds:
        predicted = (
            SklearnRidge(alpha, solver="cholesky").fit(X[train], Y[train]).predict(X[test]).reshape(-1, Y.shape[1])
        )
        error = ((Y[test] - predicted) ** 2).sum(axis=0)
        total += 1 - error / ((Y[test] - Y[test].mean(axis=0)) ** 2).sum(axis=0)
    return total / len(folds)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_search_is_as_good_as_two_hundred_penalties(shape):
    X, Y = problem(*shape)
    folds = list(KFold(4).split(X))
    grid = np.geomspace(LOW, HIGH, 200)
    dense = np.stack([scores_of_sklearn(X, Y, alpha, folds) for alpha in grid])
    fit = plan_ridge(X, ("search", LOW, HIGH), folds).fit(Y)
    assert np.unique(fit.best_alphas.round(6)).size > 20
    # A target may have a second, lower summit; nearly all are at the top, and those above the grid's own best.
    at_top = fit.cv_scores > dense.max(axis=0) - 1e-4
    assert at_top.mean() >= 0.95
    step = np.log(grid[1] / grid[0])
    apart = np.abs(np.log(fit.best_alphas / grid[dense.argmax(axis=0)]))[at_top]
    flat = dense.max(axis=0) - np.partition(dense, -3, axis=0)[-3] < 1e-4
    assert (apart[~flat[at_top]] <= 2 * step).all()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_score_a_search_reports_is_that_of_its_penalty(shape):
    X, Y = problem(*shape, n_targets=6)
    folds = list(KFold(4).split(X))
    fit = plan_ridge(X, "search", folds).fit(Y)
    for target, alpha in enumerate(fit.best_alphas):
        expected = scores_of_sklearn(X, Y[:, [target]], alpha, folds)
        np.testing.assert_allclose(fit.cv_scores[target], expected[0], atol=1e-8)
        peer = SklearnRidge(alpha).fit(X, Y[:, target])
        np.testing.assert_allclose(fit.coef[:, target], peer.coef_, atol=1e-7 * np.abs(peer.coef_).max())
        predicted = np.concatenate(
            [SklearnRidge(alpha).fit(X[train], Y[train, target]).predict(X[test]) for train, test in folds]
        )
        np.testing.assert_allclose(fit.held_out_mean[target], predicted.mean(), atol=1e-7)
        np.testing.assert_allclose(fit.held_out_std[target], predicted.std(), atol=1e-7)


@pytest.mark.parametrize("method", ["loo", "gcv"])
@pytest.mark.parametrize("shape", [(60, 10), (30, 80)])
def test_closed_forms_are_searched_too(shape, method):
    """Against the closed forms written out with the hat matrix, on a grid of 200."""
    X, Y = problem(*shape, n_targets=8)
    n_samples, centred, about = len(X), X - X.mean(axis=0), Y - Y.mean(axis=0)
    kernel, best = centred @ centred.T, np.full(Y.shape[1], -np.inf)
    for alpha in np.geomspace(LOW, HIGH, 200):
        hat = np.linalg.solve(kernel + alpha * np.eye(n_samples), kernel).T + 1 / n_samples
        freedom = (1 - np.diag(hat))[:, None] if method == "loo" else np.trace(np.eye(n_samples) - hat) / n_samples
        error = (((about - hat @ about) / freedom) ** 2).sum(axis=0)
        best = np.maximum(best, 1 - error / (about**2).sum(axis=0))
    fit = plan_ridge(X, ("search", LOW, HIGH), method).fit(Y)
    assert (fit.cv_scores > best - 1e-4).mean() > 0.85 and (fit.cv_scores < best + 1e-3).all()


def test_a_search_costs_no_product_per_penalty(monkeypatch):
    """Folds are projected once, whatever the number of steps."""
    import brainalign.voxelwise.plan as plan_module

    calls, project = [], plan_module.project_fold
    monkeypatch.setattr(plan_module, "project_fold", lambda *given: calls.append(1) or project(*given))
    X, Y = problem(150, 20)
    plan_ridge(X, "search", list(KFold(4).split(X))).fit(Y)
    assert len(calls) == 4


def test_one_penalty_for_all_is_searched_between_its_neighbours():
    X, Y = problem(100, 15)
    folds = list(KFold(4).split(X))
    dense = [scores_of_sklearn(X, Y, alpha, folds).mean() for alpha in np.geomspace(LOW, HIGH, 200)]
    fit = plan_ridge(X, ("search", LOW, HIGH), folds).fit(Y, per_target=False)
    assert np.unique(fit.best_alphas).size == 1
    assert fit.cv_scores.mean() == pytest.approx(max(dense), abs=1e-4)


def test_line_search_finds_tops_inside_and_at_the_ends():
    tops = np.log([1.0, 3.3, 41.0, 100.0, 5000.0, 1e-3])

    def score(alphas):
        return (-(np.abs(np.log(alphas) - tops) ** 1.5),)

    grid = np.geomspace(1, 100, 5)
    found, values = line_search(score, grid, (np.stack([score(np.full(6, one))[0] for one in grid]),))
    np.testing.assert_allclose(np.log(found), np.clip(tops, 0, np.log(100)), atol=0.06)
    np.testing.assert_allclose(values[0], score(found)[0])
    nowhere = (np.full((5, 6), np.nan),)
    found, values = line_search(lambda alphas: (np.full(6, np.nan),), grid, nowhere)
    np.testing.assert_allclose(found, 100.0)
    assert np.isnan(values[0]).all()


def test_bad_ranges_are_refused():
    X, Y = problem(30, 3)
    for alphas, message in {
        ("search", 1.0): "unknown form of alphas",
        ("find", 1.0, 2.0): "unknown form of alphas",
        ("search", 2.0, 1.0): "from low to high",
        ("search", 0.0, 1.0): "alphas must be positive",
    }.items():
        with pytest.raises(DataError, match=message):
            plan_ridge(X, alphas)
    with pytest.raises(DataError, match="nothing to choose by"):
        plan_ridge(X, "search", None)
    with pytest.raises(DataError, match="no scoring_dtype 'float16'"):
        Ridge(scoring_dtype="float16").fit(X, Y)


@pytest.mark.parametrize("cv", [4, "loo"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_bfloat16_chooses_nearly_as_well_and_leaves_the_refit_alone(shape, cv):
    pytest.importorskip("torch")
    X, Y = (one.astype(np.float32) for one in problem(*shape, n_targets=200))
    alphas = np.geomspace(LOW, HIGH, 10)
    full, low = (Ridge(alphas, cv, scoring_dtype=one).fit(X, Y) for one in (None, "bfloat16"))
    same = full.best_alphas_ == low.best_alphas_
    assert same.mean() > 0.8
    np.testing.assert_array_equal(full.coef_[:, same], low.coef_[:, same])
    np.testing.assert_allclose(low.cv_scores_, full.cv_scores_, atol=5e-3)
    assert (low.cv_scores_ != full.cv_scores_).any()
    if cv != "loo":  # where the choice differs, little is lost
        folds = list(KFold(cv).split(X))
        scores = np.stack([scores_of_sklearn(X.astype(float), Y, alpha, folds) for alpha in alphas])
        lost = scores.max(axis=0) - scores[np.searchsorted(alphas, low.best_alphas_ * 0.999), np.arange(200)]
        assert lost.max() < 5e-3


def fitted(X, Y, alphas, cv, weights, backend: str):
    convert = np.asarray if backend == "numpy" else pytest.importorskip("torch").as_tensor
    return plan_ridge(convert(X), alphas, cv, sample_weight=weights).fit(convert(Y), keep_coef=False)


@pytest.mark.parametrize("cv", ["folds", "loo", "gcv"])
@pytest.mark.parametrize("shape", [(60, 10), (30, 80)])
def test_torch_tensors_give_what_numpy_gives(shape, cv):
    X, Y = problem(*shape)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    given = np.geomspace(LOW, HIGH, 12), list(KFold(4).split(X)) if cv == "folds" else cv, weights
    ours, theirs = (fitted(X, Y, *given, backend) for backend in ("numpy", "torch"))
    np.testing.assert_allclose(theirs.best_alphas, ours.best_alphas, rtol=1e-12)
    np.testing.assert_allclose(theirs.cv_scores, ours.cv_scores, atol=1e-9)
    np.testing.assert_allclose(theirs.coef, ours.coef, atol=1e-10)
    np.testing.assert_allclose(theirs.predict(X[:5]), ours.predict(X[:5]), atol=1e-9)


class ExactCurve:
    """The score of every target at any penalty of its own, from a singular value decomposition of each training set.

    Everything is formed: hat matrices for "gcv", each sample left out and predicted by a fit to all others for "loo".
    """

    def __init__(self, X, Y, cv, weights) -> None:
        self.X, self.Y, self.weights, self.how = X, Y, weights, cv if isinstance(cv, str) else "folds"
        rows = np.arange(len(X))
        held = {"loo": [(np.delete(rows, i), rows[[i]]) for i in rows], "gcv": [(rows, rows)]}
        self.sets = [(train, test, *self._decomposed(train)) for train, test in held.get(self.how, cv)]

    def _decomposed(self, train):
        root = np.sqrt(self.weights[train])[:, None]
        x_mean, y_mean = (np.average(one[train], axis=0, weights=self.weights[train]) for one in (self.X, self.Y))
        left, singular, right = np.linalg.svd(root * (self.X[train] - x_mean), full_matrices=False)
        return x_mean, y_mean, singular[:, None], right, left.T @ (root * (self.Y[train] - y_mean))

    def __call__(self, alphas: np.ndarray) -> np.ndarray:
        found, residuals = [], np.empty(self.Y.shape)
        for _, test, x_mean, y_mean, singular, right, projected in self.sets:
            coef = right.T @ (singular / (singular**2 + alphas) * projected)
            residuals[test] = self.Y[test] - (y_mean + (self.X[test] - x_mean) @ coef)
            if self.how == "folds":
                found.append(1 - self._squares(residuals, test) / self._squares(self._about(test), test))
        if self.how == "folds":
            return np.mean(found, axis=0)
        everything = np.arange(len(self.X))
        error = self._squares(residuals, everything)
        if self.how == "gcv":
            spare = len(self.X) - 1 - (singular**2 / (singular**2 + alphas)).sum(axis=0)
            error = error * (len(self.X) / spare) ** 2
        return 1 - error / self._squares(self._about(everything), everything)

    def _about(self, rows):
        return self.Y - np.average(self.Y[rows], axis=0, weights=self.weights[rows])

    def _squares(self, values, rows):
        return self.weights[rows] @ values[rows] ** 2


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("cv", ["folds", "loo", "gcv"])
@pytest.mark.parametrize("shape", [(60, 10), (30, 80)])
def test_a_search_ends_on_a_top_of_the_exact_curve(shape, cv, backend):
    """Two backends may end a few per cent apart where the curve is flat: each is held to the curve itself."""
    X, Y = problem(*shape)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    cv = list(KFold(4).split(X)) if cv == "folds" else cv
    curve, grid = ExactCurve(X, Y, cv, weights), np.geomspace(LOW, HIGH, 19)
    fit = fitted(X, Y, ("search", LOW, HIGH), cv, weights, backend)
    reached = curve(fit.best_alphas)
    np.testing.assert_allclose(fit.cv_scores, reached, atol=1e-9)
    coarse = np.stack([curve(np.full(len(reached), alpha)) for alpha in grid])
    assert (reached >= coarse.max(axis=0) - 1e-9).all()
    around = [curve(np.clip(fit.best_alphas * np.exp(step), LOW, HIGH)) for step in np.linspace(-0.5, 0.5, 41)]
    assert (reached >= np.max(around, axis=0) - 1e-5).all()
    assert (reached > coarse.max(axis=0) + 1e-5).mean() > 0.3
