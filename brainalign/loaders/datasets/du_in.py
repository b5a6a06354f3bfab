"""Du-IN (Zheng et al. 2024): stereo-EEG of word recitation, in the plain layout it is converted to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.containers import open_npy
from brainalign.loaders.montage import attach_regions, clean_names
from brainalign.loaders.sidecars import read_json
from brainalign.spaces import SensorSpace
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_du_in"]


def load_du_in(
    spec: DatasetSpec, root: Path, *, subject: Name, regions: Any = None, region_column: str = "region"
) -> Trials:
    """Load stereo-EEG of word recitation (Zheng et al. 2024) in its converted, plain layout.

    The released files are pickles of the authors' classes and are never opened; they are converted once, elsewhere,
    to ``converted/<subject>/data.npy`` (trial, channel, time; volts) and ``info.json`` with sfreq, tmin, ch_names,
    labels and runs.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    regions : mapping, DataFrame or path, optional
        Region of each (bipolar) channel, as `brainalign.loaders.montage.attach_regions` takes it; by default
        ``converted/<subject>/electrodes.tsv`` where it is there.
    region_column : str
        Its column.

    Returns
    -------
    Trials
        Responses stay on disk. stimulus_id and label are the word, run as in the info; units are bipolar pairs.

    Raises
    ------
    DataError
        When files are missing, cut, or do not fit each other.
    """
    path, info_path, electrodes = (spec.path(root, name, subject=subject) for name in ("data", "info", "electrodes"))
    data, info = open_npy(path), _plain_info(info_path)
    names = clean_names(info["ch_names"], path=info_path)
    lengths = (len(info["labels"]), len(names))
    if data.ndim != 3 or data.shape[:2] != lengths or len(info["runs"]) != lengths[0] or data.dtype != np.float32:
        raise DataError(
            "data and info differ",
            path=path,
            expected=f"float32 ({lengths[0]} trials, {lengths[1]} channels, times) and as many runs as trials",
            found=f"{data.dtype} {data.shape}, {len(info['runs'])} runs",
            fix="convert the release again",
        )
    words = [str(word) for word in info["labels"]]
    table = pd.DataFrame({"stimulus_id": words, "label": words, "run": [str(run) for run in info["runs"]]})
    where = electrodes if regions is None and electrodes.is_file() else regions
    return Trials(
        data,
        table.assign(subject=str(subject)),
        attach_regions(pd.DataFrame({"name": names, "type": "seeg"}), where, column=region_column),
        times=info["tmin"] + np.arange(data.shape[2]) / info["sfreq"],
        space=SensorSpace(float(info["sfreq"]), "unknown"),
        history=[{"step": "load_du_in", "reference": "bipolar, by the authors"}],
    )


def _plain_info(path: Path) -> dict[str, Any]:
    content = read_json(path)
    try:
        made = {"sfreq": float(content["sfreq"]), "tmin": float(content["tmin"])}
        return made | {key: list(content[key]) for key in ("ch_names", "labels", "runs")}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "info lacks a part",
            path=path,
            expected="numbers sfreq and tmin, lists ch_names, labels and runs",
            found=f"{type(error).__name__}: {error}",
            fix="convert the release again",
        ) from error
