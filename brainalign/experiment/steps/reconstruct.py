"""Brain to pictures: encoders and generators by name, held-out reconstructions, and the table that judges them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainalign.encoders.registry import encoder_class
from brainalign.experiment.context import Context, placed
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Reconstruct, System
from brainalign.experiment.steps.encode import labels_of, latent_scores
from brainalign.latents.base import Latents
from brainalign.parallel import progress
from brainalign.reconstruction.controls import control_pictures
from brainalign.reconstruction.pairs import CONTROLS, stack
from brainalign.reconstruction.scene_judge import scene_scores
from brainalign.reconstruction.simple import SIMPLE, simple_generator
from brainalign.reconstruction.table import ReconstructionTable, reconstruction_table
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.score import Score
from brainalign.splits import split, split_hash
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["compute", "show"]

OWN = "reconstruction"
_N_SHOWN = 12


def compute(analysis: Reconstruct, context: Context) -> StepResult:
    """Reconstruct every held-out picture by every system and its controls, and score them all."""
    trials = context.chosen(analysis)
    divisions, digest = _divisions(analysis, context, trials)
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"systems": list(analysis.systems), "ids": [], "values": {}, "missing": {}, "absent": []}
    for number, (name, system) in enumerate(analysis.systems.items()):
        targets = {label: one for wanted in system.latents for label, one in context.latents(wanted).items()}
        made, predicted, fold_of = _held_out(system, targets, divisions, context.experiment.seed, name)
        ids = list(fold_of)
        seen = context.stimuli().select(ids)
        table = _table(analysis, context, made, seen, fold_of, digest)
        table = _with_class(table, analysis, context, trials, made, seen, fold_of, digest)
        table = _with_scenes(table, analysis, context, made, seen, digest)
        fold = np.array(list(fold_of.values()))
        for label, guess in predicted.items():
            found = latent_scores(guess.select(ids), targets[label].select(ids), {"fold": fold}, analysis.gallery)
            told = {f"{one} of {label}": _told(score, digest, table.protocol) for one, score in found.items()}
            table = table.with_scores(OWN, told)
        for (row, metric), score in table.scores.items():
            key = f"{name}/{metric}" if row == OWN else f"{name}/{row}/{metric}"
            scores[f"{analysis.name}/{key}"] = replace(
                score, name=f"{metric}, {name if row == OWN else f'{name}: {row}'}"
            )
        facts["ids"], facts["missing"], facts["absent"] = ids, table.missing, list(table.absent)
        shown = _shown(ids)
        for row, pictures in made.items():
            arrays[f"{number}/{row}"] = stack(pictures, ids if row == OWN else shown)
    return StepResult(scores, {name.replace("/", "_").replace(" ", "-"): one for name, one in arrays.items()}, facts)


def _divisions(analysis: Reconstruct, context: Context, trials: Trials) -> tuple[list[tuple[Trials, Trials]], str]:
    """Train and test of every fold, or one pair where a test share or the data set's own split is asked for."""
    if analysis.by == "split" or analysis.test_size is not None:
        size = 0.2 if analysis.test_size is None else analysis.test_size
        train, test = split(trials, by=analysis.by, test_size=size, seed=context.experiment.seed)
        return [(train, test)], str(train.info["split"]["hash"])
    division = context.folds(trials, analysis)
    return [(trials.select(fold.train), trials.select(fold.test)) for fold in division], split_hash(division)


def _held_out(
    system: System, targets: dict[str, Latents], divisions: list[tuple[Trials, Trials]], seed: int, name: str
) -> tuple[dict[str, Stimuli], dict[str, Latents], dict[str, int]]:
    """Pictures of the system and its controls, predicted latents, and the fold of each picture."""
    latents: Any = next(iter(targets.values())) if len(targets) == 1 else targets
    pictures: dict[str, dict[str, np.ndarray]] = {}
    parts: dict[str, list[Latents]] = {label: [] for label in targets}
    fold_of: dict[str, int] = {}
    loaded = None if system.generator in SIMPLE else _ByRole(system)
    for number, (train, test) in enumerate(progress(divisions, description=name)):
        encoder = encoder_class(system.encoder)(**system.params).fit(train, latents)
        generator = loaded or simple_generator(system.generator, latents, train, **system.options)
        predicted = encoder.predict(test)
        made = {OWN: generator.generate(predicted, seed=seed)}
        if system.controls:
            made |= control_pictures(encoder, generator, train, test, latents, seed=seed)
        for row, some in made.items():
            pictures.setdefault(row, {}).update({one: some.array(one) for one in some.ids})
        for label, one in predicted.items() if isinstance(predicted, Mapping) else [(next(iter(targets)), predicted)]:
            parts[label].append(one)
        fold_of |= dict.fromkeys(made[OWN].ids, number)
    joined = {
        label: Latents(np.concatenate([one.values for one in some]), list(fold_of), space=some[0].space)
        for label, some in parts.items()
    }
    return {row: Stimuli(held, images=held) for row, held in pictures.items()}, joined, fold_of


class _ByRole:
    """A loaded generator, given the latents of an experiment in the role that their space has for it."""

    def __init__(self, system: System) -> None:
        from brainalign.reconstruction import load_generator

        self._generator = load_generator(placed(system.generator), **system.options)
        self._roles = {one.space: one.role for one in self._generator.accepts if one.space is not None}

    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        if isinstance(latents, Mapping):
            latents = {self._roles.get(one.space, label): one for label, one in latents.items()}
        return self._generator.generate(latents, n, seed)


def _table(
    analysis: Reconstruct,
    context: Context,
    made: Mapping[str, Stimuli],
    seen: Stimuli,
    fold_of: Mapping[str, int],
    digest: str,
    **changes: Any,
) -> ReconstructionTable:
    controls = {row: one for row, one in made.items() if row != OWN}
    held = f"one split by {analysis.by}" if len(set(fold_of.values())) == 1 else f"folds by {analysis.by}"
    options = {
        "metrics": analysis.metrics,
        "judges": {name: placed(model) for name, model in analysis.judges.items()},
        "weights": None if analysis.weights is None else placed(analysis.weights),
        "within": dict(fold_of),
        "split": digest,
        "seed": context.experiment.seed,
    }
    protocol = analysis.protocol or held
    return reconstruction_table(made[OWN], seen, protocol=protocol, controls=controls, **(options | changes))


def _with_class(
    table: ReconstructionTable,
    analysis: Reconstruct,
    context: Context,
    trials: Trials,
    made: Mapping[str, Stimuli],
    seen: Stimuli,
    fold_of: Mapping[str, int],
    digest: str,
) -> ReconstructionTable:
    """The judges once more, comparing only pictures of one class that were held out together."""
    if analysis.within is None:
        return table
    labels = labels_of(trials, analysis.within, list(seen.ids))
    both = {one: f"{fold_of[one]}/{label}" for one, label in zip(seen.ids, labels, strict=True)}
    closer = _table(analysis, context, made, seen, fold_of, digest, metrics=[], within=both)
    for row in closer.rows:
        held = {
            f"{metric}, within {analysis.within}": s for (which, metric), s in closer.scores.items() if which == row
        }
        table = table.with_scores(row, held)
    return table


def _with_scenes(
    table: ReconstructionTable,
    analysis: Reconstruct,
    context: Context,
    made: Mapping[str, Stimuli],
    seen: Stimuli,
    digest: str,
) -> ReconstructionTable:
    """What the classifier of drawn scenes reads off the pictures, the ceiling being what it reads off true latents'."""
    if not analysis.scenes:
        return table
    held = {row: scene_scores(some, seen, analysis.scenes, seed=context.experiment.seed) for row, some in made.items()}
    top = held.get(CONTROLS[0], {})
    for row, scores in held.items():
        told = {
            f"{name} read": replace(
                _told(score, digest, table.protocol),
                name=f"{name} read",
                ceiling=top[name].value if name in top and row != CONTROLS[0] else None,
            )
            for name, score in scores.items()
        }
        table = table.with_scores(row, told)
    return table


def _told(score: Score, digest: str, protocol: str) -> Score:
    return replace(score, split=digest, protocol=f"{protocol}; {score.protocol}")


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
    seen, shown = context.stimuli(), _shown(ids)
    for number, system in enumerate(analysis.systems):
        grid: list[tuple[str, list[Any]]] = [("seen", [seen.image(one) for one in shown])]
        for row in (OWN, *CONTROLS):
            key = f"{number}_{row.replace(' ', '-')}"
            if key in result.arrays:
                held = np.asarray(result.arrays[key])
                grid.append((row, list(held if row != OWN else held[[ids.index(one) for one in shown]])))
        report.add_image_grid(grid, f"{system}: what was seen, what was made of the responses to it, and the controls.")
