"""The embedded mini models on scenes they never saw."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import brainalign as ba
from brainalign.errors import DataError
from brainalign.latents import load_model
from brainalign.latents.mini import WEIGHTS, checked_folder
from brainalign.scenes import CATEGORIES, describe_scene
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def scenes() -> ba.Stimuli:
    return ba.draw_scenes(2000, seed=3)


@pytest.fixture(scope="module")
def images(scenes: ba.Stimuli) -> ba.Latents:
    return ba.extract(scenes, "mini", cache=False, device="cpu")


def test_captions_among_scenes_of_the_same_colours(scenes: ba.Stimuli, images: ba.Latents) -> None:
    texts = ba.extract_text(scenes, "mini", cache=False, device="cpu")
    assert images.space == texts.space == "mini"
    np.testing.assert_allclose(np.linalg.norm(images.values, axis=1), 1, atol=1e-5)
    similar = images.values @ texts.values.T
    groups = scenes.table.reset_index().groupby(["colour", "background"]).groups.values()
    hits = shuffled = tried = 0
    for rows in groups:
        block = similar[np.ix_(rows, rows)]
        hits += int((block.argmax(1) == np.arange(len(rows))).sum())
        shuffled += int((block.argmax(1) == np.roll(np.arange(len(rows)), 1)).sum())
        tried += len(rows)
    assert hits / tried > 0.95
    assert shuffled / tried < 0.05


def test_a_hundred_captions_of_one_colour_on_one_background() -> None:
    pool = ba.draw_scenes(9000, seed=4)
    same = pool.select("colour == 'red' and background == 'white'").ids[:100]
    chosen = pool.select(same)
    assert len(chosen) == 100
    pictures = ba.extract(chosen, "mini", cache=False, device="cpu").values
    texts = ba.extract_text(chosen, "mini", cache=False, device="cpu").values
    assert np.mean((pictures @ texts.T).argmax(1) == np.arange(100)) >= 0.9  # asked for: 0.8


@pytest.mark.parametrize("form", ["a {}", "a photo of a {}"])
def test_zero_shot_category(scenes: ba.Stimuli, images: ba.Latents, form: str) -> None:
    words = load_model("mini", device="cpu").encode_text([form.format(one) for one in CATEGORIES]).numpy()
    guess = np.array(CATEGORIES)[(images.values @ words.T).argmax(1)]
    assert np.mean(guess == scenes.table["category"].to_numpy()) >= 0.97  # asked for: 0.85


def test_autoencoder_there_and_back(scenes: ba.Stimuli) -> None:
    some = scenes.select(scenes.ids[:50])
    network = load_model("mini:vae", device="cpu")
    latents = ba.extract(some, network, cache=False)
    assert latents.space == "mini:vae" and latents.shape == (50, 4, 16, 16)
    assert 0.8 < latents.values.std() < 1.2
    true = np.stack([some.array(one) for one in some.ids]) / 255
    back = network.decode(latents.values).permute(0, 2, 3, 1).numpy()
    assert np.mean(-10 * np.log10(((back - true) ** 2).mean((1, 2, 3)))) > 27


def test_plain_open_clip_loads_the_folder() -> None:
    from open_clip import create_model

    module = create_model(f"local-dir:{WEIGHTS / 'clip'}", require_pretrained=True)
    assert module.visual.preprocess_cfg["size"] in (64, (64, 64))


def test_damaged_weights_and_unknown_parts_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    shutil.copytree(WEIGHTS, folder)
    file = folder / "clip" / "open_clip_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"missing or damaged(.|\n)*open_clip_model"):
        checked_folder(folder)
    file.unlink()
    with pytest.raises(DataError, match=r"missing or damaged(.|\n)*no file"):
        checked_folder(folder)
    with pytest.raises(DataError, match=r"unknown mini model 'mini:vea'.*'mini:vae'"):
        load_model("mini:vea", device="cpu")


def test_training_script_makes_the_vocabulary_that_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    from mini_models.data import Words, write_merges

    size = write_merges(tmp_path / "merges.txt.gz")
    shipped = WEIGHTS / "clip" / "merges.txt.gz"
    assert gzip.decompress((tmp_path / "merges.txt.gz").read_bytes()) == gzip.decompress(shipped.read_bytes())
    network = load_model("mini", device="cpu")
    assert network.module.vocab_size == size
    captions = [scene.caption for scene in map(describe_scene, ba.draw_scenes(40, seed=2).ids)]
    words = Words(shipped)
    np.testing.assert_array_equal(np.stack([words.row(one) for one in captions]), network.tokenizer(captions).numpy())


def test_a_missed_bar_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    from mini_models.confirm import missed, table

    found = json.loads((WEIGHTS / "report.json").read_text())["confirmed"]
    assert missed(found) == [] and found["seed"] not in (710_001, 710_002, 710_003)
    assert table(found) in (WEIGHTS / "README.md").read_text()
    few = found | {"samples": found["samples"] | {"colour": 0.71}, "clip": found["clip"] | {"zero_shot": 0.84}}
    assert [one.partition(":")[0] for one in missed(few)] == [
        "zero_shot",
        "colour",
    ]  # .71 of 500: the interval reaches below .7
