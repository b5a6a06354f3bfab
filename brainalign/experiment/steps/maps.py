"""One value per unit, back on the brain where there is a way back."""

from __future__ import annotations

import numpy as np

from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.spaces import SensorSpace, VolumeSpace
from brainalign.trials import Trials

__all__ = ["show_on_brain"]

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
    elif isinstance(trials.space, SensorSpace):
        info = trials.space.info(trials.units)
        places = np.array([channel["loc"][:3] for channel in info["chs"]])
        inside = set(info.get_channel_types()) & {"seeg", "ecog", "dbs"}
        if not inside and (np.isfinite(places).all(axis=1) & places.any(axis=1)).sum() >= _FEWEST_SENSORS:
            report.add_figure(plots.topomap(values, info, label=label), caption)
