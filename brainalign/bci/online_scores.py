"""Scores of predictions made window by window, with intervals by bootstrap over tasks and idle stretches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.bci.metrics import information_transfer_rate
from brainalign.bci.windows import IDLE
from brainalign.scoring.resampling import bootstrap_weights, interval
from brainalign.scoring.score import Score

__all__ = ["online_scores"]

_N_DRAWS = 1000


def online_scores(
    windows: pd.DataFrame, *, sfreq: float, step: float, seed: int, split: str, protocol: str
) -> dict[str, Score]:
    """Normalised MCC, balanced accuracy, recall of each class, false decisions in idle, transfer rate and latency.

    Parameters
    ----------
    windows : DataFrame
        With run, start, stop, label, predicted, segment, onset_sample (samples).
    sfreq, step : float
        Hertz, and seconds between two decisions.
    """
    classes = sorted(set(windows["label"]) | set(windows["predicted"]))
    tables, weights = _tables(windows, classes), _weights(windows, seed)
    pooled = np.tensordot(weights, tables, axes=1)
    known = [name in set(windows["label"]) for name in classes]
    common = {"n": len(tables), "split": split, "protocol": protocol}
    made = {
        "nmcc": _score("normalised MCC", _nmcc(pooled), 0.5, common),
        "balanced_accuracy": _score(
            "balanced accuracy", _recalls(pooled)[:, known].mean(axis=1), 1 / sum(known), common
        ),
    }
    for number, name in enumerate(classes):
        if known[number]:
            made[f"recall {name}"] = _score(f"recall of {name}", _recalls(pooled)[:, number], None, common)
    if IDLE in classes and known[classes.index(IDLE)]:
        row = pooled[:, classes.index(IDLE)]
        wrong = row.sum(axis=1) - row[:, classes.index(IDLE)]
        with np.errstate(invalid="ignore"):
            made["idle_false_per_minute"] = _score(
                "false decisions per minute of idle", 60 * wrong / (row.sum(axis=1) * step), None, common
            )
    made["itr"] = _transfer_rate(windows, classes, pooled, sfreq, common)
    made["latency"] = _latency(windows, sfreq, common)
    return made


def _tables(windows: pd.DataFrame, classes: list[str]) -> NDArray[np.float64]:
    """Confusion matrix (true by predicted) of each segment of each run."""
    place = {name: number for number, name in enumerate(classes)}
    segments = windows.groupby(["run", "segment"], sort=True).ngroup().to_numpy()
    true, predicted = (windows[name].map(place).to_numpy() for name in ("label", "predicted"))
    size = len(classes)
    flat = np.bincount((segments * size + true) * size + predicted, minlength=(segments.max() + 1) * size**2)
    return flat.reshape(-1, size, size).astype(np.float64)


def _weights(windows: pd.DataFrame, seed: int) -> NDArray[np.float64]:
    """The data themselves, then the draws."""
    n_segments = windows.groupby(["run", "segment"]).ngroups
    return np.concatenate([np.ones((1, n_segments)), *bootstrap_weights(_N_DRAWS, n_segments, seed=seed)])


def _nmcc(tables: NDArray) -> NDArray[np.float64]:
    """Of many confusion matrices (n, K, K); 0.5 where truth or prediction is constant."""
    n, correct = tables.sum(axis=(1, 2)), np.trace(tables, axis1=1, axis2=2)
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    spread = (n**2 - np.sum(rows**2, axis=1)) * (n**2 - np.sum(columns**2, axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        mcc = np.where(spread > 0, (correct * n - np.sum(rows * columns, axis=1)) / np.sqrt(spread), 0.0)
    return (mcc + 1) / 2


def _recalls(tables: NDArray) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.diagonal(tables, axis1=1, axis2=2) / tables.sum(axis=2)


def _score(name: str, values: NDArray, chance: float | None, common: dict[str, Any]) -> Score:
    low, high = interval(values[1:])
    why = {"ceiling": "not defined for class decisions"}
    if chance is None:
        why["chance"] = "depends on how often the class is predicted"
    return Score(
        name,
        float(values[0]),
        ceiling=None,
        chance=chance,
        low=float(low),
        high=float(high),
        how=f"all windows of all folds; bootstrap over {common['n']} tasks and idle stretches",
        why=why,
        **common,
    )


def _transfer_rate(
    windows: pd.DataFrame, classes: list[str], pooled: NDArray, sfreq: float, common: dict[str, Any]
) -> Score:
    """Bits per minute over windows of a task, one decision per window length, all classes counted."""
    task = [number for number, name in enumerate(classes) if name != IDLE]
    seconds = float((windows["stop"] - windows["start"]).iloc[0] / sfreq)
    right = np.diagonal(pooled, axis1=1, axis2=2)[:, task].sum(axis=1)
    with np.errstate(invalid="ignore"):
        accuracy = np.nan_to_num(right / pooled[:, task].sum(axis=(1, 2)))
    rates = np.array([information_transfer_rate(min(float(one), 1.0), len(classes), seconds) for one in accuracy])
    return _score("information transfer rate (bits/min)", rates, 0.0, common)


def _latency(windows: pd.DataFrame, sfreq: float, common: dict[str, Any]) -> Score:
    """Seconds from the start of a task to the end of the first window that names it; median over tasks found."""
    found, n_tasks = [], 0
    for _, part in windows[windows["label"] != IDLE].groupby(["run", "segment"], sort=True):
        n_tasks += 1
        right = part[part["predicted"] == part["label"]]
        if len(right):
            found.append((right["stop"].min() - part["onset_sample"].iloc[0]) / sfreq)
    shared = {key: common[key] for key in ("split", "protocol")}
    why = {"ceiling": "not defined", "chance": "not defined"}
    if not found:
        why |= dict.fromkeys(("value", "low", "high"), "no task was found")
        return Score("latency", None, ceiling=None, chance=None, low=None, high=None, n=n_tasks, why=why, **shared)
    ordered = np.sort(found)
    draws = np.concatenate([_weighted_medians(ordered, one) for one in bootstrap_weights(_N_DRAWS, len(ordered))])
    low, high = interval(draws)
    return Score(
        "detection latency (s)",
        float(np.median(ordered)),
        ceiling=None,
        chance=None,
        low=float(low),
        high=float(high),
        n=n_tasks,
        how=f"median over the {len(found)} of {n_tasks} tasks that were found",
        why=why,
        **shared,
    )


def _weighted_medians(ordered: NDArray, weights: NDArray) -> NDArray[np.float64]:
    return ordered[(np.cumsum(weights, axis=1) >= weights.sum(axis=1, keepdims=True) / 2).argmax(axis=1)]
