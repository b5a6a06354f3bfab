"""RSA beside rsatoolbox: RDMs, their comparison, and the bootstrap. Every side of every case runs in a fresh process.

python scripts/bench/bench_rsa.py [--case NAME]... [--quick] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
Side = Callable[[], Any]


def rdm_case(metric: str, quick: bool) -> dict[str, Side]:
    """An RDM of 1000 conditions and 5000 features (4 runs for the cross-validated ones)."""
    n, p, n_runs = (100, 500, 4) if quick else (1000, 5000, 4)
    kind, _, noise = metric.partition(" ")
    n_runs = n_runs if kind in ("crossnobis", "poisson_cv") else 1
    rng = np.random.default_rng(0)
    counts = kind.startswith("poisson")
    X = rng.poisson(4.0, size=(n * n_runs, p)).astype(float) if counts else rng.normal(size=(n * n_runs, p))
    condition, run = np.tile(np.arange(n), n_runs), np.repeat(np.arange(n_runs), n)
    precision = None
    if noise or kind == "mahalanobis":
        root = rng.normal(size=(p, 50)) / 10
        precision = root @ root.T + np.eye(p)

    def ours() -> np.ndarray:
        from brainalign.analysis import rsa

        if n_runs > 1:
            return rsa.rdm(X, metric=kind, labels=condition, groups=run, noise_precision=precision)
        if kind == "euclidean":
            return rsa.rdm(X, metric="sqeuclidean") / p
        return rsa.rdm(X, metric=kind, noise_precision=precision)

    def peer() -> np.ndarray:
        import rsatoolbox

        data = rsatoolbox.data.Dataset(X, obs_descriptors={"condition": condition, "run": run})
        more: dict[str, Any] = {"cv_descriptor": "run"} if n_runs > 1 else {}
        more |= {} if precision is None else {"noise": precision}
        return rsatoolbox.rdm.calc_rdm(data, method=kind, descriptor="condition", **more).dissimilarities[0]

    def floor() -> None:
        if precision is not None:
            X @ precision
        for one in X.reshape(n_runs, n, p):
            one @ one.T

    return {"ours": ours, "peer": peer, "floor": floor}


def shrinkage_case(quick: bool) -> dict[str, Side]:
    """Shrunk noise precision of 300 samples and 1000 features."""
    residuals = np.random.default_rng(0).normal(size=(60, 50) if quick else (300, 1000))

    def ours() -> np.ndarray:
        from brainalign.analysis import rsa

        return rsa.noise_precision(residuals)

    def peer() -> np.ndarray:
        import rsatoolbox

        return rsatoolbox.data.noise.prec_from_residuals(residuals, method="shrinkage_diag")

    return {
        "ours": ours,
        "peer": peer,
        "floor": lambda: np.linalg.inv(residuals.T @ residuals + np.eye(len(residuals.T))),
    }


def compare_case(measure: str, quick: bool) -> dict[str, Side]:
    """One RDM against 100, 200 conditions; 40 with a dense noise covariance, where the peer takes minutes at 200."""
    method, _, noise = measure.partition(" ")
    n = 20 if quick else 40 if noise == "dense" else 200
    rng = np.random.default_rng(0)
    rdms = rng.random((101, n * (n - 1) // 2))
    if method.startswith("bures"):
        from scipy.spatial.distance import pdist

        rdms = np.stack([pdist(one, "sqeuclidean") for one in rng.normal(size=(101, n, 2 * n))])
    names = {"rho_a": "rho-a", "kendall_a": "tau-a", "kendall_b": "tau-b", "pearson": "corr"}
    names |= {"whitened_cosine": "cosine_cov", "whitened_pearson": "corr_cov", "bures_distance": "bures_metric"}
    # Of the forms in which the peer is right: it errs with a diagonal passed as a vector.
    covariances = {
        "diagonal": np.diag(rng.uniform(0.5, 2.0, n)),
        "shared": np.eye(n) + 0.1,
        "dense": np.cov(rng.normal(size=(n, 3 * n))),
    }
    covariance = covariances.get(noise)

    def ours() -> np.ndarray:
        from brainalign.analysis import rsa

        found = rsa.compare(rdms[0], rdms[1:], method=method, noise_covariance=covariance)
        return found**2 if method == "bures_distance" else found  # the peer's metric is the squared distance

    def peer() -> np.ndarray:
        from rsatoolbox.rdm import RDMs, compare

        more = {} if covariance is None else {"sigma_k": covariance}
        return compare(RDMs(rdms[:1]), RDMs(rdms[1:]), method=names.get(method, method), **more)[0]

    return {"ours": ours, "peer": peer, "floor": lambda: rdms[:1] @ rdms[1:].T}


def bootstrap_case(method: str, quick: bool) -> dict[str, Side]:
    """Bootstrap over conditions with noise ceilings: 15 subjects, 5 models, 92 conditions, 1000 draws."""
    n_draws, n_pairs = (20, 190) if quick else (1000, 4186)
    rng = np.random.default_rng(0)
    truth = rng.random(n_pairs)
    subjects, models = truth + rng.random((15, n_pairs)), truth + rng.random((5, n_pairs))

    def ours() -> np.ndarray:
        from brainalign.analysis import rsa

        return rsa.evaluate(subjects, models, method=method, bootstrap="stimuli", n_draws=n_draws).standard_error

    def peer() -> np.ndarray:
        import rsatoolbox

        fixed = [rsatoolbox.model.ModelFixed(str(i), m) for i, m in enumerate(models)]
        name = "corr" if method == "pearson" else method
        result = rsatoolbox.inference.eval_bootstrap_pattern(
            fixed, rsatoolbox.rdm.RDMs(subjects), method=name, N=n_draws
        )
        return np.sqrt(result.model_var)

    return {"ours": ours, "peer": peer}


RDM_CASES = ("euclidean", "correlation", "mahalanobis", "crossnobis", "crossnobis noise", "poisson", "poisson_cv")
COMPARE_CASES = (
    "cosine",
    "pearson",
    "spearman",
    "rho_a",
    "kendall_a",
    "kendall_b",
    "whitened_cosine",
    "whitened_cosine diagonal",
    "whitened_cosine shared",
    "whitened_cosine dense",
    "whitened_pearson",
    "whitened_pearson shared",
    "bures",
    "bures_distance",
)

CASES: dict[str, Callable[[bool], dict[str, Side]]] = {
    **{f"rdm {m}": (lambda quick, m=m: rdm_case(m, quick)) for m in RDM_CASES},
    "noise precision": shrinkage_case,
    **{f"compare {m}": (lambda quick, m=m: compare_case(m, quick)) for m in COMPARE_CASES},
    **{f"bootstrap {m}": (lambda quick, m=m: bootstrap_case(m, quick)) for m in ("cosine", "pearson", "spearman")},
}
# Both sides draw their own resamples, so that differences are Monte Carlo error; the peer returns its last fold only.
DIFFER = {"bootstrap": "own resamples", "rdm poisson_cv": "peer: last fold only"}


def measure(case: str, side: str, quick: bool, output: Path) -> None:
    """Child process: best of up to five runs of one side, imports and a small warm-up not counted; save its result."""
    warm_up = CASES[case](True)[side]
    warm_up()
    work = CASES[case](quick)[side]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runs: list[tuple[float, float]] = []
    while len(runs) < 5 and sum(cpu for cpu, _ in runs) < 2.0:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        runs.append((time.process_time() - cpu, time.perf_counter() - wall))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    facts = {"cpu_s": min(runs)[0], "wall_s": min(runs)[1], "peak_mb": peak}
    if result is not None:
        np.save(output, np.asarray(result))
    print(json.dumps(facts))


def run_side(case: str, side: str, quick: bool, output: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", case, side, str(output), *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **THREADS}, check=False)
    if done.returncode:
        raise SystemExit(f"{case} ({side}) failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def bench(case: str, quick: bool) -> dict[str, Any]:
    """One row: both sides, the floor where there is one, and how far the results are apart."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = {side: Path(folder) / f"{side}.npy" for side in ("ours", "peer", "floor")}
        sides = [side for side in outputs if side in CASES[case](True)]
        facts = {side: run_side(case, side, quick, outputs[side]) for side in sides}
        ours, peer = np.load(outputs["ours"]), np.load(outputs["peer"])
    row: dict[str, Any] = {"case": case, "ours": "brainalign", "peer": "rsatoolbox"}
    for what in ("cpu_s", "wall_s", "peak_mb"):
        row |= {f"{side}_{what}": round(facts[side][what], 4) for side in ("ours", "peer")}
    row["ratio"] = round(facts["peer"]["cpu_s"] / max(facts["ours"]["cpu_s"], 1e-9), 1)
    row["max_abs_diff"] = float(np.abs(ours - peer).max())
    row["floor_cpu_s"] = round(facts["floor"]["cpu_s"], 4) if "floor" in facts else None
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="repeatable; default all")
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        case, side, output = options.child
        measure(case, side, options.quick, Path(output))
        return
    rows = []
    heads = ("ours cpu", "peer cpu", "ratio", "floor", "ours MB", "peer MB", "max diff")
    print(f"{'case':24}" + "".join(f"{head:>10}" for head in heads))
    for case in options.case or CASES:
        row = bench(case, options.quick)
        floor = "-" if row["floor_cpu_s"] is None else f"{row['floor_cpu_s']:.3f}"
        print(
            f"{case:24}{row['ours_cpu_s']:10.3f}{row['peer_cpu_s']:10.3f}{row['ratio']:10.1f}{floor:>10}"
            f"{row['ours_peak_mb']:10.0f}{row['peer_peak_mb']:10.0f}{row['max_abs_diff']:10.1e}"
            + "".join(f"  ({why})" for start, why in DIFFER.items() if case.startswith(start)),
            flush=True,
        )
        rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
