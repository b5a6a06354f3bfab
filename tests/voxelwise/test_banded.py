"""Banded ridge against solves one by one and himalaya, on planted truth, and what it refuses."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, ShuffleSplit

from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.splits import split
from brainalign.trials import Trials
from brainalign.voxelwise import BandedRidge, Ridge, banded_kernel, banded_scores
from brainalign.voxelwise.banded_gradient import plan_gradient
from brainalign.voxelwise.banded_grams import BandedProblem
from brainalign.voxelwise.banded_kernel import KernelForm
from brainalign.voxelwise.banded_primal import PrimalForm
from brainalign.voxelwise.banded_search import BandedPlan, draw_weights, plan_banded

ALPHAS = np.logspace(-2, 4, 7)
FORMS = [KernelForm, PrimalForm]


def slices(sizes) -> tuple[slice, ...]:
    edges = np.concatenate([[0], np.cumsum(sizes)])
    return tuple(slice(a, b) for a, b in pairwise(edges))


def problem(n_samples: int, sizes, n_targets: int = 6, *, seed: int = 0, offset: float = 3.0):
    """Targets from the first band mostly, at signal-to-noise from high to low."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, sum(sizes)))
    Y = X[:, : sizes[0]] @ rng.standard_normal((sizes[0], n_targets)) + 0.5 * X[:, [-1]]
    Y += rng.standard_normal((n_samples, n_targets)) * np.linspace(0.5, 6, n_targets)
    return X + offset, Y - offset


def solved_one_by_one(X, Y, bands, weights, alpha, fit_intercept=True):
    """Coefficients and intercept of one weighting and penalty, by a solve over samples in float64."""
    scale = np.concatenate([np.full(band.stop - band.start, w) for band, w in zip(bands, weights, strict=True)])
    x_mean, y_mean = (X.mean(axis=0), Y.mean(axis=0)) if fit_intercept else (0.0 * X[0], 0.0 * Y[0])
    centred = X - x_mean
    dual = np.linalg.solve((centred * scale) @ centred.T + alpha * np.eye(len(X)), Y - y_mean)
    coef = scale[:, None] * (centred.T @ dual)
    return coef, y_mean - x_mean @ coef


def scores_one_by_one(X, Y, bands, folds, weights, *, fit_intercept=True, scoring="r2", alphas=ALPHAS):
    """Mean held-out score of every candidate and penalty by fitting each fold anew."""
    scores = np.zeros((len(weights), len(alphas), Y.shape[1]))
    for train, test in folds:
        for row, weight in enumerate(weights):
            for column, alpha in enumerate(alphas):
                coef, intercept = solved_one_by_one(X[train], Y[train], bands, weight, alpha, fit_intercept)
                true, made = Y[test], X[test] @ coef + intercept
                if scoring == "r2":
                    found = 1 - ((true - made) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)
                else:
                    found = [np.corrcoef(a, b)[0, 1] for a, b in zip(true.T, made.T, strict=True)]
                scores[row, column] += found
    return scores / len(folds)


def planned(form, X, bands, folds, *, fit_intercept=True, alphas=ALPHAS) -> BandedPlan:
    problem = BandedProblem(X, bands, folds, centred=fit_intercept, dtype=str(X.dtype).rpartition(".")[2])
    return BandedPlan(problem, form.of(problem), np.asarray(alphas))


SHAPES = {"tall": (60, (5, 7, 4)), "wide": (40, (30, 60, 10)), "train smaller than rank": (60, (20, 25, 13))}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_same_choices_and_coefficients_as_a_loop_of_solves(shape, form, fit_intercept, dtype):
    X, Y = problem(*shape, offset=3.0 if fit_intercept else 0.0)
    bands, folds, weights = slices(shape[1]), list(KFold(4).split(X)), draw_weights(3, 9)
    X, Y = X.astype(dtype), Y.astype(dtype)
    plan = planned(form, X, bands, folds, fit_intercept=fit_intercept)
    choice = plan.search(Y, weights)
    coef = plan.refit(Y, choice.weights, choice.alphas)
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    expected = scores_one_by_one(X, Y, bands, folds, weights, fit_intercept=fit_intercept)
    near_best = np.sort(expected.reshape(-1, Y.shape[1]), axis=0)[-2:]
    clear = np.diff(near_best, axis=0)[0] > 1e-3  # no tie that float32 could break either way
    tolerance = 1e-9 if dtype == "float64" else 5e-4
    np.testing.assert_allclose(choice.by_candidate, expected.max(axis=1), atol=tolerance)
    row, column = np.unravel_index(expected.reshape(-1, Y.shape[1]).argmax(axis=0), expected.shape[:2])
    np.testing.assert_array_equal(choice.weights[:, clear], weights[row].T[:, clear])
    np.testing.assert_array_equal(choice.alphas[clear], ALPHAS[column][clear])
    for target in range(Y.shape[1]):
        pair = choice.weights[:, target], choice.alphas[target]
        by_hand = solved_one_by_one(X, Y[:, [target]], bands, *pair, fit_intercept)[0]
        np.testing.assert_allclose(coef[:, target], by_hand[:, 0], atol=10 * tolerance)


@pytest.mark.parametrize("form", FORMS)
def test_folds_with_gaps_in_any_order_and_correlation_scores(form):
    X, Y = problem(50, (6, 4))
    rng = np.random.default_rng(1)
    folds = [(train[3:], rng.permutation(test)) for train, test in ShuffleSplit(3, random_state=0).split(X)]
    bands, weights = slices((6, 4)), draw_weights(2, 6)
    choice = planned(form, X, bands, folds).search(Y, weights, scoring="correlation")
    expected = scores_one_by_one(X, Y, bands, folds, weights, scoring="correlation")
    np.testing.assert_allclose(choice.by_candidate, expected.max(axis=1), atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_vanishing_penalties_and_repeated_features_are_solved_on_the_column_space(form):
    X, Y = problem(40, (6, 70))
    X[:, 3:6] = X[:, :3]
    bands, folds, weights = slices((6, 70)), list(KFold(4).split(X)), np.array([[1.0, 0.0], [0.5, 0.5]])
    plan = planned(form, X, bands, folds, alphas=[1e-9, 1e-8])
    choice = plan.search(Y, weights)
    distinct = X[:, [0, 1, 2]] * np.sqrt(2)  # the same kernel as each feature twice
    expected = scores_one_by_one(distinct, Y, slices((3,)), folds, np.ones((1, 1)), alphas=[1e-4])
    np.testing.assert_allclose(choice.by_candidate[0], expected[0, 0], atol=1e-4)
    assert np.isfinite(choice.by_candidate).all()
    assert np.isfinite(plan.refit(Y, choice.weights, choice.alphas)).all()


@pytest.mark.parametrize("shape", [(60, (8, 12, 10)), (40, (30, 40, 20))])
def test_himalaya_chooses_the_same_and_predicts_the_same(shape):
    pytest.importorskip("himalaya")
    from himalaya.kernel_ridge import MultipleKernelRidgeCV
    from himalaya.ridge import GroupRidgeCV
    from himalaya.scoring import r2_score

    X, Y = problem(*shape, offset=0.0)
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    bands, weights = slices(shape[1]), np.random.default_rng(0).dirichlet(np.ones(3), size=12)
    parts = [X[:, band] for band in bands]
    params = {"n_iter": weights, "alphas": ALPHAS, "score_func": r2_score, "progress_bar": False}
    ours = BandedRidge(ALPHAS, 5, bands=list(shape[1]), n_iter=weights, fit_intercept=False).fit(X, Y)
    group = GroupRidgeCV(groups="input", cv=5, solver_params={**params, "warn": False}).fit(parts, Y)
    kernel = MultipleKernelRidgeCV(kernels="precomputed", cv=5, solver_params=params)
    kernel.fit(np.stack([part @ part.T for part in parts]), Y)
    for peer in (group, kernel):
        np.testing.assert_allclose(np.log(ours.band_weights_ / ours.best_alphas_), peer.deltas_, atol=1e-6)
        np.testing.assert_allclose(ours.cv_scores_, peer.cv_scores_.max(axis=0), atol=1e-8)
    np.testing.assert_allclose(ours.predict(X), group.predict(parts), atol=1e-6)


@pytest.mark.parametrize("shape", [(60, 12), (40, 90)])
@pytest.mark.parametrize("alphas", ["auto", ALPHAS])
def test_one_band_is_ridge(shape, alphas):
    X, Y = problem(shape[0], (shape[1],))
    ours, ridge = BandedRidge(alphas).fit(X, Y), Ridge(alphas).fit(X, Y)
    np.testing.assert_allclose(ours.best_alphas_, ridge.best_alphas_)
    np.testing.assert_allclose(ours.cv_scores_, ridge.cv_scores_, atol=1e-8)
    np.testing.assert_allclose(ours.predict(X), ridge.predict(X), atol=1e-8)
    assert (ours.band_weights_ == 1).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_band_of_weight_zero_is_as_if_dropped(form):
    X, Y = problem(50, (6, 9, 5))
    folds = list(KFold(5).split(X))
    weights = np.array([[0.3, 0.0, 0.7]])
    whole = planned(form, X, slices((6, 9, 5)), folds)
    kept = np.r_[0:6, 15:20]
    less = planned(form, X[:, kept], slices((6, 5)), folds)
    a, b = whole.search(Y, weights), less.search(Y, weights[:, [0, 2]])
    np.testing.assert_allclose(a.by_candidate, b.by_candidate, atol=1e-10)
    coef = whole.refit(Y, a.weights, a.alphas)
    assert (coef[6:15] == 0).all()
    np.testing.assert_allclose(coef[kept], less.refit(Y, b.weights, b.alphas), atol=1e-10)


def test_candidates_cover_corners_and_faces_and_more_keep_the_earlier_ones():
    few, many = draw_weights(4, 30, seed=3), draw_weights(4, 60, seed=3)
    np.testing.assert_array_equal(few, many[:30])
    assert (many >= 0).all() and np.allclose(many.sum(axis=1), 1)
    np.testing.assert_array_equal(many[1:5], np.eye(4))
    assert len(np.unique(many, axis=0)) == 60
    assert {2, 3, 4} <= set((many[5:] > 0).sum(axis=1))
    assert not np.array_equal(few, draw_weights(4, 30, seed=4))


@pytest.mark.parametrize("n_samples", [300, 60])
def test_the_band_that_drives_a_target_gets_its_weight_and_a_shuffled_copy_finds_nothing(n_samples):
    rng = np.random.default_rng(0)
    X = {name: rng.standard_normal((n_samples, 20)) for name in ("early", "late", "noise")}
    Y = np.column_stack([X["early"] @ rng.standard_normal((20, 5)), X["late"] @ rng.standard_normal((20, 5))])
    Y += 2 * rng.standard_normal(Y.shape)
    model = BandedRidge(n_iter=40).fit(X, Y)
    assert model.band_names_ == ("early", "late", "noise")
    assert (model.band_weights_[0, :5] > 0.6).all() and (model.band_weights_[1, 5:] > 0.6).all()
    assert model.band_weights_[2].max() < 0.2
    assert model.cv_scores_.mean() > 0.02 + Ridge().fit(np.hstack(list(X.values())), Y).cv_scores_.mean()
    assert np.isinf(model.band_alphas_[model.band_weights_ == 0]).all()
    shuffled = BandedRidge(n_iter=40).fit(X, Y[rng.permutation(n_samples)])
    assert shuffled.cv_scores_.mean() < 0.05


def test_targets_in_blocks_change_nothing():
    X, Y = problem(40, (30, 25), 23)
    folds, weights = list(KFold(4).split(X)), draw_weights(2, 8)
    for form in FORMS:
        plan = planned(form, X, slices((30, 25)), folds)
        whole = plan.search(Y, weights)
        targets = plan.targets(Y, block_bytes=5 * plan.form.bytes_per_target)
        assert len(list(targets)) == 5
        parts = plan.search(targets, weights)
        np.testing.assert_allclose(parts.by_candidate, whole.by_candidate, atol=1e-12)
        one_block, blocks = plan.refit(Y, whole.weights, whole.alphas), plan.refit(targets, whole.weights, whole.alphas)
        np.testing.assert_allclose(blocks, one_block, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("centred", [True, False])
def test_torch_and_matrices_inverted_as_a_stack_give_what_numpy_gives(centred, dtype, monkeypatch):
    """As on a GPU, where all penalties of a candidate are inverted at once; folds of unequal size, and with gaps."""
    torch = pytest.importorskip("torch")
    X, Y = problem(42, (30, 25), 12, offset=3.0 if centred else 0.0)
    X, Y = X.astype(dtype), Y.astype(dtype)
    folds = [*KFold(4).split(X), (np.arange(5, 30), np.arange(36, 42))]
    weights, alphas = draw_weights(2, 6), np.logspace(-1, 6, 12)
    bands, stacks, inverse = slices((30, 25)), [], banded_kernel.invert
    ours = planned(KernelForm, X, bands, folds, fit_intercept=centred, alphas=alphas)
    expected = ours.search(Y, weights)
    monkeypatch.setattr(banded_kernel, "invert", lambda a: stacks.append(len(a)) or inverse(a))
    tolerance = 1e-10 if dtype == "float64" else 5e-4  # that of float32 against a loop of solves, above
    for together in (False, True):
        monkeypatch.setattr(banded_kernel, "_inverts_together", lambda like, together=together: together)
        stacks.clear()
        theirs = planned(KernelForm, torch.as_tensor(X), bands, folds, fit_intercept=centred, alphas=alphas)
        found = theirs.search(Y, weights)
        assert max(stacks) > 4 if together else max(stacks) == 1
        np.testing.assert_allclose(found.by_candidate, expected.by_candidate, atol=tolerance)
        np.testing.assert_allclose(found.scores, expected.scores, atol=tolerance)
        same = found.alphas == expected.alphas
        assert same.all() or (dtype == "float32" and same.mean() > 0.8)
        chosen = expected.weights, expected.alphas
        np.testing.assert_allclose(theirs.refit(Y, *chosen), ours.refit(Y, *chosen), atol=10 * tolerance)


def test_a_search_holds_the_predictors_of_few_penalties_and_half_of_each_gram():
    n_samples, alphas = 400, np.logspace(0, 6, 10)
    X, Y = (one.astype(np.float32) for one in problem(n_samples, (300, 300, 300), 50, offset=0.0))
    folds, whole = list(KFold(5).split(X)), 8 * n_samples**2
    planned(KernelForm, X, slices((300, 300, 300)), folds, alphas=alphas).search(Y, np.full((1, 3), 1 / 3))
    tracemalloc.start()
    plan = planned(KernelForm, X, slices((300, 300, 300)), folds, alphas=alphas, fit_intercept=False)
    held = tracemalloc.get_traced_memory()[0]
    assert held < 3 * 0.6 * whole  # and no copy of the design
    tracemalloc.reset_peak()
    plan.search(Y, draw_weights(3, 4))
    peak = tracemalloc.get_traced_memory()[1] - held
    tracemalloc.stop()
    # The weighted Gram matrix, an inverse being made, and 0.4 of a Gram matrix for each of up to four penalties.
    assert peak < (1 + 1.5 + 4 * 0.4) * whole


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_screening_in_bfloat16_chooses_the_same_from_fewer_exact_scores(dtype, monkeypatch):
    pytest.importorskip("torch")
    X, Y = (one.astype(dtype) for one in problem(80, (60, 50, 40), 40, offset=0.0))
    Y[:, 7] = 1.0
    Y[:, 20:] = np.random.default_rng(0).standard_normal((80, 20))
    plan = planned(KernelForm, X, slices((60, 50, 40)), list(KFold(4).split(X)))
    weights, n_exact, exact_scores = draw_weights(3, 20), [], banded_scores.exact_scores

    def counting(predictors, folds, **options):
        n_exact.append(len(predictors[0]) * folds[0].true.shape[1])
        return exact_scores(predictors, folds, **options)

    exact = plan.search(Y, weights)
    monkeypatch.setattr(banded_scores, "exact_scores", counting)
    screened = plan.search(Y, weights, scoring_dtype="bfloat16")
    np.testing.assert_array_equal(screened.weights, exact.weights)
    np.testing.assert_array_equal(screened.alphas, exact.alphas)
    np.testing.assert_allclose(screened.scores, exact.scores, atol=1e-6 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(screened.by_candidate, exact.by_candidate, atol=0.01)
    assert not np.array_equal(screened.by_candidate, exact.by_candidate)
    assert 0 < sum(n_exact) < 0.5 * weights.shape[0] * len(ALPHAS) * Y.shape[1]


def test_screening_is_automatic_only_where_it_pays():
    small, large = np.ones((2, 2), np.float32), 1e15
    assert not banded_scores.is_screened("auto", small, 1e9)
    assert not banded_scores.is_screened("auto", small.astype(np.float64), large)
    assert not banded_scores.is_screened(None, small, large)
    assert banded_scores.is_screened("bfloat16", small, 0)
    with pytest.raises(DataError, match="no scoring_dtype 'float16'"):
        BandedRidge(scoring_dtype="float16").fit(*problem(30, (40,)))


def test_the_cheaper_form_is_taken():
    rng = np.random.default_rng(0)
    for shape, form in {(300, 20): PrimalForm, (40, 400): KernelForm}.items():
        X = rng.standard_normal(shape)
        plan = plan_banded(X, slices((shape[1] // 2, shape[1] // 2)), list(KFold(5).split(X)))
        assert isinstance(plan.form, form)


# -- gradient ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_gradient_is_that_of_the_brute_force_loss(fit_intercept):
    X, Y = problem(60, (5, 30, 4), 3, offset=1.0 if fit_intercept else 0.0)
    bands, folds = slices((5, 30, 4)), list(KFold(4).split(X))
    plan = plan_gradient(BandedProblem(X, bands, folds, centred=fit_intercept))
    delta = np.random.default_rng(0).standard_normal((3, 3)) - 2

    def loss(delta):
        each = [
            scores_one_by_one(
                X, Y[:, [t]], bands, folds, [np.exp(delta[:, t])], fit_intercept=fit_intercept, alphas=[1.0]
            )
            for t in range(3)
        ]
        return 1 - np.array(each)[:, 0, 0, 0]

    found, gradient = plan.loss_and_gradient(Y - Y.mean(axis=0) * fit_intercept, delta)
    np.testing.assert_allclose(found, loss(delta), atol=1e-4)
    for band in range(3):
        step = 1e-4 * (np.arange(3) == band)[:, None]
        np.testing.assert_allclose(gradient[band], (loss(delta + step) - loss(delta - step)) / 2e-4, atol=1e-3)


def test_the_gradient_betters_many_more_random_draws_and_never_worsens():
    X, Y = problem(90, (10, 30, 6), 8)
    sizes = {"bands": [10, 30, 6], "n_iter": 10}
    random, refined = BandedRidge(**sizes).fit(X, Y), BandedRidge(search="gradient", **sizes).fit(X, Y)
    many = BandedRidge(bands=[10, 30, 6], n_iter=200).fit(X, Y)
    assert (refined.cv_scores_ >= random.cv_scores_).all()
    assert refined.cv_scores_.mean() > many.cv_scores_.mean()
    np.testing.assert_allclose(refined.band_weights_.sum(axis=0), 1)
    for target in range(8):  # score and coefficients are those of the weights reported
        pair = refined.band_weights_[:, target], refined.best_alphas_[target]
        bands = slices((10, 30, 6))
        score = scores_one_by_one(X, Y[:, [target]], bands, list(KFold(5).split(X)), [pair[0]], alphas=[pair[1]])
        assert refined.cv_scores_[target] == pytest.approx(score.item(), abs=1e-4)
        np.testing.assert_allclose(
            refined.coef_[:, target], solved_one_by_one(X, Y[:, [target]], bands, *pair)[0][:, 0], atol=1e-6
        )


def test_the_gradient_may_bring_back_a_band_and_leaves_constant_targets_alone():
    X, Y = problem(80, (8, 8), 3)
    Y[:, 1] = 7.0
    model = BandedRidge(ALPHAS, bands=2, n_iter=[[0.0, 1.0]], search="gradient", n_steps=50).fit(X, Y)
    assert model.band_weights_[0, 0] > 0 and model.cv_scores_[0] > 0.9
    assert np.isnan(model.cv_scores_[1]) and model.unscored_[1].startswith("constant")
    np.testing.assert_allclose(model.predict(X)[:, 1], 7.0)


# -- what is handed over ----------------------------------------------------------------------------------------------


def recording(n_stimuli: int = 80, n_repetitions: int = 2):
    rng = np.random.default_rng(0)
    ids = [f"s{number}" for number in range(n_stimuli)]
    layers = {
        "early": Latents(rng.standard_normal((n_stimuli, 3, 2)), ids, space="toy/early"),
        "late": Latents(rng.standard_normal((n_stimuli, 5)), ids[::-1], space="toy/late"),
    }
    clean = layers["late"].at(ids) @ rng.standard_normal((5, 7))
    table = pd.DataFrame({"stimulus_id": np.tile(ids, n_repetitions)})
    responses = np.tile(clean, (n_repetitions, 1)) + rng.standard_normal((n_stimuli * n_repetitions, 7))
    return layers, Trials(responses, table)


def test_latents_of_several_spaces_are_joined_with_trials_by_stimulus():
    layers, trials = recording()
    train, test = split(trials, test_size=0.25)
    model = BandedRidge().fit(layers, train)
    assert (model.band_weights_[1] > 0.8).all()
    scores = model.score_units(layers, test, n_permutations=100)
    assert np.nanmean(scores.r) > 0.7 and (scores.q < 0.05).all()
    assert model.score(layers, test) == pytest.approx(np.nanmean(scores.r2))
    by_hand = {name: layers[name].at(layers["early"].ids).reshape(80, -1) for name in layers}
    np.testing.assert_allclose(model.predict(layers), model.predict(by_hand), atol=1e-6)
    np.testing.assert_allclose(model.predict(dict(reversed(layers.items()))), model.predict(layers))
    with pytest.raises(LeakageError, match="in both train and test"):
        model.score_units(layers, train)
    with pytest.raises(DataError, match="other bands than those fitted on"):
        model.predict({"early": layers["early"]})
    few = {"early": layers["early"], "late": layers["late"].select(layers["late"].ids[:40])}
    with pytest.raises(DataError, match="stimulus_id without latents"):
        BandedRidge().fit(few, train)


def test_dict_list_and_matrix_are_the_same_problem():
    X, Y = problem(50, (6, 4))
    parts = [X[:, :6], X[:, 6:]]
    models = [
        BandedRidge().fit(dict(zip("ab", parts, strict=True)), Y),
        BandedRidge().fit(parts, Y),
        BandedRidge(bands=[6, 4]).fit(X, Y),
        BandedRidge(bands={"a": 6, "b": 4}).fit(X.tolist(), Y),
    ]
    for model in models:
        np.testing.assert_array_equal(model.coef_, models[0].coef_)
        np.testing.assert_array_equal(model.predict(X), models[0].predict({"b": parts[1], "a": parts[0]}))
    assert models[0].band_slices_ == (slice(0, 6), slice(6, 10)) and models[1].band_names_ == ("band0", "band1")
    assert BandedRidge(bands=[6, 4]).fit(X, Y[:, 0]).predict(X).shape == (50,)


def test_bands_add_up_to_the_prediction():
    X, Y = problem(50, (6, 4))
    model = BandedRidge(bands=[6, 4]).fit(X, Y)
    np.testing.assert_allclose(model.predict_bands(X).sum(axis=0), model.predict(X), atol=1e-10)


def test_bad_input_is_refused():
    X, Y = problem(40, (6, 4))
    a, b = X[:, :6], X[:, 6:]
    refusals = {
        r"bands without features: \['b'\]": (BandedRidge(), {"a": a, "b": b[:, :0]}),
        "bands differ in samples": (BandedRidge(), {"a": a, "b": b[:-1]}),
        "there are no bands": (BandedRidge(), {}),
        "X contains NaN or infinity": (BandedRidge(), {"a": a, "b": np.where(b > 3, np.nan, b)}),
        "X and Y differ in samples": (BandedRidge(), {"a": a[1:], "b": b[1:]}),
        "not a numeric design": (BandedRidge(), {"a": a, "b": b[:, 0]}),
        "bands do not cover the features": (BandedRidge(bands=[6, 3]), X),
        "bands without features": (BandedRidge(bands=11), X),
        "band weights are chosen by folds": (BandedRidge(cv="loo"), X),
        "alphas must be positive": (BandedRidge([1.0, 0.0]), X),
        "no scoring 'mse'": (BandedRidge(scoring="mse"), X),
        "no search 'grid'": (BandedRidge(search="grid"), X),
        "gradient is that of the squared error": (BandedRidge(search="gradient", scoring="correlation"), X),
        "candidates are needed": (BandedRidge(n_iter=0), X),
        "candidate weights do not fit": (BandedRidge(bands=2, n_iter=[[0.5, 0.2, 0.3]]), X),
        r"(?s)candidate weights do not fit.*\[-0.5, 1.5\]": (BandedRidge(bands=2, n_iter=[[-0.5, 1.5]]), X),
        "is too small to score": (BandedRidge(cv=40), X),
        "cannot make these folds": (BandedRidge(cv=41), X),
    }
    for message, (model, given) in refusals.items():
        with pytest.raises(DataError, match=message):
            model.fit(given, Y)
    with pytest.raises(DataError, match="Y contains NaN"):
        BandedRidge().fit({"a": a, "b": b}, np.where(Y > 5, np.inf, Y))
    layers, trials = recording()
    for X_mixed, y in [(layers, trials.matrix()), ({"a": np.ones((160, 2))}, trials)]:
        with pytest.raises(DataError, match="pairs Latents with Trials"):
            BandedRidge().fit(X_mixed, y)
    with pytest.raises(DataError, match="bands are of different kinds"):
        BandedRidge().fit({"a": layers["early"], "b": np.ones((160, 2))}, trials)
    model = BandedRidge().fit({"a": a, "b": b}, Y)
    with pytest.raises(DataError, match="bands have other features"):
        model.predict({"a": X[:, :5], "b": X[:, 5:]})


def test_constant_features_and_targets():
    X, Y = problem(60, (5, 5))
    X[:, 5:] = 2.0
    Y[:, 2] = -1.0
    for form in FORMS:
        plan = planned(form, X, slices((5, 5)), list(KFold(5).split(X)))
        choice = plan.search(Y, np.array([[0.0, 1.0], [0.5, 0.5]]))
        assert np.isfinite(np.delete(choice.by_candidate, 2, axis=1)).all()
        np.testing.assert_array_equal(choice.weights[0, np.arange(6) != 2], 0.5)
    model = BandedRidge(bands=2).fit(X, Y)
    assert np.isnan(model.cv_scores_[2]) and list(model.unscored_) == [2]
    np.testing.assert_allclose(model.predict(X)[:, 2], -1.0)


def test_repetitions_stay_together():
    """Responses fixed per stimulus but unrelated to its features: only a leak can predict them."""
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(40)]
    layers = {name: Latents(rng.standard_normal((40, 60)), ids, space=name) for name in "ab"}
    rows = rng.permutation(np.repeat(np.arange(40), 3))
    responses = rng.standard_normal((40, 8))[rows] + 0.1 * rng.standard_normal((120, 8))
    trials = Trials(responses, pd.DataFrame({"stimulus_id": [ids[row] for row in rows]}))
    assert BandedRidge().fit(layers, trials).cv_scores_.mean() < 0.05
    naive = BandedRidge().fit({name: one.at(trials.stimulus_ids) for name, one in layers.items()}, trials.matrix())
    assert naive.cv_scores_.mean() > 0.7


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alphas", [ALPHAS, [1e-9, 1e-8]], ids=["alphas", "vanishing alphas"])
@pytest.mark.parametrize("form", FORMS)
def test_a_weight_of_two_is_the_row_twice_and_of_zero_none(form, alphas, fit_intercept, dtype):
    X, Y = problem(48, (20, 30) if form is KernelForm else (6, 5))
    if dtype == "float32" and alphas is not ALPHAS:
        pytest.skip("interpolation of noise is not for float32")
    counts = np.random.default_rng(0).integers(0, 3, len(X))
    twice = np.repeat(np.arange(len(X)), counts)
    folds = list(KFold(4).split(X))
    repeated = [tuple(np.flatnonzero(np.isin(twice, rows)) for rows in fold) for fold in folds]
    bands, weights = slices((20, 30) if form is KernelForm else (6, 5)), draw_weights(2, 5)
    X, Y = X.astype(dtype), Y.astype(dtype)
    options = {"centred": fit_intercept, "dtype": dtype}
    weighted, plain = (
        BandedPlan(problem, form.of(problem), np.asarray(alphas))
        for problem in (
            BandedProblem(X, bands, folds, sample_weight=counts.astype(float), **options),
            BandedProblem(X[twice], bands, repeated, **options),
        )
    )
    tolerance = {"float64": 1e-6 if alphas is not ALPHAS else 1e-9, "float32": 5e-4}[dtype]
    for scoring in ("r2", "correlation"):
        one, two = weighted.search(Y, weights, scoring=scoring), plain.search(Y[twice], weights, scoring=scoring)
        np.testing.assert_allclose(one.by_candidate, two.by_candidate, atol=tolerance)
    coef = weighted.refit(Y, two.weights, two.alphas), plain.refit(Y[twice], two.weights, two.alphas)
    np.testing.assert_allclose(*coef, atol=10 * tolerance)


@pytest.mark.parametrize("shape", [(60, (5, 7)), (40, (30, 40))])
def test_the_estimator_and_its_gradient_take_sample_weights(shape):
    X, Y = problem(*shape)
    counts = np.random.default_rng(1).integers(1, 3, len(X))
    twice = np.repeat(np.arange(len(X)), counts)
    folds = list(KFold(4).split(X))
    repeated = [tuple(np.flatnonzero(np.isin(twice, rows)) for rows in fold) for fold in folds]
    options = {"bands": list(shape[1]), "n_iter": 6}
    weighted = BandedRidge(ALPHAS, folds, **options).fit(X, Y, sample_weight=counts)
    plain = BandedRidge(ALPHAS, repeated, **options).fit(X[twice], Y[twice])
    np.testing.assert_allclose(weighted.cv_scores_, plain.cv_scores_, atol=1e-9)
    np.testing.assert_allclose(weighted.predict(X), plain.predict(X), atol=1e-8)
    bands = slices(shape[1])
    fine = plan_gradient(BandedProblem(X, bands, folds, sample_weight=counts.astype(float)))
    alike = plan_gradient(BandedProblem(X[twice], bands, repeated))
    delta, root = np.log(weighted.band_weights_ + 0.1), np.sqrt(counts)[:, None]
    about = Y - np.average(Y, axis=0, weights=counts)
    for one, two in zip(
        fine.loss_and_gradient(root * about, delta), alike.loss_and_gradient(about[twice], delta), strict=True
    ):
        np.testing.assert_allclose(one, two, atol=1e-4)
    refined = BandedRidge(ALPHAS, folds, search="gradient", n_steps=3, **options).fit(X, Y, sample_weight=counts)
    assert (refined.cv_scores_ >= weighted.cv_scores_ - 1e-9).all()
    unit = BandedRidge(ALPHAS, folds, **options).fit(X, Y, sample_weight=2.0)
    heavier = BandedRidge(2 * ALPHAS, folds, **options).fit(X, Y, sample_weight=np.full(len(X), 4.0))
    np.testing.assert_allclose(unit.coef_, heavier.coef_, atol=1e-9)
    with pytest.raises(DataError, match="sample_weight must be"):
        BandedRidge(ALPHAS, folds, **options).fit(X, Y, sample_weight=-np.ones(len(X)))
