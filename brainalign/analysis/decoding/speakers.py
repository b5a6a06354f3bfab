"""Attended speakers decoded across trials, with intervals and a permutation test of whole trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from brainalign.analysis.decoding.speaker_decoder import SpeakerDecoder, joined, paired_voices
from brainalign.errors import DataError
from brainalign.parallel import parallel_map
from brainalign.scoring.classification import clopper_pearson
from brainalign.scoring.resampling import mean_ci, permutation_p
from brainalign.scoring.score import Score
from brainalign.splits import Fold, folds, split_hash

__all__ = ["SpeakerResult", "decode_speakers"]


@dataclass(frozen=True, eq=False)
class SpeakerResult:
    """How often the attended talker is found, each trial by a decoder that never saw it.

    Attributes
    ----------
    trials, windows : Score
        Share of trials, and of single windows, in which the attended talker is chosen.
    clusters : Score
        Share of trials in which the attended voice's cluster is named.
    table : DataFrame
        One row a trial: fold, cluster (of the attended voice), decoded, probability, chosen (talker, 0 is right).
    null : array (n_permutations, 2)
        `trials` and `windows` with attended and other talkers exchanged in random trials, decoders fitted anew.
    """

    trials: Score
    windows: Score
    clusters: Score
    table: pd.DataFrame
    null: NDArray[np.float64]

    @property
    def p_value(self) -> float | None:
        """Of `trials`; None without permutations."""
        return float(permutation_p(self.trials.value or 0.0, self.null[:, 0])) if len(self.null) else None


def decode_speakers(
    decoder: SpeakerDecoder,
    signals: Sequence[ArrayLike],
    voices: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    n_permutations: int = 0,
    seed: int = 0,
) -> SpeakerResult:
    """Find the attended talker of every trial; clusters and network come from the other folds' trials alone.

    Parameters
    ----------
    decoder : SpeakerDecoder
        Not fitted; copies are.
    signals, voices
        As `SpeakerDecoder.fit` takes them.
    groups : array (n_trials,), optional
        What folds keep together, such as the session, or the attended speaker so that no voice decoded was attended to
        in training. Trials are dealt to five folds, groups likewise where there are more than five.
    n_permutations : int
        Which talker is attended is drawn anew for whole trials this often, and everything fitted again. In parallel
        inside ``joblib.parallel_config(n_jobs=...)``.
    seed : int
        Of folds and permutations.

    Returns
    -------
    SpeakerResult

    Raises
    ------
    DataError
        As `SpeakerDecoder.fit`, and when there are too few trials or groups.
    """
    from joblib import effective_n_jobs

    trials, known = paired_voices(signals, voices)
    kept = np.arange(len(trials)) if groups is None else np.asarray(groups)
    if kept.shape != (len(trials),):
        raise DataError("one group a trial is needed", expected=(len(trials),), found=kept.shape)
    division = folds(kept, "trial" if groups is None else "group", n_splits=min(5, len(np.unique(kept))), seed=seed)
    task = _Task(decoder, trials, known, division)
    table, right = _held_out(np.zeros(len(trials), dtype=np.int64), task)
    drawn = np.random.default_rng(np.random.SeedSequence(seed)).integers(
        known.shape[1], size=(n_permutations, len(trials))
    )
    drawn_shares = parallel_map(
        partial(_shares, task=task),
        list(drawn),
        n_jobs=effective_n_jobs(None),
        description="permutations" if n_permutations else None,
    )
    null = np.array(drawn_shares, dtype=np.float64).reshape(-1, 2)
    told = _Told(len(trials), 1 / known.shape[1], division, null)
    hits = (table["chosen"] == 0).to_numpy()
    named = (table["cluster"] == table["decoded"]).to_numpy()
    every = np.concatenate(right)
    low, high = mean_ci(every, clusters=np.repeat(np.arange(len(right)), [len(one) for one in right]), seed=seed)
    return SpeakerResult(
        trials=told.score("attended talker found", hits.mean(), clopper_pearson(int(hits.sum()), len(hits)), 0),
        windows=told.score("attended talker found, single windows", every.mean(), (float(low), float(high)), 1),
        clusters=told.cluster(table, named),
        table=table,
        null=null,
    )


@dataclass(frozen=True)
class _Task:
    decoder: SpeakerDecoder
    trials: list[NDArray[np.float64]]
    voices: NDArray[np.float64]
    division: list[Fold]


def _held_out(attended: NDArray[np.int64], task: _Task) -> tuple[pd.DataFrame, list[NDArray[np.float64]]]:
    """Decisions of every trial where these talkers are attended to, and which of its windows are right."""
    rows = np.arange(len(attended))[:, None]
    # The attended voice first, the others in their order.
    order = np.argsort(np.arange(task.voices.shape[1]) != attended[:, None], axis=1, kind="stable")
    voices = task.voices[rows, order]
    parts, right = [], [np.empty(0)] * len(attended)
    for number, fold in enumerate(task.division):
        fitted = clone(task.decoder).fit([task.trials[row] for row in fold.train], voices[fold.train])
        windows = fitted.predict_windows([task.trials[row] for row in fold.test])
        chance = np.array([joined(one) for one in windows])
        part = {"fold": number, "cluster": fitted.clusters_.predict(voices[fold.test, 0])}
        part |= {"decoded": chance.argmax(axis=1), "probability": chance.max(axis=1)}
        parts.append(pd.DataFrame({**part, "chosen": fitted.choose(chance, voices[fold.test])}, index=fold.test))
        for row, one in zip(fold.test, windows, strict=True):
            right[row] = (fitted.choose(one, np.repeat(voices[[row]], len(one), axis=0)) == 0).astype(float)
    return pd.concat(parts).sort_index(), right


def _shares(attended: NDArray[np.int64], *, task: _Task) -> tuple[float, float]:
    table, right = _held_out(attended, task)
    return float((table["chosen"] == 0).mean()), float(np.concatenate(right).mean())


@dataclass(frozen=True)
class _Told:
    """What every score says beside its value."""

    n: int
    chance: float
    division: list[Fold]
    null: NDArray[np.float64]

    def score(self, name: str, value: float, ends: tuple[float, float], column: int | None) -> Score:
        """One score; `column` of the null gives its p."""
        how = "clusters of voices and network fitted on the other folds"
        if column is not None and len(self.null):
            p = float(permutation_p(value, self.null[:, column]))
            how += f"; p {p:.3g} by {len(self.null)} draws of who is attended to in whole trials, fitted anew"
        return Score(
            name,
            float(value),
            ceiling=None,
            chance=self.chance,
            low=ends[0],
            high=ends[1],
            n=self.n,
            split=split_hash(self.division),
            protocol=f"{len(self.division)} folds by {self.division[0].by}",
            how=how,
            why={"ceiling": "not defined for decisions"},
        )

    def cluster(self, table: pd.DataFrame, named: NDArray[np.bool_]) -> Score:
        """Chance: the share of the most frequent cluster, by fold, since each fold has clusters of its own."""
        often = table.groupby("fold")["cluster"].agg(lambda one: one.value_counts().iloc[0]).sum() / len(table)
        ends = clopper_pearson(int(named.sum()), len(named))
        made = _Told(self.n, float(often), self.division, self.null)
        return made.score("cluster of the attended voice named", named.mean(), ends, None)
