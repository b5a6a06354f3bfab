"""`LagNetwork`: a small convolutional network over delayed features, where `Ridge` is a weighted sum of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from brainalign.arrays import check_finite, row_blocks
from brainalign.errors import DataError
from brainalign.learning import Rows, TrainOptions, seeded, train
from brainalign.learning.stacked import Scaled, column_scales
from brainalign.voxelwise.samples import (
    as_features,
    as_targets,
    check_new_stimuli,
    is_latents,
    is_trials,
    resolve_folds,
    stimulus_rows,
    subjects,
    unit_names,
)

__all__ = ["LagNetwork"]


class LagNetwork(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Targets from features at several delays, by convolutions over the delays and a linear map of the features.

    Features and targets are scaled by the rows learnt from. Training stops early, and the best epoch is chosen, on rows
    that are held out of those given to ``fit``.

    Parameters
    ----------
    n_delays : int
        Of the `Delayer` that made the features: all features at the first delay, then all at the second, and so on.
    width, kernel : int
        Filters of each of two convolutions, and delays that a filter of the first spans, all where there are fewer.
    dropout : float
    cv : int, splitter or iterable of (train, test)
        Which rows the epoch is chosen on: the test side of the last fold. A number makes contiguous folds; give folds
        of `brainalign.splits.contiguous_folds` with a gap of at least the longest delay for continuous data.
    training : mapping, optional
        `brainalign.learning.TrainOptions` by name.
    seed : int

    Attributes
    ----------
    network_ : torch.nn.Module
    stimulus_ids_, subjects_ : tuple of str or None
        Of Latents and Trials fitted on.
    history_ : list of dict
        One entry an epoch.

    Examples
    --------
    >>> from brainalign.voxelwise import Delayer
    >>> rng = np.random.default_rng(0)
    >>> spikes = rng.poisson(1.0, (400, 5))
    >>> y = spikes[:, :2] * np.roll(spikes[:, 2:4], 1, axis=0)
    >>> X = Delayer([0, 1, 2]).fit_transform(spikes)
    >>> model = LagNetwork(3, training={"n_epochs": 2}).fit(X[:300], y[:300])
    >>> model.predict(X[302:]).shape
    (98, 2)
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **{"n_epochs": 20, "batch_size": 128, "learning_rate": 2e-3, "weight_decay": 0.05},
        **{"schedule": "one_cycle", "warmup": 0.2, "patience": 6},
    }

    def __init__(
        self,
        n_delays: int = 1,
        *,
        width: int = 32,
        kernel: int = 3,
        dropout: float = 0.4,
        cv: Any = 5,
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.n_delays = n_delays
        self.width = width
        self.kernel = kernel
        self.dropout = dropout
        self.cv = cv
        self.training = training
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array (n_samples, n_delays * n_features) or Latents
            Rows in the order of time.
        y : array (n_samples, n_targets), or Trials when X is Latents

        Raises
        ------
        DataError
            When something is not finite or does not pair, the columns are not those of `n_delays` delays, an option
            is out of range, or there are too few rows for the folds.
        """
        self.stimulus_ids_, self.subjects_ = None, None
        if is_latents(X) and is_trials(y):
            self.stimulus_ids_, self.subjects_ = tuple(dict.fromkeys(y.stimulus_ids)), subjects(y)
            self._units = unit_names(y)
            X, y = stimulus_rows(X, y.stimulus_ids), y.matrix()
        elif any(is_trials(one) or is_latents(one) for one in (X, y)):
            raise DataError("LagNetwork pairs Latents with Trials, or arrays with arrays", fix="fit(latents, trials)")
        self._one_dimensional = y is not None and np.asarray(y).ndim == 1
        X = as_features(self, X, reset=True)
        Y = np.asarray(as_targets(y, n_samples=len(X)))
        check_finite(Y, name="y")
        self._check_sizes(X.shape[1])
        if self.cv is None or isinstance(self.cv, str):
            raise DataError("an epoch is chosen on held-out rows", expected="a number of folds or folds", found=self.cv)
        kept, held = list(resolve_folds(self.cv, len(X), None))[-1]
        self.scales_ = column_scales(Rows(X, kept)), column_scales(Rows(Y, kept))
        data = {"x": Scaled(X, *self.scales_[0]), "y": Scaled(Y, *self.scales_[1])}
        with seeded(self.seed):
            model = _Network((self.n_delays, X.shape[1] // self.n_delays), Y.shape[1], self)
        options = TrainOptions.of(self.training, **{**self.DEFAULTS, "seed": self.seed})
        sides = [{name: Rows(one, rows) for name, one in data.items()} for rows in (kept, held)]
        made = train(model, _squared, sides[0], options, validation=sides[1])
        self.network_, self.history_ = made.model, made.history
        return self

    def _check_sizes(self, n_columns: int) -> None:
        if self.n_delays < 1 or n_columns % self.n_delays:
            raise DataError(
                "these features are not at so many delays",
                expected=f"a multiple of {self.n_delays} columns",
                found=n_columns,
                fix="give the n_delays of the Delayer that made them",
            )
        if self.kernel < 1 or self.width < 1 or not 0 <= self.dropout < 1:
            raise DataError(
                "an option is out of range",
                expected="kernel >= 1, width >= 1, 0 <= dropout < 1",
                found=f"kernel={self.kernel}, width={self.width}, dropout={self.dropout}",
            )

    def predict(self, X: Any) -> np.ndarray:
        """Targets, (n_samples, n_targets), from delayed features."""
        check_is_fitted(self, "network_")
        values = as_features(self, X.values.reshape(len(X), -1) if is_latents(X) else X, reset=False)
        scaled, (mean, scale) = Scaled(values, *self.scales_[0]), self.scales_[1]
        with torch.inference_mode():
            parts = [
                self.network_(torch.from_numpy(scaled[rows])).numpy()
                for rows in row_blocks(len(values), 64 * values.shape[1], budget=2**26)
            ]
        predicted = (np.concatenate(parts) * scale + mean).astype(values.dtype)
        return predicted[:, 0] if self._one_dimensional else predicted

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean R² over the targets; of Trials the repetitions of a stimulus are averaged first.

        Raises
        ------
        LeakageError
            When Latents and Trials are given and a stimulus was fitted on.
        """
        if not (is_latents(X) and is_trials(y)):
            return super().score(X, y, sample_weight)
        check_is_fitted(self, "network_")
        units = () if self.stimulus_ids_ is None else self._units
        check_new_stimuli(y, self.stimulus_ids_, units, self.subjects_)
        mean = y.average("stimulus_id")
        return super().score(stimulus_rows(X, mean.stimulus_ids), mean.matrix(), sample_weight)


class _Network(nn.Module):
    """A linear map of all features, plus what two convolutions over the delays add; the latter begins at zero."""

    def __init__(self, shape: tuple[int, int], n_targets: int, sizes: LagNetwork) -> None:
        super().__init__()
        self.shape = shape
        n_delays, n_features = shape
        width, kernel = sizes.width, min(sizes.kernel, n_delays)
        self.dropout = nn.Dropout(sizes.dropout)
        self.linear = nn.Linear(n_delays * n_features, n_targets)
        self.convolutions = nn.Sequential(
            nn.Conv1d(n_features, width, kernel), nn.GELU(), nn.Dropout(sizes.dropout),
            nn.Conv1d(width, width, 1), nn.GELU(), nn.Dropout(sizes.dropout), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(width * (n_delays - kernel + 1), n_targets)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dropout(x)
        over_time = x.reshape(len(x), *self.shape).transpose(1, 2)
        return self.linear(x) + self.head(self.convolutions(over_time))


def _squared(model: nn.Module, batch: Any) -> torch.Tensor:
    return (model(batch["x"]) - batch["y"]).square().mean()
