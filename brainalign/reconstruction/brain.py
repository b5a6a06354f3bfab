"""Brain correlation: would the reconstruction have evoked the measured response? (Scotti et al. 2024, MindEye2.)"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.scoring.cosine import row_correlations
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score
from brainalign.splits import check_disjoint
from brainalign.trials import Trials

__all__ = ["brain_correlation"]


def brain_correlation(
    features: Latents, trials: Trials, model: Any, *, protocol: str, seen: Latents | None = None, seed: int = 0
) -> dict[str, Score]:
    """Correlation over voxels of the response predicted for a reconstruction with the one measured, by region.

    Parameters
    ----------
    features : Latents
        Of the reconstructions, under the ids of the pictures seen, in the space `model` reads.
    trials : Trials
        The test trials; repetitions are averaged.
    model : Ridge
        A voxelwise model that saw none of the test pictures, and was not used to make the reconstructions.
    protocol : str
    seen : Latents, optional
        Of the pictures seen: what the model makes of them is the ceiling.
    seed : int
        Of the bootstrap over pictures, and of the circle in which pictures are exchanged for the chance level.

    Returns
    -------
    dict of str to Score
        ``"brain correlation, all"``, and one for each region of ``trials.units["roi"]``.

    Raises
    ------
    LeakageError
        When the model was fitted on a test picture.
    DataError
        When the model was fitted on bare arrays, so that nobody can tell; or units or space are not those fitted on.
    """
    if getattr(model, "stimulus_ids_", None) is None:
        raise DataError(
            "this model does not know which pictures it was fitted on",
            expected="a voxelwise model fitted on Latents and Trials",
            found=type(model).__name__,
            fix="Ridge().fit(latents, train)",
        )
    check_disjoint(model.stimulus_ids_, trials.stimulus_ids)
    measured = trials.average("stimulus_id")
    ids = list(measured.stimulus_ids)
    guesses = {"own": model.predict(features.select(ids))}
    if seen is not None:
        guesses["ceiling"] = model.predict(seen.select(ids))
    if guesses["own"].shape != measured.responses.shape:
        raise DataError("the model predicts other units", expected=measured.shape, found=guesses["own"].shape)
    regions = {"all": np.ones(measured.n_units, dtype=bool)}
    if "roi" in measured.units:
        roi = measured.units["roi"].astype(str)
        regions |= {name: (roi == name).to_numpy() for name in dict.fromkeys(roi) if (roi == name).sum() > 1}
    circle = np.random.default_rng(seed).permutation(len(ids))
    other = np.empty_like(circle)
    other[circle] = np.roll(circle, 1)
    scores = {}
    for name, units in regions.items():
        truth = measured.responses[:, units].astype(np.float64)
        r = {which: row_correlations(values[:, units], truth) for which, values in guesses.items()}
        low, high = mean_ci(r["own"], seed=seed)
        scores[f"brain correlation, {name}"] = Score(
            f"brain correlation, {name}",
            float(r["own"].mean()),
            ceiling=float(r["ceiling"].mean()) if seen is not None else None,
            chance=float(row_correlations(guesses["own"][other][:, units], truth).mean()),
            low=float(low),
            high=float(high),
            n=len(ids),
            split=trials.info.get("split", {}).get("hash"),
            protocol=f"{protocol}; {type(model).__name__} on {features.space}",
            how="Pearson over voxels for each picture, mean; bootstrap over pictures; chance: others' prediction",
            why={"ceiling": "no features of the pictures seen were given", "split": "the trials carry no split hash"},
        )
    return scores
