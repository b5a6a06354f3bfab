"""Banded ridge across folds: what each feature space adds to the prediction of stimuli that were held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.parallel import parallel_map
from brainalign.scoring.resampling import interval
from brainalign.splits import Fold, check_disjoint, contiguous_folds
from brainalign.trials import Trials
from brainalign.voxelwise.banded import BandedRidge
from brainalign.voxelwise.folded import fold_of_stimuli, gap_of, rows_of_stimuli
from brainalign.voxelwise.samples import stimulus_rows
from brainalign.voxelwise.variance import _product_sums, product_measure

__all__ = ["RegionShares", "predict_bands", "shares_by_region"]


@dataclass(frozen=True, eq=False)
class RegionShares:
    """How R² divides between bands, mean over the units of a region.

    Parameters
    ----------
    values, low, high : ndarray, shape (n_bands + 1,)
        Product measure of each band, then R² of all together, which is their sum; with 95 % intervals over stimuli.
    n_units : int
        That vary.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_units: int


def predict_bands(
    trials: Trials, bands: Mapping[str, Any], division: Sequence[Fold], *, model: Any = None, n_jobs: int = 1
) -> np.ndarray:
    """What each band adds to the prediction of every stimulus, by banded ridge models that saw none of its trials.

    Features are standardised by the training stimuli of each fold, so that no band is favoured for its scale.

    Parameters
    ----------
    trials : Trials
    bands : mapping of str to Latents
    division : sequence of Fold
        Folds of `contiguous_folds` mark continuous data, whose weights and penalties are chosen by such folds too.
    model : BandedRidge, optional
    n_jobs : int

    Returns
    -------
    ndarray, shape (n_bands, n_stimuli, n_units * n_times)
        Stimuli in order of first appearance; the parts sum to the prediction.

    Raises
    ------
    LeakageError
        When a fold has a stimulus on both sides.
    DataError
        When there is no band, or a stimulus is held out by no fold or by two.
    """
    if not bands:
        raise DataError("no bands", expected="latents by name", found="none")
    for fold in division:
        check_disjoint(trials.stimulus_ids[fold.train], trials.stimulus_ids[fold.test])
    fold_of = fold_of_stimuli(trials, division)
    shown = {name: latents.select(rows_of_stimuli(trials)) for name, latents in bands.items()}
    light = trials.select()
    light.stimuli = None
    work = partial(_held_out, light, shown, BandedRidge() if model is None else model)
    parts = parallel_map(work, list(division), n_jobs=n_jobs, description="folds")
    out = np.empty((len(bands), len(fold_of), parts[0][1].shape[2]), dtype=parts[0][1].dtype)
    for rows, values in parts:
        out[:, rows] = values
    return out


def _held_out(trials: Trials, bands: Mapping[str, Any], model: Any, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the stimuli that a fold holds out, and what each band adds to their prediction."""
    row_of, train = rows_of_stimuli(trials), trials.select(fold.train)
    tested = list(dict.fromkeys(trials.stimulus_ids[fold.test]))
    seen = list(dict.fromkeys(train.stimulus_ids))
    design = {name: _compact(_standardised(latents, seen)) for name, latents in bands.items()}
    rows = [row_of[one] for one in train.stimulus_ids]
    fitted, groups = clone(model), None
    if fold.by != "contiguous":
        groups = train.stimulus_ids
    else:
        fitted.set_params(cv=[tuple(one) for one in contiguous_folds(len(train), gap=gap_of(fold))])
    fitted.fit({name: values[rows] for name, values in design.items()}, train.matrix(), groups=groups)
    held_out = np.array([row_of[one] for one in tested])
    return held_out, fitted.predict_bands({name: values[held_out] for name, values in design.items()})


def _standardised(latents: Any, seen: list[str]) -> np.ndarray:
    """Features (n_stimuli, n_features) in units of the training stimuli's spread, zero where they do not vary."""
    flat, train = stimulus_rows(latents, latents.ids), stimulus_rows(latents, seen)
    mean, spread = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    return np.divide(flat - mean, spread, out=np.zeros(flat.shape), where=spread > 1e-12 * (1 + np.abs(mean)))


def _compact(values: np.ndarray) -> np.ndarray:
    """The same inner products with no more columns than rows; one penalty for the band depends on these alone."""
    if values.shape[1] <= len(values):
        return values
    squares, vectors = np.linalg.eigh(values @ values.T)
    return vectors * np.sqrt(np.clip(squares, 0.0, None))


def shares_by_region(
    measured: np.ndarray, parts: np.ndarray, regions: ArrayLike, *, weights: np.ndarray
) -> tuple[np.ndarray, dict[str, RegionShares]]:
    """Divide R² between bands, by unit and by region.

    Parameters
    ----------
    measured : ndarray, shape (n_stimuli, n_units)
    parts : ndarray, shape (n_bands, n_stimuli, n_units)
        From `predict_bands`.
    regions : array (n_units,) of str
    weights : ndarray, shape (n_draws, n_stimuli)
        Bootstrap multiplicities, for example of `brainalign.voxelwise.preference.block_weights`.

    Returns
    -------
    by_unit : ndarray, shape (n_bands, n_units)
        Product measure; NaN for a unit that does not vary.
    by_region : dict of str to RegionShares
    """
    names = np.asarray(regions).astype(str)
    by_unit = product_measure(measured, parts)
    varies = np.flatnonzero(np.isfinite(by_unit.sum(axis=0)))
    found = {}
    for name in dict.fromkeys(names[varies]):
        columns = varies[names[varies] == name]
        total = np.zeros((len(weights), len(parts)))
        for some in row_blocks(len(columns), 8 * len(parts) * (len(weights) + 4 * len(measured))):
            here = columns[some]
            sums = _product_sums(measured[:, here].astype(np.float64), parts[:, :, here].astype(np.float64))
            total += sums(weights, slice(None)).sum(axis=2)
        draws = np.column_stack([total, total.sum(axis=1)]) / len(columns)
        mean = by_unit[:, columns].mean(axis=1)
        found[name] = RegionShares(np.append(mean, mean.sum()), *interval(draws), len(columns))
    return by_unit, found
