"""Velocity from spikes by ridge and networks: planted tuning read on a made tree, the yardstick on the real one."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from brainalign.errors import DataError
from brainalign.experiment import load_experiment, run_experiment
from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec
from tests.conftest import REPOSITORY, data_root, real_data

SHIPPED = REPOSITORY / "scripts" / "experiments" / "spikes_decoding.yaml"

SIZES = {"n_units": 8, "n_samples": 12000, "seconds": 120.0}


def changed(text, *pairs):
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def test_planted_velocity_is_read_and_not_that_of_another_time(tmp_path, monkeypatch):
    # Two minutes, and a seed that draws units of at most some 20 spikes a bin: rates grow exponentially with velocity.
    tree = make_tree("spikes_reaching", tmp_path / "tree", seed=1, sizes=SIZES)
    monkeypatch.setattr(DatasetSpec, "load", classmethod(lambda cls, name: tree.spec))
    path = tmp_path / "experiment.yaml"
    place = ("{name: spikes_reaching,", f"{{name: spikes_reaching, root: {tree.root},")
    fewer = ("[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]", "[0, 1, 2, 3]")
    first, mark, _ = SHIPPED.read_text().rpartition("  - kind: regress")
    assert mark and "velocity_tokens" not in first
    path.write_text(changed(first, place, fewer, ("n_splits: 5", "n_splits: 3")))
    made = run_experiment(load_experiment(path), out=tmp_path / "run")
    for column in ("vel_x", "vel_y"):
        scores = {name: made.scores[f"velocity/{name}/{column}"] for name in ("ridge", "network", "network less ridge")}
        assert scores["ridge"].low > 0.5 and scores["network"].low > 0.5
        gain = scores["network less ridge"]
        assert gain.value == pytest.approx(scores["network"].value - scores["ridge"].value)
        assert gain.low < gain.value < gain.high
        for name in ("ridge", "network"):
            assert made.scores[f"velocity/{name}, rotated/{column}"].value < 0.1
    arrays = {
        name: np.load(made.folder / "steps" / "velocity" / f"{name}.npy") for name in ("true", "predicted_network")
    }
    residual = ((arrays["true"] - arrays["predicted_network"]) ** 2).sum(0)
    expected = 1 - residual / ((arrays["true"] - arrays["true"].mean(0)) ** 2).sum(0)
    found = [made.scores[f"velocity/network/{column}"].value for column in ("vel_x", "vel_y")]
    assert found == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("[ridge, network]", "[ridge, ridge]", "each once"),
        ("[ridge, network]", "[ridge, forest]", "network"),
        ("[ridge, network]", "[]", "regressors"),
        ("gap: 20", "gap: 3", "at least the longest delay"),
        ("delays: [0, 1, 2", "delays: [1, 2", "delays of 0, 1, 2"),
    ],
)
def test_experiments_that_could_not_be_right_are_refused(tmp_path, old, new, message):
    path = tmp_path / "experiment.yaml"
    path.write_text(changed(SHIPPED.read_text(), (old, new)))
    with pytest.raises((DataError, ValidationError), match=message):
        load_experiment(path)


@pytest.mark.slow
def test_the_real_recording_reaches_the_yardstick(tmp_path, monkeypatch):
    real_data("spikes_reaching")
    monkeypatch.setenv("BRAINALIGN_DATA", str(data_root()))
    made = run_experiment(load_experiment(SHIPPED), out=tmp_path / "run")
    # Ridge on eight lags of 50 ms reads the velocity with R² .60 and .51.
    for column, yardstick in (("vel_x", 0.60), ("vel_y", 0.51)):
        for name in ("ridge", "network"):
            assert made.scores[f"velocity/{name}/{column}"].value >= yardstick
            assert made.scores[f"velocity/{name}, rotated/{column}"].value <= 0.0
        assert made.scores[f"velocity/network less ridge/{column}"].low > 0.05
        assert made.scores[f"velocity_tokens/neuroformer less ridge/{column}"].low > 0
