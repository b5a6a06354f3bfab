"""What each voxel likes, in words: captions, whether they are true of held-out pictures, and maps of categories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from brainalign.analysis.captions import (
    TextBank,
    caption,
    category_names,
    category_scores,
    region_profiles,
    score_captions,
    word_counts,
)
from brainalign.experiment.context import Context, placed
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_voxels import Bank, Captions
from brainalign.latents import extract, extract_text
from brainalign.latents.base import Latents
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scenes import draw_scenes
from brainalign.scoring.classification import clopper_pearson
from brainalign.scoring.score import Score
from brainalign.splits import split
from brainalign.voxelwise import Ridge

__all__ = ["bank_of", "compute", "named_score", "show", "unit_maps"]


def bank_of(bank: Bank, latents: Latents, context: Context) -> Latents:
    """Embeddings of a bank's pictures, in the space of `latents`."""
    if bank.folder is not None:
        return Latents.open(placed(bank.folder))
    model = str(latents.meta.get("model", latents.space))
    return extract(draw_scenes(bank.scenes or 2, seed=bank.seed), model, cache=context.cache, device="cpu")


def compute(analysis: Captions, context: Context) -> StepResult:
    """Fit, caption, name categories, score on held-out pictures; the same once more with shuffled weights."""
    trials, seed = context.chosen(analysis), context.experiment.seed
    latents = next(iter(context.latents(analysis.latents[0]).values()))
    train, test = split(trials, by="stimulus_id", test_size=analysis.test_size, seed=seed)
    model = Ridge().fit(latents, train)
    fitted = model.score_units(latents, test, n_permutations=analysis.n_permutations, seed=seed)
    reliable = np.nan_to_num(fitted.q, nan=1.0) < 0.05
    bank = bank_of(analysis.bank, latents, context)
    shown = draw_scenes(analysis.texts.scenes or 2, seed=analysis.texts.seed)
    told = {one: shown.caption(one) for one in shown.ids}
    texts = TextBank(extract_text(told, latents.space, cache=context.cache, device="cpu"), told)
    said = caption(model, bank, texts, units=trials, beta=analysis.beta)
    shuffled = np.random.default_rng(seed).permuted(model.coef_.T, axis=1)
    other = caption(shuffled, bank, texts, units=trials, beta=analysis.beta)
    judged = score_captions(said, test, analysis.judge, n_permutations=analysis.n_permutations, seed=seed)
    scores = {"caption score": judged.summary}
    maps = category_scores(said.embeddings, analysis.categories)
    if analysis.planted and "roi" in trials.units:
        planted = trials.units["roi"].map(analysis.planted).to_numpy()
        known = reliable & pd.notna(planted)
        names = list(analysis.categories)
        for label, some in (("named", said), ("named, shuffled weights", other)):
            read = extract_text(dict(enumerate(some.texts)), latents.space, cache=False, device="cpu")
            named = category_names(category_scores(read, analysis.categories))
            scores[label] = named_score(label, named[known], planted[known], len(names), str(fitted.split))
    profiles = region_profiles(said, maps, seed=seed) if "roi" in trials.units else pd.DataFrame()
    facts = {
        "captions": list(said.texts),
        "categories": list(maps.columns),
        "profiles": profiles.to_dict("list"),
        "words": word_counts(said, by="roi" if "roi" in trials.units else None).head(25).to_dict("split"),
        "regions": trials.units["roi"].astype(str).tolist() if "roi" in trials.units else [],
    }
    arrays = {
        "embeddings": said.embeddings.flat(),
        "category_scores": maps.to_numpy(),
        "r": judged.r,
        "q": judged.q,
        "reliable": reliable,
    }
    return StepResult({f"{analysis.name}/{name}": one for name, one in scores.items()}, arrays, facts)


def named_score(label: str, named: np.ndarray, planted: np.ndarray, n_categories: int, split_hash: str) -> Score:
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


def unit_maps(analysis: Captions, result: StepResult, context: Context) -> dict[str, np.ndarray]:
    """Cosine with each category, and how well the caption predicts, per unit."""
    maps = np.asarray(result.arrays["category_scores"])
    named = {f"category_{name}": maps[:, at] for at, name in enumerate(result.facts["categories"])}
    return named | {"caption_r": np.asarray(result.arrays["r"])}


def show(report: Report, analysis: Captions, result: StepResult, context: Context) -> None:
    """Scores, what regions speak for, their commonest words, and captions of the best-predicted voxels."""
    scores = [replace(one) for one in result.scores.values()]
    report.add_figure(plots.score_bars(scores), "Captions on held-out pictures, and the planted category they name.")
    profiles = pd.DataFrame(result.facts["profiles"])
    if len(profiles):
        wide = profiles.pivot(index="region", columns="category", values="score")
        shares = profiles.pivot(index="region", columns="category", values="share")
        report.add_table(wide, "How much more the voxels of a region speak for a category than others do (cosine).")
        report.add_table(shares, "Share of a region's voxels whose best category it is.")
    words = result.facts["words"]
    counts = pd.DataFrame(words["data"], index=words["index"], columns=words["columns"])
    report.add_table(counts, "In how many captions a word stands.")
    table = pd.DataFrame({"caption": result.facts["captions"], "r": np.asarray(result.arrays["r"])})
    if result.facts["regions"]:
        table.insert(0, "region", result.facts["regions"])
        table = table.sort_values("r", ascending=False).groupby("region", sort=False).head(3)
    report.add_table(table.head(40).set_index(table.columns[0]), "Captions that predict best, by region.")
