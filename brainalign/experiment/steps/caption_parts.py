"""What may be asked of captions besides: clusters, parts of regions, differences of two, and the pictures liked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions import Captions, TextBank, caption_clusters, nearest, subdivide, word_counts
from brainalign.analysis.concepts import region_difference
from brainalign.errors import DataError, unknown
from brainalign.experiment.schema_voxels import Difference
from brainalign.latents.base import Latents
from brainalign.scoring.score import Score
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["check_regions", "clusters", "differences", "liked", "parts", "thumbnails"]

_SIDE = 96


def check_regions(trials: Trials, names: Iterable[str]) -> list[str]:
    """The regions of a recording; `DataError` where one asked for is not among them."""
    if "roi" not in trials.units:
        if asked := list(names):
            raise DataError("regions are asked for, but the units have none", expected="a column roi of the units",
                            found=f"{asked} of units with {list(trials.units)}")  # fmt: skip
        return []
    known = list(dict.fromkeys(trials.units["roi"].astype(str)))
    for name in names:
        if name not in known:
            raise unknown("region", name, known)
    return known


def clusters(said: Captions, n: int, seed: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Cluster of each unit, and a table: size, regions, the commonest words and the caption nearest to the middle."""
    labels = caption_clusters(said, n, seed=seed)
    regions = said.units["roi"].astype(str) if "roi" in said.units else pd.Series(["all"] * len(said))
    counts = word_counts(replace(said, units=said.units.assign(cluster=labels)), by="cluster")
    rows = []
    for label in range(n):
        inside = labels == label
        held = regions[inside].value_counts()
        words = counts[str(label)].sort_values(ascending=False, kind="stable").head(4)
        rows.append(
            {
                "cluster": label,
                "n_units": int(inside.sum()),
                "regions": ", ".join(f"{name} {count}" for name, count in held.head(4).items()),
                "words": ", ".join(f"{word} {count}" for word, count in words.items() if count),
                "caption": pd.Series(np.array(said.texts, dtype=object)[inside]).mode().iloc[0],
            }
        )
    return labels, pd.DataFrame(rows)


def parts(
    wanted: Mapping[str, int], latents: Latents, train: Trials, bank: Latents, *, texts: TextBank, seed: int
) -> tuple[dict[str, np.ndarray], pd.DataFrame, dict[str, Score], dict[str, Latents]]:
    """Parts of each region: labels, a table, the stability as a score, and what each part likes."""
    labels, rows, scores, means = {}, [], {}, {}
    for region, n_parts in wanted.items():
        found = subdivide(latents, train, bank, where=f"roi == '{region}'", n_parts=n_parts, seed=seed)
        labels[region], means[region] = found.labels, found.embeddings
        said = texts(found.embeddings.flat())
        for part in range(n_parts):
            inside = found.labels == part
            rows.append(
                {
                    "region": region,
                    "part": part,
                    "n_units": int(inside.sum()),
                    "agree": float(found.agrees[inside].mean()) if inside.any() else np.nan,
                    "stability": found.stability,
                    "p_stable": found.p_stable,
                    "separation": found.separation,
                    "p_differ": found.p_differ,
                    "caption": said[part],
                }
            )
        told = f"tested by relabelling units, p = {found.p_stable:.3g}"
        scores[f"parts of {region}"] = Score(
            f"stability of the parts of {region}",
            found.stability,
            ceiling=1.0,
            chance=0.0,
            low=None,
            high=None,
            n=len(found.labels),
            split=train.info.get("split", {}).get("hash"),
            protocol="parts found in each half of the training stimuli",
            how="adjusted Rand index of the two partings",
            why={"low": told, "high": told, "split": "the trials carry no split hash"},
        )
    return labels, pd.DataFrame(rows), scores, means


def differences(
    wanted: Mapping[str, Difference], preferred: Mapping[str, Latents], embed: Any, *, seed: int
) -> pd.DataFrame:
    """A row for each contrast of each pair of regions: what the pictures that the first likes have more of."""
    tables = []
    for name, one in wanted.items():
        first, second = preferred[one.first], preferred[one.second]
        table = region_difference(first, second, one.attributes, embed if one.attributes else None, seed=seed)
        named = {"compared": name, "first": one.first, "second": one.second, "contrast": table.index}
        tables.append(pd.DataFrame(named).join(table.reset_index(drop=True)))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def liked(weights: np.ndarray, bank: Latents, n: int, *, cosine: bool = False) -> Latents:
    """The entries of a bank that some units are together predicted to like best."""
    rows, _ = nearest(weights.mean(axis=0, keepdims=True), bank, k=min(n, len(bank)), cosine=cosine)
    return bank.select([bank.ids[row] for row in rows[0]])


def thumbnails(pictures: Stimuli, ids: Iterable[str]) -> np.ndarray:
    """Pictures (n, side, side, 3) as uint8, small enough for a report."""
    from PIL import ImageOps

    images = [pictures.image(one) for one in ids]
    side = min(_SIDE, max(max(one.size) for one in images))
    return np.stack([np.asarray(ImageOps.pad(one, (side, side), color="white")) for one in images])
