"""Gradient guidance beside closed forms: noised Gaussians, of which everything is known."""

from __future__ import annotations

import pytest
import torch

from brainalign.analysis.synthesis import GaussianMixture, Guided
from brainalign.analysis.synthesis.guidance import guided_noise, sample_guided, tiled_decode, time_steps
from brainalign.errors import DataError

SHAPE = (3, 2, 2)
N = 12


@pytest.fixture(scope="module")
def mixture():
    chance = torch.Generator().manual_seed(0)
    means = torch.randn(3, *SHAPE, generator=chance, dtype=torch.float64)
    variances = 0.2 + torch.rand(3, *SHAPE, generator=chance, dtype=torch.float64)
    return GaussianMixture(means, variances, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))


@pytest.fixture(scope="module")
def one_gaussian():
    chance = torch.Generator().manual_seed(1)
    mean = 0.3 * torch.randn(1, *SHAPE, generator=chance, dtype=torch.float64)
    return GaussianMixture(mean, 0.3 + torch.rand(1, *SHAPE, generator=chance, dtype=torch.float64))


@pytest.fixture(scope="module")
def weights():
    return torch.randn(*SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def linear(weights):
    return lambda pictures: (pictures * weights.to(pictures)).sum((1, 2, 3))


def posterior(mixture, x, t):
    """Mean and covariance of the clean picture given the noisy one, by Bayes' rule on each component."""
    a = float(mixture.alphas_cumprod[t])
    x, m, v = x.flatten(), mixture.means.flatten(1), mixture.variances.flatten(1)
    spread = a * v + 1 - a
    normal = torch.distributions.Normal(a**0.5 * m, spread.sqrt())
    share = (normal.log_prob(x).sum(1) + mixture.log_weights).softmax(0)
    own = m + a**0.5 * v / spread * (x - a**0.5 * m)
    mean = share @ own
    inside = torch.diag(share @ (v * (1 - a) / spread))
    return mean, inside + (own - mean).T @ (share[:, None] * (own - mean))


@pytest.mark.parametrize("t", [20, 300, 700, 950])
@pytest.mark.parametrize("blend", [True, False])
@pytest.mark.parametrize("through", [True, False])
def test_gradient_has_its_closed_form(mixture, weights, t, blend, through):
    x = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
    options = Guided(scale=7.0, blend=blend, through_network=through)
    found, values = guided_noise(mixture, x, t, None, linear(weights), options)
    a = float(mixture.alphas_cumprod[t])
    for row in range(4):
        mean, covariance = posterior(mixture, x[row], t)
        noise = (x[row].flatten() - a**0.5 * mean) / (1 - a) ** 0.5
        # Tweedie: the guess of the clean picture changes with x as sqrt(a) / (1 - a) times the posterior covariance.
        slope = a**0.5 / (1 - a) * covariance if through else torch.eye(N, dtype=torch.float64) / a**0.5
        rest = (1 - a) ** 0.5 if blend else 1.0
        w = weights.flatten()
        gradient = rest * slope @ w + (1 - rest) * w
        expected = noise - (1 - a) ** 0.5 * 7.0 * gradient
        assert torch.allclose(found[row].flatten(), expected, atol=1e-9)
        assert float(values[row]) == pytest.approx(float(w @ (rest * mean + (1 - rest) * x[row].flatten())), abs=1e-9)


@pytest.mark.parametrize("solver, steps", [("ddim", 250), ("dpm++", 60)])
@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.5])
def test_led_samples_have_the_tilted_mean(one_gaussian, weights, solver, steps, scale):
    """N(m, v) tilted by exp(scale w x) is N(m + scale v w, v)."""
    noise = torch.randn(800, *SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    noise = (noise - noise.mean(0)) / noise.std(0)
    options = Guided(scale=scale, steps=steps, solver=solver, blend=False)
    mean, variance = one_gaussian.means[0], one_gaussian.variances[0]
    expected = mean + scale * variance * weights
    a = one_gaussian.alphas_cumprod[-1]  # the schedule ends before all signal is gone: start from what is left of it
    start = a.sqrt() * expected + (a * variance + 1 - a).sqrt() * noise
    pictures, values = sample_guided(one_gaussian, linear(weights), start, options)
    assert (pictures.double().mean(0) - expected).abs().max() < 0.01
    assert (pictures.double().var(0) / variance - 1).abs().max() < 0.05
    assert torch.allclose(values.double(), linear(weights)(pictures.double()), atol=1e-4)


def test_the_mixture_itself_is_sampled(mixture):
    chance = torch.Generator().manual_seed(4)
    share = mixture.log_weights.exp()
    which = torch.multinomial(share, 1500, replacement=True, generator=chance)
    clean, noise = torch.randn(2, 1500, *SHAPE, generator=chance, dtype=torch.float64)
    clean = mixture.means[which] + mixture.variances[which].sqrt() * clean
    a = mixture.alphas_cumprod[-1]
    start = a.sqrt() * clean + (1 - a).sqrt() * noise
    pictures, _ = sample_guided(mixture, lambda p: p.sum((1, 2, 3)), start, Guided(scale=0.0, steps=40))
    mean = torch.einsum("k,kchw->chw", share, mixture.means)
    variance = torch.einsum("k,kchw->chw", share, mixture.variances + mixture.means**2) - mean**2
    assert (pictures.double().mean(0) - mean).abs().max() < 0.15
    assert (pictures.double().var(0) / variance - 1).abs().max() < 0.15


def test_score_rises_with_the_scale_and_falls_when_turned(mixture, weights):
    noise = torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    score = linear(weights)
    values = [float(sample_guided(mixture, score, noise, Guided(scale=s, steps=15))[1].mean()) for s in (-2, 0, 1, 4)]
    assert values == sorted(values) and values[-1] > values[1] + 1


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_solvers_are_those_of_diffusers(mixture, solver):
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    plan = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "trailing"}
    scheduler = (
        DDIMScheduler(**plan, clip_sample=False)
        if solver == "ddim"
        else DPMSolverMultistepScheduler(**plan, algorithm_type="dpmsolver++")
    )
    scheduler.set_timesteps(20)
    assert scheduler.timesteps.tolist() == time_steps(mixture.alphas_cumprod, 20)
    start = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(6))
    x = start
    for t in scheduler.timesteps:
        x = scheduler.step(mixture.denoise(x, t, None), t, x).prev_sample
    own, _ = sample_guided(mixture, lambda p: p.sum((1, 2, 3)), start, Guided(scale=0.0, steps=20, solver=solver))
    assert torch.allclose(own, x, atol=2e-3)


def test_checkpoints_change_nothing(mixture, weights):
    x = torch.randn(3, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    plain = guided_noise(mixture, x, 400, None, linear(weights), Guided())[0]
    again = guided_noise(mixture, x, 400, None, linear(weights), Guided(checkpoint=True))[0]
    assert torch.equal(plain, again)


@pytest.mark.parametrize("tile", [4, 7, 16, 40])
def test_tiles_of_a_pointwise_decoder_are_the_whole(tile):
    def decode(z):
        return torch.tanh(z).repeat_interleave(2, -1).repeat_interleave(2, -2)

    z = torch.randn(2, 3, 16, 12, dtype=torch.float64, requires_grad=True)
    whole, tiled = decode(z), tiled_decode(decode, z, tile)
    assert torch.allclose(whole, tiled, atol=1e-6)
    gradients = [torch.autograd.grad((one**2).sum(), z)[0] for one in (whole, tiled)]
    assert torch.allclose(*gradients, atol=1e-5)


def test_no_lead_below_its_share_of_signal(mixture, weights):
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    free = mixture.denoise(x, 900, None)
    assert torch.equal(guided_noise(mixture, x, 900, None, linear(weights), Guided(lead_from=0.2))[0], free)
    assert not torch.equal(guided_noise(mixture, x, 100, None, linear(weights), Guided(lead_from=0.2))[0], free)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale": float("nan")}, "cannot be done"),
        ({"steps": 0}, "cannot be done"),
        ({"tile": 2}, "cannot be done"),
        ({"solver": "euler"}, "unknown solver"),
        ({"precision": "int8"}, "unknown precision"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(DataError, match=message):
        Guided(**options)


def test_more_steps_than_the_schedule(mixture):
    with pytest.raises(DataError, match="more steps"):
        time_steps(mixture.alphas_cumprod, 2000)
    with pytest.raises(DataError, match="positive variances"):
        GaussianMixture(torch.zeros(1, 1, 1, 1), torch.zeros(1))
