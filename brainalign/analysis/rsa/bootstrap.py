"""Bootstrap of RDM comparisons over conditions, subjects or both, without ever resampling an RDM.

A resample of conditions with multiplicities ``w`` gives the pair (i, j) the weight ``w_i w_j``; pairs of a condition
with its own copy do not exist in the triangle and so have none. Every score, and the noise ceiling, follows from one
weighted Gram matrix of all subjects and models.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.rsa.rdm import n_conditions
from brainalign.scoring.ceilings import gram_ceilings
from brainalign.scoring.resampling import bootstrap_weights

__all__ = ["GRAM_METHODS", "bootstrap_scores", "two_factor_variance", "weighted_gram"]

GRAM_METHODS = ("pearson", "cosine", "spearman", "rho_a")


def weighted_gram(rdms: NDArray, method: str) -> Callable[[NDArray], NDArray]:
    """A function of condition weights that returns the Gram matrix of the resampled, centred or ranked RDMs.

    Parameters
    ----------
    rdms : array (n_rdms, n_pairs)
    method : {"pearson", "cosine", "spearman", "rho_a"}

    Returns
    -------
    callable
        ``gram(w)`` with w (n_conditions,) is (n_rdms, n_rdms). For rho-a it is divided by the squared norm that
        untied ranks have, so that its entries are the scores themselves.
    """
    first, second = np.triu_indices(n_conditions(rdms.shape[1]), 1)
    if method in ("spearman", "rho_a"):
        ranks = _weighted_ranks(rdms)

    def gram(w: NDArray) -> NDArray:
        pair_weights = w[first] * w[second]
        total = pair_weights.sum()
        if method in ("spearman", "rho_a"):
            # The mean rank of a replicated sample is known.
            vectors = ranks(pair_weights) - (total + 1) / 2
        elif method == "pearson":
            vectors = rdms - (rdms @ pair_weights / total)[:, None]
        else:
            vectors = rdms
        vectors = vectors * np.sqrt(pair_weights)
        products = vectors @ vectors.T
        return 12 * products / (total**3 - total) if method == "rho_a" else products

    return gram


def _weighted_ranks(rdms: NDArray) -> Callable[[NDArray], NDArray]:
    """Mean ranks of RDMs whose entries are replicated: (weight of all smaller entries) + (weight of ties + 1) / 2.

    Sorting does not depend on the weights, so it is done once.
    """
    n_rdms, n_pairs = rdms.shape
    order = np.argsort(rdms, axis=1)
    values = np.take_along_axis(rdms, order, axis=1)
    starts_group = np.ones(rdms.shape, dtype=bool)
    starts_group[:, 1:] = values[:, 1:] != values[:, :-1]
    position = np.broadcast_to(np.arange(n_pairs), rdms.shape)
    group_start = np.maximum.accumulate(np.where(starts_group, position, 0), axis=1)
    next_start = np.where(np.c_[starts_group[:, 1:], np.ones(n_rdms, dtype=bool)], position + 1, n_pairs)
    group_end = np.minimum.accumulate(next_start[:, ::-1], axis=1)[:, ::-1]
    # From sorted positions back to pairs, as flat positions in a cumulative sum with a leading zero.
    offset = (n_pairs + 1) * np.arange(n_rdms)[:, None]
    below, through = np.empty_like(order), np.empty_like(order)
    np.put_along_axis(below, order, group_start + offset, axis=1)
    np.put_along_axis(through, order, group_end + offset, axis=1)

    def ranks(pair_weights: NDArray) -> NDArray:
        cumulative = np.zeros((n_rdms, n_pairs + 1))
        np.cumsum(pair_weights[order], axis=1, out=cumulative[:, 1:])
        flat = cumulative.ravel()
        return (flat[below] + flat[through] + 1) / 2

    return ranks


def bootstrap_scores(
    subject_rdms: NDArray, model_rdms: NDArray, *, method: str, factors: str, n_draws: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Draws of every model's mean score, and of the lower ceiling in the last column.

    Parameters
    ----------
    subject_rdms : array (n_subjects, n_pairs)
    model_rdms : array (n_models, n_pairs)
    method : {"pearson", "cosine", "spearman", "rho_a"}
    factors : {"subjects", "stimuli", "both"}
        What is resampled; "both" needs all three, and returns them.
    n_draws, seed : int

    Returns
    -------
    dict of array (n_draws, n_models + 1)
        NaN where a resample leaves a score undefined.
    """
    n_subjects, n_stimuli = len(subject_rdms), n_conditions(subject_rdms.shape[1])
    gram = weighted_gram(np.concatenate([subject_rdms, model_rdms]), method)
    subject_seed, stimulus_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
    subject_blocks = list(bootstrap_weights(n_draws, n_subjects, seed=subject_seed))
    draws: dict[str, list[NDArray]] = {}
    if factors in ("subjects", "both"):
        whole = gram(np.ones(n_stimuli))[None]
        draws["subjects"] = [_scores_from_gram(whole, block, method) for block in subject_blocks]
    if factors in ("stimuli", "both"):
        stimulus_blocks = bootstrap_weights(n_draws, n_stimuli, seed=stimulus_seed)
        draws["stimuli"], both = [], []
        for subjects, stimuli in zip(subject_blocks, stimulus_blocks):
            grams = np.stack([gram(w) for w in stimuli])
            draws["stimuli"].append(_scores_from_gram(grams, np.ones_like(subjects), method))
            both.append(_scores_from_gram(grams, subjects, method))
        if factors == "both":
            draws["both"] = both
    return {name: np.concatenate(blocks) for name, blocks in draws.items()}


def _scores_from_gram(grams: NDArray, subject_weights: NDArray, method: str) -> NDArray:
    """Mean score of each model over weighted subjects, then the lower ceiling: (n_draws, n_models + 1)."""
    n_subjects = subject_weights.shape[1]
    table = grams[:, :n_subjects, n_subjects:]
    norm = np.sqrt(np.diagonal(grams, axis1=1, axis2=2))
    if method != "rho_a":
        with np.errstate(invalid="ignore", divide="ignore"):
            table = table / (norm[:, :n_subjects, None] * norm[:, None, n_subjects:])
    share = subject_weights / subject_weights.sum(axis=1, keepdims=True)
    scores = np.sum(share[:, :, None] * table, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        lower = gram_ceilings(grams[:, :n_subjects, :n_subjects], weights=subject_weights)[0]
    # A resample of one subject has no others: it says nothing about the ceiling.
    alone = np.sum(subject_weights > 0, axis=1) == 1
    return np.c_[scores, np.where(alone, np.nan, lower)]


def two_factor_variance(
    by_subjects: NDArray, by_stimuli: NDArray, by_both: NDArray, *, n_subjects: int, n_stimuli: int
) -> NDArray[np.float64]:
    """Variance of a score over new subjects *and* new stimuli, from the three bootstrap variances.

    Resampling both factors counts the measurement noise more than once; the combination

    ``S/(S-1) v_s + C/(C-1) v_c - S C / ((S-1) (C-1)) (v_b - v_s - v_c)``

    removes the excess. It is at least either single-factor term and at most `by_both` (Schuett et al. 2023,
    eLife 12).

    Examples
    --------
    >>> float(two_factor_variance(np.array(1.0), np.array(2.0), np.array(3.0), n_subjects=10, n_stimuli=10).round(3))
    3.0
    """
    s, c = n_subjects / (n_subjects - 1), n_stimuli / (n_stimuli - 1)
    combined = s * by_subjects + c * by_stimuli - s * c * (by_both - by_subjects - by_stimuli)
    floor = np.maximum(s * by_subjects, c * by_stimuli)
    return np.minimum(np.maximum(combined, floor), by_both)
