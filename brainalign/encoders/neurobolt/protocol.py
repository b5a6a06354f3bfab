"""One protocol for every model of BOLD from EEG: stretches of time held out, a guard gap around, each region tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from brainalign.encoders.neurobolt.bands import BANDS, Bands, band_occlusion, band_power
from brainalign.latents.base import Latents
from brainalign.parallel import parallel_map
from brainalign.splits import Fold, check_windows_apart
from brainalign.trials import Trials
from brainalign.voxelwise.many import Encodings, encode_many

__all__ = ["HeldOut", "predict_held_out"]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What each model predicts of volumes that it was not fitted on.

    Parameters
    ----------
    encodings : Encodings
        Of subject "" by model. `Encodings.scores` gives r of each region within folds, and p and q by shuffling blocks
        of ``chunk`` volumes.
    lost : dict of str to ndarray (n_bands, n_rois)
        For networks, r that is lost without each band, mean over folds (see `band_occlusion`).
    """

    encodings: Encodings
    lost: dict[str, np.ndarray]


def predict_held_out(
    models: Mapping[str, Any],
    trials: Trials,
    bold: Latents,
    division: Sequence[Fold],
    *,
    bands: Bands = BANDS,
    n_jobs: int = 1,
) -> HeldOut:
    """Predict every volume by models fitted on volumes whose windows do not touch its own.

    Parameters
    ----------
    models : mapping of name to NeuroBOLT or float
        A number is lagged ridge regression on `band_power` in steps of so many seconds, its penalties chosen by
        contiguous folds with the same gap.
    trials, bold : Trials, Latents
        Of one subject, as `brainalign.loaders.ephys.bold.pair_bold` makes them.
    division : sequence of Fold
        Of `brainalign.splits.contiguous_folds`; the gap times the repetition time must be at least the window.
    bands : mapping of name to (low, high)
    n_jobs : int

    Raises
    ------
    LeakageError
        When windows overlap across a split.
    DataError
        When a volume has no BOLD, or is held out by no fold.

    Examples
    --------
    >>> from brainalign.loaders.ephys.bold import pair_bold
    >>> from brainalign.loaders.simulated.eeg_fmri import PairDesign, simulate_eeg_fmri
    >>> from brainalign.splits import contiguous_folds
    >>> design = PairDesign(n_volumes=120, window=8.0, sfreq=64.0, strength=4.0)
    >>> eeg, bold, _ = simulate_eeg_fmri(design)
    >>> trials, bold = pair_bold((eeg, 64.0), bold, onsets=bold.index, window=8.0)
    >>> held_out = predict_held_out({"ridge": 2.0}, trials, bold, contiguous_folds(120, n_splits=4, gap=4))
    >>> scores = held_out.encodings.scores(chunk=10)["", "ridge"]
    >>> scores.q < 0.05
    array([ True,  True, False])
    """
    for fold in division:
        check_windows_apart(trials, fold.train, fold.test)
    rois = bold.meta.get("rois", [f"roi {number}" for number in range(bold.values.shape[1])])
    targets = Trials(bold.at(trials.stimulus_ids), trials.trials, pd.DataFrame({"name": rois}))
    predicted, lost = {}, {}
    for name, model in models.items():
        if isinstance(model, int | float):
            space = {name: band_power(trials, bands=bands, step=model)}
            made = encode_many({"": targets}, space, cv={"": division}, n_jobs=n_jobs)
            predicted["", name] = made.predicted["", name]
            continue
        work = [_Work(model, trials, bold, fold, bands) for fold in division]
        parts = parallel_map(_held_out, work, n_jobs=n_jobs, description=name)
        predicted["", name] = np.empty(targets.shape)
        for fold, (values, _) in zip(division, parts, strict=True):
            predicted["", name][fold.test] = values
        lost[name] = np.mean([one for _, one in parts], axis=0)
    return HeldOut(Encodings({"": targets}, {"": division}, predicted), lost)


@dataclass(frozen=True, eq=False)
class _Work:
    model: Any
    trials: Trials
    bold: Latents
    fold: Fold
    bands: Bands


def _held_out(work: _Work) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of one fold, and what is lost without each band."""
    test = work.trials.select(work.fold.test)
    fitted = clone(work.model).fit(work.trials.select(work.fold.train), work.bold)
    lost = band_occlusion(fitted, test, work.bold, bands=work.bands)
    return fitted.predict(test).at(test.stimulus_ids), np.array(list(lost.values()))
