"""Ridge and banded ridge on a GPU: ours beside himalaya's "torch_cuda", and our own results beside those of the CPU.

Both sides get the same tensors, already on the device, choose by the same score on the same folds, and leave what they
learn in main memory. All runs share one process, each after a call on next to nothing; memory is what torch has
allocated on the device beyond the inputs, `ratio` is of wall times (of processor seconds where there is no GPU), and
`floor_cpu_s` is null. "loo" has no peer there: ours on the CPU stands beside it. Before the table, small problems in
float32 and float64 are fitted on the device and by numpy, and their largest differences printed.

``python scripts/bench/bench_gpu.py --json rows.json``; ``--device cpu --quick`` tries it without a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import _line

from brainalign.voxelwise import BandedRidge, Ridge

ALPHAS = np.logspace(0, 6, 10)
N_FOLDS, N_BANDS, N_DRAWS = 5, 3, 20
SIZES = {
    "kfold": (5000, 1000, 20000),
    "nsd": (9000, 1024, 15700),
    "wide": (1000, 20000, 5000),
    "loo": (5000, 1000, 4000),
    "float64": (5000, 1000, 4000),
    "banded": (1000, 900, 2000),
}
Made = dict[str, np.ndarray]


def inputs(case: str, device: str, *, quick: bool) -> tuple[Any, Any]:
    """Gaussian features, and targets of signal-to-noise from none to high, on the device."""
    n, p, t = (max(30, size // 20) if quick else size for size in SIZES[case])
    rng = torch.Generator(device=device).manual_seed(0)

    def drawn(*shape: int) -> Any:
        return torch.randn(*shape, generator=rng, device=device)

    X = drawn(n, p)
    X -= X.mean(0)
    coef = drawn(p, t) / p**0.5
    coef[p // N_BANDS :, : t // 3] = 0
    Y = drawn(n, t) + (X @ coef) * torch.linspace(0, 1.5, t, device=device)
    Y -= Y.mean(0)
    return (X.double(), Y.double()) if case == "float64" else (X, Y)


def draws() -> np.ndarray:
    """Weights of bands, the same for every side."""
    return np.random.default_rng(0).dirichlet(np.ones(N_BANDS), size=N_DRAWS).astype(np.float32)


def ours(case: str) -> Callable[[Any, Any], Made]:
    """Fit of `brainalign.voxelwise`."""
    if case == "banded":
        estimator: Any = BandedRidge(ALPHAS, N_FOLDS, bands=N_BANDS, n_iter=draws(), fit_intercept=False)
    else:
        estimator = Ridge(ALPHAS, "loo" if case == "loo" else N_FOLDS, keep_coef=case != "wide")

    def fit(X: Any, Y: Any) -> Made:
        model = estimator.fit(X, Y)
        made = {"alphas": model.best_alphas_, "scores": model.cv_scores_}
        if case == "banded":
            made["alphas"] = model.band_alphas_
        return made | ({"predicted": model.predict(X[:100])} if case == "wide" else {"coef": model.coef_})

    return fit


def on_the_cpu(case: str) -> Callable[[Any, Any], Made]:
    """Ours by numpy, from the same tensors."""
    fit = ours(case)
    return lambda X, Y: fit(X.cpu().numpy(), Y.cpu().numpy())


def himalaya(case: str, device: str) -> Callable[[Any, Any], Made]:
    """Fit of himalaya's RidgeCV, KernelRidgeCV ("wide") or MultipleKernelRidgeCV ("banded"), from tensors."""
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV, MultipleKernelRidgeCV
    from himalaya.ridge import RidgeCV
    from himalaya.scoring import r2_score

    library = set_backend("torch_cuda" if device == "cuda" else "torch")

    def fit(X: Any, Y: Any) -> Made:
        alphas = library.asarray(ALPHAS, dtype=str(X.dtype).removeprefix("torch."))
        params: dict[str, Any] = {"score_func": r2_score}
        if case == "banded":
            params |= {"n_iter": library.asarray(draws()), "alphas": alphas, "progress_bar": False}
            model = MultipleKernelRidgeCV(kernels="precomputed", cv=N_FOLDS, solver_params=params)
            parts = torch.tensor_split(X, N_BANDS, dim=1)
            model.fit(torch.stack([part @ part.T for part in parts]), Y)
            kept = {"alphas": torch.exp(-model.deltas_), "scores": model.cv_scores_.amax(0)}
        else:
            params |= {"n_targets_batch": 5000, "n_targets_batch_refit": 5000}
            estimator = KernelRidgeCV if case == "wide" else RidgeCV
            model = estimator(alphas=alphas, cv=N_FOLDS, fit_intercept=True, solver_params=params)
            model.fit(X, Y)
            kept = {"alphas": model.best_alphas_, "scores": model.cv_scores_}
            kept |= {"predicted": model.predict(X[:100])} if case == "wide" else {"coef": model.coef_}
        return {name: torch.as_tensor(one).cpu().numpy() for name, one in kept.items()}

    return fit


def timed(fit: Callable[[Any, Any], Made], X: Any, Y: Any, device: str) -> tuple[dict[str, float], Made]:
    """Seconds and MB of one fit; a first one on a few rows and targets is not counted."""
    fit(X[:60], Y[:60, :3])
    held = 0
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    cpu, wall = time.process_time(), time.perf_counter()
    made = fit(X, Y)
    if device == "cuda":
        torch.cuda.synchronize()
    peak = (torch.cuda.max_memory_allocated() - held) / 2**20 if device == "cuda" else float("nan")
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "peak_mb": peak}, made


def row(case: str, device: str, *, quick: bool, peer: bool) -> dict[str, Any]:
    """One line of the table: ours and the peer on the same tensors."""
    X, Y = inputs(case, device, quick=quick)
    first, mine = timed(ours(case), X, Y, device)
    made: dict[str, Any] = {"case": case, "ours": f"{'Banded' if case == 'banded' else ''}Ridge {device}"}
    made |= {"peer": None} | {f"ours_{name}": value for name, value in first.items()}
    if not peer:
        return made
    made["peer"] = "ours, numpy" if case == "loo" else f"himalaya {device}"
    second, theirs = timed(on_the_cpu(case) if case == "loo" else himalaya(case, device), X, Y, device)
    made |= {f"peer_{name}": value for name, value in second.items()}
    same = np.isclose(np.log(mine["alphas"]), np.log(theirs["alphas"]), atol=1e-3)
    same = same.all(axis=0) if same.ndim == 2 else same
    parts = [np.abs(mine["scores"] - theirs["scores"]).max()]
    parts += [
        np.abs(mine[name] - theirs[name])[:, same].max(initial=0.0)
        for name in ("coef", "predicted")
        if name in mine and name in theirs
    ]
    figure = "wall_s" if device == "cuda" else "cpu_s"
    made |= {"ratio": second[figure] / first[figure], "max_abs_diff": float(max(parts)), "floor_cpu_s": None}
    return made | {"same_alphas": float(same.mean())}


def check_against_numpy(device: str, *, quick: bool) -> dict[str, float]:
    """Largest difference of coefficients and scores between the device and numpy on small problems."""
    found = {}
    for dtype in (np.float32, np.float64):
        for shape in ((200, 30, 50), (120, 300, 50)):
            rng = np.random.default_rng(0)
            X = rng.standard_normal(shape[:2]).astype(dtype)
            Y = X @ rng.standard_normal(shape[1:]).astype(dtype) + 3 * rng.standard_normal((shape[0], shape[2]))
            pair = X, Y.astype(dtype)
            models: dict[str, Any] = {cv: Ridge(ALPHAS, cv) for cv in (5, "loo", "gcv")}
            models["search"] = Ridge("search", 5)
            models["weighted"] = Ridge(ALPHAS, 5)
            models["bfloat16"] = Ridge(ALPHAS, 5, scoring_dtype="bfloat16")
            models |= {
                f"banded {how}": BandedRidge(ALPHAS, bands=3, n_iter=8, n_steps=4, search=how)
                for how in ("random", "gradient")
            }
            if quick:
                models = {name: models[name] for name in (5, "banded random")}
            for name, model in models.items():
                more = {"sample_weight": rng.uniform(0.5, 2, shape[0])} if name == "weighted" else {}
                one = model.fit(*pair, **more)
                expected = one.coef_.copy(), one.cv_scores_.copy()
                two = model.fit(*(torch.as_tensor(part, device=device) for part in pair), **more)
                made = zip(expected, (two.coef_, two.cv_scores_), strict=True)
                largest = [float(np.nanmax(np.abs(a - b))) for a, b in made]
                found[f"{name} {shape[0]}x{shape[1]} {np.dtype(dtype)}"] = max(largest)
    return found


def main() -> None:
    """Check, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=list(SIZES), help="repeatable; all cases by default")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--json", type=Path, help="write the rows here, with the check under 'check'")
    parser.add_argument("--no-peer", action="store_true", help="ours alone, where himalaya is not installed")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here, so nothing is measured; --device cpu --quick tries the script")
        return
    began = time.perf_counter()
    check = check_against_numpy(options.device, quick=options.quick)
    for name, difference in check.items():
        print(f"{name:32s} differs from numpy by {difference:.2g}")
    print(f"checked in {time.perf_counter() - began:.1f} s", flush=True)
    rows: list[dict[str, Any]] = []
    for case in options.case or SIZES:
        rows.append(row(case, options.device, quick=options.quick, peer=not options.no_peer))
        columns = None if options.no_peer else rows[-1]
        print(rows[-1] if columns is None else _line(columns, header=len(rows) == 1), flush=True)
        if options.json:
            name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
            options.json.write_text(json.dumps({"device": name, "check": check, "rows": rows}, indent=1))
    print(f"all in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
