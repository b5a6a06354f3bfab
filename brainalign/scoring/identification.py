"""Does a prediction point at its own stimulus? Retrieval from a gallery, and identification in pairs.

Directions are named by what is known: with ``query="brain"`` a prediction from the brain searches a gallery of
stimuli, with ``query="stimulus"`` a stimulus searches a gallery of brain predictions.

Ties are shared: an entry that is exactly as similar as the right one counts half in a pair, and takes part in a
fair draw in a retrieval. A constant predictor therefore scores exactly chance, and a duplicate of the right
stimulus in the gallery costs the credit of a coin toss rather than all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import row_blocks
from brainalign.errors import DataError
from brainalign.scoring.cosine import cosines, flat_rows, row_moments, similarity
from brainalign.scoring.resampling import bootstrap_weights, interval, mean_ci
from brainalign.scoring.score import Score

__all__ = ["join_by_id", "rank_percentiles", "retrieval", "similarity", "two_way_identification"]

# Cosines closer than this are equal: float64 sums of the same numbers differ by less.
_TIE = 1e-11
_NO_CEILING = "depends on the predictions' noise; compare with a split-half of the measured responses"
_NO_SPLIT = "the predictions carry no split hash; dataclasses.replace(score, split=...) adds it"


def rank_percentiles(
    predicted: Any,
    targets: Any,
    *,
    query: str = "brain",
    kind: str = "correlation",
    within: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """For every query, the share of wrong entries that are less similar than the right one (ties half).

    Parameters
    ----------
    predicted, targets, query, within
        As in `retrieval`.
    kind : {"correlation", "cosine"}

    Returns
    -------
    array (n_stimuli,)
        1 is first place, 0 last; 0.5 is expected of a guess.

    Examples
    --------
    >>> rank_percentiles([[1.0, 0.0, 0.1], [0.0, 1.0, 0.2]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    array([1., 1.])
    """
    queries, gallery = _directed(predicted, targets, query)
    allowed = _allowed_pairs(len(queries), within, None)
    if (_entries_present(len(queries), within) < 2).any():
        raise DataError("a query has nothing to be compared with", expected="two or more entries for each label")
    shares = []
    for rows, won in _win_blocks(queries, gallery, kind):
        others = allowed(rows)
        shares.append((won * others).sum(axis=1) / others.sum(axis=1))
    return np.concatenate(shares)


def retrieval(
    predicted: Any,
    targets: Any,
    *,
    query: str = "brain",
    gallery: int | None = None,
    top: int = 1,
    within: ArrayLike | None = None,
    seed: int = 0,
) -> Score:
    """Top-k retrieval accuracy by cosine similarity.

    With a smaller `gallery`, the accuracy is the exact mean over all galleries of that size that hold the right
    entry (hypergeometric), so no galleries are drawn.

    Parameters
    ----------
    predicted, targets : array (n_stimuli, ...features), or Latents
        Row i of one belongs to row i of the other; two Latents are joined by id.
    query : {"brain", "stimulus"}
        Who searches: predictions among targets, or targets among predictions.
    gallery : int, optional
        Entries in the gallery, the right one included; default all.
    top : int
        A hit is a place among the first `top`.
    within : array (n_stimuli,), optional
        Labels: each query searches the entries of its own label. Give the fold of each stimulus where predictions
        come from several: an encoder leans towards what it was trained on, so across folds a guess is right less
        often than chance.
    seed : int
        Of the bootstrap over queries (2000 draws; the gallery stays as it is).

    Returns
    -------
    Score
        With chance top / gallery; carries the split that the predictions' ``meta`` names.

    Examples
    --------
    >>> latents = np.eye(4)
    >>> retrieval(latents, latents)
    Score(retrieval top-1 of 4 1.000 [1.000, 1.000], chance 0.250, n 4, query brain, gallery 4, cosine)
    """
    queries, entries = _directed(predicted, targets, query)
    allowed = _allowed_pairs(len(queries), within, None)
    present = _entries_present(len(queries), within)
    sizes = present if gallery is None else np.full(len(queries), int(gallery))
    if not (1 <= top < sizes.min() and (sizes <= present).all()):
        raise DataError(
            f"cannot score top-{top} in a gallery of {_range(sizes)}",
            expected=f"top < gallery <= {present.min()} (the stimuli at hand)",
            found=f"top={top}, gallery={_range(sizes)}",
        )
    blocks = _win_blocks(queries, entries, "cosine")
    hits = np.concatenate([_hit_probability(won, allowed(rows), gallery, top) for rows, won in blocks])
    low, high = mean_ci(hits, seed=seed)
    scope = "" if within is None else ", each within its own group"
    return Score(
        f"retrieval top-{top} of {_range(sizes)}",
        float(hits.mean()),
        ceiling=None,
        chance=float(np.mean(top / sizes)),
        low=float(low),
        high=float(high),
        n=len(queries),
        split=_split_of(predicted),
        protocol=f"query {query}, gallery {_range(sizes)}{scope}, cosine",
        how="mean over queries, exact over galleries; percentile bootstrap over queries",
        why={"ceiling": _NO_CEILING, "split": _NO_SPLIT},
    )


def _entries_present(n: int, within: ArrayLike | None) -> NDArray[np.intp]:
    """Entries that each query can search, its own included."""
    if within is None:
        return np.full(n, n)
    _, codes, counts = np.unique(np.asarray(within), return_inverse=True, return_counts=True)
    return counts[codes]


def _range(sizes: NDArray) -> str:
    return str(sizes.min()) if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"


def _hit_probability(won: NDArray, others: NDArray, gallery: int | None, top: int) -> NDArray[np.float64]:
    """Chance that the right entry is among the first `top` of a random gallery, from wins against the `others`.

    With b better entries among the others, the number of them in a gallery is hypergeometric; a tie of t entries
    puts the right one, with equal chance, behind 0, 1, ..., t of them.
    """
    from scipy.stats import hypergeom

    ties = np.sum((won == 0.5) & others, axis=1)
    better = np.sum((won == 0.0) & others, axis=1)
    n_others = others.sum(axis=1)
    probability = np.empty(len(won))
    for n in np.unique(n_others):
        drawn = n if gallery is None else gallery - 1
        behind = hypergeom.cdf(top - 1, n, np.arange(n + 1), drawn)
        cumulative = np.r_[0.0, np.cumsum(behind)]
        rows = n_others == n
        first, last = better[rows], better[rows] + ties[rows] + 1
        probability[rows] = (cumulative[last] - cumulative[first]) / (ties[rows] + 1)
    return probability


def two_way_identification(
    predicted: Any,
    true: Any,
    *,
    fixed: str = "predicted",
    within: ArrayLike | None = None,
    group: ArrayLike | None = None,
    seed: int = 0,
) -> Score:
    """Share of pairs in which a prediction correlates more with its own stimulus than with the other one.

    Parameters
    ----------
    predicted, true : array (n_samples, ...features), or Latents
        Rows belong together; two Latents are joined by id.
    fixed : {"predicted", "true"}
        Which side is held while the other varies. Published reconstruction code holds the prediction.
    within : array (n_samples,), optional
        Labels: only pairs of one label are compared (identification within a class).
    group : array (n_samples,), optional
        Labels of rows that show the same stimulus: they are never compared, and are drawn together.
    seed : int
        Of the bootstrap, which draws stimuli and with them all pairs they are in.

    Returns
    -------
    Score
        With chance 0.5.

    Examples
    --------
    >>> latents = np.eye(4)
    >>> two_way_identification(latents, latents).value
    1.0
    """
    sides = {"predicted": "brain", "true": "stimulus"}
    if fixed not in sides:
        raise DataError(f"fixed={fixed!r}", expected="'predicted' or 'true'")
    queries, entries = _directed(predicted, true, sides[fixed])
    allowed = _allowed_pairs(len(queries), within, group)
    draws = bootstrap_weights(1000, len(queries), clusters=group, seed=seed)
    weights = np.concatenate([np.ones((1, len(queries))), *draws])
    won_sum, pair_sum = np.zeros(len(weights)), np.zeros(len(weights))
    for rows, won in _win_blocks(queries, entries, "correlation"):
        compared = allowed(rows).astype(np.float64)
        won_sum += np.einsum("di,di->d", weights[:, rows], weights @ (won * compared).T)
        pair_sum += np.einsum("di,di->d", weights[:, rows], weights @ compared.T)
    if pair_sum[0] == 0:
        raise DataError("no pair is left to compare", expected="two stimuli of one class", fix="check within, group")
    with np.errstate(invalid="ignore"):
        values = won_sum / pair_sum
    low, high = interval(values[1:])
    scope = "within class" if within is not None else "all pairs"
    return Score(
        "two-way identification" + (" within class" if within is not None else ""),
        values[0],
        ceiling=None,
        chance=0.5,
        low=float(low),
        high=float(high),
        n=len(queries) if group is None else len(np.unique(np.asarray(group))),
        split=_split_of(predicted),
        protocol=f"fixed {fixed}, {scope}, correlation",
        how=f"{int(pair_sum[0])} ordered pairs, ties half; percentile bootstrap over stimuli",
        why={"ceiling": _NO_CEILING, "split": _NO_SPLIT},
    )


def _allowed_pairs(n_samples: int, within: ArrayLike | None, group: ArrayLike | None) -> Any:
    """A function of rows that says, for each of them, which columns it may be compared with."""
    labels = {name: np.asarray(v) for name, v in {"within": within, "group": group}.items() if v is not None}
    for name, values in labels.items():
        if values.shape != (n_samples,):
            raise DataError(f"{name} must label every sample", expected=(n_samples,), found=values.shape)

    def allowed(rows: slice) -> NDArray[np.bool_]:
        pairs = np.arange(n_samples)[rows, None] != np.arange(n_samples)
        if "within" in labels:
            pairs &= labels["within"][rows, None] == labels["within"]
        if "group" in labels:
            pairs &= labels["group"][rows, None] != labels["group"]
        return pairs

    return allowed


def join_by_id(predicted: Any, targets: Any) -> tuple[NDArray, NDArray]:
    """Rows of two arrays that belong together: Latents (with ``.at`` and ``.ids``) by id, plain arrays as they lie.

    Raises
    ------
    DataError
        When only one side has ids, an id occurs twice, or shapes do not match.
    """
    has_ids = [hasattr(side, "at") and hasattr(side, "ids") for side in (predicted, targets)]
    if all(has_ids):
        ids = list(predicted.ids)
        if len(set(ids)) != len(ids):
            raise DataError(
                "an id occurs twice among the predictions", fix="average the repetitions of a stimulus first"
            )
        left, right = np.asarray(predicted.at(ids)), np.asarray(targets.at(ids))
    elif any(has_ids):
        raise DataError(
            "one side has stimulus ids and the other has none",
            expected="two Latents, or two arrays in the same order",
            found=f"{type(predicted).__name__} and {type(targets).__name__}",
            fix="Latents(values, ids, space=...) gives predictions their ids",
        )
    else:
        left, right = np.asarray(predicted), np.asarray(targets)
    left, right = flat_rows(left, "predicted"), flat_rows(right, "targets")
    if left.shape != right.shape:
        raise DataError("predictions and targets do not match", expected=right.shape, found=left.shape)
    return left, right


def _split_of(predicted: Any) -> str | None:
    """The split hash that predictions carry in their metadata, if any."""
    meta = getattr(predicted, "meta", None)
    split = meta.get("split") if isinstance(meta, Mapping) else None
    split = split.get("hash") if isinstance(split, Mapping) else split
    return None if split is None else str(split)


def _directed(predicted: Any, targets: Any, query: str) -> tuple[NDArray, NDArray]:
    if query not in ("brain", "stimulus"):
        raise DataError(f"query={query!r}", expected="'brain' or 'stimulus'", fix="the other side is the gallery")
    brain, stimulus = join_by_id(predicted, targets)
    if len(brain) < 2:
        raise DataError("identification needs at least two stimuli", found=len(brain))
    return (brain, stimulus) if query == "brain" else (stimulus, brain)


def _win_blocks(queries: NDArray, gallery: NDArray, kind: str) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield rows of a table: 1 where the right entry (on the diagonal) beats the column's, 0.5 for a tie."""
    left, right = row_moments(queries, kind), row_moments(gallery, kind)
    for rows in row_blocks(len(queries), 32 * len(gallery)):
        table = cosines(queries[rows], gallery, (left[0][rows], left[1][rows]), right)
        own = table[np.arange(len(table)), np.arange(rows.start, rows.stop)][:, None]
        won = np.where(np.abs(own - table) <= _TIE, 0.5, own > table)
        yield rows, won
