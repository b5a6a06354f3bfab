"""One judge after another over all rows of a table: likeness of pixels, identification, distance of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.arrays import row_blocks
from brainalign.cache import Cache
from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents
from brainalign.latents.extraction import extract
from brainalign.latents.network import Network
from brainalign.latents.registry import load_model
from brainalign.reconstruction.judges import JUDGES, Judge, load_judge, lpips_heads
from brainalign.reconstruction.pairs import Pairs, stack
from brainalign.scoring.identification import two_way_identification
from brainalign.scoring.images import LIKENESS, PIXEL_SIZE, common_pixels, correlation_distance, lpips
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score
from brainalign.stimuli import Stimuli

__all__ = ["LOWER_IS_BETTER", "METRICS", "Evaluation", "judge_all"]

PIXELS = ("PixCorr", "SSIM")
METRICS = (*PIXELS, *JUDGES)
LOWER_IS_BETTER = {"LPIPS", "EfficientNet", "SwAV"}


@dataclass(frozen=True)
class Evaluation:
    """How pictures are judged.

    Parameters
    ----------
    metrics : sequence of str
        ``"PixCorr"``, ``"SSIM"`` and keys of `brainalign.reconstruction.JUDGES`; default all.
    weights : path-like, optional
        Folder of the judges' weights; nothing is downloaded then.
    judges : mapping of str to (str or Network)
        More networks that judge by two-way identification in their embedding, for example
        ``{"EfficientNet-lite (offline)": "offline:efficientnet_lite0"}``. They stand under their own names.
    fixed : {"predicted", "true"}
        Side that is held in two-way identification. Published code holds the reconstruction ("predicted"); the text
        of MindEye2 holds the picture seen.
    within : array or mapping, optional
        Fold (or class) of each picture, by id or in the order of the stimuli: only pictures that share it are compared.
    best_of : int
        From how many samples each reconstruction was chosen; told in the protocol of every score.
    split : str, optional
        Hash of the split that was scored.
    device : str
    batch_size : int
    seed : int
        Of the bootstrap, and of the pairing that gives the chance level of likenesses.
    """

    metrics: Sequence[str] = METRICS
    weights: str | PathLike[str] | None = None
    judges: Mapping[str, str | Network] = field(default_factory=dict)
    fixed: str = "predicted"
    within: Any = None
    best_of: int = 1
    split: str | None = None
    device: str = "cpu"
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for metric in self.metrics:
            if metric not in METRICS:
                raise unknown("metric", metric, METRICS)
        if clash := sorted(set(self.judges) & set(METRICS)):
            raise DataError(f"judge '{clash[0]}' has the name of a published metric", fix="give it a name of its own")
        if self.best_of < 1:
            raise DataError("best_of counts samples", expected="at least 1", found=self.best_of)


def judge_all(pairs: Pairs, how: Evaluation) -> tuple[dict[tuple[str, str], Score], dict[str, str]]:
    """Scores of every row by every metric, and the metrics whose judge is missing, with the reason."""
    scores: dict[tuple[str, str], Score] = {}
    missing: dict[str, str] = {}
    pixels = [metric for metric in how.metrics if metric in PIXELS]
    scores |= _pixel_scores(pixels, pairs, how) if pixels else {}
    for metric in how.metrics:
        if metric in PIXELS:
            continue
        try:
            network = load_judge(metric, weights=how.weights, device=how.device)
            heads = _heads(how) if metric == "LPIPS" else None
        except DataError as error:
            missing |= dict.fromkeys(JUDGES[metric].layers, error.what)
            continue
        scores |= _judged(JUDGES[metric], network, pairs, how, heads)
    for name, model in how.judges.items():
        scores |= _judged(Judge("", {name: ""}, 0, "identification", ""), model, pairs, how, None)
    return scores, missing


def _heads(how: Evaluation) -> dict[str, NDArray]:
    if how.weights is None:
        raise DataError("LPIPS reads its linear heads from a folder: weights=, with lpips_linear/alex.pth")
    return lpips_heads(how.weights)


def _pixel_scores(metrics: Sequence[str], pairs: Pairs, how: Evaluation) -> dict[tuple[str, str], Score]:
    """Likenesses of pixels; the pictures seen are brought to the common size once for all rows, which is most of it."""
    ids, others = np.array(pairs.seen.ids, dtype=object), pairs.others(how.seed)
    found: dict[tuple[str, str], list[tuple[NDArray, NDArray]]] = {}
    for rows in pairs.blocks(6 * PIXEL_SIZE**2 * 3):  # three stacks at a time instead of two
        seen, other = (common_pixels(stack(pairs.seen, some)) for some in (ids[rows], ids[others[rows]]))
        for row, pictures in pairs.rows.items():
            made = common_pixels(stack(pictures, ids[rows]))
            for metric in metrics:
                compare = LIKENESS[metric]
                found.setdefault((row, metric), []).append((compare(made, seen), compare(made, other)))
    scores = {}
    for (row, metric), parts in found.items():
        own, other = (np.concatenate(side) for side in zip(*parts, strict=True))
        scores[row, metric] = _likeness(metric, own, other, pairs, how)
    return scores


def _judged(
    judge: Judge, network: str | Network, pairs: Pairs, how: Evaluation, heads: dict[str, NDArray] | None
) -> dict[tuple[str, str], Score]:
    """One network over all rows; its activations lie on disk while they are compared."""
    if isinstance(network, str):
        network = load_model(network, device=how.device)
    layers = [one for joined in judge.layers.values() for one in joined.split(",") if one] or None
    scores: dict[tuple[str, str], Score] = {}
    with TemporaryDirectory(prefix="brainalign-judge-") as folder:
        store = Cache(folder)

        def features(pictures: Stimuli) -> dict[str, Latents]:
            found = extract(pictures, network, layers=layers, batch_size=how.batch_size, cache=store)
            return found if isinstance(found, dict) else {"": found}

        seen = features(pairs.seen)
        for row, made in pairs.rows.items():
            mine = features(made)
            for metric, layer in judge.layers.items():
                if judge.kind == "identification":
                    scores[row, metric] = _identified(metric, mine[layer], seen[layer], pairs, how)
                else:
                    compare = _distances(judge.kind, layer, heads)
                    own, other = compare(mine, seen, slice(None)), compare(mine, seen, pairs.others(how.seed))
                    scores[row, metric] = _likeness(metric, own, other, pairs, how)
            _forget(mine, seen, store)
    return scores


def _forget(mine: Mapping[str, Latents], seen: Mapping[str, Latents], store: Cache) -> None:
    """Give the disk back: 1000 pictures of AlexNet(2) are 0.7 GB a row. Equal pictures share one entry with `seen`."""
    kept = {str(getattr(one.values, "filename", "")) for one in seen.values()}
    for one in mine.values():
        file = getattr(one.values, "filename", None)
        if file is not None and str(file) not in kept and store.root in Path(file).parents:
            rmtree(Path(file).parent, ignore_errors=True)


def _distances(kind: str, layer: str, heads: dict[str, NDArray] | None) -> Any:
    """A function of features of both sides, and of the rows of the seen ones, that gives one distance a picture."""

    def by_correlation(mine: Mapping[str, Latents], seen: Mapping[str, Latents], rows: Any) -> NDArray:
        return correlation_distance(mine[layer].flat(), seen[layer].flat()[rows])

    def by_lpips(mine: Mapping[str, Latents], seen: Mapping[str, Latents], rows: Any) -> NDArray:
        order = np.arange(len(next(iter(seen.values()))))[rows]
        parts = []
        for block in row_blocks(len(order), 2**25):
            left = {name: one.values[block] for name, one in mine.items()}
            right = {name: one.values[order[block]] for name, one in seen.items()}
            parts.append(lpips(left, right, heads or {}))
        return np.concatenate(parts)

    return by_lpips if kind == "lpips" else by_correlation


def _identified(metric: str, mine: Latents, seen: Latents, pairs: Pairs, how: Evaluation) -> Score:
    score = two_way_identification(
        mine, seen, fixed=how.fixed, within=pairs.within, group=pairs.same, seed=how.seed
    )  # fmt: skip
    scope = "" if pairs.within is None else ", within the group"
    return _told(replace(score, name=metric), f"two-way, fixed {how.fixed}{scope}", pairs, how)


def _likeness(metric: str, own: NDArray, other: NDArray, pairs: Pairs, how: Evaluation) -> Score:
    low, high = mean_ci(own, seed=how.seed)
    alone = pairs.others(how.seed) == np.arange(len(own))
    chance = None if alone.all() else float(other[~alone].mean())
    score = Score(
        metric,
        float(own.mean()),
        ceiling=None,
        chance=chance,
        low=float(low),
        high=float(high),
        n=len(own),
        split=None,
        protocol="",
        how="mean over pictures, percentile bootstrap; chance: the same pictures beside others' originals",
        why=dict.fromkeys(("ceiling", "split", "chance", "protocol"), "not known"),
    )
    return _told(score, "mean, lower is better" if metric in LOWER_IS_BETTER else "mean", pairs, how)


def _told(score: Score, form: str, pairs: Pairs, how: Evaluation) -> Score:
    chosen = f"; best of {how.best_of} samples" if how.best_of > 1 else ""
    why = {"ceiling": "no generator ceiling was given", "split": "the pictures carry no split hash: give split=",
           "chance": "every picture is alone in its group"}  # fmt: skip
    return replace(score, protocol=f"{pairs.protocol}; {form}{chosen}", split=how.split, why=why)
