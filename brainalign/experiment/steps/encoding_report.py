"""What the report shows of an encoding analysis."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainalign.experiment.context import Context, placed
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Encoding
from brainalign.experiment.steps.maps import show_on_brain
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.report.style import numbers
from brainalign.spaces import SurfaceSpace, VolumeSpace
from brainalign.trials import Trials

__all__ = ["show"]

_N_ROWS = 15


def show(report: Report, analysis: Encoding, result: StepResult, context: Context, *, table: pd.DataFrame) -> None:
    """Layers by region, the best two of each; preferences of units; maps; how units spread."""
    trials, labels = context.chosen(analysis), result.facts["labels"]
    _layers_by_region(report, analysis, result)
    if len(labels) > 1:
        _preferences(report, trials, result, table)
    if trials.times is not None:
        _over_time(report, trials, result)
    maps = _maps(analysis, result, context)
    show_on_brain(report, trials, maps["best_r"], "Best r over layers, per unit.")
    if isinstance(trials.space, SurfaceSpace):
        _on_surface(report, trials, maps["best_r"], analysis)
    known = "ceiling" if table["ceiling"].notna().any() else None
    report.add_figure(
        plots.unit_violins(table, ceiling=known, label="r of the best layer"),
        "How units spread within each region: r of each unit's best layer, with quartiles and median.",
    )
    measures = {"r": "r", "r2": "R²"} | ({"r_normalised": "r over ceiling"} if known else {})
    report.add_table(plots.violin_table(table, values=measures), "The same in figures, each unit by its best layer.")
    if known:
        figure = plots.unit_scores(
            table["r"].to_numpy(), ceiling=table["ceiling"].to_numpy(), label="r of the best layer"
        )
        report.add_figure(figure, "Scores of all units, beside their noise ceilings.")
    _best_units(report, table)


def _maps(analysis: Encoding, result: StepResult, context: Context) -> dict[str, np.ndarray]:
    from brainalign.experiment.steps.encoding import unit_maps

    return unit_maps(analysis, result, context)


def _over_time(report: Report, trials: Trials, result: StepResult) -> None:
    """Mean over units of each layer's r, and the unit that reaches highest, by time."""
    labels, times = result.facts["labels"], np.asarray(trials.times)
    r = np.asarray(result.arrays["r"]).reshape(len(labels), trials.n_units, len(times))
    curves = {f"{label}, mean of units": np.nanmean(one, axis=0) for label, one in zip(labels, r, strict=True)}
    layer, unit, _ = np.unravel_index(np.nanargmax(r), r.shape)
    curves[f"{labels[layer]}, {trials.units['name'].iloc[unit]}"] = r[layer, unit]
    figure = plots.time_course(times, curves, chance=0.0, label="r")
    report.add_figure(figure, "How well responses at each time are predicted: the mean of all units, and the best one.")


def _layers_by_region(report: Report, analysis: Encoding, result: StepResult) -> None:
    labels, regions = result.facts["labels"], result.facts["regions"]
    rows, leads = [], []
    for region, found in regions.items():
        start = f"{analysis.name}/{region}"
        for label in labels:
            score = result.scores[f"{start}/{label}"]
            row = {"layer": label, "region": region, "value": score.value, "low": score.low, "high": score.high}
            rows.append({**row, "chance": score.chance, "ceiling": score.ceiling})
        best, second = labels[found["best"]], labels[found["second"]]
        score = result.scores[f"{start}/{best}"]
        lead = {"region": region, "units": found["n_units"], "explained": result.scores[f"{start}/explained"].value}
        lead |= {"best layer": best, "mean r": score.value, "interval": _interval(score.low, score.high)}
        if best != second:
            value, low, high = found["difference"]
            lead |= {"next layer": second, "lead": value, "its interval": _interval(low, high)}
            lead |= {"p": found["p"]}
        leads.append(lead)
    if len(labels) > 1:
        figure = plots.score_by_group(pd.DataFrame(rows), x="layer", series="region", label="mean r")
        report.add_figure(
            figure,
            "How well each layer predicts each region: Pearson r on held-out rows, mean of units, 95 % intervals.",
        )
    report.add_table(
        pd.DataFrame(leads),
        "Explained: share of units at a false discovery rate of 5 %"
        + (
            " for some layer. Lead: of the best layer over the next, on the same bootstrap draws."
            if len(labels) > 1
            else "."
        ),
    )


def _interval(low: float | None, high: float | None) -> str:
    return " to ".join(numbers([low, high]))


def _preferences(report: Report, trials: Trials, result: StepResult, table: pd.DataFrame) -> None:
    labels, preferred = result.facts["labels"], np.asarray(result.arrays["preferred"])
    report.add_figure(
        plots.layer_preference_shares(preferred, table["region"].to_numpy(), labels),
        "Which layer the units of each region prefer; only units that some layer explains have a preference.",
    )
    if isinstance(trials.space, VolumeSpace) and trials.times is None and (preferred >= 0).any():
        image = trials.space.to_nifti(preferred + 1.0, trials.units)
        led = np.nanmedian(np.asarray(result.arrays["stability"])[preferred >= 0])
        report.add_figure(
            plots.layer_preference_map(image, labels),
            f"The layer each explained unit prefers. A unit's best layer led in {100 * led:.0f} % of bootstrap "
            "draws (median): single voxels are less sure than the picture looks.",
        )


def _on_surface(report: Report, trials: Trials, values: np.ndarray, analysis: Encoding) -> None:
    """On the meshes that the experiment names."""
    for hemi, image in trials.space.to_gifti(values, trials.units).items():  # type: ignore[union-attr]
        if hemi in analysis.meshes:
            drawn = plots.surface_map(image.darrays[0].data, placed(analysis.meshes[hemi]), hemi=hemi, label="r")
            report.add_figure(drawn, f"Best r over layers, {hemi} hemisphere.")


def _best_units(report: Report, table: pd.DataFrame) -> None:
    best = table.sort_values("r", ascending=False).head(_N_ROWS)
    ends = [_interval(low, high) for low, high in zip(best["lead low"], best["lead high"], strict=True)]
    columns = ["unit", "region", "best layer", "r", "r2", "q"]
    if table["best layer"].nunique() > 1:
        best = best.assign(**{"its interval": ends})
        columns += ["lead", "its interval", "led in draws"]
    best = best[columns].rename(columns={"r2": "R²"})
    report.add_table(
        best.reset_index(drop=True),
        f"The {len(best)} units with the highest r, each by its best layer"
        + (
            ", the lead of that layer over the next, and the share of draws in which it led." if "lead" in best else "."
        ),
    )
