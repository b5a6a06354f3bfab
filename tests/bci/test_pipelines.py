"""The named pipelines: built without the recording's facts or with them, cloneable, and blind to the unit of X."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from brainalign.bci import PIPELINES, build_pipeline, pipeline_names
from brainalign.errors import DataError

FACTS = {"sfreq": 100.0, "frequencies": [10.0, 23.0]}
SMALL = {"acm_grid": {"orders": [1, 2], "lags": [2]}}
NETWORKS = ("eegnet", "shallow_convnet")
CLASSICAL = [name for name in PIPELINES if name not in NETWORKS]


@pytest.fixture(scope="module")
def trials() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(36) % 2
    X = rng.standard_normal((36, 7, 150))
    X[y == 1, 0] += np.sin(2 * np.pi * 23 * np.arange(150) / 100)
    X[y == 0, 1] += np.sin(2 * np.pi * 10 * np.arange(150) / 100)
    return X, y


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.filterwarnings("error::FutureWarning")
def test_every_pipeline_learns_and_does_not_mind_the_unit(trials, name):
    pytest.importorskip("pyriemann")
    X, y = trials
    model = build_pipeline(name, **FACTS, **SMALL.get(name, {}))
    volts, microvolts = (clone(model).fit(scale * X[:24], y[:24]) for scale in (1e-6, 1.0))
    first, second = volts.predict(1e-6 * X[24:]), microvolts.predict(X[24:])
    np.testing.assert_array_equal(first, second)
    assert (first == y[24:]).mean() > 0.8
    scores = getattr(volts, "decision_function", None) or volts.predict_proba
    assert np.isfinite(scores(1e-6 * X[24:])).all()


@pytest.mark.parametrize("name", CLASSICAL)
def test_average_reference_gives_no_nan(trials, name):
    """A lost rank is regularised (shrinkage, common subspace), by every pipeline of the set."""
    pytest.importorskip("pyriemann")
    X, y = trials
    X = X - X.mean(axis=1, keepdims=True)
    model = build_pipeline(name, **FACTS, **SMALL.get(name, {})).fit(X[:24], y[:24])
    scores = getattr(model, "decision_function", None) or model.predict_proba
    assert np.isfinite(scores(X[24:])).all() and (model.predict(X[24:]) == y[24:]).mean() > 0.8


def test_names_and_needs():
    assert sum(len(pipeline_names(one)) for one in ("imagery", "p300", "ssvep")) == len(PIPELINES)
    assert all(recipe.about for recipe in PIPELINES.values())
    assert build_pipeline("acm_mdm", order=3, lag=2, sfreq=1.0).steps[0][1].order == 3
    with pytest.raises(DataError, match="Did you mean"):
        build_pipeline("ts_lx")
    with pytest.raises(DataError, match="sfreq and frequencies"):
        build_pipeline("cca_lda")
    with pytest.raises(DataError, match="paradigm"):
        pipeline_names("sleep")


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_built_by_name(name):
    model = clone(build_pipeline(name, sfreq=100.0, training={"n_epochs": 3}, seed=2))
    assert model.training == {"n_epochs": 3} and model.seed == 2 and model.network in ("eegnet", "shallow")
