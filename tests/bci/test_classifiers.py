"""MDM, FgMDM and tangent space against pyriemann; noise is at chance; labels and matrices are checked."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from brainalign.bci import MDM, FgMDM, TangentSpace, from_tangent, riemannian_mean, tangent_vectors
from brainalign.errors import DataError


def matrices(n_classes: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Covariances whose class shows in the power of one channel, and labels of text."""
    rng = np.random.default_rng(seed)
    y = np.arange(60) % n_classes
    X = rng.standard_normal((60, 5, 40))
    X[np.arange(60), y] *= 1.5
    return X @ X.swapaxes(1, 2) / 40, np.array(["left", "right", "feet"])[y]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_mdm_equals_pyriemann(n_classes):
    peer = pytest.importorskip("pyriemann.classification")
    C, y = matrices(n_classes)
    ours, theirs = MDM(tolerance=1e-9).fit(C[:40], y[:40]), peer.MDM().fit(C[:40], y[:40])
    np.testing.assert_allclose(ours.transform(C[40:]), theirs.transform(C[40:]), atol=1e-7)
    np.testing.assert_allclose(ours.predict_proba(C[40:]), theirs.predict_proba(C[40:]), atol=1e-7)
    np.testing.assert_array_equal(ours.predict(C[40:]), theirs.predict(C[40:]))


def test_fgmdm_equals_pyriemann():
    peer = pytest.importorskip("pyriemann.classification")
    C, y = matrices(2)
    ours, theirs = FgMDM(tolerance=1e-9).fit(C[:40], y[:40]), peer.FgMDM().fit(C[:40], y[:40])
    np.testing.assert_allclose(ours.transform(C[40:]), theirs.transform(C[40:]), atol=1e-6)
    np.testing.assert_array_equal(ours.predict(C[40:]), theirs.predict(C[40:]))


def test_fgmdm_keeps_one_direction_less_than_classes():
    C, y = matrices(3)
    model = FgMDM().fit(C, y)
    assert model.projection_.shape == (2, 15)
    np.testing.assert_allclose(model.projection_ @ model.projection_.T, np.eye(2), atol=1e-10)


def test_vectors_and_matrices_are_each_others_inverse():
    C, _ = matrices(2)
    reference = riemannian_mean(C[:7])
    np.testing.assert_allclose(from_tangent(tangent_vectors(C, reference), reference), C, atol=1e-10)
    with pytest.raises(DataError, match="fit the reference"):
        from_tangent(np.zeros((2, 14)), reference)


@pytest.mark.parametrize("model", [MDM(), FgMDM(), make_pipeline(TangentSpace(), LogisticRegression())])
def test_finds_what_is_planted_and_nothing_in_shuffled_labels(model):
    C, y = matrices(2, seed=1)
    assert cross_val_score(model, C, y, cv=5).mean() > 0.85
    rng = np.random.default_rng(0)
    noise = [cross_val_score(model, C, rng.permutation(y), cv=5).mean() for _ in range(8)]
    assert abs(np.mean(noise) - 0.5) < 0.12
    fitted = clone(model).fit(C, y)
    np.testing.assert_allclose(fitted.predict_proba(C[3:4]), fitted.predict_proba(C)[3:4])


@pytest.mark.parametrize("model", [MDM(), FgMDM()])
def test_bad_input_is_refused(model):
    C, y = matrices(2)
    with pytest.raises(DataError, match="two classes"):
        clone(model).fit(C, np.zeros(60))
    with pytest.raises(DataError, match="label"):
        clone(model).fit(C, y[:5])
    singular = C.copy()
    singular[3] = np.diag([1.0, 1, 1, 1, -1])
    with pytest.raises(DataError, match="not positive definite"):
        clone(model).fit(singular, y)
    with pytest.raises(DataError, match="not positive definite"):
        clone(model).fit(C, y).predict(singular)
    with pytest.raises(DataError, match="not finite"):
        clone(model).fit(C, y).predict(np.full_like(C, np.nan))
