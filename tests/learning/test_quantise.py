"""Vector quantisation and masks against closed forms and loops (checks 12)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from brainalign.errors import DataError
from brainalign.learning.masking import random_mask, symmetric_masked_loss
from brainalign.learning.quantise import VectorQuantiser, perplexity


def started(n_codes: int = 5, width: int = 3) -> tuple[VectorQuantiser, torch.Tensor]:
    torch.manual_seed(0)
    layer, x = VectorQuantiser(n_codes, width, decay=0.9), torch.randn(4, 10, width)
    layer(x)
    return layer, x


def test_the_gradient_passes_straight_through():
    layer, x = started()
    layer.eval()
    decoder = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2))
    x.requires_grad_()
    made = layer(x)
    decoder(made.values).square().sum().backward()
    codes = layer.codes[made.index].clone().requires_grad_()
    decoder(codes).square().sum().backward()
    torch.testing.assert_close(x.grad, codes.grad)
    x.grad = None
    layer(x).commitment.sum().backward()  # d/dx mean((x - e)^2) = 2 (x - e) / width
    torch.testing.assert_close(x.grad, 2 * (x - layer.codes[made.index]).detach() / 3)


def test_codes_follow_moving_averages_as_in_a_loop():
    layer, _ = started()
    counts, sums = layer.counts.double().numpy().copy(), layer.sums.double().numpy().copy()
    for step in range(4):
        x = torch.randn(4, 10, 3, generator=torch.Generator().manual_seed(step))
        codes = layer.codes.double().numpy().copy()
        index = layer(x).index.numpy()
        new_counts, new_sums = np.zeros(5), np.zeros((5, 3))
        for vector, number in zip(x.double().numpy().reshape(-1, 3), index.ravel(), strict=True):
            assert number == np.square(codes - vector).sum(axis=1).argmin()
            new_counts[number] += 1
            new_sums[number] += vector
        counts, sums = 0.9 * counts + 0.1 * new_counts, 0.9 * sums + 0.1 * new_sums
        np.testing.assert_allclose(layer.codes.numpy(), sums / counts[:, None], atol=1e-5)


def test_codes_find_the_means_of_a_mixture_and_rest_in_evaluation():
    torch.manual_seed(1)
    centres = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 5.0]])
    layer = VectorQuantiser(3, 2, decay=0.8)
    for _ in range(40):
        layer(centres[torch.randint(3, (200,))] + 0.3 * torch.randn(200, 2))
    nearest = torch.cdist(centres, layer.codes).argmin(dim=1)
    assert sorted(nearest.tolist()) == [0, 1, 2]
    torch.testing.assert_close(layer.codes[nearest], centres, atol=0.08, rtol=0)
    before = layer.codes.clone()
    index = layer.eval()(torch.randn(50, 2)).index
    assert torch.equal(layer.codes, before)
    assert 1 <= perplexity(index, 3) <= 3
    assert perplexity(torch.zeros(9, dtype=torch.long), 3) == 1


def test_an_unused_code_stays_and_few_vectors_start_many_codes():
    torch.manual_seed(0)
    layer = VectorQuantiser(8, 2, decay=0.5)
    layer(torch.randn(3, 2))
    for _ in range(100):  # counts of codes that nobody chooses underflow
        layer(torch.ones(4, 2))
    assert torch.isfinite(layer.codes).all()


def test_idle_codes_begin_again_where_vectors_are():
    torch.manual_seed(0)
    still, lively = (VectorQuantiser(4, 2, decay=0.5, revive=revive) for revive in (0.0, 0.1))
    for layer in (still, lively):
        layer(torch.randn(40, 2))
        for _ in range(30):
            layer(torch.randn(40, 2) + 50)
    assert len(still(torch.randn(400, 2) + 50).index.unique()) == 1
    assert len(lively(torch.randn(400, 2) + 50).index.unique()) == 4


def test_symmetric_masks_hide_every_token_once():
    mask = random_mask(50, 7, 0.4)
    assert (mask.sum(dim=1) == 3).all() and (mask.float().mean(dim=0) > 0.15).all()
    asked = []

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        asked.append(hidden)
        made = torch.zeros(50, 7, 3)
        made[..., 0] = torch.where(hidden, 2.0, 50.0)  # tokens that are seen would be predicted for nothing
        return made

    loss = symmetric_masked_loss(logits, torch.zeros(50, 7, dtype=torch.long), mask)
    assert torch.equal(asked[0].int() + asked[1].int(), torch.ones(50, 7, dtype=torch.int))
    one = functional.cross_entropy(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0]))
    torch.testing.assert_close(loss, one.expand(50))


def test_bad_options_are_refused():
    for work in (lambda: VectorQuantiser(0, 3), lambda: VectorQuantiser(3, 3, decay=1.0)):
        with pytest.raises(DataError, match="no codebook"):
            work()
    for n_tokens, share in ((1, 0.5), (4, 0.0), (4, 1.0)):
        with pytest.raises(DataError, match="hides some tokens"):
            random_mask(2, n_tokens, share)
