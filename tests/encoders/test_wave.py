"""WAVE: what each network carries, imagery with its p, subjects never seen, and causality."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainalign.analysis import ablate, decode_imagery
from brainalign.encoders import WAVE, load_encoder
from brainalign.errors import DataError
from brainalign.learning.networks import ParcelSequence
from brainalign.scoring import retrieval
from brainalign.trials import Trials
from tests.encoders.planted_parcels import latents, watched

SMALL = {
    "sizes": {"width": 32, "depth": 1, "n_heads": 2, "dropout": 0.0},
    "training": {"n_epochs": 25, "batch_size": 32, "learning_rate": 5e-3},
    "unseen": "shared",
}
EVERYTHING = latents(160)


@pytest.fixture(scope="module")
def fitted() -> WAVE:
    return WAVE(**SMALL).fit({"1": watched(0, 120), "2": watched(0, 120, subject="2")}, EVERYTHING)


def test_networks_carry_what_was_planted(fitted, tmp_path):
    test = watched(120, 160)
    predicted = fitted.predict(test)
    for name, chance in (("image", 1 / 40), ("text", 1 / 40)):
        truth = EVERYTHING[name].select(list(test.stimulus_ids))
        assert retrieval(predicted[name], truth).value > 6 * chance
    # A head alone is ablated through a function of the trials.
    tables = {
        name: ablate(lambda one, name=name: fitted.predict(one)[name], test, EVERYTHING[name]).table
        for name in predicted
    }
    assert tables["image"]["share"].idxmax() == "Vis" and tables["text"]["share"].idxmax() == "Default"
    assert tables["image"].loc["Vis", "share_low"] > 0.3 > tables["image"].loc["SomMot", "share_high"]
    both = ablate(fitted, test, EVERYTHING, mode="mean")
    assert both.table.loc[["Vis", "Default"], "low"].min() > 0
    fitted.save(tmp_path / "wave")
    again = load_encoder(tmp_path / "wave").predict(test)
    np.testing.assert_array_equal(again["text"].values, predicted["text"].values)


def test_imagery_and_subjects_never_seen(fitted):
    imagined = watched(130, 142, subject="3", gain=0.6)
    result = decode_imagery(fitted, imagined, EVERYTHING, target="image", n_permutations=300)
    assert result.score.value > 0.7 and result.p_value < 0.01
    mixed = Trials(np.roll(imagined.responses, 5, axis=0), imagined.trials, imagined.units, times=imagined.times)
    assert decode_imagery(fitted, mixed, EVERYTHING, target="image", n_permutations=300).p_value > 0.05


def test_a_volume_sees_those_before_it_alone():
    torch.manual_seed(0)
    network = ParcelSequence(6, 5, width=8, n_heads=2, parcel_dropout=0.5, shuffle=1.0).eval()
    x = torch.randn(3, 6, 5)
    changed = x.clone()
    changed[:, :, 3:] = torch.randn(3, 6, 2)
    torch.testing.assert_close(network.tokens(x)[:, :3], network.tokens(changed)[:, :3])
    assert (network.tokens(x)[:, 3:] - network.tokens(changed)[:, 3:]).abs().max() > 0.1
    network.train()
    network.places.data.zero_()
    network.blocks = torch.nn.Identity()
    network.parcel_dropout = 0.0
    volumes, shuffled = network.norm(network.inward(x.transpose(1, 2))), network.tokens(x)
    assert not torch.allclose(volumes, shuffled)
    torch.testing.assert_close(volumes.sum(dim=1), shuffled.sum(dim=1))  # the same volumes in another order


def test_bad_input_is_refused(fitted):
    with pytest.raises(DataError, match="no transformer"):
        WAVE({"width": 10, "n_heads": 4}).fit(watched(0, 20), EVERYTHING)
    with pytest.raises(DataError, match="unknown size"):
        WAVE({"widht": 8}).fit(watched(0, 20), EVERYTHING)
    with pytest.raises(DataError, match="other units or times"):
        fitted.predict(watched(120, 140).select(units=np.arange(20)))
    with pytest.raises(DataError, match="not fitted on subject"):
        WAVE(**SMALL | {"unseen": "refuse", "training": {"n_epochs": 1}}).fit(watched(0, 20), EVERYTHING).predict(
            watched(120, 140, subject="9")
        )
