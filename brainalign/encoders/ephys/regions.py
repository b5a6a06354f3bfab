"""Channels gathered by region: one signal each, so that subjects with other electrodes can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainalign.encoders.ephys.scope import ScopedTransformer
from brainalign.errors import DataError, unknown

__all__ = ["RegionChannels"]


class RegionChannels(ScopedTransformer):
    """Replace the channels of each region by one signal.

    Parameters
    ----------
    how : {"mean", "pca"}
        Mean of the channels, or their first principal component over training trials and times, whose sign is that of
        its correlation with the mean.
    regions : sequence of str, optional
        Region of each channel; the ``region`` column of the units of Trials by default.
    min_channels : int
        Smaller regions are left out.
    by, fit_on
        See `ScopedTransformer`.

    Attributes
    ----------
    regions_ : tuple of str
    learnt_ : dict of str to ndarray (n_regions, n_channels)
        Weights of the channels.

    Examples
    --------
    >>> X = np.array([[[1.0, 3.0], [3.0, 5.0], [7.0, 7.0]]])
    >>> RegionChannels(regions=["V1", "V1", "IT"]).fit_transform(X)
    array([[[7., 7.],
            [2., 4.]]])
    """

    def __init__(
        self,
        how: str = "mean",
        regions: Sequence[str] | None = None,
        *,
        min_channels: int = 1,
        by: str | None = None,
        fit_on: str = "train",
    ) -> None:
        self.how = how
        self.regions = regions
        self.min_channels = min_channels
        self.by = by
        self.fit_on = fit_on

    def _learn(self, X: np.ndarray, conditions: np.ndarray, units: Any) -> np.ndarray:
        if self.how not in ("mean", "pca"):
            raise unknown("way to gather channels", self.how, ("mean", "pca"))
        labels = self._labels(units, X.shape[1])
        names, counts = np.unique(labels, return_counts=True)
        self.regions_ = tuple(str(one) for one in names[counts >= self.min_channels])
        if not self.regions_:
            raise DataError(
                "no region is large enough", expected=f"{self.min_channels} channels", found=dict(zip(names, counts))
            )
        weights = np.zeros((len(self.regions_), X.shape[1]))
        for row, name in enumerate(self.regions_):
            here = np.flatnonzero(labels == name)
            weights[row, here] = 1 / len(here)
            if self.how == "pca":
                samples = X[:, here].transpose(1, 0, 2).reshape(len(here), -1).astype(np.float64)
                vector = np.linalg.eigh(np.atleast_2d(np.cov(samples)))[1][:, -1]
                along = np.cov(vector @ samples, samples.mean(axis=0))[0, 1]
                weights[row, here] = vector * (np.sign(along) or 1.0)
        return weights

    def _labels(self, units: Any, n_channels: int) -> np.ndarray:
        labels = self.regions
        if labels is None:
            if units is None or "region" not in units:
                raise DataError("the regions of the channels are not known", fix="regions=[...], one a channel")
            labels = units["region"]
        if len(labels) != n_channels:
            raise DataError("one region a channel is needed", expected=n_channels, found=len(labels))
        return np.asarray(labels).astype(str)

    def _apply(self, X: np.ndarray, learnt: np.ndarray) -> np.ndarray:
        return np.matmul(learnt.astype(X.dtype), X)

    def _units_after(self, units: Any) -> pd.DataFrame:
        labels = self._labels(units, len(units))
        made = pd.DataFrame({"name": self.regions_, "region": self.regions_})
        for column in ("x", "y", "z"):
            if column in units:
                made[column] = [units.loc[labels == name, column].mean() for name in self.regions_]
        if "type" in units:
            made["type"] = [units.loc[labels == name, "type"].iloc[0] for name in self.regions_]
        made["n_channels"] = [int((labels == name).sum()) for name in self.regions_]
        return made
