"""How an rsa analysis is told: models beside ceilings with their tests, layer by region, the RDMs and their maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.rsa import to_square
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Rsa
from brainalign.report import plots
from brainalign.report.report import Report

__all__ = ["show"]

_MAX_ICONS = 100
_MAX_LISTED_PAIRS = 15
_LEVEL = 0.05
_SQUARED = ("sqeuclidean", "mahalanobis", "crossnobis")


def show(report: Report, analysis: Rsa, result: StepResult, context: Context) -> None:
    """Scores and tests first, then what the geometries look like."""
    if "times" in result.arrays:
        _time_courses(report, analysis, result)
    else:
        _model_bars(report, analysis, result)
        if len(result.facts["regions"]) > 1:
            _heat_map(report, analysis, result)
    _geometries(report, analysis, result, context)


def _time_courses(report: Report, analysis: Rsa, result: StepResult) -> None:
    labels, times = result.facts["labels"], np.asarray(result.arrays["times"])
    for number, region in enumerate(result.facts["regions"]):
        value, low, high = (np.asarray(result.arrays[f"{name}_{number}"]) for name in ("value", "low", "high"))
        curves = {label: value[:, column] for column, label in enumerate(labels)}
        bands = {label: (low[:, at], high[:, at]) for at, label in enumerate(labels) if np.isfinite(low[:, at]).all()}
        ceiling = np.asarray(result.arrays[f"ceiling_{number}"])
        figure = plots.time_course(
            times,
            curves,
            interval=bands or None,
            ceiling={"lower": ceiling[:, 0]} if np.isfinite(ceiling).all() else None,
            chance=0.0,
            label=f"RSA ({analysis.method})",
        )
        report.add_figure(figure, f"{region}: similarity of geometries in windows of {analysis.window} s.")


def _model_bars(report: Report, analysis: Rsa, result: StepResult) -> None:
    families = result.facts["group_of"]
    tests = f"{'Student t' if analysis.test == 't' else 'bootstrap'}, {_corrected(analysis)}"
    for region in result.facts["regions"]:
        found = result.facts["results"][region]
        table, pairs = _frame(found["models"]), _frame(found["pairs"])
        families_here = [families.get(name, name if analysis.fit else "") for name in table["model"]]
        number = result.facts["regions"].index(region)
        figure = plots.model_bars(
            table.assign(family=families_here),
            pairs=pairs,
            subjects=np.asarray(result.arrays[f"subjects_{number}"]),
            ceiling=(_number(found["ceiling"][0]), _number(found["ceiling"][1])),
            label=f"RSA ({analysis.method})",
            title=region,
        )
        report.add_figure(
            figure,
            f"{region}: mean over subjects with 95 % intervals, a dot per subject, noise ceiling in grey. Filled dot: "
            "above zero; triangle: below the lower ceiling; lines, or the matrix below: models that differ "
            f"(p < {_LEVEL}, {tests}).",
        )
        ordered = table.sort_values("value", ascending=False)
        report.add_table(ordered, f"{region}: {_ceiling_text(found['ceiling'])} p: {tests}.")
        if len(pairs):
            listed = pairs.sort_values("p").head(_MAX_LISTED_PAIRS)
            rest = f", the {len(listed)} with the smallest p of {len(pairs)}" if len(pairs) > len(listed) else ""
            report.add_table(listed, f"{region}: pairs of models{rest}; q is corrected over all pairs.")


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """JSON's null is a number that is not there."""
    table = pd.DataFrame(rows)
    text = [name for name in ("model", "first", "second") if name in table]
    return table.astype({name: np.float64 for name in table if name not in text})


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _corrected(analysis: Rsa) -> str:
    return {"fdr": "false discovery rate", "holm": "family-wise by Holm", "none": "not corrected"}[analysis.correct]


def _ceiling_text(ceiling: list[float | None]) -> str:
    if ceiling[0] is None:
        return "one subject has no noise ceiling."
    return f"noise ceiling {ceiling[0]:.3f} (each subject with the mean of the others) to {ceiling[1]:.3f}."


def _heat_map(report: Report, analysis: Rsa, result: StepResult) -> None:
    regions = result.facts["regions"]
    tables = {region: _frame(result.facts["results"][region]["models"]).set_index("model") for region in regions}
    values = pd.DataFrame({region: table["value"] for region, table in tables.items()})
    significant = pd.DataFrame({region: table["q_zero"] < _LEVEL for region, table in tables.items()})
    ceilings = {region: result.facts["results"][region]["ceiling"][0] for region in regions}
    figure = plots.layer_region_map(values, significant=significant, ceiling=ceilings, label=f"RSA ({analysis.method})")
    report.add_figure(
        figure, f"Model by region; a dot: above zero (q < {_LEVEL}); framed: the best model of the region."
    )


def _geometries(report: Report, analysis: Rsa, result: StepResult, context: Context) -> None:
    """Mean RDM of each region and the best model of each; then where the conditions lie."""
    facts = result.facts
    icons, conditions = _icons(context, facts["conditions"]), facts["conditions"]
    models = dict(zip(facts["labels"], np.asarray(result.arrays["models"])))
    shown = {
        region: _mean(np.asarray(result.arrays[f"rdm_{number}"])) for number, region in enumerate(facts["regions"])
    }
    means = dict(shown)
    for label in _best_models(result):
        shown[label] = models[label]
    report.add_figure(
        plots.rdm_grid({name: to_square(d) for name, d in shown.items()}, icons=icons, labels=conditions, ranked=True),
        "Mean dissimilarities of the subjects, ranked, beside the models that fit best.",
    )
    for name, d in means.items():
        # Scaling places distances; squared ones (negative at times, where cross-validated) are brought to that first.
        distance = np.sqrt(np.maximum(d, 0.0)) if analysis.metric in _SQUARED else d
        figure = plots.mds(distance, icons=icons, labels=None if icons else conditions, title=name)
        report.add_figure(figure, f"{name}: conditions placed by the mean dissimilarity.")


def _mean(rdms: np.ndarray) -> np.ndarray:
    return rdms.reshape(-1, rdms.shape[-1]).mean(axis=0)


def _best_models(result: StepResult) -> list[str]:
    """The best fixed model of each region, each once; at least the first few where there are few."""
    labels = result.facts["labels"]
    if len(labels) <= 4:
        return list(labels)
    found = []
    for rows in (one["models"] for one in result.facts["results"].values()):
        fixed = [row for row in rows if row["model"] in labels and row["value"] is not None]
        found += [max(fixed, key=lambda row: row["value"])["model"]] if fixed else []
    return list(dict.fromkeys(found))


def _icons(context: Context, ids: list[str]) -> list[np.ndarray] | None:
    stimuli = context.source.stimuli
    if stimuli is None or not stimuli.has_images or len(ids) > _MAX_ICONS or not set(ids) <= set(stimuli.ids):
        return None
    return [np.asarray(stimuli.image(one).resize((48, 48))) for one in ids]
