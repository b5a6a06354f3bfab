"""Are captions true? Judged on held-out pictures, without asking a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions.units import Captions
from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.scoring.correlation import average_ranks
from brainalign.scoring.cosine import similarity
from brainalign.scoring.resampling import interval
from brainalign.scoring.score import Score
from brainalign.splits import check_disjoint
from brainalign.trials import Trials
from brainalign.voxelwise.inference import shuffle_test
from brainalign.voxelwise.intervals import draw_weights, drawn_r

__all__ = ["CaptionScores", "embedder", "score_captions"]

Embed = Callable[[Sequence[str]], Any]


@dataclass(frozen=True, eq=False)
class CaptionScores:
    """How well what a caption shares with those of pictures follows the measured response.

    Parameters
    ----------
    r : ndarray, shape (n_units,)
        Spearman correlation over held-out pictures.
    shuffled : ndarray, shape (n_units,)
        What the unit scores with the captions of all units dealt at random, in the mean: exact, nothing is drawn.
    p, q : ndarray, shape (n_units,)
        One-sided, from shuffles of pictures; and its false discovery rate over units.
    summary : Score
        Mean of r over units, with an interval over pictures; chance is the mean of `shuffled`.
    units : DataFrame
    """

    r: np.ndarray
    shuffled: np.ndarray
    p: np.ndarray
    q: np.ndarray
    summary: Score
    units: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """The units beside their scores."""
        return self.units.assign(r=self.r, shuffled=self.shuffled, p=self.p, q=self.q)


def score_captions(
    captions: Captions,
    trials: Trials,
    embed: Embed | str,
    *,
    pictures: Mapping[str, str] | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> CaptionScores:
    """Take the similarity of a unit's caption with those of held-out pictures for its predicted response.

    Matsuyama et al. 2025, LaVCa. The control deals the captions at random over the units.

    Parameters
    ----------
    captions : Captions
    trials : Trials
        Held-out trials of the units captioned (others are left out); repetitions are averaged.
    embed : callable or str
        Sentences to embeddings (n, n_features), or the name of a text model such as ``"offline:minilm"``.
    pictures : mapping of stimulus id to caption, optional
        By default the captions of ``trials.stimuli``.
    n_permutations : int
        Shuffles of pictures behind `p`.
    seed : int

    Returns
    -------
    CaptionScores

    Raises
    ------
    LeakageError
        When the model behind the captions was fitted on a picture scored here.
    DataError
        When a unit or a picture's caption is missing, or there are fewer than three pictures.
    """
    check_disjoint(captions.seen, trials.stimulus_ids)
    mean = trials.average("stimulus_id")
    where = {name: row for row, name in enumerate(mean.units["name"])}
    names = captions.units["name"].tolist()
    if missing := [name for name in names if name not in where]:
        raise DataError("units captioned are not in these trials", expected=names[:3], found=f"no {missing[:3]}",
                        fix="caption(..., units=trials) names them")  # fmt: skip
    if len(mean) < 3:
        raise DataError("too few held-out pictures", expected="3 or more", found=len(mean))
    measured = mean.matrix()[:, [where[name] for name in names]]
    written = _captions_of(trials, list(mean.stimulus_ids), pictures)
    distinct = list(dict.fromkeys(captions.texts))
    which = np.array([distinct.index(one) for one in captions.texts])
    told = embedder(embed)([*distinct, *written])
    likeness = similarity(told[len(distinct) :], told[: len(distinct)])
    return _scored(measured, likeness, which, trials, captions.units, n_permutations, seed)


def _scored(
    measured: np.ndarray,
    likeness: np.ndarray,
    which: np.ndarray,
    trials: Trials,
    units: pd.DataFrame,
    n_permutations: int,
    seed: int,
) -> CaptionScores:
    truth, guess = average_ranks(measured.T).T, average_ranks(likeness.T).T
    table = _unit_columns(truth).T @ _unit_columns(guess)  # every unit with every caption
    r = table[np.arange(len(which)), which]
    shuffled = table @ (np.bincount(which, minlength=guess.shape[1]) / len(which))
    p = q = np.full(len(r), np.nan)
    if n_permutations:
        test = shuffle_test(truth, guess[:, which], n_permutations=n_permutations, seed=seed)
        p, q = test.p, test.q
    weights = draw_weights(1000, len(truth), seed=seed)
    draws = np.zeros(len(weights))
    for some in row_blocks(len(r), 8 * (6 * len(truth) + 8 * len(weights)), budget=2**26):
        draws += drawn_r(truth[:, some], guess[:, which[some]], weights).sum(1) / len(r)
    low, high = interval(draws)
    summary = Score(
        "caption score",
        float(r.mean()),
        ceiling=None,
        chance=float(shuffled.mean()),
        low=float(low),
        high=float(high),
        n=len(truth),
        split=trials.info.get("split", {}).get("hash"),
        protocol="likeness of a unit's caption with those of held-out pictures, Spearman with its response",
        how="mean over units; percentile bootstrap over pictures; chance: captions dealt at random over units",
        why={"ceiling": "no caption is known to be the best", "split": "the trials carry no split hash"},
    )
    return CaptionScores(r, shuffled, p, q, summary, units)


def _unit_columns(ranks: np.ndarray) -> np.ndarray:
    """Centred and of unit length; 0 where a column is constant, which tells nothing."""
    centred = ranks - ranks.mean(0)
    length = np.linalg.norm(centred, axis=0)
    return centred / np.where(length > 0, length, 1.0)


def _captions_of(trials: Trials, ids: list[str], pictures: Mapping[str, str] | None) -> list[str]:
    if pictures is None:
        if trials.stimuli is None or not trials.stimuli.has_captions:
            raise DataError("the pictures have no captions", fix="score_captions(..., pictures={stimulus_id: caption})")
        return [trials.stimuli.caption(one) for one in ids]
    if missing := [one for one in ids if one not in pictures]:
        raise DataError("pictures without a caption", expected="one for each stimulus_id", found=missing[:5])
    return [str(pictures[one]) for one in ids]


def embedder(embed: Embed | str) -> Callable[[Sequence[str]], np.ndarray]:
    """Sentences to embeddings (n, n_features), by a function or by the name of a network."""
    if not isinstance(embed, str):
        return lambda texts: np.asarray(embed(texts))

    def by_name(texts: Sequence[str]) -> np.ndarray:
        from brainalign.latents import extract_text

        return extract_text({str(row): one for row, one in enumerate(texts)}, embed).flat()

    return by_name
