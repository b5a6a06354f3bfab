"""A first look at the scores of units; `brainalign.report.plots` draws for print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brainalign.scoring.ceilings import correlation_ceiling

if TYPE_CHECKING:
    from brainalign.voxelwise.scores import UnitScores

__all__ = ["plot_scores"]


def plot_scores(scores: UnitScores, values: np.ndarray, ax: Any = None, *, value: str = "r") -> Any:
    """Values over time as a line per unit, or else as a box per region; the mean ceiling of each in grey.

    Parameters
    ----------
    scores : UnitScores
    values : array, shaped like ``scores.r``
    ax : matplotlib Axes, optional
    value : str
        What the values are, for the axis.
    """
    from matplotlib.figure import Figure

    if ax is None:
        ax = Figure(figsize=(6.0, 3.2), layout="constrained").subplots()
    ceilings = {"r": correlation_ceiling(scores.ceiling), "r2": scores.ceiling}
    ceiling = ceilings.get(value, np.full(values.shape, np.nan))
    if scores.times is not None:
        _over_time(ax, scores.times, values, ceiling)
    else:
        _by_region(ax, scores.units, values, ceiling)
    ax.axhline(0.0, color="black", linewidth=0.8)
    ax.set_ylabel(value)
    return ax


def _over_time(ax: Any, times: np.ndarray, values: np.ndarray, ceiling: np.ndarray) -> None:
    if not np.isnan(ceiling).all():
        highest = np.nanmax(np.where(np.isnan(ceiling), -np.inf, ceiling), axis=0)
        ax.fill_between(times, 0.0, np.maximum(highest, 0.0), color="0.9", label="highest noise ceiling", zorder=0)
    ax.plot(times, values.T, color="#4c72b0", linewidth=0.8, alpha=0.6)
    ax.set_xlabel("time (s)")


def _by_region(ax: Any, units: Any, values: np.ndarray, ceiling: np.ndarray) -> None:
    column = next((name for name in ("roi", "region") if name in units), None)
    labels = units[column].astype(str).to_numpy() if column else np.full(len(units), "all units")
    regions = list(dict.fromkeys(labels))
    for position, region in enumerate(regions):
        inside = (labels == region) & ~np.isnan(values)
        if np.any(inside & ~np.isnan(ceiling)):
            ax.hlines(np.nanmean(ceiling[inside]), position - 0.4, position + 0.4, color="0.6", linewidth=3)
        ax.boxplot(values[inside], positions=[position], widths=0.6, showfliers=False)
    ax.set_xticks(range(len(regions)), regions, rotation=30, ha="right")
