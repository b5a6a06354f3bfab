"""The streaming softmax projection and the streaming search, beside the plain formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis.captions import nearest, project_to_manifold
from brainalign.errors import DataError
from brainalign.latents.base import Latents


def dense(weights, bank, beta):
    bank, weights = bank.astype(np.float64), weights.astype(np.float64)
    length = np.linalg.norm(bank, axis=1)
    unit = bank / length[:, None]
    logits = beta * (weights / np.linalg.norm(weights, axis=1, keepdims=True)) @ unit.T
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    direction = share @ unit
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * (share @ length)[:, None]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    bank = (rng.standard_normal((501, 48)) + 0.5) * rng.uniform(0.5, 20, (501, 1))
    return rng.standard_normal((70, 48)), bank


@pytest.mark.parametrize("block", [1, 7, 64, 500, 5000])
@pytest.mark.parametrize("beta", [0.0, 20.0, 150.0, 5000.0])
def test_streaming_equals_dense(data, block, beta):
    weights, bank = data
    found = project_to_manifold(weights, bank, beta=beta, block=block)
    expected = dense(weights, bank, beta)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max() * max(1, beta / 150)


def test_tiles_of_voxels_change_nothing(data, monkeypatch):
    weights, bank = data
    whole = project_to_manifold(weights, bank)
    monkeypatch.setitem(project_to_manifold.__globals__, "tile_rows", lambda n_columns, device: 3)
    assert np.allclose(project_to_manifold(weights, bank), whole, atol=1e-5)


def test_mapped_shards_are_one_bank(data, tmp_path):
    weights, bank = data
    parts = []
    for number, part in enumerate(np.array_split(bank.astype(np.float16), 3)):
        np.save(tmp_path / f"{number}.npy", part)
        parts.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    whole = project_to_manifold(weights, bank.astype(np.float16))
    assert np.allclose(project_to_manifold(weights, parts, block=10), whole, atol=1e-4)


def test_length_and_scale_of_the_weights_do_not_matter(data):
    weights, bank = data
    scaled = weights * np.random.default_rng(1).uniform(0.1, 10, (70, 1))
    assert np.allclose(project_to_manifold(scaled, bank), project_to_manifold(weights, bank), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("block", [1, 13, 4096])
def test_nearest_equals_a_full_sort(data, block, cosine):
    weights, bank = data
    bank = np.concatenate([bank, bank[:20]])  # ties go to the earlier entry
    sides = weights, bank
    if cosine:
        sides = tuple(one / np.linalg.norm(one, axis=1, keepdims=True) for one in sides)
    products = sides[0] @ sides[1].T
    rows, found = nearest(weights, bank, k=5, cosine=cosine, block=block)
    expected = np.argsort(-products, axis=1, kind="stable")[:, :5]
    assert np.allclose(found, np.take_along_axis(products, expected, 1), rtol=1e-4)
    assert (rows == expected).mean() > 0.99
    assert not (rows >= 501).all(1).any()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w, b: (np.where(np.eye(70, 48) > 0, np.nan, w), b), "NaN"),
        (lambda w, b: (w * 0, b), "point nowhere"),
        (lambda w, b: (w[:, :-1], b), "does not fit"),
        (lambda w, b: (w, b * 0), "no direction"),
        (lambda w, b: (w, np.where(np.arange(501)[:, None] == 400, np.inf, b)), "no direction"),
        (lambda w, b: (w, b[:0]), "empty"),
        (lambda w, b: (w, [Latents(b[:2], "ab", space="x"), Latents(b[2:4], "bc", space="x")]), "must be unique"),
    ],
)
def test_what_has_no_direction_is_refused(data, change, message):
    weights, bank = change(*data)
    with pytest.raises(DataError, match=message):
        project_to_manifold(weights, bank)


def test_options_out_of_range(data):
    weights, bank = data
    with pytest.raises(DataError, match="sharpness"):
        project_to_manifold(weights, bank, beta=-1)
    with pytest.raises(DataError, match="k nearest"):
        nearest(weights, bank, k=502)
