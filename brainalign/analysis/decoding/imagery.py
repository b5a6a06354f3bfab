"""Imagined pictures, read by an encoder that was trained on pictures seen, with a permutation p-value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from brainalign.errors import DataError
from brainalign.scoring.identification import join_by_id
from brainalign.scoring.resampling import mean_ci, permutation_p, permutations
from brainalign.scoring.score import Score
from brainalign.splits import check_disjoint

__all__ = ["ImageryResult", "decode_imagery"]


@dataclass(frozen=True)
class ImageryResult:
    """How well imagined stimuli are told apart.

    Attributes
    ----------
    score : Score
        Mean rank percentile of the imagined stimulus among all that were imagined; chance 0.5.
    p_value : float
    null : array (n_permutations,)
        The same, with predictions dealt to stimuli at random.
    """

    score: Score
    p_value: float
    null: NDArray[np.float64]


def decode_imagery(
    encoder: Any, trials: Any, latents: Any, *, target: str | None = None, n_permutations: int = 2000, seed: int = 0
) -> ImageryResult:
    """Which of the imagined stimuli is it? By an encoder that never saw them, let alone imagery of them.

    Predictions are compared with latents by correlation, after the mean over all imagined stimuli is taken from
    either side: imagery differs from vision in level, which would pull every prediction to one stimulus.

    Parameters
    ----------
    encoder : fitted encoder
    trials : Trials
        Of imagery; repetitions are averaged.
    latents : Latents, or a dict of them
    target : str, optional
        Which of several latent spaces decides, where the encoder predicts a dict.
    n_permutations : int
    seed : int

    Returns
    -------
    ImageryResult

    Raises
    ------
    DataError
        When fewer than three stimuli were imagined, or the target is not named.
    LeakageError
        When the encoder was trained on an imagined stimulus.
    """
    seen = getattr(getattr(encoder, "provenance_", None), "stimulus_ids", ())
    check_disjoint(seen, trials.stimulus_ids)
    predicted = encoder.predict(trials)
    if isinstance(predicted, Mapping):
        if target not in predicted:
            raise DataError("which latent space decides?", expected=list(predicted), found=target, fix="target='image'")
        predicted, latents = predicted[target], latents[target]
    guesses, truth = join_by_id(predicted, latents)
    if len(guesses) < 3:
        raise DataError("too few imagined stimuli to tell apart", expected="3 or more", found=len(guesses))
    places = _places(guesses, truth)
    rows = np.arange(len(places))
    null = np.array([places[rows, order].mean() for order in permutations(len(places), n_permutations, seed=seed)])
    own = places[rows, rows]
    low, high = mean_ci(own, seed=seed)
    score = Score(
        "imagery identification",
        float(own.mean()),
        ceiling=None,
        chance=0.5,
        low=float(low),
        high=float(high),
        n=len(own),
        split=None,
        protocol=f"zero-shot, gallery of {len(own)} imagined stimuli, correlation",
        how="mean rank percentile; percentile bootstrap over stimuli",
        why={"ceiling": "imagery has no repetitions that a ceiling could rest on", "split": "nothing was fitted"},
    )
    return ImageryResult(score, float(permutation_p(own.mean(), null)), null)


def _places(guesses: NDArray, truth: NDArray) -> NDArray[np.float64]:
    """Rank percentile of each stimulus (column) for each prediction (row), ties half."""
    sides = []
    for side in (guesses, truth):
        centred = np.asarray(side, dtype=np.float64) - np.mean(side, axis=0)
        centred -= centred.mean(axis=1, keepdims=True)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        sides.append(centred / np.where(length > 0, length, 1.0))
    ranks = rankdata(np.round(sides[0] @ sides[1].T, 11), axis=1)
    return (ranks - 1) / (len(truth) - 1)
