"""Channels centred and scaled, each by one number for all times."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.encoders.ephys.scope import ScopedTransformer
from brainalign.errors import unknown

__all__ = ["ChannelScaler"]


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
        centre = X.mean(axis=(0, 2), dtype=np.float64)[:, None]
        if self.scale == "sd":
            spread = X.std(axis=(0, 2), dtype=np.float64)[:, None]
        else:
            spread = np.percentile(np.abs(X - centre), 95, axis=(0, 2))[:, None]
        return centre, np.where(spread > 1e-9 * np.abs(centre) + 1e-30, spread, 1.0)

    def _apply(self, X: np.ndarray, learnt: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return (X - learnt[0]) / learnt[1]
