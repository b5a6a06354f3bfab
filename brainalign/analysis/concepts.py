"""What pictures are of: synthesised beside the best natural ones, and what sets apart those of two regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions.regions import category_names, category_scores
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.scoring.classification import clopper_pearson
from brainalign.scoring.resampling import fdr, permutation_p

__all__ = ["compare_categories", "region_difference"]


def compare_categories(
    pictures: Mapping[str, Latents], categories: Mapping[str, Sequence[str]] | Latents, embed: Any = None
) -> pd.DataFrame:
    """Zero-shot category of several sets of pictures, such as synthesised and best natural ones.

    Parameters
    ----------
    pictures : mapping of name to Latents
        Embeddings in a joint space; the second and later sets are compared with the first.
    categories, embed
        As in `captions.category_scores`.

    Returns
    -------
    DataFrame
        A row for each set and category: ``n``, ``share``, ``low``, ``high`` (exact binomial interval), and ``p`` of a
        share as different from the first set's (Fisher's exact test, two-sided; NaN for that set itself).

    Examples
    --------
    >>> texts = Latents(np.eye(2), ["face", "house"], space="joint")
    >>> made = Latents([[1.0, 0.1], [0.9, 0.2]], ["a", "b"], space="joint")
    >>> compare_categories({"made": made}, texts)["share"].tolist()
    [1.0, 0.0]
    """
    from scipy.stats import fisher_exact

    if not pictures:
        raise DataError("no pictures to compare", expected="{name: embeddings}", found=0)
    named = {name: category_names(category_scores(one, categories, embed)) for name, one in pictures.items()}
    names = list(categories.ids) if isinstance(categories, Latents) else list(categories)
    first = next(iter(named.values()))
    rows = []
    for label, found in named.items():
        for category in names:
            hits, n = int((found == category).sum()), len(found)
            base = int((first == category).sum())
            low, high = clopper_pearson(hits, n)
            p = np.nan if found is first else fisher_exact([[hits, n - hits], [base, len(first) - base]])[1]
            rows.append({"pictures": label, "category": category, "n": n, "share": hits / n,
                         "low": low, "high": high, "p": p})  # fmt: skip
    return pd.DataFrame(rows)


def region_difference(
    first: Latents,
    second: Latents,
    attributes: Mapping[str, tuple[str, str]] | None = None,
    embed: Any = None,
    *,
    n_permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """What sets apart the pictures of two regions that like the same category, such as two face areas.

    Parameters
    ----------
    first, second : Latents
        Embeddings of the pictures made for (or liked best by) each region, in one joint space.
    attributes : mapping of name to (text, other text), optional
        Contrasts to read off, ``{"large": ("a large face", "a small face")}``.
    embed : callable or str, optional
        What embeds the texts; by default the network named by the space.
    n_permutations : int
    seed : int

    Returns
    -------
    DataFrame
        Row ``"embedding"``: distance of the two mean directions. A row for each attribute: mean of (cosine with the
        text less cosine with the other) over the first region's pictures, less that over the second's. ``p`` (pictures
        exchanged between regions, two-sided) and ``q`` over the attributes. Pictures of one guide share its errors:
        a difference is that of the regions where it returns with guides fitted on other stimuli.

    Raises
    ------
    DataError
        When spaces differ, or a region has fewer than two pictures.
    """
    if first.space != second.space:
        raise DataError("the regions' pictures lie in different spaces", expected=first.space, found=second.space)
    if min(len(first), len(second)) < 2:
        raise DataError("too few pictures", expected="2 or more of each region", found=(len(first), len(second)))
    rows = np.concatenate([first.flat(), second.flat()]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    columns = {}
    for name, (text, other) in (attributes or {}).items():
        both = Latents(rows, range(len(rows)), space=first.space)
        table = category_scores(both, {"text": [text], "other": [other]}, embed)
        columns[name] = (table["text"] - table["other"]).to_numpy()
    readings = np.stack(list(columns.values()), 1) if columns else np.empty((len(rows), 0))
    n = len(first)

    def statistics(order: np.ndarray) -> np.ndarray:
        left, right = order[:n], order[n:]
        distance = np.linalg.norm(rows[left].mean(0) - rows[right].mean(0))
        return np.r_[distance, readings[left].mean(0) - readings[right].mean(0)]

    rng = np.random.default_rng(seed)
    observed = statistics(np.arange(len(rows)))
    null = np.stack([statistics(rng.permutation(len(rows))) for _ in range(n_permutations)])
    p = permutation_p(np.abs(observed), np.abs(null))
    table = pd.DataFrame({"difference": observed, "p": p}, index=["embedding", *columns])
    return table.assign(q=np.r_[np.nan, fdr(p[1:])] if columns else np.nan)
