"""Adaptive geo-topological dependence: distance correlation at the thresholds that show it best, tested honestly.

After Lin & Kriegeskorte's adaptive geo-topological independence criterion. All thresholded and centred distance
matrices of a variable are made once; the map over all pairs of thresholds is one matrix product, and a permutation
only re-indexes one side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.rsa.backend import as_doubles, as_like, check_permutations, namespace, on_device, to_numpy
from brainalign.analysis.rsa.condensed import to_square
from brainalign.analysis.rsa.topology import rgtm, threshold_grid
from brainalign.errors import DataError
from brainalign.scoring.resampling import permutation_p, permutations

__all__ = ["Dependence", "adaptive_dependence"]


@dataclass(frozen=True)
class Dependence:
    """Strength of dependence of two variables, and its permutation test.

    Attributes
    ----------
    statistic : float
        Largest distance correlation over all pairs of thresholds.
    p : float
        The maximum is taken anew in every permutation.
    thresholds : array (2, 2)
        (low, high) of the first and of the second variable at the maximum.
    map : array (n_thresholds, n_thresholds)
        Distance correlations.
    null : array (n_permutations,)
        Maxima under permutation.
    """

    statistic: float
    p: float
    thresholds: NDArray[np.float64]
    map: NDArray[np.float64]
    null: NDArray[np.float64]


def adaptive_dependence(
    first: Any, second: Any, *, step: float = 0.25, n_permutations: int = 500, seed: int = 0
) -> Dependence:
    """Do two sets of distances between the same samples depend on each other, at any scale?

    Parameters
    ----------
    first, second : array or tensor (n_pairs,)
        Condensed distances between the same samples by two variables (two RDMs, or stimuli and responses).
    step : float
        Grid of thresholds, as quantiles of the distances between *different* samples.
    n_permutations, seed : int

    Returns
    -------
    Dependence
        Distances below the lower threshold become 0 and those above the upper one 1, scaled in between; their double
        centred matrices A and B give ``sqrt(|<A, B>| / (|A| |B|))``.

    Examples
    --------
    >>> x = np.linspace(0, 1, 12)
    >>> d = np.abs(x[:, None] - x)[np.triu_indices(12, 1)]
    >>> result = adaptive_dependence(d, d**3, n_permutations=99)
    >>> round(result.statistic, 6), result.p
    (1.0, 0.01)
    """
    check_permutations(n_permutations)
    grid = threshold_grid(step)
    a, b = _centred(first, grid), _centred(second, grid)
    b = as_like(b, a)
    if a.shape != b.shape:
        raise DataError("distances between the same samples", expected=np.shape(first), found=np.shape(second))
    n_samples = a.shape[1]
    left = a.reshape(len(grid), -1)
    table = to_numpy(_dependence_map(left, b))
    null = np.array(
        [
            float(_dependence_map(left, b[:, order[:, None], order]).max())
            for order in (on_device(one, b) for one in permutations(n_samples, n_permutations, seed=seed))
        ]
    )
    i, j = np.unravel_index(int(table.argmax()), table.shape)
    p = float(permutation_p(table.max(), null))
    return Dependence(float(table.max()), p, np.stack([grid[i], grid[j]]), table, null)


def _dependence_map(left: Any, b: Any) -> Any:
    xp = namespace(b)
    return xp.sqrt(xp.abs(left @ b.reshape(len(b), -1).T))


def _centred(d: Any, grid: NDArray) -> Any:
    """Unit double-centred matrices (n_thresholds, n, n) of the thresholded distances; zero where nothing is left."""
    condensed = as_doubles(d)
    if condensed.ndim != 1:
        raise DataError("one set of condensed distances", expected="(n_pairs,)", found=tuple(condensed.shape))
    xp = namespace(condensed)
    cut = [rgtm(condensed, low=low, high=high, ranked=False) for low, high in grid.tolist()]
    matrices = to_square(xp.nan_to_num(xp.stack(cut)))
    matrices = matrices - matrices.mean(1)[:, None, :]
    matrices = matrices - matrices.mean(2)[:, :, None]
    norm = xp.sqrt(xp.einsum("tij,tij->t", matrices, matrices))[:, None, None]
    none = norm <= 1e-12
    return xp.where(none, xp.zeros_like(matrices), matrices / xp.where(none, xp.ones_like(norm), norm))
