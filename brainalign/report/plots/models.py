"""Models of a geometry: bars beside the noise ceiling with their tests, and model by region."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainalign.errors import DataError
from brainalign.report.style import (
    DARK_CELL_TEXT,
    FAINT,
    INK,
    LIGHT_CELL_TEXT,
    MUTED,
    SEQUENTIAL,
    SERIES,
    WEAK,
    new_figure,
    number,
    short,
    styled,
)

__all__ = ["layer_region_map", "model_bars"]

_MAX_LINES = 6
"""With more models than this, a matrix of pairs takes the place of lines between bars."""


@styled
def model_bars(
    table: pd.DataFrame,
    *,
    pairs: pd.DataFrame | None = None,
    subjects: np.ndarray | None = None,
    ceiling: tuple[float, float] = (np.nan, np.nan),
    level: float = 0.05,
    label: str = "similarity",
    title: str | None = None,
) -> Figure:
    """Draw each model's score with interval, subjects, ceiling and what the tests say.

    Parameters
    ----------
    table : DataFrame
        A row per model, in the order to draw: ``model``, ``value``, and if known ``low``, ``high``, ``q_zero`` (dot
        at the foot: above zero), ``q_ceiling`` (triangle: below the lower ceiling), ``family`` (colours the bar).
    pairs : DataFrame, optional
        ``first``, ``second`` and ``q`` of each pair: lines above the bars where q < `level`, or for more than six
        models a matrix below them, dark where the model of the row is significantly better than that of the column.
    subjects : ndarray, shape (n_subjects, n_models), optional
        A dot per subject.
    ceiling : (low, high)
    """
    missing = {"model", "value"} - set(table.columns)
    if missing or not len(table):
        raise DataError("no models to draw", expected="rows with model and value", found=list(table.columns))
    n = len(table)
    if subjects is not None and np.shape(subjects)[1:] != (n,):
        raise DataError("subjects do not fit the models", expected=("n_subjects", n), found=np.shape(subjects))
    matrix = pairs is not None and len(pairs) > 0 and n > _MAX_LINES
    width = max(3.8, 1.6 + 0.42 * n)
    figure = new_figure(width, 3.6 + (0.24 * n if matrix else 0.0), title)
    if matrix:
        axes, below = figure.subplots(2, 1, height_ratios=[3.2, 0.24 * n], sharex=True)
    else:
        axes = figure.add_subplot()
    names = [str(name) for name in table["model"]]
    _bars(axes, table, subjects, ceiling)
    _marks(axes, table, level)
    if matrix:
        _pair_matrix(below, names, table["value"].to_numpy(float), pairs, level)
    elif pairs is not None and len(pairs):
        _pair_lines(axes, names, pairs, level)
    foot = below if matrix else axes
    turned = n > 4 or max(map(len, names)) > 12
    foot.set_xticks(
        range(n), [short(name) for name in names], rotation=45 if turned else 0, ha="right" if turned else "center"
    )
    if turned:
        for text in foot.get_xticklabels():
            text.set_rotation_mode("anchor")
    axes.set(ylabel=label, xlim=(-0.6, n - 0.4))
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside lower center", ncols=4, handlelength=1.4)
    return figure


def _bars(axes: Axes, table: pd.DataFrame, subjects: np.ndarray | None, ceiling: tuple[float, float]) -> None:
    values, at = table["value"].to_numpy(float), np.arange(len(table))
    families = [str(one) for one in table["family"]] if "family" in table else [""] * len(table)
    colours = {name: SERIES[i % len(SERIES)] for i, name in enumerate(dict.fromkeys(families))}
    if np.isfinite(ceiling).all():
        axes.axhspan(*ceiling, color=FAINT, zorder=0, label="noise ceiling")
    for name, colour in colours.items():
        mine = np.array([one == name for one in families])
        shown = name if len(colours) > 1 and mine.sum() > 1 else None
        axes.bar(at[mine], values[mine], width=0.68, color=colour, label=shown and short(shown), zorder=2)
    if subjects is not None and len(subjects) > 1:
        spread = np.linspace(-0.2, 0.2, len(subjects))
        axes.plot((at[None] + spread[:, None]).ravel(), np.ravel(subjects), ".", color=WEAK, ms=3.5, zorder=3, mew=0)
    if {"low", "high"} <= set(table.columns):
        axes.vlines(at, table["low"].astype(float), table["high"].astype(float), color=INK, lw=1.5, zorder=4)
    axes.axhline(0.0, color=MUTED, lw=0.8)


def _marks(axes: Axes, table: pd.DataFrame, level: float) -> None:
    """Dots under the axis of bars above zero, triangles of those below the ceiling, in two rows of their own."""
    for column, marker, height, face in (("q_zero", "o", 0.06, INK), ("q_ceiling", "v", 0.02, "none")):
        if column not in table:
            continue
        at = np.flatnonzero(table[column].to_numpy(float) < level)
        told = {"q_zero": "above zero", "q_ceiling": "below the ceiling"}[column]
        axes.plot(at, np.full(len(at), height), marker, color=INK, mfc=face, ms=4, transform=axes.get_xaxis_transform(),
                  label=told if len(at) else None, ls="", zorder=5)  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.1 * (high - low), high)


def _pair_lines(axes: Axes, names: list[str], pairs: pd.DataFrame, level: float) -> None:
    low, high = axes.get_ylim()
    step, top = 0.05 * (high - low), high
    spans = [(names.index(str(row.first)), names.index(str(row.second))) for row in pairs.itertuples() if row.q < level]
    for row, (first, second) in enumerate(sorted(spans, key=lambda span: abs(span[0] - span[1]))):
        height = high + step * (row + 0.5)
        axes.plot(
            [first, first, second, second], [height - step / 3, height, height, height - step / 3], color=INK, lw=1
        )
        top = height + step
    axes.set_ylim(low, top)


def _pair_matrix(axes: Axes, names: list[str], values: np.ndarray, pairs: pd.DataFrame, level: float) -> None:
    better = np.zeros((len(names), len(names)))
    for row in pairs.itertuples():
        if row.q < level:
            pair = sorted((names.index(str(row.first)), names.index(str(row.second))), key=lambda one: -values[one])
            better[pair[0], pair[1]] = 1
    axes.set_facecolor(FAINT)
    rows, columns = np.nonzero(better)
    axes.scatter(columns, rows, marker="s", s=42, color=INK)
    axes.plot(range(len(names)), range(len(names)), color=WEAK, lw=0.8)
    axes.set_yticks(range(len(names)), [short(name) for name in names], size=7)
    axes.set(ylim=(len(names) - 0.4, -0.6), ylabel="better than")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@styled
def layer_region_map(
    values: pd.DataFrame,
    *,
    significant: pd.DataFrame | None = None,
    ceiling: Mapping[str, float | None] | None = None,
    label: str = "score",
    title: str | None = None,
) -> Figure:
    """Draw scores of layers (rows) in regions (columns); the best of each region is framed.

    Parameters
    ----------
    values : DataFrame
        Layers by regions.
    significant : DataFrame of bool, optional
        Where to set a dot.
    ceiling : mapping of region to float, optional
        Written under the name of the region.
    """
    shown = values.to_numpy(dtype=float)
    if shown.ndim != 2 or not shown.size or not np.isfinite(shown).any():
        raise DataError("no scores to draw", expected="layers by regions", found=shown.shape)
    figure = new_figure(2.6 + 0.95 * shown.shape[1], 1.5 + 0.27 * shown.shape[0], title)
    axes = figure.add_subplot()
    limits = min(0.0, float(np.nanmin(shown))), float(np.nanmax(shown))
    image = axes.imshow(shown, aspect="auto", cmap=SEQUENTIAL, vmin=limits[0], vmax=limits[1])
    marks = None if significant is None else significant.reindex_like(values).to_numpy(dtype=bool)
    for row, column in np.argwhere(np.isfinite(shown)):
        share = (shown[row, column] - limits[0]) / max(limits[1] - limits[0], 1e-12)
        text = number(round(float(shown[row, column]), 3)) + (" •" if marks is not None and marks[row, column] else "")
        colour = LIGHT_CELL_TEXT if share < 0.6 else DARK_CELL_TEXT
        axes.text(column, row, text, ha="center", va="center", size=7.5, color=colour)
    for column in range(shown.shape[1]):
        if np.isfinite(shown[:, column]).any():
            row = int(np.nanargmax(shown[:, column]))
            x, y = np.array([-0.48, 0.48, 0.48, -0.48, -0.48]), np.array([-0.46, -0.46, 0.46, 0.46, -0.46])
            axes.plot(column + x, row + y, color=SERIES[1], lw=2)
    tops = {str(name): top for name, top in (ceiling or {}).items()}
    heads = [
        f"{short(name)}\nceiling {number(round(top, 3))}" if (top := tops.get(str(name))) is not None else short(name)
        for name in values.columns
    ]
    axes.set_xticks(range(shown.shape[1]), heads)
    axes.set_yticks(range(shown.shape[0]), [short(name) for name in values.index])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label=label, aspect=28).outline.set_visible(False)
    return figure
