"""THINGS-EEG2 (Gifford et al. 2022): ten people, pictures in rapid sequence, raw or preprocessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import row_blocks
from brainalign.errors import DataError, closest, unknown
from brainalign.loaders.datasets.shared import one_file
from brainalign.loaders.ephys.load import load_recordings
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import Recording
from brainalign.loaders.montage import clean_names, positions_of_names
from brainalign.loaders.npy_dict import read_npy_dict
from brainalign.spaces import SensorSpace
from brainalign.specs import DatasetSpec, Name, find_inside
from brainalign.specs.dataset import fill
from brainalign.trials import Trials

__all__ = ["load_things_eeg2"]

_RELEASE = "take the files of one release, or download them again"
_SPLITS = {"training": "train", "test": "test"}
_TARGET = 99999  # code of the trials on which the person had to press a button


def load_things_eeg2(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Name,
    partition: str = "training",
    preprocessed: bool = True,
    image_metadata: str | PathLike[str] | None = None,
    **options: Any,
) -> Trials:
    """Load one person's responses to the training or the test pictures.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them. The folder has ``sub-01/`` ... in it, or such folders one level down
        (``Preprocessed_data_250Hz/sub-01``).
    partition : str
        "training" (concepts that the test lacks) or "test".
    preprocessed : bool
        The preprocessed dictionaries: cut, resampled and whitened by their authors' recipe, so without unit. Else
        the raw sessions, in volts.
    image_metadata : path-like, optional
        ``image_metadata.npy``; by default looked for in `root` and one level down. Without it pictures are called
        by partition and number ("training_00001") and have no concept.
    **options
        Raw: ``tmin``, ``tmax`` and every `EphysOptions`. Preprocessed: ``picks`` (channel names), ``tmin``, ``tmax``.

    Returns
    -------
    Trials
        One row a repetition of a picture: stimulus_id (file name without suffix), concept, split, subject,
        repetition, and for raw data session. Responses (n_trials, n_channels, n_times), float32.

    Raises
    ------
    DataError
        When files are missing, not dictionaries of plain data, or their parts do not fit together.
    """
    if partition not in _SPLITS:
        raise unknown("partition", partition, _SPLITS)
    pictures = _pictures(root, partition, image_metadata)
    if preprocessed:
        entry = "preprocessed_train" if partition == "training" else "preprocessed_test"
        pattern = spec.relative(entry, subject=subject)
        return _load_preprocessed(one_file(root, pattern, f"*/{pattern}"), int(subject), partition, pictures, options)
    raw = spec.entry("raw").pattern.replace("{session:02d}", "*")
    paths = _find(root, fill(raw, {"subject": subject, "part": partition}))
    if not paths:
        fix = "download the raw sessions, or check root and subject"
        raise DataError("no raw session", path=root, expected=raw, found="none", fix=fix)
    return _load_raw(paths, int(subject), partition, pictures, options)


def _find(root: Path, pattern: str) -> list[Path]:
    """Files that match in `root` or one level down."""
    return find_inside(root, pattern) or find_inside(root, f"*/{pattern}")


# -- pictures ---------------------------------------------------------------------------------------------------


def _pictures(root: Path, partition: str, metadata: str | PathLike[str] | None) -> pd.DataFrame | None:
    """stimulus_id and concept of each picture of a partition, in the order of their numbers."""
    found = [Path(metadata)] if metadata is not None else _find(root, "image_metadata.npy")
    if not found:
        return None
    content, side = read_npy_dict(found[0]), _SPLITS[partition]
    files, concepts = (content.get(f"{side}_img_{what}", ()) for what in ("files", "concepts"))
    if not _same_length(files, concepts):
        keys = f"{side}_img_files and {side}_img_concepts, one entry a picture"
        raise DataError(
            "not the picture table of THINGS-EEG2",
            path=found[0],
            expected=keys,
            found=sorted(content)[:8],
            fix=_RELEASE,
        )
    ids = [PurePosixPath(str(name)).stem for name in files]
    return pd.DataFrame({"stimulus_id": ids, "concept": [str(name) for name in concepts]})


def _same_length(*columns: Any) -> bool:
    sized = all(isinstance(column, Sequence | np.ndarray) and len(column) for column in columns)
    return sized and len({len(column) for column in columns}) == 1


def _named(pictures: pd.DataFrame | None, numbers: np.ndarray, partition: str, path: Path) -> pd.DataFrame:
    """Trials table of picture numbers, counted from 1."""
    if pictures is None:
        table = pd.DataFrame({"stimulus_id": [f"{partition}_{number:05d}" for number in numbers]})
    elif numbers.max() > len(pictures):
        found = f"picture number {numbers.max()}"
        raise DataError(
            "recording and picture table differ", path=path, expected=f"1 to {len(pictures)}", found=found, fix=_RELEASE
        )
    else:
        table = pictures.iloc[numbers - 1].reset_index(drop=True)
    return table.assign(split=_SPLITS[partition])


# -- preprocessed -----------------------------------------------------------------------------------------------


def _load_preprocessed(
    path: Path, number: int, partition: str, pictures: pd.DataFrame | None, options: Mapping[str, Any]
) -> Trials:
    known = ("picks", "tmin", "tmax")
    for name in options:
        if name not in known:
            fix = "preprocessed=False loads the raw sessions, which take every option"
            what = f"preprocessed data take no option '{name}'.{closest(name, known)}"
            raise DataError(what, expected=list(known), found=name, fix=fix)
    data, names, times = _parts(read_npy_dict(path), path)
    if pictures is not None and len(pictures) != len(data):
        what = "preprocessed data and picture table differ"
        raise DataError(what, path=path, expected=f"{len(pictures)} pictures", found=f"{len(data)}", fix=_RELEASE)
    channels = positions_of_names(options.get("picks") or names, names, path=path)
    first, last = options.get("tmin", times[0]), options.get("tmax", times[-1])
    inside = np.flatnonzero((times >= first - 1e-6) & (times <= last + 1e-6))
    if not inside.size:
        raise DataError(
            "no sample in this window",
            path=path,
            expected=(times[0], times[-1]),
            found=(first, last),
            fix="choose tmin and tmax within it",
        )
    n_pictures, n_repetitions = data.shape[:2]
    table = _named(pictures, np.repeat(np.arange(n_pictures) + 1, n_repetitions), partition, path)
    table = table.assign(subject=f"{number:02d}", repetition=np.tile(np.arange(n_repetitions), n_pictures))
    kept = times[inside[0] : inside[-1] + 1]
    return Trials(
        _single_trials(data[..., inside[0] : inside[-1] + 1], channels),
        table,
        pd.DataFrame({"name": [names[channel] for channel in channels], "type": "eeg", "region": "n/a"}),
        times=kept,
        space=SensorSpace((len(times) - 1) / float(times[-1] - times[0]), montage="easycap-M1"),
        history=[{"step": "load_things_eeg2", "whitened": "by the authors of the file; the recipe is not in it"}],
        info={"unit": "none (whitened)"},
    )


def _parts(content: dict[str, Any], path: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """The array (picture, repetition, channel, time), channel names and times, which must fit each other."""
    data, names, times = (content.get(key) for key in ("preprocessed_eeg_data", "ch_names", "times"))
    if isinstance(data, np.ndarray) and isinstance(times, np.ndarray) and isinstance(names, Sequence | np.ndarray):
        fits = data.ndim == 4 and data.dtype.kind == "f" and times.dtype.kind in "iuf"
        if fits and data.shape[2:] == (len(names), len(times)) and len(times) > 1 and (np.diff(times) > 0).all():
            return data, clean_names(list(names), path=path), times.astype(np.float64)
    shapes = {key: getattr(value, "shape", type(value).__name__) for key, value in content.items()}
    expected = "preprocessed_eeg_data (picture, repetition, channel, time), ch_names and times of fitting lengths"
    raise DataError("not a preprocessed file of THINGS-EEG2", path=path, expected=expected, found=shapes, fix=_RELEASE)


def _single_trials(data: np.ndarray, channels: list[int]) -> np.ndarray:
    """(picture, repetition, channel, time) on disk to float32 trials in memory, block by block."""
    n_pictures, n_repetitions, _, n_times = data.shape
    made = np.empty((n_pictures, n_repetitions, len(channels), n_times), dtype=np.float32)
    for rows in row_blocks(n_pictures, data[0].nbytes):
        made[rows] = data[rows][:, :, channels]
    return made.reshape(-1, len(channels), n_times)


# -- raw --------------------------------------------------------------------------------------------------------


def _load_raw(
    paths: list[Path], number: int, partition: str, pictures: pd.DataFrame | None, options: Mapping[str, Any]
) -> Trials:
    given = dict(options)
    window = (given.pop("tmin", None), given.pop("tmax", None))
    chosen = EphysOptions.of(given)
    recordings, events = [], []
    for path in paths:
        recording = _session(path, f"{number:02d}")
        recordings.append(recording)
        events.append(_events(recording, partition, pictures))
    return load_recordings(recordings, events, window=window, options=chosen)


def _session(path: Path, subject: str) -> Recording:
    """One raw session as an MNE Raw; its data stay on disk until they are used."""
    import mne

    content = read_npy_dict(path)
    try:
        data, rate = content["raw_eeg_data"], float(content["sfreq"])
        names, kinds = list(content["ch_names"]), [str(kind) for kind in content["ch_types"]]
    except (KeyError, TypeError, ValueError) as error:
        expected = "raw_eeg_data, ch_names, ch_types, sfreq"
        found = f"{type(error).__name__}: {error}"
        raise DataError(
            "not a raw file of THINGS-EEG2", path=path, expected=expected, found=found, fix=_RELEASE
        ) from error
    names = clean_names(names, path=path)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or not len(data) == len(names) == len(kinds):
        found = f"data {getattr(data, 'shape', None)}, {len(names)} names, {len(kinds)} types"
        raise DataError("data and channels differ", path=path, expected="one row a channel", found=found, fix=_RELEASE)
    raw = mne.io.RawArray(data, mne.create_info(names, rate, kinds), verbose="error")
    if "eeg" in kinds:
        raw.set_montage("easycap-M1", on_missing="ignore", verbose="error")
    return Recording(raw, path, {"subject": subject, "session": path.parent.name.removeprefix("ses-"), "run": "1"})


def _events(recording: Recording, partition: str, pictures: pd.DataFrame | None) -> pd.DataFrame:
    import mne

    if "stim" not in recording.data.get_channel_types():
        raise DataError(
            "no trigger channel", path=recording.path, expected="a channel of type stim", found="none", fix=_RELEASE
        )
    codes = mne.find_events(recording.data, "stim", shortest_event=1, initial_event=True, verbose="error")
    codes = codes[codes[:, 2] != _TARGET]
    if not len(codes):
        raise DataError(
            "no picture was shown",
            path=recording.path,
            expected="codes in the trigger channel",
            found="none",
            fix=_RELEASE,
        )
    assert recording.path is not None
    table = _named(pictures, codes[:, 2], partition, recording.path)
    return table.assign(onset=codes[:, 0] / recording.sfreq, duration=0.0)
