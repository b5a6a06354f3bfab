"""Which moment of the story was it? Segments of each person among those of the others, through a shared space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from brainalign.analysis.shared_space import CorrelatedComponents
from brainalign.errors import DataError
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_people import Segments
from brainalign.parallel import spawn_seeds
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score
from brainalign.scoring.segments import segment_matching
from brainalign.splits import Fold, contiguous_folds, split_hash

__all__ = ["compute", "show"]


def compute(analysis: Segments, context: Context) -> StepResult:
    """Match the segments of every stretch in a space fitted without it, and in the units as they are."""
    people = _together(analysis, context)
    division = contiguous_folds(people.shape[1], n_splits=analysis.n_splits, gap=analysis.gap)
    chosen = [_choose(people[:, fold.train], analysis) for fold in division]
    hits, chance = _match(people, division, analysis, chosen)
    raw, _ = _match(people, division, analysis, None)
    shuffled = [
        _match(_random_phases(people, seed), division, analysis, chosen)[0].mean(axis=1)
        for seed in spawn_seeds(context.experiment.seed, analysis.n_shuffles)
    ]
    kinds = {
        "shared space": (hits.mean(axis=1), chance),
        "units as they are": (raw.mean(axis=1), chance),
        "shared less as they are": (hits.mean(axis=1) - raw.mean(axis=1), 0.0),
        "random phases": (np.mean(shuffled, axis=0), chance),
    }
    scores = {
        f"{analysis.name}/{kind}": _score(kind, of_people, at, analysis, division)
        for kind, (of_people, at) in kinds.items()
    }
    arrays = {"hits": hits, "raw": raw, "shuffled": np.array(shuffled)}
    return StepResult(scores, arrays, {"n_components": chosen, "starts": _starts(division, analysis.length).tolist()})


def _together(analysis: Segments, context: Context) -> np.ndarray:
    """Everyone's responses (n_people, n_rows, n_units), refused unless rows and units correspond."""
    chosen = {name: one.select(analysis.trials, units=analysis.units) for name, one in context.people.items()}
    (first, *_) = chosen.values()
    for name, one in chosen.items():
        for what, mine, theirs in (
            ("rows", one.stimulus_ids, first.stimulus_ids),
            ("units", one.units["name"], first.units["name"]),
        ):
            if list(mine) != list(theirs):
                raise DataError(
                    f"the {what} of subject {name} are not those of the first",
                    expected=f"{len(theirs)} in the same order",
                    found=len(mine),
                    fix="bring everyone to the same moments and parcels first",
                )
    return np.stack([one.matrix() for one in chosen.values()]).astype(np.float64)


def _starts(division: Sequence[Fold], length: int) -> np.ndarray:
    """First rows of the segments that lie whole within one test stretch."""
    return np.concatenate([fold.test[: len(fold.test) - length + 1] for fold in division])


def _match(
    people: np.ndarray, division: Sequence[Fold], analysis: Segments, chosen: Sequence[int] | None
) -> tuple[np.ndarray, float]:
    """Hits (n_people, n_segments) and the mean chance; without `chosen` the units are compared as they are."""
    found = []
    for number, fold in enumerate(division):
        starts = _starts([fold], analysis.length)
        courses = people
        if chosen is not None:
            space = CorrelatedComponents(chosen[number], shrinkage=analysis.shrinkage).fit(people[:, fold.train])
            courses = space.transform(people)
        found.append(segment_matching(courses, length=analysis.length, starts=starts))
    return np.concatenate([hits for hits, _ in found], axis=1), float(np.concatenate([at for _, at in found]).mean())


def _choose(train: np.ndarray, analysis: Segments) -> int:
    """The number of components that matches best within the training rows: fitted on one half, tried on the other."""
    if len(analysis.n_components) == 1:
        return analysis.n_components[0]
    halves = contiguous_folds(train.shape[1], n_splits=2, gap=analysis.gap)
    rates = [
        _match(train, halves, analysis, [candidate] * len(halves))[0].mean() for candidate in analysis.n_components
    ]
    return analysis.n_components[int(np.argmax(rates))]


def _random_phases(people: np.ndarray, seed: np.random.SeedSequence) -> np.ndarray:
    """Everyone's recording with random phases of their own: spectra and covariances stay, shared moments do not."""
    rng, n_rows = np.random.default_rng(seed), people.shape[1]
    spectrum = np.fft.rfft(people, axis=1)
    turns = np.exp(2j * np.pi * rng.random((len(people), spectrum.shape[1], 1)))
    turns[:, 0] = 1
    return np.fft.irfft(spectrum * turns, n_rows, axis=1)


def _score(kind: str, of_people: np.ndarray, chance: float, analysis: Segments, division: Sequence[Fold]) -> Score:
    low, high = mean_ci(of_people)
    return Score(
        f"segment matching, {kind}",
        float(of_people.mean()),
        ceiling=None,
        chance=chance,
        low=float(low),
        high=float(high),
        n=len(of_people),
        split=split_hash(list(division)),
        protocol=f"segments of {analysis.length} rows against the mean of the others, all segments apart from it in "
        f"the gallery; {analysis.n_splits} stretches, gap {analysis.gap}",
        how="mean over people; bootstrap over people",
        why={"ceiling": "nobody knows how much of the story's course these units could carry"},
    )


def show(report: Report, analysis: Segments, result: StepResult, context: Context) -> None:
    """Rates with chance, and one row for every person."""
    report.add_figure(
        plots.score_bars(list(result.scores.values())), "Share of segments found, with chance and 95 % intervals."
    )
    hits, raw = (np.asarray(result.arrays[name], dtype=float) for name in ("hits", "raw"))
    table = pd.DataFrame(
        {"person": list(context.people), "shared space": hits.mean(axis=1), "units as they are": raw.mean(axis=1)}
    )
    report.add_table(table, "Share of segments found, by person.")
    components = ", ".join(map(str, result.facts["n_components"]))
    report.add_details("Components chosen within each training stretch", {"n_components": components})
