"""Inversion of features by a deep image prior: pictures come back from their features, each on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from brainalign.errors import DataError
from brainalign.latents.vgg_tokens import MapTokens, VGGFeatures
from brainalign.learning.randomness import seeded
from brainalign.reconstruction.inversion import DeepImagePrior
from brainalign.scenes import draw_scenes

SCHEME = MapTokens(((16, 32, 32), (32, 16, 16), (32, 8, 8)), 128, (2, 2, 1), (2, 1, 1))
QUICK = {"n_steps": 120, "learning_rate": 1e-2, "average": 0.9, "channels": (16, 32, 32), "relative": True}


@pytest.fixture(scope="module")
def world():
    with seeded(0):
        network = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        )
    features = VGGFeatures(network, ["1", "4", "7"], image_size=32)
    scenes = draw_scenes(3, seed=0, size=32)
    pictures = np.stack([scenes.array(one) for one in scenes.ids]) / np.float32(255)
    maps = features(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    return features, pictures, maps


def test_pictures_come_back_from_their_features(world):
    features, pictures, maps = world
    made = DeepImagePrior(features, 32, **QUICK).invert(maps)
    assert made.shape == pictures.shape and made.dtype == np.float32 and 0 <= made.min() <= made.max() <= 1
    correlations = np.corrcoef(made.reshape(3, -1), pictures.reshape(3, -1))[:3, 3:]
    assert (np.diag(correlations) > 0.9).all()
    assert (correlations[~np.eye(3, dtype=bool)] < 0.6).all()


def test_tokens_give_what_their_maps_give_and_a_picture_does_not_depend_on_its_neighbours(world):
    features, _, maps = world
    short = QUICK | {"n_steps": 3}
    prior = DeepImagePrior(features, 32, scheme=SCHEME, **short)
    from_maps = prior.invert(maps)
    np.testing.assert_allclose(prior.invert(SCHEME.to_tokens(maps)), from_maps, atol=1e-4)
    np.testing.assert_array_equal(prior.invert([one[:1] for one in maps])[0], from_maps[0])
    np.testing.assert_array_equal(prior.invert(maps), from_maps)
    other = DeepImagePrior(features, 32, scheme=SCHEME, seed=1, **short).invert(maps)
    assert np.abs(other - from_maps).max() > 1e-3


def test_the_picture_returned_is_the_running_mean_of_those_drawn(world):
    features, _, maps = world
    one = [layer[:1] for layer in maps]
    drawn = []

    def listening(images):
        drawn.append(images.detach().clone())
        return features(images)

    made = DeepImagePrior(listening, 32, **(QUICK | {"n_steps": 4, "average": 0.8})).invert(one)
    mean = drawn[1]  # the first call checks the shapes of the layers
    for picture in drawn[2:]:
        mean = 0.8 * mean + 0.2 * picture
    np.testing.assert_allclose(made[0], mean[0].permute(1, 2, 0).numpy(), atol=1e-6)


def test_what_cannot_be_inverted_is_refused(world):
    features, _, maps = world
    prior = DeepImagePrior(features, 32, **QUICK)
    with pytest.raises(DataError, match="not maps of these layers"):
        prior.invert(maps[:2])
    with pytest.raises(DataError, match="not maps of these layers"):
        prior.invert([maps[0], maps[1], maps[2][:1]])
    with pytest.raises(DataError, match="need a scheme"):
        prior.invert(SCHEME.to_tokens(maps))
    with pytest.raises(DataError, match="NaN"):
        prior.invert([one * np.nan for one in maps])
    with pytest.raises(DataError, match="invert nothing"):
        DeepImagePrior(features, 8, channels=(8, 8, 8))
