"""The shared grid search against scikit-learn's GridSearchCV over pyriemann's steps, refitting everything."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from brainalign.bci import (
    AugmentedCovariance,
    AugmentedSVC,
    augmented_covariances,
    nested_search,
    riemannian_mean,
)
from brainalign.bci.augmented import common_subspace
from brainalign.bci.search import _carried
from brainalign.errors import DataError


@pytest.fixture(scope="module")
def trials() -> tuple[np.ndarray, np.ndarray]:
    """Two classes that differ in what a channel owes to itself two samples ago, and little in power."""
    rng = np.random.default_rng(0)
    y = np.tile(["left", "right"], 30)
    X = rng.standard_normal((60, 4, 150))
    X[y == "right", 0, 2:] += 0.35 * X[y == "right", 0, :-2]
    return X, y


GRID = {"orders": (1, 2, 3), "lags": (1, 2), "C": (0.5, 1.5)}


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc"])
def test_equals_a_grid_search_that_fits_every_cell_anew(trials, scoring):
    tangent = pytest.importorskip("pyriemann.tangentspace").TangentSpace
    X, y = trials
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    ours = AugmentedSVC(**GRID, retain=None, tolerance=1e-9, scoring=scoring).fit(X, y)
    pipeline = Pipeline([("acm", AugmentedCovariance()), ("ts", tangent(metric="riemann")), ("svc", SVC())])
    grid = {
        "acm__order": GRID["orders"],
        "acm__lag": GRID["lags"],
        "svc__C": GRID["C"],
        "svc__kernel": ["linear", "rbf"],
    }
    peer = GridSearchCV(pipeline, grid, cv=folds, scoring=scoring).fit(X, y)
    theirs = {
        (one["acm__order"], one["acm__lag"], one["svc__C"], one["svc__kernel"]): score
        for one, score in zip(peer.cv_results_["params"], peer.cv_results_["mean_test_score"])
    }
    for row in ours.cv_results_.itertuples():
        assert row.score == pytest.approx(theirs[row.order, row.lag, row.C, row.kernel], abs=1e-9)
    assert len(ours.cv_results_) == (1 + 2 * 2) * 4
    assert ours.cv_results_["score"].max() == pytest.approx(peer.best_score_, abs=1e-9)


def test_the_planted_delay_is_chosen_and_noise_is_not_learnt(trials):
    X, y = trials
    model = AugmentedSVC(**GRID).fit(X[:40], y[:40])
    assert model.best_params_["order"] > 1
    reached = model.best_params_["lag"] * (model.best_params_["order"] - 1)
    assert reached >= 2 and (model.predict(X[40:]) == y[40:]).mean() > 0.8
    shuffled = np.random.default_rng(1).permutation(y)
    assert (AugmentedSVC(**GRID).fit(X[:40], shuffled[:40]).predict(X[40:]) == shuffled[40:]).mean() < 0.8


def test_nested_search_is_a_fit_on_each_outer_fold(trials):
    X, y = trials
    model = AugmentedSVC(**GRID)
    models = nested_search(model, X, y, cv=3)
    assert sorted(np.concatenate([one.test_rows_ for one in models]).tolist()) == list(range(60))
    for one in models:
        kept = np.setdiff1d(np.arange(60), one.test_rows_)
        alone = clone(model).fit(X[kept], y[kept])
        assert one.best_params_ == alone.best_params_ and one.cv_results_.equals(alone.cv_results_)
        np.testing.assert_allclose(one.decision_function(X), alone.decision_function(X), atol=1e-9)


def test_subspaces_of_folds_may_differ_in_size(trials):
    """A mean is carried over to a subspace with a direction more, and leads to the same as a start anew."""
    X, _ = trials
    C = augmented_covariances(X, 3, 1)
    old, new = (common_subspace(C[rows], retain) for rows, retain in ((slice(0, 40), 0.9), (slice(20, 60), 0.97)))
    assert old.shape[1] < new.shape[1]
    here = new.T @ C[20:] @ new
    start = _carried(old, riemannian_mean(old.T @ C[:40] @ old), new, here.mean(axis=0))
    np.testing.assert_allclose(riemannian_mean(here, start=start), riemannian_mean(here), rtol=1e-5, atol=1e-8)


@pytest.mark.slow
def test_more_workers_change_nothing(trials):
    X, y = trials
    one, two = (AugmentedSVC(**GRID, n_jobs=n).fit(X, y) for n in (1, 2))
    assert one.cv_results_.equals(two.cv_results_) and one.best_params_ == two.best_params_


def test_a_loose_mean_chooses_the_same(trials):
    X, y = trials
    loose, sharp = (AugmentedSVC(**GRID, tolerance=one).fit(X, y) for one in (1e-3, 1e-9))
    assert loose.best_params_ == sharp.best_params_
    np.testing.assert_allclose(loose.cv_results_["score"], sharp.cv_results_["score"], atol=0.04)


@pytest.mark.parametrize(
    "params", [{"scoring": "f1"}, {"kernels": ["poly"]}, {"orders": []}, {"orders": [60]}, {"cv": 40}]
)
def test_bad_settings_are_refused(trials, params):
    with pytest.raises(ValueError):
        AugmentedSVC(**(GRID | params)).fit(*trials)


def test_bad_labels_are_refused(trials):
    X, _ = trials
    with pytest.raises(DataError, match="classes"):
        AugmentedSVC(**GRID).fit(X, np.zeros(60))
    with pytest.raises(DataError, match="two classes"):
        AugmentedSVC(**GRID, scoring="roc_auc").fit(X, np.arange(60) % 3)
