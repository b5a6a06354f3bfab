"""Augmented covariances, Riemannian means and tangent vectors beside pyriemann, and the published search as a whole.

``grid`` is one outer fold of the nested search of Carrara & Papadopoulo (orders and lags 1 to 10, three C, two kernels,
3 inner folds) on 144 simulated trials x 22 channels x 1000 samples. The plain way refits everything in each cell; its
time is measured on a few cells and extrapolated by the number of cells of each order (column ``peer_share`` says what
part of the cells was run: the ratio for the whole is ``ratio / peer_share``). The published search has five such folds.

``python scripts/bench/bench_bci.py --case mean --quick``
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _harness import Arrays, Case, Side, main

N_INNER = 3
MACHINES = [(C, kernel) for C in (0.5, 1.0, 1.5) for kernel in ("linear", "rbf")]
SAMPLED = (1, 4, 8)
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
        X, _ = eeg(20 if quick else 500, 6 if quick else n_channels, 200 if quick else 1000)
        return {"X": X}

    return make


def matrices(n_channels: int) -> Callable[[bool], Arrays]:
    def make(quick: bool) -> Arrays:
        X = trials(n_channels)(quick)["X"]
        X = X - X.mean(axis=2, keepdims=True)
        return {"C": X @ X.swapaxes(1, 2) / (X.shape[2] - 1)}

    return make


def session(quick: bool) -> Arrays:
    X, y = eeg(36 if quick else 115, 4 if quick else 22, 200 if quick else 1000)
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

    return lambda data: {"made": tangent_vectors(data["C"], data["C"].mean(axis=0))}


def peer_tangent() -> Callable[[Arrays], Arrays]:
    from pyriemann.utils.tangentspace import log_map_riemann, upper

    def vectors(data: Arrays) -> Arrays:
        return {"made": upper(log_map_riemann(data["C"], data["C"].mean(axis=0), C12=False))}

    return vectors


def our_grid() -> Callable[[Arrays], Arrays]:
    from brainalign.bci import AugmentedSVC

    def search(data: Arrays) -> Arrays:
        every = tuple(range(1, int(data["top"]) + 1))
        model = AugmentedSVC(every, every, tolerance=1e-3).fit(data["X"], data["y"])
        table = model.cv_results_
        return {"cells": table[["order", "lag", "C"]].to_numpy(), "scores": table["score"].to_numpy()}

    return search


def peer_grid() -> Callable[[Arrays], Arrays]:
    from moabb.pipelines.features import AugmentedDataset
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    def search(data: Arrays) -> Arrays:
        top = int(data["top"])
        lag, folds = min(5, top), StratifiedKFold(N_INNER, shuffle=True, random_state=0)
        orders = [order for order in SAMPLED if order <= top]
        seconds, scores = [], []
        for order in orders:
            started = time.process_time()
            steps = AugmentedDataset(order, lag), Covariances("cov"), TangentSpace()
            pipeline = make_pipeline(*steps, SVC(C=1.0, kernel="rbf"))
            scores.append(cross_val_score(pipeline, data["X"], data["y"], cv=folds).mean())
            seconds.append(time.process_time() - started)
        every = np.arange(1, top + 1)
        whole = np.interp(every, orders, seconds).sum() * top * len(MACHINES)
        return {
            "orders": np.array(orders),
            "scores": np.array(scores),
            "share": np.array(sum(seconds) / whole),
            "lag": np.array(lag),
        }

    return search


def difference(mine: Arrays, theirs: Arrays) -> float:
    return float(np.abs(mine["made"] - theirs["made"]).max() / np.abs(theirs["made"]).max())


def compare_grids(mine: Arrays, theirs: Arrays) -> dict[str, Any]:
    """Inner accuracy of the cells that both ran; ours keeps 99.9 % of the variance, the peer all of it."""
    apart = []
    for order, score in zip(theirs["orders"], theirs["scores"], strict=True):
        lag = 1 if order == 1 else int(theirs["lag"])
        here = (mine["cells"] == [order, lag, 1.0]).all(axis=1)
        apart.append(np.abs(mine["scores"][here] - score).min())
    return {"max_abs_diff": float(max(apart)), "peer_share": float(theirs["share"])}


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
        ("mean", matrices, our_mean, peer_mean),
        ("tangent", matrices, our_tangent, peer_tangent),
    )
] + [Case("grid", session, Side("AugmentedSVC", our_grid), Side("refit each cell", peer_grid), compare_grids)]

if __name__ == "__main__":
    main(CASES, __file__)
