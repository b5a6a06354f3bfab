"""Relative representations: samples described by their similarity to anchors, comparable across spaces.

Two spaces that differ by a rotation and a scale, as two subjects or two networks do roughly, become one; a decoder
fitted in one then works in the other without training (Moschella et al. 2023, ICLR).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.rsa.backend import as_doubles, as_like, namespace, on_device, to_numpy
from brainalign.arrays import as_matrix
from brainalign.errors import DataError
from brainalign.scoring.identification import retrieval
from brainalign.scoring.score import Score

__all__ = ["ANCHOR_POLICIES", "choose_anchors", "stitch", "to_anchors"]

ANCHOR_POLICIES = ("random", "farthest", "clusters")


def to_anchors(X: Any, anchors: Iterable[Any], *, centre: bool = True) -> Any:
    """Cosine similarity of every sample with every anchor.

    Parameters
    ----------
    X : Latents, or array or tensor (n_samples, n_features)
    anchors : sequence of ids (Latents), or array of int (n_anchors,)
        Which of the samples are anchors; or, for an array X, an array (n_anchors, n_features) of their features.
    centre : bool
        Subtract the mean of the anchors first. The cosine is blind to rotation and scale, not to a shift: without
        this, spaces with different means do not become comparable.

    Returns
    -------
    Latents, array or tensor (n_samples, n_anchors)
        0 for a sample that lies on the mean of the anchors.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(20, 5))
    >>> turned = 3 * X @ np.linalg.qr(X.T @ X)[0] + 7
    >>> bool(np.allclose(to_anchors(X, range(8)), to_anchors(turned, range(8))))
    True
    """
    is_latents = hasattr(X, "at") and hasattr(X, "ids")
    if is_latents:
        ids = [str(one) for one in np.asarray(list(anchors)).ravel()]
        _check_anchors(ids)
        values, basis = X.flat().astype(np.float64), X.select(ids).flat().astype(np.float64)
    else:
        values = as_doubles(X)
        as_matrix(to_numpy(values), name="X")
        chosen = to_numpy(anchors if hasattr(anchors, "__array__") else list(anchors))
        if chosen.ndim == 1 and chosen.dtype.kind in "iu":
            _check_anchors(chosen.tolist())
            if chosen.min() < -len(values) or chosen.max() >= len(values):
                raise DataError("anchors are rows of X", expected=f"0 to {len(values) - 1}", found=chosen[:10].tolist())
            basis = values[on_device(chosen, values)]
        else:
            basis = as_like(as_matrix(chosen, name="anchors", dtype=np.float64, min_rows=2), values)
    if basis.shape[1] != values.shape[1]:
        raise DataError("anchors live in another space", expected=values.shape[1], found=basis.shape[1])
    if centre:
        mean = basis.mean(0)
        values, basis = values - mean, basis - mean
    table = _unit(values) @ _unit(basis).T
    if not is_latents:
        return table
    meta = {**X.meta, "anchors": ids, "centred": centre}
    return type(X)(table.astype(np.float32), X.ids, space=f"relative to {len(ids)} anchors:{X.space}", meta=meta)


def _check_anchors(anchors: list[Any]) -> None:
    if len(set(anchors)) < max(len(anchors), 2):
        raise DataError("anchors must be two or more, each once", found=f"{len(set(anchors))} of {len(anchors)} differ")


def _unit(x: Any) -> Any:
    xp = namespace(x)
    norm = xp.sqrt((x * x).sum(1))[:, None]
    return x / xp.where(norm > 0, norm, xp.ones_like(norm))


def choose_anchors(X: Any, n_anchors: int, *, policy: str = "random", seed: int = 0) -> NDArray:
    """Which samples to take as anchors.

    Parameters
    ----------
    X : Latents, or array (n_samples, n_features)
    n_anchors : int
    policy : {"random", "farthest", "clusters"}
        Uniformly at random; each next anchor the sample farthest from all so far (Gonzalez 1985), which covers the
        space and its outliers; the samples nearest to the centres of k-means, which cover where samples are dense.
    seed : int

    Returns
    -------
    array (n_anchors,)
        Ids for Latents, rows for an array.
    """
    values = X.flat() if hasattr(X, "flat") and callable(X.flat) else X
    values = as_matrix(values, name="X", dtype=np.float64)
    if policy not in ANCHOR_POLICIES:
        raise DataError(f"no anchor policy {policy!r}", expected=ANCHOR_POLICIES)
    if not 2 <= n_anchors <= len(values):
        raise DataError("number of anchors", expected=f"2 to {len(values)} (the samples)", found=n_anchors)
    rng = np.random.default_rng(seed)
    if policy == "random":
        rows = rng.permutation(len(values))[:n_anchors]
    elif policy == "farthest":
        rows = _farthest(values, n_anchors, int(rng.integers(len(values))))
    else:
        rows = _nearest_to_centres(values, n_anchors, seed)
    return np.asarray(X.ids)[rows] if hasattr(X, "ids") else rows


def _farthest(values: NDArray, n_anchors: int, first: int) -> NDArray[np.intp]:
    rows = [first]
    nearest = np.full(len(values), np.inf)
    while len(rows) < n_anchors:
        nearest = np.minimum(nearest, np.sum((values - values[rows[-1]]) ** 2, axis=1))
        nearest[rows] = -1.0
        rows.append(int(nearest.argmax()))
    return np.array(rows)


def _nearest_to_centres(values: NDArray, n_anchors: int, seed: int) -> NDArray[np.intp]:
    from sklearn.cluster import KMeans

    distances = KMeans(n_anchors, n_init=1, random_state=seed).fit(values).transform(values)
    rows: list[int] = []
    for one in range(n_anchors):
        order = np.argsort(distances[:, one])
        rows.append(next(int(row) for row in order if int(row) not in rows))
    return np.array(rows)


def stitch(X: Any, Y: Any, anchors: Iterable[Any], *, centre: bool = True, top: int = 1) -> Score:
    """Zero-shot retrieval across two spaces that share nothing but the anchors.

    Both sides are described by their similarity to the same anchors; each of the other samples of X then looks for
    itself among those of Y. No map between the spaces is fitted.

    Parameters
    ----------
    X, Y : Latents, or arrays (n_samples, n_features)
        Of two subjects, two networks, a brain and a network. Latents are joined by id; rows of arrays match.
    anchors : sequence of ids, or array of int
        Samples of both sides, left out of the retrieval.
    centre : bool
        As in `to_anchors`.
    top : int
        A hit is a place among the first `top`.

    Returns
    -------
    Score
        As `scoring.retrieval` has it.
    """
    chosen = list(np.asarray(list(anchors)).ravel())
    if hasattr(X, "ids"):
        names = {str(one) for one in chosen}
        shared = [one for one in X.ids if one in set(Y.ids)]
        others = [one for one in shared if one not in names]
        sides = [to_anchors(side, chosen, centre=centre).at(others) for side in (X, Y)]
    else:
        if len(X) != len(Y):
            raise DataError("X and Y must hold the same samples", expected=len(X), found=len(Y))
        rows = np.setdiff1d(np.arange(len(X)), np.asarray(chosen, dtype=int))
        sides = [to_anchors(side, np.asarray(chosen, dtype=int), centre=centre)[rows] for side in (X, Y)]
    if len(sides[0]) < 2:
        raise DataError(
            "nothing is left to retrieve", expected="2 or more samples that are no anchors", found=len(sides[0])
        )
    return retrieval(sides[0], sides[1], top=top)
