"""RSA inference beside rsatoolbox: bootstrap over stimuli and over both factors, searchlight; same resamples for both.

python scripts/bench/bench_rsa_inference.py [--case NAME]... [--quick] [--json PATH]

Bootstrap: 10 subjects, 10 models, 92 conditions, 1000 draws, with noise ceilings. Searchlight: a 40^3 volume, 92
conditions, radius 3 (the peer leaves the boundary out, so both get its balls of 93 voxels). Where the peer takes
minutes it runs a share of the draws or centres (column peer_share): CPU seconds and ratio are those of the whole.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from _harness import Arrays, Case, Side, main

PEER_NAMES = {"pearson": "corr", "whitened_cosine": "cosine_cov", "whitened_pearson": "corr_cov", "rho_a": "rho-a"}
PEER_NAMES |= {"kendall_a": "tau-a", "kendall_b": "tau-b"}
PEER_DRAWS = {"cosine": 200, "pearson": 200, "spearman": 50, "whitened_cosine": 8}
PEER_DRAWS |= {"rho_a": 40, "kendall_a": 20, "kendall_b": 20, "whitened_pearson": 6}


def bootstrap_inputs(quick: bool, *, method: str) -> Arrays:
    n_conditions, n_draws = (20, 40) if quick else (92, 1000)
    rng = np.random.default_rng(0)
    truth = rng.random(n_conditions * (n_conditions - 1) // 2)
    return {
        "subjects": truth + rng.random((10, len(truth))),
        "models": truth + rng.random((10, len(truth))),
        "drawn_subjects": rng.integers(0, 10, (n_draws, 10)),
        "drawn_stimuli": rng.integers(0, n_conditions, (n_draws, n_conditions)),
        "n_peer": np.array(min(n_draws, PEER_DRAWS[method])),
    }


def ours_bootstrap(method: str, factors: str) -> Callable[[Arrays], Arrays]:
    from brainalign.analysis.rsa.bootstrap import Resamples, bootstrap_scores

    def run(given: Arrays) -> Arrays:
        start = time.process_time()
        n_stimuli = given["drawn_stimuli"].shape[1]
        resamples = Resamples.from_draws(
            given["drawn_subjects"], given["drawn_stimuli"], n_subjects=10, n_stimuli=n_stimuli
        )
        draws = bootstrap_scores(given["subjects"], given["models"], resamples, method=method, factors=factors)
        columns = slice(None) if factors == "stimuli" and method in ("cosine", "pearson") else slice(10)
        spent, n = time.process_time() - start, int(given["n_peer"])
        return {"scores": np.stack([draws[name][:n, columns] for name in sorted(draws)]), "cpu_s": np.array(spent)}

    return run


def peer_bootstrap(method: str, factors: str) -> Callable[[Arrays], Arrays]:
    import rsatoolbox
    from rsatoolbox.inference import evaluate

    def run(given: Arrays) -> Arrays:
        start, n = time.process_time(), int(given["n_peer"])
        share = n / len(given["drawn_stimuli"])
        models = [rsatoolbox.model.ModelFixed(str(i), m) for i, m in enumerate(given["models"])]
        data, name = rsatoolbox.rdm.RDMs(given["subjects"]), PEER_NAMES.get(method, method)
        draw = iter(zip(given["drawn_subjects"], given["drawn_stimuli"]))

        def both(rdms: object, **_: object) -> tuple[object, np.ndarray, np.ndarray]:
            who, what = next(draw)
            sample = rdms.subsample("index", who).subsample_pattern("index", what)  # type: ignore[attr-defined]
            return sample, who, what

        def pattern(rdms: object, _by: str = "index") -> tuple[object, np.ndarray]:
            what = next(draw)[1]
            return rdms.subsample_pattern("index", what), what  # type: ignore[attr-defined]

        # Identical resamples for both sides.
        evaluate.bootstrap_sample, evaluate.bootstrap_sample_pattern = both, pattern
        if factors == "stimuli":
            result = evaluate.eval_bootstrap_pattern(models, data, method=name, N=n)
            scores = result.evaluations.reshape(n, -1)
            if method in ("cosine", "pearson"):
                scores = np.c_[scores, np.asarray(result.noise_ceiling).T]
            return _sampled(scores[None], 0.0, time.process_time() - start, share)
        evaluations = evaluate.eval_dual_bootstrap(models, data, method=name, N=n).evaluations[:, :, 0, 0]
        scores = np.stack([evaluations[:, :, i] for i in (0, 2, 1)])
        return _sampled(scores, 0.0, time.process_time() - start, share)

    return run


def _sampled(scores: np.ndarray, once: float, spent: float, share: float) -> Arrays:
    """Results of a peer that ran a share of the work, with the CPU seconds of the whole."""
    return {"scores": scores, "cpu_s": np.array(once + spent / share), "share": np.array(share)}


def searchlight_inputs(quick: bool) -> Arrays:
    size, n_conditions, n_peer = (8, 12, 50) if quick else (40, 92, 300)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(n_conditions, size**3))
    model = rng.random(n_conditions * (n_conditions - 1) // 2)
    return {"data": data, "model": model, "size": np.array(size), "n_peer": np.array(n_peer)}


def _peer_centres(n_centres: int, n_peer: int) -> np.ndarray:
    return np.linspace(0, n_centres - 1, min(n_peer, n_centres)).astype(int)


def ours_searchlight(method: str) -> Callable[[Arrays], Arrays]:
    from brainalign.analysis.rsa.searchlight import pattern_parts, searchlight_scores
    from brainalign.analysis.rsa.searchlight_space import volume_neighbours

    def run(given: Arrays) -> Arrays:
        start, size, n_peer = time.process_time(), int(given["size"]), int(given["n_peer"])
        ijk = np.argwhere(np.ones((size,) * 3))
        neighbours = volume_neighbours(ijk, 2.999)
        parts = pattern_parts(given["data"], np.arange(len(given["data"])))
        scores, _ = searchlight_scores(parts, neighbours, given["model"][None], method=method)
        spent = time.process_time() - start
        return {"scores": scores[_peer_centres(len(ijk), n_peer), 0], "cpu_s": np.array(spent)}

    return run


def peer_searchlight(method: str) -> Callable[[Arrays], Arrays]:
    import rsatoolbox
    from rsatoolbox.util import searchlight

    def run(given: Arrays) -> Arrays:
        size = int(given["size"])
        start = time.process_time()
        centres, neighbours = searchlight.get_volume_searchlight(np.ones((size,) * 3), radius=3, threshold=0.0)
        once = time.process_time() - start
        chosen = _peer_centres(len(centres), int(given["n_peer"]))
        events = np.arange(len(given["data"]))
        rdms = searchlight.get_searchlight_RDMs(given["data"], centres[chosen], [neighbours[i] for i in chosen], events)
        model = rsatoolbox.model.ModelFixed("model", given["model"])
        evaluate = rsatoolbox.inference.eval_fixed
        results = searchlight.evaluate_models_searchlight(rdms, model, evaluate, method=PEER_NAMES.get(method, method))
        scores = np.array([result.evaluations.ravel()[0] for result in results])
        spent = time.process_time() - start - once
        return _sampled(scores, once, spent, len(chosen) / len(centres))

    return run


def difference(ours: Arrays, peer: Arrays) -> dict[str, float]:
    return {
        "max_abs_diff": float(np.nanmax(np.abs(ours["scores"] - peer["scores"]))),
        "ours_cpu_s": float(ours["cpu_s"]),
        "peer_cpu_s": float(peer["cpu_s"]),
        "ratio": float(peer["cpu_s"] / ours["cpu_s"]),
        "peer_share": float(peer["share"]),
    }


CASES = [
    *(
        Case(
            f"{label} {method}",
            partial(bootstrap_inputs, method=method),
            Side("brainalign", partial(ours_bootstrap, method, factors)),
            Side("rsatoolbox", partial(peer_bootstrap, method, factors)),
            difference,
        )
        for label, factors in (("bootstrap", "stimuli"), ("dual bootstrap", "both"))
        for method in PEER_DRAWS
    ),
    *(
        Case(
            f"searchlight {method}",
            searchlight_inputs,
            Side("brainalign", partial(ours_searchlight, method)),
            Side("rsatoolbox", partial(peer_searchlight, method)),
            difference,
        )
        for method in ("pearson", "spearman")
    ),
]

if __name__ == "__main__":
    main(CASES, __file__)
