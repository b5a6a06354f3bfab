"""Class of each trial from its responses, at once or over time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brainalign.analysis.decoding import TimeDecodingResult, decode, decode_over_time
from brainalign.errors import DataError, closest
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Decode
from brainalign.experiment.steps.maps import show_on_brain
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.score import Score
from brainalign.spaces import SensorSpace
from brainalign.splits import Fold
from brainalign.trials import Trials

__all__ = ["compute", "show"]

_N_MAPS = 5


def compute(analysis: Decode, context: Context) -> StepResult:
    """Decode the label with the experiment's folds."""
    trials = context.chosen(analysis)
    division = _folds(trials, analysis, context)
    if analysis.over_time:
        return _over_time(trials, analysis, division)
    found = decode(trials, analysis.label, by=division, estimator=analysis.classifier)
    score = replace(found.score, name=f"{analysis.label} decoded")
    facts = {"classes": list(found.classes), "per_class": found.per_class().to_dict()}
    arrays = {"confusion": found.confusion}
    if trials.times is None:
        arrays["separation"] = _separation(trials, analysis.label)
    return StepResult({f"{analysis.name}/accuracy": score}, arrays, facts)


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
    alone = analysis.by == "trial" or (trials.trials.groupby(analysis.by)[analysis.label].nunique() == 1).all()
    return context.folds(trials, analysis, labels if alone else None)


def _over_time(trials: Trials, analysis: Decode, division: list[Fold]) -> StepResult:
    found = decode_over_time(trials, analysis.label, by=division, estimator=analysis.classifier, metric=analysis.metric)
    arrays = {"times": found.times, "values": found.values, "low": found.low, "high": found.high}
    return StepResult(
        {f"{analysis.name}/{analysis.metric}": _mean_over_time(found, analysis)}, arrays, {"chance": found.chance}
    )


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
    """Confusion matrix, or the time course with maps of what differs between the classes."""
    if not analysis.over_time:
        figure = plots.confusion_matrix(np.asarray(result.arrays["confusion"]), result.facts["classes"])
        report.add_figure(figure, "Rows: the true class; columns: the decided one; shares of each row.")
        if "separation" in result.arrays:
            caption = "Share of each unit's variance that lies between classes; it describes, and tests nothing."
            show_on_brain(
                report, context.chosen(analysis), np.asarray(result.arrays["separation"]), caption, label="eta²"
            )
        return
    times, values, low, high = (np.asarray(result.arrays[name]) for name in ("times", "values", "low", "high"))
    figure = plots.time_course(
        times, values, interval=(low, high), chance=result.facts["chance"], label=analysis.metric
    )
    report.add_figure(figure, f"Decoding of {analysis.label} at each time point, with pointwise 95 % intervals.")
    _difference_maps(report, context.chosen(analysis), analysis, times, values)


def _difference_maps(report: Report, trials: Trials, analysis: Decode, times: np.ndarray, values: np.ndarray) -> None:
    """Topographies of the difference of two classes, at times spread over the recording."""
    classes = sorted(trials.trials[analysis.label].unique())
    if not isinstance(trials.space, SensorSpace) or len(classes) != 2:
        return
    labels = trials.trials[analysis.label].to_numpy()
    first, second = (trials.responses[labels == one].mean(axis=0) for one in classes)
    chosen = np.linspace(0, len(times) - 1, _N_MAPS + 2).round().astype(int)[1:-1]
    kind = "mag" if "type" in trials.units and (trials.units["type"] == "mag").any() else None
    keep = (trials.units["type"] == kind).to_numpy() if kind else np.ones(trials.n_units, dtype=bool)
    info = trials.space.info(trials.units[keep])
    titles = [f"{times[at] * 1e3:.0f} ms" for at in chosen]
    figure = plots.topomap((first - second)[keep][:, chosen], info, titles=titles, label=f"{classes[0]} - {classes[1]}")
    report.add_figure(
        figure, f"Mean response to {classes[0]} less that to {classes[1]}" + (", magnetometers." if kind else ".")
    )
