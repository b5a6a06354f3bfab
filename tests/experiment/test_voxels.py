"""Experiments that ask voxels: captions, synthesised pictures and silenced regions recover what was planted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from brainalign.errors import DataError, SpecError
from brainalign.experiment import Experiment, load_experiment, run_experiment

FOLDER = Path(__file__).parents[2] / "scripts" / "experiments"


def shipped(name, **options):
    plain = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    plain["dataset"]["options"] |= {"n_stimuli": 200} | options
    return plain


@pytest.mark.slow
def test_captions_name_what_was_planted(tmp_path):
    plain = shipped("simulated_captions", rois={"FFA": 12, "PPA": 12}, prefers=None)
    plain["dataset"]["options"]["prefers"] = {"FFA": "category == 'face'", "PPA": "category == 'house'"}
    plain["analyses"][0] |= {"planted": {"FFA": "face", "PPA": "house"}, "bank": {"scenes": 500, "seed": 101}}
    run = run_experiment(Experiment.model_validate(plain), out=tmp_path / "run")
    named, shuffled = run.scores["captions/named"], run.scores["captions/named, shuffled weights"]
    assert named.value >= 0.8 and shuffled.value < 0.5
    assert run.scores["captions/caption score"].low > 0.05
    assert (tmp_path / "run" / "maps" / "captions").is_dir() and "Captions that predict best" in run.report.read_text()


@pytest.mark.slow
def test_two_face_areas_differ_by_what_sets_them_apart(tmp_path):
    """Two regions for faces, one of large and one of small ones; captions with all that may be asked besides."""
    plain = shipped("simulated_captions", n_dimensions=1, rois={"FFA": 12, "OFA": 12, "PPA": 12})
    plain["dataset"]["options"]["prefers"] = {
        "FFA": "category == 'face' and size == 'large'",
        "OFA": "category == 'face' and size == 'small'",
        "PPA": "category == 'house'",
    }
    contrasts = {"large": ["a large face", "a small face"]}
    plain["analyses"][0] |= {
        "planted": {"FFA": "face", "OFA": "face", "PPA": "house"},
        "bank": {"scenes": 800, "seed": 101},
        "texts": {"scenes": 500, "seed": 102},
        "clusters": 3,
        "keywords": 3,
        "n_best": 20,
        "subdivide": {"PPA": 2},
        "differences": {"face-areas": {"first": "FFA", "second": "OFA", "attributes": contrasts}},
    }
    run = run_experiment(Experiment.model_validate(plain), out=tmp_path / "run")
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "run" / "tables" / "captions").iterdir()}
    found = tables["differences"].set_index("contrast")
    assert found.loc["large", "difference"] > 0.05 and found.loc["large", "q"] < 0.01
    assert found.loc["embedding", "p"] < 0.01
    units = tables["units"]
    said = units["keywords"].str.contains("face")
    assert said[units["roi"] != "PPA"].mean() > 0.6 > 0.2 > said[units["roi"] == "PPA"].mean()
    assert run.scores["captions/keyword score"].low > 0
    assert set(tables["parts"]["region"]) == {"PPA"} and tables["clusters"]["n_units"].sum() == 36
    told = run.report.read_text()
    for words in ("Voxels that like the same", "found in each half", "first region likes best", "predicted to like"):
        assert words in told
    assert "for “face” than for other categories" in told and "caption says “" in told


@pytest.mark.slow
def test_pictures_show_what_was_planted(tmp_path):
    plain = shipped("simulated_synthesis", rois={"FFA": 12, "PPA": 12}, prefers=None)
    plain["dataset"]["options"]["prefers"] = {"FFA": "category == 'face'", "PPA": "category == 'house'"}
    asked = plain["analyses"][0]
    asked |= {"planted": {"FFA": "face", "PPA": "house"}, "n": 3, "judges": ["meaning"], "scales": [0.0]}
    asked |= {"bank": {"scenes": 300, "seed": 101}, "natural": {"scenes": 100, "seed": 103}}
    asked["samplers"] = {"prior": asked["samplers"]["prior"], "optimal": {"kind": "optimal"}}
    asked |= {"scaled": ["prior"], "redraw": True, "test_size": 0.5}
    contrasts = {"face": ["a photo of a face", "a photo of a house"]}
    asked["differences"] = {"both": {"first": "FFA", "second": "PPA", "attributes": contrasts}}
    run = run_experiment(Experiment.model_validate(plain), out=tmp_path / "run")
    assert run.scores["pictures/prior/category"].value >= 0.6
    assert run.scores["pictures/prior/response, meaning"].value > (
        run.scores["pictures/prior at 0/response, meaning"].value + 0.5
    )
    assert run.scores["pictures/optimal/category"].value >= 0.8
    assert run.scores["pictures/best natural pictures/response, meaning"].value > 1
    found = pd.read_csv(tmp_path / "run" / "tables" / "pictures" / "differences.csv").set_index("contrast")
    assert found.loc["face", "difference"] > 0.1
    told = run.report.read_text()
    assert "redrawn by the generator" in told and "pictures made for the first region" in told


@pytest.mark.slow
def test_decoding_loses_what_a_silenced_region_was_planted_to_carry(tmp_path):
    plain = shipped("simulated_ablation", n_stimuli=400)
    run = run_experiment(Experiment.model_validate(plain), out=tmp_path / "run")
    planted = plain["analyses"][0]["planted"]
    for region in ("FFA", "V4", "LO", "other"):
        for task in ("face", "red", "left"):
            loss = run.scores[f"regions/{task} without {region}"]
            if planted.get(region) == task:
                assert loss.low > 0.25, (region, task)
            else:
                assert abs(loss.value) < 0.03 and loss.low < 0.01, (region, task)
    for task in ("meaning", "face", "red", "left"):
        assert run.scores[f"regions/{task}"].low > 0.8
        shuffled = run.scores[f"regions/{task}, shuffled"]
        assert shuffled.low < 0.5 < shuffled.high
    told = run.report.read_text()
    assert "What decoding loses without each region" in told and "doubly dissociated" in told


def test_a_planted_region_that_nothing_silences_is_refused(tmp_path):
    plain = shipped("simulated_ablation", n_stimuli=48, n_repetitions=1)
    plain["analyses"][0] |= {"planted": {"FFB": "face"}, "mode": "zero"}
    with pytest.raises(DataError, match="unknown planted region 'FFB'"):
        run_experiment(Experiment.model_validate(plain), out=tmp_path / "run")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"planted": {"FFA": "cat"}}, "planted attributes that are not decoded"),
        ({"regions": {"face areas": "roi == 'FFA'"}}, "planted regions that are not silenced"),
        ({"mode": "zap"}, "'zero', 'mean'"),
    ],
)
def test_ablations_that_could_not_be_right_are_refused(change, message):
    plain = shipped("simulated_ablation")
    plain["analyses"][0] |= change
    with pytest.raises(ValueError, match=message):
        Experiment.model_validate(plain)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"planted": {"FFA": "cat"}}, "planted categories without texts"),
        ({"bank": {}}, "one of the four"),
        ({"samplers": {"prior": {"kind": "prior", "told": True}}}, "latent prior"),
        ({"latents": ["meanin"]}, "Did you mean"),
        ({"scaled": ["nobody"]}, "scaled samplers that are not there"),
        ({"samplers": {"a": {"kind": "optimal"}}, "scaled": [], "scales": [1.0]}, "has no scale"),
    ],
)
def test_experiments_that_could_not_be_right_are_refused(change, message, tmp_path):
    plain = shipped("simulated_synthesis")
    plain["analyses"][0] |= change
    file = tmp_path / "changed.yaml"
    file.write_text(yaml.safe_dump(plain))
    with pytest.raises(SpecError, match=message):
        load_experiment(file)
