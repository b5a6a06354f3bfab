"""Curves and maps over time, layers, ranks and channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from brainalign.arrays import as_matrix
from brainalign.errors import DataError
from brainalign.report.style import DARK_CELL_TEXT, DIVERGING, FAINT, MUTED, SERIES, new_figure, number, short, styled

__all__ = ["channel_map", "retrieval_curve", "score_by_group", "time_course"]

Curves = np.ndarray | Mapping[str, np.ndarray]
Bands = tuple[np.ndarray, np.ndarray] | Mapping[str, tuple[np.ndarray, np.ndarray]]


@styled
def score_by_group(
    table: pd.DataFrame, *, x: str, series: str | None = None, label: str = "score", title: str | None = None
) -> Figure:
    """Draw scores along one grouping with a line per other grouping, for example layer by region.

    Parameters
    ----------
    table : DataFrame
        One row per score, with a column ``value`` and, if known, ``low``, ``high``, ``ceiling``, ``chance``.
    x : str
        Column along the axis (kept in order of appearance).
    series : str, optional
        Column that tells the lines apart.
    """
    missing = [name for name in ("value", x, *([series] if series else [])) if name not in table.columns]
    if missing:
        raise DataError("table of scores lacks columns", expected=missing, found=list(table.columns))
    groups = list(dict.fromkeys(table[x]))
    names = list(dict.fromkeys(table[series])) if series else [None]
    figure = new_figure(max(4.6, 1.8 + 0.55 * len(groups)), 3.5, title)
    axes = figure.add_subplot()
    for index, name in enumerate(names):
        rows = table if name is None else table[table[series] == name]
        shift = 0.1 * (index - (len(names) - 1) / 2) if len(names) > 1 else 0.0
        positions = np.array([groups.index(group) for group in rows[x]]) + shift
        _group_line(axes, positions, rows, colour=SERIES[index % len(SERIES)], name=name)
    _chance_line(axes, table["chance"].dropna().unique() if "chance" in table else ())
    axes.set_xticks(range(len(groups)), [short(group) for group in groups], rotation=30 if _crowded(groups) else 0)
    axes.set(ylabel=label, xlabel=x)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    _grid(axes)
    if "ceiling" in table and table["ceiling"].notna().any():
        axes.plot([], [], color=MUTED, ls="", marker="_", ms=13, mew=1.6, label="noise ceiling")
    _legend_below(figure, axes)
    return figure


def _crowded(groups: Sequence[object]) -> bool:
    """Whether names under an axis would run into each other; about nine characters fit into each place."""
    return len(groups) > 6 or (len(groups) > 1 and max(len(short(group)) for group in groups) > 9)


def _group_line(axes: Axes, positions: np.ndarray, rows: pd.DataFrame, *, colour: str, name: object) -> None:
    values = rows["value"].to_numpy(dtype=float)
    axes.plot(positions, values, color=colour, marker="o", ms=4.5, label=None if name is None else short(name))
    if {"low", "high"} <= set(rows.columns):
        axes.vlines(positions, rows["low"].astype(float), rows["high"].astype(float), color=colour, lw=1.3)
    if "ceiling" in rows.columns:
        axes.plot(positions, rows["ceiling"].astype(float), color=colour, ls="", marker="_", ms=13, mew=1.6, alpha=0.65)


def _chance_line(axes: Axes, levels: Sequence[float] | np.ndarray) -> None:
    for index, level in enumerate(levels):
        name = "chance" if index == 0 else None
        axes.axhline(float(level), color=MUTED, lw=1.1, ls=(0, (3, 2)), label=name, zorder=1.5)


def _grid(axes: Axes) -> None:
    axes.grid(axis="y", color=FAINT)
    axes.set_axisbelow(True)


@styled
def time_course(
    times: np.ndarray,
    values: Curves,
    *,
    interval: Bands | None = None,
    chance: float | None = None,
    ceiling: Curves | None = None,
    label: str = "score",
) -> Figure:
    """Draw one or more curves over time with their intervals, chance and ceiling.

    Parameters
    ----------
    times : ndarray, shape (n_times,)
        Seconds; a line stands at 0.
    values : ndarray, shape (n_times,), or mapping of name to such
    interval : (low, high), each of shape (n_times,), or mapping of name to such, optional
    chance : float, optional
    ceiling : as `values`, optional
    """
    times = np.asarray(times, dtype=float)
    curves, bands, tops = _by_name(values), _by_name(interval), _by_name(ceiling)
    figure = new_figure(6.6, 3.2)
    axes = figure.add_subplot()
    axes.axvline(0, color=MUTED, lw=0.9)
    for index, (name, curve) in enumerate(curves.items()):
        colour = SERIES[index % len(SERIES)]
        lines = [curve, *bands.get(name, ()), *([tops[name]] if name in tops else [])]
        for line in lines:
            if np.shape(line) != times.shape:
                raise DataError(f"curve '{name}' does not fit its times", expected=times.shape, found=np.shape(line))
        axes.plot(times, curve, color=colour, label=short(name) or None)
        if name in bands:
            axes.fill_between(times, *bands[name], color=colour, alpha=0.2, lw=0)
        if name in tops:
            axes.plot(times, tops[name], color=colour, lw=1.1, ls=":", label=f"{name} ceiling".strip())
    _chance_line(axes, () if chance is None else (chance,))
    axes.set(xlabel="time (s)", ylabel=label, xlim=(times.min(), times.max()))
    _grid(axes)
    _legend_below(figure, axes)
    return figure


def _legend_below(figure: Figure, axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside lower center", ncols=5, handlelength=1.6, columnspacing=1.4)


def _by_name(values: Curves | Bands | None) -> Mapping:
    if values is None:
        return {}
    return values if isinstance(values, Mapping) else {"": values}


@styled
def retrieval_curve(ranks: Curves, *, gallery: int, title: str | None = None) -> Figure:
    """Draw how often the right item is among the first k of the gallery, for every k.

    Parameters
    ----------
    ranks : ndarray, shape (n_queries,), or mapping of name to such
        Rank of the right item, 1 for the first.
    gallery : int
        Number of items to choose from; a guess finds the right one among k with probability k / gallery.
    """
    figure = new_figure(4.8, 3.5, title)
    axes = figure.add_subplot()
    steps = np.arange(1, gallery + 1)
    for index, (name, some) in enumerate(_by_name(ranks).items()):
        positions = np.asarray(some)
        if positions.size == 0 or positions.min() < 1 or positions.max() > gallery:
            raise DataError("ranks lie outside the gallery", expected=f"1..{gallery}", found=f"{positions}")
        share = np.searchsorted(np.sort(positions), steps, side="right") / positions.size
        median = f"median rank {number(float(np.median(positions)))}"
        axes.step(steps, share, where="post", color=SERIES[index % len(SERIES)], label=f"{name}, {median}".lstrip(", "))
    axes.plot(steps, steps / gallery, color=MUTED, lw=1.1, ls=(0, (3, 2)), label="chance")
    axes.set(xlabel=f"k of {gallery:,}", ylabel="found among the first k", ylim=(0, 1.02))
    if gallery > 20:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    _grid(axes)
    figure.legend(loc="outside lower center", ncols=1)
    return figure


@styled
def channel_map(
    values: np.ndarray, times: np.ndarray, *, names: Sequence[str], label: str = "", title: str | None = None
) -> Figure:
    """Draw channels by time as colours around zero.

    Parameters
    ----------
    values : ndarray, shape (n_channels, n_times)
    times : ndarray, shape (n_times,)
        Seconds, evenly spaced.
    names : sequence of n_channels names
    """
    values, times = as_matrix(values, name="channel map"), np.asarray(times, dtype=float)
    if values.shape != (len(names), times.size):
        raise DataError("channel map does not fit", expected=f"shape {(len(names), times.size)}", found=values.shape)
    figure = new_figure(6.6, float(np.clip(1.2 + 0.16 * len(names), 2.6, 8)), title)
    axes = figure.add_subplot()
    limit = float(np.percentile(np.abs(values), 99.5)) or 1.0
    extent = (times[0], times[-1], len(names) - 0.5, -0.5)
    image = axes.imshow(values, aspect="auto", cmap=DIVERGING, vmin=-limit, vmax=limit, extent=extent)
    step = max(1, len(names) // 40 + (len(names) > 40))
    size = 7 if len(names) > 20 else 8.5
    axes.set_yticks(range(0, len(names), step), [short(name) for name in names[::step]], size=size)
    axes.axvline(0, color=DARK_CELL_TEXT, lw=0.9)
    axes.set(xlabel="time (s)")
    figure.colorbar(image, ax=axes, label=label, aspect=30).outline.set_visible(False)
    return figure
