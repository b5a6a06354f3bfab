"""`LinearEncoder` at the size of Brain-Diffuser: 8859 pictures, 15724 voxels, 257 x 768 CLIP tokens in float16 on disk.

One penalty, as published, with the rescaling learnt from leave-one-out predictions. "tenth" takes a tenth of the
targets, which the peer still holds in memory; the peer makes no held-out predictions. "nsd" takes all and stands beside
the products that cannot be avoided: the Gram matrix, its decomposition, one inverse, and the inverse times the targets
(there the peer is this floor, and a ratio of 0.5 is half its speed). Peak memory counts what is mapped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _harness import Arrays, Case, Side, main

N_SAMPLES, N_VOXELS, N_TARGETS = 8859, 15724, 257 * 768
ALPHA = 6e4
N_COMPARED = 200
"""Targets whose coefficients are compared."""


def make(n_targets: int) -> Callable[[bool], Arrays]:
    """Responses, and latents that follow fifty directions of them; a thirtieth of the size when quick."""

    def inputs(quick: bool) -> Arrays:
        n, p, t = (size // 30 if quick else size for size in (N_SAMPLES, N_VOXELS, n_targets))
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, p), dtype=np.float32)
        X -= X.mean(axis=0)
        X /= X.std(axis=0)
        hidden = X[:, :50] @ np.eye(50, dtype=np.float32)
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            Y = np.lib.format.open_memmap(file.name, "w+", np.float16, (n, t))
        for start in range(0, t, 4096):
            block = Y[:, start : start + 4096]
            block[...] = hidden @ rng.standard_normal((50, block.shape[1]), dtype=np.float32) / 7
            block += rng.standard_normal(block.shape, dtype=np.float32).astype(np.float16)
        return {"X": X, "Y": Y}

    return inputs


def ours() -> Side:
    """`brainalign.encoders.LinearEncoder`, leave-one-out, rescaled."""

    def prepare() -> Callable[[Arrays], Arrays]:
        import pandas as pd

        from brainalign.encoders import LinearEncoder
        from brainalign.latents.base import Latents
        from brainalign.trials import Trials

        def fit(data: Arrays) -> Arrays:
            ids = [str(row) for row in range(len(data["X"]))]
            trials = Trials(data["X"], pd.DataFrame({"stimulus_id": ids}))
            latents = Latents(data["Y"], ids, space="clip tokens")
            made = LinearEncoder(ALPHA, "loo", standardize=False).fit(trials, latents).fits_["latents"]
            kept = getattr(made, "fit", None)
            coef = (
                made.coef[:, :N_COMPARED] / made_gain(made, data) if kept is None else kept.coef_of(range(N_COMPARED))
            )
            return {"coef": coef}

        return fit

    return Side("LinearEncoder loo", prepare)


def made_gain(made: object, data: Arrays) -> np.ndarray:
    """The factor of the rescaling, where it was folded into the coefficients."""
    return np.asarray(data["Y"][:, :N_COMPARED], dtype=np.float64).std(axis=0) / made.held_out_std[:N_COMPARED]


def scikit_learn() -> Side:
    """scikit-learn's Ridge, which goes through the kernel where features are more; no held-out predictions."""

    def prepare() -> Callable[[Arrays], Arrays]:
        from sklearn.linear_model import Ridge

        def fit(data: Arrays) -> Arrays:
            model = Ridge(ALPHA, solver="cholesky").fit(data["X"], np.asarray(data["Y"], dtype=np.float32))
            return {"coef": model.coef_[:N_COMPARED].T}

        return fit

    return Side("sklearn Ridge", prepare)


def floor() -> Side:
    """The products and the decomposition alone; targets are read, and nothing of them is kept."""

    def prepare() -> Callable[[Arrays], Arrays]:
        def products(data: Arrays) -> Arrays:
            X, Y = data["X"], data["Y"]
            double = X.astype(np.float64)
            values, vectors = np.linalg.eigh(double @ double.T)
            scaled = (vectors / np.sqrt(values + ALPHA)).astype(np.float32)
            inverse, step = scaled @ scaled.T, 2048
            for start in range(0, Y.shape[1], step):
                block = Y[:, start : start + step].astype(np.float32)
                if not start:
                    block -= block.mean(axis=0)
                product = inverse @ block
                if not start:
                    coef = X.T @ product[:, :N_COMPARED]
            return {"coef": coef}

        return products

    return Side("products alone", prepare)


def compare(mine: Arrays, theirs: Arrays) -> float:
    """Largest difference of coefficients, relative to the largest of them."""
    return float(np.abs(mine["coef"] - theirs["coef"]).max() / np.abs(theirs["coef"]).max())


CASES = [
    Case("tenth", make(N_TARGETS // 10), ours(), scikit_learn(), compare, floor()),
    Case("nsd", make(N_TARGETS), ours(), floor(), compare),
]

if __name__ == "__main__":
    main(CASES, str(Path(__file__)))
