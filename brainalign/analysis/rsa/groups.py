"""Two groups of subjects: do models fit one better, and do their geometries differ at all?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import check_permutations, to_numpy
from brainalign.analysis.rsa.inference import check_models, check_subjects
from brainalign.analysis.rsa.permutation import similarity_vectors
from brainalign.errors import DataError
from brainalign.scoring.resampling import fdr, max_statistic_p, permutation_p, permutations

__all__ = ["GroupDifference", "compare_groups"]


@dataclass(frozen=True)
class GroupDifference:
    """How two groups of subjects differ; tests permute who belongs to which group, and so hold for new subjects.

    Attributes
    ----------
    names : tuple of str
        Of the models.
    differences : array (n_models,)
        Mean score of the first group less that of the second.
    null : array (n_permutations, n_models)
    separation : float
        Mean similarity of subjects within a group less that between groups.
    separation_null : array (n_permutations,)
    """

    names: tuple[str, ...]
    differences: NDArray[np.float64]
    null: NDArray[np.float64]
    separation: float
    separation_null: NDArray[np.float64]

    @property
    def p_separation(self) -> float:
        """One-sided: the groups' geometries do not differ."""
        return float(permutation_p(self.separation, self.separation_null))

    def table(self) -> pd.DataFrame:
        """Per model: difference, two-sided p, q (false discovery rate) and p_family (of the largest difference)."""
        p = permutation_p(self.differences, self.null, tail="two-sided")
        return pd.DataFrame(
            {
                "difference": self.differences,
                "p": p,
                "q": fdr(p),
                "p_family": max_statistic_p(self.differences, self.null, tail="two-sided"),
            },
            index=pd.Index(self.names, name="model"),
        )


def compare_groups(
    first: ArrayLike,
    second: ArrayLike,
    model_rdms: Mapping[str, ArrayLike] | ArrayLike,
    *,
    method: str = "spearman",
    n_permutations: int = 1000,
    seed: int = 0,
) -> GroupDifference:
    """Compare two groups of subjects by how models fit them, and by their geometries themselves.

    Parameters
    ----------
    first, second : array (n_subjects, n_pairs)
        RDMs of the same conditions; two or more subjects each.
    model_rdms : mapping of name to array (n_pairs,), or array (n_models, n_pairs)
    method : {"spearman", "pearson", "cosine", "rho_a", "whitened_cosine", "whitened_pearson"}
    n_permutations, seed : int

    Returns
    -------
    GroupDifference
        A group with noisier RDMs has lower scores for every model, without another geometry: `separation` is high
        only when subjects resemble their own group more.
    """
    check_permutations(n_permutations)
    groups = [check_subjects(to_numpy(first)), check_subjects(to_numpy(second))]
    if min(len(group) for group in groups) < 2 or groups[0].shape[1] != groups[1].shape[1]:
        raise DataError(
            "two groups of subjects are compared",
            expected="2 or more subjects each, of the same conditions",
            found=[group.shape for group in groups],
        )
    subjects, models, names = check_models(np.concatenate(groups), model_rdms)
    vectors = similarity_vectors(subjects, method)
    scores = vectors @ similarity_vectors(models, method).T
    alike = vectors @ vectors.T
    member = np.arange(len(subjects)) < len(groups[0])
    orders = [member[order] for order in permutations(len(subjects), n_permutations, seed=seed)]
    members = np.stack([member, *orders]).astype(np.float64)
    differences = members @ scores / members.sum(axis=1)[0] - (1 - members) @ scores / (1 - members).sum(axis=1)[0]
    separation = _separation(members, alike)
    return GroupDifference(tuple(names), differences[0], differences[1:], float(separation[0]), separation[1:])


def _separation(members: NDArray, alike: NDArray) -> NDArray[np.float64]:
    """Mean of the mean similarities within either group, less that between; for every assignment."""
    alike = alike - np.diag(np.diag(alike))
    within = []
    for side in (members, 1 - members):
        count = side.sum(axis=1)
        within.append(np.sum((side @ alike) * side, axis=1) / (count * (count - 1)))
    between = np.sum((members @ alike) * (1 - members), axis=1) / (members.sum(axis=1) * (1 - members).sum(axis=1))
    return (within[0] + within[1]) / 2 - between
