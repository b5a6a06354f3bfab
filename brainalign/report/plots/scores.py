"""Scores beside ceiling and chance, confusions, and scores of many units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from brainalign.arrays import as_matrix
from brainalign.errors import DataError
from brainalign.report.style import (
    DARK_CELL_TEXT,
    FAINT,
    INK,
    LIGHT_CELL_TEXT,
    MUTED,
    SERIES,
    WEAK,
    new_figure,
    number,
    short,
    styled,
)
from brainalign.scoring.score import Score

__all__ = ["confusion_matrix", "score_bars", "unit_scores"]


@styled
def score_bars(scores: Sequence[Score], *, title: str | None = None) -> Figure:
    """Draw each score as a bar with its 95 % interval, inside the range up to its noise ceiling.

    Parameters
    ----------
    scores : sequence of Score
        A bar turns grey where the interval does not exclude chance; a missing value is said in words.

    Raises
    ------
    DataError
        When there is no score.
    """
    scores = list(scores)
    if not scores:
        raise DataError("no score to draw", expected="at least one Score", found="none")
    figure = new_figure(6.6, 0.9 + 0.46 * len(scores), title)
    axes = figure.add_subplot()
    for row, score in enumerate(scores):
        _score_bar(axes, row, score)
    known = [number for score in scores for number in _numbers(score)]
    axes.set_xlim(min(0.0, *known, 0.0) * 1.1, max([*known, 1e-6]) * 1.13)
    axes.set_ylim(len(scores) - 0.45, -0.55)
    axes.set_yticks(range(len(scores)), [short(score.name, longest=40) for score in scores])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color=MUTED, lw=0.8)
    _score_legend(figure)
    return figure


def _numbers(score: Score) -> list[float]:
    fields = (score.value, score.ceiling, score.chance, score.low, score.high)
    return [field for field in fields if field is not None]


def _score_bar(axes: Axes, row: int, score: Score) -> None:
    if score.ceiling is not None:
        axes.barh(row, score.ceiling, height=0.62, color=FAINT)
        axes.vlines(score.ceiling, row - 0.31, row + 0.31, color=MUTED, lw=1.4)
    if score.value is None:
        axes.text(0, row, f"  not given: {score.why.get('value', '')}", va="center", color=MUTED, style="italic")
        return
    axes.barh(row, score.value, height=0.34, color=SERIES[0] if beats_chance(score) else WEAK)
    if score.low is not None and score.high is not None:
        axes.hlines(row, score.low, score.high, color=INK, lw=1.3)
        axes.vlines([score.low, score.high], row - 0.09, row + 0.09, color=INK, lw=1.3)
    if score.chance is not None:
        axes.vlines(score.chance, row - 0.36, row + 0.36, color=SERIES[1], lw=1.4, ls=(0, (2, 1.5)))
    axes.annotate(
        number(score.value), (max(_numbers(score)), row), (5, 0), textcoords="offset points", va="center", weight="bold"
    )


def beats_chance(score: Score) -> bool:
    """Whether the interval lies wholly above chance; unknown interval or chance leaves the benefit of no claim."""
    return score.low is not None and score.chance is not None and score.low > score.chance


def _score_legend(figure: Figure) -> None:
    handles = [
        Patch(color=SERIES[0], label="value"),
        Patch(color=WEAK, label="not above chance"),
        Line2D([], [], color=INK, lw=1.3, label="95 % interval"),
        Line2D([], [], color=SERIES[1], lw=1.4, ls=(0, (2, 1.5)), label="chance"),
        Patch(color=FAINT, label="up to the noise ceiling"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.4, columnspacing=1.4)


@styled
def confusion_matrix(
    matrix: np.ndarray, labels: Sequence[object], *, normalise: bool = True, title: str | None = None
) -> Figure:
    """Draw which class was taken for which.

    Parameters
    ----------
    matrix : ndarray, shape (n_classes, n_classes)
        Counts; a row is the true class, a column the decoded one.
    labels : sequence of n_classes names
    normalise : bool
        Show each row as shares of its sum.
    """
    matrix = as_matrix(matrix, name="confusion matrix")
    n = len(labels)
    if matrix.shape != (n, n):
        raise DataError("confusion matrix does not fit its labels", expected=f"shape {(n, n)}", found=matrix.shape)
    if normalise:
        matrix = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    names = [short(label) for label in labels]
    side = float(np.clip(1.4 + 0.42 * n + 0.05 * max(map(len, names)), 3.4, 8.0))
    figure = new_figure(side + 0.7, side, title)
    axes = figure.add_subplot()
    top = 1.0 if normalise and matrix.max() > 0.6 else float(matrix.max()) or 1.0
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=top)
    crowded = max(map(len, names)) * n > 40
    axes.set_xticks(range(n), names, rotation=45 if crowded else 0, ha="right" if crowded else "center")
    axes.set_yticks(range(n), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="decoded", ylabel="true")
    if n <= 14:
        _cell_texts(axes, matrix, top=top)
    label = "share of trials" if normalise else "trials"
    colour_bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=28, label=label)
    colour_bar.outline.set_visible(False)
    return figure


def _cell_texts(axes: Axes, matrix: np.ndarray, *, top: float) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        colour = LIGHT_CELL_TEXT if value > 0.55 * top else DARK_CELL_TEXT
        text = f"{value:.2f}".lstrip("0") if matrix.max() <= 1 else f"{value:.0f}"
        axes.text(column, row, text, ha="center", va="center", color=colour, size=8)


@styled
def unit_scores(
    scores: np.ndarray, *, ceiling: np.ndarray | None = None, label: str = "r", title: str | None = None
) -> Figure:
    """Draw the scores of many voxels or channels: how they spread and, if known, how near each comes to its ceiling.

    Parameters
    ----------
    scores, ceiling : ndarray, shape (n_units,)
        Units without a finite number are left out, and the axis says how many.
    """
    scores = np.asarray(scores, dtype=float).ravel()
    limits = None if ceiling is None else np.asarray(ceiling, dtype=float).ravel()
    if limits is not None and limits.shape != scores.shape:
        raise DataError("scores and ceilings differ in number", expected=scores.shape, found=limits.shape)
    keep = np.isfinite(scores) & (True if limits is None else np.isfinite(limits))
    if not keep.any():
        raise DataError("no unit has a score", expected="at least one finite number", found=f"{scores.size} without")
    figure = new_figure(4.6 if limits is None else 8.6, 3.4, title)
    axes = figure.subplots(1, 1 if limits is None else 2, squeeze=False)[0]
    _score_histogram(axes[0], scores[keep], label=label, n_left_out=int((~keep).sum()))
    if limits is not None:
        _score_against_ceiling(figure, axes[1], scores[keep], limits[keep], label=label)
    return figure


def _score_histogram(axes: Axes, scores: np.ndarray, *, label: str, n_left_out: int) -> None:
    axes.hist(scores, bins=min(50, max(10, int(np.sqrt(scores.size)))), color=SERIES[0])
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.axvline(np.median(scores), color=SERIES[1], lw=1.5, label=f"median {number(float(np.median(scores)))}")
    without = f", {n_left_out:,} without a score" if n_left_out else ""
    axes.set(xlabel=label, ylabel="units", title=f"{scores.size:,} units{without}")
    axes.legend(loc="upper right")


def _score_against_ceiling(figure: Figure, axes: Axes, scores: np.ndarray, ceiling: np.ndarray, *, label: str) -> None:
    low, high = min(scores.min(), ceiling.min(), 0.0), max(scores.max(), ceiling.max())
    low, high = low - 0.02 * (high - low), high + 0.02 * (high - low)
    if scores.size > 500:
        bins = axes.hexbin(ceiling, scores, gridsize=40, extent=(low, high, low, high), bins="log", mincnt=1, lw=0.2)
        bins.set_rasterized(True)
        # Counts are spelt out, since mathematical tick labels are off in this style.
        ticks = LogLocator(subs=(1, 2, 5))
        bar = figure.colorbar(bins, ax=axes, label="units", aspect=28, format="{x:,.0f}", ticks=ticks)
        bar.minorticks_off()
        bar.outline.set_visible(False)
    else:
        axes.scatter(ceiling, scores, s=12, color=SERIES[0], alpha=0.6, lw=0, rasterized=True)
    axes.plot([low, high], [low, high], color=MUTED, lw=1, ls="--")
    axes.annotate("ceiling", (high, high), (-4, -12), textcoords="offset points", ha="right", color=MUTED, size=8.5)
    axes.set(xlabel=f"noise ceiling ({label})", ylabel=label, xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_title("against the noise ceiling")
