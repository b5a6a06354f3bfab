"""`SignalEncoder`: base of encoders of EEG, MEG and sEEG that are trained by contrast with latents."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch

from brainalign.encoders.ephys.network import ContrastLoss, SignalNetwork
from brainalign.encoders.ephys.scaling import channel_scales
from brainalign.encoders.network import NetworkEncoder
from brainalign.encoders.subjects import Samples, several, split_subjects
from brainalign.errors import DataError, unknown
from brainalign.learning import Rows
from brainalign.learning.classifier import as_signals
from brainalign.learning.networks import ResidualHead
from brainalign.learning.stacked import Stacked
from brainalign.voxelwise.samples import is_trials

__all__ = ["SignalEncoder"]

UNSEEN = "*"
"""Stands for a subject that was not fitted on, where the network has a place for one."""


class SignalEncoder(NetworkEncoder):
    """Signals of channels by times to latents, by a network trained to tell the latents of a batch apart.

    A subclass names its network; everything else is shared. Each channel is centred and scaled by its mean and SD over
    training trials and times. Predictions have the length of the training latents (their direction is what contrast
    learns), so that generators can take them and cosine or correlation compares them.

    Parameters
    ----------
    sizes : mapping, optional
        Of the network, by name, over its own defaults.
    adapter : {None, "channels", "token"}
        What is a subject's own: nothing; a linear map of its channels, so that montages may differ and `transfer`
        learns from few trials; or a token (`ATM` alone).
    unseen : {"refuse", "shared"}
        "shared" predicts subjects that were not fitted on with what all share (leave-one-subject-out); their channels
        are scaled by the mean over the subjects fitted on.
    target_weights : mapping of target to float, optional
        Where several are fitted, ``{"image": 0.99, "text": 0.01}``; equal by default.
    regression : float
        Weight of the squared error beside the contrast. Predictions then keep the length they have.
    temperature : float
    centre : bool
        Contrast latents after taking off the mean of the training latents. Published systems do not.
    validation, repetitions, training, seed
        See `NetworkEncoder`.

    Attributes
    ----------
    signals_ : dict of str to (int, int)
        Channels and times of each subject.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **{"n_epochs": 40, "batch_size": 64, "learning_rate": 1e-3, "weight_decay": 0.01},
        **{"schedule": "one_cycle", "warmup": 0.1},
    }
    signals_: dict[str, tuple[int, ...]]
    _network: ClassVar[Callable[..., torch.nn.Module]]
    _residual_head: ClassVar[bool] = False

    def __init__(
        self,
        sizes: Mapping[str, Any] | None = None,
        *,
        adapter: str | None = None,
        unseen: str = "refuse",
        target_weights: Mapping[str, float] | None = None,
        regression: float = 0.0,
        temperature: float = 0.07,
        centre: bool = False,
        validation: float = 0.1,
        repetitions: str = "input",
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.sizes = sizes
        self.adapter = adapter
        self.unseen = unseen
        self.target_weights = target_weights
        self.regression = regression
        self.temperature = temperature
        self.centre = centre
        self.validation = validation
        self.repetitions = repetitions
        self.training = training
        self.seed = seed

    # -- the network --------------------------------------------------------------------------------------------

    def _adapters(self) -> tuple[str | None, ...]:
        return (None, "channels")

    def _build(self, n_voxels: Mapping[str, int]) -> SignalNetwork:
        shape = next(iter(self.signals_.values()))
        body = self._made(type(self)._network, shape, dict(self.sizes or {}))
        return self._with_heads(body, n_voxels, shape)

    def _with_heads(
        self, body: Any, n_voxels: Mapping[str, int], shape: tuple[int, ...], front: Any = None
    ) -> SignalNetwork:
        sizes = {name: prod(one) for name, one in self.target_shapes_.items()}
        make = ResidualHead if self._residual_head else torch.nn.Linear
        heads = {name: make(body.width, n) for name, n in sizes.items()}
        channels = {name: n // shape[1] for name, n in n_voxels.items()}
        return SignalNetwork(body, heads, channels, shape, front=front, adapter=self.adapter)

    @staticmethod
    def _made(network: Any, shape: tuple[int, ...], sizes: Mapping[str, Any]) -> Any:
        known = [name for name in inspect.signature(network).parameters if name not in ("n_channels", "n_times")]
        for name in sizes:
            if name not in known:
                raise unknown("size", name, known)
        return network(*shape, **sizes)

    def _loss(self) -> ContrastLoss:
        return ContrastLoss.over(self.target_shapes_, self.target_weights, self.regression, self.temperature)

    def _decode(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        made = self.network_(x, subject)
        if self.regression:
            return made
        return {
            name: torch.nn.functional.normalize(one, dim=1) * one.shape[1] ** 0.5 for name, one in made.items()
        }  # latents are scaled to that length on average

    # -- signals in ---------------------------------------------------------------------------------------------

    def _check_options(self) -> None:
        if self.adapter not in self._adapters():
            raise unknown("adapter", self.adapter, self._adapters())
        if self.unseen not in ("refuse", "shared"):
            raise unknown("way with unseen subjects", self.unseen, ("refuse", "shared"))
        if self.unseen == "shared" and self.adapter == "channels":
            raise DataError(
                "every subject has a map of its own: there is none for one never seen",
                fix="adapter=None, ATM with adapter='token', or transfer to the subject",
            )

    def _paired(self, X: Any, y: Any, groups: Any, *, reset: bool = True) -> dict[str, Samples]:
        self._check_options()
        shapes = {}
        if several(X) or is_trials(X):
            for name, trials in split_subjects(X).items():
                shapes[name] = as_signals(trials.responses, name=f"X of subject '{name}'").shape[1:]
        else:
            X = as_signals(X, name="X")
            shapes["1"] = X.shape[1:]
            X = X.reshape(len(X), -1)
        samples = super()._paired(X, y, groups, reset=reset)
        self._keep_shapes(samples, shapes, reset=reset)
        return samples

    def _keep_shapes(self, samples: Mapping[str, Samples], shapes: Any, *, reset: bool) -> None:
        """Check that subjects have the same channels and times, and remember how many."""
        before = {} if reset else self.signals_
        first = next(iter((self.provenances_ if not reset else {n: s.provenance for n, s in samples.items()}).values()))
        for name, one in samples.items():
            self._check_alike(name, one, shapes[name], first, {**before, **shapes})
        if reset:
            self.signals_ = shapes

    def _check_alike(self, name: str, one: Samples, shape: tuple[int, ...], first: Any, shapes: Any) -> None:
        """Subjects share times, and without maps of their own channels too."""
        if shape[1] != next(iter(shapes.values()))[1]:
            raise DataError(
                f"subject '{name}' has another number of times",
                expected=next(iter(shapes.values()))[1],
                found=shape[1],
                fix="resample and cut the epochs of all subjects alike",
            )
        if first.units and one.provenance.units:
            like = first if self.adapter != "channels" else replace(first, units=one.provenance.units)
            replace(like, subjects=one.provenance.subjects).check_same_layout(
                one.provenance,
                whose=f"the trials of subject '{name}'",
                fix="select the channels all have, or adapter='channels'",
            )

    def transfer(self, X: Any, y: Any, **options: Any) -> Any:
        made = super().transfer(X, y, **options)
        new = {name: one.responses.shape[1:] for name, one in split_subjects(X).items()}
        made.signals_ = {**self.signals_, **new}
        return made

    transfer.__doc__ = NetworkEncoder.transfer.__doc__

    def _features(self, X: Any, name: str) -> np.ndarray:
        n_channels, n_times = self.signals_[name if name in self.signals_ else next(iter(self.signals_))]
        if np.ndim(X) == 3:
            X = as_signals(X, name="X")
            if X.shape[1:] != (n_channels, n_times):
                raise DataError(
                    "these signals have another number of channels or times than those fitted on",
                    expected=f"{n_channels} channels, {n_times} times",
                    found=f"{X.shape[1]} channels, {X.shape[2]} times",
                    fix="select the same channels, and resample and cut epochs as for fitting",
                )
            X = X.reshape(len(X), -1)
        if name != UNSEEN:
            return super()._features(X, name)
        mean, scale = (np.mean([one[part] for one in self.scales_.values()], axis=0) for part in (0, 1))
        return ((X - mean) / scale).astype(np.asarray(X).dtype)

    def _learn_scales(self, responses: Any, subject: str) -> tuple[np.ndarray, np.ndarray]:
        n_times = self._n_times
        signals = _Unflattened(responses, n_times)
        return tuple(np.repeat(one, n_times) for one in channel_scales(signals))  # type: ignore[return-value]

    @property
    def _n_times(self) -> int:
        return next(iter(self.signals_.values()))[1]

    def _learn_target_scales(
        self, samples: Mapping[str, Samples], kept: Mapping[str, np.ndarray]
    ) -> dict[str, tuple[np.ndarray, float]]:
        scales = super()._learn_target_scales(samples, kept)
        if self.centre:
            return scales
        return {
            name: (np.zeros_like(mean), float(np.sqrt(np.mean(mean**2) + spread**2)))
            for name, (mean, spread) in scales.items()
        }

    # -- subjects never seen ------------------------------------------------------------------------------------

    def _known(self, subject: str | None) -> str:
        if self.unseen == "shared" and subject is not None and str(subject) not in self.provenances_:
            return UNSEEN
        return super()._known(subject)

    @property
    def _numbers(self) -> dict[str, int]:
        return {**super()._numbers, UNSEEN: len(self.provenances_)}

    def _check_brain(self, name: str, trials: Any) -> None:
        known = self.provenances_[name if name != UNSEEN else next(iter(self.provenances_))]
        if name == UNSEEN:
            known = replace(known, subjects=tuple(sorted(set(trials.trials["subject"].astype(str)))))
        known.check_same_brain(trials)

    # -- disk ---------------------------------------------------------------------------------------------------

    def _notes(self) -> dict[str, Any]:
        return {**super()._notes(), "signals": [[name, *shape] for name, shape in self.signals_.items()]}

    def _take_notes(self, notes: Mapping[str, Any]) -> None:
        super()._take_notes(notes)
        self.signals_ = {name: (int(channels), int(times)) for name, channels, times in notes["signals"]}


class _Unflattened:
    """Rows (n, n_channels * n_times) as signals, block by block."""

    def __init__(self, rows: Rows | Stacked, n_times: int) -> None:
        self.rows, self.shape = rows, (len(rows), rows.shape[1] // n_times, n_times)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        return np.asarray(self.rows[chosen]).reshape(-1, *self.shape[1:])
