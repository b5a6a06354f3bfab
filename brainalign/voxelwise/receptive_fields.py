"""`FactorisedReceptiveField`: each unit sees one place of the feature maps, and weighs the features there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.parallel import progress
from brainalign.voxelwise.plan import plan_ridge
from brainalign.voxelwise.samples import resolve_folds
from brainalign.voxelwise.spatial import Paired, SpatialModel, TokenMaps

__all__ = ["FactorisedReceptiveField", "gaussian_pools"]


def gaussian_pools(
    grid: tuple[int, int], sizes: Sequence[float], n_centres: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian pooling maps at a lattice of centres and several sizes, each summing to one.

    Parameters
    ----------
    grid : (int, int)
        Height and width in cells.
    sizes : sequence of float
        Standard deviations in cells; infinity pools the whole image (one map, whatever the centre).
    n_centres : int, optional
        Centres along each side; every cell by default.

    Returns
    -------
    maps : ndarray, shape (n_pools, h, w)
    centres : ndarray, shape (n_pools, 2)
        Row and column, in cells; the middle of the image for the infinite size.
    sizes : ndarray, shape (n_pools,)

    Examples
    --------
    >>> maps, centres, sizes = gaussian_pools((3, 3), [0.5, np.inf])
    >>> len(maps), centres[4].tolist(), maps[4].argmax(), maps[-1, 0, 0].round(3)
    (10, [1.0, 1.0], np.int64(4), np.float64(0.111))
    """
    sides = [
        np.arange(n, dtype=float)
        if n_centres is None or n_centres >= n
        else (np.arange(n_centres) + 0.5) * n / n_centres - 0.5
        for n in grid
    ]
    lattice = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    finite = [size for size in sizes if np.isfinite(size)]
    centres = np.tile(lattice, (len(finite), 1))
    spread = np.repeat(np.array(finite, dtype=float), len(lattice))
    if len(finite) < len(sizes):
        centres = np.vstack([centres, (np.array(grid) - 1) / 2])
        spread = np.append(spread, np.inf)
    rows, columns = np.meshgrid(*(np.arange(n) for n in grid), indexing="ij")
    squared = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    maps = np.exp(-squared / (2 * spread[:, None, None] ** 2))
    return maps / maps.sum(axis=(1, 2), keepdims=True), centres, spread


class FactorisedReceptiveField(SpatialModel):
    """Feature-weighted receptive fields: where a unit looks, times what it looks for.

    The response of unit v to feature maps phi is ``b_v + sum_k w_vk sum_s g_v(s) phi_k(s)`` with g_v a Gaussian
    pool (St-Yves & Naselaris 2018, NeuroImage 180, eqs. 1-4, without their non-linearity). For every candidate pool
    the pooled features are decomposed once, and all units are fitted and cross-validated through that factor; each
    unit keeps the pool (and penalty) that predicts it best.

    Parameters
    ----------
    sizes : "auto" or sequence of float
        Candidate standard deviations in cells. "auto" doubles from half a cell to half the grid, and adds
        infinity, the whole image.
    n_centres : int or None
        Candidate centres along each side of the grid; None takes every cell.
    alphas, cv, scoring
        As in `brainalign.voxelwise.Ridge`; one penalty per unit and pool.
    grid : (int, int), optional
        Height and width of tokens that do not fill a square.

    Attributes
    ----------
    centres_ : ndarray, shape (n_units, 2)
        Row and column of the receptive field, in cells.
    sizes_ : ndarray, shape (n_units,)
        Its standard deviation in cells; infinity where the whole image serves best.
    maps_ : ndarray, shape (n_units, h, w)
        The pools as images, each summing to one.
    feature_weights_ : ndarray, shape (n_channels, n_units)
    intercept_ : ndarray, shape (n_units,)
    best_alphas_, cv_scores_ : ndarray, shape (n_units,)
        The score is the best over pools, so a little optimistic: score on new stimuli.
    pool_scores_ : ndarray, shape (n_pools, n_units)
        Cross-validated score of each candidate, with `pool_maps_` (n_pools, h, w).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> maps = rng.standard_normal((200, 3, 5, 5))
    >>> responses = maps[:, :, 1, 3] @ rng.standard_normal((3, 2))
    >>> model = FactorisedReceptiveField().fit(maps, responses)
    >>> model.centres_.tolist()
    [[1.0, 3.0], [1.0, 3.0]]
    """

    def __init__(
        self,
        sizes: Any = "auto",
        n_centres: int | None = None,
        *,
        alphas: Any = "auto",
        cv: Any = 5,
        scoring: str = "r2",
        grid: tuple[int, int] | None = None,
    ) -> None:
        self.sizes = sizes
        self.n_centres = n_centres
        self.alphas = alphas
        self.cv = cv
        self.scoring = scoring
        self.grid = grid

    def fit(self, X: Any, y: Any, groups: Any = None) -> FactorisedReceptiveField:
        """Choose a pool for each unit and fit its feature weights.

        Parameters
        ----------
        X : array (n_stimuli, n_channels, h, w) or (n_stimuli, n_tokens, n_channels), or Latents of such
        y : array (n_stimuli, n_units), or Trials when X is Latents
            Trials are joined with their latents by `stimulus_id`.
        groups : array (n_samples,), optional
            Samples that stay together in cross-validation. The `stimulus_id` of Trials by default.

        Raises
        ------
        DataError
            When X has no grid, something is not finite, or they do not pair.
        """
        paired = self._pair(X, y, groups)
        divisions = resolve_folds(self.cv, len(paired.rows), paired.groups)
        if divisions is None:
            raise DataError("pools are chosen by cross-validation", expected="cv as a number, folds, 'loo' or 'gcv'")
        sizes = self._sizes(self.grid_)
        self.pool_maps_, pool_centres, pool_sizes = gaussian_pools(self.grid_, sizes, self.n_centres)
        self._search(paired, divisions)
        self.centres_, self.sizes_ = pool_centres[self._best], pool_sizes[self._best]
        return self

    def _sizes(self, grid: tuple[int, int]) -> list[float]:
        if isinstance(self.sizes, str):
            if self.sizes != "auto":
                raise DataError("unknown sizes", expected="'auto' or numbers", found=self.sizes)
            return [*(0.5 * 2.0 ** np.arange(1 + int(np.log2(max(grid))))), np.inf]
        sizes = [float(size) for size in self.sizes]
        if not sizes or not min(sizes) > 0:
            raise DataError("sizes of receptive fields must be positive", found=self.sizes)
        if self.n_centres is not None and self.n_centres < 1:
            raise DataError("n_centres must be at least 1", found=self.n_centres)
        return sizes

    def _search(self, paired: Paired, divisions: Any) -> None:
        """One decomposition per candidate pool, all units through it; keep the best of each unit."""
        n_units, n_pools = self.n_units_, len(self.pool_maps_)
        self.pool_scores_ = np.full((n_pools, n_units), np.nan)
        self.feature_weights_ = np.zeros((self.n_channels_, n_units), dtype=np.float32)
        self.intercept_, self.best_alphas_ = np.zeros(n_units), np.full(n_units, np.nan)
        self._best = np.full(n_units, -1)
        scores = np.full(n_units, -np.inf)
        flat = self.pool_maps_.reshape(n_pools, -1)
        together = row_blocks(n_pools, 4 * len(paired.maps) * self.n_channels_)
        for pools in progress(list(together), description="receptive fields"):
            for number, pooled in enumerate(_pool(paired.maps, flat[pools]), pools.start):
                plan = plan_ridge(pooled[paired.rows], self.alphas, divisions)
                fit = plan.fit(paired.responses, scoring=self.scoring)
                self.pool_scores_[number] = fit.cv_scores
                filled = np.nan_to_num(fit.cv_scores, nan=-np.inf)
                better = (filled > scores) | (self._best < 0)
                scores[better], self._best[better] = filled[better], number
                self.feature_weights_[:, better] = fit.coef[:, better]
                self.intercept_[better] = fit.intercept[better]
                self.best_alphas_[better] = fit.best_alphas[better]
        self.cv_scores_ = self.pool_scores_[self._best, np.arange(n_units)]

    @property
    def maps_(self) -> np.ndarray:
        """Receptive fields as images, (n_units, h, w)."""
        check_is_fitted(self, "centres_")
        return self.pool_maps_[self._best]

    def predict(self, X: Any) -> np.ndarray:
        """Responses to stimuli.

        Parameters
        ----------
        X : as in `fit`

        Returns
        -------
        ndarray, shape (n_stimuli, n_units), float32
        """
        maps = self._maps_like_fitted(X)
        used, which = np.unique(self._best, return_inverse=True)
        predicted = np.empty((len(maps), self.n_units_), dtype=np.float32)
        pools = self.pool_maps_[used].reshape(len(used), -1)
        for some in row_blocks(len(used), 4 * len(maps) * self.n_channels_):
            for number, features in enumerate(_pool(maps, pools[some]), some.start):
                units = np.flatnonzero(which == number)
                predicted[:, units] = features @ self.feature_weights_[:, units] + self.intercept_[units]
        return predicted[:, 0] if self._one_dimensional else predicted


def _pool(maps: TokenMaps, pools: np.ndarray) -> np.ndarray:
    """Features under each pool, (n_pools, n_stimuli, n_channels) float32."""
    pooled = np.empty((len(pools), len(maps), maps.shape[2]), dtype=np.float32)
    for rows in maps.blocks(4 * len(pools) * maps.shape[2]):
        pooled[:, rows] = np.matmul(pools.astype(np.float32), maps[rows]).transpose(1, 0, 2)
    return pooled
