"""Losses that compare samples: cutting the batch, by wish or for want of memory, changes nothing but rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainalign.learning import Batch, TrainOptions, WholeBatchLoss, train
from brainalign.learning.losses import bimixco, info_nce, mix
from tests.learning.test_trainer import data, net, weights


class Contrast(WholeBatchLoss):
    """BiMixCo and a loss by sample."""

    n_fitting = 1000

    def prepare(self, batch):
        mixed = mix(batch["x"])
        made = Batch(batch, x=mixed.x, partner=mixed.partner, weight=mixed.weight)
        made.rows, made.progress = batch.rows, batch.progress
        return made

    def outputs(self, model, batch):
        if len(batch["x"]) > self.n_fitting:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        made = model(batch["x"])
        return {"made": made, "error": (made - batch["y"]).square().mean(dim=1), "unused": made.detach()}

    def compare(self, outputs, batch):
        contrast = bimixco(outputs["made"], batch["y"], batch["partner"], batch["weight"], 0.1)
        return {"loss": contrast + outputs["error"].mean(), "contrast": contrast}


OPTIONS = {"n_epochs": 4, "batch_size": 20}


def test_parts_give_the_gradient_of_the_whole():
    whole, parts = net(), net()
    first = train(whole, Contrast(), data(), TrainOptions(**OPTIONS), validation=data(seed=1))
    second = train(parts, Contrast(), data(), TrainOptions(**OPTIONS, accumulate=7), validation=data(seed=1))
    np.testing.assert_allclose(weights(parts), weights(whole), atol=1e-5)
    assert np.abs(weights(whole) - weights(net())).max() > 1e-3
    for name in ("loss", "contrast", "validation_loss"):
        assert second.history[-1][name] == pytest.approx(first.history[-1][name], rel=1e-4)


def test_a_contrast_within_parts_would_not_be_the_same():
    def plain(model, batch):
        return info_nce(model(batch["x"]), batch["y"], 0.1)

    whole, parts = net(), net()
    train(whole, plain, data(), TrainOptions(**OPTIONS))
    train(parts, plain, data(), TrainOptions(**OPTIONS, accumulate=4))
    assert np.abs(weights(parts) - weights(whole)).max() > 1e-3


def test_out_of_memory_halves_the_batch_and_keeps_the_result():
    plain, short, scarce = net(), net(), Contrast()
    scarce.n_fitting = 6
    train(plain, Contrast(), data(), TrainOptions(**OPTIONS), validation=data(seed=1))
    with pytest.warns(UserWarning, match="out of memory: batches go in"):
        made = train(short, scarce, data(), TrainOptions(**OPTIONS), validation=data(seed=1))
    assert made.accumulate == 4
    np.testing.assert_allclose(weights(short), weights(plain), atol=1e-5)


def test_dropout_draws_the_same_in_both_passes():
    """The gradient that is pulled back belongs to the outputs that were compared."""
    seen: list[torch.Tensor] = []

    class Watched(Contrast):
        def outputs(self, model, batch):
            made = super().outputs(model, batch)
            seen.append(made["made"].detach())
            return made

    train(net(dropout=0.5), Watched(), data(20), TrainOptions(n_epochs=1, batch_size=20, accumulate=2))
    assert len(seen) == 4 and torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])
