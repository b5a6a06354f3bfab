"""The report of captions: scores, what regions speak for, words and categories on the brain, parts and pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_voxels import Captions
from brainalign.experiment.steps.maps import show_on_brain
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.tables import frame_from_json

__all__ = ["show", "tables", "unit_maps"]

_GRIDS = {
    "regions": "Pictures of the bank that each region is predicted to like best.",
    "clusters": "Pictures of the bank nearest to what each cluster of voxels likes.",
    "parts": "Pictures of the bank nearest to what each part of a region likes.",
}


def tables(analysis: Captions, result: StepResult, context: Context) -> dict[str, pd.DataFrame]:
    """Every table of the analysis, as files of the run: units, profiles, words, clusters, parts, differences."""
    names = {"table": "units", "profiles": "regions", "words": "words"}
    names |= {name: name for name in ("clusters", "parts", "differences")}
    return {file: frame_from_json(result.facts[name]) for name, file in names.items() if name in result.facts}


def unit_maps(analysis: Captions, result: StepResult, context: Context) -> dict[str, np.ndarray]:
    """Cosine with each category, whether a word is said, how well the caption predicts, and clusters, per unit."""
    arrays = result.arrays
    named = {"caption_r": np.asarray(arrays["r"])}
    for at, name in enumerate(result.facts["categories"]):
        named[f"category_{name}"] = np.asarray(arrays["category_scores"])[:, at]
    for at, word in enumerate(result.facts["mapped"]):
        named[f"word_{word}"] = np.asarray(arrays[f"word_{at}"], dtype=float)
    if "cluster" in arrays:
        named["cluster"] = np.asarray(arrays["cluster"]) + 1.0
    regions = context.chosen(analysis).units.get("roi")
    for at, region in enumerate(analysis.subdivide):
        values = np.full(len(named["caption_r"]), np.nan)
        values[(regions == region).to_numpy()] = np.asarray(arrays[f"part_{at}"]) + 1.0
        named[f"parts_{region}"] = values
    return named


def show(report: Report, analysis: Captions, result: StepResult, context: Context) -> None:
    """Scores, what regions speak for, their commonest words, maps, and captions of the best-predicted voxels."""
    found = tables(analysis, result, context)
    named = {name.partition("/")[2]: one for name, one in result.scores.items() if "parts of" not in name}
    scores = [replace(one, name=name) for name, one in named.items()]
    if any(one.value is not None for one in scores):
        report.add_figure(
            plots.score_bars(scores), "Captions on held-out pictures, and the planted category they name."
        )
    if "regions" in found:
        profiles = found["regions"]
        wide = profiles.pivot(index="region", columns="category", values="score")
        shares = profiles.pivot(index="region", columns="category", values="share")
        report.add_table(wide, "How much more the voxels of a region speak for a category than others do (cosine).")
        report.add_table(shares, "Share of a region's voxels whose best category it is.")
    report.add_table(found["words"].set_index("word"), "In how many captions a word stands.")
    _captions(report, found["units"])
    _besides(report, found)
    for kind, names in result.facts["grids"].items():
        rows = [(name, list(np.asarray(result.arrays[f"grid_{kind}_{at}"]))) for at, name in enumerate(names)]
        report.add_image_grid(rows, _GRIDS[kind])
    _maps(report, analysis, result, context)


def _captions(report: Report, units: pd.DataFrame) -> None:
    shown = [name for name in ("roi", "caption", "keywords", "category", "r", "predicted_r") if name in units]
    by = "r" if units["r"].notna().any() else "predicted_r"
    table = units[shown].rename(columns={"roi": "region"}).sort_values(by, ascending=False)
    if "region" in table:
        table = table.groupby("region", sort=False).head(3)
    report.add_table(table.head(40).set_index(table.columns[0]), "Captions that predict best, by region.")


def _besides(report: Report, found: dict[str, pd.DataFrame]) -> None:
    if "clusters" in found:
        report.add_table(found["clusters"].set_index("cluster"), "Voxels that like the same, clustered.")
    if "parts" in found:
        report.add_table(
            found["parts"].set_index("region"),
            "Parts of regions, found in each half of the training stimuli. Stability: adjusted Rand index of the two "
            "partings. Separation: spread of one half that the other half's parts explain. A region whose voxels "
            "differ gradually passes both tests too.",
        )
    if "differences" in found:
        report.add_table(
            found["differences"].set_index("compared"),
            "What the pictures that the first region likes best have more of than those of the second: p from "
            "exchanging pictures between them. Pictures of one model share its errors.",
        )


def _maps(report: Report, analysis: Captions, result: StepResult, context: Context) -> None:
    """Categories as voxels speak for them more than for others, words said, clusters and parts, on the brain."""
    trials, maps = context.chosen(analysis), unit_maps(analysis, result, context)
    names = [f"category_{one}" for one in result.facts["categories"]]
    if names:
        values = np.stack([maps[name] for name in names], axis=1)
        values = values - values.mean(axis=0)
        values = values - values.mean(axis=1, keepdims=True)
        for at, name in enumerate(result.facts["categories"]):
            caption = f"How much more voxels speak for “{name}” than for other categories (cosine)."
            show_on_brain(report, trials, values[:, at], caption, label=str(name), view=False)
    for name, one in maps.items():
        if name.startswith("word_"):
            caption = f"Voxels whose caption says “{name[5:]}”."
        elif name == "cluster":
            caption = "Clusters of voxels that like the same, numbered from 1."
        elif name.startswith("parts_"):
            caption = f"Parts of {name[6:]}, numbered from 1."
        else:
            continue
        if np.nan_to_num(one).any():
            show_on_brain(report, trials, one, caption, label=name.replace("_", " "), view=False)
