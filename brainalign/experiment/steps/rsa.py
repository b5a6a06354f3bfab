"""Geometries of regions, in one subject or many, beside those of network layers and other models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis import rsa
from brainalign.analysis.rsa.contrasts import adjust
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.geometries import Geometries, layers_of, model_rdms, region_rdms
from brainalign.experiment.schema import Rsa
from brainalign.experiment.steps.rsa_report import show
from brainalign.scoring.score import Score

__all__ = ["compute", "show"]

_MAX_PAIR_SCORES = 6
"""With more models than this, differences of pairs stand in the report only."""


def compute(analysis: Rsa, context: Context) -> StepResult:
    """Compare RDMs of regions with those of models: intervals, noise ceilings, tests corrected for their number."""
    geometries = region_rdms(analysis, context)
    layers = layers_of(analysis, context, geometries.conditions)
    given = model_rdms(analysis, context, geometries.conditions)
    fixed = given | {label: d for some in layers.values() for label, d in some.items()}
    facts: dict[str, Any] = {
        "regions": list(geometries.regions),
        "conditions": list(geometries.conditions),
        "subjects": list(geometries.subjects),
        "labels": list(fixed),
        "group_of": {label: name for name, some in layers.items() for label in some},
        "results": {},
    }
    arrays = {"models": np.stack(list(fixed.values()))}
    if geometries.times is not None:
        return _over_time(analysis, context, geometries, fixed, StepResult({}, arrays, facts))
    models = fixed if analysis.fit is None else given | _flexible(analysis, layers)
    scores: dict[str, Score] = {}
    for number, (region, rdms) in enumerate(geometries.regions.items()):
        result = _evaluate(analysis, context, rdms, models)
        for label, score in result.scores.items():
            scores[f"{analysis.name}/{region}/{label}"] = replace(score, name=f"RSA {region}, {label}")
        scores |= _differences(analysis, region, result)
        facts["results"][region] = _tables(analysis, result)
        arrays[f"rdm_{number}"], arrays[f"subjects_{number}"] = rdms, result.subject_scores
    return StepResult(scores, arrays, facts)


def _flexible(analysis: Rsa, layers: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """One model per network, its layers to be chosen from or mixed; a single layer stays as it is."""
    stacked = {name: np.stack(list(some.values())) for name, some in layers.items()}
    return {name: (analysis.fit, some) if len(some) > 1 else some[0] for name, some in stacked.items()}


def _evaluate(analysis: Rsa, context: Context, rdms: np.ndarray, models: dict[str, Any]) -> rsa.RSAResult:
    seed = context.experiment.seed
    if analysis.fit is not None:
        folds = rsa.Folds(stimuli=analysis.folds)
        return rsa.evaluate_fitted(
            rdms, models, method=analysis.method, folds=folds, n_draws=analysis.n_draws, seed=seed
        )
    bootstrap: str | None = analysis.bootstrap
    if bootstrap == "auto":
        bootstrap = "both" if len(rdms) > 1 else "stimuli"
    if bootstrap == "none" or not analysis.n_draws:
        bootstrap = None
    return rsa.evaluate(rdms, models, method=analysis.method, bootstrap=bootstrap, n_draws=analysis.n_draws, seed=seed)


def _tables(analysis: Rsa, result: rsa.RSAResult) -> dict[str, Any]:
    """Every test of one region, as plain rows; p-values are corrected over models, and over pairs."""
    tests, how = result.tests, None if analysis.correct == "none" else analysis.correct
    test = tests.p_t if analysis.test == "t" else tests.p_bootstrap
    p_zero, p_ceiling = test(tests.against_zero()), test(tests.against_ceiling())
    table = pd.DataFrame(
        {
            "model": list(result.scores),
            "value": [score.value for score in result.scores.values()],
            "low": [score.low for score in result.scores.values()],
            "high": [score.high for score in result.scores.values()],
            "p_zero": p_zero,
            "q_zero": adjust(p_zero, how=how),
            "p_ceiling": p_ceiling,
            "q_ceiling": adjust(p_ceiling, how=how),
        }
    )
    pairs = result.pairs(test=analysis.test, correct=how)
    return {"models": _rows(table), "pairs": _rows(pairs), "ceiling": [_plain(one) for one in result.ceiling]}


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict(orient="records")]


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return value if isinstance(value, str) else None if value is None or np.isnan(value) else float(value)


def _differences(analysis: Rsa, region: str, result: rsa.RSAResult) -> dict[str, Score]:
    """What a model has more than another, with its interval; for few models only."""
    names, tests = list(result.scores), result.tests
    if not 2 <= len(names) <= _MAX_PAIR_SCORES:
        return {}
    found = {}
    first, second = np.triu_indices(len(names), 1)
    one_by_one = tests.against_zero()
    contrasts = one_by_one[first] - one_by_one[second]
    values, widths = contrasts @ np.nan_to_num(tests.values), tests.half_width(contrasts=contrasts)
    for a, b, value, width in zip(first, second, values, widths):
        score = result.scores[names[a]]
        key = f"{analysis.name}/{region}/{names[a]} - {names[b]}"
        found[key] = replace(
            score,
            name=f"RSA {region}, {names[a]} less {names[b]}",
            value=value,
            low=value - width,
            high=value + width,
            ceiling=None,
            why={**score.why, "ceiling": "a difference has none"},
        )
    return found


def _over_time(
    analysis: Rsa, context: Context, geometries: Geometries, models: dict[str, np.ndarray], made: StepResult
) -> StepResult:
    """The same in every window; one headline number per model chooses no window by looking at the result."""
    times = np.asarray(geometries.times)
    made.arrays["times"] = times
    after = times > 0 if (times > 0).any() else np.ones(len(times), dtype=bool)
    for number, (region, movie) in enumerate(geometries.regions.items()):
        results = [_evaluate(analysis, context, movie[:, at], models) for at in range(len(times))]
        for field in ("value", "low", "high"):
            table = [[getattr(score, field) for score in one.scores.values()] for one in results]
            made.arrays[f"{field}_{number}"] = np.array(table, dtype=np.float64)
        made.arrays[f"ceiling_{number}"] = np.array([one.ceiling for one in results])
        made.arrays[f"rdm_{number}"] = movie.mean(axis=1)
        for column, (label, score) in enumerate(results[0].scores.items()):
            reason = "intervals are pointwise: see the time course"
            made.scores[f"{analysis.name}/{region}/{label}"] = replace(
                score,
                name=f"RSA {region}, {label}, mean after onset",
                value=float(made.arrays[f"value_{number}"][after, column].mean()),
                low=None,
                high=None,
                ceiling=None,
                how=f"mean of {int(after.sum())} windows after onset",
                why={**score.why, "low": reason, "high": reason, "ceiling": "given per window: see the time course"},
            )
    return made
