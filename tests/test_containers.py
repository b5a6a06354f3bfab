"""Stimuli, latents, errors, arrays, scores and parallel work."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainalign.arrays import as_matrix, resolve_device, row_blocks, sha256_array
from brainalign.errors import BrainalignError, DataError, LeakageError, SpecError, closest
from brainalign.latents.base import Latents
from brainalign.parallel import parallel_map, spawn_seeds
from brainalign.scoring.score import Score
from brainalign.stimuli import Stimuli

COMPLETE = {"ceiling": 0.9, "chance": 0.5, "low": 0.6, "high": 0.8, "n": 10, "split": "ab", "protocol": "p"}


def test_one_error_family():
    assert issubclass(LeakageError, DataError)
    assert issubclass(SpecError, DataError)
    assert issubclass(DataError, BrainalignError)
    assert issubclass(DataError, ValueError)
    assert closest("x" * 9, ["a"]) == ""


def test_pictures_are_read_lazily_and_in_every_form(tmp_path):
    reads = []

    def draw():
        reads.append(1)
        return np.full((4, 4), 7, np.uint8)

    Image.fromarray(np.full((4, 4, 3), 9, np.uint8)).save(tmp_path / "file.png")
    stimuli = Stimuli(
        ["drawn", "file", "pil"],
        images={"drawn": draw, "file": tmp_path / "file.png", "pil": Image.new("RGBA", (4, 4), (3, 3, 3, 255))},
    )
    assert not reads
    assert [int(stimuli.array(one)[0, 0, 0]) for one in stimuli] == [7, 9, 3]
    assert stimuli.array("drawn").shape == (4, 4, 3)


def test_unreadable_pictures_and_unknown_ids_are_named(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not a picture")
    stimuli = Stimuli.from_folder(tmp_path)
    with pytest.raises(DataError, match=r"bad\.jpg"):
        stimuli.image("bad")
    with pytest.raises(DataError, match="Did you mean 'bad'"):
        stimuli.image("bed")
    with pytest.raises(DataError, match="no captions"):
        stimuli.caption("bad")
    with pytest.raises(DataError, match="no pictures found"):
        Stimuli.from_folder(tmp_path, "*.gif")
    with pytest.raises(DataError, match="not a uint8 image"):
        Stimuli(["a"], images={"a": np.zeros((2, 2))}).image("a")


def test_stimuli_refuse_repeats_and_gaps():
    with pytest.raises(DataError, match="unique"):
        Stimuli(["a", "a"])
    with pytest.raises(DataError, match="unknown stimulus_id in captions"):
        Stimuli(["a", "b"], captions={"a": "x"})
    with pytest.raises(DataError, match="stimulus table"):
        Stimuli(["a", "b"], table=pd.DataFrame({"label": [1]}, index=["a"]))
    with pytest.raises(DataError, match="as many ids"):
        Stimuli.from_arrays(np.zeros((2, 3, 3), np.uint8), ["a"])


def test_stimuli_select_by_query_and_by_order():
    table = pd.DataFrame({"kind": ["face", "tool", "face"]}, index=["a", "b", "c"])
    stimuli = Stimuli("abc", captions={"a": "1", "b": "2", "c": "3"}, table=table)
    assert stimuli.select("kind == 'face'").ids == ("a", "c")
    chosen = stimuli.select(["c", "a"])
    assert chosen.ids == ("c", "a")
    assert chosen.table.index.tolist() == ["c", "a"]
    assert "b" not in chosen
    assert chosen.caption("c") == "3"
    with pytest.raises(DataError):
        chosen.caption("b")


def test_latents_round_trip_and_lookup(tmp_path):
    values = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)
    latents = Latents(values, ["x", "y", "z"], space="toy", meta={"layer": "l1"})
    latents.save(tmp_path / "l")
    opened = Latents.open(tmp_path / "l")
    assert isinstance(opened.values, np.memmap)
    np.testing.assert_array_equal(opened.at(["z", "x", "z"]), values[[2, 0, 2]])
    assert opened.flat().shape == (3, 8)
    assert opened.meta == {"layer": "l1"}
    assert np.asarray(opened).shape == (3, 2, 4)
    with pytest.raises(DataError, match="without latents"):
        opened.at(["w"])
    with pytest.raises(DataError, match="unique"):
        Latents(values, ["x", "x", "z"], space="toy")
    with pytest.raises(DataError, match="one row per"):
        Latents(values, ["x"], space="toy")


def test_score_is_complete_or_explained():
    score = Score("accuracy", 0.7, **COMPLETE)
    assert score.to_row()["value"] == 0.7
    assert score.ci == (0.6, 0.8)
    with pytest.raises(DataError, match="ceiling"):
        Score("accuracy", 0.7, **COMPLETE | {"ceiling": None})
    with pytest.raises(DataError, match="value"):
        Score("accuracy", float("nan"), **COMPLETE)
    told = Score("accuracy", None, **COMPLETE, why={"value": "no valid unit"})
    assert told.to_row()["why"] == {"value": "no valid unit"}
    assert "none" in repr(told)


@pytest.mark.parametrize(
    "x, message",
    [
        ([1.0, 2.0], "two-dimensional"),
        ([["a", "b"]], "not numeric"),
        ([[np.nan, 1.0]], "NaN"),
        ([[np.inf, 1.0]], "NaN or infinity"),
        (np.zeros((0, 2)), "too small"),
        (np.zeros((2, 0)), "too small"),
    ],
)
def test_bad_matrices_are_refused(x, message):
    with pytest.raises(DataError, match=message):
        as_matrix(x)


def test_float32_stays_and_the_rest_becomes_float64():
    assert as_matrix(np.ones((2, 2), np.float32)).dtype == np.float32
    assert as_matrix(np.ones((2, 2), int)).dtype == np.float64


def test_blocks_cover_all_rows_once():
    rows = np.concatenate([np.arange(103)[block] for block in row_blocks(103, 8, budget=80)])
    np.testing.assert_array_equal(rows, np.arange(103))


def test_hash_sees_dtype_shape_and_content():
    x = np.arange(6.0)
    hashes = {sha256_array(one) for one in (x, x.astype(np.float32), x.reshape(2, 3), x + 1, np.float64(3))}
    assert len(hashes) == 5
    assert sha256_array(x[::2]) == sha256_array(x[::2].copy())


def test_unknown_device_is_refused():
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(DataError, match="not available"):
        resolve_device("tpu")


def _draw(seed):
    return np.random.default_rng(seed).standard_normal(3)


def test_parallel_results_do_not_depend_on_the_number_of_jobs():
    seeds = spawn_seeds(0, 6)
    alone, together = (np.array(parallel_map(_draw, seeds, n_jobs=n_jobs)) for n_jobs in (1, 2))
    np.testing.assert_array_equal(alone, together)
    assert len(np.unique(alone)) == 18
    with pytest.raises(DataError, match="n_jobs"):
        parallel_map(_draw, seeds, n_jobs=0)
