"""What an independent classifier reads in pictures of drawn scenes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from brainalign.arrays import row_blocks
from brainalign.errors import DataError, unknown
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score
from brainalign.stimuli import Stimuli

__all__ = ["judge_scenes", "scene_agreement", "scene_scores"]

SIDE = 64


def judge_scenes(pictures: Stimuli) -> pd.DataFrame:
    """Read category, kind, colour, background, pattern, position and size off pictures of scenes.

    The classifier saw other scenes than any generator and takes no part in making pictures.

    Parameters
    ----------
    pictures : Stimuli
        Brought to 64 x 64 pixels.

    Returns
    -------
    DataFrame
        By id, with the column names of ``draw_scenes(...).table``.

    Examples
    --------
    >>> from brainalign.scenes import draw_scenes
    >>> scenes = draw_scenes(8, seed=0)
    >>> int((judge_scenes(scenes)["category"] == scenes.table["category"]).sum()) >= 7
    True
    """
    import torch
    from PIL import Image

    from brainalign.latents.mini import mini_folder
    from brainalign.latents.network import fill, load_weights
    from brainalign.reconstruction.judge_network import JudgeNetwork

    folder = mini_folder() / "judge"
    labels = json.loads((folder / "config.json").read_text())
    network = JudgeNetwork({name: len(values) for name, values in labels.items()})
    file = folder / "model.safetensors"
    fill(network, load_weights(file), path=file)
    network.eval()
    read: dict[str, list[str]] = {name: [] for name in labels}
    for rows in row_blocks(len(pictures), SIDE * SIDE * 12, budget=2**25):
        images = [pictures.image(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for one in pictures.ids[rows]]
        batch = torch.from_numpy(np.stack([np.asarray(one) for one in images])).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            for name, logits in network(batch).items():
                read[name] += [labels[name][place] for place in logits.argmax(1).tolist()]
    return pd.DataFrame(read, index=pd.Index(pictures.ids, name="stimulus_id"))


def scene_agreement(pictures: Stimuli, scenes: Stimuli) -> pd.Series:
    """Share of pictures in which the judge reads what their scene shows, per attribute.

    Parameters
    ----------
    pictures : Stimuli
        Reconstructions: their ids, or ``source_id`` where the table has it, are ids of `scenes`.
    scenes : Stimuli
        As `draw_scenes` gives them.

    Returns
    -------
    Series
        By attribute; ``attrs["chance"]`` holds the share of the commonest value among these scenes.
    """
    found, truth = _beside(pictures, scenes)
    share = (found == truth).mean()
    share.attrs["chance"] = {name: float(truth[name].value_counts(normalize=True).max()) for name in truth}
    return share


def scene_scores(pictures: Stimuli, scenes: Stimuli, attributes: Sequence[str], *, seed: int = 0) -> dict[str, Score]:
    """`scene_agreement` with chance and intervals, one score an attribute.

    Parameters
    ----------
    pictures, scenes : Stimuli
        As in `scene_agreement`.
    attributes : sequence of str
        Such as ``["category", "colour"]``.
    seed : int
        Of the bootstrap over pictures.

    Returns
    -------
    dict of str to Score
        Chance is the agreement of the same pictures with the scenes in random order, exactly: one that always shows
        the commonest value gains nothing by it.

    Raises
    ------
    DataError
        When an attribute is unknown, or the stimuli are no drawn scenes.

    Examples
    --------
    >>> from brainalign.scenes import draw_scenes
    >>> scenes = draw_scenes(8, seed=0)
    >>> scene_scores(scenes, scenes, ["category"])["category"].value >= 7 / 8
    True
    """
    found, truth = _beside(pictures, scenes)
    scores = {}
    for name in attributes:
        if name not in found:
            raise unknown("attribute of drawn scenes", name, list(found))
        right = (found[name] == truth[name]).to_numpy(dtype=np.float64)
        low, high = mean_ci(right, seed=seed)
        shares = found[name].value_counts(normalize=True), truth[name].value_counts(normalize=True)
        scores[name] = Score(
            name,
            float(right.mean()),
            ceiling=None,
            chance=float(shares[0].mul(shares[1], fill_value=0).sum()),
            low=float(low),
            high=float(high),
            n=len(right),
            split=None,
            protocol=f"{name} as an independent classifier of drawn scenes reads it",
            how="share of pictures, percentile bootstrap; chance: the same pictures beside scenes in random order",
            why={"ceiling": "no generator ceiling was given", "split": "not known"},
        )
    return scores


def _beside(pictures: Stimuli, scenes: Stimuli) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the judge reads, and what each scene shows, row by row."""
    found = judge_scenes(pictures)
    if lacking := [name for name in found if name not in scenes.table]:
        raise DataError("these stimuli are no drawn scenes", expected=list(found), found=f"no {lacking}")
    ids = pictures.table["source_id"] if "source_id" in pictures.table else pd.Series(pictures.ids)
    truth = scenes.select(pd.unique(ids)).table.loc[ids.to_numpy(), found.columns]
    return found.reset_index(drop=True), truth.reset_index(drop=True)
