"""Pictures of stimuli that were held out, by one system and its controls, and the brain they would have evoked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainalign.encoders.choice import choose_params, with_params
from brainalign.encoders.refined import Refined
from brainalign.encoders.registry import encoder_class
from brainalign.encoders.transferred import Transferred
from brainalign.errors import DataError
from brainalign.experiment.context import Context, placed
from brainalign.experiment.schema import Reconstruct
from brainalign.experiment.system import System
from brainalign.latents.base import Latents
from brainalign.latents.extraction import extract
from brainalign.parallel import parallel_map
from brainalign.reconstruction.brain import response_correlation
from brainalign.reconstruction.controls import control_pictures
from brainalign.reconstruction.pairs import CONTROLS, check_one_size
from brainalign.reconstruction.simple import SIMPLE, simple_generator
from brainalign.reconstruction.table import over_draws
from brainalign.scoring.score import Score
from brainalign.splits import check_same_pictures, split, split_hash
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials
from brainalign.voxelwise import Ridge

__all__ = ["OWN", "Brain", "Divisions", "HeldOut", "divisions_of", "held_out"]

OWN = "reconstruction"
"""The row of the system itself."""


@dataclass(frozen=True, eq=False)
class Divisions:
    """Train and test of every fold, the hash of them all, and how it is told."""

    pairs: list[tuple[Trials, Trials]]
    digest: str
    protocol: str


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Pictures of a system and its controls by row, predicted latents, the fold of each picture, what was chosen."""

    pictures: dict[str, Stimuli]
    predicted: dict[str, Latents]
    fold_of: dict[str, int]
    chosen: list[dict[str, Any]]


def divisions_of(analysis: Reconstruct, context: Context, trials: Trials) -> Divisions:
    """The folds, or one pair where a test share or the data set's own split is asked for.

    Pictures that could not be judged, or that stand on both sides under two ids, are refused before anything is fitted.
    """
    if trials.stimuli is not None:
        check_one_size(trials.stimuli.select(list(dict.fromkeys(trials.stimulus_ids))), "pictures seen")
    if analysis.by == "split" or analysis.test_size is not None:
        size = 0.2 if analysis.test_size is None else analysis.test_size
        train, test = split(trials, by=analysis.by, test_size=size, seed=context.experiment.seed)
        told = analysis.protocol or f"one split by {analysis.by}"
        return Divisions([(train, test)], str(train.info["split"]["hash"]), told)
    division = context.folds(trials, analysis)
    for fold in division:
        check_same_pictures(trials, fold)
    pairs = [(trials.select(fold.train), trials.select(fold.test)) for fold in division]
    return Divisions(pairs, split_hash(division), analysis.protocol or f"folds by {analysis.by}")


def held_out(
    system: System,
    targets: dict[str, Latents],
    divisions: Divisions,
    *,
    name: str,
    context: Context,
    others: Mapping[str, Trials] | None = None,
) -> HeldOut:
    """Fit the system on every training side and make the pictures of the other; `choices` are settled inside it.

    `others` are the subjects that a pretrained system is fitted on first, without the pictures held out. Folds go to
    the workers of the experiment.
    """
    loaded = None if system.generator in SIMPLE else _ByRole(system)
    images = None if system.refine is None else next(iter(context.latents(system.refine).values()))
    fold = _Fold(system, targets, others, loaded, context.experiment.seed, images)
    made = parallel_map(fold, divisions.pairs, n_jobs=context.experiment.n_jobs, description=name)
    pictures: dict[str, dict[str, np.ndarray]] = {}
    for drawn, _, _ in made:
        for row, some in drawn.items():
            pictures.setdefault(row, {}).update(some)
    fold_of = {one: number for number, (drawn, _, _) in enumerate(made) for one in drawn[OWN]}
    joined = {
        label: Latents(np.concatenate([found[label].values for _, found, _ in made]), list(fold_of), space=one.space)
        for label, one in made[0][1].items()
    }
    chosen = [{"fold": number, **one} for number, (_, _, one) in enumerate(made) if one]
    return HeldOut({row: Stimuli(held, images=held) for row, held in pictures.items()}, joined, fold_of, chosen)


@dataclass(frozen=True, eq=False)
class _Fold:
    """One system on one training side and its test side: pictures by row and id, predicted latents, what was chosen."""

    system: System
    targets: dict[str, Latents]
    others: Mapping[str, Trials] | None
    loaded: Any
    seed: int
    images: Latents | None = None

    def __call__(
        self, sides: tuple[Trials, Trials]
    ) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Latents], dict[str, Any]]:
        (train, test), system, seed = sides, self.system, self.seed
        latents: Any = next(iter(self.targets.values())) if len(self.targets) == 1 else self.targets
        chosen: dict[str, Any] = {}
        encoder: Any = encoder_class(system.encoder)(**system.params)
        if system.pretrain:
            encoder = Transferred(encoder.fit(_without(self.others or {}, test), latents), system.transfer)
        if self.images is not None:
            encoder = Refined(encoder, getattr(self.loaded, "diffusion", self.loaded), self.images)
        if system.choices:
            best, found = choose_params(
                encoder, system.choices, train, latents, n_splits=system.inner_splits, seed=seed
            )
            encoder, chosen = with_params(encoder, best), {"chosen": best, "inner two-way": found}
        encoder.fit(train, latents)
        generator = self.loaded or simple_generator(system.generator, latents, train, **system.options)
        predicted = encoder.predict(test)
        made = {OWN: generator.generate(predicted, seed=seed)}
        if system.controls:
            made |= control_pictures(encoder, generator, train, test, latents, seed=seed, shuffles=system.shuffles)
        drawn = {row: {one: some.array(one) for one in some.ids} for row, some in made.items()}
        return (
            drawn,
            dict(predicted) if isinstance(predicted, Mapping) else {next(iter(self.targets)): predicted},
            chosen,
        )


def _without(others: Mapping[str, Trials], test: Trials) -> dict[str, Trials]:
    """What other subjects saw of the pictures that are not held out."""
    held = set(map(str, test.stimulus_ids))
    kept = {name: np.array([str(one) not in held for one in trials.stimulus_ids]) for name, trials in others.items()}
    if not kept or not all(one.any() for one in kept.values()):
        raise DataError(
            "no subject is left to pretrain on",
            expected="others who saw pictures that are not held out",
            found={name: int(one.sum()) for name, one in kept.items()},
            fix="dataset: {subjects: [1, 2, ...]}, the first being the one that is reconstructed from",
        )
    return {name: trials.select(kept[name]) for name, trials in others.items()}


class _ByRole:
    """A loaded generator, given the latents of an experiment in the role that their space has for it."""

    def __init__(self, system: System) -> None:
        from brainalign.reconstruction import load_generator

        self._generator = load_generator(placed(system.generator), **system.options)
        self._roles = {one.space: one.role for one in self._generator.accepts if one.space is not None}

    @property
    def diffusion(self) -> Any:
        """The diffusion model alone, where the generator joins it with another."""
        return getattr(self._generator, "diffusion", self._generator)

    def generate(self, latents: Any, n: int = 1, seed: int = 0) -> Stimuli:
        if isinstance(latents, Mapping):
            latents = {self._roles.get(one.space, label): one for label, one in latents.items()}
        return self._generator.generate(latents, n, seed)


class Brain:
    """Voxelwise models that predict responses to pictures, one a fold, fitted once for all systems.

    They read the latents that `Reconstruct.brain` names, and take no part in making pictures.
    """

    def __init__(self, analysis: Reconstruct, context: Context, divisions: Divisions) -> None:
        assert analysis.brain is not None
        ((self._label, seen),) = context.latents(analysis.brain).items()
        self._wanted, self._divisions = context.experiment.latents[analysis.brain], divisions
        self._models = [Ridge(cv=5).fit(seen, train) for train, _ in divisions.pairs]
        self._tests = [test.average("stimulus_id") for _, test in divisions.pairs]
        self._seen, self._seed = seen, context.experiment.seed

    def scores(self, made: HeldOut) -> dict[tuple[str, str], Score]:
        """Brain correlation by row and region; all draws of a control are one row."""
        fold = np.concatenate([np.full(len(test), number) for number, test in enumerate(self._tests)])
        table = pd.concat([test.trials for test in self._tests], ignore_index=True)
        joined = Trials(np.concatenate([test.responses for test in self._tests]), table, self._tests[0].units)
        top = self._responses(self._seen)
        scores: dict[tuple[str, str], Score] = {}
        for row, pictures in made.pictures.items():
            found = response_correlation(
                self._responses(self._features(pictures)),
                joined,
                ceiling=None if row == CONTROLS[0] else top,
                within=fold,
                protocol=f"{self._divisions.protocol}; Ridge on {self._label}",
                split=self._divisions.digest,
                seed=self._seed,
            )
            scores |= {(row, metric): score for metric, score in found.items()}
        return over_draws(scores)

    def _features(self, pictures: Stimuli) -> Latents:
        wanted = self._wanted
        found = extract(
            pictures, placed(str(wanted.model)), layers=wanted.layers, pool=wanted.pool, cache=False, device="cpu",
            **wanted.options,
        )  # fmt: skip
        return next(iter(found.values())) if isinstance(found, dict) else found

    def _responses(self, features: Latents) -> np.ndarray:
        """Of every test picture, by the model of its fold."""
        pairs = zip(self._models, self._tests, strict=True)
        return np.concatenate([model.predict(features.select(test.stimulus_ids)) for model, test in pairs])
