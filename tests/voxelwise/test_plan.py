"""Sample weights, wide designs without coefficients, targets from disk, and what the plan refuses."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.model_selection import GroupKFold, KFold

from brainalign.errors import DataError, LeakageError
from brainalign.scoring.correlation import mean_over_targets
from brainalign.voxelwise import Ridge, fits, ridge_coef
from brainalign.voxelwise.plan import DualRidgeFit, RidgeFit, plan_ridge
from brainalign.voxelwise.solvers import decompose

ALPHAS = np.logspace(-1, 5, 9)
SHAPES = {"tall": (70, 8), "wide": (40, 90), "train smaller than rank": (50, 45)}


def problem(n_samples: int, n_features: int, n_targets: int = 5, *, seed: int = 0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * np.logspace(0, 1, n_features) + 3.0
    signal = (X - 3.0) @ rng.standard_normal((n_features, n_targets))
    return X, signal / signal.std(axis=0) + np.linspace(0.3, 2, n_targets) * rng.standard_normal(signal.shape) - 7.0


def peer_scores(X, Y, weights, folds, scoring, fit_intercept):
    """scikit-learn's weighted ridge fitted anew for each fold and alpha; scored on rows repeated by their weight."""
    scores = np.zeros((len(ALPHAS), Y.shape[1]))
    for train, test in folds:
        repeated = np.repeat(test, weights[test])
        for row, alpha in enumerate(ALPHAS):
            model = SklearnRidge(alpha, fit_intercept=fit_intercept).fit(X[train], Y[train], weights[train])
            f, y = model.predict(X[repeated]), Y[repeated]
            if scoring == "r2":
                scores[row] += 1 - ((y - f) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
            else:
                scores[row] += [np.corrcoef(y[:, t], f[:, t])[0, 1] for t in range(Y.shape[1])]
    return scores / len(folds)


@pytest.mark.parametrize("scoring", ["r2", "correlation"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_whole_weights_are_repeated_rows(shape, fit_intercept, scoring):
    X, Y = problem(*shape)
    weights = np.random.default_rng(1).integers(0, 4, len(X))
    folds = list(KFold(4, shuffle=True, random_state=0).split(X))
    expected = peer_scores(X, Y, weights, folds, scoring, fit_intercept)
    fit = plan_ridge(X, ALPHAS, folds, fit_intercept=fit_intercept, sample_weight=weights).fit(Y, scoring=scoring)
    np.testing.assert_array_equal(fit.best_alphas, ALPHAS[expected.argmax(axis=0)])
    np.testing.assert_allclose(fit.cv_scores, expected.max(axis=0), atol=1e-8)
    repeated = np.repeat(np.arange(len(X)), weights)
    for target, alpha in enumerate(fit.best_alphas):
        peer = SklearnRidge(alpha, fit_intercept=fit_intercept).fit(X[repeated], Y[repeated, target])
        np.testing.assert_allclose(fit.coef[:, target], peer.coef_, atol=1e-8 * np.abs(peer.coef_).max())
        assert fit.intercept[target] == pytest.approx(peer.intercept_, abs=1e-7)
    # The weights matter, or nothing was tested.
    assert np.abs(plan_ridge(X, ALPHAS, folds).fit(Y).coef - fit.coef).max() > 1e-3


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_weighted_leave_one_out_is_sklearns(shape, fit_intercept):
    X, Y = problem(*shape)
    weights = np.random.default_rng(2).uniform(0.2, 3, len(X))
    model = Ridge(ALPHAS, "loo", fit_intercept=fit_intercept).fit(X, Y, sample_weight=weights)
    peer = SklearnRidgeCV(ALPHAS, alpha_per_target=True, fit_intercept=fit_intercept).fit(X, Y, weights)
    np.testing.assert_allclose(model.best_alphas_, peer.alpha_)
    np.testing.assert_allclose(model.coef_, peer.coef_.T, atol=1e-8)
    coef, intercept = ridge_coef(X, Y, peer.alpha_, fit_intercept=fit_intercept, sample_weight=weights)
    np.testing.assert_allclose(coef, peer.coef_.T, atol=1e-8)
    np.testing.assert_allclose(intercept, np.broadcast_to(peer.intercept_, 5), atol=1e-7)


def test_weighted_gcv_is_its_formula_of_weighted_rows():
    X, Y = problem(50, 6)
    weights = np.random.default_rng(3).uniform(0.2, 3, 50)
    root, ones = np.sqrt(weights)[:, None], np.sqrt(weights / weights.sum())[:, None]
    design = root * (X - np.average(X, axis=0, weights=weights))
    targets = root * (Y - np.average(Y, axis=0, weights=weights))
    scores = []
    for alpha in ALPHAS:
        hat = design @ np.linalg.solve(design.T @ design + alpha * np.eye(6), design.T) + ones @ ones.T
        error = 50**2 * ((targets - hat @ targets) ** 2).sum(axis=0) / np.trace(np.eye(50) - hat) ** 2
        scores.append(1 - error / (targets**2).sum(axis=0))
    fit = plan_ridge(X, ALPHAS, "gcv", sample_weight=weights).fit(Y)
    np.testing.assert_allclose(fit.cv_scores, np.max(scores, axis=0), atol=1e-9)
    np.testing.assert_array_equal(fit.best_alphas, ALPHAS[np.argmax(scores, axis=0)])


def test_a_weight_of_zero_is_a_row_that_is_not_there():
    X, Y = problem(60, 8)
    X[:5], Y[:5] = 1e6, -1e6
    weights = np.r_[np.zeros(5), np.ones(55)]
    folds = list(KFold(4).split(X))
    with_zeros = Ridge(ALPHAS, folds).fit(X, Y, sample_weight=weights)
    left_out = [(train[train >= 5] - 5, test[test >= 5] - 5) for train, test in folds]
    without = Ridge(ALPHAS, left_out).fit(X[5:], Y[5:])
    np.testing.assert_allclose(with_zeros.coef_, without.coef_, atol=1e-7)
    np.testing.assert_allclose(with_zeros.cv_scores_, without.cv_scores_, atol=1e-7)
    np.testing.assert_allclose(Ridge(ALPHAS, folds).fit(X, Y, sample_weight=3.0).predict(X[5:]).shape, (55, 5))


def test_weights_and_groups_go_together():
    X, Y = problem(60, 8)
    groups, weights = np.arange(60) % 12, np.random.default_rng(0).uniform(0.5, 2, 60)
    model = Ridge(ALPHAS, GroupKFold(4)).fit(X, Y, groups=groups, sample_weight=weights)
    folds = list(GroupKFold(4).split(X, groups=groups))
    given = plan_ridge(X, ALPHAS, folds, sample_weight=weights).fit(Y)
    np.testing.assert_array_equal(model.best_alphas_, given.best_alphas)
    scores = np.zeros((len(ALPHAS), 5))
    for train, test in folds:
        for row, alpha in enumerate(ALPHAS):
            peer = SklearnRidge(alpha).fit(X[train], Y[train], weights[train])
            about = Y[test] - np.average(Y[test], axis=0, weights=weights[test])
            error = weights[test] @ (Y[test] - peer.predict(X[test])) ** 2
            scores[row] += (1 - error / (weights[test] @ about**2)) / len(folds)
    np.testing.assert_allclose(model.cv_scores_, scores.max(axis=0), atol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_weights_of_samples_predict_what_coefficients_predict(dtype, weighted):
    X, Y = (one.astype(dtype) for one in problem(40, 120))
    weights = np.random.default_rng(0).uniform(0.5, 2, 40) if weighted else None
    primal = Ridge(ALPHAS, keep_coef=True).fit(X, Y, sample_weight=weights)
    dual = Ridge(ALPHAS, keep_coef=False).fit(X, Y, sample_weight=weights)
    assert isinstance(primal._fit, RidgeFit) and isinstance(dual._fit, DualRidgeFit)
    assert Ridge(ALPHAS, keep_coef=False).fit(X[:, :8], Y)._fit.coef.shape == (8, 5)  # tall: the smaller form
    assert np.shares_memory(dual._fit.X, X)
    new = problem(30, 120, seed=9)[0].astype(dtype)
    double = X.astype(np.float64), Y.astype(np.float64)
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    expected = np.column_stack(
        [
            SklearnRidge(alpha).fit(double[0], double[1][:, target], weights).predict(new.astype(np.float64))
            for target, alpha in enumerate(dual.best_alphas_)
        ]
    )
    for model in (primal, dual):
        assert model.predict(new).dtype == dtype
        np.testing.assert_allclose(model.predict(new), expected, atol=tolerance * np.abs(expected).max())
    np.testing.assert_allclose(dual.coef_, primal.coef_, atol=tolerance)
    np.testing.assert_allclose(dual.intercept_, primal.intercept_, atol=tolerance * 100)
    np.testing.assert_allclose(dual._fit.coef_of([3, 1]), primal.coef_[:, [3, 1]], atol=tolerance)


def test_a_single_target_without_coefficients():
    X, Y = problem(40, 120)
    model = Ridge(ALPHAS, keep_coef=False).fit(X, Y[:, 0])
    assert model.coef_.shape == (120,) and model.predict(X).shape == (40,) and np.ndim(model.intercept_) == 0
    np.testing.assert_allclose(X @ model.coef_ + model.intercept_, model.predict(X), atol=1e-9)


def test_coefficients_too_many_to_form_are_told(monkeypatch):
    X, Y = problem(40, 120)
    for module in ("brainalign.voxelwise.fits", "brainalign.voxelwise.plan"):
        monkeypatch.setattr(f"{module}.COEF_BYTES", 120 * 5 * 8 - 1)
    model = Ridge(ALPHAS).fit(X, Y)
    with pytest.raises(DataError, match=r"120 features x 5 targets(.|\n)*keep_coef=True"):
        _ = model.coef_
    assert np.isfinite(model.predict(X)).all()
    assert Ridge(ALPHAS, keep_coef=True).fit(X, Y).coef_.shape == (120, 5)
    with pytest.raises(DataError, match="no keep_coef 'never'"):
        Ridge(ALPHAS, keep_coef="never").fit(X, Y)
    assert fits.COEF_BYTES == 4799


def peak_of(function) -> int:
    """Largest sum of allocations at any time, in bytes."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_features_times_targets_are_never_formed(tmp_path):
    rng = np.random.default_rng(0)
    n_samples, n_features, n_targets = 60, 40_000, 1500  # coefficients: 240 MB in float32; X: 10 MB, on disk
    np.save(tmp_path / "X.npy", rng.standard_normal((n_samples, n_features), dtype=np.float32))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    Y = rng.standard_normal((n_samples, n_targets), dtype=np.float32)

    def fit_and_predict():
        model = Ridge([1e3, 1e4], 3, keep_coef=False).fit(X, Y)
        assert model.predict(X[:20]).shape == (20, n_targets)

    assert peak_of(fit_and_predict) < 60 * 2**20


def test_targets_on_disk_stream_under_the_budget(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 6)).astype(np.float32)
    shape = (300, 60_000)
    Y = np.lib.format.open_memmap(tmp_path / "Y.npy", mode="w+", dtype=np.float16, shape=shape)  # 36 MB
    for rows in np.array_split(np.arange(300), 30):
        Y[rows] = X[rows, :1] + rng.standard_normal((len(rows), shape[1]), dtype=np.float32)
    Y.flush()
    Y = np.load(tmp_path / "Y.npy", mmap_mode="r")
    plan = plan_ridge(X, ALPHAS, list(KFold(4).split(X)))
    made = []
    budget = 4 * 2**20
    peak = peak_of(lambda: made.append(plan.fit(Y, block_bytes=budget)))
    (fit,) = made
    kept = sum(one.nbytes for one in vars(fit).values())
    assert kept + 16 * shape[1] + 6 * budget < Y.nbytes < 300 * shape[1] * 4
    assert peak < kept + 16 * shape[1] + 6 * budget
    some = rng.permutation(shape[1])[:20]
    for target in some:
        peer = SklearnRidge(fit.best_alphas[target]).fit(X.astype(float), Y[:, target].astype(float))
        np.testing.assert_allclose(fit.coef[:, target], peer.coef_, atol=1e-4)


def test_the_model_streams_float16_targets_from_disk_as_from_memory(tmp_path):
    X, Y = problem(60, 8, n_targets=40)
    np.save(tmp_path / "Y.npy", Y.astype(np.float16))
    on_disk = Ridge(ALPHAS).fit(X.astype(np.float32), np.load(tmp_path / "Y.npy", mmap_mode="r"))
    in_memory = Ridge(ALPHAS).fit(X.astype(np.float32), Y.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(on_disk.coef_, in_memory.coef_)


@pytest.mark.parametrize("shape", [(60, 10), (30, 80)])
def test_project_gives_predictions_at_any_penalty(shape):
    X, Y = problem(*shape)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    new = problem(7, shape[1], seed=4)[0]
    made = decompose(X, sample_weight=weights)
    about = (Y - np.average(Y, axis=0, weights=weights)) * made.root_weights[:, None]
    predicted = made.project(new) / (made.eigenvalues + 20.0) @ (made.left.T @ about)
    peer = SklearnRidge(20.0).fit(X, Y, weights)
    np.testing.assert_allclose(predicted + np.average(Y, axis=0, weights=weights), peer.predict(new), atol=1e-8)
    turned = made.right @ (made.left if made.wide else np.diag(np.sqrt(made.eigenvalues)))
    coef = turned / (made.eigenvalues + 20.0) @ (made.left.T @ about)
    np.testing.assert_allclose(coef, peer.coef_.T, atol=1e-9)


def test_constant_targets_have_a_reason_and_stay_out_of_means():
    X, Y = problem(60, 8)
    Y[:, 1], Y[:, 3] = 5.1, 0.0
    model = Ridge(ALPHAS).fit(X, Y)
    assert model.unscored_ == dict.fromkeys((1, 3), "constant over the samples fitted on")
    assert np.flatnonzero(np.isnan(model.cv_scores_)).tolist() == [1, 3]
    mean, n_left_out = mean_over_targets(model.cv_scores_)
    assert n_left_out == 2 and mean == pytest.approx(np.delete(model.cv_scores_, [1, 3]).mean())
    assert Ridge(ALPHAS).fit(X, Y[:, [0, 2]]).unscored_ == {}
    assert Ridge(1.0, None).fit(X, Y).unscored_ == {}
    still = Ridge(ALPHAS, scoring="correlation").fit(np.full((60, 2), 3.0), Y[:, [0]])
    assert "nor its prediction varies" in still.unscored_[0]


def test_weights_that_are_none_are_refused():
    X, Y = problem(30, 4)
    for weights in (np.ones(29), -np.ones(30), np.zeros(30), np.r_[np.nan, np.ones(29)], ["a"] * 30, np.ones((30, 1))):
        with pytest.raises(DataError, match="sample_weight must be one number per sample"):
            Ridge().fit(X, Y, sample_weight=weights)
    lonely = np.r_[1.0, np.zeros(9), np.ones(20)]
    with pytest.raises(DataError, match="fold 0 is too small to score"):
        Ridge(cv=3).fit(X, Y, sample_weight=lonely)


def test_designs_that_hold_nothing_are_refused():
    X, Y = problem(30, 4)
    with pytest.raises(DataError, match=r"no features"):
        plan_ridge(X[:, :0], 1.0, None)
    with pytest.raises(DataError, match="0 feature"):
        Ridge().fit(X[:, :0], Y)
    with pytest.raises(DataError, match="n_samples = 1"):
        plan_ridge(X[:1], 1.0, None)
    X[3, 2] = np.inf
    with pytest.raises(DataError, match=r"X contains NaN or infinity(.|\n)*columns \[2\]"):
        plan_ridge(X, 1.0, None)


def test_folds_that_leak_or_point_nowhere_are_refused():
    X, Y = problem(30, 4)
    rows = np.arange(30)
    with pytest.raises(LeakageError, match="2 sample in both train and test"):
        plan_ridge(X, ALPHAS, [(rows[:20], rows[18:])])
    refused = {
        "rows that are not there": (rows[:20], rows[20:] + 1),
        "names a row twice": (np.r_[rows[:20], 3], rows[20:]),
        "not made of row numbers": (rows < 20, rows >= 20),
    }
    for message, fold in refused.items():
        with pytest.raises(DataError, match=message):
            plan_ridge(X, ALPHAS, [fold])
    with pytest.raises(DataError, match="no folds"):
        plan_ridge(X, ALPHAS, [])
    with pytest.raises(DataError, match="differ in samples"):
        Ridge().fit(X, Y[:-1])
