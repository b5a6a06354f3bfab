"""Which of several layers explains each unit and each region best, by how much, and how sure that is.

All layers are drawn together: one bootstrap draw takes the same stimuli for each of them, so that differences between
layers are paired. Stimuli that depend on each other, such as the bins of a stretch of continuous data, are drawn as a
block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.scoring.correlation import pearson
from brainalign.scoring.resampling import bootstrap_weights, interval
from brainalign.voxelwise.intervals import drawn_r

__all__ = ["LayerComparison", "RegionComparison", "block_weights", "compare_layers"]

_BLOCK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class RegionComparison:
    """Mean r over the units of one region, layer by layer.

    Parameters
    ----------
    r, low, high : ndarray, shape (n_layers,)
        Mean over units, with its 95 % bootstrap interval over stimuli.
    best, second : int
        The two layers with the highest mean; the same where there is only one.
    difference : tuple of 3 float
        Best less second, and its paired interval.
    p : float
        Two-sided, from the share of draws in which the difference has the other sign.
    n_units : int
        That have a correlation with every layer.
    """

    r: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: int
    second: int
    difference: tuple[float, float, float]
    p: float
    n_units: int


@dataclass(frozen=True, eq=False)
class LayerComparison:
    """The best layer of each unit and region.

    Parameters
    ----------
    r : ndarray, shape (n_layers, n_units)
    best : ndarray of int, shape (n_units,)
        The layer with the highest r; -1 for a unit without a correlation with every layer. It means something only
        where the unit is explained at all.
    margin, low, high : ndarray, shape (n_units,)
        By how much the best layer exceeds the next, with the 95 % interval of that difference. The two were chosen by
        the same data: the interval describes, and does not test.
    stability : ndarray, shape (n_units,)
        Share of draws in which the same layer is best.
    regions : dict of str to RegionComparison
    """

    r: np.ndarray
    best: np.ndarray
    margin: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stability: np.ndarray
    regions: dict[str, RegionComparison]

    def preferred(self, significant: ArrayLike) -> np.ndarray:
        """The best layer of units where `significant` is true for some layer (n_layers, n_units), -1 elsewhere."""
        return np.where(np.asarray(significant, dtype=bool).any(axis=0), self.best, -1)


def compare_layers(
    measured: np.ndarray,
    predictions: Sequence[np.ndarray],
    *,
    regions: ArrayLike | None = None,
    blocks: ArrayLike | None = None,
    n_draws: int = 1000,
    seed: int = 0,
) -> LayerComparison:
    """Compare layers unit by unit and region by region on the same held-out stimuli.

    Parameters
    ----------
    measured : ndarray, shape (n_stimuli, n_units)
    predictions : sequence of ndarray, each of the same shape
        One per layer. Stimuli predicted in different folds: see `brainalign.voxelwise.folded.within_folds`.
    regions : array (n_units,), optional
        Name of each unit's region; all units are one region by default.
    blocks : array (n_stimuli,), optional
        Stimuli that are drawn together, such as the bins of one stretch of continuous data.
    n_draws, seed : int

    Returns
    -------
    LayerComparison

    Raises
    ------
    DataError
        When there is no layer, or shapes differ.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> measured = rng.standard_normal((80, 4))
    >>> near, far = (measured + scale * rng.standard_normal((80, 4)) for scale in (0.5, 2.0))
    >>> found = compare_layers(measured, [far, near])
    >>> found.best.tolist(), found.regions["all units"].best, found.regions["all units"].p < 0.01
    ([1, 1, 1, 1], 1, True)
    """
    if not len(predictions) or any(np.shape(one) != measured.shape for one in predictions):
        found = [np.shape(one) for one in predictions]
        raise DataError("every layer predicts every unit and stimulus", expected=measured.shape, found=found)
    n_layers, n_units = len(predictions), measured.shape[1]
    names = np.full(n_units, "all units") if regions is None else np.asarray(regions).astype(str)
    r = np.stack([pearson(measured, one) for one in predictions])
    whole = np.isfinite(r.sum(axis=0))
    best = np.where(whole, np.where(whole, r, -np.inf).argmax(axis=0), -1)
    order = np.argsort(-np.where(whole, r, -np.inf), axis=0, kind="stable")
    first, second = order[0], order[min(1, n_layers - 1)]
    weights = block_weights(blocks, len(measured), n_draws=n_draws, seed=seed)
    each = np.arange(n_units)
    low, high, stability = (np.full(n_units, np.nan) for _ in range(3))
    totals = {str(name): np.zeros((n_layers, n_draws)) for name in dict.fromkeys(names)}
    for columns in row_blocks(n_units, 8 * n_draws * (n_layers + 8), budget=_BLOCK_BYTES):
        draws = np.stack([drawn_r(measured[:, columns], one[:, columns], weights) for one in predictions])
        inside = np.arange(draws.shape[2])
        difference = draws[first[columns], :, inside] - draws[second[columns], :, inside]
        low[columns], high[columns] = interval(difference.T)
        stability[columns] = (draws.argmax(axis=0) == best[columns]).mean(axis=0)
        for name, total in totals.items():
            total += draws[:, :, np.flatnonzero((names == name)[columns] & whole[columns])].sum(axis=2)
    low, high, stability = (np.where(whole, one, np.nan) for one in (low, high, stability))
    margin = np.where(whole, r[first, each] - r[second, each], np.nan)
    compared = {
        name: _region(r[:, whole & (names == name)], total)
        for name, total in totals.items()
        if (whole & (names == name)).any()
    }
    return LayerComparison(r, best, margin, low, high, stability, compared)


def block_weights(blocks: ArrayLike | None, n_stimuli: int, *, n_draws: int, seed: int) -> np.ndarray:
    """Multiplicities of the stimuli in each draw, (n_draws, n_stimuli), the same throughout a block."""
    if blocks is not None and np.shape(blocks) != (n_stimuli,):
        raise DataError("blocks must label every stimulus", expected=(n_stimuli,), found=np.shape(blocks))
    weights = np.concatenate(list(bootstrap_weights(n_draws, n_stimuli, clusters=blocks, seed=seed)))
    # Blocks of different length make draws of different size; a mean takes shares.
    return weights * (n_stimuli / weights.sum(axis=1, keepdims=True))


def _region(r: np.ndarray, totals: np.ndarray) -> RegionComparison:
    """Mean over units and its draws (n_layers, n_draws), from the sums over units."""
    mean, draws = r.mean(axis=1), totals / r.shape[1]
    low, high = interval(draws.T)
    order = np.argsort(-mean, kind="stable")
    best, second = int(order[0]), int(order[min(1, len(order) - 1)])
    difference = draws[best] - draws[second]
    ends = interval(difference)
    below, n_draws = int((difference <= 0).sum()), len(difference)
    p = min(1.0, 2.0 * (min(below, n_draws - below) + 1) / (n_draws + 1)) if best != second else 1.0
    gap = (float(mean[best] - mean[second]), float(ends[0]), float(ends[1]))
    return RegionComparison(mean, low, high, best, second, gap, p, r.shape[1])
