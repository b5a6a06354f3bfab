"""The shipped models on scenes of a seed that nothing was chosen on, beside the bars that they were made for."""

from __future__ import annotations

from typing import Any

import torch

from brainalign.latents.mini import WEIGHTS
from brainalign.scoring.classification import clopper_pearson
from mini_models import data, halves, measures

BARS = {
    "hard_retrieval": 0.8,
    "zero_shot": 0.85,
    "category": 0.7,
    "colour": 0.7,
    "position": 1 / len(data.LABELS["position"]),
}
"""What is asked for: caption among 100 of the same colours, category named by text, and read off samples."""


def confirm(models: halves.Models, seed: int, guidance: float, *, n_scenes: int, n_drawn: int) -> dict[str, Any]:
    """Retrieval and naming by the CLIP on `n_scenes` scenes, and what the judge reads off samples of the first of them.

    Parameters
    ----------
    models : Models
    seed : int
    guidance : float
    n_scenes : int
        Of the CLIP: from 12 000 on there are a hundred of many pairs of colours.
    n_drawn : int
        Scenes of which a picture is made from the true embedding.
    """
    merges = WEIGHTS / "clip" / "merges.txt.gz"
    held = data.draw(seed, n_scenes, jobs=1, merges=merges)
    given = {name: torch.from_numpy(held[name]) for name in ("images", "tokens")}
    clip = measures.measure_clip(models.clip, given, held["labels"], data.Words(merges))
    images, truth = given["images"][:n_drawn], held["labels"][:n_drawn]
    true = measures.measure_judge(models.judge, images.float() / 255, truth)
    _, read = halves.drawn(models, images, truth, guidance)
    made = {"seed": seed, "guidance": guidance, "scenes": n_scenes, "drawn": len(images)}
    return made | {"clip": clip, "true": true, "samples": read}


def missed(found: dict[str, Any]) -> list[str]:
    """Bars that are not met, in words; a share of samples must meet its bar with the whole interval."""
    words = []
    for name, bar in BARS.items():
        value = found["clip"].get(name)
        if value is None:
            value = clopper_pearson(round(found["samples"][name] * found["drawn"]), found["drawn"])[0]
        if value < bar:
            words.append(f"{name}: {value:.3f} is below {bar:.2f}")
    return words


def table(found: dict[str, Any]) -> str:
    """Markdown: what was found, the judge's own reading of the true pictures, and the bar."""
    n, bars = found["drawn"], {name: f"{bar:.2f}" for name, bar in BARS.items()}
    lines = ["| | found | true pictures | scenes | asked for |", "|---|---|---|---|---|"]
    words = {"retrieval_100": "caption among 100", "hard_retrieval": "caption among 100 of the same colours"}
    words |= {"zero_shot": 'category by "a X"', "zero_shot_photo": 'category by "a photo of a X"'}
    for name, text in words.items():
        lines.append(f"| {text} | {found['clip'][name]:.3f} | – | {found['scenes']} | {bars.get(name, '–')} |")
    for name, values in data.LABELS.items():
        share = found["samples"][name]
        low, high = clopper_pearson(round(share * n), n)
        told = f"| {name} read off samples (chance {1 / len(values):.2f}) | {share:.3f} [{low:.3f}, {high:.3f}] "
        lines.append(told + f"| {found['true'][name]:.3f} | {n} | {bars.get(name, '–')} |")
    return "\n".join(lines)
