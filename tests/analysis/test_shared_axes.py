"""Axes that were planted to be shared are found, private ones are not, and a shuffled copy has none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from brainalign.analysis import shared_axes
from brainalign.analysis.rsa import rdm
from brainalign.errors import DataError
from brainalign.latents.base import Latents


def spaces(n: int = 40) -> dict[str, Latents]:
    """Axis 0 is shared; axis 1 is strong in either modality, each in its own way."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(n)
    made = {}
    for name in ("eeg", "fmri", "meg"):
        values = rng.standard_normal((n, 5))
        values[:, 0] = 4 * common + values[:, 0]
        values[:, 1] *= 2
        made[name] = Latents(values, [f"s{row}" for row in range(n)], space="u")
    return made


def test_the_shared_axis_is_found_and_the_private_one_is_not():
    given = spaces()
    result = shared_axes(given, n_axes=5, n_permutations=300)
    assert abs(result.axes[0, 0]) > 0.98 and abs(result.axes[1, 1]) > 0.9
    assert result.table.loc[0, "r"] > 0.8 and result.table.loc[0, "q"] < 0.05 < result.table.loc[1:, "q"].min()
    assert result.table["variance_share"].sum() == pytest.approx(1)
    assert len(result.geometry) == 3 and (result.geometry["p"] < 0.05).all() and result.n == 40
    order = np.random.default_rng(1).permutation(40)  # joined by id
    mixed = {**given, "meg": given["meg"].select([f"s{row}" for row in order])}
    np.testing.assert_allclose(shared_axes(mixed, n_axes=5, n_permutations=9).table["r"], result.table["r"])


def test_the_geometry_is_the_rank_correlation_of_distances():
    given = spaces()
    centred = {name: one.values - one.values.mean(axis=0) for name, one in given.items()}
    by_hand = spearmanr(rdm(centred["eeg"]), rdm(centred["fmri"]))[0]
    assert shared_axes(given, n_permutations=9).geometry.loc[0, "rho"] == pytest.approx(by_hand)


def test_a_shuffled_copy_shares_nothing():
    given = spaces()
    shuffled = Latents(np.roll(given["fmri"].values, 11, axis=0), given["fmri"].ids, space="u")
    result = shared_axes({"eeg": given["eeg"], "fmri": shuffled}, n_axes=5, n_permutations=300)
    assert result.table["q"].min() > 0.05 and result.geometry["p"].iloc[0] > 0.05


def test_bad_input_is_refused():
    given = spaces()
    narrow = Latents(given["meg"].values[:, :3], given["meg"].ids, space="u")
    strangers = Latents(given["meg"].values, [f"x{row}" for row in range(40)], space="u")
    with pytest.raises(DataError, match="different width"):
        shared_axes({"eeg": given["eeg"], "meg": narrow})
    with pytest.raises(DataError, match="too few stimuli"):
        shared_axes({"eeg": given["eeg"], "meg": strangers})
    with pytest.raises(DataError, match="compared with each other"):
        shared_axes({"eeg": given["eeg"]})
