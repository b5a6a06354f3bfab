"""Ridge solvers against closed forms solved one by one, scikit-learn and himalaya."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

from brainalign.errors import DataError
from brainalign.voxelwise.plan import RidgeFit, plan_ridge
from brainalign.voxelwise.solvers import decompose, ridge_coef

ALPHAS = np.logspace(-1, 6, 12)


def problem(n_samples: int, n_features: int, n_targets: int = 6, *, seed: int = 0, offset: float = 3.0):
    """Features of very different scale, targets of different signal-to-noise."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * np.logspace(0, 1.5, n_features) + offset
    coef = rng.standard_normal((n_features, n_targets)) / np.linalg.norm(X, axis=0)[:, None] * n_samples**0.5
    Y = (X - offset) @ coef / n_features**0.5 + np.linspace(0.2, 3, n_targets) * rng.standard_normal(
        (n_samples, n_targets)
    )
    return X, Y - offset


def solved_one_by_one(X: np.ndarray, Y: np.ndarray, alpha: float, fit_intercept: bool = True):
    """The normal equations of one penalty, in float64."""
    x_mean, y_mean = (X.mean(axis=0), Y.mean(axis=0)) if fit_intercept else (0.0, 0.0)
    centred = X - x_mean
    if X.shape[1] <= len(X):
        coef = np.linalg.solve(centred.T @ centred + alpha * np.eye(X.shape[1]), centred.T @ (Y - y_mean))
    else:
        coef = centred.T @ np.linalg.solve(centred @ centred.T + alpha * np.eye(len(X)), Y - y_mean)
    return coef, y_mean - x_mean @ coef if fit_intercept else np.zeros(Y.shape[1])


def fold_scores(X, Y, alphas, folds, *, fit_intercept=True, scoring="r2"):
    """Mean held-out score by fitting every fold and alpha anew, (n_alphas, n_targets)."""
    scores = np.zeros((len(alphas), Y.shape[1]))
    for train, test in folds:
        for row, alpha in enumerate(alphas):
            coef, intercept = solved_one_by_one(X[train], Y[train], alpha, fit_intercept)
            predicted, true = X[test] @ coef + intercept, Y[test]
            for target in range(Y.shape[1]):
                y, f = true[:, target], predicted[:, target]
                if scoring == "r2":
                    scores[row, target] += 1 - np.sum((y - f) ** 2) / np.sum((y - y.mean()) ** 2)
                else:
                    scores[row, target] += np.corrcoef(y, f)[0, 1]
    return scores / len(folds)


def check_against_loop(fit: RidgeFit, X, Y, alphas, scores, *, fit_intercept=True, tolerance=1e-7):
    best = scores.argmax(axis=0)
    np.testing.assert_array_equal(fit.best_alphas, alphas[best])
    np.testing.assert_allclose(fit.cv_scores, scores.max(axis=0), atol=tolerance)
    for target, row in enumerate(best):
        coef, intercept = solved_one_by_one(X, Y[:, [target]], alphas[row], fit_intercept)
        scale = np.abs(coef).max()
        np.testing.assert_allclose(fit.coef[:, target] / scale, coef[:, 0] / scale, atol=tolerance)
        np.testing.assert_allclose(fit.intercept[target], intercept[0], atol=tolerance * 100)


SHAPES = {"tall": (90, 12), "wide": (40, 150), "train smaller than rank": (50, 45), "one feature": (40, 1)}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("scoring", ["r2", "correlation"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_same_alphas_and_coefficients_as_a_loop_of_solves(shape, scoring, fit_intercept, dtype):
    X, Y = problem(*shape, offset=3.0 if fit_intercept else 0.0)
    X, Y = X.astype(dtype), Y.astype(dtype)
    folds = list(KFold(5).split(X))
    fit = plan_ridge(X, ALPHAS, folds, fit_intercept=fit_intercept).fit(Y, scoring=scoring)
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    scores = fold_scores(X, Y, ALPHAS, folds, fit_intercept=fit_intercept, scoring=scoring)
    if shape[1] == 1 and scoring == "correlation":
        # One feature predicts the same pattern at every penalty: only the scores can be compared.
        np.testing.assert_allclose(fit.cv_scores, scores.max(axis=0), atol=1e-5)
        return
    tolerance = 1e-8 if dtype == "float64" else 2e-5
    check_against_loop(fit, X, Y, ALPHAS, scores, fit_intercept=fit_intercept, tolerance=tolerance)


def folds_with_gap(n_samples: int) -> list:
    edges = np.linspace(0, n_samples, 5).astype(int)
    rows = np.arange(n_samples)
    return [(rows[(rows < a - 2) | (rows >= b + 2)], rows[a:b]) for a, b in pairwise(edges)]


def test_folds_of_very_different_size_may_take_different_forms():
    X, Y = problem(40, 30)
    rows = np.arange(40)
    folds = [(rows[3:], rows[:3]), (rows[:20], rows[20:]), (rows[20:], rows[3:20])]
    plan = plan_ridge(X, ALPHAS, folds)
    assert [fold.rotation is None for fold in plan.factors] == [False, True, True]
    check_against_loop(plan.fit(Y), X, Y, ALPHAS, fold_scores(X, Y, ALPHAS, folds))


@pytest.mark.parametrize("kind", ["gap", "shuffle", "overlapping test"])
def test_folds_of_any_form(kind):
    X, Y = problem(80, 10)
    folds = {
        "gap": folds_with_gap(80),
        "shuffle": list(ShuffleSplit(4, test_size=0.3, random_state=0).split(X)),
        "overlapping test": [(np.arange(40), np.arange(40, 80)), (np.arange(20, 60), np.r_[0:20, 60:80])],
    }[kind]
    fit = plan_ridge(X, ALPHAS, folds).fit(Y)
    check_against_loop(fit, X, Y, ALPHAS, fold_scores(X, Y, ALPHAS, folds))


@pytest.mark.parametrize("scoring", ["r2", "correlation"])
def test_norms_by_difference_quotients_equal_norms_of_predictions(scoring):
    """With one alpha a fold forms its predictions; with many it does not. Each alpha must score the same."""
    X, Y = problem(100, 24)
    folds = list(KFold(5).split(X))
    many = plan_ridge(X, ALPHAS, folds)
    assert all(fold.far is not None for fold in many.factors)
    for alpha in ALPHAS:
        alone = plan_ridge(X, alpha, folds)
        assert all(fold.far is None for fold in alone.factors)
        formed = alone.fit(Y, scoring=scoring)
        unformed = replace(many, alphas=np.array([alpha])).fit(Y, scoring=scoring)
        np.testing.assert_allclose(unformed.cv_scores, formed.cv_scores, atol=1e-10)
        np.testing.assert_allclose(unformed.held_out_std, formed.held_out_std, rtol=1e-9)


def test_equal_eigenvalues_and_balanced_indicator_features():
    """One-hot designs have eigenvalues of high multiplicity, where a difference quotient alone would divide by 0."""
    labels = np.tile(np.arange(8), 15)
    X = np.eye(8)[labels]
    rng = np.random.default_rng(0)
    Y = X @ rng.standard_normal((8, 5)) + rng.standard_normal((120, 5))
    folds = list(KFold(5).split(X))
    plan = plan_ridge(X, ALPHAS, folds)
    assert any(fold.near.ndim == 2 for fold in plan.factors)
    check_against_loop(plan.fit(Y), X, Y, ALPHAS, fold_scores(X, Y, ALPHAS, folds))


def test_duplicated_and_constant_features_change_nothing_but_their_share():
    X, Y = problem(60, 5)
    duplicated = np.column_stack([X, X[:, :3], np.full(60, 7.0)])
    folds = list(KFold(4).split(X))
    fit = plan_ridge(duplicated, ALPHAS, folds).fit(Y)
    check_against_loop(fit, duplicated, Y, ALPHAS, fold_scores(duplicated, Y, ALPHAS, folds))
    np.testing.assert_allclose(fit.coef[:3], fit.coef[5:8], atol=1e-12)
    assert np.abs(fit.coef[-1]).max() < 1e-12
    assert decompose(duplicated).left.shape[1] == 5


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(100, 8), (40, 90)])
def test_huge_offsets_cost_nothing(shape, dtype):
    X, Y = problem(*shape, offset=0.0)
    # The offset is added in the precision under test, and the reference gets what is left of the data.
    X, Y = ((Z.astype(dtype) + np.asarray(1e6, dtype)) for Z in (X, Y))
    folds = list(KFold(5).split(X))
    fit = plan_ridge(X, ALPHAS, folds).fit(Y)
    near, near_y = X.astype(np.float64) - 1e6, Y.astype(np.float64) - 1e6
    scores = fold_scores(near, near_y, ALPHAS, folds)
    tolerance = 1e-6 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(fit.cv_scores, scores.max(axis=0), atol=tolerance)
    coef = np.column_stack([solved_one_by_one(near, near_y[:, [t]], a)[0][:, 0] for t, a in enumerate(fit.best_alphas)])
    np.testing.assert_allclose(fit.coef, coef, atol=1e-5 * np.abs(coef).max())
    predicted = fit.predict(X) - np.asarray(1e6, dtype)
    expected = (near - near.mean(axis=0)) @ coef + near_y.mean(axis=0)
    np.testing.assert_allclose(predicted, expected, atol=1e-5 if dtype == "float64" else 0.2)


def test_float32_survives_a_badly_conditioned_design():
    """Singular values over five decades: normal equations in float32 would have lost the small ones."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.standard_normal((300, 20)))[0]
    right = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    X = (left * np.logspace(-2, 3, 20)) @ right
    Y = left @ rng.standard_normal((20, 4)) + 0.01 * rng.standard_normal((300, 4))
    folds = list(KFold(5).split(X))
    alphas = np.logspace(-6, 2, 9)
    fit32 = plan_ridge(X.astype(np.float32), alphas, folds).fit(Y.astype(np.float32))
    fit64 = plan_ridge(X.astype(np.float32).astype(np.float64), alphas, folds).fit(Y)
    np.testing.assert_array_equal(fit32.best_alphas, fit64.best_alphas)
    np.testing.assert_allclose(fit32.cv_scores, fit64.cv_scores, atol=1e-4)
    fitted = X @ fit64.coef
    error = np.abs(X @ fit32.coef - fitted).max()
    assert error < 3e-3 * np.abs(fitted).max()
    low = (X - X.mean(axis=0)).astype(np.float32)
    inner = (low.T @ low + np.float32(1e-4) * np.eye(20, dtype=np.float32), low.T @ Y.astype(np.float32))
    naive = X @ np.linalg.solve(*inner)
    exact = X @ solved_one_by_one(X, Y, 1e-4)[0]
    assert np.abs(naive - exact).max() > 10 * error


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", [(50, 6), (25, 60)])
def test_leave_one_out_is_the_loop_over_samples(shape, fit_intercept):
    X, Y = problem(*shape, n_targets=3)
    predicted = np.zeros((len(ALPHAS), *Y.shape))
    for i in range(len(X)):
        rest = np.delete(np.arange(len(X)), i)
        for row, alpha in enumerate(ALPHAS):
            coef, intercept = solved_one_by_one(X[rest], Y[rest], alpha, fit_intercept)
            predicted[row, i] = X[i] @ coef + intercept
    about = Y.mean(axis=0)
    scores = 1 - ((Y - predicted) ** 2).sum(axis=1) / ((Y - about) ** 2).sum(axis=0)
    fit = plan_ridge(X, ALPHAS, "loo", fit_intercept=fit_intercept).fit(Y)
    check_against_loop(fit, X, Y, ALPHAS, scores, fit_intercept=fit_intercept)
    chosen = predicted[scores.argmax(axis=0), :, np.arange(3)]
    np.testing.assert_allclose(fit.held_out_mean, chosen.mean(axis=1), atol=1e-8)
    np.testing.assert_allclose(fit.held_out_std, chosen.std(axis=1), atol=1e-8)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", [(60, 10), (30, 80)])
def test_leave_one_out_chooses_what_sklearn_chooses(shape, fit_intercept):
    X, Y = problem(*shape)
    theirs = SklearnRidgeCV(ALPHAS, alpha_per_target=True, fit_intercept=fit_intercept).fit(X, Y)
    ours = plan_ridge(X, ALPHAS, "loo", fit_intercept=fit_intercept).fit(Y)
    np.testing.assert_allclose(ours.best_alphas, theirs.alpha_)
    np.testing.assert_allclose(ours.coef.T, theirs.coef_, atol=1e-8)


def test_small_penalties_do_not_blow_up_leave_one_out_of_an_interpolating_fit():
    X, Y = problem(20, 60)
    alpha = 1e-9
    fit = plan_ridge(X, alpha, "loo").fit(Y)
    rest = np.arange(1, 20)
    coef, intercept = solved_one_by_one(X[rest], Y[rest], alpha)
    assert np.isfinite(fit.cv_scores).all()
    assert np.abs(X[0] @ coef + intercept - Y[0]).max() < 50  # the loop itself is well-behaved here
    assert (fit.held_out_std < 50).all()


def test_generalised_cross_validation_is_its_formula():
    X, Y = problem(50, 8)
    centred, targets = X - X.mean(axis=0), Y - Y.mean(axis=0)
    scores = []
    for alpha in ALPHAS:
        hat = centred @ np.linalg.solve(centred.T @ centred + alpha * np.eye(8), centred.T) + 1 / 50
        gcv = 50 * ((targets - hat @ targets) ** 2).sum(axis=0) / np.trace(np.eye(50) - hat) ** 2
        scores.append(1 - 50 * gcv / (targets**2).sum(axis=0))
    fit = plan_ridge(X, ALPHAS, "gcv").fit(Y)
    check_against_loop(fit, X, Y, ALPHAS, np.array(scores))
    assert np.isnan(fit.held_out_std).all()


def test_held_out_predictions_have_the_moments_of_the_loop():
    X, Y = problem(60, 9)
    folds = list(KFold(5).split(X))
    fit = plan_ridge(X, ALPHAS, folds).fit(Y)
    predicted = np.zeros_like(Y)
    for train, test in folds:
        for target, alpha in enumerate(fit.best_alphas):
            coef, intercept = solved_one_by_one(X[train], Y[train][:, [target]], alpha)
            predicted[test, target] = (X[test] @ coef + intercept)[:, 0]
    np.testing.assert_allclose(fit.held_out_mean, predicted.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(fit.held_out_std, predicted.std(axis=0), atol=1e-9)


def same_choice(ours: np.ndarray, theirs: np.ndarray, scores: np.ndarray, tolerance: float) -> None:
    """The same penalties, but for targets whose two best scores are equal up to `tolerance`."""
    best, second = np.sort(scores, axis=0)[[-1, -2]]
    clear = best - second > tolerance
    assert clear.any()
    np.testing.assert_allclose(ours[clear], theirs[clear], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("grouped", [False, True], ids=["k-fold", "grouped"])
@pytest.mark.parametrize("model", ["RidgeCV", "KernelRidgeCV"])
@pytest.mark.parametrize("shape", [(60, 10), (30, 80)])
def test_himalaya_chooses_the_same_and_predicts_the_same(shape, model, grouped, dtype):
    pytest.importorskip("himalaya")
    from himalaya import kernel_ridge, ridge
    from himalaya.scoring import r2_score

    X, Y = problem(*shape)
    X, Y = X.astype(dtype), Y.astype(dtype)
    groups = np.repeat(np.arange(10), len(X) // 10)
    cv = list(GroupKFold(5).split(X, groups=groups)) if grouped else list(KFold(5).split(X))
    kind = kernel_ridge.KernelRidgeCV if model == "KernelRidgeCV" else ridge.RidgeCV
    if model == "KernelRidgeCV":  # it has no intercept inside the folds: both are given data about zero, and none
        X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    intercept = model == "RidgeCV"
    params = {"score_func": r2_score} | ({"warn": False} if intercept else {})
    double = X.astype(np.float64), Y.astype(np.float64)
    given = (X, Y) if intercept else double  # in float32 its kernel form is off by per cents at the smallest penalty
    theirs = kind(ALPHAS, fit_intercept=intercept, cv=_Given(cv), solver_params=params).fit(*given)
    ours = plan_ridge(X, ALPHAS, cv, fit_intercept=intercept).fit(Y)
    scores = fold_scores(*double, ALPHAS, cv, fit_intercept=intercept)
    tolerance = 1e-8 if dtype == "float64" else 2e-4
    same_choice(ours.best_alphas, theirs.best_alphas_, scores, tolerance)
    np.testing.assert_allclose(ours.cv_scores, scores.max(axis=0), atol=tolerance / 10)
    np.testing.assert_allclose(theirs.cv_scores_, ours.cv_scores, atol=tolerance)
    same = np.isclose(ours.best_alphas, theirs.best_alphas_, rtol=1e-6)
    expected = theirs.predict(given[0])[:, same]
    np.testing.assert_allclose(ours.predict(X)[:, same], expected, atol=100 * tolerance * np.abs(expected).max())


class _Given:
    """Folds that were made elsewhere, as a splitter."""

    def __init__(self, folds: list) -> None:
        self.folds = folds

    def split(self, X, y=None, groups=None):
        return iter(self.folds)

    def get_n_splits(self, X=None, y=None, groups=None) -> int:
        return len(self.folds)


@pytest.mark.parametrize("shape", [(60, 10), (30, 80)])
def test_leave_one_out_in_float32_chooses_what_sklearn_chooses_in_float64(shape):
    X, Y = problem(*shape)
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    double = X.astype(np.float64), Y.astype(np.float64)
    theirs = SklearnRidgeCV(ALPHAS, alpha_per_target=True).fit(*double)
    ours = plan_ridge(X, ALPHAS, "loo").fit(Y)
    np.testing.assert_allclose(ours.best_alphas, theirs.alpha_)
    expected = theirs.predict(double[0])
    np.testing.assert_allclose(ours.predict(X), expected, atol=1e-4 * np.abs(expected).max())


def test_one_alpha_for_all_targets_is_the_best_on_average():
    X, Y = problem(60, 10)
    folds = list(KFold(5).split(X))
    fit = plan_ridge(X, ALPHAS, folds).fit(Y, per_target=False)
    scores = fold_scores(X, Y, ALPHAS, folds)
    row = scores.mean(axis=1).argmax()
    assert set(fit.best_alphas) == {ALPHAS[row]}
    np.testing.assert_allclose(fit.cv_scores, scores[row], atol=1e-8)
    np.testing.assert_allclose(fit.coef, solved_one_by_one(X, Y, ALPHAS[row])[0], atol=1e-8)


def test_constant_targets_get_their_mean_and_no_score():
    X, Y = problem(50, 6)
    Y[:, 2] = 5.1
    fit = plan_ridge(X, ALPHAS, list(KFold(5).split(X))).fit(Y)
    assert np.isnan(fit.cv_scores[2]) and np.isfinite(np.delete(fit.cv_scores, 2)).all()
    assert np.array_equal(fit.coef[:, 2], np.zeros(6))
    np.testing.assert_allclose(fit.predict(X)[:, 2], 5.1)


def test_a_target_constant_in_one_fold_is_scored_on_the_others():
    X, Y = problem(50, 6)
    Y[:10, 0] = -3.0
    folds = list(KFold(5).split(X))
    fit = plan_ridge(X, ALPHAS, folds).fit(Y)
    scores = fold_scores(X, Y[:, [0]], ALPHAS, folds[1:])
    np.testing.assert_allclose(fit.cv_scores[0], scores.max(), atol=1e-8)


@pytest.mark.parametrize("method", ["folds", "loo", "gcv"])
def test_blocks_of_targets_change_nothing(method, tmp_path):
    X, Y = problem(40, 5, n_targets=23)
    cv = list(KFold(5).split(X)) if method == "folds" else method
    plan = plan_ridge(X, ALPHAS, cv)
    whole = plan.fit(Y)
    np.save(tmp_path / "targets.npy", Y)
    for budget in (1, 20_000):
        in_blocks = plan.fit(np.load(tmp_path / "targets.npy", mmap_mode="r"), block_bytes=budget)
        np.testing.assert_array_equal(whole.best_alphas, in_blocks.best_alphas)
        np.testing.assert_allclose(whole.coef, in_blocks.coef, atol=1e-12)
        np.testing.assert_allclose(whole.cv_scores, in_blocks.cv_scores, atol=1e-12)


def test_features_without_variance_predict_the_mean():
    _, Y = problem(30, 4)
    for cv in (list(KFold(5).split(Y)), "loo", "gcv"):
        fit = plan_ridge(np.full((30, 3), 2.0), "auto", cv).fit(Y)
        np.testing.assert_allclose(fit.predict(np.full((2, 3), 9.0)), np.tile(Y.mean(axis=0), (2, 1)))


@pytest.mark.parametrize("method", ["folds", "loo", "gcv"])
@pytest.mark.parametrize("shape", [(60, 10), (30, 80)])
def test_torch_tensors_run_the_same_solver(shape, method):
    torch = pytest.importorskip("torch")
    X, Y = problem(*shape)
    cv = list(KFold(5).split(X)) if method == "folds" else method
    ours, theirs = (plan_ridge(one, ALPHAS, cv).fit(Y) for one in (X, torch.as_tensor(X)))
    np.testing.assert_array_equal(ours.best_alphas, theirs.best_alphas)
    np.testing.assert_allclose(ours.coef, theirs.coef, atol=1e-10)
    np.testing.assert_allclose(ours.cv_scores, theirs.cv_scores, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    n_samples=st.integers(6, 30),
    n_features=st.integers(1, 40),
    seed=st.integers(0, 99),
    power=st.floats(-3, 5),
)
def test_ridge_coef_is_sklearns_ridge(n_samples, n_features, seed, power):
    X, Y = problem(n_samples, n_features, 2, seed=seed)
    coef, intercept = ridge_coef(X, Y, 10**power)
    peer = SklearnRidge(10**power).fit(X, Y)
    scale = np.abs(peer.coef_).max()
    np.testing.assert_allclose(coef / scale, peer.coef_.T / scale, atol=1e-6)
    np.testing.assert_allclose(intercept, peer.intercept_, atol=1e-4 * (1 + scale * n_features))


def test_refusals_say_what_is_wrong():
    X, Y = problem(20, 3)
    for alphas in (0, -1, [1, np.nan], [], "automatic", [[1, 2]]):
        with pytest.raises(DataError, match="alphas must be positive"):
            plan_ridge(X, alphas)
    with pytest.raises(DataError, match="nothing to choose by"):
        plan_ridge(X, [1, 2], None)
    with pytest.raises(DataError, match="no cross-validation 'lou'"):
        plan_ridge(X, 1, "lou")
    with pytest.raises(DataError, match="fold 0 is too small"):
        plan_ridge(X, 1, [(np.arange(19), np.array([19]))])
    plan = plan_ridge(X, ALPHAS)
    with pytest.raises(DataError, match="differ in samples"):
        plan.fit(Y[:-1])
    with pytest.raises(DataError, match="scoring"):
        plan.fit(Y, scoring="mse")
    Y[3, 1] = np.nan
    with pytest.raises(DataError, match=r"Y contains NaN.*\n.*\n.*columns \[1\]"):
        plan.fit(Y)
