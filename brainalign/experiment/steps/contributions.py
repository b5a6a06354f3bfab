"""When and where an encoder reads the stimulus: windows of time, parts taken away, and patterns on the head."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.decoding import decode_latents_over_time, haufe_patterns, occlusion
from brainalign.encoders.registry import encoder_class
from brainalign.errors import DataError
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_signals import Contributions
from brainalign.experiment.steps.maps import show_on_head
from brainalign.latents.base import Latents
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.correlation import pearson
from brainalign.scoring.identification import rank_percentiles
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score
from brainalign.splits import split
from brainalign.trials import Trials

__all__ = ["compute", "show"]

_N_MAPS = 5
_CHANCE = 0.5


def compute(analysis: Contributions, context: Context) -> StepResult:
    """Fit on the training stimuli; all that is told is of the others."""
    trials, seed = context.chosen(analysis), context.experiment.seed
    if trials.times is None:
        raise DataError("contributions over time need time-resolved responses", found=trials.shape)
    latents = _one_space(context.latents(analysis.latents[0]), analysis)
    train, test = split(trials, by="stimulus_id", test_size=analysis.test_size, seed=seed)
    order = np.random.default_rng(seed).permutation(len(train))
    mixed = train.with_responses(train.responses[order])
    fresh = encoder_class(analysis.encoder)(**analysis.params)
    moving: dict[str, Any] = {"window": analysis.window, "step": analysis.every, "score": rank_percentiles}
    times, course = decode_latents_over_time(fresh, train, test, latents, **moving)
    control = decode_latents_over_time(fresh, mixed, test, latents, **moving)[1]
    encoder = fresh.fit(train, latents)
    once = test.average("stimulus_id")
    told = _Told(encoder.provenance_.split, analysis, seed)
    scores = {
        "all": told.score("identification from the whole epoch", rank_percentiles(encoder.predict(once), latents))
    }
    starts = times - analysis.window / 2
    for suffix, found in (("", course), (", shuffled", control)):
        for start, each in zip(starts, found, strict=True):
            span = f"{round(start * 1e3)} to {round((start + analysis.window) * 1e3)} ms"
            scores[f"window {span}{suffix}"] = told.score(f"identification from {span}{suffix}", each)
    lost = _losses(encoder, once, latents, analysis=analysis, seed=seed)
    for name, each in lost.pop("regions", {}).items():
        scores[f"without {name}"] = told.loss(name, each)
    patterns, r = _patterns(encoder, train, once, latents, analysis.n_axes)
    bounds = mean_ci(course.T, seed=seed)
    arrays = {
        **{"times": times, "course": course.mean(axis=1), "low": bounds[0], "high": bounds[1]},
        **{"shuffled": control.mean(axis=1), "patterns": patterns, "axis_r": r},
        "lost_channels": np.array([each.mean() for each in lost["channels"].values()]),
        "lost_times": np.array([each.mean() for each in lost["times"].values()]),
        "stretches": np.array([float(name) for name in lost["times"]]),
    }
    return StepResult({f"{analysis.name}/{name}": one for name, one in scores.items()}, arrays)


def _one_space(found: dict[str, Latents], analysis: Contributions) -> Latents:
    if len(found) != 1:
        raise DataError(
            f"'{analysis.name}' reads one latent space", expected="one layer", found=list(found), fix="name one layer"
        )
    return next(iter(found.values()))


def _losses(encoder: Any, test: Trials, latents: Latents, *, analysis: Contributions, seed: int) -> dict[str, Any]:
    """What each stimulus loses without each channel, stretch of time, and region where regions are known."""
    parts = ["channels", "times", *(["regions"] if "region" in test.units else [])]
    wanted: dict[str, Any] = {"window": analysis.window, "mode": analysis.mode, "seed": seed}
    return {by: occlusion(encoder, test, latents, by=by, score=rank_percentiles, **wanted) for by in parts}


def _patterns(
    encoder: Any, train: Trials, test: Trials, latents: Latents, n_axes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Patterns of the predictions along the first axes of the training latents, and how well each is predicted."""
    known = latents.select(list(dict.fromkeys(train.stimulus_ids))).flat().astype(np.float64)
    axes = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)[2][:n_axes]
    ids = list(test.stimulus_ids)
    predicted = encoder.predict(test).select(ids).flat() @ axes.T
    true = latents.select(ids).flat() @ axes.T
    # One axis at a time: its pattern is then the same whatever other axes are asked for.
    made = [haufe_patterns(test, along[:, None])[0] * along.std() for along in predicted.T]
    return np.array(made), pearson(predicted, true)


class _Told:
    """What every score of the analysis says beside its value."""

    def __init__(self, digest: str | None, analysis: Contributions, seed: int) -> None:
        self.seed = seed
        self.common: dict[str, Any] = {
            "split": digest,
            "protocol": f"held-out stimuli, {analysis.encoder}",
            "why": {"ceiling": "depends on the noise of predictions", "split": "no split is known"},
        }
        self.mode = analysis.mode

    def score(self, name: str, each: NDArray[np.float64]) -> Score:
        low, high = (float(end) for end in mean_ci(each, seed=self.seed))
        how = "mean rank percentile of the right stimulus, bootstrap over stimuli"
        return Score(
            name, float(each.mean()), ceiling=None, chance=_CHANCE, low=low, high=high, n=len(each), how=how,
            **self.common,
        )  # fmt: skip

    def loss(self, name: str, each: NDArray[np.float64]) -> Score:
        how = f"identification with all channels less that without {name} ({self.mode}), bootstrap over stimuli"
        low, high = (float(end) for end in mean_ci(each, seed=self.seed))
        return Score(
            f"loss without {name}", float(each.mean()), ceiling=None, chance=0.0, low=low, high=high, n=len(each),
            how=how, **self.common,
        )  # fmt: skip


def show(report: Report, analysis: Contributions, result: StepResult, context: Context) -> None:
    """Identification over time, what is lost without stretches and channels, and the patterns of each axis."""
    trials = context.chosen(analysis)
    made = {name: np.asarray(array) for name, array in result.arrays.items()}
    figure = plots.time_course(
        made["times"],
        {"responses": made["course"], "shuffled": made["shuffled"]},
        interval={"responses": (made["low"], made["high"])},
        chance=_CHANCE,
        label="identification",
    )
    report.add_figure(
        figure,
        f"Identification of held-out stimuli by {analysis.encoder} fitted to windows of {analysis.window * 1e3:.0f} ms "
        "around each time, 95 % intervals over stimuli; shuffled: trained once on responses to other stimuli.",
    )
    figure = plots.time_course(made["stretches"], made["lost_times"], chance=0.0, label="loss")
    report.add_figure(figure, f"What the whole epoch loses without each stretch of time ({analysis.mode}).")
    show_on_head(
        report, trials, made["lost_channels"], f"What is lost without each channel ({analysis.mode}).", label="loss"
    )
    every = np.asarray(trials.times)
    after = np.flatnonzero(every > 0) if (every > 0).any() else np.arange(len(every))
    chosen = after[np.linspace(0, len(after) - 1, _N_MAPS + 2).round().astype(int)[1:-1]]
    for number, (pattern, r) in enumerate(zip(made["patterns"], made["axis_r"], strict=True), start=1):
        show_on_head(
            report,
            trials,
            pattern[:, chosen],
            f"Signals that go with axis {number} of the latents as predicted (Haufe's patterns, per SD of the "
            f"prediction; predicted and true axis correlate at r = {r:.2f}).",
            titles=[f"{every[at] * 1e3:.0f} ms" for at in chosen],
            label="pattern",
        )
    regions = {name: score for name, score in result.scores.items() if name.startswith(f"{analysis.name}/without ")}
    if regions:
        report.add_figure(plots.score_bars(list(regions.values())), "What is lost without each region of channels.")
