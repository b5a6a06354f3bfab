"""Brain correlation: would the reconstruction have evoked the measured response? (Scotti et al. 2024, MindEye2.)"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.reconstruction.pairs import random_circle
from brainalign.scoring.cosine import row_correlations
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score
from brainalign.splits import check_disjoint
from brainalign.trials import Trials

__all__ = ["brain_correlation", "response_correlation"]


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
    return response_correlation(
        guesses["own"],
        measured,
        ceiling=guesses.get("ceiling"),
        protocol=f"{protocol}; {type(model).__name__} on {features.space}",
        split=trials.info.get("split", {}).get("hash"),
        seed=seed,
    )


def response_correlation(
    guess: np.ndarray,
    measured: Trials,
    *,
    protocol: str,
    ceiling: np.ndarray | None = None,
    within: Any = None,
    split: str | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """Correlation over voxels of predicted and measured responses for each picture, and its mean, by region.

    Parameters
    ----------
    guess : array (n_stimuli, n_units)
        Predicted by models that saw none of these pictures, in the order of `measured`.
    measured : Trials
        One trial a stimulus.
    protocol : str
    ceiling : array (n_stimuli, n_units), optional
        Predicted for the pictures seen.
    within : array (n_stimuli,), optional
        Fold of each picture: for the chance level only pictures of one fold are exchanged.
    split : str, optional
    seed : int

    Returns
    -------
    dict of str to Score
        As `brain_correlation`.
    """
    regions = {"all": np.ones(measured.n_units, dtype=bool)}
    if "roi" in measured.units:
        roi = measured.units["roi"].astype(str)
        regions |= {name: (roi == name).to_numpy() for name in dict.fromkeys(roi) if (roi == name).sum() > 1}
    other = random_circle(np.zeros(len(guess)) if within is None else np.asarray(within), seed)
    scores = {}
    for name, units in regions.items():
        truth = measured.responses[:, units].astype(np.float64)
        r = row_correlations(guess[:, units], truth)
        low, high = mean_ci(r, seed=seed)
        scores[f"brain correlation, {name}"] = Score(
            f"brain correlation, {name}",
            float(r.mean()),
            ceiling=None if ceiling is None else float(row_correlations(ceiling[:, units], truth).mean()),
            chance=float(row_correlations(guess[other][:, units], truth).mean()),
            low=float(low),
            high=float(high),
            n=len(guess),
            split=split,
            protocol=protocol,
            how="Pearson over voxels for each picture, mean; bootstrap over pictures; chance: others' prediction",
            why={"ceiling": "no features of the pictures seen were given", "split": "the trials carry no split hash"},
        )
    return scores
