"""The reconstruction step: planted pictures found by every kind of generator, each beside its controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from brainalign.errors import DataError, LeakageError
from brainalign.experiment import Experiment, demo_file, run_experiment
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
    backwards = found["pictures/linear/top-1, query stimulus of pixels"]
    assert "query stimulus" in backwards.protocol and backwards.value > 2 / 16
    assert "pictures/linear/small pixels" in json.loads((tmp_path / "summary.json").read_text())
    html = (tmp_path / "report.html").read_text()
    assert all(word in html for word in CONTROLS)


def test_choices_settle_inside_each_fold_and_reconstructions_evoke_the_brain(tmp_path):
    plain = scenes(n_splits=3, within=None).model_dump()
    choices = [{"alphas": 1e12, "cv": None}, {"alphas": 10.0, "cv": None}]
    system = {**PIXELS, "choices": choices, "inner_splits": 2, "shuffles": 3}
    plain["latents"] |= {"coarse": {"model": "pixels:4:grey"}}
    plain["analyses"][0] |= {"brain": "coarse", "systems": {"linear": system}, "judges": {"small pixels": "pixels:4"}}
    found = run_experiment(Experiment.model_validate(plain), out=tmp_path).scores
    assert found["pictures/linear/small pixels"].value > 0.75
    shuffled = found["pictures/linear/shuffled brain/small pixels"]
    assert shuffled.n == 3 and shuffled.low < 0.5 < shuffled.high and "3 draws" in shuffled.how
    own, wrong = (found[f"pictures/linear/{row}brain correlation, V1"] for row in ("", "shuffled brain/"))
    assert own.low > max(own.chance, wrong.high) and own.value <= own.ceiling + 0.05 and own.n == 48
    assert "Ridge on coarse" in own.protocol
    html = (tmp_path / "report.html").read_text()
    assert "chosen inside the training side" in html and "alphas" in html
    with pytest.raises(ValidationError, match="one model and one of its layers"):
        plain["latents"]["coarse"] = {"columns": ["onset"]}
        Experiment.model_validate(plain)


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


def drawn(**changes: Any) -> Experiment:
    """Drawn scenes, seen by a brain that the embedded CLIP and autoencoder drive."""
    system = {
        "encoder": "MindEye", "params": {"hidden": 64, "n_blocks": 1, "dropout": 0.2, "training": {"n_epochs": 15}},
        "latents": ["meaning", "layout"], "generator": "mini",
        "options": {"steps": 2, "guidance": 1.0, "device": "cpu"},
    }  # fmt: skip
    analysis = {
        "kind": "reconstruct", "name": "pictures", "test_size": 0.2, "metrics": [], "gallery": 8,
        "judges": {"mini CLIP": "mini"}, "scenes": ["category", "background"], "systems": {"mindeye": system},
    }  # fmt: skip
    plain = {
        "name": "drawn",
        "title": "Drawn",
        "dataset": {
            "name": "simulated",
            "options": {"n_stimuli": 50, "n_repetitions": 1, "n_dimensions": 24, "ceiling": [0.8, 0.95],
                        "models": {"V1": "mini:vae", "LOC": "mini"}, "rois": {"V1": 80, "LOC": 120}},
        },
        "latents": {"meaning": {"model": "mini"}, "layout": {"model": "mini:vae"}},
        "analyses": [{**analysis, **changes}],
    }  # fmt: skip
    return Experiment.model_validate(plain)


def test_mindeye_and_the_embedded_diffusion_show_what_was_seen(tmp_path):
    found = run_experiment(drawn(), out=tmp_path).scores
    own, ceiling = found["pictures/mindeye/mini CLIP"], found["pictures/mindeye/generator ceiling/mini CLIP"]
    assert own.low > 0.6 and ceiling.value > 0.9 and own.ceiling == ceiling.value
    for query in ("", ", query stimulus"):
        score = found[f"pictures/mindeye/top-1{query} of meaning"]
        assert score.value > 2 * score.chance and "gallery 8" in score.protocol
    read = found["pictures/mindeye/generator ceiling/category read"]
    assert read.low > read.chance and found["pictures/mindeye/background read"].ceiling is not None
    assert "category read" in (tmp_path / "report.html").read_text()


def test_one_picture_under_two_ids_in_two_folds_is_refused_before_any_fit(tmp_path, monkeypatch):
    from brainalign.encoders import LinearEncoder
    from brainalign.stimuli import Stimuli

    monkeypatch.setattr(LinearEncoder, "fit", lambda *_, **__: pytest.fail("fitted before it was refused"))
    monkeypatch.setattr(Stimuli, "duplicates", lambda self: [(self.ids[0], one) for one in self.ids[1:]])
    with pytest.raises(LeakageError, match="under two ids"):
        run_experiment(scenes(within=None), out=tmp_path)


def test_an_attribute_that_scenes_lack_is_refused(tmp_path):
    asked = scenes(scenes=["mood"], within=None, test_size=0.25)
    with pytest.raises(DataError, match="attribute of drawn scenes 'mood'"):
        run_experiment(asked, out=tmp_path)


@pytest.mark.slow
def test_the_demo_draws_what_was_seen_through_the_embedded_models(tmp_path):
    found = run_experiment(demo_file(), out=tmp_path).scores
    for judge in ("pixels two-way", "EfficientNet-lite (offline)"):
        own, shuffled = (found[f"pictures/diffusion/{row}{judge}"] for row in ("", "shuffled brain/"))
        assert own.low > 0.5 and own.value > shuffled.value + 0.1
    assert found["pictures/diffusion/generator ceiling/category read"].low > 0.5
    assert "generator ceiling" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_every_system_of_the_shipped_simulation_stands_above_its_controls(tmp_path):
    file = Path(__file__).parents[2] / "scripts" / "experiments" / "simulated_reconstruction.yaml"
    found = run_experiment(file, out=tmp_path).scores
    names = {name.rsplit("/", 1)[0] for name in found if name.count("/") == 2}
    assert len(names) == 6
    for system in names:
        for judge in ("pixels two-way", "EfficientNet-lite (offline)"):
            own = found[f"{system}/{judge}"]
            assert own.low > 0.5, (system, judge)
            # One shuffle for all pictures: its value spreads more than the interval over pictures tells.
            assert abs(found[f"{system}/shuffled brain/{judge}"].value - 0.5) < 0.15, (system, judge)
            assert own.low > found[f"{system}/shuffled brain/{judge}"].value
    # The layout of a picture never seen is decoded, not taken from the training pictures.
    nearest = found["pictures/linear-layout/nearest training picture/pixels two-way"]
    assert found["pictures/linear-layout/pixels two-way"].low > nearest.high - 0.01
    assert found["pictures/linear-layout/pixels two-way"].value > nearest.value + 0.02
    shuffled = found["pictures/linear-layout/shuffled brain/pixels two-way"]
    assert shuffled.n > 1 and abs(shuffled.value - 0.5) < 0.05
    for name, score in found.items():
        if name.count("/") == 2 and "/top-1" in name:
            assert score.low > score.chance, name


def test_unknown_latents_of_a_system_are_refused():
    with pytest.raises(ValidationError, match="wants latents 'pixel'"):
        scenes(systems={"linear": {**PIXELS, "latents": ["pixel"]}})


@pytest.mark.slow
def test_folds_on_two_workers_give_what_one_gives(tmp_path):
    """Small networks and a generator that is loaded once go to the workers; nothing depends on who does which fold."""
    plain = drawn(test_size=None, n_splits=2, gallery=None).model_dump()
    (system,) = plain["analyses"][0]["systems"].values()
    system["params"]["training"]["n_epochs"] = 2
    plain["dataset"]["options"]["n_stimuli"] = 16
    one, two = (
        run_experiment(Experiment.model_validate(plain | {"n_jobs": n_jobs}), out=tmp_path / str(n_jobs)).scores
        for n_jobs in (1, 2)
    )
    assert one.keys() == two.keys() and len(one) > 10
    assert {name: score.value for name, score in two.items()} == pytest.approx(
        {name: score.value for name, score in one.items()}, abs=1e-6, nan_ok=True
    )


def test_simple_folds_on_two_workers(tmp_path):
    one, two = (
        run_experiment(
            Experiment.model_validate(scenes(n_splits=2).model_dump() | {"n_jobs": n_jobs}),
            out=tmp_path / str(n_jobs),
        ).scores
        for n_jobs in (1, 2)
    )
    assert {name: score.value for name, score in two.items()} == {name: score.value for name, score in one.items()}


@pytest.mark.slow
def test_pictures_from_a_simulated_eeg_by_the_embedded_diffusion(tmp_path):
    file = Path(__file__).parents[2] / "scripts" / "experiments" / "simulated_eeg_reconstruction.yaml"
    found = run_experiment(file, out=tmp_path).scores
    own = found["pictures/tsconv/EfficientNet-lite (offline)"]
    control = found["pictures/tsconv/shuffled brain/EfficientNet-lite (offline)"]
    assert own.low > 0.5 and own.value > control.value + 0.05 and control.low < 0.5 < control.high
    assert found["pictures/tsconv/two-way of meaning"].low > 0.8
    assert found["pictures/tsconv/category read"].low > found["pictures/tsconv/category read"].chance
    assert found["where/all"].low > 0.6
