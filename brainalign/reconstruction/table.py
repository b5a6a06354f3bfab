"""`reconstruction_table`: pictures made from the brain beside those that were seen, under one protocol.

No system stands alone: the table has a row for each control (the generator fed with true latents, a brain whose
pairing was shuffled, noise in place of a brain, the nearest training picture), and names those that were not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import unknown
from brainalign.reconstruction.judging import LOWER_IS_BETTER, Evaluation, judge_all
from brainalign.reconstruction.pairs import CONTROLS, control_of, paired
from brainalign.scoring.score import Score
from brainalign.stimuli import Stimuli

__all__ = ["ReconstructionTable", "over_draws", "reconstruction_table"]


@dataclass(frozen=True)
class ReconstructionTable:
    """Scores by row (systems, then controls) and metric.

    Parameters
    ----------
    scores : dict of (row, metric) to Score
    missing : dict of str to str
        Metrics that could not be computed, and why; their columns are NaN.
    absent : tuple of str
        Controls that were not given.
    protocol : str
    """

    scores: dict[tuple[str, str], Score]
    missing: dict[str, str]
    absent: tuple[str, ...]
    protocol: str

    @property
    def rows(self) -> list[str]:
        """Systems, then controls."""
        return list(dict.fromkeys(row for row, _ in self.scores))

    @property
    def metrics(self) -> list[str]:
        """Columns, missing ones last."""
        return list(dict.fromkeys([*(metric for _, metric in self.scores), *self.missing]))

    def frame(self) -> pd.DataFrame:
        """Values, one row a system or control, one column a metric; NaN where a judge is missing."""
        held = [[self.scores.get((row, metric)) for metric in self.metrics] for row in self.rows]
        values = [[np.nan if one is None or one.value is None else one.value for one in row] for row in held]
        named = [f"{metric} ↓" if metric in LOWER_IS_BETTER else metric for metric in self.metrics]
        return pd.DataFrame(values, index=pd.Index(self.rows, name="pictures"), columns=named)

    def with_scores(self, row: str, scores: Mapping[str, Score]) -> ReconstructionTable:
        """The table with more columns for one row, such as retrieval or brain correlation."""
        added = {(row, metric): score for metric, score in scores.items()}
        order = {name: number for number, name in enumerate(dict.fromkeys([*self.rows, row]))}
        merged = sorted((self.scores | added).items(), key=lambda item: order[item[0][0]])
        return replace(self, scores=dict(merged))

    def __repr__(self) -> str:
        text = self.frame().to_string(float_format="{:.3f}".format, na_rep="missing")
        notes = [f"{metric} is missing: {why.splitlines()[0]}" for metric, why in self.missing.items()]
        if self.absent:
            notes.append(f"controls not given: {', '.join(self.absent)}")
        return "\n".join([f"ReconstructionTable ({self.protocol})", text, *notes])


def reconstruction_table(
    pictures: Stimuli | Mapping[str, Stimuli],
    stimuli: Stimuli,
    *,
    protocol: str,
    controls: Mapping[str, Stimuli] | None = None,
    training: Any = None,
    **options: Any,
) -> ReconstructionTable:
    """Score reconstructions against the pictures that were seen.

    Parameters
    ----------
    pictures : Stimuli, or mapping of str to Stimuli
        Reconstructions by the id of the picture seen; a mapping names several systems.
    stimuli : Stimuli
        The pictures seen, those of the test set.
    protocol : str
        Carried by every score: numbers of two protocols are not to be compared. ``"nsd-982"`` and ``"nsd-1000"`` ask
        for as many pictures.
    controls : mapping of str to Stimuli, optional
        Under the names of `brainalign.reconstruction.CONTROLS`; further draws of one, such as other shuffles, as
        ``"shuffled brain #2"`` and so on: they become one row, their mean with an interval over draws. The scores of
        the "generator ceiling" become the ceilings of all others. See `control_pictures`, which makes them.
    training : Stimuli or sequence of str, optional
        What the systems were trained on, refused where it holds a test picture: by id, and with Stimuli also by its
        pixels under another id.
    **options
        Fields of `Evaluation`: metrics, weights, judges, fixed, within, best_of, split, device, batch_size, seed.

    Returns
    -------
    ReconstructionTable

    Raises
    ------
    DataError
        When a picture is missing, sizes are mixed, or a metric or control is unknown.
    LeakageError
        When a test picture was seen in training.

    Notes
    -----
    Chance is one half for identification. For a likeness (PixCorr, SSIM, distances) it is the mean of the same
    pictures paired with others' originals: a collapsed system can be high above nothing and not above this. Two-way
    identification gives half credit to ties; equal pictures under two ids are never compared. Intervals are from a
    bootstrap over pictures.

    Examples
    --------
    >>> seen = Stimuli.from_arrays(np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3)).astype(np.uint8), "abcdef")
    >>> table = reconstruction_table(seen, seen, protocol="example", metrics=["PixCorr"])
    >>> round(table.scores["reconstruction", "PixCorr"].value, 3), table.absent[0]
    (1.0, 'generator ceiling')
    """
    if unknown_options := [name for name in options if name not in {one.name for one in fields(Evaluation)}]:
        raise unknown("option", unknown_options[0], [one.name for one in fields(Evaluation)])
    how = Evaluation(**options)
    systems = {"reconstruction": pictures} if isinstance(pictures, Stimuli) else dict(pictures)
    pairs = paired(systems, controls or {}, stimuli, protocol=protocol, training=training, within=how.within)
    scores, missing = judge_all(pairs, how)
    by_row = {key: scores[key] for row in pairs.rows for key in scores if key[0] == row}
    absent = tuple(name for name in CONTROLS if name not in pairs.rows)
    return ReconstructionTable(_with_ceilings(over_draws(by_row)), missing, absent, pairs.protocol)


def over_draws(scores: Mapping[tuple[str, str], Score]) -> dict[tuple[str, str], Score]:
    """Scores by (row, metric), with all draws of a control as one: the mean, and its t interval over the draws.

    A shuffled brain is one wrong map for all pictures, so that pictures tell nothing of what another shuffle would
    give; the interval over draws does.
    """
    held: dict[tuple[str, str], list[Score]] = {}
    for (row, metric), score in scores.items():
        held.setdefault((control_of(row) if control_of(row) in CONTROLS else row, metric), []).append(score)
    return {key: some[0] if len(some) == 1 else _mean_of(some) for key, some in held.items()}


def _mean_of(draws: list[Score]) -> Score:
    from scipy.stats import t

    values = np.array([one.value for one in draws], dtype=np.float64)
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    chances = [one.chance for one in draws if one.chance is not None]
    return replace(
        draws[0],
        value=float(values.mean()),
        low=float(values.mean()) - half,
        high=float(values.mean()) + half,
        chance=float(np.mean(chances)) if chances else None,
        n=len(values),
        how=f"mean over {len(values)} draws of the control ({values.min():.3f} to {values.max():.3f}), t interval over "
        f"draws; each: {draws[0].how}",
    )


def _with_ceilings(scores: dict[tuple[str, str], Score]) -> dict[tuple[str, str], Score]:
    """Give every score the value that the generator reaches from true latents."""
    top = CONTROLS[0]
    ceilings = {metric: score.value for (row, metric), score in scores.items() if row == top}
    return {
        (row, metric): score if row == top or metric not in ceilings else replace(score, ceiling=ceilings[metric])
        for (row, metric), score in scores.items()
    }
