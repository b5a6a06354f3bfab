"""BOLD of regions from the EEG before each volume: a network and lagged ridge under one protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainalign.encoders.neurobolt import NeuroBOLT
from brainalign.encoders.neurobolt.bands import BANDS
from brainalign.encoders.neurobolt.protocol import HeldOut, predict_held_out
from brainalign.experiment.context import Context, table_numbers
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_bold import Bold
from brainalign.latents.base import Latents
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.resampling import interval
from brainalign.scoring.score import Score
from brainalign.splits import contiguous_folds, split_hash
from brainalign.voxelwise.intervals import drawn_r
from brainalign.voxelwise.preference import block_weights
from brainalign.voxelwise.scores import UnitScores

__all__ = ["compute", "show"]


def compute(analysis: Bold, context: Context) -> StepResult:
    """Held-out predictions of every region by each model, and of the BOLD of another time."""
    trials, seed, n_jobs = context.chosen(analysis), context.experiment.seed, context.experiment.n_jobs
    division = contiguous_folds(len(trials), n_splits=analysis.n_splits, gap=analysis.gap)
    true = table_numbers(trials, analysis.rois)
    bands = analysis.bands or BANDS
    known: dict[str, Any] = {
        "neurobolt": NeuroBOLT(**{"gap": analysis.gap, "seed": seed, **analysis.params}),
        "ridge": analysis.step,
    }
    models: dict[str, Any] = {name: known[name] for name in analysis.predictors}

    def predict(values: np.ndarray) -> tuple[HeldOut, dict[str, UnitScores]]:
        bold = Latents(values, trials.stimulus_ids, space="bold", meta={"rois": analysis.rois})
        made = predict_held_out(models, trials, bold, division, bands=bands, n_jobs=n_jobs)
        scores = made.encodings.scores(n_permutations=analysis.n_permutations, chunk=analysis.block, seed=seed)
        return made, {name: scores["", name] for name in models}

    told = _Told(analysis, len(true), split_hash(division), seed)
    made, found = predict(true)
    scores: dict[str, Score] = {}
    arrays = {"true": true}
    for name, one in found.items():
        scores |= told.scores(name, one)
        arrays |= {f"predicted_{name}": made.encodings.predicted["", name], f"r_{name}": one.r}
        arrays |= {f"p_{name}": one.p, f"q_{name}": one.q}
    if len(models) > 1:
        scores |= told.differences(found)
    arrays |= {f"lost_{name}": values for name, values in made.lost.items()}
    if analysis.control:
        for name, one in predict(np.roll(true, len(true) // 2, axis=0))[1].items():
            scores |= told.scores(f"{name}, another time", one)
    return StepResult(scores, arrays, {"bands": list(bands)})


class _Told:
    """What every score of the analysis says beside its value."""

    def __init__(self, analysis: Bold, n_volumes: int, split: str, seed: int) -> None:
        self.analysis = analysis
        blocks = np.arange(n_volumes) // analysis.block
        self.weights = block_weights(blocks, n_volumes, n_draws=analysis.n_draws, seed=seed)
        protocol = f"{analysis.n_splits} contiguous folds, {analysis.gap} volumes between train and test"
        self.common: dict[str, Any] = {"n": n_volumes, "split": split, "protocol": protocol, "chance": 0.0}
        self.bootstrap = f"bootstrap over blocks of {analysis.block} volumes, {analysis.n_draws} draws"

    def scores(self, model: str, found: UnitScores) -> dict[str, Score]:
        """r of each region."""
        low, high = interval(self._draws(found))
        return {
            f"{self.analysis.name}/{model}/{roi}": Score(
                f"r of {roi}, {model}",
                found.r[number],
                ceiling=None,
                low=low[number],
                high=high[number],
                how=f"Pearson r within folds; p {found.p[number]:.4f}, q {found.q[number]:.4f} over regions, by "
                f"shuffling blocks of {self.analysis.block} volumes; {self.bootstrap}",
                why={"ceiling": "every volume was measured once", "value": "the BOLD or its prediction is constant"},
                **self.common,
            )
            for number, roi in enumerate(self.analysis.rois)
        }

    def differences(self, found: dict[str, UnitScores]) -> dict[str, Score]:
        """How much better the first model predicts each region than the second, on the same draws."""
        (first, one), (second, other) = found.items()
        low, high = interval(self._draws(one) - self._draws(other))
        return {
            f"{self.analysis.name}/{first} less {second}/{roi}": Score(
                f"r of {roi}, {first} less {second}",
                one.r[number] - other.r[number],
                ceiling=None,
                low=low[number],
                high=high[number],
                how=f"difference of r over the same volumes; {self.bootstrap}, the same for both",
                why={"ceiling": "a difference", "value": "the BOLD or a prediction is constant"},
                **self.common,
            )
            for number, roi in enumerate(self.analysis.rois)
        }

    def _draws(self, found: UnitScores) -> np.ndarray:
        return drawn_r(found.measured, found.predicted, self.weights)


def show(report: Report, analysis: Bold, result: StepResult, context: Context) -> None:
    """Scores, each region's test, what is lost without each band, and measured beside predicted."""
    report.add_figure(plots.score_bars(list(result.scores.values())), "r of each region, with 95 % intervals.")
    rows: list[dict[str, Any]] = [
        {"model": name, "region": roi}
        | {value: float(np.asarray(result.arrays[f"{value}_{name}"])[number]) for value in ("r", "p", "q")}
        for name in analysis.predictors
        for number, roi in enumerate(analysis.rois)
    ]
    report.add_table(pd.DataFrame(rows), f"Each region, tested by shuffling blocks of {analysis.block} volumes.")
    if "lost_neurobolt" in result.arrays:
        lost = pd.DataFrame(np.asarray(result.arrays["lost_neurobolt"]).T, columns=result.facts["bands"])
        lost.insert(0, "region", analysis.rois)
        report.add_table(lost, "r that the network loses when a band is taken out of the EEG.")
    table = context.chosen(analysis).trials
    when = table["onset"].to_numpy(float) if "onset" in table else np.arange(len(table), dtype=float)
    for number, roi in enumerate(analysis.rois):
        curves = {"measured": np.asarray(result.arrays["true"])[:, number]}
        for name in analysis.predictors:
            curves[f"predicted by {name}"] = np.asarray(result.arrays[f"predicted_{name}"])[:, number]
        report.add_figure(plots.time_course(when, curves, label=roi), f"{roi}, by models that never saw the volume.")
