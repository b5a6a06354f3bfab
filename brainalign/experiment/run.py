"""Do an experiment step by step; a step that was finished before is not done again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import pandas as pd

import brainalign
from brainalign.cache import Cache, atomic_write_text
from brainalign.experiment import steps
from brainalign.experiment.context import Context
from brainalign.experiment.folder import RunFolder, StepResult
from brainalign.experiment.maps import write_maps
from brainalign.experiment.reporting import write_report
from brainalign.experiment.schema import Experiment, load_experiment
from brainalign.parallel import progress
from brainalign.scoring.score import Score

__all__ = ["Run", "demo_file", "report_run", "run_experiment"]


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its scores and its report."""

    folder: Path
    scores: dict[str, Score]
    report: Path

    def table(self, *, per_analysis: int = 8) -> str:
        """The scores as text, the first few of each analysis; all of them stand in ``summary.json``."""
        columns = ("value", "low", "high", "chance", "ceiling", "n")
        shown: dict[str, list[str]] = {}
        for name in self.scores:
            shown.setdefault(name.split("/")[0], []).append(name)
        names = [name for some in shown.values() for name in some[:per_analysis]]
        rows = {name: [getattr(self.scores[name], column) for column in columns] for name in names}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype(float)
        text = frame.to_string(formatters={"n": "{:.0f}".format}, float_format="{:.3f}".format, na_rep="–")
        hidden = len(self.scores) - len(names)
        return text + (f"\n... and {hidden} more in {self.folder / 'summary.json'}" if hidden else "")


def demo_file() -> Path:
    """The experiment behind ``brainalign demo``."""
    return Path(__file__).with_name("demo.yaml")


def run_experiment(
    experiment: str | PathLike[str] | Experiment, *, out: str | PathLike[str], cache: Cache | None = None
) -> Run:
    """Do an experiment, or go on with it where it stopped.

    Parameters
    ----------
    experiment : path-like or Experiment
    out : path-like
        Folder of the run. It will hold ``config.json``, ``environment.json``, ``metrics.jsonl``, ``summary.json``,
        ``steps/`` with every array, ``maps/`` with values per unit in the brain, ``tables/`` as CSV, ``pictures/`` that
        were made, and ``report.html``.
    cache : Cache, optional
        Where extracted latents are kept; by default the user's cache.

    Returns
    -------
    Run

    Raises
    ------
    SpecError
        When the experiment file is malformed.
    DataError
        When the data are.
    """
    asked = experiment if isinstance(experiment, Experiment) else load_experiment(experiment)
    folder = RunFolder(out)
    folder.start({**asked.model_dump(mode="json"), "brainalign": brainalign.__version__})
    context = Context(asked, cache, folder.path)
    results: dict[str, StepResult] = {}
    for analysis in progress(asked.analyses, description=asked.name):
        key = Cache.key(**context.parts_of(analysis), version=brainalign.__version__)
        result = folder.read_step(analysis.name, key)
        if result is None:
            start = time.perf_counter()
            result = steps.compute(analysis, context)
            folder.write_step(analysis.name, key, result, time.perf_counter() - start)
        results[analysis.name] = result
        if values := steps.unit_maps(analysis, result, context):
            write_maps(folder.path / "maps" / analysis.name, context.chosen(analysis), values)
        for name, table in steps.tables(analysis, result, context).items():
            path = folder.path / "tables" / analysis.name / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(path, table.to_csv(index=False))
    scores = {name: score for result in results.values() for name, score in result.scores.items()}
    folder.finish(scores)
    return Run(folder.path, scores, write_report(folder, context, results))


def report_run(folder: str | PathLike[str]) -> Path:
    """Write the report of a finished run anew, from what it left.

    Raises
    ------
    DataError
        When the folder is no run, or an analysis is not finished.
    """
    run = RunFolder(folder)
    plain = {name: value for name, value in run.config().items() if name != "brainalign"}
    asked = Experiment.model_validate(plain)
    return run_experiment(asked, out=folder).report
