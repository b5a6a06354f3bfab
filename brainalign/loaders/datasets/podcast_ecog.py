"""Podcast ECoG (OpenNeuro ds005574): intracranial recordings of a story, cut at its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from brainalign.errors import unknown
from brainalign.loaders.datasets.shared import one_file
from brainalign.loaders.ephys.load import load_recordings
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import open_recording
from brainalign.loaders.events import read_table
from brainalign.loaders.montage import clean_names
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_podcast_ecog"]

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


def _words(path: Path) -> pd.DataFrame:
    table = read_table(path, ["word", "start", "end"])
    table = table.dropna(subset=["start", "end"])
    if "word_idx" in table:
        rows = table.groupby("word_idx", sort=True)
        table = pd.DataFrame({"word": rows["word"].first(), "start": rows["start"].min(), "end": rows["end"].max()})
    made = pd.DataFrame({"onset": table["start"].to_numpy(float), "label": table["word"].astype(str).to_numpy()})
    made["duration"] = (table["end"] - table["start"]).to_numpy(float).clip(min=0)
    return made.assign(stimulus_id=[f"word_{number:05d}" for number in range(len(made))])


def _bad_channels(found: list[Path]) -> set[str]:
    """Channels that channels.tsv calls bad, where there is such a table."""
    table = read_table(found[0]) if found else pd.DataFrame()
    if not {"name", "status"} <= set(table):
        return set()
    return set(clean_names(table.loc[table["status"] == "bad", "name"].tolist(), path=found[0]))
