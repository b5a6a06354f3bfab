"""Latents to brain: which layer explains each unit, on stimuli that were not fitted on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Voxelwise
from brainalign.experiment.steps.maps import show_on_brain
from brainalign.latents.base import Latents
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.score import Score
from brainalign.splits import Fold, split_hash
from brainalign.trials import Trials
from brainalign.voxelwise import Ridge
from brainalign.voxelwise.scores import UnitScores, score_predictions

__all__ = ["compute", "show"]


def compute(analysis: Voxelwise, context: Context) -> StepResult:
    """Out-of-fold predictions of every unit from every layer, scored per unit and per region."""
    trials = context.chosen(analysis)
    average = trials.average("stimulus_id")
    division = context.folds(trials, analysis)
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    labels: list[str] = []
    for name in analysis.latents:
        for label, latents in context.latents(name).items():
            predicted = _out_of_fold(_rotated(latents), trials, average, division)
            units = score_predictions(predicted, trials, average, seed=context.experiment.seed)
            number = len(labels)
            labels.append(label)
            arrays |= {f"{measure}_{number}": getattr(units, measure) for measure in ("r", "r2", "ceiling", "p", "q")}
            for region, score in _by_region(units, analysis, split_hash(division)).items():
                scores[f"{analysis.name}/{region}/{label}"] = score
    return StepResult(scores, arrays, {"labels": labels, "why_ceiling": units.why.get("ceiling")})


def _out_of_fold(latents: Latents, trials: Trials, average: Trials, division: list[Fold]) -> np.ndarray:
    """Predicted mean response to each stimulus, by a model that saw none of its trials."""
    row_of = {one: row for row, one in enumerate(average.stimulus_ids)}
    predicted = np.full((len(average), average.matrix().shape[1]), np.nan, dtype=np.float32)
    for fold in division:
        tested = list(dict.fromkeys(trials.stimulus_ids[fold.test]))
        model = Ridge().fit(latents, trials.select(fold.train))
        predicted[[row_of[one] for one in tested]] = model.predict(latents.select(tested))
    return predicted


def _rotated(latents: Latents) -> Latents:
    """The same points in as many dimensions as there are stimuli, where there are more features than that.

    Ridge depends on inner products alone, so its predictions stay the same, and no matrix of features by units
    is ever formed.
    """
    flat = latents.flat()
    if flat.shape[1] <= len(flat):
        return latents
    centred = flat - flat.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.astype(np.float64) @ centred.T.astype(np.float64))
    points = vectors * np.sqrt(np.clip(values, 0.0, None))
    return Latents(points, latents.ids, space=latents.space, meta=latents.meta)


def _by_region(units: UnitScores, analysis: Voxelwise, split: str) -> dict[str, Score]:
    column = next((name for name in ("roi", "region") if name in units.units), None)
    queries = (
        {str(one): f"{column} == '{one}'" for one in units.units[column].unique()} if column else {"all units": None}
    )
    protocol = f"{analysis.n_splits or 'leave-one-out'} folds by {analysis.by}, repetitions averaged"
    return {
        region: replace(units.summary(query), name=f"mean r, {region}", split=split, protocol=protocol)
        for region, query in queries.items()
    }


def show(report: Report, analysis: Voxelwise, result: StepResult, context: Context) -> None:
    """Layer by region, the best layer of each unit on the brain, and scores beside their ceilings."""
    trials = context.chosen(analysis)
    labels = result.facts["labels"]
    rows = []
    for name, score in result.scores.items():
        _, region, label = name.split("/", 2)
        row = {"layer": label, "region": region, "value": score.value, "low": score.low, "high": score.high}
        rows.append({**row, "chance": score.chance, "ceiling": score.ceiling})
    figure = plots.score_by_group(pd.DataFrame(rows), x="layer", series="region", label="mean r")
    report.add_figure(
        figure, "How well each layer predicts each region: Pearson r over held-out stimuli, mean of units."
    )
    r = np.stack([np.asarray(result.arrays[f"r_{number}"]) for number in range(len(labels))])
    flat = r.reshape(len(labels), trials.n_units, -1).mean(axis=2)
    best = np.nanmax(np.where(np.isnan(flat), -1.0, flat), axis=0)
    show_on_brain(report, trials, best, "Best r over layers, per unit.")
    ceiling = np.sqrt(np.asarray(result.arrays["ceiling_0"]).reshape(trials.n_units, -1).mean(axis=1))
    known = None if np.isnan(ceiling).all() else ceiling
    figure = plots.unit_scores(best, ceiling=known, label="best r over layers")
    report.add_figure(figure, "Scores of all units" + ("" if known is None else ", beside their ceilings") + ".")
