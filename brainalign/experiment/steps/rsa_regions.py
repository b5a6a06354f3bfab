"""Which summary of a geometry tells regions apart across subjects: distances, or only who is neighbour of whom."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainalign.analysis import rsa
from brainalign.errors import DataError
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.geometries import region_rdms
from brainalign.experiment.schema_rsa import RsaRegions, Summary
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score

__all__ = ["compute", "show"]


def compute(analysis: RsaRegions, context: Context) -> StepResult:
    """Identify every subject's regions from the other subjects' mean, with each summary of the same geometries."""
    geometries = region_rdms(analysis, context)
    rdms = np.stack(list(geometries.regions.values()), axis=1)  # (n_subjects, n_regions, n_pairs)
    if rdms.shape[0] < 2 or rdms.shape[1] < 2:
        raise DataError("regions are identified across subjects", expected="2 or more of each", found=rdms.shape[:2])
    sets = _sets(analysis, len(geometries.conditions), context.experiment.seed)
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    disconnected: dict[str, float] = {}
    correct: dict[str, np.ndarray] = {}
    for number, (name, summary) in enumerate(analysis.summaries.items()):
        found = [_identify(rdms, keep, summary, list(geometries.regions)) for keep in sets]
        correct[name] = np.mean([one.subject_accuracy for one, _ in found], axis=0)
        arrays[f"correct_{number}"] = correct[name]
        arrays[f"confusion_{number}"] = np.mean([one.confusion for one, _ in found], axis=0)
        disconnected[name] = float(np.mean([share for _, share in found]))
        scores[f"{analysis.name}/{name}"] = _score(analysis, context, f"region from {name}", correct[name], rdms)
    first, *others = analysis.summaries
    for name in others:
        key = f"{analysis.name}/{name} - {first}"
        scores[key] = _score(analysis, context, f"{name} less {first}", correct[name] - correct[first], rdms)
    return StepResult(scores, arrays, {"regions": list(geometries.regions), "disconnected": disconnected})


def _sets(analysis: RsaRegions, n: int, seed: int) -> list[np.ndarray]:
    if analysis.n_conditions is None or analysis.n_conditions == n:
        return [np.arange(n)]
    if analysis.n_conditions > n:
        raise DataError("more conditions wanted than there are", expected=f"at most {n}", found=analysis.n_conditions)
    children = np.random.SeedSequence([seed, 2]).spawn(analysis.n_sets)
    return [np.sort(np.random.default_rng(one).permutation(n)[: analysis.n_conditions]) for one in children]


def _identify(
    rdms: np.ndarray, keep: np.ndarray, summary: Summary, regions: list[str]
) -> tuple[rsa.regions.Identification, float]:
    """Identification by one summary, and the share of pairs that no path connects."""
    d, apart = rsa.condensed.select_conditions(rdms, keep), 0.0
    if summary.geodesic:
        paths = rsa.rgdm(d, low=summary.low, high=summary.high)
        d, apart = paths.distances, float(paths.n_disconnected.mean() / d.shape[-1])
    elif (summary.low, summary.high) != (0.0, 1.0):
        d = rsa.rgtm(d, low=summary.low, high=summary.high)
    return rsa.identify_regions(d, regions=regions), apart


def _score(analysis: RsaRegions, context: Context, name: str, correct: np.ndarray, rdms: np.ndarray) -> Score:
    low, high = mean_ci(correct, seed=context.experiment.seed)
    n_sets = "all conditions" if analysis.n_conditions is None else (
        f"{analysis.n_sets} random sets of {analysis.n_conditions} conditions"
    )  # fmt: skip
    difference = " less " in name
    return Score(
        name,
        float(correct.mean()),
        ceiling=None if difference else 1.0,
        chance=0.0 if difference else 1 / rdms.shape[1],
        low=float(low),
        high=float(high),
        n=len(correct),
        split=None,
        protocol=f"{rdms.shape[1]} regions of {len(correct)} people, each left out once; {n_sets}",
        how="nearest mean RDM of the others by correlation; percentile bootstrap over people",
        why={"split": "leave one person out, nothing is drawn", "ceiling": "a difference has none"},
    )


def show(report: Report, analysis: RsaRegions, result: StepResult, context: Context) -> None:
    """Accuracy of each summary, differences from the first, and what is taken for what."""
    names, regions = list(analysis.summaries), result.facts["regions"]
    accuracies = [result.scores[f"{analysis.name}/{name}"] for name in names]
    report.add_figure(
        plots.score_bars(accuracies), "Share of regions recognised in a person left out, by summary of the geometry."
    )
    rows = []
    for number, (name, score) in enumerate(zip(names, accuracies)):
        confusion = np.asarray(result.arrays[f"confusion_{number}"])
        summary = analysis.summaries[name]
        row = {"summary": name, "low": summary.low, "high": summary.high, "accuracy": score.value}
        row |= {f"sensitivity {region}": confusion[at, at] for at, region in enumerate(regions)}
        if any(one.geodesic for one in analysis.summaries.values()):
            row["pairs without a path"] = result.facts["disconnected"][name]
        if number:
            less = result.scores[f"{analysis.name}/{name} - {names[0]}"]
            row |= {f"less {names[0]}": less.value, "from": less.low, "to": less.high}
        rows.append(row)
    caption = "Accuracy and sensitivity; differences are of the same people, with 95 % intervals over them."
    report.add_table(pd.DataFrame(rows), caption)
