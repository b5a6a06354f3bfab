"""BCI pipelines under one protocol, by our evaluation and, where asked, by MOABB's own beside it."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import pandas as pd

from brainalign.bci.benchmark import evaluate_pipelines, moabb_results
from brainalign.bci.protocols import Protocol, moabb_evaluation
from brainalign.bci.results import result_key
from brainalign.experiment.context import Context, placed
from brainalign.experiment.folder import StepResult
from brainalign.experiment.leaderboard import (
    Leaderboard,
    find_dataset,
    make_paradigm,
    make_pipelines,
    show_results,
    summarise,
)
from brainalign.experiment.schema import Bci
from brainalign.report.report import Report
from brainalign.scoring.score import Score
from brainalign.specs import DatasetSpec

__all__ = ["compute", "show"]


def compute(analysis: Bci, context: Context) -> StepResult:
    """Evaluate every pipeline; a score each, its interval over subjects."""
    wanted = context.experiment.dataset
    spec = DatasetSpec.load(wanted.name)
    chosen = spec.subjects if wanted.subjects == "all" else wanted.subjects or [wanted.subject or spec.subjects[0]]
    asked = Leaderboard(
        [wanted.name],
        analysis.pipelines,
        events=analysis.events,
        band=analysis.band,
        window=analysis.window,
        channels=analysis.channels,
        scorer=analysis.scorer,
        settings=analysis.settings,
    )
    dataset = find_dataset(wanted.name, root=None if wanted.root is None else placed(wanted.root), subjects=chosen)
    paradigm, pipelines = make_paradigm(dataset, asked, analysis.protocol), make_pipelines(dataset, asked)
    protocol = Protocol(analysis.protocol, n_splits=analysis.n_splits, seed=context.experiment.seed)
    n_jobs = context.experiment.n_jobs
    table = evaluate_pipelines([dataset], pipelines, paradigm, protocol=protocol, n_jobs=n_jobs)
    table = table.assign(scorer=str(paradigm.scoring))
    theirs = _by_moabb(dataset, pipelines, paradigm, protocol) if analysis.moabb else None
    facts = {"table": table.to_dict("list"), "moabb": None if theirs is None else _beside(table, theirs)}
    return StepResult(_scores(analysis, table), {}, facts)


def _by_moabb(dataset: Any, pipelines: dict[str, Any], paradigm: Any, protocol: Protocol) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        return moabb_evaluation(protocol, paradigm, [dataset], hdf5_path=folder, overwrite=True).process(pipelines)


def _beside(table: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Any]:
    """Means of both, and the largest difference of any subject and session."""
    by = ["dataset", "subject", "session", "pipeline"]
    both = moabb_results(table).merge(theirs, on=by, suffixes=("", "_moabb"))
    means = both.groupby("pipeline")[["score", "score_moabb"]].mean()
    return {
        "pipeline": means.index.tolist(),
        "by brainalign": means["score"].tolist(),
        "by MOABB": means["score_moabb"].tolist(),
        "largest difference of a session": [
            float(np.abs(part["score"] - part["score_moabb"]).max()) for _, part in both.groupby("pipeline")
        ],
    }


def _scores(analysis: Bci, table: pd.DataFrame) -> dict[str, Score]:
    made = {}
    split = result_key({"folds": sorted(table["fold_hash"].unique())})[:16]
    for row in summarise(table).itertuples():
        why = {"ceiling": "not defined for class decisions"}
        if not np.isfinite(row.low):
            why |= dict.fromkeys(("low", "high"), "one subject, and no accuracy")
        alone = row.subjects == 1
        made[f"{analysis.name}/{row.pipeline}"] = Score(
            f"{table['scorer'].iloc[0]} of {row.pipeline}",
            row.mean,
            ceiling=None,
            chance=row.chance,
            low=row.low,
            high=row.high,
            n=row.trials if alone else row.subjects,
            split=split,
            protocol=analysis.protocol.replace("_", " "),
            how="mean over subjects; " + ("Clopper and Pearson over trials" if alone else "bootstrap over subjects"),
            why=why,
        )
    return made


def show(report: Report, analysis: Bci, result: StepResult, context: Context) -> None:
    """Points, table, ranks and comparisons; then MOABB's scores beside ours."""
    show_results(report, pd.DataFrame(result.facts["table"]))
    if result.facts["moabb"]:
        beside = pd.DataFrame(result.facts["moabb"]).set_index("pipeline")
        report.add_table(beside, "The same folds through MOABB's own evaluation.")
