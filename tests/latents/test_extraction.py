"""Batches, order, duplicates, cache, memory and kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies
from torch import nn

from brainalign.cache import Cache
from brainalign.errors import DataError
from brainalign.latents import Latents, extract, extract_text, load_model
from brainalign.latents.network import Network
from brainalign.stimuli import Stimuli
from tests.latents.conftest import random_pictures


class Counting(Network):
    """Mean colours times fixed weights; counts the pictures that went through, and fails where it is told to."""

    def __init__(self, fail_above: int | None = None) -> None:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
        super().__init__("counting", module, self.mean_colour, preprocessing="mean colour")
        self.batches: list[int] = []
        self.fail_above = fail_above

    @staticmethod
    def mean_colour(image: object) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image, np.float32).mean((0, 1)) / 255)

    def _encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        if self.fail_above is not None and len(batch) > self.fail_above:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        self.batches.append(len(batch))
        return self.module(batch)


def by_hand(stimuli: Stimuli) -> np.ndarray:
    module = Counting().module
    colours = np.stack([stimuli.array(one).astype(np.float32).mean((0, 1)) / 255 for one in stimuli.ids])
    return module(torch.from_numpy(colours)).detach().numpy()


def test_same_numbers_for_any_batch_size(timm_file: Path) -> None:
    stimuli = random_pictures(70, seed=1)
    network = load_model(f"timm:test_resnet@{timm_file}", device="cpu")
    found = [extract(stimuli, network, batch_size=size, cache=False).values for size in (1, 7, 64)]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-5)


def test_any_order_joins_by_id(clip_folder: Path, pictures: Stimuli) -> None:
    network = load_model(f"open_clip:{clip_folder}", device="cpu")
    forwards = extract(pictures, network, batch_size=4, cache=False)
    backwards = extract(pictures.select(pictures.ids[::-1]), network, batch_size=4, cache=False)
    assert backwards.ids == pictures.ids[::-1]
    np.testing.assert_allclose(backwards.at(pictures.ids), forwards.values, atol=1e-5)
    assert np.abs(forwards.values[0] - forwards.values[1]).max() > 1e-3


PICTURES = random_pictures(5, seed=2)


@given(
    shown=strategies.lists(strategies.integers(0, 4), min_size=1, max_size=12), batch_size=strategies.integers(1, 13)
)
@settings(max_examples=30, deadline=None)
def test_same_pixels_are_computed_once(shown: list[int], batch_size: int) -> None:
    arrays = [PICTURES.array(PICTURES.ids[one]) for one in shown]
    stimuli = Stimuli.from_arrays(np.stack(arrays), [f"id{row}" for row in range(len(shown))])
    network = Counting()
    found = extract(stimuli, network, batch_size=batch_size, cache=False)
    assert sum(network.batches) == len(set(shown))
    assert max(network.batches) <= batch_size
    np.testing.assert_allclose(found.values, by_hand(stimuli), atol=1e-6)


def test_two_at_once_compute_once(tmp_path: Path) -> None:
    stimuli, networks = random_pictures(6), [Counting(), Counting()]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda network: extract(stimuli, network, batch_size=1, cache=tmp_path), networks))
    np.testing.assert_array_equal(found[0].values, found[1].values)
    assert sorted(sum(network.batches) for network in networks) == [0, 6]


def test_cache_hit_and_what_makes_another_key(tmp_path: Path) -> None:
    stimuli, network = random_pictures(6, seed=3), Counting()
    first = extract(stimuli, network, cache=tmp_path)
    again = extract(stimuli, network, cache=Cache(tmp_path))
    assert sum(network.batches) == 6
    assert isinstance(again.values, np.memmap)
    np.testing.assert_array_equal(first.values, again.values)
    assert again.meta == first.meta
    assert not list(tmp_path.glob(".*.partial"))

    changed = {one: stimuli.array(one) for one in stimuli.ids}
    changed[stimuli.ids[0]] = 255 - changed[stimuli.ids[0]]
    extract(Stimuli(stimuli.ids, images=changed), network, cache=tmp_path)
    assert sum(network.batches) == 12  # a changed picture
    extract(stimuli.select(stimuli.ids[::-1]), network, cache=tmp_path)
    assert sum(network.batches) == 18  # another order of rows
    half = extract(stimuli, network, cache=tmp_path, dtype="float16")
    assert half.values.dtype == np.float16
    np.testing.assert_allclose(half.flat(), first.values, atol=1e-3)
    with torch.no_grad():
        network.module[0].bias += 1
    del network.__dict__["weights_sha256"]
    assert np.abs(extract(stimuli, network, cache=tmp_path).values - first.values).max() > 1e-3  # other weights


def test_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "mine"))
    found = extract(random_pictures(2), Counting())
    assert str(found.values.filename).startswith(str(tmp_path / "mine"))


def test_only_missing_layers_are_computed(tmp_path: Path) -> None:
    stimuli, network = random_pictures(6, seed=4), Counting()
    one = extract(stimuli, network, layers="0", cache=tmp_path)
    n_first = sum(network.batches)
    both = extract(stimuli, network, layers=["2", "0"], pool=None, cache=tmp_path)
    assert list(both) == ["2", "0"]
    np.testing.assert_array_equal(one["0"].values, both["0"].values)
    np.testing.assert_allclose(both["2"].values, by_hand(stimuli), atol=1e-6)
    n_second = sum(network.batches)
    extract(stimuli, network, layers=["0", "2"], cache=tmp_path)
    assert sum(network.batches) == n_second + 1  # one picture, to see which layers run
    assert n_second == 2 * n_first


def test_functions_as_pooling_are_not_confused(tmp_path: Path) -> None:
    stimuli, network = random_pictures(3), Counting()
    found = [
        extract(stimuli, network, layers="0", pool=lambda x, k=k: x * k, cache=tmp_path)["0"].values for k in (1, 2)
    ]
    np.testing.assert_allclose(found[1], 2 * found[0], atol=1e-6)
    assert not list(tmp_path.iterdir())


def test_out_of_memory_halves_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    stimuli, network = random_pictures(20, seed=5), Counting(fail_above=3)
    found = extract(stimuli, network, batch_size=16, cache=False)
    np.testing.assert_allclose(found.values, by_hand(stimuli), atol=1e-6)
    assert set(network.batches) == {2}
    assert [record.args for record in caplog.records] == [(16, 8), (8, 4), (4, 2)]
    with pytest.raises(DataError, match=r"out of memory with a single stimulus"):
        extract(stimuli, Counting(fail_above=0), cache=False)


def test_out_of_memory_on_the_processor_and_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    stimuli, network = random_pictures(4), Counting()
    errors = [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")]
    original = network._encode_image

    def encode(batch: torch.Tensor) -> torch.Tensor:
        if errors:
            raise errors.pop()
        return original(batch)

    monkeypatch.setattr(network, "_encode_image", encode)
    np.testing.assert_allclose(extract(stimuli, network, cache=False).values, by_hand(stimuli), atol=1e-6)
    errors.append(RuntimeError("mat1 and mat2 shapes cannot be multiplied: unsupported memory format"))
    with pytest.raises(RuntimeError, match=r"cannot be multiplied"):
        extract(stimuli, network, cache=False)


SCRIPT = """
import sys, time
from pathlib import Path
from tests.latents.test_extraction import Counting, random_pictures
from brainalign.latents import extract, streaming

class Slow(Counting):
    def _encode_image(self, batch):
        time.sleep(0.05)
        return super()._encode_image(batch)

streaming.CHECKPOINT_SECONDS = 0.0
extract(random_pictures(60, seed=6), Slow(), batch_size=2, cache=sys.argv[1])
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, cwd=root)
    try:
        done = wait_for_progress(tmp_path, at_least=10)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = max(done, *(json.loads(mark.read_text())["done"] for mark in tmp_path.glob(".*.partial/progress.json")))
    assert done < 60, "the run finished before it was killed"
    assert not list(tmp_path.glob("[!.]*")), "an artefact is whole or absent"

    stimuli, network = random_pictures(60, seed=6), Counting()
    found = extract(stimuli, network, batch_size=7, cache=tmp_path)
    assert sum(network.batches) == 60 - done
    np.testing.assert_allclose(found.values, by_hand(stimuli), atol=1e-6)
    assert not list(tmp_path.glob(".*.partial"))


def wait_for_progress(root: Path, *, at_least: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for mark in root.glob(".*.partial/progress.json"):
            if (done := json.loads(mark.read_text())["done"]) >= at_least:
                return done
        time.sleep(0.02)
    raise AssertionError("the run made no progress")


def test_a_damaged_draft_is_begun_afresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stimuli = random_pictures(6, seed=7)
    extract(stimuli, Counting(), cache=tmp_path / "whole")
    key = next(path.name for path in (tmp_path / "whole").iterdir() if not path.name.startswith("."))
    draft = tmp_path / "torn" / f".{key}.partial"
    draft.mkdir(parents=True)
    (draft / "progress.json").write_text('{"done": 4}')
    (draft / "values.npy").write_bytes(b"half a header")
    network = Counting()
    found = extract(stimuli, network, cache=tmp_path / "torn")
    assert sum(network.batches) == 6
    assert "starting afresh" in caplog.text
    np.testing.assert_allclose(found.values, by_hand(stimuli), atol=1e-6)


def test_results_open_as_latents(tmp_path: Path) -> None:
    stimuli = random_pictures(3)
    found = extract(stimuli, Counting(), cache=tmp_path)
    folder = next(path for path in tmp_path.iterdir() if not path.name.startswith("."))
    opened = Latents.open(folder)
    assert opened.ids == stimuli.ids
    assert opened.space == "counting"
    np.testing.assert_array_equal(opened.values, found.values)


def test_text_cache_and_repeats(bert_folder: Path, tmp_path: Path) -> None:
    texts = {"one": "a cat", "two": "a dog", "three": "a cat"}
    first = extract_text(texts, f"sentence:{bert_folder}", cache=tmp_path, device="cpu")
    again = extract_text(texts, f"sentence:{bert_folder}", cache=tmp_path, device="cpu")
    assert isinstance(again.values, np.memmap)
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.at(["one"]), first.at(["three"]))
    assert first.meta["stimuli"] == "text"


def test_what_is_not_finite_is_named() -> None:
    stimuli, network = random_pictures(4), Counting()
    with torch.no_grad():
        network.module[2].bias.fill_(1e6)
    with pytest.raises(DataError, match=f"NaN or infinity(.|\n)*float16(.|\n)*{stimuli.ids[0]}(.|\n)*use float32"):
        extract(stimuli, network, cache=False, dtype="float16")
    assert extract(stimuli, network, cache=False).values.max() >= 1e6


def test_bad_requests() -> None:
    stimuli, network = random_pictures(2), Counting()
    with pytest.raises(DataError, match=r"no stimuli"):
        extract(Stimuli([]), network, cache=False)
    with pytest.raises(DataError, match=r"batch_size must be positive"):
        extract(stimuli, network, cache=False, batch_size=0)
    with pytest.raises(DataError, match=r"stored as floats"):
        extract(stimuli, network, cache=False, dtype="int8")
    with pytest.raises(DataError, match=r"takes no options"):
        extract(stimuli, network, cache=False, normalize=True)
    with pytest.raises(DataError, match=r"not a model(.|\n)*Network"):
        extract(stimuli, nn.Linear(3, 3), cache=False)
    with pytest.raises(DataError, match=r"no images"):
        extract(Stimuli(["a"], captions={"a": "text"}), network, cache=False)
    with pytest.raises(DataError, match=r"unknown layer '7'"):
        extract(stimuli, network, layers="7", cache=False)
    ragged = Stimuli(["a", "b"], images={"a": np.zeros((4, 4), np.uint8), "b": np.zeros((5, 4), np.uint8)})
    as_they_are = Network("plain", nn.Identity(), lambda image: torch.from_numpy(np.array(image)))
    with pytest.raises(DataError, match=r"differ in size"):
        extract(ragged, as_they_are, cache=False)


def test_importing_needs_no_torch() -> None:
    code = "import sys, brainalign.latents as room; room.Latents; assert 'torch' not in sys.modules; print(*dir(room))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"extract", "extract_text", "load_model", "activations", "Latents"} <= set(done.stdout.split())
