"""Geometries of regions, or of many subjects' regions, beside those of network layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from brainalign.analysis import rsa
from brainalign.errors import DataError
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Rsa
from brainalign.loaders.datasets.images92 import SubjectRdms
from brainalign.report import plots
from brainalign.report.report import Report

__all__ = ["compute", "show"]

_MAX_ICONS = 100


def compute(analysis: Rsa, context: Context) -> StepResult:
    """Compare every region's RDMs with every layer's, with ceilings and bootstrap intervals."""
    regions, ids = _regions(analysis, context)
    models = {
        label: rsa.rdm(latents.select(ids).flat().astype(np.float64), metric=analysis.model_metric)
        for name in analysis.latents
        for label, latents in context.latents(name).items()
    }
    scores, arrays, ceilings = {}, {}, {}
    for number, (region, rdms) in enumerate(regions.items()):
        bootstrap = "both" if len(rdms) > 1 else "stimuli"
        result = rsa.evaluate(
            rdms,
            models,
            method=analysis.method,
            bootstrap=bootstrap if analysis.n_draws else None,
            n_draws=analysis.n_draws,
            seed=context.experiment.seed,
        )
        for label, score in result.scores.items():
            scores[f"{analysis.name}/{region}/{label}"] = replace(score, name=f"RSA {region}, {label}")
        ceilings[region] = [None if np.isnan(one) else float(one) for one in result.ceiling]
        arrays[f"rdm_{number}"] = rdms
    arrays["models"] = np.stack(list(models.values()))
    facts = {"regions": list(regions), "labels": list(models), "ceilings": ceilings, "ids": ids}
    return StepResult(scores, arrays, facts)


def _regions(analysis: Rsa, context: Context) -> tuple[dict[str, np.ndarray], list[str]]:
    """RDMs (n_subjects, n_pairs) by region, and the ids of their conditions."""
    if isinstance(context.source, SubjectRdms):
        return context.source.rdms, list(context.source.stimulus_ids)
    trials = context.chosen(analysis)
    if trials.trials["subject"].nunique() > 1:
        raise DataError("rsa of responses takes one subject", fix="name dataset.subject in the experiment")
    average = trials.average("stimulus_id")
    column = next((name for name in ("roi", "region") if name in average.units), None)
    names = average.units[column].unique() if column else [None]
    rdms = {}
    for name in names:
        part = average if name is None else average.select(units=(average.units[column] == name).to_numpy())
        rdms[str(name or "all units")] = rsa.rdm(part.matrix().astype(np.float64), metric=analysis.metric)[None]
    return rdms, list(average.stimulus_ids)


def show(report: Report, analysis: Rsa, result: StepResult, context: Context) -> None:
    """Layer by region with ceilings, then the RDMs with the pictures beside them."""
    facts = result.facts
    rows = []
    for name, score in result.scores.items():
        _, region, label = name.split("/", 2)
        row = {"layer": label, "region": region, "value": score.value, "low": score.low, "high": score.high}
        rows.append({**row, "chance": 0.0, "ceiling": score.ceiling})
    figure = plots.score_by_group(pd.DataFrame(rows), x="layer", series="region", label=f"RSA ({analysis.method})")
    report.add_figure(figure, f"Similarity of geometries ({analysis.method} of dissimilarities), with 95 % intervals.")
    if any(upper is not None for _, upper in facts["ceilings"].values()):
        table = pd.DataFrame(
            [
                {"region": region, "lower ceiling": low, "upper ceiling": up}
                for region, (low, up) in facts["ceilings"].items()
            ]
        )
        report.add_table(table, "Noise ceilings: each subject against the mean of the others, and of all.")
    icons = _icons(context, facts["ids"])
    for number, region in enumerate(facts["regions"]):
        mean = np.asarray(result.arrays[f"rdm_{number}"]).mean(axis=0)
        report.add_figure(
            plots.rdm(mean, icons=icons, ranked=True, title=region), f"{region}: dissimilarities, ranked."
        )
    best = max(result.scores, key=lambda name: result.scores[name].value or -1.0).split("/", 2)[2]
    model = np.asarray(result.arrays["models"])[facts["labels"].index(best)]
    report.add_figure(plots.rdm(model, icons=icons, ranked=True, title=best), f"{best}: dissimilarities, ranked.")
    report.add_figure(plots.mds(model, icons=icons, title=best), f"{best}: pictures placed by dissimilarity.")


def _icons(context: Context, ids: list[str]) -> list[np.ndarray] | None:
    stimuli = context.stimuli()
    if not stimuli.has_images or len(ids) > _MAX_ICONS:
        return None
    return [np.asarray(stimuli.image(one).resize((48, 48))) for one in ids]
