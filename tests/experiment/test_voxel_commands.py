"""``brainalign caption``, ``synthesize`` and ``ablate`` on a small subject: planted truth, resumption, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import brainalign as ba
from tests.experiment.test_decoding import run

REGIONS = {"FFA": 8, "PPA": 8}
PLANTED = ("--planted", "FFA=face", "--planted", "PPA=house")


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """Saved trials of a subject with two selective regions, pictures and captions of its stimuli."""
    folder = tmp_path_factory.mktemp("voxels")
    trials, _ = ba.load(
        "simulated",
        n_stimuli=96,
        n_repetitions=2,
        n_dimensions=1,
        model="mini",
        rois=REGIONS,
        prefers={"FFA": "category == 'face'", "PPA": "category == 'house'"},
        ceiling=(0.7, 0.9),
        drift=0.0,
    )
    trials.save(folder / "trials")
    (folder / "stimuli").mkdir()
    for one in dict.fromkeys(trials.stimulus_ids):
        trials.stimuli.image(one).save(folder / "stimuli" / f"{one}.png")
    told = {one: trials.stimuli.caption(one) for one in dict.fromkeys(trials.stimulus_ids)}
    table = pd.DataFrame({"stimulus_id": list(told), "caption": list(told.values())})
    table.to_csv(folder / "captions.csv", index=False)
    words = [f"a photo of a {name}" for name in ("face", "house", "tool", "plant", "word", "food")]
    (folder / "captions.txt").write_text("\n".join(words) + "\n\n")
    return folder


def data(recording: Path) -> tuple[str, ...]:
    return (str(recording / "trials"), "--latents", "mini", "--option", f"stimuli={recording / 'stimuli'}")


def scores(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def test_captions_of_saved_trials_and_what_is_asked_besides(recording, tmp_path):
    out = tmp_path / "run"
    captions = ("--option", f"captions={recording / 'captions.csv'}", "--texts", recording / "captions.txt")
    categories = [part for one in ("face", "house") for part in ("--category", f"{one}=a photo of a {one}")]
    told = run(
        "caption", *data(recording), *captions, *categories, *PLANTED, "--bank", recording / "stimuli",
        "--clusters", 2, "--subdivide", "FFA=2", "--n-permutations", 99, "--out", out,
    )  # fmt: skip
    assert told.startswith("Score(caption score")
    units = pd.read_csv(out / "tables" / "caption" / "units.csv")
    right = [text.endswith({"FFA": "face", "PPA": "house"}[roi]) for roi, text in zip(units["roi"], units["caption"])]
    assert np.mean(right) >= 0.8
    assert scores(out)["caption/named"]["value"] >= 0.8
    assert scores(out)["caption/parts of FFA"]["why"]["low"].startswith("tested by relabelling")
    clusters = pd.read_csv(out / "tables" / "caption" / "clusters.csv")
    assert clusters["n_units"].sum() == 16 and {one.split()[0] for one in clusters["regions"]} == set(REGIONS)


@pytest.mark.slow
def test_pictures_without_captions_are_asked_all_the_same(recording, tmp_path):
    out = tmp_path / "run"
    told = run(
        "caption", *data(recording), "--texts", recording / "captions.txt", "--where", "roi == 'FFA'", "--out", out
    )
    assert "caption score none" in told and "no captions" in scores(out)["caption/caption score"]["why"]["value"]
    assert "no captions" in run("caption", *data(recording), "--out", tmp_path / "other", fails=True)


def test_pictures_for_a_region_are_kept_one_by_one(recording, tmp_path):
    out = tmp_path / "run"
    asked = ("synthesize", *data(recording), "--region", "FFA", "--n", 3, "--sampler", "prior", "--param", "scale=8")
    told = run(*asked, "--planted", "FFA=face", "--natural", 60, "--out", out)
    assert told.startswith("Score(response by a second encoder")
    rows = pd.read_csv(out / "tables" / "synthesize" / "responses.csv").set_index("sampler")
    assert list(rows.index) == ["prior", "best natural pictures"] and set(rows["region"]) == {"FFA"}
    assert rows.loc["prior", "planted"] >= 2 / 3 and rows.loc["prior", "latents"] > 1.0
    kept = out / "pictures" / "synthesize" / "prior" / "FFA"
    assert Image.open(kept / "00002.png").size == (64, 64)
    made = {path.name: path.stat().st_mtime_ns for path in kept.glob("*.png")}
    (kept / "00001.json").unlink()
    (out / "steps" / "synthesize" / "manifest.json").unlink()  # a kill before the step was finished
    run(*asked, "--planted", "FFA=face", "--natural", 60, "--out", out)
    assert [n for n, when in made.items() if (kept / n).stat().st_mtime_ns != when] == ["00001.png"]
    assert "holds another synthesis" in run(*asked, "--seed", 1, "--natural", 60, "--out", out, fails=True)


@pytest.mark.slow
def test_a_silenced_region_costs_what_it_carried(tmp_path):
    out = tmp_path / "run"
    given = ("n_stimuli=96", "model=mini", "n_dimensions=1", "drift=0")
    simulated = [part for one in given for part in ("--option", one)]
    regions = ("--option", "rois=" + json.dumps(REGIONS))
    prefers = ("--option", "prefers=" + json.dumps({"FFA": "category == 'face'", "PPA": "category == 'house'"}))
    told = run(
        "ablate", "simulated", *simulated, *regions, *prefers, "--latents", "mini", "--test-size", 0.4,
        "--attribute", "face=category == 'face'", "--attribute", "house=category == 'house'", "--out", out,
    )  # fmt: skip
    losses = pd.read_csv(out / "tables" / "ablate" / "losses.csv").pivot(index="region", columns="task", values="loss")
    assert losses.loc["FFA", "face"] > 0.2 > abs(losses.loc["FFA", "house"])
    assert losses.loc["PPA", "house"] > 0.2 > abs(losses.loc["PPA", "face"])
    assert told.startswith("Score(loss of ") and (out / "report.html").is_file()


@pytest.mark.parametrize(
    "command, options, message",
    [
        ("caption", ("--where", "roi == 'FFB'"), "roi among ['FFA', 'PPA']"),
        ("caption", ("--subdivide", "FFB=2"), "unknown region 'FFB'. Did you mean 'FFA'?"),
        ("caption", ("--texts", "nowhere.txt"), "cannot read the captions"),
        ("caption", ("--bank", "nowhere"), "no bank of pictures has this name"),
        ("caption", ("--category", "face=a face"), "name two or more"),
        ("caption", ("--planted", "FFA"), "--planted takes NAME=TEXT"),
        ("synthesize", ("--region", "FFB"), "unknown region 'FFB'. Did you mean 'FFA'?"),
        ("synthesize", ("--generator", "minni"), "unknown generator 'minni'. Did you mean 'mini'?"),
        ("synthesize", ("--sampler", "guide"), "'guided', 'prior', 'facets'"),
        ("synthesize", ("--param", "scal=3"), "Did you mean 'scale'?"),
        ("ablate", ("--region", "face=roi == 'FFB'"), "roi among ['FFA', 'PPA']"),
        ("ablate", ("--by", "rio"), "unknown column of units 'rio'. Did you mean 'roi'?"),
        ("ablate", ("--attribute", "face=catgory"), "unknown column for attribute 'face' 'catgory'"),
        ("ablate", ("--param", "alpha=1"), "unknown parameter of LinearEncoder 'alpha'"),
        ("ablate", ("--mode", "zap"), "'zero', 'mean'"),
    ],
)
def test_what_cannot_be_asked_is_refused(recording, tmp_path, command, options, message):
    told = run(command, *data(recording), *options, "--out", tmp_path / "run", fails=True)
    assert message in told.replace("\n", " ")


@pytest.mark.parametrize("command", ["caption", "synthesize", "ablate"])
def test_unknown_data_are_refused(command, tmp_path):
    told = run(command, "simulatd", "--latents", "mini", "--out", tmp_path / "run", fails=True)
    assert "unknown dataset 'simulatd'. Did you mean 'simulated'?" in told
