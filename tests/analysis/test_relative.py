"""Relative representations: invariances, zero-shot stitching of turned spaces, and none of shuffled ones."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis.relative import ANCHOR_POLICIES, choose_anchors, stitch, to_anchors
from brainalign.errors import DataError
from brainalign.latents.base import Latents

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 6))
TURNED = 3 * X @ np.linalg.qr(RNG.normal(size=(6, 6)))[0]
IDS = [f"s{i}" for i in range(80)]


def test_rotation_scale_and_with_centring_shift_change_nothing() -> None:
    anchors = np.arange(12)
    np.testing.assert_allclose(
        to_anchors(X, anchors, centre=False), to_anchors(TURNED, anchors, centre=False), atol=1e-12
    )
    np.testing.assert_allclose(to_anchors(X, anchors), to_anchors(TURNED + 5, anchors), atol=1e-12)
    assert np.abs(to_anchors(X, anchors, centre=False) - to_anchors(X + 5, anchors, centre=False)).max() > 0.5


@pytest.mark.parametrize("policy", ANCHOR_POLICIES)
def test_turned_spaces_are_stitched_by_id_and_shuffled_ones_are_not(policy) -> None:
    order = RNG.permutation(80)
    one = Latents(X, IDS, space="one")
    other = Latents((TURNED + 5)[order], [IDS[i] for i in order], space="other")
    anchors = choose_anchors(one, 20, policy=policy)
    assert len(set(anchors)) == 20
    assert stitch(one, other, anchors).value == pytest.approx(1.0)
    wrong = Latents(TURNED[order], IDS, space="wrong")
    assert stitch(one, wrong, anchors).value < 0.15


def test_farthest_anchors_cover_better_than_random_ones() -> None:
    gap = lambda rows: np.linalg.norm(X[:, None] - X[rows], axis=2).min(axis=1).max()  # noqa: E731
    assert gap(choose_anchors(X, 15, policy="farthest")) < np.mean(
        [gap(choose_anchors(X, 15, seed=s)) for s in range(9)]
    )


def test_bad_input_is_refused() -> None:
    for anchors, message in (([0, 0], "each once"), ([0, 99], "rows of X"), (np.ones((3, 2)), "another space")):
        with pytest.raises(DataError, match=message):
            to_anchors(X, anchors)
    with pytest.raises(DataError, match="no anchor policy"):
        choose_anchors(X, 5, policy="best")
    with pytest.raises(DataError, match="2 to 80"):
        choose_anchors(X, 81)
