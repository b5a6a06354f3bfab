"""Maps on the head, from sensors of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainalign.errors import DataError
from brainalign.report.plots.brain import colour_range
from brainalign.report.style import DARK_CELL_TEXT, DIVERGING, new_figure, styled

if TYPE_CHECKING:
    import mne

__all__ = ["topomap"]

HEAD_RADIUS = 0.095
"""Of the circle that stands for the head, in metres, as in MNE."""


@styled
def topomap(
    values: np.ndarray,
    sensors: mne.Info | np.ndarray,
    *,
    titles: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
    label: str = "",
) -> Figure:
    """Draw sensor values on the head, one head per column of `values` (MNE's interpolation).

    Parameters
    ----------
    values : ndarray, shape (n_channels,) or (n_channels, n_maps)
    sensors : mne.Info or ndarray, shape (n_channels, 3)
        Where the sensors are; an array holds metres in head coordinates. Channels without a position are left out.
    titles : sequence of str
        One over each head, for example the times.
    """
    import mne

    maps = np.asarray(values, dtype=float)
    maps = maps[:, None] if maps.ndim == 1 else maps
    maps, places = _placed_sensors(maps, sensors)
    cmap, low, high = (DIVERGING, *limits) if limits else colour_range(maps, None)
    n_maps = maps.shape[1]
    columns = min(n_maps, 6)
    rows = -(-n_maps // columns)
    side = 2.6 if n_maps == 1 else 1.55
    figure = new_figure(side * columns + 0.9, (side + 0.3) * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, place in enumerate(axes[:n_maps]):
        drawn, contours = mne.viz.plot_topomap(
            maps[:, index], places, axes=place, show=False, cmap=cmap, vlim=(low, high), contours=4, sphere=HEAD_RADIUS
        )
        _keep_dark(place, contours)
        place.set_title(titles[index] if index < len(titles) else "", size=8.5, weight="normal", loc="center", pad=3)
    for place in axes[n_maps:]:
        place.set_axis_off()
    figure.colorbar(drawn, ax=list(axes), label=label, shrink=0.7, aspect=22).outline.set_visible(False)
    return figure


def _keep_dark(axes: Axes, contours: Any) -> None:
    """Marks on the coloured head stay dark when the page turns dark."""
    for mark in axes.collections:
        if mark is contours:
            mark.set_edgecolor(DARK_CELL_TEXT)
        else:
            mark.set_color(DARK_CELL_TEXT)


def _placed_sensors(maps: np.ndarray, sensors: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values and flat places of the channels with a position; paired gradiometers become one (root mean square)."""
    import mne

    if isinstance(sensors, mne.Info):
        positions = np.array([channel["loc"][:3] for channel in sensors["chs"]])
        gradiometers = set(sensors.get_channel_types()) == {"grad"}
    else:
        positions, gradiometers = np.asarray(sensors, dtype=float), False
    if positions.shape != (len(maps), 3):
        raise DataError("sensor positions do not fit the values", expected=(len(maps), 3), found=positions.shape)
    placed = np.isfinite(positions).all(axis=1) & (np.abs(positions).sum(axis=1) > 0)
    maps, positions = maps[placed], positions[placed]
    if gradiometers:
        positions, pair = np.unique(positions.round(3), axis=0, return_inverse=True)
        squares = np.zeros((len(positions), maps.shape[1]))
        np.add.at(squares, pair.ravel(), maps**2)
        maps = np.sqrt(squares / np.bincount(pair.ravel())[:, None])
    if len(positions) < 4:
        raise DataError("too few sensors with a position", expected="at least 4", found=len(positions))
    return maps, _flat(positions)


def _flat(positions: np.ndarray) -> np.ndarray:
    """Unroll the head: distance from the centre of the picture is the angle from the top, all sensors in the circle.

    The angle is seen from the centre of the sphere nearest to the sensors, since a helmet and a cap have other
    origins: |p|^2 = 2 p.c + (r^2 - |c|^2) is linear in the centre c and the bracket.
    """
    design = np.column_stack([2 * positions, np.ones(len(positions))])
    centre = np.linalg.lstsq(design, (positions**2).sum(axis=1), rcond=None)[0][:3]
    # Few or flat-lying sensors do not tell where the centre is.
    if len(positions) < 16 or np.linalg.norm(centre) > 0.08:
        centre = np.zeros(3)
    x, y, z = (positions - centre).T
    angle = np.arctan2(np.hypot(x, y), z)
    radius = HEAD_RADIUS * angle / max(float(angle.max()) / 0.96, np.pi / 2)
    turn = np.arctan2(y, x)
    return np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
