"""Several feature spaces in one model: how the explained variance of each region divides between them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Variance
from brainalign.experiment.steps.encoding import delayed, protocol_of, regions_of
from brainalign.experiment.steps.maps import show_on_brain
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.score import Score
from brainalign.splits import split_hash
from brainalign.voxelwise.banded import BandedRidge
from brainalign.voxelwise.held_out_bands import predict_bands, shares_by_region
from brainalign.voxelwise.preference import block_weights

__all__ = ["compute", "show", "unit_maps"]

_TOGETHER = "together"


def compute(analysis: Variance, context: Context) -> StepResult:
    """Banded ridge on all feature spaces at once, and the product measure of each, out of fold."""
    trials, seed = context.chosen(analysis), context.experiment.seed
    division = context.folds(trials, analysis)
    bands = {
        label: delayed(latents, trials, analysis)
        for name in analysis.latents
        for label, latents in context.latents(name).items()
    }
    model = BandedRidge(n_iter=analysis.n_candidates, seed=seed)
    parts = predict_bands(trials, bands, division, model=model, n_jobs=context.experiment.n_jobs)
    measured = trials.average("stimulus_id").matrix()
    n_stimuli, n_times = len(measured), measured.shape[1] // trials.n_units
    blocks = None if analysis.block == 1 else np.arange(n_stimuli) // analysis.block
    weights = block_weights(blocks, n_stimuli, n_draws=analysis.n_draws, seed=seed)
    by_unit, by_region = shares_by_region(measured, parts, np.repeat(regions_of(trials), n_times), weights=weights)
    scores = {}
    for region, found in by_region.items():
        for number, label in enumerate([_TOGETHER, *bands], start=-1):
            what = "R²" if label == _TOGETHER else "share of R²"
            scores[f"{analysis.name}/{region}/{label}"] = Score(
                f"{what}, {region}, {label}",
                found.values[number],
                ceiling=None,
                chance=0.0,
                low=found.low[number],
                high=found.high[number],
                n=n_stimuli,
                split=split_hash(division),
                protocol=protocol_of(analysis),
                how=f"banded ridge on {len(bands)} feature spaces, product measure, mean of {found.n_units} units; "
                f"percentile bootstrap over blocks of {analysis.block}, {analysis.n_draws} draws",
                why={"ceiling": "shares have no ceiling of their own"},
            )
    return StepResult(scores, {"shares": by_unit}, {"labels": list(bands), "regions": list(by_region)})


def unit_maps(analysis: Variance, result: StepResult, context: Context) -> dict[str, np.ndarray]:
    """Share of each band per unit, and R² of all together; mean over times where there are any."""
    n_units = context.chosen(analysis).n_units
    shares = np.asarray(result.arrays["shares"])
    shares = shares.reshape(len(shares), n_units, -1).mean(axis=2)
    named = {f"share_{label}": one for label, one in zip(result.facts["labels"], shares, strict=True)}
    return named | {"r2": shares.sum(axis=0)}


def show(report: Report, analysis: Variance, result: StepResult, context: Context) -> None:
    """Shares by region, and the R² of all together on the brain."""
    rows = []
    for region in result.facts["regions"]:
        for label in [*result.facts["labels"], _TOGETHER]:
            score = result.scores[f"{analysis.name}/{region}/{label}"]
            row = {"band": label, "region": region, "value": score.value, "low": score.low, "high": score.high}
            rows.append({**row, "chance": 0.0})
    table = pd.DataFrame(rows)
    report.add_figure(
        plots.score_by_group(table, x="band", series="region", label="R²"),
        "What each feature space adds to the variance explained by one model of all of them (product measure; the "
        "shares sum to that of all together), mean of units, 95 % intervals. What two spaces could both explain goes "
        "to the one that the model relies on.",
    )
    report.add_table(table.drop(columns="chance"), "The same in figures.")
    values = unit_maps(analysis, result, context)["r2"]
    show_on_brain(report, context.chosen(analysis), values, "R² of all feature spaces together, per unit.", label="R²")
