"""Podcast ECoG (OpenNeuro ds005574): intracranial recordings of a story, cut at its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import check_finite
from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents
from brainalign.loaders.containers import hdf5_dataset, open_hdf5, readable
from brainalign.loaders.datasets.shared import one_file
from brainalign.loaders.ephys.load import load_recordings
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import open_recording
from brainalign.loaders.events import read_table
from brainalign.loaders.montage import clean_names
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_podcast_ecog", "podcast_features"]

_SIGNALS = ("highgamma", "prepared", "raw")  # file entries of the spec


def load_podcast_ecog(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Name,
    signal: str = "highgamma",
    transcript: str = "gpt2-xl",
    **options: Any,
) -> Trials:
    """Load the words of Podcast ECoG (OpenNeuro ds005574): one half-hour story, nine people.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    signal : str
        "highgamma" (prepared envelope), "prepared" (cleaned voltages) or "raw" (EDF).
    transcript : str
        Folder under ``stimuli/`` whose ``transcript.tsv`` times the words (start, end, word; several rows of one
        ``word_idx`` are one word).
    **options
        ``tmin``, ``tmax`` and `EphysOptions`. Words too near to an end of the story are left out by default
        (``edges="drop"``); channels that ``channels.tsv`` calls bad unless ``picks`` names them or ``bads="keep"``.

    Returns
    -------
    Trials
        One row a word: stimulus_id "word_00000" by its place in the story, label (the word itself), onset,
        duration.

    Raises
    ------
    DataError
        When files are missing or cut, or the transcript lacks its columns.
    """
    if signal not in _SIGNALS:
        raise unknown("signal", signal, _SIGNALS)
    words = _words(spec.path(root, "transcript", features=transcript))
    window = (options.pop("tmin", None), options.pop("tmax", None))
    kind = "ecog" if signal == "raw" else None  # EDF knows only EEG
    chosen = EphysOptions.of({"edges": "drop", "channel_type": kind, **options})
    without = "desc-" if signal == "prepared" else None
    recording = open_recording(one_file(root, spec.relative(signal, subject=subject), without=without))
    bad = _bad_channels(spec.paths(root, "channels", subject=subject))
    recording.data.info["bads"] = [channel for channel in recording.data.ch_names if channel in bad]
    return load_recordings([recording], [words], window=window, options=chosen)


def podcast_features(spec: DatasetSpec, root: Path, name: str, *, key: str = "vectors") -> Latents:
    """What a network makes of the story's words, as the release brings it.

    Parameters
    ----------
    spec, root
        As for the loader.
    name : str
        Folder under ``stimuli/``, such as "gpt2-xl". Its transcript has a row for each row of the features; those of
        one word are averaged.
    key : str
        The dataset of ``features.hdf5``, (n_tokens, n_features).

    Returns
    -------
    Latents
        Of the words, by the ids of `load_podcast_ecog`.

    Raises
    ------
    DataError
        When a file is missing or damaged, or features and transcript do not fit each other.
    """
    path, transcript = spec.path(root, "features", features=name), spec.path(root, "transcript", features=name)
    with open_hdf5(path) as file, readable(path):
        values = np.asarray(hdf5_dataset(file, key, path)[()], dtype=np.float64)
    tokens, n_rows = _tokens(transcript)
    if values.ndim != 2 or len(values) != n_rows:
        raise DataError(
            "features and transcript do not fit each other",
            path=path,
            expected=f"({n_rows}, n_features), as {transcript.name} has rows",
            found=values.shape,
            fix="take both from the same folder of the release",
        )
    values = values[tokens.index]
    check_finite(values, name=f"features '{name}'")
    counts = np.bincount(tokens["place"])
    starts = np.flatnonzero(np.r_[True, np.diff(tokens["place"]) > 0])
    means = np.add.reduceat(values, starts) / counts[:, None]
    ids = [f"word_{number:05d}" for number in range(len(counts))]
    return Latents(means.astype(np.float32), ids, space=f"podcast:{name}")


def _words(path: Path) -> pd.DataFrame:
    rows = _tokens(path)[0].groupby("place")
    start, end = rows["start"].min(), rows["end"].max()
    made = pd.DataFrame({"onset": start.to_numpy(float), "label": rows["word"].first().astype(str).to_numpy()})
    made["duration"] = (end - start).to_numpy(float).clip(min=0)
    return made.assign(stimulus_id=[f"word_{number:05d}" for number in range(len(made))])


def _tokens(path: Path) -> tuple[pd.DataFrame, int]:
    """Timed rows of a transcript, those of a word together, with its place in the story; and how many rows there are.

    The index counts the rows of the file.
    """
    table = read_table(path, ["word", "start", "end"])
    timed = table.dropna(subset=["start", "end", *(["word_idx"] if "word_idx" in table else [])])
    if "word_idx" in timed:
        timed = timed.sort_values("word_idx", kind="stable")
        return timed.assign(place=timed["word_idx"].rank(method="dense").astype(int) - 1), len(table)
    return timed.assign(place=np.arange(len(timed))), len(table)


def _bad_channels(found: list[Path]) -> set[str]:
    """Channels that channels.tsv calls bad, where there is such a table."""
    table = read_table(found[0]) if found else pd.DataFrame()
    if not {"name", "status"} <= set(table):
        return set()
    return set(clean_names(table.loc[table["status"] == "bad", "name"].tolist(), path=found[0]))
