"""Banded ridge of many targets: ours beside himalaya's group ridge and multiple-kernel ridge, on the same candidates.

All sides get the same weights to try, penalties and folds, and choose by the same score. Differences are taken over
cross-validation scores, and, for the group ridge, over the coefficients of targets for which both chose the same
(``same_choice`` is their share). scikit-learn has no such model. Data are centred, and no side fits an intercept: the
multiple-kernel ridge has none inside folds. The default of ours screens candidates in bfloat16 where the processor can,
and may then take less than `floor_cpu_s`, the products and inverses of the method in float32 alone; "float32" does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from _harness import Arrays, Case, Side, main

ALPHAS = np.logspace(0, 6, 10)
N_FOLDS, N_BANDS, N_DRAWS = 5, 3, 20


def make(n_samples: int, n_features: int, n_targets: int) -> Callable[[bool], Arrays]:
    """Gaussian bands of `n_features` each; targets of one, two or three of them, of all signal-to-noise."""

    def inputs(quick: bool) -> Arrays:
        n, p, t = (max(20, size // 10) if quick else size for size in (n_samples, n_features, n_targets))
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, N_BANDS * p), dtype=np.float32)
        X -= X.mean(axis=0)
        coef = rng.standard_normal((N_BANDS * p, t), dtype=np.float32) / np.float32(np.sqrt(p))
        for band in range(1, N_BANDS):
            coef[band * p : (band + 1) * p, : band * t // N_BANDS] = 0
        Y = (X @ coef) * np.linspace(0, 1.5, t, dtype=np.float32) + rng.standard_normal((n, t), dtype=np.float32)
        Y -= Y.mean(axis=0)
        weights = rng.dirichlet(np.ones(N_BANDS), size=N_DRAWS).astype(np.float32)
        return {"X": X, "Y": Y, "weights": weights}

    return inputs


def warmed(fit: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    """`fit` after a first call on next to nothing, which imports what is imported late."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((40, 60), dtype=np.float32), rng.standard_normal((40, 4), dtype=np.float32)
    fit({"X": X, "Y": Y, "weights": np.full((1, N_BANDS), 1 / N_BANDS, dtype=np.float32)})
    return fit


def ours(scoring_dtype: str | None) -> Side:
    """`brainalign.voxelwise.BandedRidge`."""

    def prepare() -> Callable[[Arrays], Arrays]:
        import torch  # noqa: F401  (its import is not part of the work)

        from brainalign.voxelwise import BandedRidge

        def fit(data: Arrays) -> Arrays:
            options = {"n_iter": data["weights"], "fit_intercept": False, "scoring_dtype": scoring_dtype}
            model = BandedRidge(ALPHAS, N_FOLDS, bands=N_BANDS, **options).fit(data["X"], data["Y"])
            deltas = np.log(model.band_weights_ / model.best_alphas_)
            return {"deltas": deltas, "scores": model.cv_scores_, "coef": model.coef_}

        return warmed(fit)

    return Side("BandedRidge" if scoring_dtype else "BandedRidge float32", prepare)


def himalaya(backend: str, *, kernel: bool) -> Side:
    """himalaya's MultipleKernelRidgeCV on Gram matrices, their computation included, or its GroupRidgeCV."""

    def prepare() -> Callable[[Arrays], Arrays]:
        from himalaya.backend import set_backend
        from himalaya.kernel_ridge import MultipleKernelRidgeCV
        from himalaya.ridge import GroupRidgeCV
        from himalaya.scoring import r2_score

        library = set_backend(backend)

        def fit(data: Arrays) -> Arrays:
            params: dict[str, Any] = {
                "n_iter": library.asarray(data["weights"]),
                "alphas": library.asarray(ALPHAS.astype(np.float32)),
                "score_func": r2_score,
                "progress_bar": False,
            }
            parts = [library.asarray(part) for part in np.split(data["X"], N_BANDS, axis=1)]
            if kernel:
                model = MultipleKernelRidgeCV(kernels="precomputed", cv=N_FOLDS, solver_params=params)
                model.fit(library.stack([part @ part.T for part in parts]), library.asarray(data["Y"]))
            else:
                model = GroupRidgeCV(groups="input", cv=N_FOLDS, solver_params={**params, "warn": False})
                model.fit(parts, library.asarray(data["Y"]))
            made = {"deltas": np.asarray(model.deltas_), "scores": np.asarray(model.cv_scores_).max(axis=0)}
            if not kernel:
                made["coef"] = np.asarray(model.coef_)
            return made

        return warmed(fit)

    return Side(f"himalaya {'MultipleKernelRidgeCV' if kernel else 'GroupRidgeCV'} {backend}", prepare)


def floor() -> Side:
    """An inverse for each candidate and penalty, and the predictions of each fold: nothing chosen, nothing returned."""

    def prepare() -> Callable[[Arrays], Arrays]:
        from scipy.linalg import get_lapack_funcs

        def products(data: Arrays) -> Arrays:
            n = len(data["X"])
            gram = (data["X"] @ data["X"].T + n * np.eye(n, dtype=np.float32)).T
            potrf, potri = get_lapack_funcs(("potrf", "potri"), (gram,))
            known = data["Y"][n // N_FOLDS :]
            for _ in range(len(data["weights"]) * len(ALPHAS)):
                inverse = potri(potrf(gram, lower=1)[0], lower=1)[0]
                predictor = np.ascontiguousarray(inverse[: n // N_FOLDS, n // N_FOLDS :])
                for _ in range(N_FOLDS):
                    predictor @ known
            return {"n": np.array(n)}

        return products

    return Side("products alone", prepare)


def compare(mine: Arrays, theirs: Arrays) -> dict[str, float]:
    """Largest difference of scores, and of coefficients where the choice is the same."""
    same = np.isclose(mine["deltas"], theirs["deltas"], atol=1e-3).all(axis=0)
    differences = [np.abs(mine["scores"] - theirs["scores"]).max()]
    if "coef" in theirs:
        differences.append(np.abs(mine["coef"][:, same] - theirs["coef"][:, same]).max(initial=0.0))
    return {"max_abs_diff": max(map(float, differences)), "same_choice": float(same.mean())}


TABLE = make(1000, 300, 2000)
PEERS = tuple(himalaya(backend, kernel=kernel) for kernel in (True, False) for backend in ("torch", "numpy"))
BARS = {"ratio": 2.0, "memory": 0.5, "floor": 1.6}
CASES = [
    Case("banded", TABLE, ours("auto"), PEERS, compare, floor(), BARS),
    Case("banded-float32", TABLE, ours(None), PEERS[0], compare, floor(), BARS),
]

if __name__ == "__main__":
    main(CASES, __file__)
