"""Where the trials are: events from a table, an MNE array or file, annotations, or a trigger channel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, closest
from brainalign.loaders.ephys.recording import Recording, read_quietly
from brainalign.loaders.events import read_events

__all__ = ["bad_stretches", "epoch_events", "find_onsets"]

# Annotations that mark the file or its quality, not a stimulus.
_NOT_AN_EVENT = re.compile(r"^(bad|edge|new segment|boundary)", flags=re.IGNORECASE)
_MNE_EVENT_FILES = (".fif", ".fif.gz", ".eve")


def find_onsets(recording: Recording, events: Any, event_id: Mapping[str, int] | Sequence[str] | None) -> pd.DataFrame:
    """Events of a continuous recording.

    Parameters
    ----------
    recording : Recording
        Of a Raw.
    events : path, DataFrame, ndarray of int (n_events, 3), str or None
        A table (``events.tsv``), an MNE event file or array, ``"annotations"``, ``"stim"`` (the recording's trigger
        channel) or a trigger channel's name. None takes the annotations.
    event_id : mapping or sequence of str, optional
        ``{name: code}`` for integer events, or the names to keep.

    Returns
    -------
    DataFrame
        onset and duration (seconds from the first sample), stimulus_id, and what else the table says.

    Raises
    ------
    DataError
        When there are none, one lies outside the recording, times look like milliseconds, or a name in `event_id`
        does not occur.
    """
    if isinstance(events, np.ndarray):
        table = _from_codes(recording, events, event_id)
    elif events is None or (isinstance(events, str) and events == "annotations"):
        table = _from_annotations(recording)
    elif isinstance(events, str) and (events == "stim" or events in recording.data.ch_names):
        table = _from_codes(recording, _from_channel(recording, events), event_id)
    elif isinstance(events, str | PathLike) and str(events).endswith(_MNE_EVENT_FILES):
        import mne

        codes = read_quietly(mne.read_events, Path(events), verbose="error")
        table = _from_codes(recording, codes, event_id)
    else:
        # The MNE forms are integers by construction; a table is checked by the common reader.
        table = read_events(events, duration=recording.duration, sfreq=recording.sfreq, required=("onset",))
    return _keep_named(table, event_id, recording)


def _from_codes(recording: Recording, codes: np.ndarray, event_id: Any) -> pd.DataFrame:
    """Rows (sample, previous, code) of MNE, whose samples count from `first_samp`."""
    if codes.ndim != 2 or codes.shape[1] != 3 or codes.dtype.kind not in "iu":
        found = f"{codes.dtype} {codes.shape}"
        raise DataError(
            "not an MNE events array",
            expected="integers of shape (n_events, 3)",
            found=found,
            fix="rows are (sample, 0, code); a table of onsets in seconds will do too",
        )
    samples = codes[:, 0] - recording.data.first_samp
    outside = (samples < 0) | (samples >= recording.data.n_times)
    if outside.any():
        first = recording.data.first_samp
        raise DataError(
            f"{int(outside.sum())} of {len(codes)} events lie beyond the recording",
            path=recording.path,
            expected=f"samples {first} to {first + recording.data.n_times - 1}",
            found=int(codes[outside, 0][0]),
            fix="events count samples from raw.first_samp; check that they belong to this recording",
        )
    names = {code: str(code) for code in np.unique(codes[:, 2]).tolist()}
    if isinstance(event_id, Mapping):
        names |= {int(code): str(name) for name, code in event_id.items()}
    labels = [names[code] for code in codes[:, 2].tolist()]
    table = pd.DataFrame({"onset": samples / recording.sfreq, "duration": 0.0, "value": codes[:, 2]})
    return table.assign(trial_type=labels, stimulus_id=labels)


def _from_channel(recording: Recording, name: str) -> np.ndarray:
    import mne

    channel = None if name == "stim" else name
    return read_quietly(
        mne.find_events, recording.data, channel, shortest_event=1, verbose="error", path=recording.path
    )


def _from_annotations(recording: Recording) -> pd.DataFrame:
    annotations = recording.data.annotations
    kept = [place for place, text in enumerate(annotations.description) if not _NOT_AN_EVENT.match(str(text))]
    if not kept:
        raise DataError(
            "the recording has no annotated events",
            path=recording.path,
            expected="annotations besides BAD_ and EDGE_",
            found=f"{len(annotations)} annotations",
            fix="pass events=: an events.tsv, an MNE events array or -eve.fif, or 'stim' for the trigger channel",
        )
    labels = [str(text) for text in annotations.description[kept]]
    onset = annotations.onset[kept] - recording.data.first_time
    table = pd.DataFrame({"onset": onset, "duration": annotations.duration[kept], "stimulus_id": labels})
    table = table.assign(trial_type=labels).sort_values("onset", kind="stable", ignore_index=True)
    # An annotation may begin between two samples, a hair before the first.
    return table.assign(onset=table["onset"].clip(lower=0.0)) if onset.min() > -1 / recording.sfreq else table


def _keep_named(table: pd.DataFrame, event_id: Any, recording: Recording) -> pd.DataFrame:
    if event_id is None:
        return table.reset_index(drop=True)
    labels = table["trial_type" if "trial_type" in table else "stimulus_id"].astype(str)
    known = sorted(set(labels))
    for name in event_id:
        if str(name) not in known:
            raise DataError(
                f"no trial of '{name}'.{closest(str(name), known)}",
                path=recording.path,
                expected="each name in event_id to occur",
                found=known[:12],
                fix="leave it out of event_id, or correct the name or code",
            )
    return table[labels.isin([str(name) for name in event_id])].reset_index(drop=True)


def bad_stretches(recording: Recording) -> np.ndarray:
    """Seconds (first, last) of the stretches annotated ``BAD``, shape (n_stretches, 2)."""
    annotations = recording.data.annotations
    bad = [place for place, text in enumerate(annotations.description) if str(text).lower().startswith("bad")]
    first = annotations.onset[bad] - recording.data.first_time
    return np.column_stack([first, first + annotations.duration[bad]])


def epoch_events(recording: Recording, event_id: Mapping[str, int] | Sequence[str] | None) -> pd.DataFrame:
    """The trials of an Epochs: names from its event_id, columns from its metadata."""
    epochs = recording.data
    names = {code: name for name, code in epochs.event_id.items()}
    codes = epochs.events[:, 2]
    labels = [names[code] for code in codes.tolist()]
    table = pd.DataFrame({"onset": epochs.events[:, 0] / recording.sfreq, "value": codes, "trial_type": labels})
    if epochs.metadata is not None:
        metadata = epochs.metadata.reset_index(drop=True)
        table = table.drop(columns=[name for name in table if name in metadata]).join(metadata)
    if "stimulus_id" not in table:
        table["stimulus_id"] = labels
    table["row"] = np.arange(len(table))
    return _keep_named(table, event_id, recording)
