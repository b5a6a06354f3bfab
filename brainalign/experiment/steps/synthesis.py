"""Pictures that drive each region, read by an independent classifier and judged by encoders that did not guide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions import category_names, category_scores
from brainalign.analysis.synthesis import Guided, Multifaceted, PictureEncoder, PlugAndPlay, judge_synthesis, synthesize
from brainalign.errors import DataError, unknown
from brainalign.experiment.context import Context, placed
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_voxels import Sampler, Synthesis
from brainalign.experiment.steps.banks import bank_of, pictures_of
from brainalign.experiment.steps.caption_parts import check_regions, differences, thumbnails
from brainalign.experiment.steps.captions import named_score
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
from brainalign.tables import frame_from_json, frame_to_json
from brainalign.voxelwise import Ridge

__all__ = ["compute", "show", "tables"]

_SAMPLERS: dict[str, Any] = {"guided": Guided, "prior": PlugAndPlay, "facets": Multifaceted}


def compute(analysis: Synthesis, context: Context) -> StepResult:
    """Guide by one half of the stimuli, judge by the other; every sampler, every region."""
    trials, seed, name = context.chosen(analysis), context.experiment.seed, analysis.latents[0]
    asked = [*(analysis.regions or []), *analysis.planted]
    asked += [one for pair in analysis.differences.values() for one in (pair.first, pair.second)]
    known = check_regions(trials, asked)
    if not known:
        raise DataError("synthesis asks regions", expected="a column roi of the units", found=list(trials.units))
    regions = analysis.regions or list(analysis.planted) or known
    _check_samplers(analysis.samplers)
    generator = load_generator(placed(analysis.generator), device="cpu", **analysis.generator_options)
    halves = split(trials, by="stimulus_id", test_size=analysis.test_size, seed=seed)
    guide, *judges = (
        _encoder(one, half, context)
        for one, half in zip([name, *analysis.judges], [halves[0]] + [halves[1]] * len(analysis.judges))
    )
    bank, natural = bank_of(analysis.bank, name, context, halves[0]), pictures_of(analysis.natural, halves[0])
    assert natural is not None  # the schema refuses a folder of latents
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    runs = {label: _sampler(one, bank) for label, one in analysis.samplers.items()}
    first = next(iter(runs))
    runs |= {f"{first} at {scale:g}": replace(runs[first], scale=scale) for scale in analysis.scales}
    preferred: dict[str, Latents] = {}
    for label, sampler in runs.items():
        named, planted, judged_all = [], [], []
        for region in progress(regions, description=label):
            target = f"roi == '{region}'"
            place = None if context.place is None else context.place / "pictures" / analysis.name / label / region
            made = synthesize(
                guide, target, generator=generator, n=analysis.n, seed=seed, sampler=sampler, folder=place
            )
            judged = [judge_synthesis(made, target, guide=guide, judge=one, natural=natural) for one in judges]
            planted += [analysis.planted.get(region)] * len(made)
            judged_all.append(judged)
            row = {"sampler": label, "region": region, "guide": float(made.table["value"].mean())}
            for judge, one in zip(analysis.judges, judged):
                row |= {judge: one.summary.value, f"{judge}, natural 99 %": one.summary.ceiling}
            if analysis.categories:
                read = _read(made, analysis, context)
                named += list(read)
                row["read"] = str(pd.Series(read).mode().iloc[0])
                if region in analysis.planted:
                    row["planted"] = float(np.mean(read == analysis.planted[region]))
            rows.append(row)
            if label == first and analysis.differences:
                preferred[region] = extract(made, guide.network, cache=False)
            arrays[f"{list(runs).index(label)}_{region}"] = stack(made, list(made.ids))
        scores |= _scores(label, analysis, named, planted, judged_all)
    best = {region: _best_natural(guide, natural, region, analysis.n) for region in regions}
    if analysis.planted:
        read = np.concatenate([_read(best[one], analysis, context) for one in analysis.planted])
        truth = np.repeat(list(analysis.planted.values()), analysis.n)
        scores["best natural pictures/category"] = _named(analysis, read, truth)
    arrays |= {f"natural_{region}": thumbnails(some, some.ids) for region, some in best.items()}
    facts = {"rows": rows, "runs": list(runs), "regions": regions}
    if analysis.differences:
        table = differences(analysis.differences, preferred, partial(context.extract_text, name), seed=seed)
        facts["differences"] = frame_to_json(table)
    return StepResult({f"{analysis.name}/{one}": score for one, score in scores.items()}, arrays, facts)


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


def _encoder(name: str, trials: Any, context: Context) -> PictureEncoder:
    latents = next(iter(context.latents(name).values()))
    network = str(latents.meta.get("model", latents.space))
    return PictureEncoder(Ridge().fit(latents, trials), network, units=trials, device="cpu")


def _check_samplers(samplers: Mapping[str, Sampler]) -> None:
    for asked in samplers.values():
        known = [one.name for one in fields(_SAMPLERS[asked.kind]) if one.name not in ("bank", "prior")]
        for name in asked.options:
            if name not in known:
                raise unknown(f"option of a sampler '{asked.kind}'", name, known)


def _sampler(asked: Sampler, bank: Latents) -> Any:
    if asked.kind == "guided":
        return Guided(**asked.options, prior=PlugAndPlay(bank) if asked.told else None)
    return _SAMPLERS[asked.kind](bank, **asked.options)


def _read(pictures: Stimuli, analysis: Synthesis, context: Context) -> np.ndarray:
    """Category of each picture: by the classifier of drawn scenes where those are the categories, else zero-shot."""
    if _of_scenes(analysis):
        return judge_scenes(pictures)["category"].to_numpy()
    name = analysis.latents[0]
    made = context.extract(name, pictures)
    latents = next(iter(made.values())) if isinstance(made, dict) else made
    return category_names(category_scores(latents, analysis.categories, partial(context.extract_text, name)))


def _best_natural(guide: PictureEncoder, natural: Stimuli, region: str, n: int) -> Stimuli:
    rows = (guide.units["roi"] == region).to_numpy()
    order = np.argsort(-guide.predict(natural, cache=None)[:, rows].mean(1), kind="stable")[:n]
    return natural.select([natural.ids[row] for row in order])


def _scores(name: str, analysis: Synthesis, named: list, planted: list, judged: list) -> dict[str, Score]:
    """The planted category read off the pictures, and the response by each judge over all regions."""
    made: dict[str, Score] = {}
    if analysis.planted:
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
    found = {"responses": pd.DataFrame(result.facts["rows"])}
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
    report.add_table(table, "Responses by the judges in SD of natural pictures; the guide's own value does not judge.")
    if "differences" in found:
        report.add_table(
            found["differences"].set_index("compared"),
            "What the pictures made for the first region have more of than those for the second: p from exchanging "
            "pictures between them. Pictures of one guide share its errors: a difference is that of the regions where "
            "it returns with guides fitted on other stimuli.",
        )
    runs = [*enumerate(result.facts["runs"]), ("natural", "best natural pictures")]
    for region in result.facts["regions"]:
        grid = [(str(name), list(np.asarray(result.arrays[f"{key}_{region}"]))) for key, name in runs]
        report.add_image_grid(grid, f"{region}: what drives it.")
