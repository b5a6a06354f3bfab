"""Losses against brute-force loops, fixed points of the mixing permutation included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainalign.errors import DataError
from brainalign.learning.losses import (
    bimixco,
    cosine_loss,
    diffusion_loss,
    info_nce,
    mix,
    mse,
    noised,
    soft_clip,
    soft_contrastive,
)


def pair(n: int = 7, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 4, generator=generator), torch.randn(n, 3, 4, generator=generator)


def cosines(a, b):
    a, b = a.flatten(1).numpy().astype(float), b.flatten(1).numpy().astype(float)
    return np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a])


def log_share(values, picked):
    return values[picked] - np.log(sum(np.exp(one) for one in values))


def cross_entropy(logits, mass):
    """Mean over rows of -sum_j mass_ij log softmax_ij, in a loop; and the same for columns."""
    n = len(logits)
    rows = -sum(mass[i, j] * log_share(logits[i], j) for i in range(n) for j in range(n)) / n
    columns = -sum(mass[j, i] * log_share(logits[:, i], j) for i in range(n) for j in range(n)) / n
    return (rows + columns) / 2


def test_info_nce():
    a, b = pair()
    assert info_nce(a, b, 0.1).item() == pytest.approx(cross_entropy(cosines(a, b) / 0.1, np.eye(7)), rel=1e-5)


def test_labels_share_the_mass():
    a, b = pair()
    labels = torch.tensor([0, 1, 0, 2, 3, 1, 0])
    mass = (labels[:, None] == labels[None]).double().numpy()
    mass /= mass.sum(axis=1, keepdims=True)
    expected = cross_entropy(cosines(a, b) / 0.1, mass)
    assert info_nce(a, b, 0.1, labels=labels).item() == pytest.approx(expected, rel=1e-5)
    unmixed = {"partner": torch.arange(7), "weight": torch.ones(7)}
    assert bimixco(a, b, **unmixed, temperature=0.1, labels=labels).item() == pytest.approx(expected, rel=1e-5)


def test_bimixco_adds_at_fixed_points():
    a, b = pair()
    partner = torch.tensor([0, 2, 1, 3, 5, 6, 4])
    weight = torch.tensor([0.3, 0.7, 1.0, 0.2, 0.5, 0.9, 1.0])
    mass = np.zeros((7, 7))
    for i in range(7):
        mass[i, i] += weight[i]
        mass[i, partner[i]] += 1 - weight[i]
    assert mass[0, 0] == mass[3, 3] == 1.0 and np.allclose(mass.sum(axis=1), 1)
    made = bimixco(a, b, partner, weight, 0.1).item()
    assert made == pytest.approx(cross_entropy(cosines(a, b) / 0.1, mass), rel=1e-5)
    assigned = mass.copy()
    assigned[0, 0], assigned[3, 3] = 0.7, 0.8  # the published code assigns
    assert made != pytest.approx(cross_entropy(cosines(a, b) / 0.1, assigned), rel=1e-3)


def test_soft_losses():
    a, b = pair()
    view = b + 0.3 * pair(seed=1)[0]

    def expected(among, logits):
        mass = np.exp(among) / np.exp(among).sum(axis=1, keepdims=True)
        back = np.exp(among.T) / np.exp(among.T).sum(axis=1, keepdims=True)
        n = len(among)
        rows = -sum(mass[i, j] * log_share(logits[i], j) for i in range(n) for j in range(n)) / n
        columns = -sum(back[i, j] * log_share(logits[:, i], j) for i in range(n) for j in range(n)) / n
        return (rows + columns) / 2

    assert soft_clip(a, b, 0.2).item() == pytest.approx(expected(cosines(b, b) / 0.2, cosines(a, b) / 0.2), rel=1e-5)
    made = soft_contrastive(a, b, view, temperature=0.2).item()
    assert made == pytest.approx(expected(cosines(b, view) / 0.2, cosines(a, view) / 0.2), rel=1e-5)


def test_mixtures_are_what_they_say_and_the_input_stays():
    x = pair(200)[0]
    before = x.clone()
    mixed = mix(x, share=0.4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(x, before)
    for row in range(200):
        made = mixed.weight[row] * x[row] + (1 - mixed.weight[row]) * x[mixed.partner[row]]
        torch.testing.assert_close(mixed.x[row], made)
    assert sorted(mixed.partner.tolist()) == list(range(200))
    assert (mixed.weight == 1).sum() >= 120 and (mixed.weight < 1).sum() > 60
    again = mix(x, share=0.4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(again.x, mixed.x)


def test_weights_of_mixtures_follow_the_beta_distribution():
    weight = mix(torch.zeros(40000, 1), share=1.0, alpha=0.15).weight.numpy()
    assert weight.mean() == pytest.approx(0.5, abs=0.01)
    assert weight.var() == pytest.approx(1 / (4 * (2 * 0.15 + 1)), abs=0.005)


def test_only_samples_of_one_subject_are_mixed():
    subject = torch.tensor([0, 1, 2, 1, 0, 0, 1, 1] * 5)
    partner = mix(torch.zeros(40, 2), within=subject).partner
    assert sorted(partner.tolist()) == list(range(40)) and torch.equal(subject[partner], subject)
    assert (partner != torch.arange(40)).any()


def test_plain_losses():
    a, b = pair()
    np.testing.assert_allclose(mse(a, b), [((x - y) ** 2).mean() for x, y in zip(a.numpy(), b.numpy())], rtol=1e-5)
    np.testing.assert_allclose(cosine_loss(a, b), 1 - np.diag(cosines(a, b)), rtol=1e-4, atol=1e-6)


def test_diffusion_loss_of_a_denoiser_that_knows_all_but_a_known_error():
    clean, noise = pair()
    share = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.9, 0.99, 1.0])
    targets = {"epsilon": [], "v_prediction": [], "sample": []}
    for i, a in enumerate(share.tolist()):
        for place in np.ndindex(3, 4):
            x, e = clean[i][place].item(), noise[i][place].item()
            z = noised(clean, noise, share)[i][place].item()
            assert z == pytest.approx(a**0.5 * x + (1 - a) ** 0.5 * e, abs=1e-6)
            for kind, value in zip(targets, (e, a**0.5 * e - (1 - a) ** 0.5 * x, x), strict=True):
                targets[kind].append(value)
    off = torch.arange(7.0)
    for kind, values in targets.items():
        predicted = torch.tensor(values).reshape(7, 3, 4) + off[:, None, None]
        made = diffusion_loss(predicted, clean, noise, share, kind=kind)
        np.testing.assert_allclose(made, off.square(), rtol=1e-5, atol=1e-10)
    with pytest.raises(DataError, match="kind of prediction 'flow'"):
        diffusion_loss(clean, clean, noise, share, kind="flow")
