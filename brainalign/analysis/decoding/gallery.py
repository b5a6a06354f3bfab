"""Zero-shot decoding of pictures: predicted latents among those of pictures, or of concepts, never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents
from brainalign.scoring.identification import retrieval
from brainalign.scoring.score import Score
from brainalign.splits import check_disjoint

__all__ = ["concept_centres", "score_subjects", "zero_shot_pictures"]

PUBLISHED = ((2, 1), (4, 1), (10, 1), (200, 1), (200, 5))
"""Gallery and place counted, as tables of EEG decoding have them: 2-, 4-, 10- and 200-way top-1, 200-way top-5."""


def zero_shot_pictures(
    predicted: Any,
    latents: Any,
    *,
    concepts: Mapping[str, str] | None = None,
    ways: Sequence[tuple[int, int]] | None = None,
    trained_on: Iterable[str] | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """Find the picture seen among those shown ("exact pictures"), or its concept among concepts ("concept centres").

    The two galleries make different tasks: ATM is scored among the very pictures, NICE among means of other pictures
    of the concepts, so that their tables do not compare. What was done stands in the protocol of each score.

    Parameters
    ----------
    predicted : Latents
        One row a test picture, as an encoder's `predict` returns for Trials.
    latents : Latents
        Of the test pictures; with `concepts`, of other pictures of their concepts.
    concepts : mapping of stimulus_id to concept, optional
        Of the test pictures and of those in `latents`. Given, the gallery holds concept centres.
    ways : sequence of (gallery, top), optional
        2-, 4-, 10- and 200-way top-1 and 200-way top-5 by default, as far as there are pictures; all pictures take
        the place of 200 where there are fewer.
    trained_on : iterable of str, optional
        Concepts (with `concepts`) or pictures that the encoder was trained on.
    seed : int
        Of the bootstrap over queries.

    Returns
    -------
    dict of str to Score
        ``"200-way top-1"`` and so on. Smaller galleries are the exact mean over all that hold the right entry.

    Raises
    ------
    LeakageError
        When a tested concept or picture was trained on.
    DataError
        When a picture has no concept, or a concept no other picture.

    Examples
    --------
    >>> shown = Latents(np.eye(12), [f"p{n}" for n in range(12)], space="toy")
    >>> scores = zero_shot_pictures(shown, shown)
    >>> list(scores), scores["2-way top-1"].value
    (['2-way top-1', '4-way top-1', '10-way top-1', '12-way top-1', '12-way top-5'], 1.0)
    """
    ids = [str(one) for one in predicted.ids]
    guesses = np.asarray(predicted.at(ids)).reshape(len(ids), -1)
    if concepts is None:
        kind, tested = "exact pictures", ids
        entries = np.asarray(latents.at(ids)).reshape(len(ids), -1)
    else:
        tested = [_concept(concepts, one) for one in ids]
        if len(set(tested)) < len(tested):
            raise DataError("two test pictures share a concept", fix="average their predictions, or search pictures")
        kind = "concept centres of other pictures"
        entries = concept_centres(latents, concepts, leave_out=ids).at(tested)
    if trained_on is not None:
        check_disjoint(trained_on, tested, what="stimulus_id" if concepts is None else "concept")
    n = len(ids)
    wanted = ways or [(min(size, n), top) for size, top in PUBLISHED if size <= n or size == 200]
    how = getattr(predicted, "meta", {}).get("repetitions_averaged")
    averaged = "" if how is None else f", repetitions averaged over the {how}"
    declared = "" if trained_on is not None else "; what was trained on was not declared"
    made = {}
    for size, top in dict.fromkeys(wanted):
        if not 1 <= top < size <= n:
            continue
        score = retrieval(guesses, entries, gallery=size if size < n else None, top=top, seed=seed)
        name = f"{size}-way top-{top}"
        protocol = f"zero-shot, {name}, gallery of {kind}, cosine{averaged}"
        split = getattr(predicted, "meta", {}).get("trained_on_split")
        made[name] = replace(
            score, name=f"zero-shot {name}", protocol=protocol, how=score.how + declared, split=split or score.split
        )
    return made


def concept_centres(latents: Any, concepts: Mapping[str, str], *, leave_out: Iterable[str] = ()) -> Latents:
    """Mean of the latents of each concept's pictures, those in `leave_out` aside.

    Examples
    --------
    >>> pictures = Latents([[1.0, 0.0], [3.0, 0.0], [0.0, 9.0]], ["a1", "a2", "b1"], space="toy")
    >>> concept_centres(pictures, {"a1": "ant", "a2": "ant", "b1": "bat"}, leave_out=["a1"]).at(["ant"])
    array([[3., 0.]])
    """
    out = {str(one) for one in leave_out}
    kept = [str(one) for one in latents.ids if str(one) not in out]
    if not kept:
        raise DataError("no picture is left to average", expected="other pictures of the concepts")
    values = np.asarray(latents.at(kept)).reshape(len(kept), -1)
    table = pd.DataFrame(values).groupby([_concept(concepts, one) for one in kept]).mean()
    return Latents(table.to_numpy(), [str(one) for one in table.index], space=latents.space, meta=dict(latents.meta))


def _concept(concepts: Mapping[str, str], picture: str) -> str:
    if picture not in concepts:
        raise DataError(f"picture '{picture}' has no concept", expected="a concept for every picture")
    return str(concepts[picture])


def score_subjects(
    encoder: Any,
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    latents: Any,
    *,
    protocol: str = "within",
    score: Callable[[Latents], dict[str, Score]] | None = None,
) -> dict[str, dict[str, Score]]:
    """Scores of each subject by a fresh encoder that was trained on it, on all others, or on everyone.

    Parameters
    ----------
    encoder : Encoder
        Never fitted itself: every fit is of a clone. For "loso" one that predicts unseen subjects
        (``unseen="shared"``).
    train, test : mapping of subject to Trials
        No test stimulus may be in any subject's training trials.
    latents : Latents, or a dict of them
    protocol : {"within", "loso", "joint"}
        Train on the subject itself; leave it out; or train on all subjects at once.
    score : callable, optional
        From predicted Latents to named scores; `zero_shot_pictures` among `latents` by default.

    Returns
    -------
    dict of subject to dict of str to Score

    Raises
    ------
    LeakageError
        When a stimulus is tested in one subject and trained on in another.
    """
    if protocol not in ("within", "loso", "joint"):
        raise unknown("protocol", protocol, ("within", "loso", "joint"))
    if set(train) != set(test) or (protocol != "within" and len(train) < 2):
        raise DataError("train and test hold the same subjects, two for this protocol", found=[*train, *test])
    seen = {one for trials in train.values() for one in trials.stimulus_ids}
    check_disjoint(seen, {one for trials in test.values() for one in trials.stimulus_ids})
    target = latents if not isinstance(latents, Mapping) else next(iter(latents.values()))
    judge = score or (lambda predicted: zero_shot_pictures(predicted, target, trained_on=seen))
    made: dict[str, dict[str, Score]] = {}
    joint = clone(encoder).fit(dict(train), latents) if protocol == "joint" else None
    for name in train:
        own = {"within": {name: train[name]}, "loso": {other: one for other, one in train.items() if other != name}}
        fitted = joint if joint is not None else clone(encoder).fit(own[protocol], latents)
        predicted = fitted.predict(test[name].with_trials(subject=name))
        predicted = predicted if not isinstance(predicted, Mapping) else next(iter(predicted.values()))
        named = {"within": "within subject", "loso": "leave one subject out", "joint": "all subjects at once"}[protocol]
        made[name] = {key: replace(one, protocol=f"{named}; {one.protocol}") for key, one in judge(predicted).items()}
    return made
