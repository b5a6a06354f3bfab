"""Brain to numbers: columns of the trials table, such as velocity, from the responses around each row."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainalign.experiment.context import Context, table_numbers
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Regress
from brainalign.experiment.steps.encoding import delayed, protocol_of
from brainalign.latents.base import Latents
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.resampling import interval
from brainalign.scoring.score import Score
from brainalign.splits import split_hash
from brainalign.trials import Trials
from brainalign.voxelwise.intervals import drawn_r2
from brainalign.voxelwise.many import encode_many
from brainalign.voxelwise.preference import block_weights

__all__ = ["compute", "show"]

_N_SHOWN = 400


def compute(analysis: Regress, context: Context) -> StepResult:
    """Out-of-fold predictions of every column by ridge regression on the responses at all delays."""
    trials = context.chosen(analysis)
    division, seed = context.folds(trials, analysis), context.experiment.seed
    targets = Trials(
        table_numbers(trials, analysis.columns),
        trials.trials,
        pd.DataFrame({"name": analysis.columns}),
        info=trials.info,
    )
    responses = Latents(trials.matrix(), trials.stimulus_ids, space="responses")
    spaces = {"responses": delayed(responses, trials, analysis)}
    made = encode_many({"": targets}, spaces, cv={"": division}, seed=seed, n_jobs=context.experiment.n_jobs)
    found = made.scores(n_permutations=0)["", "responses"]
    true, predicted = targets.matrix(), made.predicted["", "responses"]
    blocks = None if analysis.block == 1 else np.arange(len(true)) // analysis.block
    low, high = interval(
        drawn_r2(true, predicted, block_weights(blocks, len(true), n_draws=analysis.n_draws, seed=seed))
    )
    scores = {
        f"{analysis.name}/{column}": Score(
            f"R² of {column} from the responses",
            found.r2[number],
            ceiling=None,
            chance=0.0,
            low=low[number],
            high=high[number],
            n=len(true),
            split=split_hash(division),
            protocol=protocol_of(analysis),
            how=f"R² over all rows, each held out once; r within folds {found.r[number]:.3f}; bootstrap over blocks of "
            f"{analysis.block} rows, {analysis.n_draws} draws",
            why={"ceiling": "nothing tells how well these responses could at best be read"},
        )
        for number, column in enumerate(analysis.columns)
    }
    return StepResult(scores, {"true": true, "predicted": predicted, "r": found.r}, {"columns": analysis.columns})


def show(report: Report, analysis: Regress, result: StepResult, context: Context) -> None:
    """Scores, and a stretch of the middle of the recording: measured beside predicted."""
    report.add_figure(plots.score_bars(list(result.scores.values())), "R² with chance (the mean) and 95 % intervals.")
    true, predicted = (np.asarray(result.arrays[name]) for name in ("true", "predicted"))
    table = context.chosen(analysis).trials
    start = max(0, (len(true) - _N_SHOWN) // 2)
    rows = slice(start, start + _N_SHOWN)
    when = table["onset"].to_numpy()[rows] if "onset" in table else np.arange(len(true))[rows].astype(float)
    for number, column in enumerate(analysis.columns):
        curves = {"measured": true[rows, number], "read from the responses": predicted[rows, number]}
        figure = plots.time_course(when, curves, label=column)
        report.add_figure(figure, f"{column} in the middle of the recording, predicted by models that never saw it.")
