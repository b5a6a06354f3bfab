"""Many subjects, feature spaces and folds: each fold of each pair is a unit of work, on any backend of joblib.

A unit of work knows its subject, space and fold by name, takes its seed from these names, and runs with BLAS pinned to
one thread: results are the same to the bit in this process, in worker processes, and on the machines of a cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from brainalign.errors import DataError
from brainalign.parallel import parallel_map
from brainalign.scoring.correlation import mean_over_targets, r2
from brainalign.splits import Fold, check_disjoint, contiguous_folds, folds, split_hash
from brainalign.trials import Trials
from brainalign.voxelwise.folded import fold_of_stimuli, gap_of, rows_of_stimuli, within_folds
from brainalign.voxelwise.inference import shuffle_test
from brainalign.voxelwise.ridge import Ridge
from brainalign.voxelwise.samples import stimulus_rows
from brainalign.voxelwise.scores import UnitScores, score_predictions

__all__ = ["Encodings", "encode_many"]

Source = Trials | str | PathLike[str]
Division = Sequence[Fold]


@dataclass(frozen=True, eq=False)
class Encodings:
    """Held-out predictions of every subject from every feature space.

    Parameters
    ----------
    subjects : mapping of str to Trials or folder
    divisions : mapping of str to list of Fold
        How each subject's trials were divided.
    predicted : mapping of (subject, space) to ndarray, shape (n_stimuli, n_units * n_times)
        One row per stimulus in order of first appearance, by a model that saw none of its trials.
    """

    subjects: Mapping[str, Source]
    divisions: Mapping[str, Division]
    predicted: Mapping[tuple[str, str], np.ndarray]

    def __repr__(self) -> str:
        spaces = {space for _, space in self.predicted}
        return f"Encodings({len(self.subjects)} subjects x {len(spaces)} feature spaces)"

    def scores(
        self, *, n_permutations: int = 1000, chunk: int = 1, seed: int = 0, n_jobs: int = 1
    ) -> dict[tuple[str, str], UnitScores]:
        """Score every pair of subject and space, unit by unit.

        r is taken within folds (`brainalign.voxelwise.folded.within_folds`), so that its chance level is zero. p and q
        come from shuffling stimuli against the predictions as they are: pooled over folds these lean below zero where
        there is nothing to predict, which keeps the test on the safe side. The correlation within folds would exceed
        the level of the test, since the folds share their training stimuli.

        Parameters
        ----------
        n_permutations : int
            Shuffles of stimuli behind p and q; 0 leaves them out.
        chunk : int
            Consecutive rows that are shuffled together; longer than the dependence of neighbours in continuous data.
        seed, n_jobs : int
        """
        pairs = list(self.predicted)
        work = [(self.subjects[one], list(self.divisions[one]), self.predicted[one, space]) for one, space in pairs]
        score = partial(_score, n_permutations=n_permutations, chunk=chunk, seed=seed)
        found = parallel_map(score, work, n_jobs=n_jobs, description="scores")
        return {
            pair: replace(one, trials=_opened(self.subjects[pair[0]])) for pair, one in zip(pairs, found, strict=True)
        }

    def table(self, scores: Mapping[tuple[str, str], UnitScores]) -> pd.DataFrame:
        """One row a pair: subject, space, mean and median r, and the share of units with q < .05."""
        rows = [
            {
                "subject": subject,
                "space": space,
                "mean r": mean_over_targets(one.r)[0],
                "median r": float(np.nanmedian(one.r)),
                "significant": float(np.mean(one.q < 0.05)),
                "units": one.r.size,
            }
            for (subject, space), one in scores.items()
        ]
        return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class _Work:
    """One unit of work: predict what one fold of one subject holds out from one feature space."""

    subject: str
    space: str
    number: int
    trials: Any
    latents: Any
    fold: Fold
    model: Any


def encode_many(
    subjects: Mapping[str, Source],
    spaces: Mapping[str, Any],
    *,
    cv: int | Mapping[str, Division] = 5,
    model: Any = None,
    seed: int = 0,
    n_jobs: int = 1,
) -> Encodings:
    """Predict the responses of many subjects from many feature spaces, each stimulus by a model that never saw it.

    Parameters
    ----------
    subjects : mapping of str to Trials or folder
        A folder written by `Trials.save` is opened by the worker that needs it: on a cluster only its path travels.
    spaces : mapping of str to Latents or folder
    cv : int or mapping of subject to list of Fold
        A number makes that many folds by `stimulus_id` from `seed`. Folds of `contiguous_folds` mark continuous data:
        penalties are then chosen by contiguous folds as well.
    model : estimator, optional
        `Ridge()` by default; must take ``fit(latents, trials)`` and ``predict(latents)``.
    seed : int
    n_jobs : int
        As `brainalign.parallel.parallel_map` takes it. Inside ``joblib.parallel_config(backend="dask")`` -1 takes every
        worker of the cluster.

    Returns
    -------
    Encodings

    Raises
    ------
    LeakageError
        When a fold has a stimulus on both sides.
    DataError
        When a stimulus has no latents, is held out by no fold or by two, or there is nothing to do.

    Examples
    --------
    >>> from brainalign.latents.base import Latents
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"s{number}" for number in range(40)]
    >>> space = Latents(rng.standard_normal((40, 3)), ids, space="toy")
    >>> trials = Trials(space.values @ rng.standard_normal((3, 5)), pd.DataFrame({"stimulus_id": ids}))
    >>> scores = encode_many({"1": trials}, {"toy": space}).scores(n_permutations=0)
    >>> bool((scores["1", "toy"].r2 > 0.99).all())
    True
    """
    if not subjects or not spaces:
        raise DataError(
            "nothing to encode", expected="subjects and feature spaces", found=f"{len(subjects)}, {len(spaces)}"
        )
    light = {name: _without_stimuli(one) for name, one in subjects.items()}
    divisions = {name: _division(_opened(one), cv, name, seed) for name, one in light.items()}
    # What lies in memory is prepared once; what lies in a folder, by the worker that opens it.
    ready = {
        (subject, space): _prepared(spaces[space], _opened(light[subject]), model)
        for subject in light
        for space in spaces
        if hasattr(spaces[space], "at")
    }
    work = [
        _Work(
            subject,
            space,
            number,
            light[subject],
            ready.get((subject, space), spaces[space]),
            fold,
            _seeded(model, seed, subject, space, number),
        )
        for subject in light
        for space in spaces
        for number, fold in enumerate(divisions[subject])
    ]
    parts = parallel_map(_held_out, work, n_jobs=n_jobs, description="folds")
    predicted: dict[tuple[str, str], np.ndarray] = {}
    for one, (rows, values) in zip(work, parts, strict=True):
        if (one.subject, one.space) not in predicted:
            n_stimuli = _opened(one.trials).trials["stimulus_id"].nunique()
            predicted[one.subject, one.space] = np.empty((n_stimuli, values.shape[1]), dtype=values.dtype)
        predicted[one.subject, one.space][rows] = values
    return Encodings(light, divisions, predicted)


def _opened(source: Source) -> Trials:
    return source if isinstance(source, Trials) else Trials.open(source)


def _without_stimuli(source: Source) -> Source:
    """Pictures are not needed here and need not travel."""
    if not isinstance(source, Trials):
        return source
    light = source.select()
    light.stimuli = None
    return light


def _seeded(model: Any, seed: int, *names: object) -> Any:
    """A fresh model; where it draws at random, from a seed that the names of the unit of work decide."""
    fresh = Ridge() if model is None else clone(model)
    digest = hashlib.sha256("\n".join(map(str, names)).encode()).digest()
    drawn = int(np.random.SeedSequence([seed, *digest]).generate_state(1)[0])
    return fresh.set_params(**{name: drawn for name in ("random_state", "seed") if name in fresh.get_params()})


def _division(trials: Trials, cv: int | Mapping[str, Division], subject: str, seed: int) -> list[Fold]:
    if not isinstance(cv, Mapping):
        return folds(trials, n_splits=cv, seed=seed)
    if subject not in cv:
        raise DataError(f"no folds for subject '{subject}'", expected=list(cv), found=subject)
    division = list(cv[subject])
    for fold in division:
        check_disjoint(trials.stimulus_ids[fold.train], trials.stimulus_ids[fold.test])
    fold_of_stimuli(trials, division)
    return division


def _held_out(work: _Work) -> tuple[np.ndarray, np.ndarray]:
    """Rows and predictions of the stimuli that one fold holds out."""
    from brainalign.latents.base import Latents

    trials = _opened(work.trials)
    row_of, latents = rows_of_stimuli(trials), work.latents
    if not hasattr(latents, "at"):
        latents = _prepared(Latents.open(latents), trials, work.model)
    tested = list(dict.fromkeys(trials.stimulus_ids[work.fold.test]))
    train = trials.select(work.fold.train)
    if work.fold.by == "contiguous":
        inner = [tuple(one) for one in contiguous_folds(len(train), gap=gap_of(work.fold))]
        fitted = work.model.set_params(cv=inner).fit(stimulus_rows(latents, train.stimulus_ids), train.matrix())
        predicted = fitted.predict(stimulus_rows(latents, tested))
    else:
        predicted = work.model.fit(latents, train).predict(latents.select(tested))
    return np.array([row_of[one] for one in tested]), predicted


def _prepared(latents: Any, trials: Trials, model: Any) -> Any:
    """Latents of the stimuli shown, for Ridge in no more dimensions than there are stimuli."""
    shown = latents.select(rows_of_stimuli(trials))
    return _rotated(shown) if model is None or type(model) is Ridge else shown


def _rotated(latents: Any) -> Any:
    """The same points in as many dimensions as there are stimuli, where there are more features than that.

    Ridge depends on inner products alone, so its predictions stay the same, and no matrix of features by units
    is ever formed.
    """
    flat = latents.values.reshape(len(latents), -1)
    if flat.shape[1] <= len(flat):
        return latents
    centred = flat - flat.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    points = vectors * np.sqrt(np.clip(values, 0.0, None))
    return type(latents)(points, latents.ids, space=latents.space, meta=latents.meta)


def _score(work: tuple[Source, list[Fold], np.ndarray], *, n_permutations: int, chunk: int, seed: int) -> UnitScores:
    """Scores of one subject and space: r within folds; R² and the test of the predictions as they are."""
    trials, division, predicted = _opened(work[0]), work[1], work[2]
    average, fold_of = trials.average("stimulus_id"), fold_of_stimuli(trials, division)
    shape = trials.shape[1:]
    about = Trials(
        within_folds(average.matrix(), fold_of).reshape(average.shape),
        average.trials,
        average.units,
        times=trials.times,
    )
    units = score_predictions(within_folds(predicted, fold_of, scale=True), trials, about, n_permutations=0)
    why = {name: reason for name, reason in units.why.items() if name not in ("p", "q", "p_max") or not n_permutations}
    true = average.matrix()
    if n_permutations:
        test = shuffle_test(true, predicted, n_permutations=n_permutations, seed=seed, chunk=chunk)
        units = replace(units, **{name: getattr(test, name).reshape(shape) for name in ("p", "q", "p_max")})
    return replace(
        units,
        r2=r2(true, predicted.astype(np.float64)).reshape(shape),
        split=split_hash(division),
        why=why,
        trials=trials.select([0]),  # the others need not travel back
    )
