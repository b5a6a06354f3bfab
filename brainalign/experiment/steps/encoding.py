"""Latents to brain: which layer explains each unit and region, by how much, and whether that is above chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Encoding, _Delayed
from brainalign.latents.base import Latents
from brainalign.scoring.ceilings import correlation_ceiling
from brainalign.scoring.correlation import mean_over_targets
from brainalign.scoring.resampling import fdr
from brainalign.scoring.score import Score
from brainalign.splits import split_hash
from brainalign.trials import Trials
from brainalign.voxelwise.delays import Delayer
from brainalign.voxelwise.many import encode_many
from brainalign.voxelwise.preference import LayerComparison, RegionComparison, compare_layers
from brainalign.voxelwise.scores import UnitScores

__all__ = ["LEVEL", "compute", "delayed", "protocol_of", "show", "unit_maps"]

LEVEL = 0.05
"""False discovery rate, over all units and layers together, under which a unit counts as explained."""

_MEASURES = ("r", "r2", "r_normalised", "p")


def compute(analysis: Encoding, context: Context) -> StepResult:
    """Out-of-fold predictions of every unit from every layer, scored by unit, compared by unit and by region."""
    trials = context.chosen(analysis)
    division = context.folds(trials, analysis)
    spaces = {
        label: delayed(latents, trials, analysis)
        for name in analysis.latents
        for label, latents in context.latents(name).items()
    }
    seed, n_jobs = context.experiment.seed, context.experiment.n_jobs
    made = encode_many({"": trials}, spaces, cv={"": division}, seed=seed, n_jobs=n_jobs)
    scored = made.scores(n_permutations=analysis.n_permutations, chunk=analysis.block, seed=seed, n_jobs=n_jobs)
    layers = [scored["", label] for label in spaces]
    n_stimuli = layers[0].n_stimuli
    compared = compare_layers(
        layers[0].measured,
        [one.predicted for one in layers],
        regions=np.repeat(regions_of(trials), layers[0].r[0].size),
        blocks=None if analysis.block == 1 else np.arange(n_stimuli) // analysis.block,
        n_draws=analysis.n_draws,
        seed=seed,
    )
    arrays = {name: np.stack([getattr(one, name).ravel() for one in layers]) for name in _MEASURES}
    arrays["q"] = fdr(arrays["p"])
    arrays |= {name: getattr(compared, name) for name in ("best", "margin", "low", "high", "stability")}
    arrays |= {"preferred": compared.preferred(arrays["q"] < LEVEL), "ceiling": layers[0].ceiling.ravel()}
    told = _Told(list(spaces), analysis, split_hash(division), protocol_of(analysis), layers[0])
    facts = {"labels": told.labels, "regions": {name: _plain(one) for name, one in compared.regions.items()}}
    return StepResult(_scores(compared, arrays, told), arrays, facts)


def delayed(latents: Latents, trials: Trials, analysis: _Delayed) -> Latents:
    """Latents at the analysis' delays within runs; the rows of `trials` stand in the order of time."""
    if analysis.delays == [0]:
        return latents
    ordered = latents.select(trials.stimulus_ids)
    runs = trials.trials["session"].astype(str) + "/" + trials.trials["run"].astype(str)
    return Delayer(analysis.delays, by=runs.to_numpy()).fit_transform(ordered)


def regions_of(trials: Trials) -> np.ndarray:
    """Region of each unit; all are one where none is told."""
    told = (name for name in ("roi", "region") if name in trials.units and (trials.units[name] != "n/a").any())
    column = next(told, None)
    return trials.units[column].astype(str).to_numpy() if column else np.full(trials.n_units, "all units")


def protocol_of(analysis: _Delayed) -> str:
    """How train and test were formed, in words."""
    n_folds = "leave-one-out" if analysis.n_splits is None else str(analysis.n_splits)
    if analysis.by == "contiguous":
        return f"{n_folds} contiguous folds, {analysis.gap} rows between train and test"
    return f"{n_folds} folds by {analysis.by}, repetitions averaged"


class _Told:
    """What every score of the analysis says beside its value."""

    def __init__(self, labels: list[str], analysis: Encoding, split: str, protocol: str, units: UnitScores) -> None:
        self.labels, self.analysis, self.units = labels, analysis, units
        self.common: dict[str, Any] = {"n": units.n_stimuli, "split": split, "protocol": protocol}
        drawn = "stimuli" if analysis.block == 1 else f"blocks of {analysis.block} rows"
        self.bootstrap = f"percentile bootstrap over {drawn}, {analysis.n_draws} draws, folds kept"

    def score(self, name: str, value: float, **fields: Any) -> Score:
        """One score; a field that is not given needs its reason in ``why``."""
        given = {"ceiling": None, "chance": 0.0, "low": None, "high": None, **self.common, **fields}
        return Score(name, value, **given)


def _scores(compared: LayerComparison, arrays: dict[str, np.ndarray], told: _Told) -> dict[str, Score]:
    """By region: every layer, the best one first; how far it leads; and how many units any layer explains."""
    inside = np.repeat(regions_of_units(told.units), told.units.r[0].size)
    first: dict[str, Score] = {}
    rest: dict[str, Score] = {}
    for region, found in compared.regions.items():
        here = inside == region
        ceiling, why = mean_over_targets(correlation_ceiling(arrays["ceiling"][here]))[0], told.units.why
        for number, label in enumerate(told.labels):
            score = told.score(
                f"mean r, {region}, {label}",
                found.r[number],
                low=found.low[number],
                high=found.high[number],
                ceiling=ceiling,
                how=f"Pearson r within folds, mean of {found.n_units} units; {told.bootstrap}",
                why={"ceiling": why.get("ceiling", "no unit has a ceiling")},
            )
            (first if number == found.best else rest)[f"{told.analysis.name}/{region}/{label}"] = score
        if len(told.labels) > 1:
            rest[f"{told.analysis.name}/{region}/lead"] = _lead(region, found, told)
        share = np.isin(arrays["preferred"][here], range(len(told.labels))).mean()
        rest[f"{told.analysis.name}/{region}/explained"] = told.score(
            f"share of units explained, {region}",
            share,
            how=f"q < {LEVEL} for some layer; {told.analysis.n_permutations} or more shuffles, false discovery rate "
            "over units and layers",
            why=dict.fromkeys(("low", "high", "ceiling"), "a count of tests"),
        )
    return first | rest


def regions_of_units(units: UnitScores) -> np.ndarray:
    """Region of each scored unit."""
    return regions_of(units.trials)


def _lead(region: str, found: RegionComparison, told: _Told) -> Score:
    best, second = (told.labels[number] for number in (found.best, found.second))
    value, low, high = found.difference
    return told.score(
        f"mean r, {region}, {best} less {second}",
        value,
        low=low,
        high=high,
        how=f"the two best layers on the same draws, two-sided p = {found.p:.3g}; {told.bootstrap}",
        why={"ceiling": "a difference has no ceiling"},
    )


def _plain(found: RegionComparison) -> dict[str, Any]:
    """A region's comparison as plain data for the report."""
    return {
        "best": found.best,
        "second": found.second,
        "difference": list(found.difference),
        "p": found.p,
        "n_units": found.n_units,
    }


def unit_maps(analysis: Encoding, result: StepResult, context: Context) -> dict[str, np.ndarray]:
    """One value per unit for files: r of each layer, the best r, the layer preferred (1, 2, ...; 0 for none)."""
    n_units = context.chosen(analysis).n_units
    labels, r = result.facts["labels"], np.asarray(result.arrays["r"])
    each = r.reshape(len(labels), n_units, -1)
    means = np.array([[mean_over_targets(unit)[0] for unit in layer] for layer in each])
    found = {f"r_{label}": values for label, values in zip(labels, means, strict=True)}
    found["best_r"] = np.where(np.isnan(means).all(axis=0), np.nan, np.where(np.isnan(means), -1, means).max(axis=0))
    if each.shape[2] == 1:
        found["preferred_layer"] = np.asarray(result.arrays["preferred"]) + 1.0
        found["margin"] = np.asarray(result.arrays["margin"])
        found["q"] = np.nanmin(np.where(np.isnan(result.arrays["q"]), 1.0, result.arrays["q"]), axis=0)
    return found


def show(report: Any, analysis: Encoding, result: StepResult, context: Context) -> None:
    """Layers by region, their preference, maps and the spread of units."""
    from brainalign.experiment.steps import encoding_report

    encoding_report.show(report, analysis, result, context, table=unit_table(analysis, result, context))


def unit_table(analysis: Encoding, result: StepResult, context: Context) -> pd.DataFrame:
    """One row a unit (and time): region, best layer with its r, R², q, lead over the next and how often it led."""
    trials, labels = context.chosen(analysis), result.facts["labels"]
    arrays = {name: np.asarray(values) for name, values in result.arrays.items()}
    n_times = 1 if trials.times is None else len(trials.times)
    best, each = arrays["best"], np.arange(len(arrays["best"]))
    named = np.array([*labels, None], dtype=object)
    table = pd.DataFrame(
        {
            "unit": np.repeat(trials.units["name"].to_numpy(), n_times),
            "region": np.repeat(regions_of(trials), n_times),
            "best layer": named[best],
            **{
                name: np.where(best >= 0, arrays[name][best, each], np.nan) for name in ("r", "r2", "r_normalised", "q")
            },
            "lead": arrays["margin"],
            "lead low": arrays["low"],
            "lead high": arrays["high"],
            "led in draws": arrays["stability"],
            "preferred layer": named[arrays["preferred"]],
            "ceiling": correlation_ceiling(arrays["ceiling"]),
        }
    )
    return table if trials.times is None else table.assign(time=np.tile(trials.times, trials.n_units))
