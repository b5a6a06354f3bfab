"""One hook mechanism for every torch module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from brainalign.errors import DataError
from brainalign.latents import activations


class Small(nn.Module):
    """Convolution, in-place ReLU used twice, a tuple output, and a part that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 5, 3)
        self.dropout = nn.Dropout(0.9)
        self.attention = nn.MultiheadAttention(5, 1, batch_first=True)
        self.idle = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.first(x))
        x = self.dropout(self.relu(self.second(x)))
        tokens = x.flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens)[0]


@pytest.fixture
def model() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_equal_to_a_forward_by_hand_also_before_an_in_place_relu(model: Small, batch: torch.Tensor) -> None:
    found = activations(model, batch, ["first", "relu", "attention"])
    with torch.no_grad():
        first = model.first(batch)
        second = model.second(first.relu()).relu()
        tokens = second.flatten(2).transpose(1, 2)
        attended = model.attention(tokens, tokens, tokens)[0]
    assert list(found) == ["first", "relu", "attention"]
    assert (found["first"] < 0).any(), "an in-place ReLU behind the layer must not reach into what was kept"
    torch.testing.assert_close(found["first"], first)
    torch.testing.assert_close(found["relu"], second)  # the last of its two outputs
    torch.testing.assert_close(found["attention"], attended)


def test_pooling(model: Small, batch: torch.Tensor) -> None:
    plain = activations(model, batch, ["first", "attention"])
    mean = activations(model, batch, ["first", "attention"], pool="mean")
    torch.testing.assert_close(mean["first"], plain["first"].mean((2, 3)))
    torch.testing.assert_close(mean["attention"], plain["attention"].mean(1))
    flat = activations(model, batch, "first", pool="flatten")["first"]
    torch.testing.assert_close(flat, plain["first"].reshape(2, -1))
    token = activations(model, batch, "attention", pool="cls")["attention"]
    torch.testing.assert_close(token, plain["attention"][:, 0])
    own = activations(model, batch, "first", pool=lambda x: x.amax((2, 3)))["first"]
    torch.testing.assert_close(own, plain["first"].amax((2, 3)))
    with pytest.raises(DataError, match=r"no class token"):
        activations(model, batch, "first", pool="cls")
    with pytest.raises(DataError, match=r"Did you mean 'mean'"):
        activations(model, batch, "first", pool="means")


def test_globs_and_unknown_layers(model: Small, batch: torch.Tensor) -> None:
    assert set(activations(model, batch, ["*"])) == {"first", "relu", "second", "dropout", "attention"}
    assert list(activations(model, batch, ["s*", "first"])) == ["second", "first"]
    with pytest.raises(DataError, match=r"unknown layer 'frist'.*Did you mean 'first'"):
        activations(model, batch, ["frist"])
    with pytest.raises(DataError, match=r"gave out no tensor.*idle"):
        activations(model, batch, ["first", "idle"])


def test_hooks_are_gone_and_training_flags_are_back(model: Small, batch: torch.Tensor) -> None:
    model.train()
    model.second.eval()
    first = activations(model, batch, "dropout")["dropout"]
    torch.testing.assert_close(first, activations(model, batch, "dropout")["dropout"])  # dropout was off
    with pytest.raises(RuntimeError):
        activations(model, torch.zeros(2, 7, 8, 8), "first")
    assert model.training and model.dropout.training and not model.second.training
    assert not any(part._forward_hooks for part in model.modules())


def test_a_class_inside_dataparallel_keeps_its_names(model: Small, batch: torch.Tensor) -> None:
    wrapped = nn.DataParallel(model)
    torch.testing.assert_close(
        activations(wrapped, batch, "module.first")["module.first"], activations(model, batch, "first")["first"]
    )


def test_other_inputs_by_forward(model: Small, batch: torch.Tensor) -> None:
    named = activations(model, {"x": batch}, "first", forward=lambda inputs: model(**inputs))
    torch.testing.assert_close(named["first"], activations(model, batch, "first")["first"])
