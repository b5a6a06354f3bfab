"""Pictures that no honest table goes without: true latents, no brain, a shuffled brain, and the training set itself.

Shirakawa et al. 2025 showed that test pictures like those in training, together with a generator that falls into a few
outputs, make convincing reconstructions out of little. Each control takes one part away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from sklearn.base import clone

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.reconstruction.generators.simple import Retrieval
from brainalign.splits import check_disjoint
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = [
    "PictureMaker",
    "control_pictures",
    "nearest_training",
    "noise_responses",
    "shuffle_pairing",
    "training_bank",
]


class PictureMaker(Protocol):
    """Whatever turns latents into pictures."""

    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        """Pictures by the ids of the latents."""
        ...


def control_pictures(
    encoder: Any,
    generator: PictureMaker,
    train: Trials,
    test: Trials,
    latents: Any,
    *,
    seed: int = 0,
    shuffles: int = 1,
) -> dict[str, Stimuli]:
    """Pictures of every control, for `reconstruction_table`.

    ========================  =================================================================================
    generator ceiling         the generator fed with the true latents of the test pictures
    nearest training picture  the training picture whose latents lie nearest to the predicted ones
    shuffled brain            an encoder fitted anew on responses paired with other stimuli's latents
    noise input               the encoder fed with noise of the mean and SD of the training responses
    ========================  =================================================================================

    Parameters
    ----------
    encoder : Encoder
        Fitted on `train`; a copy with the same hyper-parameters is fitted for the shuffled brain.
    generator : PictureMaker
    train, test : Trials
        With the pictures seen.
    latents : Latents, or dict of str to Latents
        What the encoder was fitted on, with the test pictures in it. Neighbours are sought in the first.
    seed : int
    shuffles : int
        Shuffled brains, each an encoder of its own; all but the first are called ``"shuffled brain #2"`` and so on,
        and `reconstruction_table` gives their mean with an interval over them.

    Notes
    -----
    A shuffled brain is one wrong map, the same for all test pictures, and where few dimensions (the brightness of the
    background, say) decide which pictures look alike it can agree or disagree with all of them at once. An interval
    over pictures is therefore too narrow for one shuffle: over many its mean is chance, while a single one may lie
    beyond its own interval on either side. Ask for several where the row is to be tested against.

    Raises
    ------
    LeakageError
        When train and test share a stimulus.
    DataError
        When no shuffle is asked for.
    """
    if int(shuffles) != shuffles or shuffles < 1:
        raise DataError("shuffled brains are counted", expected="an integer from 1", found=shuffles)
    check_disjoint(train.stimulus_ids, test.stimulus_ids)
    ids = list(dict.fromkeys(test.stimulus_ids))
    shuffled = {}
    for number in range(int(shuffles)):
        own = seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        wrong = clone(encoder).fit(shuffle_pairing(train, seed=own), latents)
        name = "shuffled brain" if number == 0 else f"shuffled brain #{number + 1}"
        shuffled[name] = generator.generate(wrong.predict(test), seed=seed)
    noise = noise_responses(train, test, seed=seed)
    return {
        "generator ceiling": generator.generate(_each(latents, ids), seed=seed),
        "nearest training picture": nearest_training(encoder.predict(test), latents, train),
        **shuffled,
        "noise input": generator.generate(encoder.predict(noise), seed=seed),
    }


def _each(latents: Any, ids: list[str]) -> Any:
    if isinstance(latents, Mapping):
        return {name: one.select(ids) for name, one in latents.items()}
    return latents.select(ids)


def _first(latents: Any) -> Latents:
    return next(iter(latents.values())) if isinstance(latents, Mapping) else latents


def nearest_training(predicted: Any, latents: Any, train: Trials) -> Stimuli:
    """For each prediction the training picture with the most similar latents (cosine about the training mean)."""
    return training_bank(_first(latents), train).generate(_first(predicted))


def training_bank(latents: Latents, train: Trials) -> Retrieval:
    """Retrieval from the training pictures, by cosine about their mean."""
    if train.stimuli is None or not train.stimuli.has_images:
        raise DataError("the nearest training picture needs the pictures", fix="trials.with_stimuli(stimuli)")
    return Retrieval(train.stimuli.select(list(dict.fromkeys(train.stimulus_ids))), latents, centred=True)


def shuffle_pairing(trials: Trials, *, seed: int = 0) -> Trials:
    """The same responses under the ids of other stimuli; repetitions stay together."""
    ids = list(dict.fromkeys(trials.stimulus_ids))
    if len(ids) < 2:
        raise DataError("nothing to shuffle", expected="two stimuli", found=len(ids))
    circle = np.random.default_rng(seed).permutation(len(ids))
    # One circle through all stimuli: none keeps its own.
    other = {ids[one]: ids[two] for one, two in zip(circle, np.roll(circle, 1), strict=True)}
    return trials.with_trials(stimulus_id=[other[one] for one in trials.stimulus_ids])


def noise_responses(train: Trials, test: Trials, *, seed: int = 0) -> Trials:
    """The test trials, averaged by stimulus, with Gaussian noise of the training averages' mean and SD per unit."""
    known, shown = train.average("stimulus_id").responses, test.average("stimulus_id")
    noise = np.random.default_rng(seed).standard_normal(shown.shape) * known.std(axis=0) + known.mean(axis=0)
    return Trials(noise.astype(known.dtype), shown.trials, shown.units, times=shown.times, space=shown.space)
