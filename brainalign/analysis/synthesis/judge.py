"""Synthesised pictures before a second encoder, which took no part in making them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from brainalign.analysis.synthesis.encoder import PictureEncoder
from brainalign.analysis.synthesis.targets import as_target
from brainalign.errors import DataError
from brainalign.parallel import progress
from brainalign.reconstruction.generators.base import to_uint8
from brainalign.scoring.resampling import mean_ci
from brainalign.scoring.score import Score
from brainalign.splits import check_disjoint
from brainalign.stimuli import Stimuli

__all__ = ["Judged", "judge_synthesis", "redraw"]

_AT_A_TIME = 16


@dataclass(frozen=True, eq=False)
class Judged:
    """What a second encoder predicts for synthesised pictures, among natural ones.

    Parameters
    ----------
    values : ndarray, shape (n_pictures,)
        The target's value by the judge.
    natural : ndarray, shape (n_natural,)
        The same for natural pictures.
    shares : ndarray, shape (n_pictures,)
        Share of natural pictures that a synthesised one exceeds.
    summary : Score
        Mean of `values` in SD of the natural ones about their mean, with an interval over pictures; the ceiling is the
        99th percentile of natural pictures, which it may pass.
    same_network : bool
        Whether guide and judge read the same network: then what deceives the network may deceive both.
    table : DataFrame
        ``value`` and ``share`` by picture.
    """

    values: np.ndarray
    natural: np.ndarray
    shares: np.ndarray
    summary: Score
    same_network: bool
    table: pd.DataFrame

    @property
    def beats_natural(self) -> bool:
        """Whether the mean passes the 99th percentile of natural pictures."""
        return float(self.values.mean()) > float(np.quantile(self.natural, 0.99))


def judge_synthesis(
    pictures: Stimuli,
    target: Any,
    *,
    guide: PictureEncoder | Sequence[PictureEncoder],
    judge: PictureEncoder,
    natural: Stimuli,
    seed: int = 0,
) -> Judged:
    """Let a second encoder judge what was made with the first.

    Parameters
    ----------
    pictures : Stimuli
        As `synthesize` returns them.
    target : as in `synthesize`
    guide : PictureEncoder, or several
        All that had a part in making the pictures.
    judge : PictureEncoder
        Of the same units, fitted on other stimuli.
    natural : Stimuli
        Pictures that the judge was not fitted on.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Judged

    Raises
    ------
    LeakageError
        When guide and judge were fitted on a stimulus both, or the judge on one of the natural pictures.
    DataError
        When the judge guided itself, either was fitted on bare arrays so that nobody can tell, or units differ.
    """
    for one in guide if isinstance(guide, Sequence) else [guide]:
        _check_independent(one, judge)
    check_disjoint(judge.stimulus_ids or (), natural.ids)
    guides = guide if isinstance(guide, Sequence) else [guide]
    _, function = as_target(target, judge.units)
    # The natural pictures are the same for every region and sampler: their embeddings are kept.
    values, others = (
        function(torch.from_numpy(judge.predict(some, cache=cache))).numpy().astype(np.float64)
        for some, cache in ((pictures, False), (natural, None))
    )
    shares = (np.searchsorted(np.sort(others), values) / len(others)).astype(np.float64)
    scaled = (values - others.mean()) / max(others.std(), 1e-12)
    low, high = mean_ci(scaled, seed=seed)
    summary = Score(
        "response by a second encoder",
        float(scaled.mean()),
        ceiling=float((np.quantile(others, 0.99) - others.mean()) / max(others.std(), 1e-12)),
        chance=0.0,
        low=float(low),
        high=float(high),
        n=len(values),
        split=None,
        protocol="response that an encoder fitted on other stimuli predicts, in SD of natural pictures",
        how="mean over pictures, percentile bootstrap; ceiling and chance: 99th percentile and mean of natural ones",
        why={"split": "guide and judge were fitted on disjoint stimuli; pictures made are of no split"},
    )
    table = pd.DataFrame({"value": values, "share": shares}, index=pd.Index(pictures.ids, name="stimulus_id"))
    same = any(one.network.space == judge.network.space for one in guides)
    return Judged(values, others, shares, summary, same, table)


def redraw(pictures: Stimuli, generator: Any) -> Stimuli:
    """Pictures as a generator's autoencoder gives them back, under their own ids.

    What an autoencoder blurs or adds moves the features of a network that never saw its pictures, in the same way for
    everything the generator makes. Fit a judge on ``extract(redraw(stimuli, generator), network)`` and compare with
    redrawn natural pictures: what is then between made and natural ones is not the autoencoder's hand.

    Parameters
    ----------
    pictures : Stimuli
    generator : Diffusion
        With ``encode`` and ``decode``.

    Returns
    -------
    Stimuli
        In memory.

    Raises
    ------
    DataError
        When the generator has no encoder.
    """
    if not hasattr(generator, "encode"):
        raise DataError(f"{generator.name} cannot redraw pictures", expected="a generator with an autoencoder",
                        fix="load_generator('mini') or another diffusion pipeline")  # fmt: skip
    _, height, width = generator.decode(torch.zeros(1, *generator.latent_shape, device=generator.device))[0].shape
    made = []
    for at in progress(range(0, len(pictures), _AT_A_TIME), description=f"redrawn by {generator.name}"):
        some = [pictures.image(one).resize((width, height)) for one in pictures.ids[at : at + _AT_A_TIME]]
        latents = generator.encode(np.stack([np.asarray(one, dtype=np.float32) / 255 for one in some]))
        with torch.no_grad():
            drawn = generator.decode(torch.from_numpy(latents).to(generator.device))
        made.append(to_uint8(drawn.permute(0, 2, 3, 1).float().cpu().numpy()))
    return Stimuli.from_arrays(np.concatenate(made), list(pictures.ids), table=pictures.table)


def _check_independent(guide: PictureEncoder, judge: PictureEncoder) -> None:
    if guide is judge or guide.model is judge.model:
        raise DataError("an encoder cannot judge the pictures that it guided", expected="a second encoder",
                        fix="fit another network's model to the other half of the trials")  # fmt: skip
    if guide.stimulus_ids is None or judge.stimulus_ids is None:
        raise DataError(
            "nobody can tell whether guide and judge were fitted on the same data",
            expected="voxelwise models fitted on Latents and Trials",
            found="fitted on arrays",
            fix="Ridge().fit(latents, trials)",
        )
    check_disjoint(guide.stimulus_ids, judge.stimulus_ids)
    if guide.units["name"].tolist() != judge.units["name"].tolist():
        raise DataError(
            "guide and judge predict other units",
            expected=f"{len(guide.units)} units",
            found=f"{len(judge.units)} units",
            fix="PictureEncoder(..., units=trials) for both",
        )
