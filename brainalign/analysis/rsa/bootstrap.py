"""Bootstrap of RDM comparisons over conditions, subjects or both, without ever resampling an RDM.

One object of resamples gives weights; scores and noise ceilings of every draw follow from one weighted Gram matrix of
all subjects and models (see `brainalign.analysis.rsa.weighted`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import as_doubles, as_like, check_numbers, namespace
from brainalign.analysis.rsa.condensed import n_conditions
from brainalign.analysis.rsa.replicated import REPLICATED_METHODS, replicated_scores
from brainalign.analysis.rsa.weighted import GRAM_METHODS, unit_gram, weighted_gram
from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.scoring.ceilings import gram_ceilings
from brainalign.scoring.resampling import bootstrap_weights

__all__ = [
    "BOOTSTRAP_METHODS",
    "Resamples",
    "bootstrap_scores",
    "contrast_variance",
    "scores_from_gram",
    "two_factor_variance",
]

BOOTSTRAP_METHODS = (*GRAM_METHODS, *REPLICATED_METHODS)


@dataclass(frozen=True)
class Resamples:
    """How often each draw took each subject and each stimulus.

    Parameters
    ----------
    subjects : array (n_draws, n_subjects)
    stimuli : array (n_draws, n_stimuli)
        Multiplicities: whole numbers, zero for what a draw left out.

    Examples
    --------
    >>> Resamples.draw(100, n_subjects=5, n_stimuli=20, seed=0).stimuli.sum(axis=1)[:3]
    array([20., 20., 20.])
    """

    subjects: NDArray[np.float64]
    stimuli: NDArray[np.float64]

    @classmethod
    def draw(cls, n_draws: int, *, n_subjects: int, n_stimuli: int, seed: int = 0) -> Resamples:
        """Draw with replacement; the first draws are the same for every `n_draws`."""
        if n_draws < 1:
            raise DataError("a bootstrap needs draws", expected="1 or more", found=n_draws, fix="bootstrap=None")
        subject_seed, stimulus_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
        subjects = list(bootstrap_weights(n_draws, n_subjects, seed=subject_seed))
        stimuli = list(bootstrap_weights(n_draws, n_stimuli, seed=stimulus_seed))
        return cls(np.concatenate(subjects), np.concatenate(stimuli))

    @classmethod
    def from_draws(cls, subjects: ArrayLike, stimuli: ArrayLike, *, n_subjects: int, n_stimuli: int) -> Resamples:
        """From the numbers of the subjects and of the stimuli that each draw took, (n_draws, n_taken)."""
        return cls(_multiplicities(subjects, n_subjects), _multiplicities(stimuli, n_stimuli))


def _multiplicities(drawn: ArrayLike, n: int) -> NDArray[np.float64]:
    rows = np.atleast_2d(np.asarray(drawn))
    if rows.size and (rows.min() < 0 or rows.max() >= n):
        raise DataError("a draw names what does not exist", expected=f"0 to {n - 1}", found=(rows.min(), rows.max()))
    flat = (rows + n * np.arange(len(rows))[:, None]).ravel()
    return np.bincount(flat, minlength=len(rows) * n).reshape(len(rows), n).astype(np.float64)


def bootstrap_scores(
    subject_rdms: Any,
    model_rdms: Any,
    resamples: Resamples,
    *,
    method: str = "spearman",
    factors: str = "both",
) -> dict[str, NDArray[np.float64]]:
    """Draws of every model's mean score, and of the lower and the upper noise ceiling in the last two columns.

    Parameters
    ----------
    subject_rdms : array or tensor (n_subjects, n_pairs)
    model_rdms : array or tensor (n_models, n_pairs)
        The large products of tensors are made on their device; draws are arrays.
    resamples : Resamples
    method : str
        Of `compare`; all but "bures_distance".
    factors : {"subjects", "stimuli", "both"}
        What is resampled; "both" needs all three, and returns them.

    Returns
    -------
    dict of array (n_draws, n_models + 2)
        NaN where a resample leaves a score undefined. Ceilings are similarities with the mean of the normalised
        (centred, ranked, whitened) RDMs, which is the vector that is nearest to all subjects: for ranks the bound
        holds for *any* RDM, whereas ranking the mean once more, as rsatoolbox does, comes out slightly lower. For
        Kendall's tau and for Bures there is no such vector: ceilings are similarities with RDMs pooled once, over all
        conditions (`brainalign.analysis.rsa.replicated`). A Bures kernel has no place without a distance, so copies
        of a condition lie at distance 0; all other measures leave them out.
    """
    subjects = as_doubles(
        subject_rdms if namespace(subject_rdms) is not np else np.atleast_2d(np.asarray(subject_rdms))
    )
    models = as_like(model_rdms if namespace(model_rdms) is not np else np.atleast_2d(np.asarray(model_rdms)), subjects)
    if method not in BOOTSTRAP_METHODS:
        raise DataError(f"no bootstrap for method {method!r}", expected=BOOTSTRAP_METHODS)
    _check_draws(subjects, models, resamples, factors)
    if method in REPLICATED_METHODS:
        return _replicated_draws(subjects, models, resamples, method=method, factors=factors)
    n_subjects, n_rdms = len(subjects), len(subjects) + len(models)
    gram = weighted_gram(namespace(subjects).concatenate([subjects, models]), method, n_subjects=n_subjects)
    draws: dict[str, NDArray] = {}
    if factors in ("subjects", "both"):
        whole = gram(np.ones((1, n_conditions(subjects.shape[1]))))
        draws["subjects"] = scores_from_gram(whole, resamples.subjects, method)
    if factors in ("stimuli", "both"):
        everyone = np.ones((1, n_subjects))
        found: dict[str, list[NDArray]] = {"stimuli": [], "both": []}
        for block in row_blocks(len(resamples.stimuli), 8 * n_rdms**2, budget=2**25):
            grams = gram(resamples.stimuli[block])
            found["stimuli"].append(scores_from_gram(grams, everyone, method))
            if factors == "both":
                found["both"].append(scores_from_gram(grams, resamples.subjects[block], method))
        draws |= {name: np.concatenate(blocks) for name, blocks in found.items() if blocks}
    return draws


def _check_draws(subjects: Any, models: Any, resamples: Resamples, factors: str) -> None:
    """Refuse resamples of other subjects or conditions than there are, and RDMs that are not finite."""
    if factors not in ("subjects", "stimuli", "both"):
        raise DataError(f"factors={factors!r}", expected="'subjects', 'stimuli' or 'both'")
    if subjects.ndim != 2 or models.ndim != 2 or subjects.shape[1] != models.shape[1]:
        raise DataError(
            "subjects and models have different pairs",
            expected="(n_subjects, n_pairs) and (n_models, n_pairs)",
            found=(tuple(subjects.shape), tuple(models.shape)),
        )
    there = {"subjects": len(subjects), "stimuli": n_conditions(subjects.shape[1])}
    drawn = {"subjects": resamples.subjects.shape[1], "stimuli": resamples.stimuli.shape[1]}
    used = ("subjects", "stimuli") if factors == "both" else (factors,)
    if any(there[name] != drawn[name] for name in used):
        raise DataError("the resamples are of something else", expected=there, found=drawn)
    if factors == "both" and len(resamples.subjects) != len(resamples.stimuli):
        found = len(resamples.subjects), len(resamples.stimuli)
        raise DataError("draws of subjects and of stimuli go together", found=found)
    check_numbers(subjects, name="subject_rdms")
    check_numbers(models, name="model_rdms")


def _replicated_draws(
    subjects: Any, models: Any, resamples: Resamples, *, method: str, factors: str
) -> dict[str, NDArray[np.float64]]:
    everyone = np.ones((1, len(subjects)))
    draws: dict[str, NDArray] = {}
    if factors in ("subjects", "both"):
        whole = replicated_scores(subjects, models, np.ones((1, n_conditions(subjects.shape[1]))), method)
        draws["subjects"] = _mean_scores(*whole, resamples.subjects)
    if factors in ("stimuli", "both"):
        each = replicated_scores(subjects, models, resamples.stimuli, method)
        draws["stimuli"] = _mean_scores(*each, everyone)
        if factors == "both":
            draws["both"] = _mean_scores(*each, resamples.subjects)
    return draws


def _mean_scores(scores: NDArray, lower: NDArray, upper: NDArray, subject_weights: NDArray) -> NDArray[np.float64]:
    """Means over weighted subjects of their scores (n_draws or 1, n_subjects, n_models) and ceilings."""
    table = np.concatenate([scores, lower[:, :, None], upper[:, :, None]], axis=2)
    share = subject_weights / subject_weights.sum(axis=1, keepdims=True)
    means = np.einsum("ds,dsm->dm", share, np.where(share[:, :, None] > 0, table, 0.0))
    # A resample of one subject has no others: it says nothing about the lower ceiling.
    means[np.broadcast_to(np.sum(subject_weights > 0, axis=1) == 1, len(means)), -2] = np.nan
    return means


def scores_from_gram(grams: NDArray, subject_weights: NDArray, method: str) -> NDArray[np.float64]:
    """Mean score of each model over weighted subjects, then both ceilings: (n_draws, n_models + 2).

    Parameters
    ----------
    grams : array (n_draws or 1, n_rdms, n_rdms)
        Subjects first.
    subject_weights : array (n_draws or 1, n_subjects)
    """
    n_subjects = subject_weights.shape[1]
    table = unit_gram(grams, method)[:, :n_subjects, n_subjects:]
    share = subject_weights / subject_weights.sum(axis=1, keepdims=True)
    scores = (share[:, None, :] @ table)[:, 0] if len(table) > 1 else share @ table[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        lower, upper = gram_ceilings(grams[:, :n_subjects, :n_subjects], weights=subject_weights)
    # A resample of one subject has no others: it says nothing about the lower ceiling.
    alone = np.sum(subject_weights > 0, axis=1) == 1
    lower, upper = np.broadcast_to(np.where(alone, np.nan, lower), len(scores)), np.broadcast_to(upper, len(scores))
    return np.c_[scores, lower, upper]


def contrast_variance(
    draws: Mapping[str, NDArray], contrasts: NDArray, *, n_subjects: int, n_stimuli: int
) -> NDArray[np.float64]:
    """Variance of contrasts of the columns of bootstrap draws, over new subjects, new stimuli or both.

    Parameters
    ----------
    draws : mapping of array (n_draws, n_columns)
        As `bootstrap_scores` returns them; when all three are there, the two-factor correction is applied.
    contrasts : array (n_contrasts, n_columns)

    Returns
    -------
    array (n_contrasts,)
    """
    variance = {name: _variance(values, contrasts) for name, values in draws.items()}
    if "both" in variance:
        return two_factor_variance(
            variance["subjects"], variance["stimuli"], variance["both"], n_subjects=n_subjects, n_stimuli=n_stimuli
        )
    name = next(iter(variance))
    n = n_subjects if name == "subjects" else n_stimuli
    return variance[name] * n / (n - 1)


def _variance(draws: NDArray, contrasts: NDArray) -> NDArray[np.float64]:
    """Variance of each contrast over the draws in which it is defined."""
    used = contrasts != 0
    values = np.stack([draws[:, u] @ c[u] for c, u in zip(contrasts, used)], axis=1)
    defined = ~np.isnan(values)
    count = defined.sum(axis=0)
    filled = np.where(defined, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.where(defined, values - filled.sum(axis=0) / count, 0.0)
        return np.where(count > 1, np.sum(deviation**2, axis=0) / (count - 1), np.nan)


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
