"""The reconstruction step: planted pictures found by every kind of generator, each beside its controls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from brainalign.experiment import Experiment, run_experiment
from brainalign.reconstruction import CONTROLS

PIXELS = {"encoder": "LinearEncoder", "params": {"rescale": False}, "latents": ["pixels"], "generator": "pixels"}


def scenes(**changes: Any) -> Experiment:
    analysis = {
        "kind": "reconstruct", "name": "pictures", "n_splits": 3, "metrics": [], "within": "category",
        "judges": {"small pixels": "pixels:4"}, "systems": {"linear": PIXELS},
    }  # fmt: skip
    plain = {
        "name": "toy",
        "title": "Toy",
        "dataset": {
            "name": "simulated",
            "options": {"n_stimuli": 48, "model": "pixels:6", "n_repetitions": 2, "rois": {"V1": 60},
                        "ceiling": [0.7, 0.9], "n_dimensions": 12},
        },
        "latents": {"pixels": {"model": "pixels:6"}, "grey": {"model": "pixels:5:grey"}},
        "analyses": [{**analysis, **changes}],
    }  # fmt: skip
    return Experiment.model_validate(plain)


def test_planted_pictures_are_found_beside_every_control(tmp_path):
    found = run_experiment(scenes(), out=tmp_path).scores
    own = found["pictures/linear/small pixels"]
    assert own.value > 0.75 and own.ceiling == 1.0 and own.n == 48 and own.split
    assert own.protocol.startswith("folds by stimulus_id") and "within the group" in own.protocol
    for control in ("shuffled brain", "noise input"):
        score = found[f"pictures/linear/{control}/small pixels"]
        assert 0.35 < score.value < 0.65 < own.low
    assert found["pictures/linear/nearest training picture/small pixels"].value < own.value
    assert found["pictures/linear/small pixels, within category"].value > 0.6
    assert found["pictures/linear/top-1 of pixels"].value > 2 / 16
    assert "pictures/linear/small pixels" in json.loads((tmp_path / "summary.json").read_text())
    html = (tmp_path / "report.html").read_text()
    assert all(word in html for word in CONTROLS)


def test_categories_never_seen_and_generators_fitted_in_the_fold(tmp_path):
    systems = {
        "linear-map": {**PIXELS, "latents": ["grey"], "generator": "linear", "options": {"size": 8}, "controls": False},
        "two-targets": {**PIXELS, "latents": ["grey", "pixels"], "generator": "nearest", "controls": False},
    }
    asked = scenes(by="category", n_splits=4, systems=systems, within=None)
    found = run_experiment(asked, out=tmp_path).scores
    assert found["pictures/linear-map/small pixels"].value > 0.6
    assert "folds by category" in found["pictures/linear-map/small pixels"].protocol
    assert "pictures/two-targets/top-1 of grey" in found and "pictures/two-targets/top-1 of pixels" in found


def test_one_split_and_a_missing_judge(tmp_path):
    asked = scenes(test_size=0.25, metrics=["PixCorr", "CLIP"], weights=str(tmp_path), within=None)
    run = run_experiment(asked, out=tmp_path / "run")
    assert run.scores["pictures/linear/PixCorr"].n == 12
    assert run.scores["pictures/linear/PixCorr"].protocol.startswith("one split by stimulus_id")
    assert "CLIP is missing: no weights of CLIP here" in (tmp_path / "run" / "report.html").read_text()


def test_unknown_latents_of_a_system_are_refused():
    with pytest.raises(ValidationError, match="wants latents 'pixel'"):
        scenes(systems={"linear": {**PIXELS, "latents": ["pixel"]}})
