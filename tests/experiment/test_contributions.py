"""Where and when an encoder reads: a planted source is found at its latency and place, nothing in a shuffled copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from brainalign.errors import DataError
from brainalign.experiment import Experiment, run_experiment
from brainalign.experiment.context import Context
from brainalign.experiment.steps.contributions import compute

ONSET = 0.12
"""Of the simulated temporal source, which alone is active."""


def planted(dataset: dict[str, Any] | None = None, **changes: Any) -> Experiment:
    options = {
        **{"n_stimuli": 120, "modality": "eeg", "model": "pixels:3:grey", "rois": ["temporal"], "n_repetitions": 3},
        **{"sfreq": 50.0, "drift": 0.0, "ceiling": [0.7, 0.8]},
    }
    analysis = {
        **{"kind": "contributions", "name": "where", "latents": ["pixels"], "window": 0.08, "every": 0.08},
        **{"params": {"alphas": 100.0, "cv": None, "rescale": False}, "mode": "mean"},
    }
    plain = {
        **{"name": "toy", "title": "Toy", "latents": {"pixels": {"model": "pixels:3:grey"}}},
        "dataset": {"name": "simulated", "options": {**options, **(dataset or {})}},
        "preprocessing": [{"step": "average", "by": "stimulus_id"}],
        "analyses": [{**analysis, **changes}],
    }
    return Experiment.model_validate(plain)


def test_the_planted_source_is_found_at_its_time_and_place_and_shown(tmp_path):
    experiment = planted()
    made = run_experiment(experiment, out=tmp_path)
    found = {path.stem: np.load(path) for path in (made.folder / "steps" / "where").glob("*.npy")}
    early, best = found["times"] + 0.04 < ONSET, found["times"][found["course"].argmax()]
    assert made.scores["where/all"].low > 0.55 and ONSET < best < 0.35
    assert found["course"][early].max() < 0.64 < found["course"].max() and found["shuffled"].max() < 0.68
    without = {name.removeprefix("where/without "): one.value for name, one in made.scores.items() if "without" in name}
    assert max(without, key=lambda name: without[name]) == "temporal" and made.scores["where/without temporal"].low > 0
    assert ((found["low"] <= found["course"]) & (found["course"] <= found["high"])).all()
    lost = found["stretches"][found["lost_times"].argmax()]
    assert ONSET < lost < 0.35 and abs(found["lost_times"][found["stretches"] < ONSET - 0.04]).max() < 0.05
    context = Context(experiment)
    trials = context.trials
    # The pattern follows the source's course and lies in the plane of its topographies.
    truth = _truth(experiment)
    power = np.linalg.norm(found["patterns"][0], axis=0)
    assert ONSET < trials.times[power.argmax()] < 0.3 and power[trials.times < ONSET].max() < 0.5 * power.max()
    basis = np.linalg.svd(truth.weights["temporal"], full_matrices=False)[2]
    peak = found["patterns"][0][:, power.argmax()]
    assert np.linalg.norm(basis @ peak) > 0.9 * np.linalg.norm(peak)
    html = made.report.read_text()
    assert "Haufe" in html and "without each channel" in html and html.count("<svg") + html.count("<img") >= 5


def _truth(experiment: Experiment) -> Any:
    import brainalign as ba

    return ba.load("simulated", **experiment.dataset.options)[1]


def test_what_has_no_time_or_no_single_space_is_refused():
    flat = planted({"modality": "fmri", "rois": {"V1": 20}})
    with pytest.raises(DataError, match="need time-resolved responses"):
        compute(flat.analyses[0], Context(flat))
    long = planted(window=2.0)
    with pytest.raises(DataError, match="longer than the epoch"):
        compute(long.analyses[0], Context(long))
    with pytest.raises(ValidationError, match="at most 1 item"):
        planted(latents=["pixels", "pixels"])
