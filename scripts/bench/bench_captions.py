"""The streaming softmax projection at full size, beside its products alone: 2 million embeddings, 20 000 voxels.

The bank lies on disk in float16 and is mapped. The peer is the plain way, the whole bank at once, for 64 of the voxels
(its figures are for those); the floor is the two products that cannot be avoided.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from _harness import Arrays, Case, Side, main

N_BANK, N_VOXELS, N_FEATURES = 2_000_000, 20_000, 512
BLOCK = 4096


def make(scale: float) -> Callable[[bool], Arrays]:
    """A bank with a common direction, as embeddings of pictures have, and voxel weights."""

    def made(quick: bool) -> Arrays:
        share = scale / 100 if quick else scale
        n_bank, n_voxels = int(N_BANK * share), max(64, int(N_VOXELS * share**0.5))
        rng = np.random.default_rng(0)
        bank = np.empty((n_bank, N_FEATURES), dtype=np.float16)
        common = rng.standard_normal(N_FEATURES, dtype=np.float32)
        for at in range(0, n_bank, BLOCK):
            rows = bank[at : at + BLOCK]
            rows[:] = (rng.standard_normal(rows.shape, dtype=np.float32) + 0.7 * common) * rng.uniform(0.2, 0.5)
        return {"bank": bank, "weights": rng.standard_normal((n_voxels, N_FEATURES), dtype=np.float32)}

    return made


def streaming() -> Side:
    """Ours."""

    def prepare() -> Callable[[Arrays], Arrays]:
        import torch

        from brainalign.analysis.captions import project_to_manifold

        torch.ones(300, 300) @ torch.ones(300, 300)

        return lambda data: {"projected": project_to_manifold(data["weights"], data["bank"], block=BLOCK)}

    return Side("project_to_manifold", prepare)


def products() -> Side:
    """Both products of every block, in the same precision and blocks, and nothing else."""

    def prepare() -> Callable[[Arrays], Arrays]:
        import torch

        torch.ones(300, 300) @ torch.ones(300, 300)

        def run(data: Arrays) -> Arrays:
            weights = torch.from_numpy(np.array(data["weights"]))
            sums = torch.zeros_like(weights)
            for at in range(0, len(data["bank"]), BLOCK):
                rows = torch.from_numpy(np.asarray(data["bank"][at : at + BLOCK], dtype=np.float32))
                for first in range(0, len(weights), 256):
                    some = slice(first, first + 256)
                    sums[some].addmm_(weights[some] @ rows.T, rows)
            return {"sums": sums.numpy()[:1]}

        return run

    return Side("its products", prepare)


def dense() -> Side:
    """Softmax over the whole bank at once, in float64, for the first voxels."""

    def prepare() -> Callable[[Arrays], Arrays]:
        def run(data: Arrays) -> Arrays:
            bank = np.asarray(data["bank"], dtype=np.float32)
            length = np.linalg.norm(bank, axis=1)
            bank /= length[:, None]
            some = np.array(data["weights"][:64], dtype=np.float32)
            products = (150 * some / np.linalg.norm(some, axis=1, keepdims=True) @ bank.T).astype(np.float64)
            products = np.exp(products - products.max(1, keepdims=True))
            products /= products.sum(1, keepdims=True)
            direction = products @ bank
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            return {"projected": direction * (products @ length)[:, None]}

        return run

    return Side("dense, 64 voxels", prepare)


def compare(mine: Arrays, theirs: Arrays) -> float:
    """Largest difference relative to the largest value, over the voxels that the peer did."""
    some = theirs["projected"]
    return float(np.abs(mine["projected"][: len(some)] - some).max() / np.abs(some).max())


CASES = [
    Case("tenth", make(0.1), streaming(), dense(), compare, products()),
    Case("full", make(1.0), streaming(), dense(), compare, products()),
]

if __name__ == "__main__":
    main(CASES, str(Path(__file__)))
