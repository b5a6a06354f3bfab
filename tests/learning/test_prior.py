"""The prior: its sampler against closed forms, and a trained one against a known Gaussian posterior."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainalign.errors import DataError
from brainalign.learning import TrainOptions, seeded, train
from brainalign.learning.prior import DiffusionPrior, levels, sample_latents


def small(**options):
    with seeded(0):
        return DiffusionPrior(2, 8, depth=2, n_heads=2, **options).eval()


@pytest.mark.parametrize("n_steps", [20, 60])
def test_the_sampler_draws_from_a_gaussian_whose_best_denoiser_is_known(n_steps):
    mean, variance = torch.tensor([1.5, -0.5]), torch.tensor([0.5, 2.0])

    def denoise(noised, time):
        signal, spread = (one[:, None] for one in levels(time))
        gain = signal * variance / (signal**2 * variance + spread**2)
        return mean + gain * (noised - signal * mean)

    drawn = sample_latents(denoise, torch.randn(20000, 2, generator=torch.Generator().manual_seed(0)), n_steps)
    np.testing.assert_allclose(drawn.mean(dim=0), mean, atol=0.04)
    np.testing.assert_allclose(drawn.var(dim=0), variance, rtol=0.08 if n_steps == 20 else 0.04)


def test_it_recovers_a_linear_gaussian_posterior():
    """Latents z ~ N(0, 1), condition c = z + e with e ~ N(0, 1): the posterior is N(c / 2, 1 / 2)."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 1, 4)).astype(np.float32)
    noisy = (z + rng.standard_normal(z.shape)).astype(np.float32)
    with seeded(0):
        prior = DiffusionPrior(1, 16, depth=2, n_heads=2, drop_condition=0.1)
        inward, outward = torch.nn.Linear(4, 16), torch.nn.Linear(4, 16)
    with torch.no_grad():  # four numbers in sixteen channels, so that the transformer has room; orthonormal
        basis = torch.linalg.qr(torch.randn(16, 4, generator=torch.Generator().manual_seed(1)))[0]
        inward.weight.copy_(basis), outward.weight.copy_(basis), inward.bias.zero_(), outward.bias.zero_()
    data = {"z": (torch.from_numpy(z) @ basis.T).numpy(), "c": (torch.from_numpy(noisy) @ basis.T).numpy()}
    options = TrainOptions(n_epochs=18, batch_size=128, learning_rate=3e-3, weight_decay=0.0, schedule="one_cycle")
    train(prior, lambda model, batch: model.loss(batch["z"], batch["c"]).mean(), data, options)
    point = torch.tensor([1.0, -1.0, 0.5, 0.0])
    condition = (point @ basis.T).expand(400, 1, 16)
    drawn = (prior.sample(condition, 20, seed=range(400)) @ basis)[:, 0]
    np.testing.assert_allclose(drawn.mean(dim=0), point / 2, atol=0.2)
    np.testing.assert_allclose(drawn.var(dim=0), 0.5, atol=0.2)
    free = (prior.sample(condition, 20, guidance=0.0, seed=range(400)) @ basis)[:, 0]
    np.testing.assert_allclose(free.mean(dim=0), 0.0, atol=0.25)
    assert free.var(dim=0).mean() > 1.2 * drawn.var(dim=0).mean()


def test_a_sample_does_not_depend_on_its_batch():
    prior, condition = small(), torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0))
    together = prior.sample(condition, 5, guidance=2.0, seed=[3, 1, 4, 1, 5])
    for row, seed in enumerate([3, 1, 4, 1, 5]):
        torch.testing.assert_close(prior.sample(condition[row : row + 1], 5, guidance=2.0, seed=seed)[0], together[row])
    assert not torch.allclose(prior.sample(condition, 5, seed=0), prior.sample(condition, 5, seed=1))


def test_guidance_extrapolates_and_dropped_conditions_are_not_seen():
    prior = small(drop_condition=1.0)
    clean = torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(0))
    losses = []
    for condition in (torch.zeros(4, 2, 8), torch.full((4, 2, 8), 9.0)):
        losses.append(prior.loss(clean, condition, torch.Generator().manual_seed(1)))
    assert torch.equal(*losses)
    losses = [small(drop_condition=0.0).loss(clean, one, torch.Generator().manual_seed(1)) for one in (clean, -clean)]
    assert not torch.allclose(*losses)


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="at least one step"):
        small().sample(torch.zeros(1, 2, 8), 0)
    with pytest.raises(DataError, match="one for each item"):
        small().sample(torch.zeros(2, 2, 8), 2, seed=[1])
