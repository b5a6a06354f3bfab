"""Which layer each unit prefers, and how units spread within regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from brainalign.errors import DataError
from brainalign.report.plots.brain import draw_mosaic, volume_of
from brainalign.report.style import FAINT, INK, MUTED, SERIES, new_figure, numbers, short, styled

if TYPE_CHECKING:
    import nibabel as nib

__all__ = ["layer_colours", "layer_preference_map", "layer_preference_shares", "unit_violins", "violin_table"]

_FEW = 8
"""Units under which a violin would tell more than there is: they are drawn one by one."""


def layer_colours(n_layers: int) -> list[str]:
    """A colour per layer: few are told apart at a glance, many run from dark to light in the order of depth.

    Examples
    --------
    >>> layer_colours(2), len(set(layer_colours(20)))
    (['#0072b2', '#d55e00'], 20)
    """
    if n_layers <= len(SERIES):
        return list(SERIES[:n_layers])
    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0.0, 0.95, n_layers))]


@styled
def layer_preference_map(
    image: nib.Nifti1Image,
    layers: Sequence[str],
    *,
    background: nib.Nifti1Image | None = None,
    n_slices: int = 12,
    title: str | None = None,
) -> Figure:
    """Draw the layer that each voxel prefers as a mosaic of axial slices.

    Parameters
    ----------
    image : Nifti1Image or path, shape (x, y, z)
        1 for the first layer, 2 for the second, ...; zero and NaN where no layer is preferred.
    layers : sequence of str
    background : Nifti1Image or path, same grid, optional
        Drawn in grey underneath.
    n_slices : int

    Raises
    ------
    DataError
        When the map is empty, or holds something else than numbers of layers.
    """
    values, affine = volume_of(image)
    numbers = np.unique(values[np.isfinite(values) & (values != 0)])
    if not np.isin(numbers, np.arange(1, len(layers) + 1)).all():
        raise DataError(
            "not a map of layers", expected=f"whole numbers from 0 to {len(layers)}", found=numbers[:8].tolist()
        )
    colours = layer_colours(len(layers))
    figure, _, _ = draw_mosaic(
        (values, affine),
        background=background,
        n_slices=n_slices,
        title=title,
        colours=(ListedColormap(colours), 0.5, len(layers) + 0.5),
    )
    _layer_legend(figure, layers, colours)
    return figure


@styled
def layer_preference_shares(
    preferred: np.ndarray, regions: Sequence[str] | np.ndarray, layers: Sequence[str]
) -> Figure:
    """Draw by region which share of the units prefers which layer, and which share no layer explains.

    Parameters
    ----------
    preferred : ndarray of int, shape (n_units,)
        Number of the preferred layer from 0, -1 where no layer explains the unit.
    regions : array (n_units,) of str
    layers : sequence of str
    """
    preferred, regions = np.asarray(preferred), np.asarray(regions).astype(str)
    if preferred.shape != regions.shape or not preferred.size:
        raise DataError("preferences and regions differ in number", expected=preferred.shape, found=regions.shape)
    names = list(dict.fromkeys(regions))
    figure = new_figure(6.6, 1.1 + 0.42 * len(names))
    axes = figure.add_subplot()
    colours = layer_colours(len(layers))
    for row, name in enumerate(names):
        here, left = preferred[regions == name], 0.0
        for layer, colour in [*enumerate(colours), (-1, FAINT)]:
            share = float((here == layer).mean())
            axes.barh(row, share, left=left, height=0.66, color=colour)
            left += share
    counts = [int((regions == name).sum()) for name in names]
    axes.set_yticks(
        range(len(names)), [f"{short(name)} ({count:,})" for name, count in zip(names, counts, strict=True)]
    )
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="share of units")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _layer_legend(figure, [*layers, "no layer explains it"], [*colours, FAINT])
    return figure


def _layer_legend(figure: Figure, layers: Sequence[str], colours: Sequence[str]) -> None:
    handles = [Patch(color=colour, label=short(layer)) for layer, colour in zip(layers, colours, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), handlelength=1.2)


@styled
def unit_violins(
    table: pd.DataFrame, *, by: str = "region", value: str = "r", ceiling: str | None = None, label: str | None = None
) -> Figure:
    """Draw how the scores of units spread within each region, with median and quartiles.

    Parameters
    ----------
    table : DataFrame
        One row a unit.
    by, value : str
        Columns that hold the region and the score; units without a finite score are left out.
    ceiling : str, optional
        Column that holds each unit's noise ceiling; its mean is drawn where it is known.
    label : str, optional
    """
    missing = [name for name in (by, value, *([ceiling] if ceiling else [])) if name not in table]
    if missing:
        raise DataError("table of units lacks columns", expected=missing, found=list(table.columns))
    kept = table[np.isfinite(table[value].to_numpy(dtype=float))]
    if kept.empty:
        raise DataError("no unit has a score", expected="at least one finite number", found=f"{len(table)} without")
    names = list(dict.fromkeys(kept[by].astype(str)))
    figure = new_figure(max(3.8, 1.6 + 0.8 * len(names)), 3.3)
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        rows = kept[kept[by].astype(str) == name]
        _violin(axes, place, rows[value].to_numpy(dtype=float))
        limits = rows[ceiling].to_numpy(dtype=float) if ceiling else np.empty(0)
        if np.isfinite(limits).any():
            axes.hlines(np.nanmean(limits), place - 0.38, place + 0.38, color=MUTED, lw=1.6, label="noise ceiling")
    axes.axhline(0, color=MUTED, lw=0.8)
    counts = kept[by].astype(str).value_counts()
    axes.set_xticks(range(len(names)), [f"{short(name, longest=14)}\n{counts[name]:,}" for name in names])
    axes.set(xlim=(-0.6, len(names) - 0.4), ylabel=label or value)
    axes.grid(axis="y", color=FAINT)
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles[:1], labels[:1], loc="best")
    return figure


def _violin(axes: Any, place: int, values: np.ndarray) -> None:
    if len(values) < _FEW or np.ptp(values) == 0:
        axes.plot(np.full(len(values), place), values, ls="", marker="o", ms=4, color=SERIES[0], alpha=0.7)
        return
    for body in axes.violinplot(values, positions=[place], widths=0.8, showextrema=False)["bodies"]:
        body.set(facecolor=SERIES[0], edgecolor=SERIES[0], alpha=0.45, linewidth=0.8)
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.vlines(place, low, high, color=INK, lw=2.4)
    axes.plot([place], [middle], marker="o", ms=5, color=SERIES[1], mec=INK, mew=0.7, ls="")


def violin_table(table: pd.DataFrame, *, by: str = "region", values: Mapping[str, str]) -> pd.DataFrame:
    """What the violins show, in figures: median and quartiles of each region.

    Parameters
    ----------
    table : DataFrame
        One row a unit.
    by : str
    values : mapping of column to label

    Examples
    --------
    >>> units = pd.DataFrame({"region": ["V1", "V1", "V1"], "r": [0.1, 0.2, 0.3]})
    >>> violin_table(units, values={"r": "r"}).loc[0, "quartiles of r"]
    '0.15 to 0.25'
    """
    rows = []
    for name, part in table.groupby(by, sort=False):
        row: dict[str, Any] = {by: name, "units": len(part)}
        for column, label in values.items():
            known = part[column].dropna().to_numpy(dtype=float)
            low, middle, high, top = np.percentile(known, [25, 50, 75, 100]) if known.size else [np.nan] * 4
            row |= {f"median {label}": middle, f"quartiles of {label}": " to ".join(numbers([low, high]))}
            row |= {f"highest {label}": top}
        rows.append(row)
    return pd.DataFrame(rows)
