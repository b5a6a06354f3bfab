"""Settings chosen inside the training trials: the right ones, by runs, without a look at what is scored."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from brainalign.analysis.decoding import ChosenClassifier, decode
from brainalign.analysis.decoding.chosen import EpochShape
from brainalign.analysis.decoding.inputs import network_classifier, signal_classifier
from brainalign.errors import DataError

CANDIDATES = {"fine": {"classifier": "lda"}, "coarse": {"classifier": "lda", "bins": 8}}


def evoked(n=96, *, size=0.5, seed=0):
    """Four runs of epochs, in which the second class has a slow wave."""
    rng = np.random.default_rng(seed)
    y, X = np.tile(["face", "house"], n // 2), rng.standard_normal((n, 3, 32))
    X[y == "house"] += size * np.sin(np.linspace(0, np.pi, 32))
    return X, y, np.repeat(range(4), n // 4)


def test_the_better_candidate_is_chosen_and_fitted_to_all_training_trials():
    X, y, runs = evoked()
    made = network_classifier("chosen", {"candidates": CANDIDATES}).fit(X[:72], y[:72], runs[:72])
    assert made.votes_ == {"coarse": 1} and made.scores_["coarse"] > made.scores_["fine"] > 0.5
    alone = signal_classifier("lda", bins=8).fit(X[:72], y[:72])
    np.testing.assert_array_equal(made.predict(X[72:]), alone.predict(X[72:]))
    np.testing.assert_allclose(made.decision_function(X) * made.scales_["coarse"], alone.decision_function(X))
    assert repr(clone(made)) == repr(made)


def test_choices_of_a_fold_do_not_depend_on_the_trials_it_scores():
    X, y, runs = evoked()
    estimator = network_classifier("chosen", {"candidates": CANDIDATES, "votes": 3})
    found = decode(X, y, by=runs, estimator=estimator, with_auc=True)
    assert found.auc.low > 0.5 and len(found.choices) == 4
    changed = X.copy()
    changed[runs == 0] *= -3
    again = decode(changed, y, by=runs, estimator=estimator)
    assert again.choices[0] == found.choices[0] and again.choices[1] != found.choices[1]
    noise = decode(evoked(size=0.0)[0], y, by=runs, estimator=estimator, with_auc=True)
    assert noise.auc.low < 0.5 < noise.auc.high


class Watching(ClassifierMixin, BaseEstimator):
    """Reads off the run of each epoch, and refuses to be scored on one that it was fitted on."""

    def fit(self, X, y):
        self.classes_, self.runs_ = np.unique(y), set(X[:, 0, 0])
        return self

    def decision_function(self, X):
        assert not self.runs_ & set(X[:, 0, 0])
        return X[:, 1, 0]


def test_inner_folds_keep_runs_together():
    X, y, runs = evoked()
    X[:, 0, 0] = runs
    ChosenClassifier({"one": Watching()}).fit(X, y, runs)
    with pytest.raises(AssertionError):
        ChosenClassifier({"one": Watching()}).fit(X, y, np.arange(96) // 2 % 3)


def test_candidates_that_see_different_things_vote_together():
    rng = np.random.default_rng(1)
    y, X = np.tile([0, 1], 60), rng.standard_normal((120, 3, 4))
    X[y == 1, :2, 1] += 1.0

    def only(channel):
        return make_pipeline(FunctionTransformer(lambda x: x[:, channel]), LinearDiscriminantAnalysis())

    candidates = {"first": only(0), "second": only(1), "noise": only(2)}
    both = ChosenClassifier(candidates, votes=6).fit(X[:80], y[:80])
    assert {"first", "second"} <= set(both.votes_) and both.votes_.get("noise", 0) <= 1
    alone = ChosenClassifier(candidates).fit(X[:80], y[:80])
    assert both.score(X[80:], y[80:]) > alone.score(X[80:], y[80:])


def test_artefacts_are_cut_by_the_range_of_training_trials():
    X, _, _ = evoked(40)
    X = X * np.array([1.0, 100.0, 1e-6])[:, None]
    shape = EpochShape(clip=4.0, bins=5, flat=False).fit(X)
    wild = X.copy()
    wild[0, 1, 3] = 1e9
    np.testing.assert_allclose(shape.spread_[:, 0], X.std(axis=(0, 2)), rtol=0.15)
    assert shape.transform(wild).shape == (40, 3, 6) and np.abs(shape.transform(wild)[:, 1]).max() < 420
    np.testing.assert_allclose(EpochShape(flat=False).fit_transform(X), X)
    np.testing.assert_allclose(EpochShape(start=4, stop=9, flat=False).fit_transform(X), X[:, :, 4:9])
    sloped = X + np.linspace(-50, 70, 32) * np.array([1.0, 100.0, 1e-6])[:, None]
    level = EpochShape(detrend=True)
    np.testing.assert_allclose(level.fit_transform(sloped), level.fit_transform(X), atol=1e-10)


@pytest.mark.parametrize(
    "params, rows, message",
    [
        ({"candidates": {}}, slice(None), "one candidate or more"),
        ({"candidates": CANDIDATES, "votes": 0}, slice(None), "votes >= 1"),
        ({"candidates": CANDIDATES}, slice(0, None, 2), "1 classes"),
        ({"candidates": CANDIDATES, "n_splits": 9}, slice(0, 20), "too rare"),
        ({"candidates": {"a": {"classifier": "lad"}}}, slice(None), "Did you mean 'lda'"),
        ({"candidates": {"a": {"classifier": "lda", "bin": 3}}}, slice(None), "Did you mean 'bins'"),
        ({"candidates": CANDIDATES, "vots": 1}, slice(None), "other params"),
        ({"candidates": {"a": {"classifier": "lda", "bins": 33}}}, slice(None), "0 <= start < stop <= 32"),
    ],
)
def test_bad_choices_are_refused(params, rows, message):
    X, y, _ = evoked()
    with pytest.raises(DataError, match=message):
        network_classifier("chosen", params).fit(X[rows], y[rows])


def test_other_channels_are_refused():
    X, y, _ = evoked()
    with pytest.raises(DataError, match="other channels"):
        network_classifier("chosen", {"candidates": CANDIDATES}).fit(X, y).predict(X[:, :2])
