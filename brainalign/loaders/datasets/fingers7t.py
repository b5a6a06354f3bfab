"""Fingers in primary motor cortex at 7 T (Ejaz, Hamada, Diedrichsen 2015), one MATLAB file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.loaders.containers import read_mat
from brainalign.loaders.damage import AGAIN, damaged
from brainalign.loaders.datasets.shared import agree
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_fingers7t"]

_NAMES = {"Muscle": "muscle", "Naturalstats": "natural statistics"}


def load_fingers7t(spec: DatasetSpec, root: Path, *, subject: Name) -> Trials:
    """Prewhitened patterns of one person: every finger once in each run.

    Returns
    -------
    Trials
        (n_runs * 5, n_voxels), stimulus ids "finger-1" to "finger-5", `roi` M1 everywhere; the file has no positions.
        ``info["model_rdms"]`` holds the models that come with the data (muscle, natural statistics, somatotopy) as
        ``{name: {finger: {finger: squared distance}}}``.

    Raises
    ------
    DataError
        When the file is damaged, or its parts do not fit each other or the spec.
    """
    path = spec.path(root, "recording")
    content = read_mat(path, ["Y", "condVec", "partVec", "Model"])
    place = spec.subjects.index(subject)
    n_subjects, n_fingers, n_runs = (spec.fact(name, subject) for name in ("n_subjects", "n_fingers", "n_runs"))
    sizes = {key: np.size(content[key]) for key in ("Y", "condVec", "partVec")}
    agree("not the subjects of the spec", path=path, expected=dict.fromkeys(sizes, n_subjects), found=sizes)
    patterns, finger, run = (_numbers(content[key], place, path) for key in ("Y", "condVec", "partVec"))
    check_finite(finger, name="condVec", path=path)
    check_finite(run, name="partVec", path=path)
    finger, run = finger.ravel().astype(int), run.ravel().astype(int)
    n_trials = n_fingers * n_runs
    expected = {"Y": (n_trials, spec.fact("n_voxels", subject)), "condVec": (n_trials,), "partVec": (n_trials,)}
    found = {"Y": patterns.shape, "condVec": finger.shape, "partVec": run.shape}
    agree("patterns, fingers and runs do not match", path=path, expected=expected, found=found)
    check_finite(patterns, name="Y", path=path)
    agree(
        "every run needs every finger once",
        path=path,
        expected=[(r, f) for r in range(1, n_runs + 1) for f in range(1, n_fingers + 1)],
        found=sorted(zip(run.tolist(), finger.tolist(), strict=True)),
    )
    names = [f"finger-{number}" for number in range(1, n_fingers + 1)]
    models = _models(content["Model"], names, path)
    agree("not the models of the spec", path=path, expected=spec.fact("n_models"), found=len(models))
    return Trials(
        patterns.astype(np.float32),
        pd.DataFrame({"stimulus_id": [names[one - 1] for one in finger], "subject": subject, "run": run}),
        pd.DataFrame({"name": [f"voxel-{number:04d}" for number in range(patterns.shape[1])], "roi": "M1"}),
        info={"model_rdms": models},
        history=[{"step": "prewhitened by those who released the data"}],
    )


def _numbers(cells: Any, place: int, path: Path) -> np.ndarray:
    try:
        return np.asarray(np.ravel(cells)[place], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise damaged(path, "numbers in each subject's cell", error) from error


def _models(struct: Any, names: list[str], path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """RDM of each model by the labels of its rows and columns."""
    if not {"RDM", "name"} <= set(struct.dtype.names or ()):
        raise DataError("models lack fields", path=path, expected=["RDM", "name"], found=struct.dtype.names, fix=AGAIN)
    models = {}
    for one in struct.ravel():
        name = str(np.ravel(one["name"])[0])
        square = np.asarray(one["RDM"], dtype=np.float64)
        agree("a model does not fit the fingers", path=path, expected=(len(names),) * 2, found=square.shape)
        check_finite(square, name=f"model {name}", path=path)
        models[_NAMES.get(name, name)] = pd.DataFrame(square, names, names).to_dict(orient="index")
    return models
