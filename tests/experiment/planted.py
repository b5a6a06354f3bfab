"""Trials of which the truth is known, handed to an experiment in place of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainalign.experiment import Experiment
from brainalign.spaces import SensorSpace, SurfaceSpace, VolumeSpace
from brainalign.trials import Trials

COLUMNS = {"first": ["f0", "f1", "f2"], "second": ["s0", "s1", "s2"]}


def two_areas(*, n_stimuli: int = 90, n_repetitions: int = 2, noise: float = 1.0, seed: int = 0) -> Trials:
    """Units of area A follow the columns f*, those of area B the columns s*, on a grid of 5 x 4 x 2 voxels."""
    rng = np.random.default_rng(seed)
    ids = [f"s{number:02d}" for number in range(n_stimuli)] * n_repetitions
    features = rng.standard_normal((n_stimuli, 6))
    weights = np.zeros((6, 40))
    weights[:3, :20], weights[3:, 20:] = rng.standard_normal((2, 3, 20))
    clean = np.tile(features @ weights, (n_repetitions, 1))
    space = VolumeSpace((5, 4, 2), np.diag([3.0, 3.0, 3.0, 1.0]))
    units = space.units(np.ones((5, 4, 2), dtype=bool)).assign(roi=np.repeat(["A", "B"], 20))
    table = pd.DataFrame(np.tile(features, (n_repetitions, 1)), columns=COLUMNS["first"] + COLUMNS["second"])
    responses = clean + noise * rng.standard_normal(clean.shape)
    return Trials(responses.astype(np.float32), table.assign(stimulus_id=ids), units, space=space)


def shuffled(trials: Trials, *, seed: int = 5) -> Trials:
    """The same responses beside the features of other stimuli."""
    ids = trials.trials["stimulus_id"].unique()
    other = dict(zip(ids, np.random.default_rng(seed).permutation(ids), strict=True))
    columns = COLUMNS["first"] + COLUMNS["second"]
    features = trials.trials.drop_duplicates("stimulus_id").set_index("stimulus_id")[columns]
    rows = features.loc[[other[one] for one in trials.stimulus_ids]]
    return trials.with_trials(**{name: rows[name].to_numpy() for name in columns})


def on_surface(trials: Trials) -> Trials:
    """The same on the left (area A) and right (area B) surface of 20 vertices each."""
    units = trials.units[["name", "roi"]].assign(
        hemi=np.repeat(["left", "right"], 20), vertex=np.tile(np.arange(20), 2)
    )
    return Trials(trials.responses, trials.trials, units, space=SurfaceSpace({"left": 20, "right": 20}))


def at_sensors(trials: Trials) -> Trials:
    """The same as 20 sensors at two times: area A at the first, area B at the second."""
    angle, height = np.linspace(0, 4 * np.pi, 20, endpoint=False), np.linspace(0.0, 0.07, 20)
    radius = np.sqrt(0.09**2 - height**2)
    units = pd.DataFrame({"name": [f"E{number}" for number in range(20)], "type": "eeg"})
    units = units.assign(x=radius * np.cos(angle), y=radius * np.sin(angle), z=height)
    responses = np.stack([trials.responses[:, :20], trials.responses[:, 20:]], axis=2)
    return Trials(responses, trials.trials, units, times=[0.0, 0.1], space=SensorSpace(sfreq=10.0))


def continuous(*, n_rows: int = 600, lead: int = 2, seed: int = 0) -> Trials:
    """Ten units that tell the columns f* and are `lead` rows ahead of them; s* have nothing to do with it."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_rows + lead, 6))
    responses = features[lead:, :3] @ rng.standard_normal((3, 10)) + 0.5 * rng.standard_normal((n_rows, 10))
    table = pd.DataFrame(features[:n_rows], columns=COLUMNS["first"] + COLUMNS["second"])
    ids = [f"bin-{number:04d}" for number in range(n_rows)]
    return Trials(responses.astype(np.float32), table.assign(stimulus_id=ids, onset=0.05 * np.arange(n_rows)))


def experiment(*analyses: dict[str, Any], **changes: Any) -> Experiment:
    """An experiment on planted trials."""
    plain: dict[str, Any] = {
        "name": "planted",
        "title": "Planted",
        "dataset": {"name": "planted"},
        "latents": {name: {"columns": columns} for name, columns in COLUMNS.items()},
        "analyses": list(analyses),
    }
    return Experiment.model_validate({**plain, **changes})
