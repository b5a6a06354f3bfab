"""Pictures that drive each region, read by an independent classifier and judged by encoders that did not guide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions import category_names, category_scores
from brainalign.analysis.synthesis import PictureEncoder, judge_synthesis, redraw
from brainalign.errors import DataError
from brainalign.experiment.context import Context, placed
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_voxels import Synthesis
from brainalign.experiment.steps.banks import bank_of, pictures_of
from brainalign.experiment.steps.caption_parts import check_regions, differences, thumbnails
from brainalign.experiment.steps.captions import named_score
from brainalign.experiment.steps.makers import Making, check_samplers, makers
from brainalign.latents import extract
from brainalign.latents.base import Latents
from brainalign.parallel import progress
from brainalign.reconstruction import judge_scenes, load_generator
from brainalign.reconstruction.pairs import stack
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scenes import CATEGORIES
from brainalign.scoring.score import Score
from brainalign.splits import split
from brainalign.stimuli import Stimuli
from brainalign.tables import frame_from_json, frame_to_json, select_rows
from brainalign.voxelwise import Ridge

__all__ = ["compute", "show", "tables"]

_BEST = "best natural pictures"  # as the guide ranks them, which leaves the judges' errors unchosen


def compute(analysis: Synthesis, context: Context) -> StepResult:
    """Guide by one half of the stimuli, judge by the other; every sampler, every region."""
    trials, seed, name = context.chosen(analysis), context.experiment.seed, analysis.latents[0]
    asked = [*(analysis.regions or []), *analysis.planted]
    asked += [one for pair in analysis.differences.values() for one in (pair.first, pair.second)]
    known = check_regions(trials, asked)
    if not known:
        raise DataError("synthesis asks regions", expected="a column roi of the units", found=list(trials.units))
    regions = analysis.regions or list(analysis.planted) or known
    check_samplers(analysis.samplers)
    generator = load_generator(placed(analysis.generator), device="cpu", **analysis.generator_options)
    halves = split(trials, by="stimulus_id", test_size=analysis.test_size, seed=seed)
    seen = redraw(trials.stimuli, generator) if analysis.redraw else None
    guide = _encoder(name, halves[0], context)
    judges = [_encoder(one, halves[1], context, seen) for one in analysis.judges]
    bank, natural = bank_of(analysis.bank, name, context, halves[0]), pictures_of(analysis.natural, halves[0])
    assert natural is not None  # the schema refuses a folder of latents
    natural = redraw(natural, generator) if analysis.redraw else natural
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    work = Making(guide, generator, halves[0], bank, analysis.n, seed)
    runs = makers(analysis, work, next(iter(context.latents(name).values())))
    first = next(iter(runs))
    runs[_BEST] = lambda target, place: _best_natural(guide, natural, target, analysis.n)
    judging = _Judging(analysis, context, guide, judges, natural)
    preferred: dict[str, Latents] = {}
    for number, (label, make) in enumerate(runs.items()):
        made = {one: judging.of_region(label, one, make) for one in progress(regions, description=label)}
        rows += [one.row for one in made.values()]
        for region, one in made.items():
            drawn = thumbnails if label == _BEST else stack
            arrays[f"{number}_{region}"] = drawn(one.pictures, list(one.pictures.ids))
            if label == first and analysis.differences:
                preferred[region] = extract(one.pictures, guide.network, cache=False)
        scores |= _scores(label, analysis, made)
    facts: dict[str, Any] = {"rows": rows, "runs": list(runs), "regions": regions, "redrawn": analysis.redraw}
    facts["judges"] = [_accuracy(one, judge, halves[0], context, seen) for one, judge in zip(analysis.judges, judges)]
    if analysis.differences:
        table = differences(analysis.differences, preferred, partial(context.extract_text, name), seed=seed)
        facts["differences"] = frame_to_json(table)
    return StepResult({f"{analysis.name}/{one}": score for one, score in scores.items()}, arrays, facts)


@dataclass(frozen=True)
class _Made:
    """Pictures for a region: how each judge finds them, the category read off each, and their row of the table."""

    pictures: Stimuli
    judged: list[Any]
    read: list[str]
    row: dict[str, Any]


@dataclass(frozen=True)
class _Judging:
    """Who judges pictures, beside which natural ones."""

    analysis: Synthesis
    context: Context
    guide: PictureEncoder
    judges: list[PictureEncoder]
    natural: Stimuli

    def of_region(self, label: str, region: str, make: Callable[[str, Path | None], Stimuli]) -> _Made:
        """Pictures of one region by one sampler."""
        analysis, target = self.analysis, f"roi == '{region}'"
        root = self.context.place
        made = make(target, None if root is None else root / "pictures" / analysis.name / label / region)
        judged = [
            judge_synthesis(made, target, guide=self.guide, judge=one, natural=self.natural) for one in self.judges
        ]
        row = {"sampler": label, "region": region, "guide": float(_mean_response(self.guide, made, target).mean())}
        for judge, one in zip(analysis.judges, judged):
            row |= {judge: one.summary.value, f"{judge}, natural 99 %": one.summary.ceiling}
        read = _read(made, analysis, self.context) if analysis.categories else np.array([], dtype=str)
        if analysis.categories:
            row["read"] = str(pd.Series(read).mode().iloc[0])
            if region in analysis.planted:
                row["planted"] = float(np.mean(read == analysis.planted[region]))
        return _Made(made, judged, list(read), row)


def _named(analysis: Synthesis, named: np.ndarray, planted: np.ndarray) -> Score:
    """Share of pictures in which the planted category is read, and by whom."""
    n = len(CATEGORIES) if _of_scenes(analysis) else len(analysis.categories)
    score = named_score("of pictures", named, planted, n_categories=n)
    by = "a classifier that saw neither guide nor generator" if _of_scenes(analysis) else "the guide's own network"
    return replace(
        score,
        protocol=f"category read by {by}",
        how="share of pictures, Clopper-Pearson interval",
        split=None,
        why={**score.why, "split": "pictures made are of no split"},
    )


def _of_scenes(analysis: Synthesis) -> bool:
    """Whether the classifier of drawn scenes can read what is asked for."""
    return analysis.natural.scenes is not None and set(analysis.categories) <= set(CATEGORIES)


def _encoder(name: str, trials: Any, context: Context, seen: Stimuli | None = None) -> PictureEncoder:
    latents, network = _latents(name, context, seen)
    return PictureEncoder(Ridge().fit(latents, trials), network, units=trials, device="cpu")


def _latents(name: str, context: Context, seen: Stimuli | None) -> tuple[Latents, str]:
    """Latents and the network that made them: of the experiment's own pictures, or of those `seen` instead."""
    made = context.latents(name) if seen is None else context.extract(name, seen)
    latents = next(iter(made.values())) if isinstance(made, dict) else made
    return latents, str(latents.meta.get("model", latents.space))


def _accuracy(name: str, judge: PictureEncoder, guiding: Any, context: Context, seen: Stimuli | None) -> dict[str, Any]:
    """How well a judge predicts the responses that it was not fitted on."""
    found = judge.model.score_units(_latents(name, context, seen)[0], guiding, n_permutations=0)
    return {
        "judge": name,
        "median r": float(np.nanmedian(found.r)),
        "median r over its ceiling": float(np.nanmedian(found.r_normalised)),
        "stimuli": len(found.stimulus_ids),
    }


def _read(pictures: Stimuli, analysis: Synthesis, context: Context) -> np.ndarray:
    """Category of each picture: by the classifier of drawn scenes where those are the categories, else zero-shot."""
    if _of_scenes(analysis):
        return judge_scenes(pictures)["category"].to_numpy()
    name = analysis.latents[0]
    return category_names(
        category_scores(_latents(name, context, pictures)[0], analysis.categories, partial(context.extract_text, name))
    )


def _mean_response(guide: PictureEncoder, pictures: Stimuli, target: str, cache: Any = False) -> np.ndarray:
    return guide.predict(pictures, cache=cache)[:, select_rows(guide.units, target, what="units")].mean(1)


def _best_natural(guide: PictureEncoder, natural: Stimuli, target: str, n: int) -> Stimuli:
    order = np.argsort(-_mean_response(guide, natural, target, cache=None), kind="stable")[:n]
    return natural.select([natural.ids[row] for row in order])


def _scores(name: str, analysis: Synthesis, regions: dict[str, _Made]) -> dict[str, Score]:
    """The planted category read off the pictures, and the response by each judge over all regions."""
    made: dict[str, Score] = {}
    judged = [one.judged for one in regions.values()]
    if analysis.planted:
        named = [read for one in regions.values() for read in one.read]
        planted = [analysis.planted.get(region) for region, one in regions.items() for _ in one.pictures.ids]
        known = np.array([one is not None for one in planted])
        made[f"{name}/category"] = _named(analysis, np.array(named)[known], np.array(planted)[known])
    for label, own in zip(analysis.judges, zip(*judged, strict=True), strict=True):
        values = {
            part: np.mean([getattr(one.summary, part) for one in own]) for part in ("value", "ceiling", "low", "high")
        }
        above = sum(one.beats_natural for one in own)
        which = "the guide's network, other data" if own[0].same_network else "another network, other data"
        made[f"{name}/response, {label}"] = replace(
            own[0].summary,
            **values,
            name=f"response by a second encoder, {name}",
            n=len(planted),
            protocol=f"{own[0].summary.protocol}; {which}",
            how=f"mean over regions; {above} of {len(own)} pass the 99th percentile of natural pictures (the ceiling)",
        )
    return made


def tables(analysis: Synthesis, result: StepResult, context: Context) -> dict[str, pd.DataFrame]:
    """Responses of each sampler and region, and how the pictures made for two regions differ."""
    found = {"responses": pd.DataFrame(result.facts["rows"]), "judges": pd.DataFrame(result.facts["judges"])}
    if "differences" in result.facts:
        found["differences"] = frame_from_json(result.facts["differences"])
    return found


def show(report: Report, analysis: Synthesis, result: StepResult, context: Context) -> None:
    """Scores, the table of every sampler and region, and the pictures."""
    categories = [one for name, one in result.scores.items() if name.endswith("category")]
    if categories:
        report.add_figure(
            plots.score_bars(categories),
            "The planted category, read off synthesised pictures and off the best natural ones.",
        )
    found = tables(analysis, result, context)
    table = found["responses"].set_index(["sampler", "region"])
    redrawn = ", redrawn by the generator's autoencoder" if result.facts["redrawn"] else ""
    report.add_table(
        table, f"Responses by the judges in SD of natural pictures{redrawn}; the guide's own value does not judge."
    )
    report.add_table(found["judges"].set_index("judge"), "How well the judges predict responses to held-out stimuli.")
    if "differences" in found:
        report.add_table(
            found["differences"].set_index("compared"),
            "What the pictures made for the first region have more of than those for the second: p from exchanging "
            "pictures between them. Pictures of one guide share its errors: a difference is that of the regions where "
            "it returns with guides fitted on other stimuli.",
        )
    runs = list(enumerate(result.facts["runs"]))
    for region in result.facts["regions"]:
        grid = [(str(name), list(np.asarray(result.arrays[f"{key}_{region}"]))) for key, name in runs]
        report.add_image_grid(grid, f"{region}: what drives it.")
