"""Inverses and solutions of positive definite matrices against numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.voxelwise.spd import factorise, invert, shifted, solve


def matrix(n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, n + 5))
    return X @ X.T + np.eye(n)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("n", [1, 7, 64, 65, 131, 640])
def test_as_numpy_inverts_and_solves(n, kind):
    a = matrix(n)
    b = np.random.default_rng(0).standard_normal((n, 3))
    convert = np.array if kind == "numpy" else pytest.importorskip("torch").tensor
    inverse = np.asarray(invert(convert(a)))
    np.testing.assert_allclose(inverse, np.linalg.inv(a), atol=1e-8)
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-9)
    moved = shifted(convert(a), 2.0, "float64")
    expected = np.linalg.solve(a + 2.0 * np.eye(n), b)
    np.testing.assert_allclose(np.asarray(solve(factorise(moved), convert(b))), expected, atol=1e-9)


def test_input_stays_and_what_is_not_definite_is_refused():
    a = matrix(300)
    before = a.copy()
    invert(a)
    shifted(a, 1.0, "float32")
    np.testing.assert_array_equal(a, before)
    for bad in (-np.eye(3), -matrix(300)):
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            invert(bad)
