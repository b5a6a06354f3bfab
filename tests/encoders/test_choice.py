"""Hyper-parameters chosen inside the training set: the planted choice is found, and test trials take no part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainalign.encoders import LinearEncoder, MindEye
from brainalign.encoders.choice import choose_params, with_params
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.trials import Trials

CHOICES = [{"alphas": alpha, "cv": None} for alpha in (1e-4, 300.0, 1e9)]


def subject(seed: int = 0, n: int = 60) -> tuple[Trials, Latents]:
    """Far more voxels than samples and much noise, so that a middling penalty is best."""
    rng = np.random.default_rng(seed)
    latents = Latents(rng.standard_normal((n, 4)), range(n), space="toy")
    responses = latents.values @ rng.standard_normal((4, 300)) + 6 * rng.standard_normal((n, 300))
    return Trials(responses, pd.DataFrame({"stimulus_id": range(n)})), latents


def test_the_best_choice_is_that_of_a_loop_over_inner_folds():
    from brainalign.scoring.identification import two_way_identification
    from brainalign.splits import folds

    trials, latents = subject()
    best, scores = choose_params(LinearEncoder(rescale=False), CHOICES, trials, latents, seed=1)
    by_hand = []
    for choice in CHOICES:
        held = []
        for fold in folds(trials, "stimulus_id", n_splits=3, seed=1):
            made = LinearEncoder(rescale=False, **choice).fit(trials.select(fold.train), latents)
            guess = made.predict(trials.select(fold.test))
            held.append(two_way_identification(guess, latents.select(guess.ids)).value)
        by_hand.append(np.mean(held))
    np.testing.assert_allclose(scores, by_hand)
    assert best == CHOICES[int(np.argmax(by_hand))]


def test_what_is_not_among_the_trials_changes_nothing():
    trials, latents = subject()
    train = trials.select(trials=np.arange(40))
    known = choose_params(LinearEncoder(rescale=False), CHOICES, train, latents)
    other = latents.values.copy()
    other[40:] = np.random.default_rng(9).standard_normal(other[40:].shape)
    changed = Latents(other, latents.ids, space="toy")
    assert choose_params(LinearEncoder(rescale=False), CHOICES, train, changed) == known


def test_mappings_are_changed_key_by_key_and_strangers_refused():
    made = with_params(MindEye(training={"n_epochs": 3, "batch_size": 8}), {"hidden": 32, "training": {"n_epochs": 5}})
    assert made.hidden == 32 and made.training == {"n_epochs": 5, "batch_size": 8}
    with pytest.raises(DataError, match="no parameter 'wide'"):
        with_params(MindEye(), {"wide": 1})
    with pytest.raises(DataError, match="nothing to choose from"):
        choose_params(MindEye(), [], *subject())
