"""What spatial models share: latents with a grid, paired with responses by stimulus, and scored on new stimuli."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import check_finite, row_blocks
from brainalign.errors import DataError
from brainalign.scoring.correlation import mean_over_targets, r2
from brainalign.voxelwise.samples import (
    as_targets,
    check_new_stimuli,
    is_latents,
    is_trials,
    subjects,
    unit_names,
)
from brainalign.voxelwise.scores import UnitScores, score_predictions

__all__ = ["Paired", "SpatialModel", "TokenMaps"]


class TokenMaps:
    """Latents on a grid, read in blocks of stimuli as (n, n_tokens, n_channels) float32.

    Parameters
    ----------
    values : array (n_stimuli, n_tokens, n_channels) or (n_stimuli, n_channels, height, width)
        Tokens in row-major order of the grid, or convolutional maps. Memory maps stay on disk.
    grid : (int, int), optional
        Height and width of a grid of tokens; square by default.

    Raises
    ------
    DataError
        When there is no grid, or a value is not finite.

    Examples
    --------
    >>> maps = TokenMaps(np.zeros((5, 8, 3, 2)))
    >>> maps.grid, maps.shape
    ((3, 2), (5, 6, 8))
    """

    dtype = np.dtype(np.float32)

    def __init__(self, values: Any, grid: tuple[int, int] | None = None) -> None:
        values = values if isinstance(values, np.ndarray) else np.asarray(values)
        if values.ndim not in (3, 4) or values.dtype.kind not in "fiub" or 0 in values.shape:
            raise DataError(
                "X must be latents on a grid",
                expected="numbers, tokens (n_stimuli, n_tokens, n_channels) or maps (n_stimuli, n_channels, h, w)",
                found=f"{values.dtype} {values.shape}",
                fix="extract a layer with patch tokens or convolutional maps",
            )
        self.values, self._is_map = values, values.ndim == 4
        self.grid = values.shape[2:] if self._is_map else _token_grid(values.shape[1], grid)
        if self._is_map and grid is not None and tuple(grid) != self.grid:
            raise DataError("these maps have another grid", expected=tuple(grid), found=self.grid)
        n_channels = values.shape[1] if self._is_map else values.shape[2]
        self.shape = (len(values), self.grid[0] * self.grid[1], n_channels)
        check_finite(values, name="X")

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Tokens (n, n_tokens, n_channels) of some stimuli."""
        some = np.asarray(self.values[rows], dtype=np.float32)
        return some.reshape(*some.shape[:2], -1).transpose(0, 2, 1) if self._is_map else some

    def blocks(self, extra_bytes: int = 0) -> Any:
        """Slices of stimuli whose tokens fit a byte budget."""
        return row_blocks(len(self), 4 * self.shape[1] * self.shape[2] + extra_bytes, budget=2**26)


def _token_grid(n_tokens: int, grid: tuple[int, int] | None) -> tuple[int, int]:
    side = math.isqrt(n_tokens)
    height, width = (side, side) if grid is None else (int(grid[0]), int(grid[1]))
    if height * width != n_tokens:
        raise DataError(
            "these tokens do not fill a grid",
            expected="a square number of tokens" if grid is None else f"{height} × {width} = {height * width} tokens",
            found=f"{n_tokens} tokens",
            fix="leave out class and register tokens, or give grid=(height, width)",
        )
    return height, width


@dataclass(frozen=True, eq=False)
class Paired:
    """Samples ready for fitting: sample i shows stimulus ``rows[i]`` of `maps` and gave ``responses[i]``."""

    maps: TokenMaps
    rows: np.ndarray
    responses: np.ndarray
    groups: np.ndarray | None
    units: Any = None


class SpatialModel(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of models from latents on a grid to responses; a subclass fits and predicts, the rest is here.

    Attributes
    ----------
    grid_ : (int, int)
    n_channels_ : int
    n_units_ : int
    stimulus_ids_ : tuple of str or None
        Stimuli fitted on, when fitted on Latents and Trials; they cannot be scored on.
    """

    grid: tuple[int, int] | None

    def _pair(self, X: Any, y: Any, groups: Any) -> Paired:
        """Check and join; learns grid, channels, units and what later data are compared with."""
        self.stimulus_ids_, self.latent_space_, self.unit_names_, self.subjects_ = None, None, None, None
        units = None
        if is_latents(X) and is_trials(y):
            ids = y.stimulus_ids
            latents = X.select(sorted(set(ids))) if not set(X.ids) <= set(ids) else X
            row_of = {name: row for row, name in enumerate(latents.ids)}
            rows = np.array([row_of[one] for one in ids])
            groups = ids if groups is None else groups
            self.stimulus_ids_, self.latent_space_ = tuple(sorted(set(ids))), X.space
            units, self.unit_names_, self.subjects_ = y.units, unit_names(y), subjects(y)
            X, y = latents.values, y.matrix()
        elif any(is_trials(one) or is_latents(one) for one in (X, y)):
            raise DataError(
                f"{type(self).__name__} pairs Latents with Trials, or arrays with arrays",
                found=f"X {type(X).__name__}, y {type(y).__name__}",
                fix="fit(latents, trials), or fit(latents.at(ids), responses) with rows that match",
            )
        else:
            rows = np.arange(len(X))
        maps = TokenMaps(X, self.grid)
        self._one_dimensional = (y if hasattr(y, "ndim") else np.asarray(y)).ndim == 1
        responses = as_targets(y, n_samples=len(rows))
        check_finite(responses, name="Y")
        if len(rows) < 4:
            raise DataError("too few samples to learn from", expected="at least 4", found=f"n_samples = {len(rows)}")
        if groups is not None and len(groups) != len(rows):
            raise DataError("groups must label every sample", expected=len(rows), found=len(groups))
        self.grid_, self.n_channels_, self.n_units_ = maps.grid, maps.shape[2], responses.shape[1]
        return Paired(maps, rows, responses, None if groups is None else np.asarray(groups), units)

    def _maps_like_fitted(self, X: Any) -> TokenMaps:
        """Latents to predict from, or `DataError` where they are of another space, grid or number of channels."""
        check_is_fitted(self, "grid_")
        if is_latents(X):
            if self.latent_space_ is not None and X.space != self.latent_space_:
                raise DataError(
                    "these latents are of another space than those fitted on",
                    expected=self.latent_space_,
                    found=X.space,
                )
            X = X.values
        maps = TokenMaps(X, self.grid_)
        if maps.shape[2] != self.n_channels_:
            raise DataError(
                "these latents have another number of channels than those fitted on",
                expected=self.n_channels_,
                found=maps.shape[2],
            )
        return maps

    def score(self, X: Any, y: Any) -> float:
        """Mean R² over the units that vary, on samples that were not fitted on.

        Parameters
        ----------
        X, y
            As in `fit`; the repetitions of a stimulus in Trials are averaged first.

        Raises
        ------
        LeakageError
            When Latents and Trials are given and a stimulus was fitted on.
        """
        if is_latents(X) and is_trials(y):
            return mean_over_targets(self.score_units(X, y, n_permutations=0).r2)[0]
        predicted = self.predict(X)
        responses = as_targets(y, n_samples=len(predicted))
        predicted = predicted.reshape(len(predicted), -1)
        if responses.shape != predicted.shape:
            raise DataError("another number of units than fitted on", expected=self.n_units_, found=responses.shape[1])
        return mean_over_targets(r2(responses, predicted))[0]

    def score_units(self, latents: Any, trials: Any, *, n_permutations: int = 1000, seed: int = 0) -> UnitScores:
        """Score each unit on stimuli that were not fitted on: r, R², ceilings, p and q.

        Parameters
        ----------
        latents : Latents
        trials : Trials
            Test trials of the subject and units fitted on; the repetitions of a stimulus are averaged.
        n_permutations : int
            Shuffles of stimuli behind the p-values of r; 0 leaves p and q out.
        seed : int

        Raises
        ------
        LeakageError
            When a test stimulus was fitted on.
        DataError
            When the model was fitted on bare arrays, or units, subject or latent space differ.
        """
        check_is_fitted(self, "grid_")
        check_new_stimuli(trials, self.stimulus_ids_, self.unit_names_ or (), self.subjects_)
        average = trials.average("stimulus_id")
        predicted = self.predict(latents.select(average.stimulus_ids)).reshape(len(average), -1)
        return score_predictions(predicted, trials, average, n_permutations=n_permutations, seed=seed)

    def predict(self, X: Any) -> np.ndarray:
        """Responses (n_stimuli, n_units) to stimuli."""
        raise NotImplementedError
