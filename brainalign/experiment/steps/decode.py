"""Class of each trial from its responses, at once or over time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.decoding import TimeDecodingResult, decode, decode_over_time
from brainalign.analysis.decoding.inputs import NETWORK_NAMES, network_classifier
from brainalign.errors import DataError, closest
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Decode
from brainalign.experiment.steps.maps import show_on_brain, show_on_head
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.score import Score
from brainalign.splits import Fold
from brainalign.trials import Trials

__all__ = ["compute", "show"]

_N_MAPS = 5


def compute(analysis: Decode, context: Context) -> StepResult:
    """Decode the label with the experiment's folds, in each subject on its own."""
    whole = StepResult(facts={"people": []})
    for who, trials in context.chosen_people(analysis).items():
        division = _folds(trials, analysis, context)
        part = (_over_time if analysis.over_time else _at_once)(trials, analysis, division)
        start = f"{analysis.name}/{who}/" if who else f"{analysis.name}/"
        whole.scores.update({start + name: score for name, score in part.scores.items()})
        whole.arrays.update({_key(who, name): array for name, array in part.arrays.items()})
        whole.facts["people"].append({"subject": who, **part.facts})
    return whole


def _key(who: str, name: str) -> str:
    return f"{name}-{who}" if who else name


def _estimator(analysis: Decode) -> Any:
    if analysis.classifier not in NETWORK_NAMES:
        return analysis.classifier
    try:
        return network_classifier(analysis.classifier, analysis.params)
    except DataError as error:
        raise DataError(
            f"'{analysis.name}' gives {analysis.classifier} other params", expected=error.expected
        ) from error


def _at_once(trials: Trials, analysis: Decode, division: list[Fold]) -> StepResult:
    auc = analysis.metric == "auc"
    found = decode(trials, analysis.label, by=division, estimator=_estimator(analysis), with_auc=auc)
    scores = {"accuracy": replace(found.score, name=f"{analysis.label} decoded")}
    if found.auc is not None:
        scores = {"auc": replace(found.auc, name=f"{analysis.label} decoded, AUC"), **scores}
    facts = {"classes": list(found.classes), "choices": list(found.choices), "per_class": found.per_class().to_dict()}
    arrays = {"confusion": found.confusion}
    if trials.times is None:
        arrays["separation"] = _separation(trials, analysis.label)
    return StepResult(scores, arrays, facts)


def _separation(trials: Trials, label: str) -> np.ndarray:
    """Share of each unit's variance that lies between classes (eta squared); it describes, and tests nothing."""
    responses = trials.responses.astype(np.float64)
    groups = trials.trials.groupby(label).indices.values()
    grand = responses.mean(axis=0)
    between = sum(len(rows) * (responses[rows].mean(axis=0) - grand) ** 2 for rows in groups)
    total = ((responses - grand) ** 2).sum(axis=0)
    return np.divide(between, total, out=np.zeros(len(grand)), where=total > 0)


def _folds(trials: Trials, analysis: Decode, context: Context) -> list[Fold]:
    if analysis.label not in trials.trials:
        raise DataError(
            f"trials have no column '{analysis.label}'.{closest(analysis.label, trials.trials)}",
            expected=list(trials.trials.columns),
        )
    labels = trials.trials[analysis.label].to_numpy()
    alone = analysis.by == "trial" or (
        analysis.by in trials.trials and (trials.trials.groupby(analysis.by)[analysis.label].nunique() == 1).all()
    )
    return context.folds(trials, analysis, labels if alone else None)


def _over_time(trials: Trials, analysis: Decode, division: list[Fold]) -> StepResult:
    sample = float(np.diff(trials.times[:2])[0]) if trials.times is not None and len(trials.times) > 1 else 1.0
    found = decode_over_time(
        trials,
        analysis.label,
        by=division,
        estimator=_estimator(analysis),
        metric=analysis.metric,
        window=2 * round((analysis.window or 0.0) / sample / 2) + 1,
        step=max(1, round((analysis.every or 0.0) / sample)),
    )
    arrays = {"times": found.times, "values": found.values, "low": found.low, "high": found.high}
    return StepResult({analysis.metric: _mean_over_time(found, analysis)}, arrays, {"chance": found.chance})


def _mean_over_time(found: TimeDecodingResult, analysis: Decode) -> Score:
    """One headline number that chooses no time point by looking at the result."""
    after = found.times > 0 if (found.times > 0).any() else np.ones(len(found.times), dtype=bool)
    reason = "intervals are pointwise: see the time course"
    return Score(
        f"{analysis.label} decoded, mean {analysis.metric} after onset",
        float(found.values[after].mean()),
        ceiling=None,
        chance=found.chance,
        low=None,
        high=None,
        n=found.n,
        split=found.split,
        protocol=found.protocol,
        how=f"mean of {int(after.sum())} time points after onset, each decoded on its own",
        why={"ceiling": "not defined for class decisions", "low": reason, "high": reason},
    )


def show(report: Report, analysis: Decode, result: StepResult, context: Context) -> None:
    """Confusion matrices, or time courses with maps of what differs between the classes."""
    people = context.chosen_people(analysis)
    facts = {one["subject"]: one for one in result.facts["people"]}
    if analysis.over_time:
        _show_over_time(report, analysis, result, people, facts)
        return
    for who, trials in people.items():
        figure = plots.confusion_matrix(np.asarray(result.arrays[_key(who, "confusion")]), facts[who]["classes"])
        whose = f"Subject {who}. " if who else ""
        report.add_figure(figure, f"{whose}Rows: the true class; columns: the decided one; shares of each row.")
        if facts[who]["choices"]:
            _show_choices(report, facts[who]["choices"], whose)
        if (name := _key(who, "separation")) in result.arrays:
            caption = (
                f"{whose}Share of each unit's variance that lies between classes; it describes, and tests nothing."
            )
            show_on_brain(report, trials, np.asarray(result.arrays[name]), caption, label="eta²")


def _show_choices(report: Report, choices: list[dict[str, Any]], whose: str) -> None:
    """Inner AUC of every candidate in each fold, and how often it votes."""
    rows = []
    for number, one in enumerate(choices, start=1):
        votes = {name: f" ({n})" for name, n in one["votes"].items()}
        rows.append({"fold": number} | {name: f"{auc:.3f}{votes.get(name, '')}" for name, auc in one["scores"].items()})
    caption = f"{whose}AUC of each candidate inside the training trials of a fold; in brackets the votes it has."
    report.add_table(pd.DataFrame(rows), caption)


def _show_over_time(
    report: Report, analysis: Decode, result: StepResult, people: dict[str, Trials], facts: dict[str, Any]
) -> None:
    def of(who: str, name: str) -> np.ndarray:
        return np.asarray(result.arrays[_key(who, name)])

    first = next(iter(people))
    same = [who for who in people if np.array_equal(of(who, "times"), of(first, "times"))]
    for group in [same, *([who] for who in people if who not in same)]:
        names = {who: f"subject {who}" if who else "" for who in group}
        figure = plots.time_course(
            of(group[0], "times"),
            {names[who]: of(who, "values") for who in group},
            interval={names[who]: (of(who, "low"), of(who, "high")) for who in group},
            chance=facts[group[0]]["chance"],
            label=analysis.metric,
        )
        window = f" in windows of {analysis.window * 1e3:.0f} ms around it" if analysis.window else ""
        report.add_figure(
            figure, f"Decoding of {analysis.label} at each time point{window}, with pointwise 95 % intervals."
        )
    _difference_maps(report, people[first], analysis)


def _difference_maps(report: Report, trials: Trials, analysis: Decode) -> None:
    """Topographies of the difference of two classes, at times spread over the recording."""
    classes = sorted(trials.trials[analysis.label].unique())
    if len(classes) != 2:
        return
    labels = trials.trials[analysis.label].to_numpy()
    first, second = (trials.responses[labels == one].mean(axis=0) for one in classes)
    every = np.asarray(trials.times)
    chosen = np.linspace(0, len(every) - 1, _N_MAPS + 2).round().astype(int)[1:-1]
    show_on_head(
        report,
        trials,
        (first - second)[:, chosen],
        f"Mean response to {classes[0]} less that to {classes[1]}.",
        titles=[f"{every[at] * 1e3:.0f} ms" for at in chosen],
        label=f"{classes[0]} - {classes[1]}",
    )
