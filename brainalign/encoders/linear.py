"""`LinearEncoder`: ridge from responses to latents of any shape, the decoder of Brain-Diffuser.

Ozcelik & VanRullen 2023, Sci. Rep. 13. There, predictions are rescaled by the mean and SD of the *test* predictions,
so that one sample cannot be decoded and every result depends on its batch; here the scale is learnt from predictions
of training samples that were held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from brainalign.encoders.base import Encoder
from brainalign.encoders.linear_maps import DualMap, folded, held_out_gain, spread
from brainalign.errors import DataError
from brainalign.voxelwise.backend import on_device, to_numpy
from brainalign.voxelwise.plan import TARGET_BYTES, DualRidgeFit, RidgeFit, RidgePlan, plan_ridge
from brainalign.voxelwise.samples import resolve_folds

__all__ = ["LinearEncoder"]

_LARGE = 2**30
"""Targets from this size on go through in wider blocks: fewer and longer reads from disk."""


class LinearEncoder(Encoder):
    """Ridge regression to one or several latent spaces, from one decomposition of the responses.

    With more features than samples and more than 1 GiB of coefficients, weights of the training samples are kept
    instead, on disk where they are large; latents that are memory-mapped are read in blocks. So the targets of
    Brain-Diffuser fit into the memory of a laptop: see ``scripts/bench/bench_linear_encoder.py``.

    Parameters
    ----------
    alphas : "auto", float, sequence of float, or mapping of target to one of these
        Penalties; each latent dimension gets its own where there are several. Brain-Diffuser takes
        ``{"vdvae": 5e4, "clip_vision": 6e4, "clip_text": 1e5}`` with ``cv="loo"``.
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
    fits_ : dict of str to RidgeFit or DualMap
        For each target the map with standardisation and rescaling folded in: ``coef`` (n_features, n_flat),
        ``best_alphas``, ``cv_scores`` (R² before rescaling).
    response_mean_, response_scale_ : ndarray, shape (n_features,)
        Of the training samples; the scale is 1 without `standardize`.
    latent_norms_ : dict of str to float
        Root mean square distance of the training latents from their mean.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> responses = rng.standard_normal((80, 10))
    >>> latents = (responses @ rng.standard_normal((10, 6))).reshape(80, 2, 3)
    >>> encoder = LinearEncoder().fit(responses[:60], latents[:60])
    >>> encoder.predict(responses[60:]).shape, encoder.score(responses[60:], latents[60:]) > 0.99
    ((20, 2, 3), True)
    """

    _reads_blocks = True

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

    def _fit(self, X: np.ndarray, targets: Mapping[str, Any], groups: np.ndarray | None) -> None:
        if self.rescale and (self.cv is None or (isinstance(self.cv, str) and self.cv == "gcv")):
            raise DataError(
                f"rescale needs held-out predictions, and cv={self.cv!r} makes none",
                expected="cv=5, 'loo' or folds",
                fix="rescale=False",
            )
        alphas = self._alphas_of(targets)
        divisions = resolve_folds(self.cv, len(X), groups)
        scale = spread(X) if self.standardize else np.ones(X.shape[1])
        scale[scale == 0] = 1.0
        dtype = str(np.result_type(X.dtype, *(target.dtype for target in targets.values())))
        design = X if not self.standardize else X / scale.astype(X.dtype)
        plan = plan_ridge(on_device(design, self.device), next(iter(alphas.values())), divisions, dtype=dtype)
        self.response_scale_, self.response_mean_ = scale, to_numpy(plan.decomposition.mean) * scale
        self.fits_: dict[str, Any] = {}
        self.latent_norms_: dict[str, float] = {}
        for name, target in targets.items():
            self._fit_target(name, plan.with_alphas(alphas[name]), target)

    def _fit_target(self, name: str, plan: RidgePlan, target: Any) -> None:
        large = target.size * target.dtype.itemsize > _LARGE
        fit = plan.fit(target, block_bytes=16 * TARGET_BYTES if large else None, keep_coef="auto")
        deviation = spread(target, fit.y_mean)
        self.latent_norms_[name] = float(np.sqrt(np.square(deviation).sum()))
        gain, y_mean = held_out_gain(fit, deviation) if self.rescale else (np.ones_like(fit.y_mean), fit.y_mean)
        self.fits_[name] = folded(fit, self.response_scale_, gain, y_mean)

    def _alphas_of(self, targets: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(self.alphas, Mapping):
            return dict.fromkeys(targets, self.alphas)
        if set(self.alphas) != set(targets):
            raise DataError(
                "alphas are given for other targets than those to be fitted",
                expected=sorted(targets),
                found=sorted(map(str, self.alphas)),
                fix="name each target once, or give one choice for all",
            )
        return dict(self.alphas)

    def _predict(self, X: np.ndarray) -> dict[str, np.ndarray]:
        return {name: fit.predict(X) for name, fit in self.fits_.items()}

    def _state(self) -> dict[str, np.ndarray]:
        state = {"response_mean": self.response_mean_, "response_scale": self.response_scale_}
        for name, fit in self.fits_.items():
            parts = dict(vars(fit))
            if isinstance(fit, DualMap):
                parts = {part: getattr(fit.fit, part) for part in _PARTS} | {"gain": fit.gain, "y_mean": fit.y_mean}
                parts["dual"] = fit.fit.dual.T  # target by target, as it lies on disk
                state["design"] = to_numpy(fit.fit.X)  # all targets share it
            state |= {f"{name}/{part}": value for part, value in parts.items()}
            state[f"{name}/norm"] = np.array(self.latent_norms_[name])
        return state

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.response_mean_, self.response_scale_ = state["response_mean"], state["response_scale"]
        self.latent_norms_ = {name: float(state[f"{name}/norm"]) for name in self.target_shapes_}
        self.fits_ = {name: self._restored(name, state) for name in self.target_shapes_}

    def _restored(self, name: str, state: Mapping[str, np.ndarray]) -> RidgeFit | DualMap:
        n_flat, n_features = int(np.prod(self.target_shapes_[name], dtype=int)), self.n_features_in_
        part = {key.removeprefix(f"{name}/"): value for key, value in state.items() if key.startswith(f"{name}/")}
        if "dual" not in part:
            found: Any = part["coef"].shape
            expected: Any = n_features, n_flat
            made: Any = RidgeFit(**{field.name: part[field.name] for field in fields(RidgeFit)})
        else:
            design = state["design"]
            found, expected = (part["dual"].shape, design.shape[1]), ((n_flat, len(design)), n_features)
            fit = DualRidgeFit(design, part["dual"].T, y_mean=np.zeros(n_flat), **{one: part[one] for one in _PARTS})
            made = DualMap(fit, self.response_scale_, part["gain"], part["y_mean"])
        if found != expected or part["y_mean"].shape != (n_flat,):
            raise DataError(f"weights of '{name}' do not match the config", expected=expected, found=found)
        return made


_PARTS = ("x_mean", "best_alphas", "cv_scores", "held_out_mean", "held_out_std")
"""What of a `DualRidgeFit` is saved as it is."""
