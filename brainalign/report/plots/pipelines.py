"""Pipelines side by side: every subject's score, mean ranks with their critical difference, decisions along a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from brainalign.errors import DataError
from brainalign.report.style import FAINT, INK, MUTED, SERIES, WEAK, new_figure, number, short, styled

__all__ = ["decision_timeline", "pipeline_points", "rank_diagram"]


@styled
def pipeline_points(
    scores: pd.DataFrame,
    *,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    chance: float | None = None,
    label: str = "score",
    title: str | None = None,
) -> Figure:
    """Draw a point for each subject and pipeline, the mean with its interval, and chance.

    Parameters
    ----------
    scores : DataFrame (n_subjects, n_pipelines)
        One column a pipeline; NaN is left out.
    intervals : mapping of pipeline to (low, high), optional
    chance : float, optional
    label : str
        Of the axis.
    """
    if scores.empty:
        raise DataError("no pipeline to draw", expected="at least one subject and pipeline", found=scores.shape)
    order = scores.mean().sort_values(ascending=False).index
    figure = new_figure(6.2, 1.1 + 0.42 * len(order), title)
    axes = figure.add_subplot()
    for row, name in enumerate(order):
        values = scores[name].dropna().to_numpy(dtype=float)
        # Spread by rank, not by chance, so that the same table gives the same figure.
        shift = 0.26 * (np.argsort(np.argsort(values)) % 3 - 1)
        axes.scatter(values, row + shift, s=16, color=SERIES[0], alpha=0.55, lw=0, zorder=2)
        axes.plot([values.mean()] * 2, [row - 0.3, row + 0.3], color=INK, lw=2, zorder=3)
        low, high = (intervals or {}).get(str(name), (np.nan, np.nan))
        axes.hlines(row, low, high, color=INK, lw=1.2, zorder=3)
        place = max(values.max(), high if np.isfinite(high) else values.max())
        axes.annotate(number(values.mean()), (place, row), (6, 0), textcoords="offset points", va="center")
    if chance is not None:
        axes.axvline(chance, color=SERIES[1], lw=1.4, ls=(0, (2, 1.5)))
    axes.set_yticks(range(len(order)), [short(name, longest=26) for name in order])
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    handles = [
        Line2D([], [], color=SERIES[0], marker="o", ls="", ms=4, alpha=0.55, label="a subject"),
        Line2D([], [], color=INK, lw=2, label="mean"),
        *([Line2D([], [], color=INK, lw=1.2, label="95 % interval")] if intervals else []),
        *([Line2D([], [], color=SERIES[1], lw=1.4, ls=(0, (2, 1.5)), label="chance")] if chance is not None else []),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.4)
    return figure


@styled
def rank_diagram(
    ranks: Mapping[str, float], difference: float, groups: Sequence[Sequence[str]], *, title: str | None = None
) -> Figure:
    """Draw mean ranks on a line; a bar joins pipelines that the test does not tell apart (Demšar 2006).

    Parameters
    ----------
    ranks : mapping of pipeline to mean rank
        1 is best.
    difference : float
        The critical difference.
    groups : sequence of sequences of pipelines
        What each bar joins.
    """
    if len(ranks) < 2:
        raise DataError("ranks need two pipelines", expected=">= 2", found=len(ranks))
    order = sorted(ranks, key=lambda name: ranks[name])
    half = (len(order) + 1) // 2
    base = 0.4 + 0.28 * len(groups)
    figure = new_figure(6.2, 1.2 + 0.3 * (half + len(groups)), title)
    axes = figure.add_subplot()
    axes.axis("off")
    last = len(order)
    axes.hlines(0, 1, last, color=INK, lw=1.2)
    for tick in range(1, last + 1):
        axes.vlines(tick, -0.12, 0, color=INK, lw=1.2)
        axes.text(tick, -0.2, str(tick), ha="center", va="bottom", color=MUTED, size=8.5)
    for place, name in enumerate(order):
        left = place < half
        y = base + 0.55 * (place if left else last - 1 - place)
        end = 0.8 if left else last + 0.2
        axes.plot([ranks[name], ranks[name], end], [0, y, y], color=WEAK, lw=1)
        text = f"{short(name, longest=22)}  {number(ranks[name])}"
        axes.text(end, y, text, ha="right" if left else "left", va="center", size=8.5)
    for row, group in enumerate(groups):
        values = [ranks[name] for name in group]
        axes.hlines(0.22 + 0.28 * row, min(values) - 0.04, max(values) + 0.04, color=SERIES[0], lw=3.5)
    axes.hlines(-0.95, 1, 1 + difference, color=SERIES[1], lw=2)
    axes.text(1, -1.05, f"critical difference {number(difference)}", ha="left", va="bottom", size=8.5, color=MUTED)
    axes.set_xlim(1 - 0.42 * last, last + 0.42 * last)
    axes.set_ylim(base + 0.55 * half, -1.6)
    return figure


@styled
def decision_timeline(windows: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Draw the label and the decision of each window of one run along time.

    Parameters
    ----------
    windows : DataFrame
        stop (seconds), label and predicted, in the order of time, as `PseudoOnline` gives them.
    """
    if windows.empty or not {"stop", "label", "predicted"} <= set(windows):
        raise DataError("no windows to draw", expected="stop, label and predicted", found=list(windows))
    classes = sorted({*windows["label"], *windows["predicted"]} - {"idle"})
    colours = dict(zip(classes, SERIES, strict=False)) | {"idle": FAINT}
    figure = new_figure(7.6, 1.7, title)
    axes = figure.add_subplot()
    stop = windows["stop"].to_numpy(dtype=float)
    width = float(np.median(np.diff(stop))) if len(stop) > 1 else 1.0
    for row, name in enumerate(("label", "predicted")):
        shades = [colours.get(one, WEAK) for one in windows[name]]
        axes.bar(stop, 0.8, width=width, bottom=row - 0.4, color=shades, align="center", lw=0)
    axes.set_yticks([0, 1], ["truth", "decision"])
    axes.set_ylim(1.5, -0.5)
    axes.set_xlim(stop[0] - width, stop[-1] + width)
    axes.set_xlabel("end of the window (s)")
    handles = [Patch(color=colours.get(name, WEAK), label=short(name)) for name in [*classes, "idle"]]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
    return figure
