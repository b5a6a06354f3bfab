"""`UnitScores`: how well each voxel or channel is predicted, beside how well it could be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.scoring.ceilings import correlation_ceiling, ncsnr, noise_ceiling
from brainalign.scoring.correlation import mean_over_targets, pearson, r2
from brainalign.scoring.resampling import bootstrap_weights, fdr, interval, permutation_p, permutations
from brainalign.scoring.score import Score
from brainalign.spaces import SensorSpace, Space, VolumeSpace
from brainalign.stimuli import select_rows

if TYPE_CHECKING:
    from brainalign.trials import Trials

__all__ = ["UnitScores", "score_predictions"]

MEASURES = ("r", "r2", "ceiling", "r_normalised", "p", "q")


@dataclass(frozen=True, eq=False)
class UnitScores:
    """Scores per unit (and time) on held-out stimuli.

    Parameters
    ----------
    r, r2 : ndarray, shape (n_units,) or (n_units, n_times)
        Pearson correlation and coefficient of determination over stimuli; NaN for a constant unit.
    ceiling : ndarray
        Share of variance that a perfect model would explain; NaN without repetitions.
    r_normalised : ndarray
        r over the square root of the ceiling; NaN where the ceiling is zero.
    p, q : ndarray
        One-sided permutation p of r over stimuli, and its false discovery rate over units; NaN without permutations.
    units : DataFrame
    times : ndarray or None
    space : VolumeSpace, SurfaceSpace, SensorSpace or None
    n_stimuli : int
    split : str or None
        Hash of the split of the test trials.
    why : mapping
        For each field that is NaN throughout, the reason.
    measured, predicted : ndarray, shape (n_stimuli, n_units * n_times)
        What was compared, for intervals over stimuli.
    """

    r: np.ndarray
    r2: np.ndarray
    ceiling: np.ndarray
    r_normalised: np.ndarray
    p: np.ndarray
    q: np.ndarray
    units: pd.DataFrame
    times: np.ndarray | None
    space: Space | None
    n_stimuli: int
    split: str | None
    measured: np.ndarray = field(repr=False)
    predicted: np.ndarray = field(repr=False)
    why: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"UnitScores({len(self.units)} units, {self.n_stimuli} stimuli, {self.summary(n_draws=200)!r})"

    def table(self) -> pd.DataFrame:
        """One row per unit (and time): the columns of `units`, and every measure."""
        if self.times is None:
            return self.units.assign(**{name: getattr(self, name) for name in MEASURES})
        rows = np.repeat(np.arange(len(self.units)), len(self.times))
        values = {name: getattr(self, name).ravel() for name in MEASURES}
        return self.units.iloc[rows].reset_index(drop=True).assign(time=np.tile(self.times, len(self.units)), **values)

    def to_nifti(self, path: str | PathLike[str] | None = None, *, value: str = "r") -> Any:
        """NIfTI image of one measure, written to `path` where given; voxels without a unit hold NaN."""
        if not isinstance(self.space, VolumeSpace):
            raise DataError("these units do not come from a volume", expected="VolumeSpace", found=self.space)
        image = self.space.to_nifti(self._measure(value), self.units, fill=np.nan)
        if path is not None:
            image.to_filename(path)
        return image

    def to_evoked(self, *, value: str = "r") -> Any:
        """MNE Evoked of one measure by channel (and time)."""
        if not isinstance(self.space, SensorSpace):
            raise DataError("these units do not come from sensors", expected="SensorSpace", found=self.space)
        times = np.zeros(1) if self.times is None else self.times
        return self.space.to_evoked(self._measure(value), self.units, times)

    def _measure(self, value: str) -> np.ndarray:
        if value not in MEASURES:
            raise DataError(f"no measure '{value}'", expected=MEASURES)
        return getattr(self, value)

    def summary(self, units: Any = None, *, n_draws: int = 1000, seed: int = 0) -> Score:
        """Mean r over units, with a bootstrap interval over stimuli.

        Parameters
        ----------
        units : str, mask or numbers, optional
            A query on the units table, such as ``"roi == 'V1'"``.
        n_draws, seed : int
        """
        rows = select_rows(self.units, units, what="units")
        inside = np.zeros(self.r.shape, dtype=bool)
        inside[rows] = True
        inside &= ~np.isnan(self.r)
        ceiling = correlation_ceiling(self.ceiling[inside])
        columns = np.flatnonzero(inside.ravel())
        low, high = _mean_r_interval(self.measured[:, columns], self.predicted[:, columns], n_draws=n_draws, seed=seed)
        n_constant = int(self.r[rows].size - inside.sum())
        why = {
            "value": "every unit is constant",
            "low": "every unit is constant",
            "high": "every unit is constant",
            "ceiling": self.why.get("ceiling", "no unit has a ceiling"),
            "split": "test trials carry no split",
        }
        return Score(
            "mean r over units" if units is None else f"mean r over {units}",
            mean_over_targets(self.r[inside])[0],
            ceiling=mean_over_targets(ceiling)[0],
            low=low,
            high=high,
            split=self.split,
            chance=0.0,
            n=self.n_stimuli,
            protocol="held-out stimuli, repetitions averaged",
            how=f"Pearson r over stimuli, mean of {inside.sum()} units ({n_constant} constant left out); "
            f"percentile bootstrap over stimuli, {n_draws} draws",
            why=why,
        )


def score_predictions(
    predicted: np.ndarray, trials: Trials, average: Trials, *, n_permutations: int = 1000, seed: int = 0
) -> UnitScores:
    """Compare predictions with the average response to each stimulus.

    Parameters
    ----------
    predicted : array (n_stimuli, n_units * n_times)
        In the order of `average`.
    trials, average : Trials
        Single trials (for the ceiling), and their average by stimulus.
    n_permutations, seed : int
    """
    shape, measured = trials.shape[1:], average.matrix()
    if len(measured) < 2:
        raise DataError(
            "scores need stimuli to correlate over", expected="at least 2", found=f"{len(measured)} stimuli"
        )
    why = {}
    r = pearson(measured, predicted)
    counts = average.trials["n_averaged"].to_numpy()
    ceiling = np.full(r.shape, np.nan)
    if counts.max() > 1:
        ceiling = noise_ceiling(ncsnr(trials.matrix(), trials.stimulus_ids), counts)
    else:
        why["ceiling"] = why["r_normalised"] = "no test stimulus was repeated"
    p = np.full(r.shape, np.nan)
    if n_permutations:
        orders = list(permutations(len(measured), n_permutations, seed=seed))
        for columns in row_blocks(len(r), 8 * (2 * len(measured) + n_permutations), budget=2**26):
            p[columns] = _permuted(measured[:, columns], predicted[:, columns], r[columns], orders)
    else:
        why["p"] = why["q"] = "no permutations asked for"
    with np.errstate(divide="ignore", invalid="ignore"):
        normalised = np.where(ceiling > 0, r / correlation_ceiling(ceiling), np.nan)
    return UnitScores(
        r=r.reshape(shape),
        r2=r2(measured, predicted).reshape(shape),
        ceiling=ceiling.reshape(shape),
        r_normalised=normalised.reshape(shape),
        p=p.reshape(shape),
        q=fdr(p).reshape(shape),
        units=trials.units,
        times=trials.times,
        space=trials.space,
        n_stimuli=len(measured),
        split=trials.info.get("split", {}).get("hash"),
        measured=measured,
        predicted=predicted,
        why=why,
    )


def _unit_columns(values: np.ndarray) -> np.ndarray:
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    norm = np.linalg.norm(centred, axis=0)
    return centred / np.where(norm > 0, norm, 1.0)


def _permuted(measured: np.ndarray, predicted: np.ndarray, r: np.ndarray, orders: list[np.ndarray]) -> np.ndarray:
    """P-values of r when stimuli are shuffled against each other, the same way for every unit."""
    true, guess = _unit_columns(measured), _unit_columns(predicted)
    null = np.stack([np.einsum("ij,ij->j", true, guess[order]) for order in orders])
    return permutation_p(r, null)


def _mean_r_interval(measured: np.ndarray, predicted: np.ndarray, *, n_draws: int, seed: int) -> tuple[float, float]:
    """Bootstrap interval over stimuli of the mean r over units, from weighted sums of products."""
    if not measured.shape[1]:
        return float("nan"), float("nan")
    true, guess = _unit_columns(measured), _unit_columns(predicted)
    draws = []
    for weights in bootstrap_weights(n_draws, len(true), seed=seed):
        total = np.zeros(len(weights))
        share = weights / len(true)
        for columns in row_blocks(true.shape[1], 8 * (5 * len(true) + 8 * len(weights)), budget=2**26):
            x, y = true[:, columns], guess[:, columns]
            mean_x, mean_y = share @ x, share @ y
            spread = (share @ (x * x) - mean_x**2) * (share @ (y * y) - mean_y**2)
            with np.errstate(divide="ignore", invalid="ignore"):
                drawn = (share @ (x * y) - mean_x * mean_y) / np.sqrt(spread)
            # A resample in which a unit does not vary counts that unit as uncorrelated.
            total += np.where(spread > 1e-24, drawn, 0.0).sum(axis=1)
        draws.append(total / true.shape[1])
    low, high = interval(np.concatenate(draws))
    return float(low), float(high)
