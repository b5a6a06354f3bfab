"""Recordings that need a spec and no loader of their own: one continuous file, or a BIDS folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brainalign.errors import DataError
from brainalign.loaders.ephys import load_bids_ephys, load_ephys
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_bids_recording", "load_recording"]

_DEFAULTS = ("tmin", "tmax", "edges")
"""Options for which the spec may state the value that suits the recording."""


def load_recording(
    spec: DatasetSpec, root: Path, *, subject: Name, name_parts: Sequence[str] | None = None, **options: Any
) -> Trials:
    """One continuous recording whose trigger codes the spec names in order (`event_names`, from 1).

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    name_parts : sequence of str, optional
        Columns to make of the parts of an event's name: ``["modality", "side"]`` of "auditory_left".
    **options
        Of `brainalign.load_ephys`; `events` defaults to the trigger channel, the window to the spec's.
    """
    event_id = {name: code for code, name in enumerate(spec.fact("event_names"), start=1)}
    options = {"events": "stim", "event_id": event_id, **_defaults(spec), **options}
    return _labelled(load_ephys(spec.path(root, "recording"), **options), name_parts)


def load_bids_recording(spec: DatasetSpec, root: Path, *, subject: Name, **options: Any) -> Trials:
    """One subject of a BIDS folder; `options` as `brainalign.loaders.load_bids_ephys` takes them."""
    return load_bids_ephys(root, subject=str(subject), **{**_defaults(spec), **options})


def _defaults(spec: DatasetSpec) -> dict[str, Any]:
    return {name: spec.fact(name) for name in _DEFAULTS if name in spec.facts}


def _labelled(trials: Trials, parts: Sequence[str] | None) -> Trials:
    if not parts:
        return trials
    split = trials.trials["stimulus_id"].str.split("_", n=len(parts) - 1, expand=True)
    if split.shape[1] < len(parts):
        raise DataError(
            "event names have fewer parts than asked for",
            expected=list(parts),
            found=trials.stimulus_ids[0],
            fix="name as many columns as the names have parts between underscores",
        )
    return trials.with_trials(**{name: split[number] for number, name in enumerate(parts)})
