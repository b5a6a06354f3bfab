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

__all__ = ["compute", "labels_of", "latent_scores", "show"]

_N_SHOWN = 12


def compute(analysis: Encode, context: Context) -> StepResult:
    """Predict the latents of every stimulus by an encoder that saw none of its trials, and identify it."""
    trials = context.chosen(analysis)
    targets = {label: one for name in analysis.latents for label, one in context.latents(name).items()}
    division = context.folds(trials, analysis)
    predictions, fold_of = _out_of_fold(targets, trials, division)
    ids = list(fold_of)
    groups = {"fold": np.array(list(fold_of.values()))}
    if analysis.within:
        labels = labels_of(trials, analysis.within, ids)
        groups["class"] = np.array([f"{fold}/{label}" for fold, label in zip(groups["fold"], labels, strict=True)])
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    protocol = f"{len(division)} folds by {analysis.by}, compared within the fold"
    for number, (label, predicted) in enumerate(predictions.items()):
        found, true = predicted.select(ids), targets[label].select(ids)
        for name, score in latent_scores(found, true, groups, analysis.gallery).items():
            told = replace(score, split=split_hash(division), protocol=f"{protocol}; {score.protocol}")
            scores[f"{analysis.name}/{label}/{name}"] = replace(told, name=f"{score.name}, {label}")
        table = similarity(found.flat(), true.flat(), kind="correlation")
        table[groups["fold"][:, None] != groups["fold"]] = -np.inf
        arrays[f"best_{number}"] = table.argmax(axis=1)
        arrays[f"percentile_{number}"] = rank_percentiles(found, true, within=groups["fold"])
        if true.space.startswith("pixels"):
            arrays[f"predicted_{number}"] = found.values.astype(np.float32)
    facts = {"labels": list(predictions), "ids": ids, "gallery": int(np.bincount(groups["fold"]).min())}
    return StepResult(scores, arrays, facts)


def _out_of_fold(
    targets: Mapping[str, Latents], trials: Trials, division: list[Fold]
) -> tuple[dict[str, Latents], dict[str, int]]:
    """Predicted latents of every stimulus, and the fold in which it was held out."""
    parts: dict[str, list[Latents]] = {label: [] for label in targets}
    fold_of: dict[str, int] = {}
    for number, fold in enumerate(division):
        encoder = LinearEncoder(rescale=False).fit(trials.select(fold.train), dict(targets))
        for label, predicted in encoder.predict(trials.select(fold.test)).items():
            parts[label].append(predicted)
            fold_of |= dict.fromkeys(predicted.ids, number)
    joined = {
        label: Latents(np.concatenate([part.values for part in some]), list(fold_of), space=some[0].space)
        for label, some in parts.items()
    }
    return joined, fold_of


def latent_scores(
    found: Latents, true: Latents, groups: Mapping[str, np.ndarray], gallery: int | None
) -> dict[str, Score]:
    """Identification and retrieval within each fold; an encoder leans away from what other folds held out.

    In retrieval a prediction searches the stimuli (``top-1``), or a stimulus the predictions (``top-1, query
    stimulus``), in both cases among the `gallery` of its fold.
    """
    fold = groups["fold"]
    scores = {"two-way": two_way_identification(found, true, within=fold)}
    if "class" in groups:
        scores["two-way within"] = replace(
            two_way_identification(found, true, within=groups["class"]), name="two-way identification within class"
        )
    for top in (1, 5):
        if top < (gallery or np.bincount(fold).min()):
            found_centred, true_centred = _centred(found, fold), _centred(true, fold)
            for direction, name in (("brain", f"top-{top}"), ("stimulus", f"top-{top}, query stimulus")):
                scores[name] = retrieval(
                    found_centred, true_centred, query=direction, gallery=gallery, top=top, within=fold
                )
    scores["two-way"] = replace(scores["two-way"], name="two-way identification")
    return scores


def _centred(latents: Latents, fold: np.ndarray) -> Latents:
    """Each fold around its own mean, so that angles are not those to the mean picture."""
    values = latents.flat().astype(np.float64)
    for number in np.unique(fold):
        values[fold == number] -= values[fold == number].mean(axis=0)
    return Latents(values, latents.ids, space=latents.space, meta=latents.meta)


def labels_of(trials: Trials, column: str, ids: list[str]) -> np.ndarray:
    """A column of the trials table for some stimuli."""
    if column not in trials.trials:
        raise DataError(f"trials have no column '{column}'", expected=list(trials.trials.columns))
    return trials.trials.drop_duplicates("stimulus_id").set_index("stimulus_id").loc[ids, column].to_numpy()


def show(report: Report, analysis: Encode, result: StepResult, context: Context) -> None:
    """Scores by latent space, ranks, and pictures: seen, reconstructed where the latents are pixels, and found."""
    scores = [score for name, score in result.scores.items() if "two-way" in name]
    report.add_figure(plots.score_bars(scores), "Two-way identification with chance and 95 % intervals.")
    labels, ids, gallery = (result.facts[name] for name in ("labels", "ids", "gallery"))
    ranks = {
        label: 1 + np.round((1 - np.asarray(result.arrays[f"percentile_{number}"])) * (gallery - 1)).astype(int)
        for number, label in enumerate(labels)
    }
    caption = f"Share of pictures found among the first k of the {gallery} that were held out together."
    report.add_figure(plots.retrieval_curve(ranks, gallery=gallery), caption)
    stimuli = context.stimuli()
    if not stimuli.has_images:
        return
    shown = np.linspace(0, len(ids) - 1, min(_N_SHOWN, len(ids))).round().astype(int)
    rows: list[tuple[str, list[Any]]] = [("seen", [stimuli.image(ids[at]) for at in shown])]
    for number, label in enumerate(labels):
        if f"predicted_{number}" in result.arrays:
            pictures = np.asarray(result.arrays[f"predicted_{number}"])[shown]
            rows.append((f"predicted {label}", [_as_picture(one) for one in pictures]))
        first = np.asarray(result.arrays[f"best_{number}"])[shown]
        rows.append((f"found by {label}", [stimuli.image(ids[at]) for at in first]))
    report.add_image_grid(
        rows, "Pictures seen, and what was made of the responses to them by encoders that never saw them."
    )


def _as_picture(values: np.ndarray) -> np.ndarray:
    """Predicted pixels in [0, 1], (height, width) or (height, width, 3), as uint8."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)
