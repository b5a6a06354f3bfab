"""Channels centred and scaled, each by one number for all times."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.arrays import row_blocks
from brainalign.encoders.ephys.scope import ScopedTransformer
from brainalign.errors import unknown

__all__ = ["ChannelScaler", "channel_scales", "percentile_scales"]


class ChannelScaler(ScopedTransformer):
    """Centre each channel and divide it by its spread, over the training trials and all times.

    `Trials.zscore` scales each time on its own, which takes the shape out of a mean response; this keeps it.

    Parameters
    ----------
    scale : {"sd", "percentile"}
        "percentile" is the 95th of the centred absolute values (as NeuroBOLT has it), which artefacts move less.
    by, fit_on
        See `ScopedTransformer`.

    Attributes
    ----------
    learnt_ : dict of str to (ndarray, ndarray)
        Centre and spread of each channel, (n_channels, 1), in each group. The spread of a flat channel is 1.

    Examples
    --------
    >>> X = np.array([[[1.0, 3.0], [0.0, 0.0]]])
    >>> ChannelScaler().fit_transform(X)
    array([[[-1.,  1.],
            [ 0.,  0.]]])
    """

    def __init__(self, scale: str = "sd", *, by: str | None = None, fit_on: str = "train") -> None:
        self.scale = scale
        self.by = by
        self.fit_on = fit_on

    def _learn(self, X: np.ndarray, conditions: np.ndarray, units: Any) -> tuple[np.ndarray, np.ndarray]:
        if self.scale not in ("sd", "percentile"):
            raise unknown("scale", self.scale, ("sd", "percentile"))
        centre, spread = channel_scales(X) if self.scale == "sd" else percentile_scales(X)
        return centre[:, None], spread[:, None]

    def _apply(self, X: np.ndarray, learnt: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return (X - learnt[0]) / learnt[1]


def channel_scales(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD of each channel over trials and times, each (n_channels,), in blocks; the SD of a flat one is 1.

    Parameters
    ----------
    X : array (n_trials, n_channels, n_times)
        Anything with a length, a shape and rows by slice.
    """
    n = len(X) * X.shape[2]
    blocks = list(row_blocks(len(X), 8 * X.shape[1] * X.shape[2]))
    mean = sum(np.asarray(X[rows]).sum(axis=(0, 2), dtype=np.float64) for rows in blocks) / n
    square = sum(np.square(np.asarray(X[rows]) - mean[:, None]).sum(axis=(0, 2)) for rows in blocks) / n
    spread = np.sqrt(square)
    return mean, np.where(spread > 1e-9 * np.abs(mean) + 1e-30, spread, 1.0)


def percentile_scales(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each channel, and the 95th percentile of its centred absolute values (1 for a flat one)."""
    centre, _ = channel_scales(X)
    spread = np.percentile(np.abs(X - centre[:, None]), 95, axis=(0, 2))
    return centre, np.where(spread > 0, spread, 1.0)
