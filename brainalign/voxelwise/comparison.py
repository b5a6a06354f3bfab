"""Which of two models predicts a unit better: paired permutation and paired bootstrap over stimuli."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import row_blocks
from brainalign.errors import DataError, closest
from brainalign.parallel import spawn_seeds
from brainalign.scoring.correlation import mean_over_targets
from brainalign.scoring.resampling import fdr, interval
from brainalign.scoring.score import Score
from brainalign.stimuli import select_rows
from brainalign.voxelwise.inference import NullTally, unit_rows
from brainalign.voxelwise.intervals import draw_weights, drawn_r, percentile_interval
from brainalign.voxelwise.scores import UnitScores

__all__ = ["ModelComparison", "compare_models"]

BLOCK_BYTES = 2**26
_ORDERS_PER_SEED = 100


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Difference of two models' correlations, unit by unit.

    Parameters
    ----------
    difference : ndarray, shape (n_units,) or (n_units, n_times)
        r of the first model less r of the second; NaN where one of them has none.
    low, high : ndarray
        Paired bootstrap interval over stimuli, 95 %.
    p, q, p_max : ndarray
        Two-sided paired permutation p, its false discovery rate over units, and p corrected by the maximum over units.
    units : DataFrame
    times : ndarray or None
    measured, first, second : ndarray, shape (n_stimuli, n_units * n_times)
        Responses and the two models' predictions, in one order of the stimuli.
    split : str or None
    seed, n_permutations, n_draws : int
    """

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    q: np.ndarray
    p_max: np.ndarray
    units: pd.DataFrame
    times: np.ndarray | None
    measured: np.ndarray = field(repr=False)
    first: np.ndarray = field(repr=False)
    second: np.ndarray = field(repr=False)
    split: str | None
    seed: int
    n_permutations: int
    n_draws: int

    def __repr__(self) -> str:
        better = [int(((self.q < 0.05) & side).sum()) for side in (self.difference > 0, self.difference < 0)]
        return (
            f"ModelComparison({self.difference.size} units, {len(self.measured)} stimuli; at q < 0.05 the first model "
            f"is better in {better[0]}, the second in {better[1]})"
        )

    def table(self) -> pd.DataFrame:
        """One row per unit (and time)."""
        names = ("difference", "low", "high", "p", "q", "p_max")
        values = {name: getattr(self, name).ravel() for name in names}
        if self.times is None:
            return self.units.assign(**values)
        rows = np.repeat(np.arange(len(self.units)), len(self.times))
        return self.units.iloc[rows].reset_index(drop=True).assign(time=np.tile(self.times, len(self.units)), **values)

    def summary(self, units: Any = None) -> Score:
        """Mean difference over units with its paired bootstrap interval; p from the paired permutation is in `how`.

        Parameters
        ----------
        units : str, mask or numbers, optional
            A query on the units table.
        """
        columns = self._columns(units)
        value, low, high, p = self._mean(columns)
        none = "no unit has a score from both models"
        why = dict.fromkeys(("value", "low", "high"), none)
        return Score(
            "mean difference of r" if units is None else f"mean difference of r over {units}",
            value,
            ceiling=None,
            chance=0.0,
            low=low,
            high=high,
            n=len(self.measured),
            split=self.split,
            protocol="two models on the same held-out stimuli, repetitions averaged",
            how=f"mean of {len(columns)} units; paired bootstrap over stimuli, {self.n_draws} draws; "
            f"two-sided p = {p:.4g} by swapping predictions stimulus by stimulus, {self.n_permutations} permutations",
            why={**why, "ceiling": "a difference has no ceiling", "split": "test trials carry no split"},
        )

    def regions(self, by: str | None = None) -> pd.DataFrame:
        """Mean difference of each region with interval, p and q over regions.

        Parameters
        ----------
        by : str, optional
            Column of `units`; "roi" or "region" by default.
        """
        name = by or next((one for one in ("roi", "region") if one in self.units), None)
        if name is None or name not in self.units:
            known = list(self.units.columns)
            raise DataError(f"no units column '{name}'.{closest(str(name), known)}", expected=known)
        labels = self.units[name].astype(str)
        rows: dict[str, Mapping[str, float]] = {}
        for region in labels.unique():
            columns = self._columns((labels == region).to_numpy())
            found = dict(zip(("difference", "low", "high", "p"), self._mean(columns), strict=True))
            rows[region] = {"n_units": len(columns), **found}
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(name)
        return table.assign(q=fdr(table["p"]))

    def _columns(self, units: Any) -> np.ndarray:
        """Units (times counted apart) of a query that have a difference."""
        inside = np.zeros(self.difference.shape, dtype=bool)
        inside[select_rows(self.units, units, what="units")] = True
        return np.flatnonzero((inside & ~np.isnan(self.difference)).ravel())

    def _mean(self, columns: np.ndarray) -> tuple[float, float, float, float]:
        """Mean difference over columns, its interval, and its two-sided p."""
        value = mean_over_targets(self.difference.ravel()[columns])[0]
        if not columns.size:
            return value, value, value, value
        weights = draw_weights(self.n_draws, len(self.measured), seed=self.seed)
        signs = _signs(self.n_permutations, len(self.measured), self.seed)
        drawn, null = np.zeros(len(weights)), np.zeros(len(signs))
        for some in row_blocks(len(columns), _column_bytes(weights, signs), budget=BLOCK_BYTES):
            true, one, other = (values[:, columns[some]] for values in (self.measured, self.first, self.second))
            drawn += (drawn_r(true, one, weights) - drawn_r(true, other, weights)).sum(axis=1) / len(columns)
            null += _swapped(true, one, other, signs).sum(axis=1) / len(columns)
        low, high = interval(drawn)
        p = (1 + np.sum(np.abs(null) >= abs(value) - 1e-10)) / (1 + len(null))
        return value, float(low), float(high), float(p)


def compare_models(
    first: UnitScores, second: UnitScores, *, n_permutations: int = 1000, n_draws: int = 1000, seed: int = 0
) -> ModelComparison:
    """Compare two models that predicted the same responses to the same held-out stimuli.

    Under the null hypothesis it does not matter which model made which prediction: for every permutation the two
    (standardised) predictions are swapped for a random half of the stimuli, the same half for all units. All
    permutations of a block of units are three matrix products, as r after swapping is a function of three signed sums.

    Parameters
    ----------
    first, second : UnitScores
        Stimuli are paired by id.
    n_permutations, n_draws : int
    seed : int

    Returns
    -------
    ModelComparison

    Raises
    ------
    DataError
        When units, stimuli, split or measured responses differ.

    Examples
    --------
    >>> from brainalign.trials import Trials
    >>> from brainalign.voxelwise.scores import score_predictions
    >>> rng = np.random.default_rng(0)
    >>> trials = Trials(rng.standard_normal((40, 5)), pd.DataFrame({"stimulus_id": [f"s{i}" for i in range(40)]}))
    >>> good, bad = (trials.responses + scale * rng.standard_normal((40, 5)) for scale in (0.5, 5.0))
    >>> average = trials.average()
    >>> comparison = compare_models(*(score_predictions(one, trials, average) for one in (good, bad)))
    >>> bool((comparison.p_max < 0.05).all())
    True
    """
    rows = _paired_rows(first, second)
    measured, guesses = first.measured, (first.predicted, second.predicted[rows])
    difference = (first.r - second.r).ravel()
    weights = draw_weights(n_draws, len(measured), seed=seed)
    signs = _signs(n_permutations, len(measured), seed)
    tally = NullTally(np.abs(difference), n_permutations)
    low, high = np.full(len(difference), np.nan), np.full(len(difference), np.nan)
    for columns in row_blocks(len(difference), _column_bytes(weights, signs), budget=BLOCK_BYTES):
        true, one, other = (values[:, columns] for values in (measured, *guesses))
        tally.add(columns, slice(None), np.abs(_swapped(true, one, other, signs)))
        low[columns], high[columns] = percentile_interval(drawn_r(true, one, weights) - drawn_r(true, other, weights))
    low[np.isnan(difference)] = high[np.isnan(difference)] = np.nan
    shape = first.r.shape
    test = tally.result(shape)
    return ModelComparison(
        difference=difference.reshape(shape),
        low=low.reshape(shape),
        high=high.reshape(shape),
        p=test.p,
        q=test.q,
        p_max=test.p_max,
        units=first.units,
        times=first.times,
        measured=measured,
        first=guesses[0],
        second=guesses[1],
        split=first.split,
        seed=seed,
        n_permutations=n_permutations,
        n_draws=n_draws,
    )


def _paired_rows(first: UnitScores, second: UnitScores) -> np.ndarray:
    """Rows of the second scores in the order of the first, or `DataError` where they are not of the same thing."""
    facts = {
        "units": [one.units["name"].tolist() for one in (first, second)],
        "times": [None if one.times is None else one.times.tolist() for one in (first, second)],
        "stimuli": [sorted(one.stimulus_ids) for one in (first, second)],
        "split": [one.split for one in (first, second)],
    }
    for what, (here, there) in facts.items():
        if here != there:
            raise DataError(
                f"the two models were not scored on the same {what}",
                expected=here if isinstance(here, str) else f"{len(here or ())}: {(here or [])[:3]} ...",
                found=there if isinstance(there, str) else f"{len(there or ())}: {(there or [])[:3]} ...",
                fix="score both on the same test trials",
            )
    row_of = {one: row for row, one in enumerate(second.stimulus_ids)}
    rows = np.array([row_of[one] for one in first.stimulus_ids])
    if not np.allclose(first.measured, second.measured[rows], rtol=1e-5, atol=0.0):
        raise DataError("the two models were scored against different responses", fix="score both on the same trials")
    return rows


def _signs(n_permutations: int, n_stimuli: int, seed: int) -> np.ndarray:
    """Whether a permutation keeps (1) or swaps (-1) the predictions of a stimulus, (n_permutations, n_stimuli)."""
    if n_permutations < 1:
        raise DataError("a permutation test needs permutations", expected="at least 1", found=n_permutations)
    blocks = [
        np.random.default_rng(child).integers(0, 2, (_ORDERS_PER_SEED, n_stimuli))
        for child in spawn_seeds(seed, -(-n_permutations // _ORDERS_PER_SEED))
    ]
    return 2.0 * np.concatenate(blocks)[:n_permutations] - 1.0


def _swapped(measured: np.ndarray, first: np.ndarray, second: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Difference of r after swapping, (n_permutations, n_units).

    With s and d half the sum and half the difference of the two standardised predictions, a model's predictions
    become s + e d and the other's s - e d, with e the signs.
    """
    true, one, other = (unit_rows(values).T for values in (measured, first, second))
    half_sum, half_difference = (one + other) / 2, (one - other) / 2
    kept = np.einsum("ij,ij->j", true, half_sum)
    moved = signs @ (true * half_difference)
    cross = 2 * (signs @ (half_sum * half_difference))
    centre = (signs @ half_difference) ** 2 / len(true)
    size = np.einsum("ij,ij->j", half_sum, half_sum) + np.einsum("ij,ij->j", half_difference, half_difference) - centre
    return _ratio(kept + moved, size + cross) - _ratio(kept - moved, size - cross)


def _ratio(product: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Product over the root of a square; 0 where swapping left predictions that do not vary."""
    return np.divide(product, np.sqrt(np.abs(square)), out=np.zeros_like(product), where=square > 1e-12)


def _column_bytes(weights: np.ndarray, signs: np.ndarray) -> int:
    return 8 * (8 * weights.shape[1] + 8 * max(len(weights), len(signs)))
