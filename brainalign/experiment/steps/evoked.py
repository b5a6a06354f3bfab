"""Mean response over time of each channel, tested against its baseline."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Evoked
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.resampling import fdr, permutation_p
from brainalign.scoring.score import Score

__all__ = ["compute", "show"]

_Q = 0.05


def compute(analysis: Evoked, context: Context) -> StepResult:
    """Window minus baseline per trial and channel; p by flipping the sign of whole trials."""
    trials = context.chosen(analysis)
    if trials.times is None:
        raise DataError("evoked needs time-resolved responses", found=trials.shape)
    window, baseline = (
        trials.select(times=span).responses.mean(axis=2) for span in (analysis.window, analysis.baseline)
    )
    change = (window - baseline).astype(np.float64)
    t = _t(change)
    rng = np.random.default_rng(context.experiment.seed)
    signs = rng.choice([-1.0, 1.0], size=(analysis.n_permutations, len(change)))
    null = np.stack([np.abs(_t(change * sign[:, None])) for sign in signs])
    p = permutation_p(np.abs(t), null)
    q = fdr(p)
    share = Score(
        f"{analysis.name}: channels that respond",
        float((q < _Q).mean()),
        ceiling=None,
        chance=None,
        low=None,
        high=None,
        n=len(change),
        split=None,
        protocol=f"window {analysis.window} s against baseline {analysis.baseline} s, q < {_Q}",
        how="share of channels; two-sided sign-flip permutation of trials, FDR over channels",
        why={
            "ceiling": "a share of channels has none",
            "chance": f"FDR bounds the share of false ones among those found at {_Q}",
            "low": "channels of one recording are not independent draws",
            "high": "channels of one recording are not independent draws",
            "split": "nothing is fitted",
        },
    )
    mean = trials.responses.mean(axis=0)
    error = trials.responses.std(axis=0, ddof=1) / np.sqrt(len(trials))
    return StepResult({f"{analysis.name}/responding": share}, {"mean": mean, "error": error, "t": t, "p": p, "q": q})


def _t(change: np.ndarray) -> np.ndarray:
    """One-sample t of each column; 0 where nothing varies."""
    spread = change.std(axis=0, ddof=1) / np.sqrt(len(change))
    return np.divide(change.mean(axis=0), spread, out=np.zeros(change.shape[1]), where=spread > 0)


def show(report: Report, analysis: Evoked, result: StepResult, context: Context) -> None:
    """All channels over time, the strongest ones with their error, and the table."""
    trials = context.chosen(analysis)
    names, times = trials.units["name"].tolist(), np.asarray(trials.times)
    mean, error, t = (np.asarray(result.arrays[name]) for name in ("mean", "error", "t"))
    inside = (times >= analysis.baseline[0]) & (times <= analysis.baseline[1])
    scaled = (mean - mean[:, inside].mean(axis=1, keepdims=True)) / mean[:, inside].std(axis=1, keepdims=True)
    figure = plots.channel_map(scaled, times, names=names, label="baseline SD")
    report.add_figure(figure, f"Mean of {len(trials)} trials, each channel in units of its baseline.")
    strongest = np.argsort(-np.abs(t))[:4]
    curves = {names[row]: mean[row] for row in strongest}
    bands = {names[row]: (mean[row] - 1.96 * error[row], mean[row] + 1.96 * error[row]) for row in strongest}
    figure = plots.time_course(times, curves, interval=bands, label="response")
    report.add_figure(figure, "The channels that change most, mean with 95 % interval over trials.")
    table = pd.DataFrame({"channel": names, "t": t, "p": result.arrays["p"], "q": result.arrays["q"]})
    for column in ("type", "region"):
        if column in trials.units:
            table.insert(1, column, trials.units[column].tolist())
    report.add_table(table.sort_values("p").head(20), "Window against baseline, the 20 channels with the smallest p.")
