"""Captions from the pictures that a voxel is predicted to like best (after Matsuyama et al. 2025, LaVCa)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from brainalign.analysis.captions.bank import bank_ids, checked_directions, nearest
from brainalign.analysis.captions.regions import content_words
from brainalign.analysis.captions.scores import Embed, embedder
from brainalign.analysis.captions.units import Captions, caption, voxel_weights
from brainalign.errors import DataError
from brainalign.tables import select_rows, unit_table

__all__ = ["keyword_captions", "keywords"]


def keywords(best: Sequence[str], background: Sequence[str], *, n: int = 10) -> list[tuple[str, float]]:
    """Content words that stand in more of some captions than of others.

    Parameters
    ----------
    best : sequence of str
        Captions of the pictures preferred.
    background : sequence of str
        Captions of all pictures, the preferred ones among them.
    n : int
        At most so many.

    Returns
    -------
    list of (word, log odds ratio)
        The strongest first, all above 0. Half a caption is added to every count, so that a word seen once weighs
        little.

    Examples
    --------
    >>> keywords(["a red dog", "a dog runs"], ["a red dog", "a dog runs", "a red car", "a red house"])[0][0]
    'dog'
    """
    sides = []
    for texts in (best, background):
        counts: dict[str, int] = {}
        for text in texts:
            for word in content_words(text):
                counts[word] = counts.get(word, 0) + 1
        sides.append(counts)
    found = {
        word: _log_odds(count, len(best)) - _log_odds(sides[1].get(word, count), max(len(background), len(best)))
        for word, count in sides[0].items()
    }
    ordered = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(word, float(value)) for word, value in ordered if value > 0][:n]


def _log_odds(count: int, n: int) -> float:
    return float(np.log((count + 0.5) / (n - count + 0.5)))


def keyword_captions(
    model: Any,
    bank: Any,
    pictures: Mapping[str, str],
    embed: Embed | str,
    *,
    units: Any = None,
    where: Any = None,
    compose: Callable[[list[str]], str] = ", ".join,
    n_best: int = 50,
    n_words: int = 4,
) -> Captions:
    """Caption each unit by keywords of the pictures that it is predicted to like best.

    The `n_best` pictures of the bank by predicted response; words that their captions hold more often than the
    bank's; of these, the words whose own embedding agrees best with the unit's direction, by a softmax in which they
    must reach an even share; and `compose` makes a sentence of them.

    Parameters
    ----------
    model : fitted Ridge, or array (n_units, n_features)
    bank : Latents, or a sequence of them
        Embeddings of pictures.
    pictures : mapping of id to caption
        Of the bank.
    embed : callable or str
        Words to embeddings in the joint space of pictures and texts, or the name of that network.
    units, where
        As in `caption`.
    compose : callable
        Words, the best first, to a caption: by default they are listed; a language model is a `KeywordComposer`.
    n_best, n_words : int

    Returns
    -------
    Captions

    Raises
    ------
    DataError
        As in `caption`; and when the bank has no ids, or a picture of it has no caption.
    """
    ids = bank_ids(bank)
    if ids is None:
        raise DataError("captions are joined with the bank by id", expected="Latents", found=type(bank).__name__)
    if missing := [one for one in ids if one not in pictures]:
        raise DataError("pictures of the bank without a caption", expected="one for each id", found=missing[:5])
    if not 1 <= n_best <= len(ids) or n_words < 1:
        raise DataError("n_best pictures and n_words words", expected=f"1 to {len(ids)}, and from 1",
                        found=(n_best, n_words))  # fmt: skip
    written = [str(pictures[one]) for one in ids]
    # What `caption` checks and projects is the same here; its captioner has nothing to say yet.
    silent = caption(model, bank, lambda rows: [""] * len(rows), units=units, where=where)
    table = unit_table(getattr(units, "units", units), len(voxel_weights(model)))
    weights = voxel_weights(model)[select_rows(table, where, what="units")]
    rows, _ = nearest(weights, bank, k=n_best, cosine=False)
    found = [keywords([written[row] for row in some], written, n=4 * n_words) for some in rows]
    candidates = [[word for word, _ in some] for some in found]
    vocabulary = list(dict.fromkeys(word for some in candidates for word in some))
    told = checked_directions(embedder(embed)(vocabulary), name="words") if vocabulary else np.empty((0, 0))
    known = dict(zip(vocabulary, told, strict=True))
    said = [
        compose(_filtered(some, weight, known, n_words)) if some else ""
        for some, weight in zip(candidates, checked_directions(weights), strict=True)
    ]
    return replace(silent, texts=tuple(said))


def _filtered(words: list[str], weight: np.ndarray, known: Mapping[str, np.ndarray], n_words: int) -> list[str]:
    """Words that reach an even share of the softmax of their agreement with a unit, the best first."""
    products = 150.0 * np.array([known[word] @ weight for word in words])
    share = np.exp(products - products.max())
    share /= share.sum()
    order = np.argsort(-share, kind="stable")[:n_words]
    return [words[at] for at in order if share[at] >= 1 / len(words) or at == order[0]]
