"""Couplings of a simulated circuit through an experiment file."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.experiment import load_experiment, run_experiment
from tests.conftest import REPOSITORY

SHIPPED = REPOSITORY / "scripts" / "experiments" / "simulated_circuit.yaml"


def test_a_small_circuit_from_file_to_report(tmp_path):
    text = SHIPPED.read_text()
    for old, new in [("n_units: 12, seconds: 200.0", "n_units: 5, seconds: 40.0"), ("n_epochs: 20", "n_epochs: 1")]:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    made = run_experiment(load_experiment(path), out=tmp_path / "run")
    assert made.scores["couplings/glm"].value > 0.9
    for way in ("attribution", "attention", "glm", "correlation"):
        one = made.scores[f"couplings/{way}"]
        assert one.low <= one.value <= one.high and one.n == 20
        assert f"couplings/{way}, shifted" in made.scores
    planted = np.load(made.folder / "steps" / "couplings" / "planted.npy")
    assert planted.shape == (5, 5) and (planted != 0).sum() == 3
    assert made.scores["couplings/likelihood/glm"].value > 0.05
    assert abs(made.scores["couplings/likelihood/glm, shifted"].value) < 0.05
    assert "strongest pairs" in (made.folder / "report.html").read_text()


def test_a_recording_without_planted_couplings_is_refused(tmp_path):
    path = tmp_path / "experiment.yaml"
    place = "name: simulated\n  options: {n_stimuli: 8, model: 'pixels:2', rois: {V1: 4}}"
    path.write_text(
        SHIPPED.read_text().replace("name: simulated_circuit\n  options: {n_units: 12, seconds: 200.0}", place)
    )
    with pytest.raises(DataError, match="no couplings were planted"):
        run_experiment(load_experiment(path), out=tmp_path / "run")


@pytest.mark.slow
def test_couplings_are_read_and_none_where_there_are_none(tmp_path):
    made = run_experiment(load_experiment(SHIPPED), out=tmp_path / "run")
    for way in ("attribution", "attention"):
        assert made.scores[f"couplings/{way}"].low > 0.55
        assert made.scores[f"couplings/{way}, shifted"].low < 0.5
    assert made.scores["couplings/attribution"].value > 0.8
    assert made.scores["couplings/likelihood/network"].low > 0.1
