"""Brain to pictures: encoders and generators by name, held-out reconstructions, and the table that judges them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainalign.experiment.context import Context, placed
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Reconstruct
from brainalign.experiment.steps.encode import labels_of, latent_scores
from brainalign.experiment.steps.held_out import OWN, Brain, Divisions, HeldOut, divisions_of, held_out
from brainalign.reconstruction.pairs import CONTROLS, stack
from brainalign.reconstruction.scene_judge import scene_scores
from brainalign.reconstruction.table import ReconstructionTable, over_draws, reconstruction_table
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.score import Score
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["compute", "show"]

_N_SHOWN = 12


def compute(analysis: Reconstruct, context: Context) -> StepResult:
    """Reconstruct every held-out picture by every system and its controls, and score them all."""
    trials = context.chosen(analysis)
    divisions = divisions_of(analysis, context, trials)
    brain = None if analysis.brain is None else Brain(analysis, context, divisions)
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {
        **{"systems": list(analysis.systems), "ids": [], "values": {}, "missing": {}, "absent": []},
        "chosen": {},
    }
    for number, (name, system) in enumerate(analysis.systems.items()):
        targets = {label: one for wanted in system.latents for label, one in context.latents(wanted).items()}
        others = context.others(analysis) if system.pretrain else None
        made = held_out(system, targets, divisions, name=name, context=context, others=others)
        ids = list(made.fold_of)
        table = _judged(analysis, context, trials, made, divisions)
        fold = np.array(list(made.fold_of.values()))
        for label, guess in made.predicted.items():
            found = latent_scores(guess.select(ids), targets[label].select(ids), {"fold": fold}, analysis.gallery)
            told = {f"{one} of {label}": _told(score, divisions, table.protocol) for one, score in found.items()}
            table = table.with_scores(OWN, told)
        if brain is not None:
            table = _with_rows(table, brain.scores(made))
        for (row, metric), score in table.scores.items():
            key = f"{name}/{metric}" if row == OWN else f"{name}/{row}/{metric}"
            scores[f"{analysis.name}/{key}"] = replace(
                score, name=f"{metric}, {name if row == OWN else f'{name}: {row}'}"
            )
        facts |= {"ids": ids, "missing": table.missing, "absent": list(table.absent)}
        facts["chosen"][name] = made.chosen
        shown = _shown(ids)
        for row, pictures in made.pictures.items():
            if row in (OWN, *CONTROLS):
                arrays[f"{number}/{row}"] = stack(pictures, ids if row == OWN else shown)
    return StepResult(scores, {name.replace("/", "_").replace(" ", "-"): one for name, one in arrays.items()}, facts)


def _judged(
    analysis: Reconstruct, context: Context, trials: Trials, made: HeldOut, divisions: Divisions
) -> ReconstructionTable:
    """All metrics and judges; the judges once more among pictures of one class; and what is read off drawn scenes.

    Of several shuffled brains the published metrics see the first, with an interval over pictures: SSIM and a network
    over every draw would cost more than the encoders. The judges, against which controls are tested, see them all.
    """
    seen = context.stimuli().select(list(made.fold_of))

    def judged(metrics: list[str], judges: Mapping[str, str], within: Mapping[str, Any]) -> ReconstructionTable:
        return reconstruction_table(
            made.pictures[OWN],
            seen,
            protocol=divisions.protocol,
            controls={row: one for row, one in made.pictures.items() if row != OWN and (judges or " #" not in row)},
            metrics=metrics,
            judges={name: placed(model) for name, model in judges.items()},
            weights=None if analysis.weights is None else placed(analysis.weights),
            within=dict(within),
            split=divisions.digest,
            seed=context.experiment.seed,
        )

    table = judged(analysis.metrics, {}, made.fold_of)
    table = _with_rows(table, judged([], analysis.judges, made.fold_of).scores)
    if analysis.within is not None:
        labels = labels_of(trials, analysis.within, list(seen.ids))
        both = {one: f"{made.fold_of[one]}/{label}" for one, label in zip(seen.ids, labels, strict=True)}
        closer = judged([], analysis.judges, both).scores.items()
        table = _with_rows(table, {(row, f"{metric}, within {analysis.within}"): s for (row, metric), s in closer})
    return _with_scenes(table, analysis, context, made.pictures, seen, divisions)


def _with_rows(table: ReconstructionTable, scores: Mapping[tuple[str, str], Score]) -> ReconstructionTable:
    """More columns for several rows."""
    for row in dict.fromkeys(row for row, _ in scores):
        table = table.with_scores(row, {metric: score for (which, metric), score in scores.items() if which == row})
    return table


def _with_scenes(
    table: ReconstructionTable,
    analysis: Reconstruct,
    context: Context,
    pictures: Mapping[str, Stimuli],
    seen: Stimuli,
    divisions: Divisions,
) -> ReconstructionTable:
    """What the classifier of drawn scenes reads off the pictures, the ceiling being what it reads off true latents'."""
    if not analysis.scenes:
        return table
    read = {
        (row, f"{name} read"): _told(score, divisions, table.protocol)
        for row, some in pictures.items()
        for name, score in scene_scores(some, seen, analysis.scenes, seed=context.experiment.seed).items()
    }
    read = over_draws({key: replace(score, name=key[1]) for key, score in read.items()})
    top = {metric: score.value for (row, metric), score in read.items() if row == CONTROLS[0]}
    return _with_rows(
        table,
        {key: replace(one, ceiling=None if key[0] == CONTROLS[0] else top.get(key[1])) for key, one in read.items()},
    )


def _told(score: Score, divisions: Divisions, protocol: str) -> Score:
    return replace(score, split=divisions.digest, protocol=f"{protocol}; {score.protocol}")


def _shown(ids: list[str]) -> list[str]:
    return [ids[at] for at in np.linspace(0, len(ids) - 1, min(_N_SHOWN, len(ids))).round().astype(int)]


def show(report: Report, analysis: Reconstruct, result: StepResult, context: Context) -> None:
    """The table of every system beside its controls, identification as bars, and the pictures."""
    ids, prefix = result.facts["ids"], f"{analysis.name}/"
    rows: dict[tuple[str, str], dict[str, float | None]] = {}
    for name, score in result.scores.items():
        system, *control, metric = name.removeprefix(prefix).split("/")
        rows.setdefault((system, control[0] if control else OWN), {})[metric] = score.value
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["system", "pictures"])
    shared = frame.columns[frame.notna().sum() > len(analysis.systems)]
    notes = [f"{metric} is missing: {why}." for metric, why in result.facts["missing"].items()]
    report.add_table(
        frame[list(shared)].assign(**dict.fromkeys(result.facts["missing"], np.nan)),
        " ".join(["Every system beside its controls; only pictures held out together are compared.", *notes]),
    )
    judged = [score for name, score in result.scores.items() if name.split("/")[-1].split(",")[0] in analysis.judges]
    own = [score for score in judged if not any(control in score.name for control in CONTROLS)]
    if own:
        report.add_figure(plots.score_bars(own), "Two-way identification of the reconstructions, 95 % intervals.")
    _show_chosen(report, result.facts["chosen"])
    seen, shown = context.stimuli(), _shown(ids)
    for number, system in enumerate(analysis.systems):
        grid: list[tuple[str, list[Any]]] = [("seen", [seen.image(one) for one in shown])]
        for row in (OWN, *CONTROLS):
            key = f"{number}_{row.replace(' ', '-')}"
            if key in result.arrays:
                held = np.asarray(result.arrays[key])
                grid.append((row, list(held if row != OWN else held[[ids.index(one) for one in shown]])))
        report.add_image_grid(grid, f"{system}: what was seen, what was made of the responses to it, and the controls.")


def _show_chosen(report: Report, chosen: Mapping[str, list[dict[str, Any]]]) -> None:
    """What was settled inside each training set, and by which inner scores."""
    rows = [
        {
            "system": name,
            "fold": one["fold"],
            "chosen": json.dumps(one["chosen"]),
            "inner two-way": " ".join(f"{score:.3f}" for score in one["inner two-way"]),
        }
        for name, folds in chosen.items()
        for one in folds
    ]
    if rows:
        report.add_table(
            pd.DataFrame(rows).set_index(["system", "fold"]),
            "Hyper-parameters chosen inside the training side of each fold; none of its test pictures took part.",
        )
