"""Pictures that drive each region, read by an independent classifier and judged by encoders that did not guide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions import category_names, category_scores
from brainalign.analysis.synthesis import Guided, Multifaceted, PictureEncoder, PlugAndPlay, judge_synthesis, synthesize
from brainalign.errors import DataError
from brainalign.experiment.context import Context, placed
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_voxels import Sampler, Synthesis
from brainalign.experiment.steps.captions import bank_of, named_score
from brainalign.latents import extract
from brainalign.latents.base import Latents
from brainalign.parallel import progress
from brainalign.reconstruction import judge_scenes, load_generator
from brainalign.reconstruction.pairs import stack
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scenes import draw_scenes
from brainalign.scoring.score import Score
from brainalign.splits import split
from brainalign.stimuli import Stimuli
from brainalign.voxelwise import Ridge

__all__ = ["compute", "show"]


def compute(analysis: Synthesis, context: Context) -> StepResult:
    """Guide by one half of the stimuli, judge by the other; every sampler, every region."""
    trials, seed = context.chosen(analysis), context.experiment.seed
    if "roi" not in trials.units:
        raise DataError("synthesis asks regions", expected="a column roi of the units", found=list(trials.units))
    halves = split(trials, by="stimulus_id", test_size=analysis.test_size, seed=seed)
    guide, *judges = (
        _encoder(name, half, context)
        for name, half in zip([analysis.latents[0], *analysis.judges], [halves[0]] + [halves[1]] * len(analysis.judges))
    )
    bank = bank_of(analysis.bank, next(iter(context.latents(analysis.latents[0]).values())), context)
    natural = draw_scenes(analysis.natural.scenes or 2, seed=analysis.natural.seed)
    generator = load_generator(placed(analysis.generator), device="cpu", **analysis.generator_options)
    regions = list(analysis.planted) or list(dict.fromkeys(trials.units["roi"]))
    scores: dict[str, Score] = {}
    arrays: dict[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    runs = {name: _sampler(one, bank) for name, one in analysis.samplers.items()}
    first = next(iter(runs))
    runs |= {f"{first} at {scale:g}": replace(runs[first], scale=scale) for scale in analysis.scales}
    for name, sampler in runs.items():
        named, planted, judged_all = [], [], []
        for region in progress(regions, description=name):
            target = f"roi == '{region}'"
            made = synthesize(guide, target, generator=generator, n=analysis.n, seed=seed, sampler=sampler)
            read = _read(made, analysis, context)
            judged = [judge_synthesis(made, target, guide=guide, judge=one, natural=natural) for one in judges]
            named += list(read)
            planted += [analysis.planted.get(region)] * len(made)
            judged_all.append(judged)
            row = {"sampler": name, "region": region, "guide": float(made.table["value"].mean())}
            for label, one in zip(analysis.judges, judged):
                row |= {label: one.summary.value, f"{label}, natural 99 %": one.summary.ceiling}
            rows.append(row | {"planted": float(np.mean(read == analysis.planted.get(region)))})
            arrays[f"{list(runs).index(name)}_{region}"] = stack(made, list(made.ids))
        scores |= _scores(name, analysis, named, planted, judged_all)
    best = {region: _best_natural(guide, natural, region, analysis.n) for region in regions}
    if analysis.planted:
        read = np.concatenate([_read(some, analysis, context) for some in best.values()])
        truth = np.repeat([analysis.planted[one] for one in regions], analysis.n)
        scores["best natural pictures/category"] = _told(named_score("of pictures", read, truth, 8, "none"), "pictures")
    arrays |= {f"natural_{region}": stack(some, list(some.ids)) for region, some in best.items()}
    facts = {"rows": rows, "runs": list(runs), "regions": regions}
    return StepResult({f"{analysis.name}/{name}": one for name, one in scores.items()}, arrays, facts)


def _encoder(name: str, trials: Any, context: Context) -> PictureEncoder:
    latents = next(iter(context.latents(name).values()))
    network = str(latents.meta.get("model", latents.space))
    return PictureEncoder(Ridge().fit(latents, trials), network, units=trials, device="cpu")


def _sampler(asked: Sampler, bank: Latents) -> Any:
    if asked.kind == "guided":
        return Guided(**asked.options, prior=PlugAndPlay(bank) if asked.told else None)
    return {"prior": PlugAndPlay, "facets": Multifaceted}[asked.kind](bank, **asked.options)


def _read(pictures: Stimuli, analysis: Synthesis, context: Context) -> np.ndarray:
    """Category of each picture: by the classifier of drawn scenes where those are the categories, else zero-shot."""
    from brainalign.scenes import CATEGORIES

    if set(analysis.categories) <= set(CATEGORIES):
        return judge_scenes(pictures)["category"].to_numpy()
    space = next(iter(context.latents(analysis.latents[0]).values())).space
    return category_names(category_scores(extract(pictures, space, cache=False), analysis.categories))


def _best_natural(guide: PictureEncoder, natural: Stimuli, region: str, n: int) -> Stimuli:
    rows = (guide.units["roi"] == region).to_numpy()
    order = np.argsort(-guide.predict(natural, cache=None)[:, rows].mean(1), kind="stable")[:n]
    return natural.select([natural.ids[row] for row in order])


def _scores(name: str, analysis: Synthesis, named: list, planted: list, judged: list) -> dict[str, Score]:
    """The planted category read off the pictures, and the response by each judge over all regions."""
    made: dict[str, Score] = {}
    if analysis.planted:
        one = named_score("of pictures", np.array(named), np.array(planted), 8, "none")
        made[f"{name}/category"] = _told(one, "pictures")
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
            n=len(named),
            protocol=f"{own[0].summary.protocol}; {which}",
            how=f"mean over regions; {above} of {len(own)} pass the 99th percentile of natural pictures (the ceiling)",
        )
    return made


def _told(score: Score, what: str) -> Score:
    return replace(
        score,
        protocol="category read by a classifier that saw neither guide nor generator",
        how=f"share of {what}, Clopper-Pearson interval",
        split=None,
        why={**score.why, "split": "pictures made are of no split"},
    )


def show(report: Report, analysis: Synthesis, result: StepResult, context: Context) -> None:
    """Scores, the table of every sampler and region, and the pictures."""
    report.add_figure(
        plots.score_bars([one for name, one in result.scores.items() if name.endswith("category")]),
        "The planted category, read off synthesised pictures and off the best natural ones.",
    )
    table = pd.DataFrame(result.facts["rows"]).set_index(["sampler", "region"])
    report.add_table(table, "Responses by the judges in SD of natural pictures; the guide's own value does not judge.")
    runs = [*enumerate(result.facts["runs"]), ("natural", "best natural pictures")]
    for region in result.facts["regions"]:
        grid = [(str(name), list(np.asarray(result.arrays[f"{key}_{region}"]))) for key, name in runs]
        report.add_image_grid(grid, f"{region}: what drives it.")
