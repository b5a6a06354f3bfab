"""RDMs of regions and of models, joined by the labels of their conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.analysis import rsa
from brainalign.errors import DataError, unknown
from brainalign.experiment.context import Context
from brainalign.experiment.models import condensed
from brainalign.experiment.schema_rsa import Rsa, _Geometry
from brainalign.loaders.datasets.images92 import SubjectRdms
from brainalign.trials import Trials

__all__ = ["Geometries", "layers_of", "model_rdms", "region_rdms"]


@dataclass(frozen=True)
class Geometries:
    """RDMs (n_subjects, n_pairs), or (n_subjects, n_windows, n_pairs) over time, by region, of the same conditions."""

    regions: dict[str, np.ndarray]
    conditions: tuple[str, ...]
    subjects: tuple[str, ...]
    times: np.ndarray | None = None


def region_rdms(analysis: _Geometry, context: Context) -> Geometries:
    """RDMs of every region and subject, as the analysis asks for them.

    Raises
    ------
    DataError
        When regions, conditions or groups are not there, or differ between subjects.
    """
    if isinstance(context.source, SubjectRdms):
        return _given(analysis, context.source)
    people = {name: trials.select(analysis.trials, units=analysis.units) for name, trials in context.people.items()}
    if len(people) > 1 and context.experiment.dataset.subjects is None:
        raise DataError("rsa of responses takes one subject", fix="name dataset.subject, or several dataset.subjects")
    first = next(iter(people.values()))
    conditions, names = _conditions(first, analysis.labels), _regions(first, analysis)
    rdms: dict[str, list[np.ndarray]] = {name: [] for name in names}
    times = None
    for who, trials in people.items():
        if _conditions(trials, analysis.labels) != conditions:
            only = sorted(set(_conditions(trials, analysis.labels)) ^ set(conditions))
            raise DataError(f"subject {who} has other conditions than the first", expected="the same", found=only[:5])
        for name in names:
            made, times = _rdm(_part(trials, name, who), analysis)
            rdms[name].append(made)
    return Geometries({name: np.stack(some) for name, some in rdms.items()}, conditions, tuple(people), times)


def _given(analysis: _Geometry, source: SubjectRdms) -> Geometries:
    # What would be ignored in silence is refused.
    touched = [one for one in ("trials", "units", "noise", "window") if getattr(analysis, one, None) is not None]
    if touched or analysis.labels != "stimulus_id" or analysis.metric != "correlation":
        raise DataError(
            "this data set comes as RDMs: how they are made cannot be chosen",
            found=touched or f"metric {analysis.metric}, labels {analysis.labels}",
            fix="leave metric, labels, noise, window, trials and units out",
        )
    for name in analysis.regions or ():
        if name not in source.rdms:
            raise unknown("region", name, source.rdms)
    regions = {name: source.rdms[name] for name in analysis.regions or source.rdms}
    n_subjects = len(next(iter(regions.values())))
    return Geometries(regions, tuple(source.stimulus_ids), tuple(str(one + 1) for one in range(n_subjects)))


def _conditions(trials: Trials, labels: str) -> tuple[str, ...]:
    if labels not in trials.trials:
        raise unknown("column of the trials", labels, trials.trials.columns)
    found = tuple(str(one) for one in np.unique(trials.trials[labels].astype(str)))
    if len(found) < 3:
        raise DataError(f"'{labels}' leaves no geometry", expected="3 or more conditions", found=list(found))
    return found


def _region_column(trials: Trials) -> str | None:
    return next((name for name in ("roi", "region") if name in trials.units), None)


def _regions(trials: Trials, analysis: _Geometry) -> list[str]:
    column = _region_column(trials)
    if column is None and analysis.regions:
        raise DataError("these units have no regions", expected="a column roi or region", found=list(trials.units))
    known = ["all units"] if column is None else list(dict.fromkeys(trials.units[column].astype(str)))
    for name in analysis.regions or ():
        if name not in known:
            raise unknown("region", name, known)
    return list(analysis.regions or known)


def _part(trials: Trials, region: str, who: str) -> Trials:
    column = _region_column(trials)
    if column is None:
        return trials
    inside = (trials.units[column].astype(str) == region).to_numpy()
    if not inside.any():
        raise DataError(f"subject {who} has no unit in {region}", fix="name the regions that all have")
    return trials.select(units=inside)


def _rdm(trials: Trials, analysis: _Geometry) -> tuple[np.ndarray, np.ndarray | None]:
    labels = trials.trials[analysis.labels].astype(str).to_numpy()
    options: dict[str, Any] = {"metric": analysis.metric, "labels": labels}
    if analysis.metric in ("crossnobis", "poisson_cv"):
        if analysis.groups not in trials.trials:
            raise unknown("column of the trials", analysis.groups, trials.trials.columns)
        options["groups"] = trials.trials[analysis.groups].to_numpy()
    window = getattr(analysis, "window", None)
    if window is None:
        X = trials.matrix().astype(np.float64)
        if analysis.noise is not None and analysis.metric == "crossnobis":
            distances = rsa.whitened_crossnobis(X, labels=labels, groups=options["groups"], shrinkage=analysis.noise)
            return distances, None
        if analysis.noise is not None:
            residuals, n_parameters = rsa.condition_residuals(X, labels)
            options["noise_precision"] = rsa.noise_precision(
                residuals, shrinkage=analysis.noise, n_parameters=n_parameters
            )
        return rsa.rdm(X, **options), None
    if trials.times is None:
        raise DataError("a window moves over time", expected="time-resolved responses", found=trials.shape)
    if analysis.noise is not None:
        raise DataError("noise over time is not estimated here", fix="rsa.rdm_movie takes one matrix per window")
    return rsa.rdm_movie(
        trials.responses.astype(np.float64),
        times=trials.times,
        window=window,
        step=getattr(analysis, "step", None),
        **options,
    )


def layers_of(analysis: Rsa, context: Context, conditions: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """RDM of every layer, by entry of the latents and by label."""
    if analysis.latents and analysis.labels != "stimulus_id":
        raise DataError("latents are joined by stimulus", expected="labels: stimulus_id", found=analysis.labels)
    found = {}
    for name in analysis.latents:
        found[name] = {
            label: rsa.rdm(latents.select(list(conditions)).flat().astype(np.float64), metric=analysis.model_metric)
            for label, latents in context.latents(name).items()
        }
    return found


def model_rdms(analysis: Rsa, context: Context, conditions: tuple[str, ...]) -> dict[str, np.ndarray]:
    """RDM of every model that is no network, joined by label."""
    return {name: condensed(context.model_table(name), conditions, name) for name in analysis.models}
