"""The scikit-learn contract for estimators of trials in three axes, which scikit-learn's own checks cannot feed."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from brainalign.bci import build_pipeline, pipeline_names
from brainalign.errors import DataError
from tests.bci.test_pipelines import FACTS, SMALL

pytest.importorskip("pyriemann")
NETS = {"eegnet", "shallow_convnet"}
NAMES = [name for name in pipeline_names() if name not in NETS]


def trials(dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Two flickers in noise, which every pipeline can tell apart; labels are text."""
    rng = np.random.default_rng(0)
    y = np.tile(FACTS["frequencies"][:2], 12)
    wave = np.sin(2 * np.pi * y[:, None] * np.arange(120) / FACTS["sfreq"])
    mixed = wave[:, None, :] * np.where(y[:, None] == y[0], [1.0, 0.4, 0, 0, 0], [0, 0, 0, 0.4, 1.0])[:, :, None]
    return (3 * mixed + rng.standard_normal((24, 5, 120))).astype(dtype), np.array([f"{one:g} Hz" for one in y])


def built(name: str) -> Any:
    """A small one of two classes."""
    return build_pipeline(name, **FACTS, **SMALL.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
def test_pipelines_keep_the_contract(name):
    X, y = trials()
    X.flags.writeable = y.flags.writeable = False
    model = built(name)
    asked = repr(model.get_params())
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert model.fit(X, y) is model
    assert repr(model.get_params()) == asked
    assert model.classes_.tolist() == sorted(set(y))
    said = model.predict(X)
    assert said.shape == y.shape and set(said) <= set(y) and model.score(X, y) > 0.7
    # One trial alone, another order, a copy from another process, a second fit: the same answers.
    assert model.predict(X[3:4])[0] == said[3]
    np.testing.assert_array_equal(model.predict(X[::-1]), said[::-1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), said)
    again = clone(model)
    np.testing.assert_array_equal(again.fit(X[:20, :4, :110], y[:20]).fit(X, y).predict(X), said)
    np.testing.assert_array_equal(clone(model).fit(X.astype(np.float32), y).predict(X.astype(np.float32)), said)


@pytest.mark.parametrize("name", NAMES)
def test_pipelines_refuse_what_does_not_fit(name):
    X, y = trials()
    model = built(name).fit(X, y)
    if name != "cca":  # learns nothing of the channels
        with pytest.raises(DataError, match=r"channels|shape|size"):
            model.predict(X[:, :4])
    with pytest.raises(ValueError, match=r"each (trial|matrix)|numbers? of samples|length"):
        built(name).fit(X, y[:-1])
    with pytest.raises(DataError, match="n_trials"):
        built(name).fit(X[0], y)
    with pytest.raises(DataError, match="trial"):
        model.predict(X[:0])
