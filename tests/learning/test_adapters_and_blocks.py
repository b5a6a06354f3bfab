"""Subject adapters against separate linear layers; blocks against what they are made of."""

from __future__ import annotations

import pytest
import torch

from brainalign.errors import DataError
from brainalign.learning.adapters import SubjectAdapters
from brainalign.learning.blocks import Attention, MixerBlock, ResidualMLP, TransformerBlock, Upsampler


def adapters() -> SubjectAdapters:
    torch.manual_seed(0)
    return SubjectAdapters({"a": 5, "b": 3}, 4)


def test_each_row_goes_through_the_map_of_its_subject():
    made, x = adapters(), torch.randn(6, 5)
    subject = torch.tensor([0, 1, 1, 0, 1, 0])
    out = made(x, subject)
    for row in range(6):
        name, n = ("a", 5) if subject[row] == 0 else ("b", 3)
        torch.testing.assert_close(out[row], made.of(name)(x[row, :n]))
    out.sum().backward()
    assert all(one.grad is not None for one in made.parameters())
    x[subject == 1, 3:] = torch.nan  # what fills up is not read
    assert torch.isfinite(made(x, subject)).all()


def test_a_map_in_closed_form():
    made = adapters()
    weight, bias = torch.randn(3, 4), torch.randn(4)
    made.set_map("b", weight, bias)
    x = torch.randn(2, 3)
    torch.testing.assert_close(made(x, torch.tensor([1, 1])), x @ weight + bias)
    with pytest.raises(DataError, match="does not fit subject 'a'"):
        made.set_map("a", weight, bias)


def test_bad_subjects_are_refused():
    made = adapters()
    for work in (lambda: made.of("c"), lambda: made(torch.zeros(1, 5), torch.tensor([2]))):
        with pytest.raises(DataError, match="adapter"):
            work()
    with pytest.raises(DataError, match="fit no adapter"):
        made(torch.zeros(1, 4), torch.tensor([0]))
    with pytest.raises(DataError, match="has an adapter already"):
        made.add_subject("a", 2)


@pytest.mark.parametrize("shared", [True, False])
def test_attention_is_that_of_a_loop(shared):
    torch.manual_seed(0)
    layer, x, context = Attention(8, 2, shared=shared, context_width=5), torch.randn(1, 3, 8), torch.randn(1, 6, 5)
    queries = layer.to_query(layer.norm(x))[0]
    keys, values = layer.to_key_value(context)[0].chunk(2, dim=-1)
    heads = []
    for head in range(2):
        part = slice(0, 4) if shared else slice(4 * head, 4 * head + 4)
        weight = (queries[:, 4 * head : 4 * head + 4] @ keys[:, part].T / 2.0).softmax(dim=-1)
        heads.append(weight @ values[:, part])
    torch.testing.assert_close(layer(x, context)[0], layer.outward(torch.cat(heads, dim=-1)), atol=1e-5, rtol=1e-4)


def test_masked_attention_is_that_to_a_shorter_context():
    torch.manual_seed(0)
    block, x, context = TransformerBlock(8, 2, cross=True, causal=True), torch.randn(2, 3, 8), torch.randn(2, 6, 8)
    mask = torch.arange(6) < torch.tensor([4, 6])[:, None]
    torch.testing.assert_close(block(x, context, mask)[:1], block(x[:1], context[:1, :4]))
    torch.testing.assert_close(block(x, context, mask)[1:], block(x[1:], context[1:]))
    layer, alone = Attention(8, 2), TransformerBlock(8, 2)
    weights = layer.weights(x, context, mask)
    values = layer.to_key_value(context)[..., 8:].unflatten(2, (2, 4)).transpose(1, 2)
    made = layer.outward((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(made, layer(x, context, mask), atol=1e-6, rtol=1e-4)
    assert weights.sum(dim=3).allclose(torch.ones(2, 2, 3)) and (weights[0, :, :, 4:] == 0).all()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    torch.testing.assert_close(alone(x, None, mask)[:1, :2], alone(x[:1, :2]))


def test_blocks_keep_shapes_and_can_be_the_identity():
    x = torch.randn(2, 3, 8)
    for block in (MixerBlock(8, 3), TransformerBlock(8, 2), TransformerBlock(8, 2, cross=True, self_attention=False)):
        assert block(x, x).shape == x.shape if getattr(block, "to_context", None) else block(x).shape == x.shape
    residual = ResidualMLP(8, 2).eval()
    for block in residual.blocks:
        torch.nn.init.zeros_(block[1].weight), torch.nn.init.zeros_(block[1].bias)
    torch.testing.assert_close(residual(x), x)


@pytest.mark.parametrize("shape", [(4, 28, 28), (4, 8, 8), (1, 10, 10), (3, 5, 7), (2, 1, 1)])
def test_upsampled_maps_have_the_shape_asked_for(shape):
    assert Upsampler(6, shape, n_channels=8)(torch.zeros(2, 6)).shape == (2, *shape)


def test_mixer_with_one_token_learns():
    block = MixerBlock(8, 1).eval()
    x = torch.randn(4, 1, 8)
    assert (block(x).std(dim=0) > 0).all()
