"""`UnitScores`: how well each voxel or channel is predicted, beside how well it could be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, closest
from brainalign.scoring.ceilings import correlation_ceiling, ncsnr, noise_ceiling
from brainalign.scoring.correlation import mean_over_targets, pearson, r2
from brainalign.scoring.resampling import interval
from brainalign.scoring.score import Score
from brainalign.spaces import SensorSpace, Space, VolumeSpace
from brainalign.stimuli import select_rows
from brainalign.voxelwise.inference import shuffle_test
from brainalign.voxelwise.intervals import draw_weights, mean_draws, unit_intervals

if TYPE_CHECKING:
    from brainalign.trials import Trials

__all__ = ["UnitScores", "score_predictions"]

HOW = {"r": "Pearson r", "r2": "R²", "r_normalised": "Pearson r over the root of the noise ceiling"}
MEASURES = ("r", "r2", "ceiling", "r_normalised", "p", "q", "p_max")


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
    p, q, p_max : ndarray
        One-sided permutation p of r over stimuli, its false discovery rate over units, and p corrected for all units
        by the maximum statistic; NaN without permutations.
    units : DataFrame
    times : ndarray or None
    space : VolumeSpace, SurfaceSpace, SensorSpace or None
    stimulus_ids : tuple of str
    split : str or None
        Hash of the split of the test trials.
    why : mapping
        For each field that is NaN throughout, the reason.
    measured, predicted : ndarray, shape (n_stimuli, n_units * n_times)
        What was compared, for intervals over stimuli.
    trials : Trials
        The single trials, for intervals of what is normalised by the ceiling.
    """

    r: np.ndarray
    r2: np.ndarray
    ceiling: np.ndarray
    r_normalised: np.ndarray
    p: np.ndarray
    q: np.ndarray
    p_max: np.ndarray
    units: pd.DataFrame
    times: np.ndarray | None
    space: Space | None
    stimulus_ids: tuple[str, ...]
    split: str | None
    measured: np.ndarray = field(repr=False)
    predicted: np.ndarray = field(repr=False)
    trials: Trials = field(repr=False)
    why: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"UnitScores({len(self.units)} units, {self.n_stimuli} stimuli, {self.summary(n_draws=200)!r})"

    @property
    def n_stimuli(self) -> int:
        """Number of test stimuli."""
        return len(self.stimulus_ids)

    def table(self) -> pd.DataFrame:
        """One row per unit (and time): the columns of `units`, every measure, and why r is missing where it is."""
        values = {name: getattr(self, name).ravel() for name in MEASURES} | {"why": self._reasons()}
        if self.times is None:
            return self.units.assign(**values)
        rows = np.repeat(np.arange(len(self.units)), len(self.times))
        return self.units.iloc[rows].reset_index(drop=True).assign(time=np.tile(self.times, len(self.units)), **values)

    def _reasons(self) -> np.ndarray:
        reasons = np.full(self.r.size, "", dtype=object)
        reasons[np.ptp(self.predicted, axis=0) == 0] = "the prediction is constant"
        reasons[np.ptp(self.measured, axis=0) == 0] = "the responses are constant"
        reasons[~np.isnan(self.r.ravel())] = ""
        return reasons

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
            raise DataError(f"no measure '{value}'.{closest(value, MEASURES)}", expected=MEASURES)
        return getattr(self, value)

    def intervals(
        self, value: str = "r", *, level: float = 0.95, n_draws: int = 1000, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bootstrap interval over stimuli of one measure of every unit.

        Parameters
        ----------
        value : {"r", "r2", "r_normalised"}
            With "r_normalised" the ceiling is estimated anew from the stimuli of each draw.
        level : float
        n_draws, seed : int

        Returns
        -------
        low, high : ndarray, shaped like `r`
            NaN where the measure is.
        """
        weights = draw_weights(n_draws, self.n_stimuli, seed=seed)
        low, high = unit_intervals(self, value, weights, level=level)
        return low.reshape(self.r.shape), high.reshape(self.r.shape)

    def summary(self, units: Any = None, *, value: str = "r", n_draws: int = 1000, seed: int = 0) -> Score:
        """Mean of one measure over units, with a bootstrap interval over stimuli.

        Parameters
        ----------
        units : str, mask or numbers, optional
            A query on the units table, such as ``"roi == 'V1'"``.
        value : {"r", "r2", "r_normalised"}
        n_draws, seed : int
        """
        rows = select_rows(self.units, units, what="units")
        inside = np.zeros(self.r.shape, dtype=bool)
        inside[rows] = True
        n_asked = int(inside.sum())
        values = self._measure(value)
        inside &= ~np.isnan(values)
        weights = draw_weights(n_draws, self.n_stimuli, seed=seed)
        low, high = interval(mean_draws(self, value, np.flatnonzero(inside.ravel()), weights))
        left_out = f"{n_asked - inside.sum()} constant" + " or without ceiling" * (value == "r_normalised")
        missing = "no unit has a ceiling" if value == "r_normalised" else "every unit or its prediction is constant"
        empty = self.why.get(value, missing)
        why = {
            **dict.fromkeys(("value", "low", "high"), empty),
            "ceiling": self.why.get("ceiling", "no unit has a ceiling"),
            "split": "test trials carry no split",
        }
        return Score(
            f"mean {value} over units" if units is None else f"mean {value} over {units}",
            mean_over_targets(values[inside])[0],
            ceiling=self._mean_ceiling(value, inside),
            low=float(low),
            high=float(high),
            split=self.split,
            chance=0.0,
            n=self.n_stimuli,
            protocol="held-out stimuli, repetitions averaged",
            how=f"{HOW[value]} over stimuli, mean of {inside.sum()} units ({left_out} left out); percentile "
            f" bootstrap over stimuli, {n_draws} draws",
            why=why,
        )

    def _mean_ceiling(self, value: str, inside: np.ndarray) -> float:
        ceiling = self.ceiling[inside]
        if value == "r_normalised":
            return 1.0
        return mean_over_targets(ceiling if value == "r2" else correlation_ceiling(ceiling))[0]

    def by_region(self, column: str | None = None, **options: Any) -> dict[str, Score]:
        """`summary` of each region: the values of a column of `units`, by default "roi" or "region".

        Options are those of `summary`.
        """
        name = column or next((one for one in ("roi", "region") if one in self.units), None)
        if name is None or name not in self.units:
            known = self.units.columns
            raise DataError(f"no units column '{name}'.{closest(str(name), known)}", expected=list(known))
        labels = self.units[name].astype(str)
        return {
            region: replace(self.summary((labels == region).to_numpy(), **options), name=f"{name} {region}")
            for region in labels.unique()
        }

    def plot(self, ax: Any = None, *, value: str = "r") -> Any:
        """One measure of all units: by region, or over time, with the ceiling behind it. Returns the Axes."""
        from brainalign.voxelwise.plots import plot_scores

        return plot_scores(self, self._measure(value), ax, value=value)


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
    n_permutations : int
        Shuffles of the stimuli behind p, at least; see `brainalign.voxelwise.inference.shuffle_test`. 0 for none.
    seed : int

    Raises
    ------
    DataError
        When there are fewer than two stimuli, or predictions and responses differ in shape.
    """
    shape, measured = trials.shape[1:], average.matrix()
    if len(measured) < 2:
        raise DataError(
            "scores need stimuli to correlate over", expected="at least 2", found=f"{len(measured)} stimuli"
        )
    why = {}
    r = pearson(measured, predicted)
    if np.isnan(r).all():
        why["r"] = why["r_normalised"] = "every unit or its prediction is constant"
    counts = average.trials["n_averaged"].to_numpy()
    ceiling = np.full(r.shape, np.nan)
    if counts.max() > 1:
        ceiling = noise_ceiling(ncsnr(trials.matrix(), trials.stimulus_ids), counts)
    else:
        why["ceiling"] = why["r_normalised"] = "no test stimulus was repeated"
    p = p_max = q = np.full(r.shape, np.nan)
    if n_permutations:
        test = shuffle_test(measured, predicted, n_permutations=n_permutations, seed=seed)
        p, p_max, q = test.p, test.p_max, test.q
    else:
        why["p"] = why["q"] = why["p_max"] = "no permutations asked for"
    with np.errstate(divide="ignore", invalid="ignore"):
        normalised = np.where(ceiling > 0, r / correlation_ceiling(ceiling), np.nan)
    return UnitScores(
        r=r.reshape(shape),
        r2=r2(measured, predicted).reshape(shape),
        ceiling=ceiling.reshape(shape),
        r_normalised=normalised.reshape(shape),
        p=p.reshape(shape),
        q=q.reshape(shape),
        p_max=p_max.reshape(shape),
        units=trials.units,
        times=trials.times,
        space=trials.space,
        stimulus_ids=tuple(str(one) for one in average.stimulus_ids),
        split=trials.info.get("split", {}).get("hash"),
        measured=measured,
        predicted=predicted,
        trials=trials,
        why=why,
    )
