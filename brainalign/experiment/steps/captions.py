"""What each voxel likes, in words: captions, whether they are true of held-out pictures, and maps of categories."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions import Captions as Said
from brainalign.analysis.captions import (
    CaptionScores,
    caption,
    category_names,
    category_scores,
    content_words,
    keyword_captions,
    region_profiles,
    score_captions,
    voxel_weights,
    word_counts,
)
from brainalign.errors import DataError
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_voxels import Captions
from brainalign.experiment.steps import caption_parts
from brainalign.experiment.steps.banks import bank_of, pictures_of, texts_of
from brainalign.experiment.steps.captions_report import show, tables, unit_maps
from brainalign.latents.base import Latents
from brainalign.scoring.classification import clopper_pearson
from brainalign.scoring.score import Score
from brainalign.splits import split
from brainalign.stimuli import Stimuli
from brainalign.tables import frame_to_json
from brainalign.trials import Trials
from brainalign.voxelwise import Ridge

__all__ = ["compute", "named_score", "show", "tables", "unit_maps"]

_SHOWN = 8


def compute(analysis: Captions, context: Context) -> StepResult:
    """Fit, caption, name categories, score on held-out pictures; the same once more with shuffled weights."""
    trials, seed, name = context.chosen(analysis), context.experiment.seed, analysis.latents[0]
    regions = caption_parts.check_regions(trials, analysis.regions_named)
    latents = next(iter(context.latents(name).values()))
    train, test = split(trials, by="stimulus_id", test_size=analysis.test_size, seed=seed)
    bank, texts = bank_of(analysis.bank, name, context, train), texts_of(analysis.texts, name, context, train)
    model = Ridge().fit(latents, train)
    fitted = model.score_units(latents, test, n_permutations=analysis.n_permutations, seed=seed)
    reliable = np.nan_to_num(fitted.q, nan=1.0) < 0.05
    said = caption(model, bank, texts, units=trials, beta=analysis.beta)
    shuffled = np.random.default_rng(seed).permuted(model.coef_.T, axis=1)
    other = replace(caption(shuffled, bank, texts, units=trials, beta=analysis.beta), seen=said.seen)
    judge = partial(_judged, test, analysis, seed, str(fitted.split))
    scored, control = judge(said), judge(other)
    scores = {"caption score": scored.summary, "caption score, shuffled weights": control.summary}
    arrays = {"embeddings": said.embeddings.flat(), "r": scored.r, "q": scored.q, "reliable": reliable}
    arrays |= {"r_shuffled": control.r, "predicted_r": fitted.r}
    table = trials.units.assign(
        caption=list(said.texts), r=scored.r, q=scored.q, predicted_r=fitted.r, reliable=reliable
    )
    facts: dict[str, Any] = {"categories": list(analysis.categories), "regions": regions}
    if analysis.categories:
        maps = category_scores(said.embeddings, analysis.categories, partial(context.extract_text, name))
        arrays["category_scores"], table["category"] = maps.to_numpy(), category_names(maps)
        if regions:
            facts["profiles"] = frame_to_json(region_profiles(said, maps, seed=seed))
    if analysis.planted:
        planted = trials.units["roi"].map(analysis.planted).to_numpy()
        known = reliable & pd.notna(planted)
        for label, some in (("named", said), ("named, shuffled weights", other)):
            read = context.extract_text(name, dict(enumerate(some.texts)))
            named = category_names(category_scores(read, analysis.categories, partial(context.extract_text, name)))
            scores[label] = named_score(
                label, named[known], planted[known], n_categories=len(analysis.categories), split_hash=str(fitted.split)
            )
    counts = word_counts(said, by="roi" if regions else None)
    facts["words"] = frame_to_json(counts.head(25).rename_axis("word").reset_index())
    facts["mapped"] = list(counts.index[: analysis.words])
    for one in facts["mapped"]:
        arrays[f"word_{facts['mapped'].index(one)}"] = np.array([one in content_words(text) for text in said.texts])
    pictures = pictures_of(analysis.bank, train)
    if analysis.keywords:
        keys = _keywords(analysis, model, bank, pictures, context, trials)
        scored = judge(keys)
        scores["keyword score"], table["keywords"] = scored.summary, list(keys.texts)
        arrays["r_keywords"] = scored.r
    besides = _besides(analysis, (said, voxel_weights(model)), (train, latents), (bank, texts, pictures), context)
    scores, arrays, facts = scores | besides.scores, arrays | besides.arrays, facts | besides.facts
    facts["table"] = frame_to_json(table)
    return StepResult({f"{analysis.name}/{one}": score for one, score in scores.items()}, arrays, facts)


def _judged(test: Trials, analysis: Captions, seed: int, split_hash: str, said: Said) -> CaptionScores:
    """Captions before held-out pictures; without a value where these have no captions to compare with."""
    if test.stimuli is not None and test.stimuli.has_captions:
        return score_captions(said, test, analysis.judge, n_permutations=analysis.n_permutations, seed=seed)
    none, why = np.full(len(said), np.nan), "the held-out pictures have no captions"
    summary = Score(
        "caption score", None, ceiling=None, chance=None, low=None, high=None, n=0, split=split_hash,
        protocol="likeness of a unit's caption with those of held-out pictures, Spearman with its response",
        how="not done", why=dict.fromkeys(("value", "ceiling", "chance", "low", "high"), why),
    )  # fmt: skip
    return CaptionScores(none, none, none, none, summary, said.units)


def _keywords(
    analysis: Captions, model: Any, bank: Latents, pictures: Stimuli | None, context: Context, trials: Trials
) -> Any:
    if pictures is None or not pictures.has_captions:
        raise DataError("keywords come from captions of the bank's pictures", expected="a bank with captions",
                        found="pictures without", fix="keywords: 0")  # fmt: skip
    return keyword_captions(
        model,
        bank,
        {one: pictures.caption(one) for one in pictures.ids},
        partial(context.extract_text, analysis.latents[0]),
        units=trials,
        n_best=min(analysis.n_best, len(bank)),
        n_words=analysis.keywords,
    )


def _besides(analysis: Captions, voxels: tuple, data: tuple, banks: tuple, context: Context) -> StepResult:
    """Clusters, parts, differences, and the pictures of the bank that regions, clusters and parts like."""
    (said, weights), (train, latents), (bank, texts, pictures), seed = voxels, data, banks, context.experiment.seed
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    rows = {"all": np.ones(len(said), bool)} if "roi" not in said.units else {
        one: (said.units["roi"].astype(str) == one).to_numpy() for one in caption_parts.check_regions(train, [])
    }  # fmt: skip
    grids = {"regions": {one: caption_parts.liked(weights[some], bank, _SHOWN) for one, some in rows.items()}}
    if analysis.clusters:
        labels, table = caption_parts.clusters(said, analysis.clusters, seed)
        arrays["cluster"], facts["clusters"] = labels, frame_to_json(table)
        middles = said.embeddings.flat()
        grids["clusters"] = {
            f"cluster {one}": caption_parts.liked(middles[labels == one], bank, _SHOWN, cosine=True)
            for one in range(analysis.clusters)
        }
    if analysis.subdivide:
        found, table, scores, means = caption_parts.parts(
            analysis.subdivide, latents, train, bank, texts=texts, seed=seed
        )
        facts["parts"] = frame_to_json(table)
        arrays |= {f"part_{at}": found[one] for at, one in enumerate(analysis.subdivide)}
        grids["parts"] = {
            f"{region}, {part}": caption_parts.liked(one.flat()[row : row + 1], bank, _SHOWN, cosine=True)
            for region, one in means.items()
            for row, part in enumerate(one.ids)
        }
    if analysis.differences:
        asked = {name for one in analysis.differences.values() for name in (one.first, one.second)}
        best = {one: caption_parts.liked(weights[rows[one]], bank, analysis.n_best) for one in asked}
        table = caption_parts.differences(
            analysis.differences, best, partial(context.extract_text, analysis.latents[0]), seed=seed
        )
        facts["differences"] = frame_to_json(table)
    facts["grids"] = {kind: list(some) for kind, some in grids.items()} if pictures is not None else {}
    if pictures is not None:
        for kind, some in grids.items():
            for at, one in enumerate(some.values()):
                arrays[f"grid_{kind}_{at}"] = caption_parts.thumbnails(pictures, one.ids)
    return StepResult(scores, arrays, facts)


def named_score(
    label: str, named: np.ndarray, planted: np.ndarray, *, n_categories: int, split_hash: str = "none"
) -> Score:
    """Share of voxels (or pictures) whose category is the planted one."""
    right = named == planted
    low, high = clopper_pearson(int(right.sum()), len(right)) if len(right) else (np.nan, np.nan)
    return Score(
        f"planted category {label}",
        float(right.mean()) if len(right) else None,
        ceiling=1.0,
        chance=1.0 / n_categories,
        low=low,
        high=high,
        n=len(right),
        split=split_hash,
        protocol="zero-shot among the categories, voxels predicted above chance on held-out pictures (q < 0.05)",
        how="share of voxels, Clopper-Pearson interval",
        why=dict.fromkeys(("value", "low", "high"), "no voxel is predicted above chance"),
    )
