"""Permutation tests of predictions, for the price of a few Fourier transforms.

Shuffling the stimuli of a unit's predictions y against its responses x gives the null value ``sum_i x[i] y[order[i]]``
(columns centred, of unit norm). Rotating an order by s places gives another order, and the null values of all the
rotations of one order are a circular correlation: one product in the Fourier domain instead of n products of length
n. The orders used are therefore random base orders, each with all its rotations, and the identity with all of its
own, in a random sequence of the stimuli. These are whole cosets of a group of permutations that contains the identity,
so that the p-value stays exact (Hemerik & Goeman 2018, TEST 27, "Exact testing with random permutations").

No null distribution is kept: for each unit the null values that reach the observed one are counted, and for each
order the largest value over units is noted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.parallel import spawn_seeds
from brainalign.scoring.correlation import pearson
from brainalign.scoring.resampling import fdr
from brainalign.voxelwise.samples import stimulus_rows
from brainalign.voxelwise.solvers import decompose

if TYPE_CHECKING:
    from brainalign.latents.base import Latents
    from brainalign.trials import Trials
    from brainalign.voxelwise.scores import UnitScores

__all__ = ["NullTally", "PermutationTest", "permutation_test", "shuffle_test", "unit_rows"]

BLOCK_BYTES = 2**23
"""Work arrays of a block of units stay inside the processor's cache."""

# Correlations that are equal but for rounding count as ties.
_SLACK = 1e-10

Pair = Callable[[slice], tuple[np.ndarray, np.ndarray]]
"""From columns of units to the two arrays (n_samples, n_columns) that are shuffled against each other."""


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """P-values of every unit, and what they were counted from.

    Parameters
    ----------
    statistic : ndarray
        Observed value of each unit; NaN for a constant one.
    p : ndarray
        Share of orders, the true one among them, whose value is at least the observed one.
    p_max : ndarray
        Corrected for the family of all units by the maximum over units (Nichols & Holmes 2002, Hum. Brain Mapp. 15).
    q : ndarray
        False discovery rate over units (Benjamini & Hochberg 1995).
    n_permutations : int
    """

    statistic: np.ndarray
    p: np.ndarray
    p_max: np.ndarray
    q: np.ndarray
    n_permutations: int

    def __repr__(self) -> str:
        n_found, n_tested = int((self.q < 0.05).sum()), int(np.isfinite(self.statistic).sum())
        return f"PermutationTest({n_found} of {n_tested} units at q < 0.05, {self.n_permutations} permutations)"


class NullTally:
    """Counts of null values that reach the observed ones, and maxima over units, as the null values come in.

    Parameters
    ----------
    observed : array (n_units,)
        NaN where there is nothing to test.
    n_permutations : int

    Examples
    --------
    >>> tally = NullTally(np.array([0.9, 0.1]), 3)
    >>> tally.add(slice(0, 2), slice(0, 3), np.array([[0.0, 0.0], [0.2, 0.3], [0.1, 0.0]]))
    >>> test = tally.result((2,))
    >>> test.p.tolist(), test.p_max.tolist()
    ([0.25, 0.5], [0.25, 0.75])
    """

    def __init__(self, observed: np.ndarray, n_permutations: int) -> None:
        self.observed = observed
        self.counts = np.zeros(len(observed), dtype=np.int64)
        self.maxima = np.full(n_permutations, -np.inf)

    def add(self, units: slice, orders: slice, null: np.ndarray) -> None:
        """Take in null values (n_orders, n_units) of some units under some orders."""
        observed = self.observed[units]
        self.counts[units] += (null >= observed - _SLACK).sum(axis=0)
        tested = ~np.isnan(observed)
        if tested.any():
            highest = (null if tested.all() else null[:, tested]).max(axis=1)
            np.maximum(self.maxima[orders], highest, out=self.maxima[orders])

    def result(self, shape: tuple[int, ...], *, statistic: np.ndarray | None = None) -> PermutationTest:
        """The test, with units in `shape`; `statistic` where it is not the value that was compared."""
        n_permutations = len(self.maxima)
        above = n_permutations - np.searchsorted(np.sort(self.maxima), self.observed - _SLACK)
        nothing = np.isnan(self.observed)
        p, p_max = (
            np.where(nothing, np.nan, (counted + 1.0) / (n_permutations + 1.0)).reshape(shape)
            for counted in (self.counts, above)
        )
        shown = self.observed if statistic is None else statistic
        return PermutationTest(shown.reshape(shape), p, p_max, fdr(p), n_permutations)


def shuffle_test(
    measured: ArrayLike, predicted: ArrayLike, *, n_permutations: int = 1000, seed: int = 0, chunk: int = 1
) -> PermutationTest:
    """Test the correlation of measured and predicted values of every unit by shuffling samples.

    Parameters
    ----------
    measured, predicted : array (n_samples, ...units)
        One row per stimulus (average repetitions first), in the same order.
    n_permutations : int
        At least so many; rounded up to whole rotations of the samples.
    seed : int
    chunk : int
        Shuffle stretches of so many consecutive samples as wholes. Neighbouring samples of a movie or of speech depend
        on each other: take a chunk that is longer than that dependence. A last, shorter chunk is filled up with means.

    Returns
    -------
    PermutationTest
        One-sided; `statistic` is Pearson's r. The same orders for every unit.

    Raises
    ------
    DataError
        When shapes differ, a value is not finite, or there are fewer than two chunks.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> measured = rng.standard_normal((50, 3))
    >>> guess = measured * [1.0, 1.0, 0.0] + rng.standard_normal((50, 3))
    >>> shuffle_test(measured, guess).p_max < 0.05
    array([ True,  True, False])
    """
    true, guess = np.asarray(measured), np.asarray(predicted)
    observed = pearson(true, guess)
    shape, n_samples = observed.shape, len(true)
    true, guess = true.reshape(n_samples, -1), guess.reshape(n_samples, -1)
    if not isinstance(chunk, int | np.integer) or chunk < 1:
        raise DataError("chunks are whole numbers of samples", expected="chunk >= 1", found=chunk)
    orders = _base_orders(-(-n_samples // chunk), n_permutations, seed)
    return _shuffle(_columns_of(true, guess), observed.ravel(), orders, chunk).result(shape)


def permutation_test(
    model: Any,
    latents: Latents,
    trials: Trials,
    *,
    refit_on: Trials | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> PermutationTest:
    """Test a fitted `Ridge` on held-out stimuli by shuffling stimuli, of the test set or of the training set.

    Without `refit_on`, predictions are shuffled against the responses to the test stimuli. With it, the stimuli of the
    training set are shuffled and the model is fitted anew for every order, its penalties kept. What the refit predicts
    for a test stimulus is linear in the training responses y, and so is its covariance with the measured test
    responses t: ``t' Z (S + alpha)^-1 U'y = a'y``, with Z the test design and U, S the decomposed training design. A
    thousand refits are thus a thousand shuffles of y against a, and none is ever carried out.

    Parameters
    ----------
    model : Ridge
        Fitted on Latents and Trials.
    latents : Latents
    trials : Trials
        Test trials; repetitions are averaged.
    refit_on : Trials, optional
        The trials fitted on. They are averaged by stimulus, and penalties divided by the mean number of repetitions,
        which is the same model where every stimulus was shown equally often.
    n_permutations, seed : int

    Returns
    -------
    PermutationTest
        `statistic` is r on the test stimuli; with `refit_on`, orders are compared by the covariance of predicted and
        measured responses over its spread under shuffling.

    Raises
    ------
    LeakageError
        When a test stimulus was fitted on.
    DataError
        When `refit_on` are not the trials fitted on.
    """
    scores: UnitScores = model.score_units(latents, trials, n_permutations=0)
    pair = _columns_of(scores.measured, scores.predicted)
    n_samples = scores.n_stimuli
    if refit_on is not None:
        pair, n_samples = _refit_pair(model, latents, refit_on, scores)
    observed = np.where(np.isnan(scores.r.ravel()), np.nan, _correlations(pair, n_samples, scores.r.size))
    orders = _base_orders(n_samples, n_permutations, seed)
    return _shuffle(pair, observed, orders).result(scores.r.shape, statistic=scores.r)


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Columns of `values` (n_samples, n_units), centred and of unit norm, as rows; constant ones are zero."""
    rows = np.ascontiguousarray(values.T, dtype=np.float64)
    mean = rows.mean(axis=1)
    rows = rows - mean[:, None]
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    varies = norm > 1e-13 * np.abs(mean) * np.sqrt(rows.shape[1])  # more than the rounding of a constant
    rows *= np.divide(1.0, norm, out=np.zeros_like(norm), where=varies)[:, None]
    return rows


def _columns_of(measured: np.ndarray, predicted: np.ndarray) -> Pair:
    return lambda columns: (measured[:, columns], predicted[:, columns])


def _correlations(pair: Pair, n_samples: int, n_columns: int) -> np.ndarray:
    observed = np.empty(n_columns)
    for columns in row_blocks(n_columns, 40 * n_samples, budget=BLOCK_BYTES):
        observed[columns] = pearson(*pair(columns))
    return observed


def _refit_pair(model: Any, latents: Any, train: Any, scores: UnitScores) -> tuple[Pair, int]:
    """The weight that each training response has in the covariance on test stimuli, beside these responses."""
    if tuple(sorted(set(train.stimulus_ids))) != model.stimulus_ids_ or train.shape[1:] != scores.r.shape:
        raise DataError(
            "these are not the trials fitted on",
            expected=f"{len(model.stimulus_ids_)} stimuli, units {scores.r.shape}",
            found=f"{len(set(train.stimulus_ids))} stimuli, units {train.shape[1:]}",
            fix="refit_on= the very trials that were given to fit",
        )
    average = train.average("stimulus_id")
    responses = average.matrix()
    made = decompose(stimulus_rows(latents, average.stimulus_ids), centre=model.fit_intercept, dtype="float64")
    products = made.right.T @ (stimulus_rows(latents, scores.stimulus_ids) - made.mean).T
    products = made.left.T @ products if made.wide else np.sqrt(made.eigenvalues)[:, None] * products
    alphas = model.best_alphas_ / average.trials["n_averaged"].mean()

    def pair(columns: slice) -> tuple[np.ndarray, np.ndarray]:
        inner = products @ unit_rows(scores.measured[:, columns]).T
        return made.left @ (inner / (made.eigenvalues[:, None] + alphas[columns])), responses[:, columns]

    return pair, len(responses)


def _base_orders(n_chunks: int, n_permutations: int, seed: int) -> np.ndarray:
    """A random sequence of the chunks, then the base orders, of which the first is the identity; one a row."""
    if n_chunks < 2:
        raise DataError("nothing to shuffle", expected="at least 2 stimuli or chunks", found=n_chunks)
    if n_permutations < 1:
        raise DataError("a permutation test needs permutations", expected="at least 1", found=n_permutations)
    n_bases = -(-(n_permutations + 1) // n_chunks)
    seeds = spawn_seeds(seed, n_bases)
    sequence, *others = (np.random.default_rng(one).permutation(n_chunks) for one in seeds)
    return np.array([sequence, np.arange(n_chunks), *others])


def _shuffle(pair: Pair, observed: np.ndarray, orders: np.ndarray, chunk: int = 1) -> NullTally:
    """Tally of the correlations of pairs of columns under each base order and all its rotations."""
    from scipy.fft import irfft, rfft

    sequence, bases = orders[0], orders[1:]
    n_chunks = len(sequence)
    tally = NullTally(observed, len(bases) * n_chunks - 1)
    for columns in row_blocks(len(observed), 100 * n_chunks * chunk, budget=BLOCK_BYTES):
        first, second = (_in_chunks(unit_rows(one), n_chunks, chunk) for one in pair(columns))
        spectrum = rfft(np.take(first, sequence, axis=2)).conj()
        stop = 0
        for number, base in enumerate(bases):
            product = rfft(np.take(second, sequence[base], axis=2))
            product *= spectrum
            null = irfft(product.sum(axis=1) if chunk > 1 else product[:, 0], n_chunks)
            null = null[:, int(number == 0) :]  # the first of all orders is the true one
            start, stop = stop, stop + null.shape[1]
            tally.add(columns, slice(start, stop), null.T)
    return tally


def _in_chunks(rows: np.ndarray, n_chunks: int, chunk: int) -> np.ndarray:
    """(n_units, n_samples) as (n_units, chunk, n_chunks), the last chunk filled with zeros, the mean."""
    if chunk == 1:
        return rows[:, None]
    filled = np.zeros((len(rows), n_chunks * chunk))
    filled[:, : rows.shape[1]] = rows
    return filled.reshape(len(rows), n_chunks, chunk).swapaxes(1, 2)
