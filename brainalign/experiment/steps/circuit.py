"""Which unit follows which: couplings read from a Neuroformer and by plainer ways, beside those planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bernoulli, poisson

from brainalign.analysis.connectivity import coupling_auc, lagged_correlations, poisson_couplings, shifted_apart
from brainalign.encoders.neuroformer import Neuroformer, spike_windows
from brainalign.errors import DataError
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema_spikes import Circuit
from brainalign.report import plots
from brainalign.report.report import Report
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score
from brainalign.tables import frame_from_json, frame_to_json
from brainalign.trials import Trials

__all__ = ["compute", "show"]

WAYS = {
    "attribution": "log-probability lost without the other's past, by the network",
    "attention": "attention over even attention, by the network",
    "glm": "largest coefficient over lags of a Poisson GLM",
    "correlation": "largest lagged correlation",
}
_SHOWN = 40
_BLOCK = 50
"""Consecutive windows that a bootstrap draws together."""


def compute(analysis: Circuit, context: Context) -> StepResult:
    """Read couplings by every way, from the recording and from a copy whose units were shifted apart."""
    trials, seed = context.chosen(analysis), context.experiment.seed
    if "coupling" not in trials.info:
        raise DataError("no couplings were planted here", expected="the data set simulated_circuit")
    planted = np.array(trials.info["coupling"])
    apart = trials.with_responses(shifted_apart(trials.responses, seed=seed).astype(np.float32))
    scores: dict[str, Score] = {}
    common: dict[str, Any] = {
        "split": f"last {analysis.test_size:g} held out",
        "protocol": "one recording, couplings known",
    }
    arrays: dict[str, np.ndarray] = {"planted": planted}
    for suffix, one in {"": trials, ", shifted": apart}.items():
        edges, likelihoods, per_window = _read(one, analysis, seed)
        for way, found in edges.items():
            value, low, high = coupling_auc(found, planted, seed=seed)
            scores[f"{analysis.name}/{way}{suffix}"] = Score(
                f"couplings by {way}{suffix} (AUC)",
                value,
                ceiling=1.0,
                chance=0.5,
                low=low,
                high=high,
                how=f"{WAYS[way]}; ordered pairs, by magnitude; bootstrap over pairs",
                n=found.size - len(found),
                **common,
            )
            arrays[way + suffix.replace(", ", "_")] = found
        for model, gains in likelihoods.items():
            bounds = mean_ci(gains, clusters=np.arange(len(gains)) // _BLOCK, seed=seed)
            scores[f"{analysis.name}/likelihood/{model}{suffix}"] = Score(
                f"spikes predicted by {model}{suffix} (nats a spike over rates)",
                float(np.mean(gains)) / per_window,
                ceiling=None,
                chance=0.0,
                low=float(bounds[0]) / per_window,
                high=float(bounds[1]) / per_window,
                how=f"log-likelihood of held-out counts less that of constant rates; blocks of {_BLOCK} windows",
                why={"ceiling": "the entropy of the circuit is not computed"},
                n=len(gains),
                **common,
            )
    return StepResult(scores, arrays, {"pairs": frame_to_json(_pairs(arrays, trials.units["name"].tolist()))})


def _read(trials: Trials, analysis: Circuit, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], float]:
    """Edges by each way from the first part; log-likelihoods of windows of the last over constant rates; its spikes."""
    n_bins, window = analysis.history + analysis.window, analysis.window
    n_train = round(len(trials) * (1 - analysis.test_size))
    train, test = (trials.select(rows) for rows in np.split(np.arange(len(trials)), [n_train]))
    windows = [spike_windows(one, n_bins, window) for one in (train, test)]
    gap = -(-n_bins // window) - 1  # so that windows of validation share no bin with those learnt from
    network = Neuroformer(**{"gap": gap, "seed": seed, **analysis.encoder, "window": window}).fit(windows[0])
    counts = train.matrix()
    weights, intercepts = poisson_couplings(counts, analysis.history)
    strongest = np.take_along_axis(weights, np.abs(weights).argmax(axis=1, keepdims=True), axis=1)[:, 0]
    edges = {
        "attribution": network.connectivity(windows[0]),
        "attention": network.connectivity(windows[0], "attention"),
        "glm": strongest,
        "correlation": lagged_correlations(counts, analysis.history),
    }
    held = windows[1].responses
    present = held[:, :, -window:]
    by_rates = _log_likelihood(present, np.maximum(counts.mean(axis=0), 1e-9)[None, :, None])
    past = np.stack(
        [held[:, :, n_bins - window - lag : n_bins - lag] for lag in range(1, analysis.history + 1)], axis=1
    )
    by_glm = _log_likelihood(present, np.exp(intercepts[:, None] + np.einsum("ilj,nljb->nib", weights, past)))
    likelihoods = {"network": network.log_likelihood(windows[1]) - by_rates, "glm": by_glm - by_rates}
    return edges, likelihoods, float(present.sum() / len(present))


def _log_likelihood(counts: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Of counts with these means, (n,): Bernoulli where no bin holds two spikes, Poisson otherwise."""
    rates = np.broadcast_to(rates, counts.shape)
    found = poisson.logpmf(counts, rates) if counts.max() > 1 else bernoulli.logpmf(counts, np.minimum(rates, 1 - 1e-6))
    return found.sum(axis=(1, 2))


def _pairs(arrays: dict[str, np.ndarray], names: list[str]) -> pd.DataFrame:
    """Ordered pairs with what was planted and found, the strongest by attribution first."""
    to, source = np.nonzero(~np.eye(len(names), dtype=bool))
    table = pd.DataFrame({"from": np.array(names)[source], "to": np.array(names)[to]})
    for name in ("planted", *WAYS):
        table[name] = np.round(arrays[name][to, source], 3)
    return table.loc[table["attribution"].abs().sort_values(ascending=False).index].reset_index(drop=True)


def show(report: Report, analysis: Circuit, result: StepResult, context: Context) -> None:
    """How well each way finds the couplings, and the pairs it finds."""
    areas = [one for name, one in result.scores.items() if "/likelihood/" not in name]
    report.add_figure(
        plots.score_bars(areas), "Couplings found; shifted: units moved apart in time, so that none are left."
    )
    gains = [one for name, one in result.scores.items() if "/likelihood/" in name]
    report.add_figure(plots.score_bars(gains), "How well held-out spikes are predicted, over constant rates.")
    pairs = frame_from_json(result.facts["pairs"]).head(_SHOWN)
    report.add_table(pairs.set_index("from"), f"The {len(pairs)} strongest pairs by attribution.")
