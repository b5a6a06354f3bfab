"""Scenes drawn in parallel, with their labels and with captions as token rows."""

from __future__ import annotations

import gzip
import itertools
import re
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from brainalign.scenes import CATEGORIES, KINDS, draw_scene
from brainalign.scenes.background import PATTERNS
from brainalign.scenes.palette import COLOURS, SHADES
from brainalign.scenes.scene import PLACES, SIZES, Scene, describe_scene, scene_id

LABELS: dict[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "kind": tuple(kind.name for kind in KINDS.values()),
    "colour": tuple(COLOURS),
    "background": tuple(SHADES),
    "pattern": tuple(PATTERNS),
    "position": tuple(PLACES),
    "size": tuple(SIZES),
}
"""What varies in a scene, and the values it takes."""

CONTEXT = 24


def captions_of(scene: Scene) -> list[str]:
    """The whole caption first, then shorter ones that name a part."""
    kind, category, colour = scene.kind, scene.category, scene.colour
    return [
        scene.caption,
        f"a {kind}",
        f"a photo of a {kind}",
        f"a {category}",
        f"a photo of a {category}",
        f"a {colour} {kind}",
        f"a {colour} {kind} on a {scene.background} background",
        f"a {scene.size} {category} {scene.position}",
    ]


def learn_merges() -> list[tuple[str, str]]:
    """Byte-pair merges that make every word of the captions one token (Sennrich et al. 2016)."""
    texts = [*LABELS["category"], *LABELS["kind"], *LABELS["colour"], *LABELS["pattern"], *PLACES, *SIZES]
    texts += ["a an photo of on background picture drawing the with"]
    counts = Counter(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
    words = {word: [*word[:-1], f"{word[-1]}</w>"] for word in sorted(counts)}
    merges: list[tuple[str, str]] = []
    while any(len(parts) > 1 for parts in words.values()):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in words.items():
            for pair in itertools.pairwise(parts):
                pairs[pair] += counts[word]
        best = max(sorted(pairs), key=pairs.__getitem__)
        merges.append(best)
        for word, parts in words.items():
            words[word] = _merge(parts, best)
    return merges


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def write_merges(path: Path) -> int:
    """Write the merges as open_clip reads them; returns the size of the vocabulary they make."""
    merges = learn_merges()
    text = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return 512 + len(merges) + 2


class Words:
    """Captions to token rows, word by word: the same ids as open_clip's tokenizer gives, much faster."""

    def __init__(self, merges: Path) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self.tokenizer = SimpleTokenizer(str(merges), context_length=CONTEXT)
        self.known: dict[str, list[int]] = {}

    def row(self, text: str) -> np.ndarray:
        """(CONTEXT,) int16."""
        ids = [self.tokenizer.sot_token_id]
        for word in text.split():
            if word not in self.known:
                self.known[word] = self.tokenizer.encode(word)
            ids += self.known[word]
        ids.append(self.tokenizer.eot_token_id)
        row = np.zeros(CONTEXT, np.int16)
        row[: len(ids)] = ids
        return row


def _chunk(task: tuple[int, int, int, str | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    seed, start, stop, merges = task
    words = Words(Path(merges)) if merges else None
    scenes = [describe_scene(scene_id(seed, number)) for number in range(start, stop)]
    images = np.stack([np.asarray(draw_scene(scene.id)).transpose(2, 0, 1) for scene in scenes])
    labels = [[values.index(getattr(scene, name)) for name, values in LABELS.items()] for scene in scenes]
    tokens = None if words is None else np.stack([[words.row(text) for text in captions_of(one)] for one in scenes])
    return images, np.array(labels, np.int16), tokens


def draw(seed: int, n: int, *, jobs: int, merges: Path | None = None) -> dict[str, np.ndarray]:
    """Draw `n` scenes of a seed: images (n, 3, 64, 64) uint8, labels (n, 7), tokens (n, 8, CONTEXT) where asked."""
    step = max(1, min(2000, -(-n // jobs)))
    name = None if merges is None else str(merges)
    tasks = [(seed, start, min(start + step, n), name) for start in range(0, n, step)]
    found = {"images": np.empty((n, 3, 64, 64), np.uint8), "labels": np.empty((n, len(LABELS)), np.int16)}
    if merges is not None:
        found["tokens"] = np.empty((n, 8, CONTEXT), np.int16)
    with get_context("spawn").Pool(jobs) as pool:
        for (_, start, stop, _), (images, labels, tokens) in zip(tasks, pool.imap(_chunk, tasks)):
            found["images"][start:stop], found["labels"][start:stop] = images, labels
            if tokens is not None:
                found["tokens"][start:stop] = tokens
    return found
