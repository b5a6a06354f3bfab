"""Representational geometries: dissimilarity matrices and their maps, with the stimuli as icons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial.distance import squareform

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.report.style import MUTED, SERIES, new_figure, picture, short, styled

__all__ = ["mds", "rdm", "rdm_grid"]

ICON_PIXELS = 56


@styled
def rdm(
    dissimilarity: np.ndarray,
    *,
    labels: Sequence[object] | None = None,
    icons: Sequence[object] | None = None,
    ranked: bool = False,
    title: str | None = None,
    label: str = "dissimilarity",
) -> Figure:
    """Draw a representational dissimilarity matrix.

    Parameters
    ----------
    dissimilarity : ndarray, shape (n, n) or condensed (n * (n - 1) / 2,)
    labels : sequence of n names, optional
        A run of equal names is written once, with lines between the runs.
    icons : sequence of n pictures, optional
        The stimuli, set along both axes in up to four lanes.
    ranked : bool
        Show percentiles of the off-diagonal values instead of the values.
    """
    square = _square(dissimilarity, labels=labels, icons=icons)
    n = len(square)
    if ranked:
        square, label = _percentiles(square), f"{label} (percentile)"
    figure = new_figure(5.4, 4.7, title)
    axes = figure.add_subplot()
    shown = np.where(np.eye(n, dtype=bool), np.nan, square)
    image = axes.imshow(shown, extent=(0, n, n, 0), cmap="viridis")
    margin = _icon_strips(axes, icons, n) if icons is not None else 0.0
    axes.set(xlim=(-margin, n), ylim=(n, -margin))
    _run_labels(axes, labels, n, both=icons is None)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label=label, shrink=0.75, aspect=28).outline.set_visible(False)
    return figure


@styled
def rdm_grid(
    rdms: Mapping[str, np.ndarray],
    *,
    labels: Sequence[object] | None = None,
    icons: Sequence[object] | None = None,
    ranked: bool = False,
    columns: int = 3,
    label: str = "dissimilarity",
) -> Figure:
    """Draw RDMs of the same conditions side by side, under their names.

    Parameters
    ----------
    rdms : mapping of name to ndarray, shape (n, n) or condensed
    labels, icons
        As for `rdm`.
    ranked : bool
        Percentiles, on one scale for all; otherwise each RDM has its own.
    columns : int
        At most so many in a row.
    """
    if not rdms:
        raise DataError("no RDM to draw", expected="one or more", found=0)
    across = min(len(rdms), columns)
    down = -(-len(rdms) // across)
    figure = new_figure(3.3 * across + 0.4, 3.3 * down)
    places = figure.subplots(down, across, squeeze=False).ravel()
    for ax in places[len(rdms) :]:
        ax.set_axis_off()
    for ax, (name, d) in zip(places, rdms.items()):
        square = _square(d, labels=labels, icons=icons)
        n = len(square)
        square = _percentiles(square) if ranked else square
        shown = np.where(np.eye(n, dtype=bool), np.nan, square)
        limits = {"vmin": 0, "vmax": 100} if ranked else {}
        image = ax.imshow(shown, extent=(0, n, n, 0), cmap="viridis", **limits)
        margin = _icon_strips(ax, icons, n) if icons is not None else 0.0
        ax.set(xlim=(-margin, n), ylim=(n, -margin))
        _run_labels(ax, labels if icons is None and n <= 20 else None, n, both=True)
        ax.set_title(short(name))
        ax.spines[:].set_visible(False)
        if not ranked:
            figure.colorbar(image, ax=ax, shrink=0.7, aspect=24).outline.set_visible(False)
    if ranked:
        bar = figure.colorbar(image, ax=places.tolist(), label=f"{label} (percentile)", shrink=0.6, aspect=30)
        bar.outline.set_visible(False)
    return figure


def _square(
    dissimilarity: np.ndarray, *, labels: Sequence[object] | None = None, icons: Sequence[object] | None = None
) -> np.ndarray:
    values = np.asarray(dissimilarity, dtype=float)
    check_finite(values, name="dissimilarities")
    if values.ndim == 1:
        n = round((1 + np.sqrt(1 + 8 * values.size)) / 2)
        if n * (n - 1) // 2 != values.size:
            raise DataError("not a condensed matrix", expected="n * (n - 1) / 2 values", found=f"{values.size} values")
        values = squareform(values, checks=False)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < 2:
        raise DataError("not a dissimilarity matrix", expected="(n, n) or condensed, n >= 2", found=values.shape)
    for name, some in {"labels": labels, "icons": icons}.items():
        if some is not None and len(some) != len(values):
            raise DataError(f"{name} do not fit the dissimilarity matrix", expected=len(values), found=len(some))
    return values


def _percentiles(square: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    off = ~np.eye(len(square), dtype=bool)
    ranks = np.zeros_like(square)
    ranks[off] = 100 * (rankdata(square[off]) - 0.5) / off.sum()
    return ranks


def _icon_strips(axes: Axes, icons: Sequence[object], n: int) -> float:
    """Set the pictures left of and above the matrix, staggered; return the margin they take."""
    lanes = min(4, -(-n // 22))
    cell = ICON_PIXELS // lanes
    side, half = cell * lanes, lanes / 2
    gap = 0.008 * n
    left = np.zeros((round((n - 1 + lanes) * cell), side * lanes, 4), dtype=np.uint8)
    above = np.zeros((left.shape[1], left.shape[0], 4), dtype=np.uint8)
    for index, icon in enumerate(icons):
        tile = _tile(icon, side, name=f"icon {index}")
        across = slice((lanes - 1 - index % lanes) * side, (lanes - index % lanes) * side)
        along = slice(index * cell, index * cell + side)
        left[along, across], above[across, along] = tile, tile
    width = lanes * lanes + gap
    low, high = 0.5 - half, n - 0.5 + half
    axes.imshow(left, extent=(-width, -gap, high, low), interpolation="antialiased")
    axes.imshow(above, extent=(low, high, -gap, -width), interpolation="antialiased")
    return width + (half - 0.5 if lanes > 1 else 0)


def _tile(icon: object, side: int, *, name: str) -> np.ndarray:
    """Fit a picture into a square, the rest left clear."""
    small = picture(icon, name=name)
    small.thumbnail((side, side))
    tile = np.zeros((side, side, 4), dtype=np.uint8)
    top, left = (side - small.height) // 2, (side - small.width) // 2
    tile[top : top + small.height, left : left + small.width, :3] = np.asarray(small)
    tile[top : top + small.height, left : left + small.width, 3] = 255
    return tile


def _run_labels(axes: Axes, labels: Sequence[object] | None, n: int, *, both: bool) -> None:
    axes.set(xticks=[], yticks=[])
    if labels is None:
        return
    names = [short(name) for name in labels]
    starts = [0, *(i for i in range(1, n) if names[i] != names[i - 1]), n]
    if len(starts) > 41:
        return
    middles = [(a + b) / 2 for a, b in pairwise(starts)]
    texts = [names[start] for start in starts[:-1]]
    axes.set_xticks(middles, texts, rotation=45, ha="right", rotation_mode="anchor")
    if both:
        axes.set_yticks(middles, texts)
    axes.tick_params(length=0)
    if len(texts) < n:
        for edge in starts[1:-1]:
            axes.plot([0, n], [edge, edge], color="#ffffffcc", lw=0.8)
            axes.plot([edge, edge], [0, n], color="#ffffffcc", lw=0.8)


@styled
def mds(
    dissimilarity: np.ndarray,
    *,
    labels: Sequence[object] | None = None,
    icons: Sequence[object] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw stimuli in the plane so that near means alike (classical scaling, Torgerson 1952).

    Parameters
    ----------
    dissimilarity : ndarray, shape (n, n) or condensed
    labels : sequence of n names, optional
        Colours the points, or the frames of the icons, by name.
    icons : sequence of n pictures, optional
    """
    square = _square(dissimilarity, labels=labels, icons=icons)
    points, explained = _classical_scaling(square)
    figure = new_figure(5.4, 5.0, title)
    axes = figure.add_subplot()
    names = [""] * len(points) if labels is None else [short(name) for name in labels]
    colours = {name: SERIES[i % len(SERIES)] for i, name in enumerate(dict.fromkeys(names))}
    if icons is None:
        for name, colour in colours.items():
            chosen = points[np.array([other == name for other in names])]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=34, color=colour, label=name or None)
    else:
        _place_icons(axes, points, icons, [colours[name] if labels is not None else None for name in names])
        for name, colour in colours.items() if labels is not None else ():
            axes.scatter([], [], marker="s", color=colour, label=name)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.set_xlabel(f"classical scaling; the plane holds {100 * explained:.0f} % of the squared spread", color=MUTED)
    axes.spines[:].set_visible(False)
    if labels is not None:
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def _classical_scaling(square: np.ndarray) -> tuple[np.ndarray, float]:
    """Coordinates in the plane from the double-centred squared dissimilarities, and the share of spread they hold."""
    gram = -0.5 * square**2
    gram = gram - gram.mean(axis=0) - gram.mean(axis=1, keepdims=True) + gram.mean()
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    top = np.argsort(values)[::-1][:2]
    points = vectors[:, top] * np.sqrt(np.maximum(values[top], 0))
    # An eigenvector's sign is arbitrary: fix it, so that the same data give the same picture everywhere.
    points *= np.sign(points[np.abs(points).argmax(axis=0), [0, 1]] + 1e-300)
    return points, float(np.maximum(values[top], 0).sum() / max(np.abs(values).sum(), np.finfo(float).tiny))


def _place_icons(axes: Axes, points: np.ndarray, icons: Sequence[object], colours: Sequence[str | None]) -> None:
    reach = float(np.abs(points).max()) or 1.0
    half = reach * float(np.clip(0.6 / np.sqrt(len(points)), 0.045, 0.16))
    for index, ((x, y), icon, colour) in enumerate(zip(points, icons, colours)):
        extent = (x - half, x + half, y - half, y + half)
        axes.imshow(_tile(icon, ICON_PIXELS, name=f"icon {index}"), extent=extent, interpolation="antialiased")
        if colour:
            across, up = np.array([[-half, -half], [half, -half], [half, half], [-half, half], [-half, -half]]).T
            axes.plot(x + across, y + up, color=colour, lw=1.4)
    low, high = points.min(axis=0) - 1.3 * half, points.max(axis=0) + 1.3 * half
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
