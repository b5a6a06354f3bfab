"""The report of a run: scores first, then a section per analysis, then how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from brainalign.experiment import steps
from brainalign.experiment.context import Context
from brainalign.experiment.folder import RunFolder, StepResult
from brainalign.loaders.datasets.images92 import SubjectRdms
from brainalign.report.report import Report

__all__ = ["write_report"]

_HEADLINES = 2
"""So many scores of each analysis stand at the head; all of them stand in a table below."""


def write_report(folder: RunFolder, context: Context, results: Mapping[str, StepResult]) -> Path:
    """Draw the report from what the steps left; nothing is computed again."""
    experiment = context.experiment
    report = Report(experiment.title, subtitle=experiment.description or None, facts=_facts(context))
    report.add_scores([score for result in results.values() for score in list(result.scores.values())[:_HEADLINES]])
    for analysis in experiment.analyses:
        steps.show(report, analysis, results[analysis.name], context)
    report.section("All scores").add_table(
        _all_scores(results), "As in summary.json; a dash stands where a field does not apply."
    )
    report.section("How this was made")
    report.add_details("Experiment", folder.config())
    report.add_details("Environment", json.loads((folder.path / "environment.json").read_text()))
    if not isinstance(context.source, SubjectRdms) and context.source.history:
        report.add_details("What was done to the responses", list(context.source.history))
    return report.save(folder.path / "report.html")


def _all_scores(results: Mapping[str, StepResult]) -> pd.DataFrame:
    rows = [
        {"score": name, **{column: row for column, row in score.to_row().items() if column != "why"}}
        for result in results.values()
        for name, score in result.scores.items()
    ]
    return pd.DataFrame(rows)


def _facts(context: Context) -> dict[str, object]:
    source = context.source
    facts: dict[str, object] = {"dataset": context.experiment.dataset.name}
    if isinstance(source, SubjectRdms):
        rdms = next(iter(source.rdms.values()))
        return facts | {"subjects": len(rdms), "stimuli": len(source.stimulus_ids), "regions": ", ".join(source.rdms)}
    facts |= {
        "subject": ", ".join(source.trials["subject"].astype(str).unique()[:5]),
        "trials": source.n_trials,
        "stimuli": source.trials["stimulus_id"].nunique(),
        "channels" if source.times is not None else "units": source.n_units,
    }
    if source.times is not None:
        facts["times"] = f"{source.times[0]:.2f} to {source.times[-1]:.2f} s"
    return facts
