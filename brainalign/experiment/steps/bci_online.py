"""BCI pipelines as they would run: on sliding windows of whole runs, with idle time and blocks of time as folds."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from brainalign.bci.pipelines import build_pipeline
from brainalign.bci.pseudo_online import PseudoOnline
from brainalign.errors import DataError, unknown
from brainalign.experiment.context import Context, placed
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import BciOnline
from brainalign.loaders.datasets.bci_runs import RUN_LOADERS, recordings_of
from brainalign.loaders.registry import spec_folder
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.score import Score
from brainalign.specs import DatasetSpec

__all__ = ["compute", "show"]


def compute(analysis: BciOnline, context: Context) -> StepResult:
    """Evaluate every pipeline on every window of the runs that hold one of the events."""
    raws, tables = _runs(analysis, context)
    evaluation = PseudoOnline(
        window=analysis.length,
        step=analysis.step,
        task=analysis.task,
        band=analysis.band,
        n_splits=analysis.n_splits,
        train_purity=analysis.train_purity,
        seed=context.experiment.seed,
    )
    facts = {"sfreq": float(raws[0].info["sfreq"])}
    scores: dict[str, Score] = {}
    windows = {}
    for name in analysis.pipelines:
        pipeline = build_pipeline(name, **facts, **analysis.settings.get(name, {}))
        found = evaluation.evaluate(raws, tables, pipeline)
        scores |= {f"{analysis.name}/{name}/{score}": one for score, one in found.scores.items()}
        windows[name] = found.windows.to_dict("list")
        if analysis.shuffled:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="shuffled folds leak")
                leaky = replace(evaluation, protocol="shuffled").evaluate(raws, tables, pipeline)
            scores[f"{analysis.name}/{name}/nmcc, shuffled (leaks)"] = leaky.scores["nmcc"]
    return StepResult(scores, {}, {"windows": windows})


def _runs(analysis: BciOnline, context: Context) -> tuple[list[Any], list[pd.DataFrame]]:
    wanted = context.experiment.dataset
    spec = DatasetSpec.load(wanted.name)
    if spec.loader not in RUN_LOADERS:
        raise DataError(
            f"'{wanted.name}' comes as trials", expected="whole runs: eegmmidb_s001 or ssvep_exo", found=spec.loader
        )
    subject = wanted.subject if wanted.subject is not None else spec.subjects[0]
    folder = spec_folder(spec, None if wanted.root is None else Path(placed(wanted.root)))
    raws, tables = [], []
    for runs in recordings_of(spec, folder, subject).values():
        for recording, table in runs.values():
            kept = table[table["trial_type"].isin(analysis.events)].reset_index(drop=True)
            if len(kept):
                raws.append(_picked(recording.data, analysis.channels))
                tables.append(kept)
    if not raws:
        raise DataError("no run holds one of these events", expected=spec.fact("classes"), found=analysis.events)
    return raws, tables


def _picked(raw: Any, channels: list[str] | None) -> Any:
    if channels is None:
        return raw
    if strange := sorted(set(channels) - set(raw.ch_names)):
        raise unknown("channel", strange[0], raw.ch_names)
    return raw.copy().load_data(verbose="error").pick(channels, verbose="error")


def show(report: Report, analysis: BciOnline, result: StepResult, context: Context) -> None:
    """Each score of each pipeline, and what the first pipeline decided along the first run."""
    scores = result.scores
    shown = [one for name, one in scores.items() if "nmcc" in name]
    names = [name.split("/", 1)[1].replace("/", ", ") for name in scores if "nmcc" in name]
    report.add_figure(
        plots.score_bars([replace(one, name=name) for one, name in zip(shown, names, strict=True)]),
        "Normalised Matthews correlation of all windows, idle included; chance is one half.",
    )
    rows: dict[str, dict[str, float | None]] = {}
    for name, one in scores.items():
        _, pipeline, score = name.split("/")
        rows.setdefault(pipeline, {})[score] = one.value
    report.add_table(pd.DataFrame.from_dict(rows, orient="index"), "Every score of every pipeline.")
    first = next(iter(result.facts["windows"]))
    windows = pd.DataFrame(result.facts["windows"][first])
    figure = plots.decision_timeline(windows[windows["run"] == windows["run"].min()])
    report.add_figure(figure, f"What {first} decided along the first run, each window at its end, beside the truth.")
