"""The scores and pictures of one decoder as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from brainalign.errors import DataError
from brainalign.experiment.decoding import RECIPE, Recipe
from brainalign.reconstruction.table import ReconstructionTable
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.score import Score

__all__ = ["report_scores"]

_N_SHOWN = 12


def report_scores(
    folder: str | PathLike[str], scores: Mapping[str, Score], table: ReconstructionTable | None = None
) -> Path:
    """Write ``report.html`` into the folder of a run.

    Parameters
    ----------
    folder : path-like
        Of `brainalign.experiment.decoding.fit_run`.
    scores, table
        What `brainalign.experiment.decoding.score_run` returned.

    Raises
    ------
    DataError
        When there is no run here, or nothing was scored.
    """
    folder = Path(folder)
    recipe = Recipe.read(folder)
    if not scores:
        raise DataError("there is nothing to report", path=folder, expected="scores", fix="brainalign score RUN")
    facts = {"recording": recipe.data, "encoder": recipe.encoder, "latents": ", ".join(recipe.latents.values())}
    report = Report(f"{recipe.encoder} on {recipe.data}", facts=facts)
    rows = () if table is None else tuple(table.rows)
    of_latents = {name: one for name, one in scores.items() if name.split("/")[0] not in rows}
    report.add_scores(list(of_latents.values()))
    if table is not None:
        _add_pictures(report, folder, table)
    every = [
        {"score": name, **{key: value for key, value in one.to_row().items() if key != "why"}}
        for name, one in scores.items()
    ]
    report.section("All scores").add_table(pd.DataFrame(every), "As in scores.json.")
    report.section("How this was made").add_details("Fit", json.loads((folder / RECIPE).read_text()))
    return report.save(folder / "report.html")


def _add_pictures(report: Report, folder: Path, table: ReconstructionTable) -> None:
    report.section("Pictures")
    missing = " ".join(f"{metric} is missing: {why}." for metric, why in table.missing.items())
    report.add_table(table.frame(), f"Beside the controls ({table.protocol}). {missing}".strip())
    own = [one for (row, _), one in table.scores.items() if row == table.rows[0] and one.chance is not None]
    if own:
        report.add_figure(plots.score_bars(own), "Scores of the reconstructions, 95 % intervals.")
    names = sorted(path.name for path in (folder / "pictures").glob("*.png"))[:_N_SHOWN]
    grid: list[tuple[str, list[Any]]] = []
    for row, place in [("reconstruction", folder / "pictures"), *_controls(folder)]:
        grid.append((row, [_picture(place / name) for name in names]))
    report.add_image_grid(grid, "What was made of the responses to each held-out picture, and of the controls.")


def _controls(folder: Path) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in sorted((folder / "controls").glob("*")) if path.is_dir()]


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
