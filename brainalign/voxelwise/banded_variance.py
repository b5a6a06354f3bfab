"""Models of every subset of bands from one search: what `brainalign.voxelwise.variance` partitions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brainalign.voxelwise.banded_search import BandedPlan, Choice, PreparedTargets, choose, draw_weights
from brainalign.voxelwise.variance import subsets

__all__ = ["subset_choices", "subset_weights"]


def subset_weights(n_bands: int, n_iter: int, *, seed: int = 0) -> np.ndarray:
    """Candidate weights for the models of all subsets of bands, zero outside each, none twice."""
    tables = []
    for chosen in subsets(n_bands):
        table = np.zeros((1 if len(chosen) == 1 else n_iter, n_bands))
        table[:, chosen] = draw_weights(len(chosen), n_iter, seed=seed)
        tables.append(table)
    return np.unique(np.vstack(tables), axis=0)


def subset_choices(
    plan: BandedPlan, targets: PreparedTargets, *, n_iter: int, seed: int = 0, scoring: str = "r2"
) -> Iterator[Choice]:
    """The best weights within every subset, in the order of `subsets`; one search serves all of them.

    A candidate that leaves bands out is one for every subset that holds the others.
    """
    weights = subset_weights(plan.n_bands, n_iter, seed=seed)
    table = plan.search(targets, weights, scoring=scoring)
    for chosen in subsets(plan.n_bands):
        outside = np.setdiff1d(np.arange(plan.n_bands), chosen)
        inside = (weights[:, outside] == 0).all(axis=1)
        yield choose(weights[inside], table.by_candidate[inside], table.alphas_by_candidate[inside])
