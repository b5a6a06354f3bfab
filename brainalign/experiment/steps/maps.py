"""One value per unit, back on the brain where there is a way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.spaces import SensorSpace, VolumeSpace
from brainalign.trials import Trials

__all__ = ["show_on_brain", "show_on_head"]

_FEWEST_SENSORS = 4
_FLAT = 3
"""A volume of no more slices than this is shown as slices alone."""


def show_on_brain(
    report: Report, trials: Trials, values: np.ndarray, caption: str, *, label: str = "r", view: bool = True
) -> None:
    """Slices of a volume and, where `view` is wanted, an interactive one; a topography of sensors outside the head."""
    if isinstance(trials.space, VolumeSpace):
        image = trials.space.to_nifti(values, trials.units, fill=np.nan)
        report.add_figure(plots.brain_slices(image, label=label), caption)
        if view and min(trials.space.shape) > _FLAT:
            filled = trials.space.to_nifti(np.nan_to_num(values), trials.units)
            report.add_html_view(plots.brain_view(filled), caption + " Drag to move through the volume.")
    else:
        show_on_head(report, trials, values, caption, label=label)


def show_on_head(
    report: Report, trials: Trials, values: np.ndarray, caption: str, *, label: str, titles: Sequence[str] = ()
) -> None:
    """Topographies of sensors outside the head with known places, magnetometers where there are any.

    Parameters
    ----------
    values : array (n_channels,) or (n_channels, n_maps)
    titles : sequence of str
        One over each map.
    """
    if not isinstance(trials.space, SensorSpace):
        return
    kept = np.ones(trials.n_units, dtype=bool)
    if "type" in trials.units and (trials.units["type"] == "mag").any():
        kept, caption = (trials.units["type"] == "mag").to_numpy(), f"{caption} Magnetometers."
    info = trials.space.info(trials.units[kept])
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    inside = set(info.get_channel_types()) & {"seeg", "ecog", "dbs"}
    if not inside and (np.isfinite(places).all(axis=1) & places.any(axis=1)).sum() >= _FEWEST_SENSORS:
        report.add_figure(plots.topomap(np.asarray(values)[kept], info, titles=titles, label=label), caption)
