"""`NeuralClassifier`: a network for signals as a scikit-learn classifier, trained by the one trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import check_finite, resolve_device, row_blocks
from brainalign.errors import DataError, unknown
from brainalign.learning.batches import Batch, Rows
from brainalign.learning.networks import EEGNetwork, RecurrentNetwork, ShallowNetwork, TSConvNetwork
from brainalign.learning.options import TrainOptions
from brainalign.learning.randomness import seeded
from brainalign.learning.trainer import train

__all__ = ["NETWORKS", "NeuralClassifier", "as_signals"]

NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {
    "eegnet": EEGNetwork,
    "recurrent": RecurrentNetwork,
    "shallow": ShallowNetwork,
    "tsconv": TSConvNetwork,
}
"""Networks that `NeuralClassifier` knows by name."""


class NeuralClassifier(ClassifierMixin, BaseEstimator):
    """Class of each epoch by a network, from arrays of trials by channels by times.

    Each channel is centred and divided by its SD over the training trials and times; classes weigh the same however
    many trials they have.

    Parameters
    ----------
    network : {"eegnet", "recurrent", "shallow", "tsconv"}
        Networks of `brainalign.learning.networks`.
    sizes : mapping, optional
        Of the network, by name, over its own defaults.
    clip : float or None
        Scaled signals beyond this many SD are cut to it: artefacts of dry electrodes weigh less.
    validation : float
        Share of the training trials, the last ones of each class, on which the best epoch is chosen; 0 trains to the
        end, and with `patience` in `training` stops early.
    training : mapping, optional
        `brainalign.learning.TrainOptions` by name.
    seed : int

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    network_ : torch.nn.Module
    history_ : list of dict
        One entry an epoch.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.tile(["left", "right"], 30)
    >>> X = rng.standard_normal((60, 4, 64))
    >>> X[labels == "right", 2] += np.sin(np.arange(64) / 3)
    >>> model = NeuralClassifier("eegnet", {"kernel": 16}, training={"n_epochs": 40}).fit(X[:40], labels[:40])
    >>> model.score(X[40:], labels[40:]) > 0.8
    True
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **{"n_epochs": 60, "batch_size": 32, "learning_rate": 3e-3, "weight_decay": 0.01},
        **{"schedule": "one_cycle", "warmup": 0.2},
    }

    def __init__(
        self,
        network: str = "eegnet",
        sizes: Mapping[str, Any] | None = None,
        *,
        clip: float | None = None,
        validation: float = 0.0,
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.network = network
        self.sizes = sizes
        self.clip = clip
        self.validation = validation
        self.training = training
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array (n_trials, n_channels, n_times)
        y : array (n_trials,)

        Raises
        ------
        DataError
            When X is not such an array, is not finite, or epochs are too short; when there is a single class.
        """
        if self.network not in NETWORKS:
            raise unknown("network", self.network, NETWORKS)
        if not (0 <= self.validation < 1 and (self.clip is None or self.clip > 0)):
            raise DataError("an option is out of range", expected="0 <= validation < 1, clip > 0 or None")
        X, labels = as_signals(X), np.asarray(y)
        if labels.shape != (len(X),):
            raise DataError("one label a trial is needed", expected=(len(X),), found=labels.shape)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError("a classifier needs two classes", found=self.classes_.tolist())
        self.n_channels_, self.n_times_ = X.shape[1:]
        options = TrainOptions.of(self.training, **{**self.DEFAULTS, "seed": self.seed})
        held = self._held(codes)
        kept = np.setdiff1d(np.arange(len(X)), held)
        self.mean_ = X[kept].mean(axis=(0, 2), dtype=np.float64)[:, None]
        spread = X[kept].std(axis=(0, 2), dtype=np.float64)[:, None]
        self.scale_ = np.where(spread > 0, spread, 1.0)
        data = {"x": self._scaled(X), "y": codes.astype(np.int64)}
        with seeded(self.seed):
            body = NETWORKS[self.network](self.n_channels_, self.n_times_, **(self.sizes or {}))
            model = torch.nn.Sequential(body, torch.nn.Linear(int(body.width), len(self.classes_)))  # type: ignore[arg-type]
        share = np.bincount(codes[kept], minlength=len(self.classes_))
        weight = torch.tensor(len(kept) / (len(share) * np.maximum(share, 1)), dtype=torch.float32)

        def loss(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
            each = torch.nn.functional.cross_entropy(network(batch["x"]), batch["y"], reduction="none")
            return (each * weight.to(each.device)[batch["y"]]).mean()

        sides = [{name: Rows(one, rows) for name, one in data.items()} for rows in (kept, held)]
        made = train(model, loss, sides[0], options, validation=sides[1] if len(held) else None)
        self.network_, self.history_ = made.model, made.history
        return self

    def _held(self, codes: np.ndarray) -> np.ndarray:
        """The last trials of each class: neighbours in time are alike, so a random draw would flatter."""
        parts = [np.flatnonzero(codes == code) for code in range(len(self.classes_))]
        return np.sort(np.concatenate([part[len(part) - int(self.validation * len(part)) :] for part in parts]))

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        scaled = (X - self.mean_) / self.scale_
        return (scaled if self.clip is None else np.clip(scaled, -self.clip, self.clip)).astype(np.float32)

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits, (n_trials, n_classes); for two classes the second less the first, (n_trials,)."""
        check_is_fitted(self, "network_")
        X = as_signals(X)
        if X.shape[1:] != (self.n_channels_, self.n_times_):
            raise DataError(
                "these epochs have other channels or times than those fitted on",
                expected=f"{self.n_channels_} channels, {self.n_times_} times",
                found=f"{X.shape[1]} channels, {X.shape[2]} times",
                fix="pick the same channels, and resample and cut epochs as for fitting",
            )
        device = resolve_device(TrainOptions.of(self.training).device)
        network, parts = self.network_.to(device).eval(), []
        with torch.inference_mode():
            for rows in row_blocks(len(X), 64 * X[0].nbytes):
                parts.append(network(torch.from_numpy(self._scaled(X[rows])).to(device)).cpu().numpy())
        network.to("cpu")
        logits = np.concatenate(parts).astype(np.float64)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, (n_trials, n_classes)."""
        logits = self.decision_function(X)
        if logits.ndim == 1:
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Class of each trial, (n_trials,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def as_signals(X: Any, *, name: str = "X") -> np.ndarray:
    """Finite numbers of trials by channels by times.

    Raises
    ------
    DataError
        When there are other dimensions, no trial, no channel or no time, or something is not finite.

    Examples
    --------
    >>> as_signals(np.zeros((2, 3, 4), dtype="int16")).dtype
    dtype('float64')
    """
    array = np.asarray(X)
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise DataError(
            f"{name} must be numbers of trials by channels by times",
            expected="(n_trials, n_channels, n_times), none of them 0",
            found=f"{array.dtype} {array.shape}",
            fix="epochs of some length; X[:, None] gives a single channel its axis",
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    check_finite(array, name=name)
    return array
