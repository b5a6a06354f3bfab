"""Networks for signals: the shapes and parameter counts that are published, and the classifier made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from brainalign.errors import DataError
from brainalign.learning import NeuralClassifier
from brainalign.learning.networks import (
    ChannelTransformer,
    EEGNetwork,
    RecurrentNetwork,
    ResidualHead,
    ShallowNetwork,
    TSConvNetwork,
)


def count(*modules: nn.Module) -> int:
    return sum(one.numel() for module in modules for one in module.parameters())


def test_published_sizes():
    network = TSConvNetwork(63, 250)
    assert network(torch.zeros(2, 63, 250)).unflatten(1, (40, 36)).shape == (2, 40, 36) and count(network) == 103_680
    assert round(count(ResidualHead(1440, 768)) / 1e6, 2) == 1.70
    assert round(count(ResidualHead(1440, 1024)) / 1e6, 2) == 2.53
    for n_channels, n_times, n_out, published in ((22, 1000, 4, 3_444), (63, 250, 1024, 117_824)):
        network = EEGNetwork(n_channels, n_times)
        assert count(network, nn.Linear(network.width, n_out)) == published
    network = ShallowNetwork(22, 1000)
    assert count(network, nn.Linear(network.width, 4)) == 46_084


@pytest.mark.parametrize("make", [TSConvNetwork, EEGNetwork, RecurrentNetwork, ShallowNetwork])
def test_features_are_as_many_as_promised(make):
    for n_times in (100, 133, 250):
        network = make(5, n_times).eval()
        assert network(torch.zeros(3, 5, n_times)).shape == (3, network.width)
    with pytest.raises(DataError, match="too short"):
        make(5, 2)


def test_channel_transformer_knows_no_order_of_channels():
    torch.manual_seed(0)
    network, x, token = ChannelTransformer(5, 16).eval(), torch.randn(2, 5, 16), torch.randn(2, 16)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(network(x, token)[:, order], network(x[:, order], token))
    assert (network(x, token) - network(x, 0 * token)).abs().max() > 1e-4


def test_spatial_filters_of_eegnet_have_at_most_length_one():
    network = EEGNetwork(6, 100).eval()
    x = torch.randn(2, 6, 100)
    with torch.no_grad():
        network.spatial.weight *= 100
        before = network(x)
        network.spatial.weight *= 10
    torch.testing.assert_close(network(x), before)


def two_classes(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.tile(["left", "right"], n // 2)
    X = rng.standard_normal((n, 4, 64)) * np.array([1, 10, 1e-6, 1])[:, None]
    X[labels == "right", 2] += 3e-6 * np.sin(np.arange(64) / 3)
    return X, labels


def test_classifier_keeps_the_contract_of_scikit_learn():
    X, labels = two_classes()
    model = NeuralClassifier("tsconv", {"pool": 9}, training={"n_epochs": 15})
    assert repr(clone(model)) == repr(model)
    before = X.copy()
    model.fit(X[:40], labels[:40])
    np.testing.assert_array_equal(X, before)
    assert model.classes_.tolist() == ["left", "right"] and model.score(X[40:], labels[40:]) > 0.8
    chance, logits = model.predict_proba(X), model.decision_function(X)
    np.testing.assert_allclose(chance[:, 1], 1 / (1 + np.exp(-logits)), atol=1e-12)
    np.testing.assert_array_equal(logits, clone(model).fit(X[:40], labels[:40]).decision_function(X))
    three = NeuralClassifier("tsconv", {"pool": 9}, training={"n_epochs": 2}).fit(X, np.arange(60) % 3)
    assert three.decision_function(X).shape == (60, 3)


def test_classifier_chooses_its_epoch_on_the_last_trials():
    X, labels = two_classes()
    options = {"n_epochs": 6, "patience": 5}
    model = NeuralClassifier("shallow", {"pool": 15}, validation=0.25, training=options).fit(X, labels)
    assert "validation_loss" in model.history_[0]
    other = X.copy()
    other[-14:] *= 2  # the held trials leave the scales alone
    again = NeuralClassifier("shallow", {"pool": 15}, validation=0.25, training=options).fit(other, labels)
    np.testing.assert_array_equal(model.scale_, again.scale_)


def test_classifier_refuses_what_it_cannot_take():
    X, labels = two_classes(20)
    model = NeuralClassifier("eegnet", {"kernel": 16}, training={"n_epochs": 1}).fit(X, labels)
    for bad in (X[:, :3], X[..., :50]):
        with pytest.raises(DataError, match="other channels or times"):
            model.predict(bad)
    for bad in (X[0], X[..., :0], X * np.nan):
        with pytest.raises(DataError):
            NeuralClassifier().fit(bad, labels)
    with pytest.raises(DataError, match="two classes"):
        NeuralClassifier().fit(X, np.zeros(20))
    with pytest.raises(DataError, match="Did you mean 'eegnet'"):
        NeuralClassifier("eegnt").fit(X, labels)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_forward_recurrent_network_knows_nothing_of_what_comes_later(bidirectional):
    torch.manual_seed(0)
    network, x = RecurrentNetwork(3, 40, n_units=4, bidirectional=bidirectional).eval(), torch.randn(2, 3, 40)
    later = x.clone()
    later[:, :, 20:] += 1
    before, after = network.states(x)[:, :5], network.states(later)[:, :5]
    assert torch.equal(before, after) is not bidirectional
    assert network.width == (8 if bidirectional else 4) and network(x).shape == (2, network.width)
