"""Hyper-parameters of an encoder, chosen inside the training set by identification of stimuli held out there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from brainalign.errors import DataError
from brainalign.scoring.identification import two_way_identification
from brainalign.splits import folds

__all__ = ["choose_params", "with_params"]


def choose_params(
    encoder: Any, choices: Sequence[Mapping[str, Any]], trials: Any, latents: Any, *, n_splits: int = 3, seed: int = 0
) -> tuple[dict[str, Any], list[float]]:
    """The best of several hyper-parameters, by cross-validation over the stimuli of the training trials alone.

    Give it the training side of a fold, never the trials that will be scored: sizes and penalties picked on the folds
    that are reported lean upwards.

    Parameters
    ----------
    encoder : Encoder
        Not fitted; copies are.
    choices : sequence of mapping
        Changes to the hyper-parameters; a mapping inside, such as ``training``, is changed key by key.
    trials : Trials
    latents : Latents, or dict of str to Latents
        Scored on the first.
    n_splits : int
        Inner folds; the repetitions of a stimulus stay together.
    seed : int
        Of the inner folds.

    Returns
    -------
    chosen : dict
        The choice with the highest mean two-way identification; of equals the first.
    scores : list of float
        Of each choice.

    Raises
    ------
    DataError
        When there is nothing to choose from, or too few stimuli.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainalign.encoders import LinearEncoder
    >>> from brainalign.latents import Latents
    >>> from brainalign.trials import Trials
    >>> rng = np.random.default_rng(0)
    >>> latents = Latents(rng.standard_normal((60, 5)), range(60), space="toy")
    >>> responses = latents.values @ rng.standard_normal((5, 40)) + rng.standard_normal((60, 40))
    >>> trials = Trials(responses, pd.DataFrame({"stimulus_id": range(60)}))
    >>> choices = [{"alphas": 1e9, "cv": None}, {"alphas": 10.0, "cv": None}]
    >>> choose_params(LinearEncoder(rescale=False), choices, trials, latents)[0]["alphas"]
    10.0
    """
    if not choices:
        raise DataError("nothing to choose from", expected="at least one choice of hyper-parameters", found=choices)
    scores = []
    division = folds(trials, "stimulus_id", n_splits=n_splits, seed=seed)
    for choice in choices:
        found = []
        for fold in division:
            fitted = with_params(encoder, choice).fit(trials.select(fold.train), latents)
            predicted = fitted.predict(trials.select(fold.test))
            guess, truth = (
                next(iter(one.values())) if isinstance(one, Mapping) else one for one in (predicted, latents)
            )
            found.append(float(two_way_identification(guess, truth.select(guess.ids)).value or 0.0))
        scores.append(float(np.mean(found)))
    return dict(choices[int(np.argmax(scores))]), scores


def with_params(encoder: Any, changes: Mapping[str, Any]) -> Any:
    """A fresh copy with some hyper-parameters changed; of a mapping among them, only the keys that are given."""
    made = clone(encoder)
    known = made.get_params(deep=False)
    if strange := sorted(set(changes) - set(known)):
        raise DataError(f"{type(made).__name__} has no parameter '{strange[0]}'", expected=sorted(known), found=strange)
    merged = {
        name: {**known[name], **value} if isinstance(value, Mapping) and isinstance(known[name], Mapping) else value
        for name, value in changes.items()
    }
    return made.set_params(**merged)
