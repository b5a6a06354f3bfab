"""What decoding loses without each region, by latent and by attribute, and which regions are doubly dissociated."""

from __future__ import annotations

from inspect import signature

import numpy as np
import pandas as pd

from brainalign.analysis.ablation import unit_groups
from brainalign.analysis.dissociation import DecodingTasks, RegionLosses, ablate_regions
from brainalign.encoders.linear import LinearEncoder
from brainalign.errors import unknown
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_voxels import Ablation
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.score import Score
from brainalign.splits import split
from brainalign.tables import frame_from_json, frame_to_json

__all__ = ["compute", "show", "tables"]

_SHOWN = 40
_ALPHA = 0.05


def compute(analysis: Ablation, context: Context) -> StepResult:
    """Fit a linear encoder on the training stimuli, silence each region on the others; the same on a shuffled copy."""
    trials, seed = context.chosen(analysis), context.experiment.seed
    latents = {name: one for key in analysis.latents for name, one in context.latents(key).items()}
    train, test = split(trials, by="stimulus_id", test_size=analysis.test_size, seed=seed)
    known = list(signature(LinearEncoder).parameters)
    for name in analysis.encoder:
        if name not in known:
            raise unknown("parameter of LinearEncoder", name, known)
    by, mode = analysis.regions or analysis.by, analysis.mode
    regions = unit_groups(trials, by)
    for region in analysis.planted:
        if region not in regions:
            raise unknown("planted region", region, regions)
    tasks = DecodingTasks(train, latents, analysis.attributes)
    encoder = LinearEncoder(**analysis.encoder).fit(train, latents)
    losses = ablate_regions(encoder, test, tasks, by=by, mode=mode, seed=seed)
    once = test.average("stimulus_id")
    order = np.random.default_rng(seed).permutation(len(once))
    control = ablate_regions(encoder, once.with_responses(once.responses[order]), tasks, by=by, mode=mode, seed=seed)
    named = _task_scores(losses, encoder) | _task_scores(control, encoder, ", shuffled") | _losses(losses, encoder)
    scores = {f"{analysis.name}/{name}": one for name, one in named.items()}
    facts = {"losses": frame_to_json(losses.table()), "dissociations": frame_to_json(losses.dissociations())}
    facts |= {"shuffled losses": frame_to_json(control.table())}
    return StepResult(scores, {"full": losses.full, "without": losses.without}, facts)


def _task_scores(losses: RegionLosses, encoder: LinearEncoder, suffix: str = "") -> dict[str, Score]:
    return {
        f"{task}{suffix}": Score(
            f"decoding of {task}{suffix}",
            row["value"],
            ceiling=1.0,
            chance=0.5,
            low=row["low"],
            high=row["high"],
            n=len(losses.full),
            split=encoder.provenance_.split,
            protocol="held-out stimuli, all units",
            how="mean over stimuli of the rank percentile (latents) or of the area under the curve of the right label",
        )
        for task, row in losses.values().iterrows()
    }


def _losses(losses: RegionLosses, encoder: LinearEncoder) -> dict[str, Score]:
    gains = losses.values()["value"] - 0.5
    return {
        f"{row['task']} without {row['region']}": Score(
            f"loss of {row['task']} without {row['region']}",
            row["loss"],
            ceiling=float(max(gains[row["task"]], 0.0)),
            chance=0.0,
            low=row["low"],
            high=row["high"],
            n=len(losses.full),
            split=encoder.provenance_.split,
            protocol=f"held-out stimuli, one region silenced ({losses.mode})",
            how="score with all units less that without the region, paired bootstrap over stimuli; the ceiling is all "
            "that decoding gains over chance",
        )
        for _, row in losses.table().iterrows()
    }


def tables(analysis: Ablation, result: StepResult, context: Context) -> dict[str, pd.DataFrame]:
    """Losses, those of a shuffled copy, and double dissociations."""
    names = {"losses": "losses", "shuffled losses": "losses_shuffled", "dissociations": "dissociations"}
    return {file: frame_from_json(result.facts[name]) for name, file in names.items()}


def show(report: Report, analysis: Ablation, result: StepResult, context: Context) -> None:
    """Decoding with all units, losses by region and task, and the double dissociations."""
    whole = [one for name, one in result.scores.items() if " without " not in name]
    report.add_figure(
        plots.score_bars(whole), "Decoding with all units; shuffled: held-out responses under the ids of others."
    )
    losses = frame_from_json(result.facts["losses"])
    wide = losses.pivot(index="task", columns="region", values="loss")
    sure = losses.assign(sure=losses["q"] < _ALPHA).pivot(index="task", columns="region", values="sure")
    figure = plots.layer_region_map(wide, significant=sure, label="loss of decoding")
    report.add_figure(figure, f"What decoding loses without each region; a dot where q < {_ALPHA}.")
    report.add_table(losses.set_index("region"), "Losses with 95 % intervals over stimuli.")
    report.add_table(
        frame_from_json(result.facts["shuffled losses"]).set_index("region"),
        "The same, held-out responses shuffled.",
    )
    pairs = frame_from_json(result.facts["dissociations"])
    if len(pairs):
        found = pd.DataFrame(pairs[pairs["q"] < _ALPHA])
        report.add_text(
            f"{len(found)} of {len(pairs)} pairs of regions and tasks are doubly dissociated (q < {_ALPHA}): one "
            "region costs its task more than the other region does, and the other way about."
        )
        if len(found):
            report.add_table(found.head(_SHOWN).set_index("region"), "The strongest double dissociations.")
