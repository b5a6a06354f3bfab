"""The linear map of one target, with standardisation and rescaling folded into it or put around it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from brainalign.arrays import row_blocks
from brainalign.voxelwise.plan import DualRidgeFit, RidgeFit

__all__ = ["DualMap", "folded", "held_out_gain", "spread"]

_STILL = 1e-3
"""Held-out predictions whose SD is below this share of the target's are not blown up by rescaling."""


@dataclass(frozen=True, eq=False)
class DualMap:
    """A map of more features than training samples, kept as weights of the samples.

    Parameters
    ----------
    fit : DualRidgeFit
        Of the standardised responses; predicts about the mean of the latents, before rescaling.
    scale : array (n_features,)
        By which responses are divided.
    gain, y_mean : array (n_targets,)
        Predictions are ``gain * fit.predict(X / scale) + y_mean``.
    """

    fit: DualRidgeFit
    scale: np.ndarray
    gain: np.ndarray
    y_mean: np.ndarray

    @property
    def best_alphas(self) -> np.ndarray:
        """(n_targets,)."""
        return self.fit.best_alphas

    @property
    def cv_scores(self) -> np.ndarray:
        """(n_targets,), of the predictions before rescaling."""
        return self.fit.cv_scores

    @property
    def coef(self) -> np.ndarray:
        """(n_features, n_targets), formed on access; `DataError` where that is large."""
        return self.fit.coef * (self.gain / self.scale[:, None]).astype(self.fit.dual.dtype)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predictions (n_samples, n_targets) in the precision of X."""
        made = self.fit.predict(X / self.scale.astype(X.dtype))
        for columns in row_blocks(made.shape[1], 8 * len(made)):
            made[:, columns] *= self.gain[columns]
            made[:, columns] += self.y_mean[columns]
        return made


def folded(fit: RidgeFit | DualRidgeFit, scale: np.ndarray, gain: np.ndarray, y_mean: np.ndarray) -> Any:
    """The map from responses to rescaled latents.

    Parameters
    ----------
    fit : RidgeFit or DualRidgeFit
        Of responses divided by `scale`. Coefficients are changed in place.
    scale : array (n_features,)
    gain, y_mean : array (n_targets,)
        Of the predictions about the mean of the latents.

    Returns
    -------
    RidgeFit or DualMap
    """
    if isinstance(fit, DualRidgeFit):
        return DualMap(replace(fit, y_mean=np.zeros_like(y_mean)), scale, gain, y_mean)
    np.multiply(fit.coef, gain.astype(fit.coef.dtype), out=fit.coef)
    np.divide(fit.coef, scale[:, None].astype(fit.coef.dtype), out=fit.coef)
    return replace(fit, x_mean=fit.x_mean * scale, y_mean=y_mean)


def held_out_gain(fit: RidgeFit | DualRidgeFit, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factor and mean that give held-out predictions the mean and SD of the training targets, (n_targets,) each."""
    moving = fit.held_out_std > _STILL * deviation
    gain = np.where(moving, deviation / np.where(moving, fit.held_out_std, 1.0), 1.0)
    shift = np.where(moving, gain * (fit.y_mean - fit.held_out_mean), 0.0)
    return gain, fit.y_mean + shift


def spread(values: Any, mean: np.ndarray | None = None) -> np.ndarray:
    """SD of each column in float64, over blocks of rows; 0 for a constant column.

    Parameters
    ----------
    values : array (n_samples, n_columns)
    mean : array (n_columns,), optional
        Where it is known; saves a pass.
    """
    blocks = list(row_blocks(len(values), 8 * values.shape[1], budget=2**24))
    if mean is None:
        mean = np.zeros(values.shape[1])
        for rows in blocks:
            mean += values[rows].sum(axis=0, dtype=np.float64) / len(values)
    total = np.zeros(values.shape[1])
    for rows in blocks:
        total += np.square(values[rows] - mean).sum(axis=0)
    deviation = np.sqrt(total / len(values))
    return np.where(deviation > 1e-12 * np.abs(mean), deviation, 0.0)
