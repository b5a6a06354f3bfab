"""Covariances, Riemannian means, tangent vectors and whole cross-validations beside pyriemann; the published search.

``grid`` is the whole nested search of Carrara & Papadopoulo for one simulated session of 144 trials x 22 channels x
1000 samples: orders and lags 1 to 10, three C, two kernels, 5 outer and 3 inner folds, on two workers. It is set beside

- the plain way, which refits every cell of every fold: timed on one outer fold of a few cells (seconds of each in
  ``peer_cells_s``), and extrapolated to all of them: ``peer_cpu_s`` and ``ratio`` are for the whole search;
- the same search with exact means (tolerance 1e-8), which chooses as the plain way does (tests/bci/test_search.py):
  ``same_cell`` counts the outer folds in which both chose the same order and lag.

``python scripts/bench/bench_bci.py --case mean-22 --quick``
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _harness import Arrays, Case, Side, cpu_seconds, main

N_OUTER, N_INNER = 5, 3
MACHINES = [(C, kernel) for C in (0.5, 1.0, 1.5) for kernel in ("linear", "rbf")]
SAMPLED = (1, 4, 7, 10)
"""Orders whose cell at lag 5 the plain way is timed on."""


def eeg(n_trials: int, n_channels: int, n_times: int) -> tuple[np.ndarray, np.ndarray]:
    """Trials of an autoregressive process mixed over channels; two classes differ in the pole of a few sources."""
    rng = np.random.default_rng(0)
    y = np.arange(n_trials) % 2
    sources = rng.standard_normal((n_trials, n_channels, n_times))
    angle = np.where(np.arange(n_channels) < 3, 0.30 + 0.04 * y[:, None], 0.30)
    for t in range(2, n_times):
        sources[:, :, t] += 1.6 * np.cos(angle) * sources[:, :, t - 1] - 0.64 * sources[:, :, t - 2]
    mixing = rng.standard_normal((n_channels, n_channels))
    return 1e-6 * (mixing @ sources), y


def trials(n_channels: int) -> Callable[[bool], Arrays]:
    def make(quick: bool) -> Arrays:
        X, y = eeg(20 if quick else 500, 6 if quick else n_channels, 200 if quick else 1000)
        return {"X": X, "y": y}

    return make


def matrices(n_channels: int) -> Callable[[bool], Arrays]:
    def make(quick: bool) -> Arrays:
        X = trials(n_channels)(quick)["X"]
        X = X - X.mean(axis=2, keepdims=True)
        return {"C": X @ X.swapaxes(1, 2) / (X.shape[2] - 1)}

    return make


def session(quick: bool) -> Arrays:
    X, y = eeg(36 if quick else 144, 4 if quick else 22, 200 if quick else 1000)
    return {"X": X, "y": y, "top": np.array(3 if quick else 10)}


def our_covariances() -> Callable[[Arrays], Arrays]:
    from brainalign.bci import augmented_covariances

    return lambda data: {"made": augmented_covariances(data["X"], 4, 5)}


def peer_covariances() -> Callable[[Arrays], Arrays]:
    from moabb.pipelines.features import AugmentedDataset
    from pyriemann.estimation import Covariances

    return lambda data: {"made": Covariances("cov").transform(AugmentedDataset(4, 5).transform(data["X"]))}


def our_mean() -> Callable[[Arrays], Arrays]:
    from brainalign.bci import riemannian_mean

    return lambda data: {"made": riemannian_mean(data["C"], tolerance=1e-8)}


def peer_mean() -> Callable[[Arrays], Arrays]:
    from pyriemann.utils.mean import mean_riemann

    return lambda data: {"made": mean_riemann(data["C"], tol=1e-8)}


def our_tangent() -> Callable[[Arrays], Arrays]:
    from brainalign.bci import tangent_vectors

    return repeated(lambda data: {"made": tangent_vectors(data["C"], data["C"].mean(axis=0))})


def peer_tangent() -> Callable[[Arrays], Arrays]:
    from pyriemann.utils.tangentspace import log_map_riemann, upper

    def vectors(data: Arrays) -> Arrays:
        return {"made": upper(log_map_riemann(data["C"], data["C"].mean(axis=0), C12=False))}

    return repeated(vectors)


def repeated(function: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    """Five times over: a single pass takes tens of milliseconds, and first calls are noise."""

    def five_times(data: Arrays) -> Arrays:
        return [function(data) for _ in range(5)][-1]

    return five_times


def our_oas() -> Callable[[Arrays], Arrays]:
    from brainalign.bci import trial_covariances

    return lambda data: {"made": trial_covariances(data["X"], "oas")}


def peer_oas() -> Callable[[Arrays], Arrays]:
    from pyriemann.estimation import Covariances

    return lambda data: {"made": Covariances("oas").transform(data["X"])}


def our_cross_validation() -> Callable[[Arrays], Arrays]:
    from brainalign.bci import build_pipeline

    return lambda data: {"made": decisions(build_pipeline("ts_lr"), data)}


def peer_cross_validation() -> Callable[[Arrays], Arrays]:
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    steps = Covariances("oas"), TangentSpace(), LogisticRegression(max_iter=1000)
    return lambda data: {"made": decisions(make_pipeline(*steps), data)}


def decisions(pipeline: Any, data: Arrays) -> np.ndarray:
    """Of the trials of each of five folds, by a pipeline fitted on the others."""
    from sklearn.model_selection import cross_val_predict

    return cross_val_predict(pipeline, data["X"], data["y"], cv=5, method="predict_proba")


def nested(tolerance: float) -> Callable[[], Callable[[Arrays], Arrays]]:
    """The published search by shared work: no subspace, so that its features are those of the paper."""

    def prepare() -> Callable[[Arrays], Arrays]:
        from joblib.externals.loky import get_reusable_executor

        from brainalign.bci import AugmentedSVC, nested_search

        def search(data: Arrays) -> Arrays:
            started = cpu_seconds()
            every = tuple(range(1, int(data["top"]) + 1))
            model = AugmentedSVC(every, every, retain=None, tolerance=tolerance, n_jobs=2)
            models = nested_search(model, data["X"], data["y"], cv=N_OUTER)
            get_reusable_executor().shutdown(wait=True)  # only then does their time count
            table = models[0].cv_results_
            chosen = [(one.best_params_["order"], one.best_params_["lag"]) for one in models]
            right = [one.score(data["X"][one.test_rows_], data["y"][one.test_rows_]) for one in models]
            return {
                "cells": table[["order", "lag", "C"]].to_numpy(),
                "scores": table["score"].to_numpy(),
                "chosen": np.array(chosen),
                "accuracy": np.array(right),
                "cpu_s": np.array(cpu_seconds() - started),
            }

        return search

    return prepare


def plain_grid() -> Callable[[Arrays], Arrays]:
    from moabb.pipelines.features import AugmentedDataset
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    def search(data: Arrays) -> Arrays:
        top = int(data["top"])
        lag, folds = min(5, top), StratifiedKFold(N_INNER, shuffle=True, random_state=0)
        outer = StratifiedKFold(N_OUTER, shuffle=True, random_state=0)
        train = next(outer.split(data["X"], data["y"]))[0]
        orders = [order for order in SAMPLED if order <= top]
        seconds, scores = [], []
        for order in orders:
            started = time.process_time()
            steps = AugmentedDataset(order, lag), Covariances("cov"), TangentSpace()
            pipeline = make_pipeline(*steps, SVC(C=1.0, kernel="rbf"))
            scores.append(cross_val_score(pipeline, data["X"][train], data["y"][train], cv=folds).mean())
            seconds.append(time.process_time() - started)
        every = np.exp(np.interp(np.arange(1, top + 1), orders, np.log(seconds)))
        whole = every.sum() * top * len(MACHINES) * N_OUTER
        return {
            "orders": np.array(orders),
            "scores": np.array(scores),
            "seconds": np.array(seconds),
            "whole": np.array(whole),
            "lag": np.array(lag),
        }

    return search


def difference(mine: Arrays, theirs: Arrays) -> float:
    return float(np.abs(mine["made"] - theirs["made"]).max() / np.abs(theirs["made"]).max())


def compare_grids(mine: Arrays, theirs: Arrays) -> dict[str, Any]:
    """Inner accuracy of the cells that both ran, and what the other way takes for the whole search."""
    if "chosen" in theirs:
        # Order 1 has one cell, whatever the lag.
        same = (mine["chosen"] == theirs["chosen"]) | (mine["chosen"][:, :1] == 1) & (theirs["chosen"][:, :1] == 1)
        return {
            "max_abs_diff": float(np.abs(mine["scores"] - theirs["scores"]).max()),
            "ratio": float(theirs["cpu_s"] / mine["cpu_s"]),
            "same_cell": f"{int(same.all(axis=1).sum())} of {len(same)}",
            "peer_cells_s": None,
            "accuracy": float(mine["accuracy"].mean()),
        }
    apart = []
    for order, score in zip(theirs["orders"], theirs["scores"], strict=True):
        lag = 1 if order == 1 else int(theirs["lag"])
        here = (mine["cells"] == [order, lag, 1.0]).all(axis=1)
        apart.append(np.abs(mine["scores"][here] - score).min())
    cells = ", ".join(f"order {p}: {s:.2f}" for p, s in zip(theirs["orders"], theirs["seconds"], strict=True))
    return {
        "max_abs_diff": float(max(apart)),
        "peer_cpu_s": float(theirs["whole"]),
        "peer_wall_s": None,
        "ratio": float(theirs["whole"] / mine["cpu_s"]),
        "same_cell": None,
        "peer_cells_s": cells,
        "accuracy": float(mine["accuracy"].mean()),
    }


CASES = [
    Case(
        f"{name}-{channels}",
        make(channels),
        Side("brainalign", ours),
        Side("pyriemann", peer),
        difference,
    )
    for channels in (22, 64)
    for name, make, ours, peer in (
        ("covariance", trials, our_covariances, peer_covariances),
        ("oas", trials, our_oas, peer_oas),
        ("mean", matrices, our_mean, peer_mean),
        ("tangent", matrices, our_tangent, peer_tangent),
        ("cross-validation", trials, our_cross_validation, peer_cross_validation),
    )
] + [
    Case(
        "grid",
        session,
        Side("nested_search", nested(1e-3)),
        (Side("refit each cell", plain_grid), Side("exact means", nested(1e-8))),
        compare_grids,
    )
]

if __name__ == "__main__":
    main(CASES, __file__)
