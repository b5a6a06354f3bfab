"""Likeness of pictures, one value per picture: pixel correlation, SSIM, LPIPS, correlation distance of features.

The recipes are those of MindEye (Scotti et al. 2023, NeurIPS 36), which most published tables of reconstructions
from fMRI follow. Every function compares row i of one array with row i of the other and returns one value a row, so
that intervals can be drawn over pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.scoring.cosine import flat_rows, row_correlations

__all__ = ["correlation_distance", "lpips", "pixel_correlation", "resized", "ssim"]

COMMON_SIZE = 256
"""Both sides are first brought to this many pixels, so that detail is not told by the size of the picture."""

PIXEL_SIZE = 425
"""Size at which pixels are compared, that of the NSD stimuli."""

LPIPS_LAYERS = {"features.1": 64, "features.4": 192, "features.7": 384, "features.9": 256, "features.11": 256}
"""Layers of AlexNet that LPIPS reads, with their channels."""


def resized(images: ArrayLike, *sizes: int) -> NDArray:
    """Pictures stretched to squares, bilinear and without aliasing, one size after the other.

    Parameters
    ----------
    images : array (n, height, width, 3)
        uint8, or float in [0, 1].
    *sizes : int

    Returns
    -------
    array (n, size, size, 3) float32
        In [0, 1].

    Raises
    ------
    DataError
        When these are no RGB pictures, or floats leave [0, 1].

    Examples
    --------
    >>> resized(np.zeros((1, 4, 4, 3), np.uint8), 8, 16).shape
    (1, 16, 16, 3)
    """
    import torch
    from torch.nn.functional import interpolate

    pictures = torch.from_numpy(_unit_interval(images)).permute(0, 3, 1, 2)
    for size in sizes:
        if pictures.shape[-2:] != (size, size):
            pictures = interpolate(pictures, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return pictures.permute(0, 2, 3, 1).contiguous().numpy()


def _unit_interval(images: ArrayLike) -> NDArray:
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[-1] != 3:
        raise DataError("these are no RGB pictures", expected="(n, height, width, 3)", found=array.shape)
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if array.dtype.kind != "f" or not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise DataError(
            "pictures are uint8, or floats from 0 to 1",
            found=f"{array.dtype} from {array.min()} to {array.max()}",
            fix="clip to [0, 1], or convert to uint8",
        )
    return array.astype(np.float32)


def pixel_correlation(pictures: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
    """PixCorr: Pearson correlation of all RGB values of a picture with those of its reference.

    Parameters
    ----------
    pictures, references : array (n, height, width, 3)
        uint8 or [0, 1]. The sides may differ in size: both go through 256 to 425 pixels.

    Returns
    -------
    array (n,)
        0 for a picture of a single colour.

    Examples
    --------
    >>> picture = np.random.default_rng(0).integers(0, 255, (1, 16, 16, 3)).astype(np.uint8)
    >>> pixel_correlation(picture, picture).round(6), pixel_correlation(picture, 255 - picture).round(6)
    (array([1.]), array([-1.]))
    """

    return _by_block(pictures, references, LIKENESS["PixCorr"])


def ssim(pictures: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
    """Structural similarity of the grey pictures at 425 pixels, Gaussian window of SD 1.5, data range 1.

    Wang et al. 2004, IEEE Trans. Image Process. 13, in the form of MindEye's evaluation. A blurred or uniform
    picture scores well: never rank on it alone.

    Parameters
    ----------
    pictures, references
        As in `pixel_correlation`.

    Returns
    -------
    array (n,)
    """
    return _by_block(pictures, references, LIKENESS["SSIM"])


def _correlated(left: NDArray, right: NDArray) -> NDArray:
    return row_correlations(flat_rows(left, "pictures"), flat_rows(right, "references"))


def _structured(left: NDArray, right: NDArray) -> NDArray:
    from skimage.color import rgb2gray
    from skimage.metrics import structural_similarity

    grey = zip(rgb2gray(left), rgb2gray(right), strict=True)
    form: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return np.array([structural_similarity(one, two, data_range=1.0, **form) for one, two in grey])


LIKENESS = {"PixCorr": _correlated, "SSIM": _structured}
"""What `pixel_correlation` and `ssim` compare once both sides are `common_pixels`."""


def common_pixels(images: ArrayLike) -> NDArray:
    """Pictures at the size at which pixels are compared, (n, 425, 425, 3): `resized` to 256, then to 425."""
    return resized(images, COMMON_SIZE, PIXEL_SIZE)


def _by_block(pictures: ArrayLike, references: ArrayLike, compare: Any) -> NDArray[np.float64]:
    """Compare in blocks of pictures, each at the common and then at the pixel size."""
    left, right = np.asarray(pictures), np.asarray(references)
    if len(left) != len(right) or not len(left):
        raise DataError("as many pictures as references are compared", expected=len(right), found=len(left))
    blocks = row_blocks(len(left), 8 * PIXEL_SIZE**2 * 3 * 4)
    return np.concatenate([compare(common_pixels(left[rows]), common_pixels(right[rows])) for rows in blocks])


def correlation_distance(features: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
    """One minus the Pearson correlation of each row of features with its reference: lower is better.

    Parameters
    ----------
    features, references : array (n, ...features)

    Returns
    -------
    array (n,)
        1 for a row without spread.

    Examples
    --------
    >>> correlation_distance([[0.0, 1.0, 2.0]], [[0.0, 2.0, 4.0]]).round(6)
    array([0.])
    """
    left, right = flat_rows(features, "features"), flat_rows(references, "references")
    if left.shape != right.shape:
        raise DataError("features and references do not match", expected=right.shape, found=left.shape)
    return 1.0 - row_correlations(left, right)


def lpips(
    features: Mapping[str, ArrayLike], references: Mapping[str, ArrayLike], heads: Mapping[str, ArrayLike]
) -> NDArray[np.float64]:
    """LPIPS v0.1 from maps of a network: the weighted square distance of their unit-length channels.

    Zhang et al. 2018, CVPR, eq. 1.

    Parameters
    ----------
    features, references : mapping of layer to array (n, n_channels, height, width)
    heads : mapping of layer to array (n_channels,)
        The trained linear heads.

    Returns
    -------
    array (n,)
        0 for equal pictures; lower is better.

    Raises
    ------
    DataError
        When a layer of the heads is missing, or shapes do not match.

    Examples
    --------
    >>> maps = {"a": np.ones((1, 2, 3, 3))}
    >>> lpips(maps, {"a": np.ones((1, 2, 3, 3)) * [[[[1.0]], [[0.0]]]]}, {"a": [1.0, 1.0]}).round(3)
    array([0.586])
    """
    total: Any = 0.0
    for layer, weights in heads.items():
        if layer not in features or layer not in references:
            raise DataError(f"LPIPS reads layer '{layer}'", expected=list(heads), found=list(features))
        left, right, weight = np.asarray(features[layer]), np.asarray(references[layer]), np.asarray(weights)
        if left.shape != right.shape or left.ndim != 4 or left.shape[1] != weight.size:
            expected = f"(n, {weight.size}, height, width) twice"
            raise DataError(f"maps of '{layer}' do not match", expected=expected, found=(left.shape, right.shape))
        apart = [
            np.square(_unit_channels(left[rows]) - _unit_channels(right[rows])).mean(axis=(2, 3))
            for rows in row_blocks(len(left), 24 * int(np.prod(left.shape[1:])))
        ]
        total = total + np.concatenate(apart) @ weight.ravel().astype(np.float64)
    return np.asarray(total)


def _unit_channels(maps: NDArray) -> NDArray[np.float64]:
    values = maps.astype(np.float64)
    return values / (np.sqrt(np.square(values).sum(axis=1, keepdims=True)) + 1e-10)
