"""Brain to numbers: columns of the trials table, such as velocity, from the responses around each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainalign.experiment.context import Context, table_numbers
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Regress
from brainalign.experiment.steps.encoding import delayed, protocol_of
from brainalign.latents.base import Latents
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.correlation import r2
from brainalign.scoring.resampling import interval
from brainalign.scoring.score import Score
from brainalign.splits import split_hash
from brainalign.trials import Trials
from brainalign.voxelwise.intervals import drawn_r2
from brainalign.voxelwise.many import encode_many
from brainalign.voxelwise.preference import block_weights
from brainalign.voxelwise.scores import UnitScores

__all__ = ["compute", "show"]

_N_SHOWN = 400


def compute(analysis: Regress, context: Context) -> StepResult:
    """Out-of-fold predictions of every column by each model from the responses at all delays."""
    trials = context.chosen(analysis)
    division, seed = context.folds(trials, analysis), context.experiment.seed
    true = table_numbers(trials, analysis.columns)
    latents = Latents(trials.matrix(), trials.stimulus_ids, space="responses")
    spaces = {"responses": delayed(latents, trials, analysis)}

    def read(model: str, values: np.ndarray) -> tuple[np.ndarray, UnitScores]:
        targets = Trials(values, trials.trials, pd.DataFrame({"name": analysis.columns}), info=trials.info)
        n_jobs, made_by = context.experiment.n_jobs, _made(model, analysis)
        made = encode_many({"": targets}, spaces, cv={"": division}, model=made_by, seed=seed, n_jobs=n_jobs)
        return made.predicted["", "responses"], made.scores(n_permutations=0)["", "responses"]

    blocks = None if analysis.block == 1 else np.arange(len(true)) // analysis.block
    weights = block_weights(blocks, len(true), n_draws=analysis.n_draws, seed=seed)
    told = _Told(analysis, weights, split_hash(division))
    first, *others = analysis.regressors
    predicted, found = read(first, true)
    scores = told.scores(first, true, predicted, found)
    arrays = {"true": true, "predicted": predicted, "r": found.r}
    for model in others:
        arrays[f"predicted_{model}"], found = read(model, true)
        scores |= told.scores(model, true, arrays[f"predicted_{model}"], found)
        scores |= told.differences(model, true, arrays[f"predicted_{model}"], predicted)
    if analysis.control:
        rotated = np.roll(true, len(true) // 2, axis=0)
        for model in analysis.regressors:
            scores |= told.scores(f"{model}, rotated", rotated, *read(model, rotated))
    return StepResult(scores, arrays, {"columns": analysis.columns})


def _made(model: str, analysis: Regress) -> Any:
    """A fresh model; None is the default of `encode_many`, ridge regression."""
    if model == "ridge":
        return None
    settings = analysis.settings.get(model, {})  # type: ignore[call-overload]
    if model == "neuroformer":
        from brainalign.encoders.neuroformer import NeuroformerRegressor

        return NeuroformerRegressor(len(analysis.delays), settings)
    from brainalign.voxelwise.lag_network import LagNetwork

    return LagNetwork(len(analysis.delays), **settings)


class _Told:
    """What every score of the analysis says beside its value."""

    def __init__(self, analysis: Regress, weights: np.ndarray, split: str) -> None:
        self.analysis, self.weights = analysis, weights
        self.common: dict[str, Any] = {"split": split, "protocol": protocol_of(analysis), "n": weights.shape[1]}
        self.bootstrap = f"bootstrap over blocks of {analysis.block} rows, {analysis.n_draws} draws"

    def scores(self, model: str, true: np.ndarray, predicted: np.ndarray, found: UnitScores) -> dict[str, Score]:
        """R² of each column."""
        low, high = interval(drawn_r2(true, predicted, self.weights))
        by = "" if self._alone else f" by {model}"
        return {
            self._key(model, column): Score(
                f"R² of {column} from the responses{by}",
                found.r2[number],
                ceiling=None,
                chance=0.0,
                low=low[number],
                high=high[number],
                how=f"R² over all rows, each held out once; r within folds {found.r[number]:.3f}; {self.bootstrap}",
                why={"ceiling": "nothing tells how well these responses could at best be read"},
                **self.common,
            )
            for number, column in enumerate(self.analysis.columns)
        }

    def differences(self, model: str, true: np.ndarray, predicted: np.ndarray, first: np.ndarray) -> dict[str, Score]:
        """How much more of each column one model reads than the first of all, on the same draws."""
        low, high = interval(drawn_r2(true, predicted, self.weights) - drawn_r2(true, first, self.weights))
        value = r2(true, predicted.astype(np.float64)) - r2(true, first.astype(np.float64))
        against = self.analysis.regressors[0]
        return {
            self._key(f"{model} less {against}", column): Score(
                f"R² of {column}, {model} less {against}",
                value[number],
                ceiling=None,
                chance=0.0,
                low=low[number],
                high=high[number],
                how=f"difference of R² over the same rows; {self.bootstrap}, the same for both",
                why={"ceiling": "a difference"},
                **self.common,
            )
            for number, column in enumerate(self.analysis.columns)
        }

    @property
    def _alone(self) -> bool:
        return len(self.analysis.regressors) == 1 and not self.analysis.control

    def _key(self, model: str, column: str) -> str:
        name = self.analysis.name
        return f"{name}/{column}" if self._alone else f"{name}/{model}/{column}"


def show(report: Report, analysis: Regress, result: StepResult, context: Context) -> None:
    """Scores, and a stretch of the middle of the recording: measured beside predicted."""
    report.add_figure(plots.score_bars(list(result.scores.values())), "R² with chance (the mean) and 95 % intervals.")
    true, predicted = (np.asarray(result.arrays[name]) for name in ("true", "predicted"))
    table = context.chosen(analysis).trials
    start = max(0, (len(true) - _N_SHOWN) // 2)
    rows = slice(start, start + _N_SHOWN)
    when = table["onset"].to_numpy()[rows] if "onset" in table else np.arange(len(true))[rows].astype(float)
    for number, column in enumerate(analysis.columns):
        curves = {"measured": true[rows, number], f"read by {analysis.regressors[0]}": predicted[rows, number]}
        for model in analysis.regressors[1:]:
            curves[f"read by {model}"] = np.asarray(result.arrays[f"predicted_{model}"])[rows, number]
        figure = plots.time_course(when, curves, label=column)
        report.add_figure(figure, f"{column} in the middle of the recording, predicted by models that never saw it.")
