"""Du-IN (Zheng et al. 2024): stereo-EEG of word recitation, in the plain layout it is converted to."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.damage import first_line
from brainalign.loaders.montage import attach_regions, clean_names
from brainalign.spaces import SensorSpace
from brainalign.specs import resolve_inside
from brainalign.trials import Trials

__all__ = ["load_du_in"]


def load_du_in(
    root: str | PathLike[str], *, subject: str, regions: Any = None, region_column: str = "region"
) -> Trials:
    """Load stereo-EEG of word recitation (Zheng et al. 2024) in its converted, plain layout.

    The released files are pickles of the authors' classes and are never opened; they are converted once, elsewhere,
    to ``converted/<subject>/data.npy`` (trial, channel, time; volts) and ``info.json`` with sfreq, tmin, ch_names,
    labels and runs.

    Parameters
    ----------
    root : path-like
        Folder with ``converted/``.
    subject : str
        Name of the subject's folder, such as "001".
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
    root = Path(root)
    folder = f"converted/{subject}"
    path, info_path = (resolve_inside(root, f"{folder}/{name}") for name in ("data.npy", "info.json"))
    data, info = _plain_array(path), _plain_info(info_path)
    names = clean_names(info["ch_names"], path=info_path)
    lengths = (len(info["labels"]), len(names))
    if data.ndim != 3 or data.shape[:2] != lengths or len(info["runs"]) != lengths[0] or data.dtype != np.float32:
        expected = f"float32 ({lengths[0]} trials, {lengths[1]} channels, times) and as many runs as trials"
        found = f"{data.dtype} {data.shape}, {len(info['runs'])} runs"
        raise DataError("data and info differ", path=path, expected=expected, found=found)
    words = [str(word) for word in info["labels"]]
    table = pd.DataFrame({"stimulus_id": words, "label": words, "run": [str(run) for run in info["runs"]]})
    electrodes = resolve_inside(root, f"{folder}/electrodes.tsv")
    units = pd.DataFrame({"name": names, "type": "seeg"})
    return Trials(
        data,
        table.assign(subject=str(subject)),
        attach_regions(
            units, electrodes if regions is None and electrodes.is_file() else regions, column=region_column
        ),
        times=info["tmin"] + np.arange(data.shape[2]) / info["sfreq"],
        space=SensorSpace(float(info["sfreq"]), "unknown"),
        history=[{"step": "load_du_in", "reference": "bipolar, by the authors"}],
        info={"dataset": "du_in", "modality": "seeg"},
    )


def _plain_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        fix, expected = "convert the release again; pickled files are not read", "a whole .npy of numbers"
        raise DataError(
            "cannot open the array", path=path, expected=expected, found=first_line(error), fix=fix
        ) from error


def _plain_info(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        made = {"sfreq": float(content["sfreq"]), "tmin": float(content["tmin"])}
        return made | {key: list(content[key]) for key in ("ch_names", "labels", "runs")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        found, expected = f"{type(error).__name__}: {error}", "sfreq, tmin, ch_names, labels, runs"
        raise DataError("cannot read the info", path=path, expected=expected, found=found) from error
