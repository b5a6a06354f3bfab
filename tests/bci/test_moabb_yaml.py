"""The YAML pipelines are the named ones, and `moabb.benchmark` runs them on a dataset of ours."""

from __future__ import annotations

from pathlib import Path

import moabb
import numpy as np
import pandas as pd
import pytest
from moabb.pipelines.utils import parse_pipelines_from_directory
from sklearn.pipeline import Pipeline

from brainalign.bci import PIPELINES, build_pipeline
from brainalign.bci.moabb_datasets import as_moabb_dataset, forget_moabb_dataset, register_moabb_dataset
from brainalign.bci.results import described
from brainalign.trials import Trials
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "scripts" / "moabb_pipelines"


def test_yaml_pipelines_are_the_named_ones() -> None:
    parsed = {one["name"].removeprefix("brainalign "): one for one in parse_pipelines_from_directory(str(FOLDER))}
    assert set(parsed) <= set(PIPELINES) and len(parsed) == len(list(FOLDER.glob("*.yml")))
    tags = {"imagery": "MotorImagery", "p300": "P300", "ssvep": "SSVEP"}
    for name, one in parsed.items():
        ours = build_pipeline(name)
        steps = [step for _, step in ours.steps] if isinstance(ours, Pipeline) else [ours]
        assert described([step for _, step in one["pipeline"].steps]) == described(steps), name
        assert tags[PIPELINES[name].paradigm] in one["paradigms"]


def test_moabb_benchmarks_a_registered_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = np.tile(["left_hand", "right_hand"], 20)
    data = 1e-5 * rng.standard_normal((40, 3, 257))
    data[labels == "left_hand", 0] *= 3
    table = pd.DataFrame({"stimulus_id": labels, "session": np.repeat([1, 2], 20)})
    dataset = as_moabb_dataset(Trials(data, table, times=np.arange(257) / 128), code="Benchmarked2024")
    monkeypatch.chdir(tmp_path)
    try:
        register_moabb_dataset(dataset)
        results = moabb.benchmark(
            pipelines=str(FOLDER / "mdm.yml"),
            evaluations=["CrossSession"],
            paradigms=["LeftRightImagery"],
            include_datasets=["Benchmarked2024"],
            results=str(tmp_path / "results"),
            output=str(tmp_path / "out"),
            n_jobs=1,
        )
    finally:
        forget_moabb_dataset(dataset)
    assert results["score"].tolist() == [1.0, 1.0] and set(results["pipeline"]) == {"brainalign mdm"}
