"""Brain to latents: out-of-fold predictions, identification, retrieval, and what was seen beside what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from brainalign.encoders import LinearEncoder
from brainalign.errors import DataError
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Encode
from brainalign.latents.base import Latents
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.identification import rank_percentiles, retrieval, similarity, two_way_identification
from brainalign.scoring.score import Score
from brainalign.splits import Fold, split_hash
from brainalign.trials import Trials

__all__ = ["compute", "show"]

_N_SHOWN = 12


def compute(analysis: Encode, context: Context) -> StepResult:
    """Predict the latents of every stimulus by an encoder that saw none of its trials, and identify it."""
    trials = context.chosen(analysis)
    targets = {label: one for name in analysis.latents for label, one in context.latents(name).items()}
    division = context.folds(trials, analysis)
    predictions = _out_of_fold(targets, trials, division)
    ids = list(dict.fromkeys(trials.stimulus_ids))
    within = _labels(trials, analysis.within, ids) if analysis.within else None
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    protocol = f"{len(division)} folds by {analysis.by}, gallery of all {len(ids)} stimuli"
    for number, (label, predicted) in enumerate(predictions.items()):
        found, true = predicted.select(ids), targets[label].select(ids)
        for name, score in _scores(found, true, within, analysis.gallery).items():
            told = replace(score, split=split_hash(division), protocol=f"{protocol}; {score.protocol}")
            scores[f"{analysis.name}/{label}/{name}"] = replace(told, name=f"{score.name}, {label}")
        table = similarity(found.flat(), true.flat(), kind="correlation")
        arrays[f"order_{number}"] = np.argsort(-table, axis=1, kind="stable")[:, :3].astype(np.int32)
        arrays[f"percentile_{number}"] = rank_percentiles(found, true)
        if true.space.startswith("pixels"):
            arrays[f"predicted_{number}"] = found.values.astype(np.float32)
    return StepResult(scores, arrays, {"labels": list(predictions), "ids": ids})


def _out_of_fold(targets: Mapping[str, Latents], trials: Trials, division: list[Fold]) -> dict[str, Latents]:
    parts: dict[str, list[Latents]] = {label: [] for label in targets}
    for fold in division:
        encoder = LinearEncoder(rescale=False).fit(trials.select(fold.train), dict(targets))
        for label, predicted in encoder.predict(trials.select(fold.test)).items():
            parts[label].append(predicted)
    return {
        label: Latents(
            np.concatenate([part.values for part in some]),
            [one for part in some for one in part.ids],
            space=some[0].space,
            meta=some[0].meta,
        )
        for label, some in parts.items()
    }


def _scores(found: Latents, true: Latents, within: np.ndarray | None, gallery: int | None) -> dict[str, Score]:
    """Identification and retrieval, both after taking out the mean picture."""
    mean_found, mean_true = found.flat().mean(axis=0), true.flat().mean(axis=0)
    centred = Latents(found.flat() - mean_found, found.ids, space=found.space, meta=found.meta)
    entries = Latents(true.flat() - mean_true, true.ids, space=true.space)
    scores = {"two-way": two_way_identification(found, true)}
    if within is not None:
        scores["two-way within"] = two_way_identification(found, true, within=within)
    for top in (1, 5):
        if top < (gallery or len(found)):
            scores[f"top-{top}"] = retrieval(centred, entries, gallery=gallery, top=top)
    return scores


def _labels(trials: Trials, column: str, ids: list[str]) -> np.ndarray:
    if column not in trials.trials:
        raise DataError(f"trials have no column '{column}'", expected=list(trials.trials.columns))
    return trials.trials.drop_duplicates("stimulus_id").set_index("stimulus_id").loc[ids, column].to_numpy()


def show(report: Report, analysis: Encode, result: StepResult, context: Context) -> None:
    """Scores by latent space, ranks, and pictures: seen, reconstructed where the latents are pixels, and found."""
    scores = [score for name, score in result.scores.items() if "two-way" in name]
    report.add_figure(plots.score_bars(scores), "Two-way identification with chance and 95 % intervals.")
    labels, ids = result.facts["labels"], result.facts["ids"]
    ranks = {
        label: 1 + np.round((1 - np.asarray(result.arrays[f"percentile_{number}"])) * (len(ids) - 1)).astype(int)
        for number, label in enumerate(labels)
    }
    report.add_figure(plots.retrieval_curve(ranks, gallery=len(ids)), "Share of pictures found among the first k.")
    stimuli = context.stimuli()
    if not stimuli.has_images:
        return
    shown = np.linspace(0, len(ids) - 1, min(_N_SHOWN, len(ids))).round().astype(int)
    rows: list[tuple[str, list[Any]]] = [("seen", [stimuli.image(ids[at]) for at in shown])]
    for number, label in enumerate(labels):
        if f"predicted_{number}" in result.arrays:
            pictures = np.asarray(result.arrays[f"predicted_{number}"])[shown]
            rows.append((f"predicted {label}", [_as_picture(one) for one in pictures]))
        first = np.asarray(result.arrays[f"order_{number}"])[shown, 0]
        rows.append((f"found by {label}", [stimuli.image(ids[at]) for at in first]))
    report.add_image_grid(
        rows, "Pictures seen, and what was made of the responses to them by encoders that never saw them."
    )


def _as_picture(values: np.ndarray) -> np.ndarray:
    """Predicted pixels in [0, 1], (height, width) or (height, width, 3), as uint8."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)
