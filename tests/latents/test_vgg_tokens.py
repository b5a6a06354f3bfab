"""Maps to tokens and back, against loops; VGG16 itself where its weights are at hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from brainalign.errors import DataError
from brainalign.latents import extract, load_model
from brainalign.latents.vgg_tokens import VGG16_LAYERS, MapTokens, VGGFeatures
from brainalign.scenes import draw_scenes
from tests.conftest import real_data


def maps_of(scheme: MapTokens, n: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, *shape, generator=generator) for shape in scheme.shapes]


SMALL = MapTokens(((4, 8, 8), (8, 4, 4), (16, 2, 2)), 32, (2, 2, 1), (2, 1, 1))


def test_the_published_scheme_has_7190_tokens_of_512():
    scheme = MapTokens.vgg16(112)
    assert scheme.sizes == (56**2, 55**2, 28**2, 14**2, 7**2)
    assert (scheme.n_tokens, scheme.width) == (7190, 512)
    assert MapTokens.vgg16(64).sizes == (32**2, 31**2, 16**2, 8**2, 4**2)


@pytest.mark.parametrize("scheme", [SMALL, MapTokens.vgg16(32)])
def test_maps_come_back_exactly(scheme):
    maps = maps_of(scheme)
    tokens = scheme.to_tokens(maps)
    assert tokens.shape == (2, scheme.n_tokens, scheme.width)
    for before, after in zip(maps, scheme.to_maps(tokens), strict=True):
        torch.testing.assert_close(after, before)


def test_tokens_are_those_of_a_loop_over_patches():
    maps = maps_of(SMALL)
    tokens = SMALL.to_tokens(maps)
    number = 0
    for one, kernel, stride in zip(maps, SMALL.kernels, SMALL.strides, strict=True):
        side = one.shape[2]
        for row in range(0, side - kernel + 1, stride):
            for column in range(0, side - kernel + 1, stride):
                patch = one[1, :, row : row + kernel, column : column + kernel].flatten()
                torch.testing.assert_close(tokens[1, number], patch.repeat(32 // len(patch)))
                number += 1
    assert number == SMALL.n_tokens


def test_the_way_back_from_any_tokens_is_the_least_squares_map():
    tokens = torch.randn(1, SMALL.n_tokens, 32, generator=torch.Generator().manual_seed(1))
    part = tokens[:, SMALL.sizes[0] : SMALL.sizes[0] + SMALL.sizes[1]]
    n = 8 * 4 * 4
    columns = [
        SMALL.to_tokens([torch.zeros(1, 4, 8, 8), unit.view(1, 8, 4, 4), torch.zeros(1, 16, 2, 2)])
        for unit in torch.eye(n)
    ]
    design = torch.stack([one[0, 16 : 16 + 9].flatten() for one in columns], dim=1)
    best = torch.linalg.lstsq(design, part.flatten()[:, None]).solution[:, 0]
    torch.testing.assert_close(SMALL.to_maps(tokens)[1].flatten(), best, atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="do not fill a token"):
        MapTokens(((5, 8, 8),), 32, (2,), (2,))
    with pytest.raises(DataError, match="leave pixels"):
        MapTokens(((4, 7, 7),), 32, (2,), (2,))
    with pytest.raises(DataError, match="every map"):
        MapTokens(((4, 8, 8),), 32, (2, 1), (2, 1))
    with pytest.raises(DataError, match="other maps"):
        SMALL.to_tokens(maps_of(SMALL)[:2])
    with pytest.raises(DataError, match="not tokens of such maps"):
        SMALL.to_maps(torch.zeros(1, 5, 32))


def test_features_have_gradients_and_are_those_of_a_forward_pass():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 8, 1))
    features = VGGFeatures(network, ["0", "1", "3"], image_size=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    found = features(images)
    scaled = (images - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / 0.2
    torch.testing.assert_close(found[0], network[0](scaled))
    torch.testing.assert_close(found[1], network[0](scaled).relu())
    torch.testing.assert_close(found[2], network(scaled))
    sum(one.square().sum() for one in found).backward()
    assert images.grad.abs().sum() > 0 and not any(one.requires_grad for one in network.parameters())


def test_vgg16_tokens_of_pictures():
    weights = real_data("weights") / "vgg16_features_torchvision_names.safetensors"
    network = load_model(f"maps:torchvision:vgg16@{weights}", image_size=64, device="cpu")
    features, scenes = network.features, draw_scenes(3, seed=0)
    made = extract(scenes, network, batch_size=2, dtype="float16", cache=False)
    scheme = MapTokens.vgg16(64)
    assert made.shape == (3, scheme.n_tokens, 512) and made.values.dtype == np.float16
    assert made.meta["tokens_per_scale"] == list(scheme.sizes) and made.meta["layers"] == list(VGG16_LAYERS)
    image = torch.from_numpy(scenes.array(scenes.ids[1]).copy()).permute(2, 0, 1)[None] / 255
    image = nn.functional.interpolate(image, (64, 64), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        fifth = features.module.features[:30]((image - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    back = scheme.to_maps(torch.from_numpy(made.values.astype(np.float32)))
    torch.testing.assert_close(back[4][1:2], fifth, atol=0.02, rtol=0.01)
