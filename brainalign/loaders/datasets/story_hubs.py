"""Hubs of the brain while a story is heard (hypertools' example data), one MATLAB file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from brainalign.arrays import check_finite
from brainalign.loaders.containers import read_mat
from brainalign.loaders.damage import damaged
from brainalign.loaders.datasets.shared import agree
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_story_hubs"]


def load_story_hubs(spec: DatasetSpec, root: Path, *, subject: Name) -> Trials:
    """Time courses of one person's hubs, a row for every volume.

    Returns
    -------
    Trials
        (n_volumes, n_hubs), stimulus ids "volume-000" on: the same moment of the story in everyone. Neighbouring
        volumes depend on each other: cross-validate with ``by="contiguous"`` and a gap.

    Raises
    ------
    DataError
        When the file is damaged, or does not fit the spec.
    """
    path = spec.path(root, "recording")
    cells = read_mat(path, ["weights"])["weights"]
    agree("not the subjects of the spec", path=path, expected=spec.fact("n_subjects"), found=np.size(cells))
    try:
        hubs = np.asarray(np.ravel(cells)[spec.subjects.index(subject)], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise damaged(path, "numbers in each subject's cell", error) from error
    agree(
        "not the volumes and hubs of the spec",
        path=path,
        expected=(spec.fact("n_volumes"), spec.fact("n_hubs")),
        found=hubs.shape,
    )
    check_finite(hubs, name="weights", path=path)
    return Trials(
        hubs.astype(np.float32),
        pd.DataFrame({"stimulus_id": [f"volume-{number:03d}" for number in range(len(hubs))], "subject": subject}),
        pd.DataFrame({"name": [f"hub-{number:03d}" for number in range(hubs.shape[1])]}),
    )
