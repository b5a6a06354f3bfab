"""How well the best possible model could do: noise ceilings from repetitions and from other subjects.

Ceilings of units (voxels, channels) are shares of *variance*; a correlation is bounded by the square root of its
variance ceiling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite, row_blocks
from brainalign.errors import DataError
from brainalign.scoring.correlation import average_ranks, pearson

__all__ = ["correlation_ceiling", "gram_ceilings", "ncsnr", "noise_ceiling", "rdm_ceilings", "split_half"]


def ncsnr(responses: ArrayLike, stimulus_ids: ArrayLike) -> NDArray[np.float64]:
    """Noise-ceiling signal-to-noise ratio of every unit, from repeated stimuli.

    The noise variance is the within-stimulus variance, pooled over all stimuli shown at least twice (so unequal
    repetitions weigh by their degrees of freedom); the signal variance is the total variance over trials less the
    noise variance, floored at zero (Allen et al. 2022, Nature Neuroscience 25, "noise ceiling" in Methods).

    Parameters
    ----------
    responses : array (n_trials, ...units)
        Single-trial responses, z-scored per session where sessions differ in scale. Read in blocks of units.
    stimulus_ids : array (n_trials,)
        Which stimulus each trial showed.

    Returns
    -------
    array (...units)
        signal SD / noise SD; 0 without signal, ``inf`` without noise, NaN for a constant unit.

    Raises
    ------
    DataError
        When lengths differ, a response is not finite, or no stimulus was shown twice.

    Examples
    --------
    >>> ncsnr([[0.0], [2.0], [10.0], [12.0]], ["a", "a", "b", "b"]).round(3)
    array([4.041])
    """
    trials, units = _trial_rows(responses, stimulus_ids)
    _, codes, counts = np.unique(np.asarray(stimulus_ids), return_inverse=True, return_counts=True)
    repeated = counts[codes] > 1
    if not repeated.any():
        raise DataError(
            "a noise ceiling needs repeated stimuli",
            expected="at least one stimulus shown twice",
            found=f"{len(counts)} stimuli, each shown once",
            fix="use a ceiling published with the data, or the reliability over subjects",
        )
    order = np.argsort(codes[repeated], kind="stable")
    group = codes[repeated][order]
    dof = len(group) - len(np.unique(group))
    ratio = np.empty(trials.shape[1])
    for block in row_blocks(trials.shape[1], 32 * trials.shape[0]):
        values = np.asarray(trials[:, block], dtype=np.float64)
        check_finite(values, name="responses")
        ratio[block] = _signal_to_noise(values, values[repeated][order], group, dof)
    return ratio.reshape(units)


def _signal_to_noise(values: NDArray, sorted_repeats: NDArray, group: NDArray, dof: int) -> NDArray:
    """Signal SD / noise SD of each column; `sorted_repeats` holds repeated trials, stimulus after stimulus."""
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sizes = np.diff(np.r_[starts, len(group)])
    means = np.add.reduceat(sorted_repeats, starts, axis=0) / sizes[:, None]
    residuals = sorted_repeats - np.repeat(means, sizes, axis=0)
    noise = np.einsum("ij,ij->j", residuals, residuals) / dof
    signal = np.maximum(values.var(axis=0, ddof=1) - noise, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(signal / noise)
    return np.where(np.ptp(values, axis=0) == 0, np.nan, ratio)


def noise_ceiling(ncsnr: ArrayLike, repetitions: ArrayLike) -> NDArray[np.float64]:
    """Share of variance that a perfect model explains in responses averaged over repetitions.

    ``NC = s**2 / (s**2 + k)`` with ``k`` the mean over the tested stimuli of 1 / repetitions.

    Parameters
    ----------
    ncsnr : array (...units)
        From :func:`ncsnr`.
    repetitions : int or array (n_stimuli,)
        How many trials were averaged, one number per tested stimulus; they may differ.

    Returns
    -------
    array (...units)
        Between 0 and 1; NaN where `ncsnr` is NaN.

    Examples
    --------
    >>> float(noise_ceiling(1.0, [3, 3, 3]))
    0.75
    >>> float(noise_ceiling(1.0, [1, 2]).round(3))     # k = (1 + 1/2) / 2
    0.571
    """
    counts = np.atleast_1d(np.asarray(repetitions, dtype=np.float64))
    if counts.size == 0 or not np.all(counts >= 1):
        raise DataError(
            "repetitions must be counts of averaged trials",
            expected="one number >= 1 per tested stimulus",
            found=f"{counts.size} counts, smallest {counts.min() if counts.size else None}",
            fix="leave out stimuli that were never shown",
        )
    k = np.mean(1.0 / counts)
    with np.errstate(divide="ignore"):
        return 1.0 / (1.0 + k / np.square(np.asarray(ncsnr, dtype=np.float64)))


def correlation_ceiling(variance_ceiling: ArrayLike) -> NDArray[np.float64]:
    """Ceiling of Pearson r that belongs to a ceiling of explained variance: its square root.

    Examples
    --------
    >>> float(correlation_ceiling(0.25))
    0.5
    """
    return np.sqrt(np.clip(np.asarray(variance_ceiling, dtype=np.float64), 0.0, None))


def split_half(
    responses: ArrayLike, stimulus_ids: ArrayLike, *, n_splits: int = 20, seed: int = 0
) -> NDArray[np.float64]:
    """Reliability of stimulus-averaged responses: split-half correlation, corrected to full length.

    The trials of every stimulus shown at least twice are dealt at random into two halves; the halves' means are
    correlated over stimuli, the correlations averaged over `n_splits` deals and corrected by Spearman-Brown,
    ``2 r / (1 + r)``. The result is a ceiling of explained variance for the averaged responses; with odd repetition
    counts the halves are unequal and it comes out slightly low.

    Returns
    -------
    array (...units)
        NaN for a unit that is constant in a half.
    """
    trials, units = _trial_rows(responses, stimulus_ids)
    _, codes, counts = np.unique(np.asarray(stimulus_ids), return_inverse=True, return_counts=True)
    if np.sum(counts > 1) < 3:
        raise DataError(
            "split-half reliability correlates over repeated stimuli",
            expected="at least 3 stimuli shown twice",
            found=f"{np.sum(counts > 1)} of {len(counts)} stimuli",
        )
    seeds = np.random.SeedSequence(seed).spawn(n_splits)
    averages = [_half_averages(codes, counts, np.random.default_rng(s)) for s in seeds]
    total = np.zeros(trials.shape[1])
    for block in row_blocks(trials.shape[1], 16 * trials.shape[0]):
        values = np.asarray(trials[:, block], dtype=np.float64)
        for first, second in averages:
            total[block] += pearson(first @ values, second @ values)
    mean_r = total / n_splits
    return (2 * mean_r / (1 + mean_r)).reshape(units)


def _half_averages(codes: NDArray, counts: NDArray, rng: np.random.Generator) -> tuple[Any, Any]:
    """Two sparse (n_repeated_stimuli, n_trials) matrices that average a random half of each stimulus's trials."""
    from scipy.sparse import csr_array

    order = np.lexsort((rng.random(len(codes)), codes))
    position = np.empty(len(codes), dtype=np.intp)
    position[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    # An odd count's extra trial goes to either half.
    cut = (counts + rng.integers(0, 2, len(counts)) * (counts % 2)) // 2
    kept = np.cumsum(counts > 1) - 1

    def averages(half: NDArray) -> Any:
        rows = np.flatnonzero(half & (counts[codes] > 1))
        size = np.bincount(codes[rows], minlength=len(counts))
        shape = (int(np.sum(counts > 1)), len(codes))
        return csr_array((1.0 / size[codes[rows]], (kept[codes[rows]], rows)), shape=shape)

    first = position < cut[codes]
    return averages(first), averages(~first)


def rdm_ceilings(subject_rdms: ArrayLike, *, method: str = "spearman") -> tuple[float, float]:
    """Lower and upper bound of the mean correlation that any model RDM can reach with these subjects.

    Upper: every subject against the mean of all normalised RDMs, itself included. Lower: against the mean of the
    *other* subjects, so nothing of the tested subject leaks in (Nili et al. 2014, PLoS Comput. Biol. 10).

    Parameters
    ----------
    subject_rdms : array (n_subjects, n_pairs)
        Condensed RDMs.
    method : {"spearman", "rho_a", "pearson", "cosine"}
        How RDMs are compared. For the rank methods ranks are averaged, and the average is ranked again.

    Returns
    -------
    lower, upper : float
    """
    rdms = np.asarray(subject_rdms, dtype=np.float64)
    if rdms.ndim != 2 or len(rdms) < 2:
        raise DataError("an RDM ceiling compares subjects", expected="(n_subjects >= 2, n_pairs)", found=rdms.shape)
    check_finite(rdms, name="subject_rdms")
    if method not in ("spearman", "rho_a", "pearson", "cosine"):
        raise DataError(f"no RDM ceiling for method {method!r}", expected="spearman, rho_a, pearson or cosine")
    ranked = method in ("spearman", "rho_a")
    vectors = average_ranks(rdms) if ranked else rdms
    if method != "cosine":
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
    if not ranked:
        lower, upper = gram_ceilings(vectors @ vectors.T)
        return float(lower), float(upper)
    total = vectors.sum(axis=0)
    pooled = [average_ranks(np.atleast_2d(p)) for p in (total - vectors, total)]
    means = [np.mean(_ranked_similarity(vectors, p - p.mean(axis=1, keepdims=True), method)) for p in pooled]
    return float(means[0]), float(means[1])


def _ranked_similarity(ranks: NDArray, others: NDArray, method: str) -> NDArray:
    """Spearman's rho or rho-a of matching rows of centred ranks; rho-a divides by the norm that untied ranks have."""
    product = np.sum(ranks * others, axis=1)
    if method == "rho_a":
        n_pairs = ranks.shape[1]
        return 12 * product / (n_pairs**3 - n_pairs)
    with np.errstate(invalid="ignore"):
        return product / (np.linalg.norm(ranks, axis=1) * np.linalg.norm(others, axis=1))


def gram_ceilings(
    gram: ArrayLike, *, weights: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave-one-out ceilings from the Gram matrix of the subjects' (centred) vectors.

    With unit vectors ``z_s`` and ``G = z z'``, the cosine of subject s with the sum of a set T of subjects is
    ``sum_T G_st / sqrt(sum_TT G)``; no mean RDM is ever formed.

    Parameters
    ----------
    gram : array (..., n_subjects, n_subjects)
        Inner products; normalised here.
    weights : array (..., n_subjects), optional
        How often a bootstrap drew each subject. All copies of a subject are left out together.

    Returns
    -------
    lower, upper : array (...)
    """
    gram = np.asarray(gram, dtype=np.float64)
    count = np.ones(gram.shape[-1]) if weights is None else np.asarray(weights, dtype=np.float64)
    norm = np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = gram / (norm[..., :, None] * norm[..., None, :])
        row = np.einsum("...st,...t->...s", unit, count)
        total = np.sum(count * row, axis=-1, keepdims=True)
        share = count / count.sum(axis=-1, keepdims=True)
        upper = np.sum(share * row / np.sqrt(total), axis=-1)
        others = total - 2 * count * row + count**2
        lower = np.sum(np.where(count > 0, share * (row - count) / np.sqrt(others), 0.0), axis=-1)
    return lower, upper


def _trial_rows(responses: ArrayLike, stimulus_ids: ArrayLike) -> tuple[NDArray, tuple[int, ...]]:
    """Responses as (n_trials, n_flat_units) without a copy, and the shape of the units."""
    values = responses if isinstance(responses, np.ndarray) else np.asarray(responses, dtype=np.float64)
    n_ids = len(np.asarray(stimulus_ids))
    if values.ndim == 0 or len(values) != n_ids:
        raise DataError(
            "responses and stimulus_ids must have one row per trial",
            expected=f"{n_ids} rows (one per stimulus id)",
            found=f"responses of shape {values.shape}",
        )
    return values.reshape(len(values), -1), values.shape[1:]
