"""``brainalign fit``, ``reconstruct`` and ``score`` on small recordings: results, resumption and refusals."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from brainalign.arrays import sha256_file
from brainalign.cli import app
from brainalign.encoders import load_encoder
from brainalign.experiment import decoding
from brainalign.latents import extract
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import simulate_subject
from brainalign.scenes import draw_scenes
from brainalign.trials import Trials


def run(*arguments: object, fails: bool = False) -> str:
    """Output of one command of the program."""
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert (done.exit_code == 1) == fails, done.output
    return done.output


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """A simulated subject who saw 60 scenes, on disk, with the folder of pictures beside it."""
    folder = tmp_path_factory.mktemp("recording")
    scenes = draw_scenes(60, seed=0)
    pixels = extract(scenes, "pixels:8:grey", cache=False)
    trials, _ = simulate_subject(pixels, n_repetitions=2, rois={"V1": 80}, ceiling=(0.6, 0.9), drift=0.0, seed=0)
    trials.save(folder / "trials")
    pixels.save(folder / "pixels")
    other = Latents(pixels.values, pixels.ids, space=pixels.space, meta=dict(pixels.meta) | {"weights_sha256": "other"})
    other.save(folder / "revised")
    return folder


@pytest.fixture(scope="module")
def once(recording) -> Path:
    run("fit", recording / "trials", "--latents", recording / "pixels", "--out", recording / "run")
    return recording / "run"


@pytest.fixture
def fitted(once, tmp_path) -> Path:
    """A run that a test may spoil."""
    return Path(shutil.copytree(once, tmp_path / "run"))


SIMULATED = ("--option", "n_stimuli=48", "--option", "model=pixels:8:grey", "--option", "n_repetitions=1")


def test_from_a_spec_by_name_to_pictures_and_scores(tmp_path):
    out = tmp_path / "run"
    data = ("simulated", *SIMULATED, "--option", "ceiling=[0.7, 0.9]", "--option", "drift=0")
    told = run("fit", *data, "--latents", "pixels:8:grey", "--param", "alphas=auto", "--out", out)
    assert told.strip().endswith("run/encoder") and (out / "encoder" / "config.json").is_file()
    assert run("reconstruct", out, "--generator", "pixels").strip().endswith("run/pictures")
    assert len(list((out / "pictures").glob("*.png"))) == 10
    assert {path.name for path in (out / "controls").iterdir()} > {"shuffled brain", "generator ceiling"}
    text = run("score", out, "--metric", "PixCorr")
    rows = json.loads((out / "scores.json").read_text())
    assert rows["reconstruction/PixCorr"]["value"] > rows["shuffled brain/PixCorr"]["value"] + 0.1
    assert rows["latents/identification"]["value"] > 0.75 and rows["latents/identification"]["split"]
    assert rows["generator ceiling/PixCorr"]["value"] > 0.5
    assert "shuffled brain" in text and "scores.json" in text and "latents/retrieval" in text


def test_a_finished_fit_is_kept_and_another_is_refused(recording, fitted):
    weights = fitted / "encoder" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    same = ("fit", recording / "trials", "--latents", recording / "pixels", "--out", fitted)
    run(*same)
    assert weights.stat().st_mtime_ns == before
    told = run(*same, "--seed", 1, fails=True)
    assert "holds another fit" in told and "'seed': 1" in told
    shutil.rmtree(fitted / "encoder")  # a kill before the encoder was saved
    run(*same)
    assert weights.is_file()


def test_pictures_go_on_where_they_stopped(tmp_path, monkeypatch):
    out = tmp_path / "run"
    run("fit", "simulated", *SIMULATED, "--latents", "pixels:8:grey", "--out", out)
    monkeypatch.setattr(decoding, "TOGETHER", 4)
    run("reconstruct", out, "--generator", "pixels", "--no-controls")
    first = {path.name: sha256_file(path) for path in (out / "pictures").iterdir()}
    gone = sorted(first)[5]
    (out / "pictures" / gone).unlink()
    kept = {name: (out / "pictures" / name).stat().st_mtime_ns for name in first if name != gone}
    run("reconstruct", out, "--generator", "pixels", "--no-controls")
    assert {path.name: sha256_file(path) for path in (out / "pictures").iterdir()} == first
    still = [name for name, when in kept.items() if (out / "pictures" / name).stat().st_mtime_ns == when]
    assert len(still) >= len(first) - 4  # only those made together with the lost one
    assert "another generator" in run("reconstruct", out, "--generator", "linear", fails=True)
    (out / "pictures" / gone).unlink()
    assert "pictures are not made yet" in run("score", out, "--metric", "PixCorr", fails=True)
    run("reconstruct", out, "--generator", "pixels", "--no-controls")
    Image.new("RGB", (3, 5)).save(out / "pictures" / gone)
    assert "size" in run("score", out, "--metric", "PixCorr", fails=True)


def test_several_latents_by_name_and_means_over_repetitions(recording, tmp_path):
    out, folder = tmp_path / "run", recording / "pixels"
    latents = ("--latents", f"low={folder}", "--latents", f"again={folder}")
    run("fit", recording / "trials", *latents, "--average", "--param", "cv=loo", "--out", out)
    assert set(load_encoder(out / "encoder").target_shapes_) == {"low", "again"}
    assert "low/retrieval" in run("score", out)
    told = run("fit", recording / "trials", *latents, "--latents", folder, "--out", tmp_path / "b", fails=True)
    assert "several latents need a name each" in told


def pickled(folder: Path) -> None:
    path = folder / "encoder" / "model.safetensors"
    path.write_bytes(pickle.dumps({"coef": np.ones(3)}))
    config = json.loads((folder / "encoder" / "config.json").read_text())
    config["sha256"] = sha256_file(path)
    (folder / "encoder" / "config.json").write_text(json.dumps(config))


def trained_on_everything(folder: Path) -> None:
    config = json.loads((folder / "encoder" / "config.json").read_text())
    recipe = json.loads((folder / "fit.json").read_text())
    config["provenance"]["stimulus_ids"] = list(Trials.open(recipe["data"]).stimulus_ids)
    (folder / "encoder" / "config.json").write_text(json.dumps(config))


def edit_recipe(folder: Path, **changes: object) -> None:
    recipe = json.loads((folder / "fit.json").read_text())
    (folder / "fit.json").write_text(json.dumps(recipe | changes))


def fewer_voxels(folder: Path) -> None:
    recipe = json.loads((folder / "fit.json").read_text())
    trials = Trials.open(recipe["data"])
    trials.select(units=np.arange(79)).save(folder / "fewer")
    edit_recipe(folder, data=str(folder / "fewer"))


def another_subject(folder: Path) -> None:
    recipe = json.loads((folder / "fit.json").read_text())
    Trials.open(recipe["data"]).with_trials(subject="2").save(folder / "other")
    edit_recipe(folder, data=str(folder / "other"))


def another_revision(folder: Path) -> None:
    recipe = json.loads((folder / "fit.json").read_text())
    edit_recipe(folder, latents={"latents": recipe["latents"]["latents"].replace("pixels", "revised")})


HARM = {
    "a pickle": (pickled, "not a safetensors file"),
    "no encoder": (lambda folder: shutil.rmtree(folder / "encoder"), "no encoder here"),
    "no run": (lambda folder: (folder / "fit.json").unlink(), "no fitted run here"),
    "a test picture seen in training": (trained_on_everything, "in both train and test"),
    "wrong voxel count": (fewer_voxels, "79 units"),
    "unknown subject": (another_subject, "not fitted on subject ['2']"),
    "latents of another revision": (another_revision, "of another model or revision"),
    "another split": (lambda folder: edit_recipe(folder, seed=5), "in both train and test"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_damaged_and_foreign_runs_are_refused(fitted, harm):
    damage, message = harm
    damage(fitted)
    assert message in run("score", fitted, fails=True)
    if message != "of another model or revision":
        assert message in run("reconstruct", fitted, "--generator", "pixels", fails=True)


def test_what_is_unknown_is_refused_before_anything_is_fitted(recording, tmp_path):
    start = ("fit", recording / "trials", "--latents", recording / "pixels", "--out", tmp_path / "run")
    assert "Did you mean 'LinearEncoder'" in run(*start, "--encoder", "LinearEncodr", fails=True)
    assert "no parameter 'depth'" in run(*start, "--param", "depth=3", fails=True)
    assert "takes NAME=VALUE" in run(*start, "--param", "depth", fails=True)
    assert "without pictures" in run("fit", recording / "trials", "--latents", "pixels:8", "--out", "x", fails=True)
    assert "unknown" in run("fit", "nsdd", "--latents", "pixels:8", "--out", tmp_path / "run", fails=True)
    strange = (*SIMULATED, "--option", "stimuly=3", "--latents", "pixels:8", "--out", tmp_path / "run")
    assert "unknown option 'stimuly'" in run("fit", "simulated", *strange, fails=True)
    assert not (tmp_path / "run").exists()


def test_the_embedded_pipeline_by_name_and_an_unknown_generator(tmp_path):
    out = tmp_path / "run"
    data = ("simulated", "--option", "n_stimuli=24", "--option", "model=mini", "--option", "n_repetitions=1")
    run("fit", *data, "--latents", "mini", "--test-size", 0.1, "--device", "cpu", "--out", out)
    few = ("--option", "steps=2", "--no-controls", "--device", "cpu")
    assert "unknown" in run("reconstruct", out, "--generator", "unclop:x", "--no-controls", fails=True)
    run("reconstruct", out, "--generator", "mini", *few)
    assert len(list((out / "pictures").glob("*.png"))) == 2


def test_latents_that_lack_a_stimulus_are_refused(recording, tmp_path):
    latents = Latents.open(recording / "pixels")
    latents.select(latents.ids[:30]).save(tmp_path / "half")
    told = run("fit", recording / "trials", "--latents", tmp_path / "half", "--out", tmp_path / "run", fails=True)
    assert "stimulus_id without latents" in told
    table = pd.DataFrame({"stimulus_id": ["a", "a"]})
    Trials(np.zeros((2, 3)), table).save(tmp_path / "one")
    told = run("fit", tmp_path / "one", "--latents", tmp_path / "half", "--out", tmp_path / "run", fails=True)
    assert "too few groups" in told


def test_pictures_that_could_not_be_judged_or_were_seen_are_refused_at_the_door(recording, tmp_path):
    """Mixed sizes before a picture is made; one picture under two ids before anything is fitted."""
    ids = list(dict.fromkeys(Trials.open(recording / "trials").stimulus_ids))
    for number, one in enumerate(ids):
        Image.new("RGB", (8, 8 + number % 2), (4 * number, 90, 200)).save(tmp_path / f"{one}.png")
    shown = (recording / "trials", "--option", f"stimuli={tmp_path}", "--latents", "pixels:2")
    run("fit", *shown, "--out", tmp_path / "run")
    told = run("reconstruct", tmp_path / "run", "--generator", "pixels", fails=True)
    assert "'pictures seen' has pictures of mixed size" in told and "mend" in told
    assert not (tmp_path / "run" / "pictures").exists()
    for one in ids:
        Image.new("RGB", (8, 8), (90, 90, 200)).save(tmp_path / f"{one}.png")
    told = run("fit", *shown, "--out", tmp_path / "twins", fails=True)
    assert "the same picture stands in train and test under two ids" in told
    assert not (tmp_path / "twins").exists()


def test_a_page_of_the_scores_beside_the_pictures(fitted):
    plain = run("score", fitted, "--report")
    assert "report: " in plain and "All scores" in (fitted / "report.html").read_text()
    decoded = {"model": "pixels:8:grey", "n_stimuli": 24, "n_repetitions": 1}
    options = [part for name, value in decoded.items() for part in ("--option", f"{name}={value}")]
    out = fitted / "other"
    run("fit", "simulated", *options, "--latents", "pixels:8:grey", "--out", out)
    run("reconstruct", out, "--generator", "pixels")
    run("score", out, "--metric", "PixCorr", "--report")
    html = (out / "report.html").read_text()
    assert all(word in html for word in ("PixCorr", "shuffled brain", "generator ceiling", "data:image/"))


def test_files_of_a_scanner_and_of_an_amplifier(tmp_path, monkeypatch):
    """NIfTI and FIF by name or pattern, with the pictures in a folder: the trials that the loaders give."""
    import brainalign as ba
    from brainalign.experiment.recordings import open_recording
    from tests.readme_files import write_own_data

    write_own_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    table = pd.read_csv("events.tsv", sep="\t").iloc[:10].assign(stimulus_id=[f"s{i}" for i in range(10)])
    table.to_csv("events.tsv", sep="\t", index=False)
    options = {"events": "events.tsv", "mask": "brain.nii.gz", "model": "lss"}
    found = open_recording("bold.nii*", options, subject="7")
    expected = ba.load_fmri("bold.nii.gz", **options)
    np.testing.assert_array_equal(found.responses, expected.responses)
    assert set(found.trials["subject"]) == {"7"}
    sensors = open_recording("sub-01_raw.fif", {"events": "events.tsv", "tmax": 0.5}, root=tmp_path)
    assert sensors.times is not None and sensors.shape[1] == 3
    for name in set(found.stimulus_ids):
        Image.new("RGB", (8, 8), (60, 90, 20 * int(name[1:]))).save(tmp_path / f"{name}.png")
    assert open_recording("bold.nii.gz", options | {"stimuli": str(tmp_path)}).stimuli.image("s3").size == (8, 8)
    words = ("--option", "events=events.tsv", "--option", "mask=brain.nii.gz", "--test-size", 0.2)
    told = run("fit", "bold.nii.gz", *words, "--latents", "pixels:8", "--out", "run", fails=True)
    assert "comes without pictures" in told
    run(
        "fit",
        "bold.nii.gz",
        *words,
        "--option",
        "stimuli=.",
        "--latents",
        "pixels:2",
        "--param",
        "cv=loo",
        "--out",
        "run",
    )
    assert load_encoder("run/encoder").n_features_in_ == found.n_units
    assert "fMRI needs its events" in run("fit", "bold.nii.gz", "--latents", "pixels:2", "--out", "b", fails=True)
    assert "files of several kinds" in run("fit", "*", "--latents", "pixels:2", "--out", "b", fails=True)
