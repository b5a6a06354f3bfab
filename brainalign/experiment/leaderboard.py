"""The BCI leaderboard: named pipelines on named datasets, as one tidy table and one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.bci.benchmark import evaluate_pipelines
from brainalign.bci.moabb_datasets import as_moabb_dataset
from brainalign.bci.moabb_online import PseudoOnlineParadigm
from brainalign.bci.pipelines import PIPELINES, build_pipeline, pipeline_names
from brainalign.bci.protocols import Protocol
from brainalign.bci.results import ResultStore, versions
from brainalign.bci.statistics import compare_pipelines, critical_difference, subject_scores
from brainalign.cache import atomic_write_text
from brainalign.errors import DataError, unknown
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.classification import clopper_pearson
from brainalign.scoring.resampling import mean_ci
from brainalign.specs import list_specs

__all__ = ["Leaderboard", "find_dataset", "make_paradigm", "make_pipelines", "run_leaderboard", "summarise"]

_NOT_BY_DEFAULT = ("acm_grid", "cca")
"""Hours on a large dataset; and a frequency for every class, which a class of rest has not."""
_TAGS = {"ssvep_exo": "ssvep"}
"""Data specs of another paradigm than motor imagery."""
_BANDS = {"imagery": (8.0, 32.0), "p300": (1.0, 24.0), "ssvep": (7.0, 45.0)}


@dataclass(frozen=True)
class Leaderboard:
    """What to run.

    Parameters
    ----------
    datasets : sequence of str
        Names of data specs, or of MOABB's dataset classes (which MOABB downloads).
    pipelines : sequence of str, optional
        Of `brainalign.bci.pipeline_names`; by default those for a dataset's paradigm, but the slowest.
    protocols : sequence of str
        Of `brainalign.bci.protocols.PROTOCOLS`; one that a dataset cannot do is left out, by name.
    events : sequence of str, optional
        Only these classes.
    subjects : sequence, optional
        Only these subjects.
    band : (float, float), optional
        Hertz; by default MOABB's of the paradigm.
    window : (float, float), optional
        Seconds of each trial from the start of the dataset's own interval; by default all of it.
    channels : sequence of str, optional
        Only these, in this order.
    scorer : str, optional
        scikit-learn's name; by default the paradigm's.
    n_splits : int, optional
    seed : int
    settings : mapping of pipeline to mapping, optional
        Arguments of its builder.
    """

    datasets: Sequence[str]
    pipelines: Sequence[str] | None = None
    protocols: Sequence[str] = ("within_session",)
    events: Sequence[str] | None = None
    subjects: Sequence[Any] | None = None
    band: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    channels: Sequence[str] | None = None
    scorer: str | None = None
    n_splits: int | None = None
    seed: int = 0
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def find_dataset(name: str, *, root: str | PathLike[str] | None = None, subjects: Sequence[Any] | None = None) -> Any:
    """A MOABB dataset by the name of a data spec or of MOABB's class.

    Raises
    ------
    DataError
        When there is neither.
    """
    import moabb.datasets
    from moabb.datasets.base import BaseDataset

    if name in list_specs():
        code = "".join(part.capitalize() for part in name.split("_"))
        return as_moabb_dataset(name, code=code, paradigm=_TAGS.get(name, "imagery"), root=root, subjects=subjects)
    made = getattr(moabb.datasets, name, None)
    if not (isinstance(made, type) and issubclass(made, BaseDataset)):
        theirs = [one for one in dir(moabb.datasets) if one[0].isupper()]
        raise unknown("dataset", name, [*list_specs(), *theirs])
    dataset = made()
    if subjects is not None:
        dataset.subject_list = [one for one in dataset.subject_list if one in subjects]
    return dataset


def make_paradigm(dataset: Any, asked: Leaderboard, protocol: str) -> Any:
    """The MOABB paradigm of a dataset's tag; sliding windows for the pseudo-online protocols."""
    from moabb.paradigms import P300, SSVEP, MotorImagery

    if dataset.paradigm not in _BANDS:
        raise unknown("paradigm for the leaderboard", dataset.paradigm, _BANDS)
    fmin, fmax = asked.band or _BANDS[dataset.paradigm]
    events = list(asked.events or dataset.event_id)
    if missing := set(events) - set(dataset.event_id):
        raise unknown(f"class of {dataset.code}", sorted(missing)[0], dataset.event_id)
    channels = None if asked.channels is None else list(asked.channels)
    if protocol.startswith("pseudo_online"):
        kind = dataset.paradigm
        return PseudoOnlineParadigm(fmin, fmax, events=events, kind=kind, channels=channels, scorer=asked.scorer)
    tmin, tmax = asked.window or (0.0, None)
    options: dict[str, Any] = {"fmin": fmin, "fmax": fmax, "tmin": tmin, "tmax": tmax, "channels": channels}
    options["scorer"] = asked.scorer
    if dataset.paradigm == "p300":
        return P300(**options)
    made = MotorImagery if dataset.paradigm == "imagery" else SSVEP
    return made(n_classes=len(events), events=events, **options)


def make_pipelines(dataset: Any, asked: Leaderboard) -> dict[str, Any]:
    """The pipelines asked for, with what they need to know of the dataset."""
    names = asked.pipelines or [one for one in pipeline_names(dataset.paradigm) if one not in _NOT_BY_DEFAULT]
    facts: dict[str, Any] = {}
    if any(PIPELINES[one].needs for one in names if one in PIPELINES):
        first = dataset.subject_list[0]
        runs = next(iter(dataset.get_data([first])[first].values()))
        events = [str(one) for one in asked.events or dataset.event_id]
        facts["sfreq"] = float(next(iter(runs.values())).info["sfreq"])
        facts["frequencies"] = sorted(float(one) for one in events if one.replace(".", "", 1).isdigit())
    return {name: build_pipeline(name, **facts, **asked.settings.get(name, {})) for name in names}


def run_leaderboard(
    asked: Leaderboard, *, out: str | PathLike[str], root: str | PathLike[str] | None = None, n_jobs: int = 1
) -> Path:
    """Evaluate, or go on where an earlier run stopped, and write ``results.csv`` and ``report.html``.

    Parameters
    ----------
    asked : Leaderboard
    out : path-like
        Folder; finished folds are kept under ``folds/``.
    root : path-like, optional
        Folder that holds one folder per data spec, in place of ``$BRAINALIGN_DATA``.
    n_jobs : int

    Returns
    -------
    Path
        Of the report.
    """
    store = ResultStore(out)
    tables, left_out = [], []
    for name in asked.datasets:
        place = None if root is None else Path(root) / name
        dataset = find_dataset(name, root=place, subjects=asked.subjects)
        pipelines = make_pipelines(dataset, asked)
        for protocol in asked.protocols:
            if reason := _cannot(dataset, protocol):
                left_out.append(f"{dataset.code}, {protocol}: {reason}")
                continue
            paradigm = make_paradigm(dataset, asked, protocol)
            how = Protocol(protocol, n_splits=None if protocol == "cross_subject" else asked.n_splits, seed=asked.seed)
            table = evaluate_pipelines([dataset], pipelines, paradigm, protocol=how, store=store, n_jobs=n_jobs)
            tables.append(table.assign(scorer=_scorer_name(paradigm)))
    if not tables:
        raise DataError("no dataset can do any of these protocols", found=left_out)
    table = pd.concat(tables, ignore_index=True)
    atomic_write_text(Path(out) / "results.csv", table.to_csv(index=False))
    return write_leaderboard(table, asked, left_out).save(Path(out) / "report.html")


def _cannot(dataset: Any, protocol: str) -> str | None:
    if protocol == "cross_session" and dataset.n_sessions < 2:
        return "one session"
    return "one subject" if protocol == "cross_subject" and len(dataset.subject_list) < 2 else None


def _scorer_name(paradigm: Any) -> str:
    scoring = paradigm.scoring
    return str(next(iter(scoring)) if isinstance(scoring, dict | list) else scoring)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """One row per pipeline of one dataset and protocol: mean over subjects, interval, chance, seconds.

    The interval is by bootstrap over subjects; of a single subject's accuracy, Clopper and Pearson's over its trials
    (which folds test once each); otherwise absent.
    """
    scores, rows = subject_scores(table), []
    for name in scores.mean().sort_values(ascending=False).index:
        mine, values = table[table["pipeline"] == name], scores[name].dropna().to_numpy()
        low, high = (float(one) for one in mean_ci(values)) if len(values) > 1 else _of_one_subject(mine)
        row = {"pipeline": name, "mean": values.mean(), "low": low, "high": high, "chance": mine["chance"].mean()}
        row |= {"subjects": len(values), "trials": int(mine["n_test"].sum()), "fit_seconds": mine["fit_seconds"].mean()}
        if "energy_kwh" in mine:
            row["energy_wh"] = 1000 * mine["energy_kwh"].sum()
        rows.append(row)
    return pd.DataFrame(rows)


def _of_one_subject(table: pd.DataFrame) -> tuple[float, float]:
    if table["scorer"].iloc[0] != "accuracy":
        return np.nan, np.nan
    return clopper_pearson(round(float((table["score"] * table["n_test"]).sum())), int(table["n_test"].sum()))


def write_leaderboard(table: pd.DataFrame, asked: Leaderboard, left_out: Sequence[str] = ()) -> Report:
    """The report of a table of results."""
    facts = {"datasets": ", ".join(sorted(table["dataset"].unique())), "pipelines": table["pipeline"].nunique()}
    report = Report("BCI leaderboard", subtitle="Every pipeline in the same folds of the same trials.", facts=facts)
    for (dataset, protocol), part in table.groupby(["dataset", "protocol"], sort=False):
        report.section(f"{dataset}, {protocol.replace('_', ' ')}")
        show_results(report, part)
    rankable = subject_scores(table).dropna()
    if len(rankable) > 1 and rankable.shape[1] > 1 and table["dataset"].nunique() > 1:
        report.section("Over all datasets")
        _show_ranks(report, table)
    report.section("How this was made")
    if left_out:
        report.add_text("Left out: " + "; ".join(left_out) + ".")
    report.add_details("Asked", {**vars(asked), "settings": {k: dict(v) for k, v in asked.settings.items()}})
    return report.add_details("Versions", versions())


def show_results(report: Report, table: pd.DataFrame) -> None:
    """Points, table, ranks and comparisons of one dataset under one protocol, in the present section."""
    summary = summarise(table)
    scorer = str(table["scorer"].iloc[0]).replace("_", " ")
    intervals = {row.pipeline: (row.low, row.high) for row in summary.itertuples() if np.isfinite(row.low)}
    chance = float(table["chance"].mean()) if table["chance"].notna().any() else None
    figure = plots.pipeline_points(subject_scores(table), intervals=intervals, chance=chance, label=scorer)
    report.add_figure(figure, f"{scorer} of each subject, mean over folds and sessions.")
    report.add_table(summary, f"Mean {scorer} with 95 % interval, chance, and seconds of one fit.")
    _show_ranks(report, table)


def _show_ranks(report: Report, table: pd.DataFrame) -> None:
    scores = subject_scores(table).dropna()
    if len(scores) < 2 or scores.shape[1] < 2:
        return
    if scores.shape[1] > 2:
        found = critical_difference(table)
        figure = plots.rank_diagram(found.ranks.to_dict(), found.difference, found.groups)
        test = f"Friedman p = {found.p:.2g} over {found.n_blocks} subjects"
        report.add_figure(figure, f"Mean ranks; a bar joins what Nemenyi's test does not tell apart ({test}).")
    report.add_table(
        compare_pipelines(table),
        "Paired differences of subjects' means: interval by bootstrap, effect over its SD, two-sided permutation p, "
        "not corrected for the number of pairs; over datasets by Stouffer's method.",
    )
