"""Podcast ECoG (OpenNeuro ds005574): intracranial recordings of a story, cut at its words."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from brainalign.errors import DataError, closest
from brainalign.loaders.ephys.load import load_recordings
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import open_recording
from brainalign.loaders.ephys_datasets.finding import one_file, subject_number
from brainalign.loaders.events import read_table
from brainalign.loaders.montage import clean_names
from brainalign.specs import find_inside, resolve_inside
from brainalign.trials import Trials

__all__ = ["load_podcast_ecog"]

_SIGNALS = {
    "highgamma": "derivatives/ecogprep/{sub}/ieeg/{sub}_*desc-highgamma_ieeg.fif",
    "prepared": "derivatives/ecogprep/{sub}/ieeg/{sub}_*_ieeg.fif",
    "raw": "{sub}/ieeg/{sub}_*_ieeg.edf",
}


def load_podcast_ecog(
    root: str | PathLike[str],
    *,
    subject: int | str,
    signal: str = "highgamma",
    transcript: str = "gpt2-xl",
    **options: Any,
) -> Trials:
    """Load the words of Podcast ECoG (OpenNeuro ds005574): one half-hour story, nine people.

    Parameters
    ----------
    root : path-like
        The BIDS folder.
    subject : int or str
        1 to 9.
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
        raise DataError(f"unknown signal '{signal}'.{closest(signal, _SIGNALS)}", expected=list(_SIGNALS))
    root, name = Path(root), f"sub-{subject_number(subject):02d}"
    words = _words(resolve_inside(root, f"stimuli/{transcript}/transcript.tsv"))
    window = (options.pop("tmin", None), options.pop("tmax", None))
    kind = "ecog" if signal == "raw" else None  # EDF knows only EEG
    chosen = EphysOptions.parse({"edges": "drop", "channel_type": kind, **options})
    without = "desc-" if signal == "prepared" else None
    recording = open_recording(one_file(root, _SIGNALS[signal].format(sub=name), without=without))
    bad = _bad_channels(root, name)
    recording.data.info["bads"] = [channel for channel in recording.data.ch_names if channel in bad]
    trials = load_recordings([recording], [words], window=window, options=chosen)
    trials.info["dataset"] = "podcast_ecog"
    return trials


def _words(path: Path) -> pd.DataFrame:
    table = read_table(path)
    missing = [name for name in ("word", "start", "end") if name not in table]
    if missing:
        expected = ["word", "start", "end"]
        raise DataError("not a transcript", path=path, expected=expected, found=list(table.columns))
    table = table.dropna(subset=["start", "end"])
    if "word_idx" in table:
        rows = table.groupby("word_idx", sort=True)
        table = pd.DataFrame({"word": rows["word"].first(), "start": rows["start"].min(), "end": rows["end"].max()})
    made = pd.DataFrame({"onset": table["start"].to_numpy(float), "label": table["word"].astype(str).to_numpy()})
    made["duration"] = (table["end"] - table["start"]).to_numpy(float).clip(min=0)
    return made.assign(stimulus_id=[f"word_{number:05d}" for number in range(len(made))])


def _bad_channels(root: Path, name: str) -> set[str]:
    """Channels that channels.tsv calls bad, where there is such a table."""
    found = find_inside(root, f"{name}/ieeg/{name}_*channels.tsv")
    table = read_table(found[0]) if found else pd.DataFrame()
    if not {"name", "status"} <= set(table):
        return set()
    return set(clean_names(table.loc[table["status"] == "bad", "name"].tolist(), path=found[0]))
