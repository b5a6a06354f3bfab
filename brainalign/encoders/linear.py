"""`LinearEncoder`: ridge from responses to latents of any shape, the decoder of Brain-Diffuser.

Ozcelik & VanRullen 2023, Sci. Rep. 13. There, predictions are rescaled by the mean and SD of the *test* predictions,
so that one sample cannot be decoded and every result depends on its batch; here the scale is learnt from predictions
of training samples that were held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from brainalign.arrays import row_blocks
from brainalign.encoders.base import Encoder
from brainalign.errors import DataError
from brainalign.voxelwise.backend import on_device
from brainalign.voxelwise.plan import RidgeFit, plan_ridge
from brainalign.voxelwise.samples import resolve_folds

__all__ = ["LinearEncoder"]

_STILL = 1e-3
"""Held-out predictions whose SD is below this share of the target's are not blown up by rescaling."""


class LinearEncoder(Encoder):
    """Ridge regression to one or several latent spaces, from one decomposition of the responses.

    Parameters
    ----------
    alphas : "auto", float or sequence of float
        Penalties; each latent dimension gets its own.
    cv : int, splitter, iterable of (train, test), "loo", "gcv" or None
        How penalties are chosen; a number keeps the repetitions of a stimulus together. "loo" is the closed form.
        None needs a single alpha.
    standardize : bool
        Divide each feature by its SD over the training samples. The same scale serves inside the folds that choose
        penalties; it uses no target and no test sample.
    rescale : bool
        Give predictions the spread of the training latents: shrinkage makes them too small for generators, which
        expect latents of natural length. The factor of a dimension is the SD of the training latents over that of
        held-out predictions of training samples. Not with ``cv="gcv"`` or None, which hold nothing out.
    device : {"cpu", "auto", "cuda", ...}

    Attributes
    ----------
    fits_ : dict of str to RidgeFit
        For each target the map with standardisation and rescaling folded in: ``coef`` (n_features, n_flat),
        ``best_alphas``, ``cv_scores`` (R² before rescaling).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> responses = rng.standard_normal((80, 10))
    >>> latents = (responses @ rng.standard_normal((10, 6))).reshape(80, 2, 3)
    >>> encoder = LinearEncoder().fit(responses[:60], latents[:60])
    >>> encoder.predict(responses[60:]).shape, encoder.score(responses[60:], latents[60:]) > 0.99
    ((20, 2, 3), True)
    """

    def __init__(
        self,
        alphas: Any = "auto",
        cv: Any = 5,
        *,
        standardize: bool = True,
        rescale: bool = True,
        device: str = "cpu",
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.standardize = standardize
        self.rescale = rescale
        self.device = device

    def _fit(self, X: np.ndarray, targets: Mapping[str, np.ndarray], groups: np.ndarray | None) -> None:
        if self.rescale and (self.cv is None or (isinstance(self.cv, str) and self.cv == "gcv")):
            raise DataError(
                f"rescale needs held-out predictions, and cv={self.cv!r} makes none",
                expected="cv=5, 'loo' or folds",
                fix="rescale=False",
            )
        divisions = resolve_folds(self.cv, len(X), groups)
        scale = _spread(X) if self.standardize else np.ones(X.shape[1])
        scale[scale == 0] = 1.0
        dtype = str(np.result_type(X.dtype, *(target.dtype for target in targets.values())))
        design = X if not self.standardize else X / scale.astype(X.dtype)
        plan = plan_ridge(on_device(design, self.device), self.alphas, divisions, dtype=dtype)
        self.fits_ = {}
        for name, target in targets.items():
            fit = plan.fit(target)
            if self.rescale:
                fit = _rescaled(fit, _spread(target))
            np.divide(fit.coef, scale[:, None].astype(dtype), out=fit.coef)
            self.fits_[name] = replace(fit, x_mean=fit.x_mean * scale)

    def _predict(self, X: np.ndarray) -> dict[str, np.ndarray]:
        return {name: fit.predict(X) for name, fit in self.fits_.items()}

    def _state(self) -> dict[str, np.ndarray]:
        return {f"{name}/{part}": value for name, fit in self.fits_.items() for part, value in vars(fit).items()}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        parts = [field.name for field in fields(RidgeFit)]
        self.fits_ = {
            name: RidgeFit(**{part: state[f"{name}/{part}"] for part in parts}) for name in self.target_shapes_
        }
        n_flat = {name: int(np.prod(shape, dtype=int)) for name, shape in self.target_shapes_.items()}
        for name, fit in self.fits_.items():
            if fit.coef.shape != (self.n_features_in_, n_flat[name]):
                raise DataError(
                    f"weights of '{name}' do not match the config",
                    expected=(self.n_features_in_, n_flat[name]),
                    found=fit.coef.shape,
                )


def _spread(values: np.ndarray) -> np.ndarray:
    """SD of each column, in float64 and two passes over blocks of rows; 0 for a constant column."""
    mean, total = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    blocks = list(row_blocks(len(values), 8 * values.shape[1], budget=2**24))
    for rows in blocks:
        mean += values[rows].sum(axis=0, dtype=np.float64) / len(values)
    for rows in blocks:
        total += np.square(values[rows] - mean).sum(axis=0)
    spread = np.sqrt(total / len(values))
    return np.where(spread > 1e-12 * np.abs(mean), spread, 0.0)


def _rescaled(fit: RidgeFit, spread: np.ndarray) -> RidgeFit:
    """The fit whose held-out predictions have the mean and SD of the training targets."""
    moving = fit.held_out_std > _STILL * spread
    factor = np.where(moving, spread / np.where(moving, fit.held_out_std, 1.0), 1.0)
    shift = np.where(moving, factor * (fit.y_mean - fit.held_out_mean), 0.0)
    np.multiply(fit.coef, factor.astype(fit.coef.dtype), out=fit.coef)
    return replace(fit, y_mean=fit.y_mean + shift)
