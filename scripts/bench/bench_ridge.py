"""Ridge of many targets, a penalty per target: ours beside himalaya and scikit-learn.

Peers choose by the same score on the same folds; scikit-learn has no penalty per target by folds, and stands there as a
loop of its `Ridge`. himalaya has no closed form of leave-one-out. Differences are taken over cross-validation scores,
and over the coefficients of targets for which both chose the same penalty (``same_alphas`` is their share; in float32
near-ties may fall either way). `floor_cpu_s` are the products and decompositions of our method alone. "search" and
"bfloat16" set two options of ours beside ours without: scores are compared, as penalties lie on no common grid in the
first. The banded cases are those of `bench_banded.py`. A line under the rows of a case says whether the bars set for it
are met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from _harness import Arrays, Case, Side, main
from bench_banded import CASES as BANDED

ALPHAS = np.logspace(0, 6, 10)
N_FOLDS = 5
N_PREDICTED = 100
"""Samples predicted, with more features than samples, where neither side forms coefficients."""


def make(n_samples: int, n_features: int, n_targets: int, *, dtype: str = "float32") -> Callable[[bool], Arrays]:
    """Gaussian features, and targets of signal-to-noise from none to high; a twentieth of the size when quick."""

    def inputs(quick: bool) -> Arrays:
        sizes = [max(20, size // 20) if quick else size for size in (n_samples, n_features, n_targets)]
        rng = np.random.default_rng(0)
        X = rng.standard_normal((sizes[0], sizes[1]), dtype=np.float32)
        coef = rng.standard_normal((sizes[1], sizes[2]), dtype=np.float32) / np.float32(np.sqrt(sizes[1]))
        Y = rng.standard_normal((sizes[0], sizes[2]), dtype=np.float32)
        Y += (X @ coef) * np.linspace(0, 1.5, sizes[2], dtype=np.float32)
        return {"X": X.astype(dtype, copy=False), "Y": Y.astype(dtype, copy=False)}

    return inputs


def warmed(fit: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    """`fit` after a first call on next to nothing, which imports what is imported late."""
    rng = np.random.default_rng(0)
    fit({"X": rng.standard_normal((40, 5), dtype=np.float32), "Y": rng.standard_normal((40, 3), dtype=np.float32)})
    return fit


def ours(cv: Any, alphas: Any = ALPHAS, **options: Any) -> Side:
    """`brainalign.voxelwise.Ridge`."""

    def prepare() -> Callable[[Arrays], Arrays]:
        from brainalign.voxelwise import Ridge

        if "scoring_dtype" in options:
            import torch  # noqa: F401  (its import is not part of the work)

        def fit(data: Arrays) -> Arrays:
            model = Ridge(alphas, cv, **options).fit(data["X"], data["Y"])
            made = {"alphas": model.best_alphas_, "scores": model.cv_scores_}
            kept = options.get("keep_coef", True)
            return made | ({"coef": model.coef_} if kept else {"predicted": model.predict(data["X"][:N_PREDICTED])})

        return warmed(fit)

    searched = isinstance(alphas, tuple)
    n_alphas = "" if alphas is ALPHAS else " search" if searched else f" {len(alphas)} alphas"
    how = {"keep_coef": "dual", "scoring_dtype": "bfloat16"}
    return Side(" ".join(["Ridge" + n_alphas, *(how[option] for option in options)]), prepare)


def himalaya(backend: str, *, kernel: bool = False, batch: int | None = None) -> Side:
    """himalaya's RidgeCV, or KernelRidgeCV with a linear kernel."""

    def prepare() -> Callable[[Arrays], Arrays]:
        from himalaya.backend import set_backend
        from himalaya.kernel_ridge import KernelRidgeCV
        from himalaya.ridge import RidgeCV
        from himalaya.scoring import r2_score

        set_backend(backend)
        params = {"score_func": r2_score, "n_targets_batch": batch, "n_targets_batch_refit": batch}

        def fit(data: Arrays) -> Arrays:
            estimator = KernelRidgeCV if kernel else RidgeCV
            model = estimator(alphas=ALPHAS, cv=N_FOLDS, fit_intercept=True, solver_params=params)
            model.fit(data["X"], data["Y"])
            made = {"alphas": model.best_alphas_, "scores": model.cv_scores_}
            made |= {"predicted": model.predict(data["X"][:N_PREDICTED])} if kernel else {"coef": model.coef_}
            return {name: np.asarray(value) for name, value in made.items()}

        return warmed(fit)

    name = "KernelRidgeCV" if kernel else "RidgeCV"
    return Side(f"himalaya {name} {backend}", prepare)


def sklearn_loo() -> Side:
    """scikit-learn's RidgeCV: leave-one-out in closed form, a penalty per target."""

    def prepare() -> Callable[[Arrays], Arrays]:
        from sklearn.linear_model import RidgeCV

        def fit(data: Arrays) -> Arrays:
            model = RidgeCV(ALPHAS, alpha_per_target=True).fit(data["X"], data["Y"])
            return {"coef": model.coef_.T, "alphas": model.alpha_}

        return warmed(fit)

    return Side("sklearn RidgeCV", prepare)


def sklearn_folds(*, kernel: bool = False) -> Side:
    """A `Ridge` of scikit-learn for each fold and penalty, and for each penalty that is chosen."""

    def prepare() -> Callable[[Arrays], Arrays]:
        from sklearn.linear_model import Ridge
        from sklearn.metrics import r2_score
        from sklearn.model_selection import KFold

        def fit(data: Arrays) -> Arrays:
            X, Y = data["X"], data["Y"]
            scores = np.zeros((len(ALPHAS), Y.shape[1]))
            for train, test in KFold(N_FOLDS).split(X):
                known = X[train], Y[train]
                for row, alpha in enumerate(ALPHAS):
                    predicted = Ridge(alpha, solver="cholesky").fit(*known).predict(X[test])
                    scores[row] += r2_score(Y[test], predicted, multioutput="raw_values") / N_FOLDS
            best = ALPHAS[scores.argmax(axis=0)]
            made = np.empty((len(X[:N_PREDICTED]) if kernel else X.shape[1], Y.shape[1]), dtype=X.dtype)
            for alpha in np.unique(best):
                model = Ridge(alpha, solver="cholesky").fit(X, Y[:, best == alpha])
                found = model.predict(X[:N_PREDICTED]) if kernel else model.coef_.T
                made[:, best == alpha] = found.reshape(len(made), -1)
            return {"alphas": best, "scores": scores.max(axis=0), "predicted" if kernel else "coef": made}

        return warmed(fit)

    return Side("sklearn Ridge", prepare)


def floor(n_folds: int) -> Side:
    """The products and decompositions of our method, on arrays of the same size: nothing chosen, nothing returned."""

    def prepare() -> Callable[[Arrays], Arrays]:
        def products(data: Arrays) -> Arrays:
            X, Y = data["X"], data["Y"]
            wide = X.shape[1] > len(X)
            double = X.astype(np.float64)
            gram = double @ double.T if wide else double.T @ double  # numpy takes half the products: it is symmetric
            vectors = np.linalg.eigh(gram)[1]
            left = vectors.astype(X.dtype) if wide else (double @ vectors).astype(X.dtype)
            n_kept = len(X) * (n_folds - 1) // n_folds if n_folds else 0
            inner = gram[:n_kept, :n_kept] if wide else gram  # wide: the training samples are the fewer
            square = [np.linalg.eigh(inner)[1] for _ in range(n_folds)]
            for start in range(0, Y.shape[1], 1000):
                block = np.ascontiguousarray(Y[:, start : start + 1000])
                product = left.T @ block
                for fold in square:
                    single = fold.astype(X.dtype)
                    rotated = single @ (block[:n_kept] if wide else product)
                    _ = single[:, n_kept - len(X) :] @ block[n_kept:] if wide else single @ product
                    fold @ rotated.astype(np.float64)
                if not n_folds:
                    for _ in ALPHAS:
                        left @ product
                _ = (left if wide else vectors.astype(X.dtype)) @ product
            return {"rank": np.array(len(gram))}

        return products

    return Side("products alone", prepare)


def compare(mine: Arrays, theirs: Arrays) -> dict[str, float]:
    """Largest difference of scores, and of coefficients or predictions where the penalties agree."""
    same = np.isclose(np.log(mine["alphas"]), np.log(theirs["alphas"]), atol=1e-3)
    made = "coef" if "coef" in mine else "predicted"
    differences = [np.abs(mine[made][:, same] - theirs[made][:, same]).max(initial=0.0)]
    if "scores" in theirs:
        differences.append(np.abs(mine["scores"] - theirs["scores"]).max())
    return {"max_abs_diff": max(map(float, differences)), "same_alphas": float(same.mean())}


def compare_scores(mine: Arrays, theirs: Arrays) -> dict[str, float]:
    """Largest difference of scores at the penalties chosen; the share of targets within 5 % in alpha."""
    near = np.abs(np.log(mine["alphas"] / theirs["alphas"])) < 0.05
    return {"max_abs_diff": float(np.abs(mine["scores"] - theirs["scores"]).max()), "same_alphas": float(near.mean())}


TABLE, SMALLER = make(5000, 1000, 20000), make(5000, 1000, 4000)
PEERS = himalaya("torch", batch=2000), himalaya("numpy", batch=2000), sklearn_folds()
BARS = {"memory": 0.5, "floor": 1.6}
CASES = [
    Case("kfold", TABLE, ours(N_FOLDS), PEERS, compare, floor(N_FOLDS), {"ratio": 5.0, **BARS}),
    Case("nsd", make(9000, 1024, 15700), ours(N_FOLDS), PEERS, compare, floor(N_FOLDS), BARS),
    Case(
        "wide",
        make(1000, 20000, 5000),
        ours(N_FOLDS, keep_coef=False),
        (himalaya("torch", kernel=True), himalaya("numpy", kernel=True), sklearn_folds(kernel=True)),
        compare,
        floor(N_FOLDS),
        BARS,
    ),
    Case("loo", SMALLER, ours("loo"), sklearn_loo(), compare, floor(0), BARS),
    *BANDED,
    Case(
        "float64",
        make(5000, 1000, 4000, dtype="float64"),
        ours(N_FOLDS),
        (himalaya("numpy", batch=2000), sklearn_folds()),
        compare,
        floor(N_FOLDS),
        BARS,
    ),
    Case(
        "search",
        SMALLER,
        ours(N_FOLDS, ("search", ALPHAS[0], ALPHAS[-1])),
        ours(N_FOLDS, np.geomspace(ALPHAS[0], ALPHAS[-1], 200)),
        compare_scores,
        floor(N_FOLDS),
    ),
    *(
        Case(name, SMALLER, ours(cv, scoring_dtype="bfloat16"), ours(cv), compare_scores, floor(n_folds))
        for name, cv, n_folds in (("bfloat16", N_FOLDS, N_FOLDS), ("bfloat16-loo", "loo", 0))
    ),
]

if __name__ == "__main__":
    main(CASES, __file__)
