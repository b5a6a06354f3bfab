"""From captions back to the brain: how often units speak of what, category maps, and profiles of regions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions.units import Captions
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.scoring.cosine import similarity
from brainalign.scoring.resampling import fdr, mean_ci

__all__ = ["category_names", "category_scores", "content_words", "region_profiles", "word_counts"]

_FUNCTION_WORDS = frozenset(
    re.split(
        r"\s+",
        "a an the of in on at by to for from with without and or but is are was were be been being it its this that "
        "these those there here as into onto over under near next up down out off very his her their he she they who "
        "which some one two three has have had photo picture image",
    )
)


def content_words(text: str) -> list[str]:
    """Words of a sentence in small letters, without function words and repetitions, in their order.

    Examples
    --------
    >>> content_words("A photo of a small red dog on the red grass.")
    ['small', 'red', 'dog', 'grass']
    """
    words = re.findall(r"[^\W\d_]+(?:['-][^\W\d_]+)*", text.lower())
    return [word for word in dict.fromkeys(words) if word not in _FUNCTION_WORDS]


def word_counts(captions: Captions, *, by: str | None = "roi") -> pd.DataFrame:
    """How many units' captions hold each content word, the commonest first.

    Parameters
    ----------
    captions : Captions
    by : str or None
        Column of the units that makes a column each; None counts all units together.

    Returns
    -------
    DataFrame
        Words by groups.
    """
    groups = _groups(captions.units, by)
    counts: dict[str, dict[str, int]] = {}
    for text, group in zip(captions.texts, groups, strict=True):
        for word in content_words(text):
            held = counts.setdefault(word, dict.fromkeys(dict.fromkeys(groups), 0))
            held[group] += 1
    table = pd.DataFrame.from_dict(counts, orient="index", columns=list(dict.fromkeys(groups)))
    return table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def category_scores(embeddings: Latents, categories: Mapping[str, Sequence[str]] | Latents, embed: Any = None) -> Any:
    """How much each row of embeddings speaks for each category.

    Parameters
    ----------
    embeddings : Latents
        Of units (``captions.embeddings``) or of pictures, (n, n_features), in a joint space.
    categories : mapping of name to texts, or Latents
        Texts of each category, whose embeddings are averaged in direction; or those embeddings, ids the names.
    embed : callable or str, optional
        What embeds the texts; by default the network that `embeddings` name as their space.

    Returns
    -------
    DataFrame
        Cosines, (n, n_categories): ids by names. One column is a map over the brain.

    Raises
    ------
    DataError
        When there are no categories, one has no text, or spaces differ.

    Examples
    --------
    >>> units = Latents([[1.0, 0.1]], ["v1"], space="joint")
    >>> category_scores(units, Latents(np.eye(2), ["face", "house"], space="joint")).round(2).loc["v1"].tolist()
    [1.0, 0.1]
    """
    if isinstance(categories, Latents):
        if categories.space != embeddings.space:
            raise DataError("categories lie in another space", expected=embeddings.space, found=categories.space)
        directions, names = categories.flat(), list(categories.ids)
    else:
        names = list(categories)
        listed = {name: [one] if isinstance(one, str) else list(one) for name, one in categories.items()}
        if not names or not all(listed.values()):
            raise DataError("each category needs a text", expected="{name: ['a photo of a face']}", found=categories)
        from brainalign.analysis.captions.scores import embedder

        tell = embedder(embeddings.space if embed is None else embed)
        directions = np.stack([_mean_direction(tell(texts)) for texts in listed.values()])
    return pd.DataFrame(similarity(embeddings.flat(), directions), index=list(embeddings.ids), columns=names)


def category_names(scores: pd.DataFrame) -> np.ndarray:
    """The category with the highest score of each row: zero-shot classification."""
    return scores.columns.to_numpy()[scores.to_numpy().argmax(axis=1)]


def region_profiles(
    captions: Captions, scores: pd.DataFrame, *, by: str = "roi", n_draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """What each region speaks for, and whether more than the other regions do.

    Parameters
    ----------
    captions : Captions
    scores : DataFrame
        Of these units, as `category_scores` gives them.
    by : str
        Column of the units that names the region.
    n_draws : int
        Bootstrap draws of units. Voxels of a region are not independent: the interval describes the region measured,
        not other people's.
    seed : int

    Returns
    -------
    DataFrame
        A row for each region and category: ``share`` of units whose best category it is; ``score``, ``low``, ``high``:
        mean cosine less the mean over categories and units; ``p``, ``q``: from exchanging units between regions.
    """
    groups = np.array(_groups(captions.units, by))
    values = scores.to_numpy() - scores.to_numpy().mean(axis=0)
    values = values - values.mean(axis=1, keepdims=True)
    best = category_names(scores)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(groups)) for _ in range(n_draws)]
    rows = []
    for group in dict.fromkeys(groups):
        inside = groups == group
        low, high = mean_ci(values[inside], n_draws=n_draws, seed=seed)
        mean = values[inside].mean(0)
        null = np.stack([values[order[: inside.sum()]].mean(0) for order in orders])
        p = ((null >= mean - 1e-12).sum(0) + 1) / (n_draws + 1)
        for at, name in enumerate(scores.columns):
            rows.append(
                {"region": group, "category": name, "share": float((best[inside] == name).mean()),
                 "score": mean[at], "low": low[at], "high": high[at], "p": p[at], "n_units": int(inside.sum())}
            )  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(q=fdr(table["p"]))


def _mean_direction(embeddings: np.ndarray) -> np.ndarray:
    return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).mean(0)


def _groups(units: pd.DataFrame, by: str | None) -> list[str]:
    if by is None:
        return ["all"] * len(units)
    if by not in units:
        raise DataError(f"units have no column '{by}'", expected="a column of the units", found=list(units.columns),
                        fix="caption(..., units=trials)")  # fmt: skip
    return units[by].astype(str).tolist()
