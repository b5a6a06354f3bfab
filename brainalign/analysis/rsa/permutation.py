"""Permutation of conditions: is a model related to the brain at all, given how many models were tried?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import check_permutations, to_numpy
from brainalign.analysis.rsa.condensed import n_conditions, to_square
from brainalign.analysis.rsa.inference import check_models
from brainalign.analysis.rsa.weighted import GRAM_METHODS
from brainalign.errors import DataError
from brainalign.scoring.correlation import average_ranks
from brainalign.scoring.resampling import fdr, max_statistic_p, permutation_p, permutations

__all__ = ["PermutationResult", "permutation_test", "similarity_vectors"]


@dataclass(frozen=True)
class PermutationResult:
    """Scores of models, and their distribution when conditions are relabelled.

    Attributes
    ----------
    names : tuple of str
    scores : array (n_models,)
        Mean over subjects.
    null : array (n_permutations, n_models)
        One relabelling serves all models.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    null: NDArray[np.float64]

    def table(self, *, tail: str = "greater") -> pd.DataFrame:
        """Per model: score, p, q (false discovery rate) and p_family (of the largest of all models' scores)."""
        p = permutation_p(self.scores, self.null, tail=tail)
        return pd.DataFrame(
            {
                "score": self.scores,
                "p": p,
                "q": fdr(p),
                "p_family": max_statistic_p(self.scores, self.null, tail=tail),
            },
            index=pd.Index(self.names, name="model"),
        )


def permutation_test(
    subject_rdms: ArrayLike,
    model_rdms: Mapping[str, ArrayLike] | ArrayLike,
    *,
    method: str = "spearman",
    n_permutations: int = 1000,
    seed: int = 0,
) -> PermutationResult:
    """Relabel the conditions of the models, all models and subjects together.

    Tests that the model's geometry is unrelated to the one that subjects share, for *these* subjects and stimuli; it
    works with a single subject.

    Parameters
    ----------
    subject_rdms : array (n_subjects, n_pairs)
    model_rdms : mapping of name to array (n_pairs,), or array (n_models, n_pairs)
    method : {"spearman", "pearson", "cosine", "rho_a", "whitened_cosine", "whitened_pearson"}
        For the cosines the null distribution is not centred on zero.
    n_permutations, seed : int

    Returns
    -------
    PermutationResult

    Examples
    --------
    >>> d = np.random.default_rng(0).random(45)
    >>> permutation_test(d, {"same": d}, n_permutations=99).table()["p"].tolist()
    [0.01]
    """
    check_permutations(n_permutations)
    subjects, models, names = check_models(to_numpy(subject_rdms), model_rdms)
    n = n_conditions(subjects.shape[1])
    # The mean similarity is that with the mean of unit vectors, so only one matrix is relabelled.
    mean = similarity_vectors(subjects, method).mean(axis=0).reshape(n, n)
    vectors = similarity_vectors(models, method)
    null = np.empty((n_permutations, len(models)))
    block = np.empty((min(64, n_permutations), n * n))
    orders = permutations(n, n_permutations, seed=seed)
    for start in range(0, n_permutations, len(block)):
        count = min(len(block), n_permutations - start)
        for row in range(count):
            order = next(orders)
            block[row] = mean[order[:, None], order].ravel()
        null[start : start + count] = block[:count] @ vectors.T
    return PermutationResult(tuple(names), vectors @ mean.ravel(), null)


def similarity_vectors(rdms: NDArray, method: str) -> NDArray[np.float64]:
    """Vectors (n_rdms, n_conditions ** 2) whose inner products are the similarities of the RDMs.

    Raises
    ------
    DataError
        For a method that is no inner product, or a constant RDM.
    """
    if method not in GRAM_METHODS:
        raise DataError(f"no inner product for method {method!r}", expected=GRAM_METHODS)
    n_pairs = rdms.shape[1]
    x: Any = average_ranks(rdms) if method in ("spearman", "rho_a") else rdms
    if method in ("spearman", "rho_a", "pearson", "whitened_pearson"):
        x = x - x.mean(axis=1, keepdims=True)
    square = to_square(x)
    if method.startswith("whitened"):
        square -= square.mean(axis=1, keepdims=True)
        square -= square.mean(axis=2, keepdims=True)
    flat = square.reshape(len(rdms), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    if method == "rho_a":
        norm = np.full_like(norm, np.sqrt((n_pairs**3 - n_pairs) / 6))
    if not np.all(norm > 1e-12 * np.abs(rdms).max()):
        raise DataError("a constant RDM cannot be compared", found=np.flatnonzero(norm[:, 0] <= 0).tolist())
    return flat / norm
