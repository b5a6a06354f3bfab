"""Likeness of pictures against the published recipes written out, and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchvision.transforms import InterpolationMode, Resize

from brainalign.errors import DataError
from brainalign.scoring import correlation_distance, lpips, pixel_correlation, ssim
from brainalign.scoring.cosine import row_correlations
from brainalign.scoring.images import resized


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (3, 24, 24, 3)).astype(np.uint8)
    return np.clip(0.6 * seen + 90 * rng.random(seen.shape), 0, 255).astype(np.uint8), seen


def at_425(images: np.ndarray) -> torch.Tensor:
    """The published evaluation, step by step: 256, then 425, by torchvision on float tensors."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    tensor = Resize((256, 256), antialias=True)(tensor).float()
    return Resize(425, interpolation=InterpolationMode.BILINEAR, antialias=True)(tensor)


def test_pixel_correlation_is_the_published_recipe(pictures):
    made, seen = (at_425(one).reshape(len(one), -1).numpy() for one in pictures)
    expected = [np.corrcoef(made[row], seen[row])[0][1] for row in range(len(made))]
    np.testing.assert_allclose(pixel_correlation(*pictures), expected, atol=1e-5)


def test_ssim_is_the_published_recipe(pictures):
    made, seen = (rgb2gray(at_425(one).permute(0, 2, 3, 1).numpy()) for one in pictures)
    form = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [structural_similarity(one, two, **form) for one, two in zip(made, seen, strict=True)]
    np.testing.assert_allclose(ssim(*pictures), expected, atol=1e-6)


def test_shrinking_is_by_torchvision_too():
    big = np.random.default_rng(1).integers(0, 256, (1, 600, 600, 3)).astype(np.uint8)
    np.testing.assert_allclose(resized(big, 256, 425).transpose(0, 3, 1, 2), at_425(big).numpy(), atol=1e-6)


def test_floats_and_bytes_agree(pictures):
    made, seen = pictures
    np.testing.assert_allclose(pixel_correlation(made / 255, seen / 255.0), pixel_correlation(made, seen), atol=1e-6)


def test_a_flat_picture_is_zero_not_nan():
    flat = np.full((1, 8, 8, 3), 7, np.uint8)
    other = np.random.default_rng(0).integers(0, 256, flat.shape).astype(np.uint8)
    assert pixel_correlation(flat, other) == 0
    assert correlation_distance([[1.0, 1.0]], [[0.0, 1.0]]) == 1


def test_rows_longer_than_a_block_of_features():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 4, 20_001)).astype(np.float32) + 50
    expected = [np.corrcoef(one, two)[0, 1] for one, two in zip(left.astype(float), right.astype(float), strict=True)]
    np.testing.assert_allclose(row_correlations(left, right), expected, atol=1e-10)


def test_lpips_by_loops():
    rng = np.random.default_rng(0)
    shapes = {"a": (2, 3, 4, 5), "b": (2, 6, 2, 2)}
    left, right = ({name: rng.standard_normal(shape) for name, shape in shapes.items()} for _ in range(2))
    heads = {name: rng.random(shape[1]) for name, shape in shapes.items()}
    expected = np.zeros(2)
    for name, (n, channels, height, width) in shapes.items():
        for row in range(n):
            for y in range(height):
                for x in range(width):
                    one, two = left[name][row, :, y, x], right[name][row, :, y, x]
                    apart = one / np.linalg.norm(one) - two / np.linalg.norm(two)
                    expected[row] += sum(heads[name][c] * apart[c] ** 2 for c in range(channels)) / (height * width)
    np.testing.assert_allclose(lpips(left, right, heads), expected, rtol=1e-9)


def test_bad_pictures_are_refused():
    good = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(DataError, match="no RGB pictures"):
        pixel_correlation(good[..., 0], good[..., 0])
    with pytest.raises(DataError, match="from 0 to 1"):
        ssim(good * 2.0 + 3.0, good)
    with pytest.raises(DataError, match="as many pictures"):
        ssim(good[:1], good)
    with pytest.raises(DataError, match="do not match"):
        correlation_distance(np.eye(3), np.eye(4))
    with pytest.raises(DataError, match="reads layer 'a'"):
        lpips({}, {}, {"a": np.ones(1)})
